//! Ablations: what each word stands for, that stages are shared, and that workers divide the runs.

use crate::program::{Program, SMALL};
use serde_json::Value;
use std::collections::HashSet;
use std::process::Stdio;

const BASE: &str = r#"
name = "words"
seeds = [1, 2]
[dataset]
use = "world"
users = 60
items = 60
[protocol]
k_core = 0
[recommender]
use = "sasrec"
hidden_size = 8
[recommender.training]
max_epochs = 1
"#;

const WORDS: &str = r#"
[[ablation]]
name = "bce"
use.recommender.loss = "bce"
[[ablation]]
name = "not trained"
freeze = ["recommender"]
[[ablation]]
name = "other titles"
placebo.dataset.titles = "shuffle"
placebo.dataset.images = "blank"
[[ablation]]
name = "dropout"
grid.recommender.dropout = [0.0, 0.5]
[[ablation]]
name = "parts"
[[ablation.factorial]]
name = "blocks"
set.recommender.num_layers = 1
[[ablation.factorial]]
name = "training"
freeze = ["recommender"]
"#;

fn records(program: &Program) -> Vec<Value> {
    let list: Value = serde_json::from_str(&program.ok(&["list", "--json"]).out).expect("JSON");
    let show = |run: &Value| {
        let id = run["run"].as_str().expect("an id");
        serde_json::from_str(&program.ok(&["show", id, "--json"]).out).expect("JSON")
    };
    list.as_array().expect("a list").iter().map(show).collect()
}

#[test]
fn each_word_of_an_ablation_does_what_it_says() {
    let program = Program::new();
    let spec = program.file("words.toml", &format!("{BASE}{WORDS}"));
    let plan = program.ok(&["plan", &spec]).out;
    assert!(plan.contains("dataset      ") && plan.contains("shared with sasrec seed 1"), "{plan}");
    // `not trained` and `without training` are one and the same run.
    assert!(plan.contains("18 runs, 18 to be made in 34 stages"), "{plan}");
    let ran = program.ok(&["run", &spec, "--jobs", "3"]);
    assert!(ran.err.contains("0 failed"), "{}", ran.err);
    let records = records(&program);
    assert_eq!(records.len(), 16);
    let plan = |variant: &str| {
        let record = records.iter().find(|record| record["variant"] == variant && record["seed"] == 1);
        record.unwrap_or_else(|| panic!("no run of {variant}"))["plan"].clone()
    };
    assert_eq!(plan("bce")["recommender"]["loss"]["use"], "bce");
    assert_eq!(plan("dropout = 0.5")["recommender"]["dropout"], 0.5);
    let placebo = &plan("other titles")["dataset"];
    assert_eq!((placebo["use"].as_str(), placebo["of"]["use"].as_str()), (Some("placebo"), Some("world")));
    assert_eq!((placebo["titles"].as_str(), placebo["images"].as_str()), (Some("shuffle"), Some("blank")));
    let both = &plan("without blocks, training")["recommender"];
    assert_eq!((&both["num_layers"], &both["training"]["max_epochs"]), (&1.into(), &0.into()));
    // SASRec reads neither titles nor pictures: the placebo changes nothing, and can be compared.
    let metrics = |variant: &str| {
        records.iter().find(|record| record["variant"] == variant && record["seed"] == 2).map(|r| &r["metrics"])
    };
    assert_eq!(metrics("other titles"), metrics("sasrec"));
    assert!(!ran.out.contains("cannot be compared"), "{}", ran.out);
    let again = program.ok(&["run", &spec]);
    assert!(again.err.contains("0 made, 18 found, 0 failed"), "{}", again.err);
    assert_eq!(again.out, ran.out);
    assert!(program.ok(&["plan", &spec]).out.contains("nothing to compute"));
    assert!(program.ok(&["plan", &spec]).out.contains("can be shown with 60 users"));
}

