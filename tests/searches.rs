//! Settings that are tuned on validation: the same budget for every row, found again in the store, test split sealed.

use crate::program::Program;
use serde_json::Value;

const SEARCHED: &str = r#"
name = "searched"
seeds = [1, 2]
[dataset]
use = "world"
users = 120
items = 60
max_interactions = 25
[recommender]
use = "item_knn"
[search]
trials = 4
[search.space.recommender]
neighbors = [2, 5, 20, 60]
shrinkage = { low = 0.0, high = 50.0 }
regularization = { low = 1.0, high = 1000.0, scale = "log" }
[[ablation]]
name = "ease"
use.recommender = "ease"
[[ablation]]
name = "item_knn as it is"
set.search = false
[[ablation]]
name = "popularity"
use.recommender = "popularity"
"#;

fn openings(program: &Program) -> usize {
    let folder = std::fs::read_dir(program.store().join("openings")).expect("openings");
    folder.map(|protocol| std::fs::read_dir(protocol.expect("a folder").path()).expect("openings").count()).sum()
}

fn json(program: &Program, arguments: &[&str]) -> Value {
    serde_json::from_str(&program.ok(arguments).out).expect("JSON")
}

#[test]
fn each_row_is_tuned_on_validation_with_the_same_budget() {
    let program = Program::new();
    let spec = program.file("searched.toml", SEARCHED);
    let plan = program.ok(&["plan", &spec]).out;
    assert!(plan.contains("4 trials to be made"), "{plan}");

    let ran = program.ok(&["run", &spec]);
    assert!(ran.err.contains("8 made, 0 found, 0 failed"), "{}", ran.err);
    let trials = |row: &str| ran.err.matches(&format!("search of {row}, trial")).count();
    assert_eq!((trials("item_knn"), trials("ease"), trials("popularity")), (4, 4, 0), "{}", ran.err);
    // Once for each run; no trial opened the test split.
    assert_eq!(openings(&program), 8);

    // The same command computes nothing, and both seeds have the settings of the best trial.
    let again = program.ok(&["run", &spec]);
    assert!(again.err.contains("0 made, 8 found, 0 failed") && !again.err.contains("trial 1"), "{}", again.err);
    let plan = program.ok(&["plan", &spec]).out;
    assert!(plan.contains("found, 4 trials: neighbors = ") && plan.contains("nothing to compute"), "{plan}");
    let listed = json(&program, &["list", "--json"]);
    let runs = listed.as_array().expect("runs").iter().map(|run| run["run"].as_str().expect("an id"));
    for run in runs {
        let record = json(&program, &["show", run, "--json"]);
        let Some(tried) = record["search"]["trials"].as_array().filter(|tried| !tried.is_empty()) else {
            assert!(record["variant"] == "popularity" || record["search"].is_null());
            continue;
        };
        let worth = |trial: &Value| trial["validation"].as_f64().expect("a number");
        let best = tried.iter().rev().max_by(|a, b| worth(a).total_cmp(&worth(b))).expect("a trial");
        for (key, value) in best["values"].as_object().expect("values") {
            assert_eq!(record["plan"].pointer(&format!("/{}", key.replace('.', "/"))), Some(value), "{key}");
        }
        assert_eq!(record["plan"]["search"], false, "the stored plan is a spec that searches no more");
    }
    let report = program.ok(&["report", &spec]).out;
    let line = |row: &str| {
        let mut lines = report.split("## Search").nth(1).expect("a section").lines();
        lines.find(|line| line.starts_with(&format!("| {row} "))).expect("a row").to_owned()
    };
    assert!(line("item_knn").contains("| 4 ") && line("ease").contains("| 4 "), "{report}");
    assert!(
        line("popularity").contains("nothing to tune") && line("item_knn as it is").contains("not tuned"),
        "{report}"
    );
    assert!(report.contains("rows had different numbers of trials"), "{report}");

    // What it chose is an experiment like any other: it is made again from its record, without a search.
    let reproduced = program.ok(&["reproduce", &spec]).out;
    assert!(reproduced.contains("identical, bit for bit") && !reproduced.contains("DIFFERS"), "{reproduced}");
}

