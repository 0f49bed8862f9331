//! One TOML file in, a stored run and a report out.

use crate::program::{Program, SMALL, real_data, redacted};
use serde_json::Value;

#[test]
fn a_second_run_computes_nothing_and_one_changed_key_only_what_depends_on_it() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    let first = program.ok(&["run", &spec]);
    assert!(first.err.contains("2 made, 0 found, 0 failed"), "{}", first.err);
    let second = program.ok(&["run", &spec]);
    assert!(second.err.contains("0 made, 2 found, 0 failed"), "{}", second.err);
    assert_eq!(first.out, second.out, "the report changed");
    let plan = program.ok(&["plan", &spec]).out;
    assert!(plan.contains("recommender") && !plan.contains("to be made"), "{plan}");
    program.ok(&["run", &spec, "--set", "recommender.dropout = 0.5"]);
    let record: Value = serde_json::from_str(&program.ok(&["show", "latest", "--json"]).out).expect("JSON");
    let found: Vec<_> =
        record["stages"].as_array().expect("stages").iter().map(|stage| stage["found"] == true).collect();
    assert_eq!(found, [true, false, false], "{record:#}");
    let why = program.ok(&["why", "latest"]).out;
    assert!(why.contains("plugin.settings.dropout: 0.2 -> 0.5"), "{why}");
    assert!(program.ok(&["why", &spec]).out.matches("found").count() >= 6);
}

#[test]
fn the_record_of_a_run_says_where_every_number_came_from() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    let list: Value =
        serde_json::from_str(&program.ok(&["list", "--json", "--where", "variant=sasrec"]).out).expect("JSON");
    let id = list[0]["run"].as_str().expect("an id").to_string();
    let record: Value = serde_json::from_str(&program.ok(&["show", &id[..8], "--json"]).out).expect("JSON");
    for key in ["git_revision", "git_dirty", "cargo_lock", "rustc", "crates", "host", "cpu", "device", "threads"] {
        assert!(!record["provenance"][key].is_null(), "{key} is missing");
    }
    assert_eq!(record["epochs"].as_array().map(Vec::len), Some(4));
    let scores = program.store().join("objects");
    let hash = record["outcome"]["scores"]["scores.parquet"].as_str().expect("a hash");
    assert!(scores.join(&hash[..2]).join(&hash[2..]).exists(), "per-user scores are in the store");
    // The stored plan is a spec: it names the very same run.
    let plan: framework::toml::Table = serde_json::from_value(record["plan"].clone()).expect("a table");
    let again = program.file("again.toml", &framework::toml::to_string(&plan).expect("TOML"));
    let ran = program.ok(&["run", &again]);
    assert!(ran.err.contains("0 made, 1 found"), "{}", ran.err);
    let diff = program.ok(&["diff", &id, "latest"]).out;
    assert!(diff.contains("[metrics]"), "{diff}");
}

#[test]
fn the_record_of_the_quickstart() {
    let program = Program::new();
    let ran = program.ok(&["run", "experiments/quickstart.toml"]);
    let mut settings = redacted();
    // Trained numbers differ in their last digits between kinds of CPU; those below do not.
    settings.add_filter(r"[+-]?\d\.\d{4}", "#.####");
    settings.add_filter(r", d [+-]\d\.\d{2} *\|", ", d #.## |");
    settings.add_filter(r"widest spread of users, [^)]*", "widest spread of users, [variant]");
    settings.add_filter(r"(better|worse|cannot conclude) +\|", "[verdict] |");
    settings.bind(|| insta::assert_snapshot!("quickstart__report", ran.out));
    let list: Value =
        serde_json::from_str(&program.ok(&["list", "--json", "--where", "variant=popularity"]).out).expect("JSON");
    let id = list[0]["run"].as_str().expect("an id").to_string();
    let mut record: Value = serde_json::from_str(&program.ok(&["show", &id, "--json"]).out).expect("JSON");
    // What belongs to the machine, the moment and the code's revision is kept out of the snapshot.
    record["provenance"] = "[provenance]".into();
    record["seconds"] = "[seconds]".into();
    record["controls_seconds"] = "[seconds]".into();
    for stage in record["stages"].as_array_mut().expect("stages") {
        stage["seconds"] = "[seconds]".into();
        stage["peak_memory_mb"] = "[memory]".into();
        stage["because"] = "[reasons]".into();
    }
    redacted().bind(|| insta::assert_snapshot!("quickstart__record", format!("{record:#}")));
}