#[test]
fn two_commands_with_workers_make_every_stage_once_and_a_failed_run_stops_no_other() {
    let program = Program::new();
    let failing = "[[ablation]]\nname = \"no users left\"\nset.protocol.k_core = 500\n";
    let spec = program.file("words.toml", &format!("{BASE}{WORDS}{failing}"));
    let start = || {
        let mut command = program.command(&["run", &spec, "--jobs", "2"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    for child in [start(), start()] {
        let output = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("2 failed in") && err.contains("[19/20] no users left seed 1: failed"), "{err}");
    }
    let records = records(&program);
    assert_eq!(records.len(), 16);
    let mut made = HashSet::new();
    for stage in records.iter().flat_map(|record| record["stages"].as_array().expect("stages")) {
        let first = stage["found"] == true || made.insert(stage["key"].as_str().expect("a key"));
        assert!(first, "{stage} was made twice");
    }
    // The base's dataset, the placebo's, 16 recommenders and evaluators, and the controls of both data sets.
    assert_eq!(std::fs::read_dir(program.store().join("stages")).expect("stages").count(), 36);
}

#[test]
fn a_budget_of_memory_allows_fewer_workers() {
    let program = Program::new();
    let spec = program.file("words.toml", &format!("{BASE}{WORDS}"));
    program.ok(&["run", &program.file("base.toml", BASE)]);
    let ran = program.ok(&["run", &spec, "--jobs", "4", "--memory", "0.001"]);
    assert!(ran.err.contains("1 at a time: 18 runs"), "{}", ran.err);
}

#[test]
fn devices_are_processes_that_divide_the_runs() {
    let program = Program::new();
    let spec = program.file("small.toml", &SMALL.replace("[dataset]", "seeds = [1, 2, 3]\n[dataset]"));
    let ran = program.ok(&["run", &spec, "--devices", "flex,flex"]);
    assert!(ran.err.contains("6 made, 0 found, 0 failed"), "{}", ran.err);
    assert_eq!(ran.err.matches(": made run").count(), 6, "each run is made by one of the two\n{}", ran.err);
    let ran = program.run(&["run", &spec, "--devices", "flex,gpu"]);
    assert!(ran.code == 2 && ran.err.contains("no device is called `gpu`"), "{}", ran.err);
}

#[test]
fn a_placebo_takes_the_content_of_id_embeddings_and_leaves_their_form() {
    let program = Program::new();
    let features = "[recommender]\nuse = \"sasrec_f\"\nfeatures = { use = \"ids\", of = { use = \"bpr_mf\" } }\n";
    let placebos = "[[ablation]]\nname = \"another item's\"\nplacebo.recommender.features = \"shuffle\"\n\
                    [[ablation]]\nname = \"noise\"\nplacebo.recommender.features = \"random\"\n";
    let spec = SMALL.replace("[recommender]\nuse = \"sasrec\"\n", features);
    let ran = program.ok(&["run", &program.file("ids.toml", &format!("{spec}{placebos}"))]);
    assert!(ran.err.contains("4 made, 0 found, 0 failed"), "{}", ran.err);
    let records = records(&program);
    let row = |name: &str| records.iter().find(|record| record["variant"] == name).expect("a run");
    let base = row("sasrec_f");
    for (name, kind) in [("another item's", "shuffle"), ("noise", "random")] {
        let placebo = &row(name)["plan"]["recommender"]["features"];
        assert_eq!((&placebo["use"], &placebo["kind"]), (&"placebo".into(), &kind.into()));
        assert_eq!(placebo["of"], base["plan"]["recommender"]["features"]);
        let trained = |record: &Value| record["stages"][1]["cost"]["parameters_trained"].clone();
        assert_eq!(trained(row(name)), trained(base), "as many parameters");
        assert_ne!(row(name)["metrics"], base["metrics"], "other content, other scores");
    }
}

#[test]
fn settings_are_those_of_the_plugin_that_the_row_brings() {
    let rows = r#"
[[ablation]]
name = "another"
use.recommender = "caser"
set.recommender.training.max_epochs = 2
set.recommender.loss.use = "bce"
set.recommender.loss.negatives = 3
[[ablation]]
name = "others"
set.recommender.training.max_epochs = 2
grid.recommender.use = ["caser", "gru4rec"]
[[ablation]]
name = "parts"
[[ablation.factorial]]
name = "short"
set.recommender.training.max_epochs = 2
[[ablation.factorial]]
name = "attention"
use.recommender = "gru4rec"
[[ablation]]
name = "outer first"
use.recommender.loss = "bce"
grid.recommender.use = ["gru4rec"]
"#;
    let program = Program::new();
    let path = program.file("rows.toml", &format!("{BASE}{rows}")).into();
    let source = framework::load::Source { path, set: Vec::new(), base: include_str!("../experiments/base.toml") };
    let plans = framework::load::load(&source).map_err(framework::error::Error::from).expect("no mistake").plans;
    let recommender = |variant: &str| {
        let plan = plans.iter().find(|plan| plan.variant == variant && plan.seed == 1);
        plan.unwrap_or_else(|| panic!("no row {variant}")).table()["recommender"].clone()
    };
    for (variant, used) in [
        ("another", "caser"),
        ("others = caser", "caser"),
        ("others = gru4rec", "gru4rec"),
        ("without short, attention", "gru4rec"),
    ] {
        let found = recommender(variant);
        assert_eq!(found["use"].as_str(), Some(used), "{variant}");
        assert_eq!(found["training"]["max_epochs"].as_integer(), Some(2), "{variant}");
    }
    assert_eq!(recommender("outer first = gru4rec")["loss"]["use"].as_str(), Some("bce"));
    let loss = &recommender("another")["loss"];
    assert_eq!((loss["use"].as_str(), loss["negatives"].as_integer()), (Some("bce"), Some(3)));
    let alone = &recommender("without attention")["training"]["max_epochs"];
    assert_eq!(alone.as_integer(), Some(200), "a plugin comes with its own defaults");
}