#[test]
fn workers_search_each_row_once_and_a_tag_carries_what_was_found() {
    let (program, other) = (Program::new(), Program::new());
    let spec = program.file("searched.toml", SEARCHED);
    let ran = program.ok(&["run", &spec, "--jobs", "3"]);
    let made = |row: &str| ran.err.matches(&format!("search of {row}, trial")).count();
    assert_eq!((made("item_knn"), made("ease")), (4, 4), "{}", ran.err);
    assert_eq!(ran.err.matches(": made run").count(), 8, "{}", ran.err);
    program.ok(&["tag", "tuned", &spec]);
    let archive = program.path("tuned.zip").display().to_string();
    program.ok(&["export", "tuned", &archive, "--lean"]);
    other.ok(&["import", &archive]);
    assert_eq!(other.ok(&["report", &spec]).out, program.ok(&["report", &spec]).out);
}

#[test]
fn a_row_whose_trials_all_fail_is_tried_again_and_stops_no_other() {
    let program = Program::new();
    let spec = SEARCHED
        .replace("name = \"ease\"\nuse.recommender = \"ease\"", "name = \"diverging\"\nuse.recommender = \"bpr_mf\"");
    let fatal = "training.learning_rate = [10.0]\ntraining.regularization = [10.0]\n[[ablation]]";
    let spec = spec.replace("regularization = { low = 1.0, high = 1000.0, scale = \"log\" }\n", "");
    let spec = program.file("diverging.toml", &spec.replacen("[[ablation]]", fatal, 1));
    for _ in 0..2 {
        let ran = program.run(&["run", &spec]);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains("all 1 trials failed; the first: training diverged"), "{}", ran.err);
        assert_eq!(ran.err.matches("search of diverging, trial").count(), 1, "once a command\n{}", ran.err);
        assert!(ran.err.contains("2 failed in") && ran.out.contains("| item_knn "), "{}\n{}", ran.err, ran.out);
    }
}

#[test]
fn a_trial_that_does_not_train_counts_and_does_not_stop_the_search() {
    let program = Program::new();
    let spec = SEARCHED.split("[search]").next().expect("the beginning").replace("item_knn", "bpr_mf");
    let spec = format!(
        "{spec}\ntraining.max_epochs = 3\n[search]\ntrials = 2\nmethod = \"grid\"\n\
         space.recommender.training.learning_rate = [10.0, 0.05]\nspace.recommender.training.regularization = [10.0]\n"
    );
    let spec = program.file("diverging.toml", &spec);
    let ran = program.ok(&["run", &spec]);
    assert!(ran.err.contains("trial 1 of 2") && ran.err.contains("training diverged"), "{}", ran.err);
    let report = program.ok(&["report", &spec]).out;
    assert!(report.contains("2, 1 failed"), "{report}");
}

#[test]
fn what_a_row_sets_is_not_tuned_in_it() {
    let program = Program::new();
    let rows = r#"
[[ablation]]
name = "two"
set.recommender.neighbors = 2
[[ablation]]
name = "shrunk"
grid.recommender.shrinkage = [0.0, 10.0]
[[ablation]]
name = "all of its own"
set.recommender.neighbors = 2
set.recommender.shrinkage = 0.0
"#;
    let path = program.file("searched.toml", &format!("{SEARCHED}{rows}")).into();
    let source = framework::load::Source { path, set: Vec::new(), base: include_str!("../experiments/base.toml") };
    let plans = framework::load::load(&source).map_err(framework::error::Error::from).expect("no mistake").plans;
    let tuned = |variant: &str| {
        let plan = plans.iter().find(|plan| plan.variant == variant).unwrap_or_else(|| panic!("no row {variant}"));
        let table = plan.table();
        let space = table["search"].get("space").and_then(|space| space["recommender"].as_table()).cloned();
        space.unwrap_or_default().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(tuned("item_knn"), ["neighbors", "regularization", "shrinkage"]);
    assert_eq!(tuned("two"), ["regularization", "shrinkage"]);
    assert_eq!(tuned("shrunk = 10.0"), ["neighbors", "regularization"]);
    assert_eq!(tuned("all of its own"), ["regularization"]);
}