#[test]
fn planted_effects_have_the_sign_that_was_planted() {
    let program = Program::new();
    let ran = program.ok(&["run", "experiments/quickstart.toml", "--set", "evaluator.metrics = [\"ndcg@10\"]"]);
    assert_eq!(ran.code, 0);
    let report = program.ok(&[
        "report",
        "experiments/quickstart.toml",
        "--format",
        "json",
        "--set",
        "evaluator.metrics = [\"ndcg@10\"]",
    ]);
    let report: Value = serde_json::from_str(&report.out).expect("JSON");
    let mean = |variant: &str| {
        let row = report["rows"].as_array().expect("rows").iter().find(|row| row["variant"] == variant);
        row.and_then(|row| row["metrics"]["ndcg@10"]["mean"].as_f64()).expect("a mean")
    };
    assert!(mean("oracle") > mean("sasrec"), "nothing beats the oracle");
    assert!(mean("sasrec") > mean("popularity"), "sequences tell more than popularity");
}

#[test]
fn with_no_effect_nothing_beats_popularity() {
    let program = Program::new();
    let spec = program
        .file("null.toml", &format!("{SMALL}\n[[ablation]]\nname = \"oracle\"\nset.recommender.use = \"oracle\"\n"));
    let set =
        "dataset = { users = 600, items = 100, category_strength = 0.0, style_strength = 0.0, group_strength = 0.0 }";
    program.ok(&["run", &spec, "--set", set]);
    let report: Value =
        serde_json::from_str(&program.ok(&["report", &spec, "--set", set, "--format", "json"]).out).expect("JSON");
    for row in report["rows"].as_array().expect("rows").iter().filter(|row| row["variant"] == "popularity") {
        assert_ne!(row["difference"]["verdict"], "worse", "{report:#}");
    }
}

#[test]
fn every_format_of_the_report() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    for format in ["md", "csv", "json", "latex"] {
        let out = program.ok(&["report", &spec, "--format", format]).out;
        assert!(out.contains("popularity") && out.contains("ndcg@10"), "{format}: {out}");
    }
    let filtered = program.ok(&["list", "--where", "recommender=popularity", "--sort", "ndcg@10"]).out;
    assert_eq!(filtered.lines().count(), 1, "{filtered}");
    assert_eq!(program.run(&["list", "--where", "colour=red"]).code, 1);
}

#[test]
fn data_sets_from_local_copies() {
    for name in ["amazon-beauty", "lastfm", "microlens-50k"] {
        let Some(data) = real_data(name) else { continue };
        let (program, from) = (Program::new(), data.display().to_string());
        let arguments = ["fetch", name, "--from", from.as_str()];
        program.ok(&arguments);
        assert!(program.ok(&arguments).err.contains("already there and whole"), "{name}");
    }
}

#[test]
fn movielens_from_a_local_copy() {
    let Some(data) = real_data("ml-100k") else { return };
    let program = Program::new();
    program.ok(&["fetch", "ml-100k", "--from", &data.display().to_string()]);
    let spec = program.file(
        "ml.toml",
        "name = \"ml\"\n[dataset]\nuse = \"movielens\"\n[protocol]\nmask_seen = false\n[recommender]\nuse = \"popularity\"\n",
    );
    let out = program.ok(&["run", &spec]).out;
    assert!(out.contains("943 users, 1349 items, 99287 interactions"), "{out}");
}
