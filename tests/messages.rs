//! What the program says: plans of every experiment, and exact messages for wrong specs.

use crate::program::{Program, SMALL, redacted};

fn files(folder: &str) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder of specs")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .filter(|path| path.ends_with(".toml") && !path.ends_with("base.toml"))
        .collect();
    files.sort();
    files
}

fn stem(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).trim_end_matches(".toml").to_string()
}

#[test]
fn the_plan_of_every_experiment() {
    let program = Program::new();
    for spec in files("experiments") {
        let ran = program.ok(&["plan", &spec]);
        redacted().bind(|| insta::assert_snapshot!(format!("plan__{}", stem(&spec)), ran.out));
    }
}

#[test]
fn every_wrong_spec_says_what_is_wrong_and_where() {
    let program = Program::new();
    let specs = files("tests/wrong");
    assert!(specs.len() >= 10, "ten wrong specs");
    for spec in specs {
        let ran = program.run(&["check", &spec]);
        assert_ne!(ran.code, 0, "{spec} was accepted");
        assert!(!ran.err.contains("panicked"), "{spec}: {}", ran.err);
        redacted().bind(|| insta::assert_snapshot!(format!("wrong__{}", stem(&spec)), ran.err));
    }
}

#[test]
fn check_speaks_json_to_editors() {
    let program = Program::new();
    let ran = program.run(&["check", "--json", "tests/wrong/unknown_key.toml"]);
    assert_eq!(ran.code, 2);
    let all: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(all[0]["line"], 7);
    assert_eq!(all[0]["nearest"], "hidden_size");
}

#[test]
fn environment_and_set_are_layers_with_names() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    let argument = ["plan", &spec, "--origin", "--set", "recommender.dropout = 0.3"];
    let ran = program.command(&argument).env("ABLATE_PROTOCOL__K_CORE", "3").output().expect("the program starts");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    for line in [
        "protocol.k_core = 3  # environment variable ABLATE_PROTOCOL__K_CORE",
        "recommender.dropout = 0.3  # --set recommender.dropout = 0.3",
        "evaluator.use = \"ranking\"  # experiments/base.toml (built in)",
        "protocol.mask_seen = true  # default",
        "small.toml:9",
    ] {
        assert!(out.contains(line), "{line} is not in\n{out}\n{}", String::from_utf8_lossy(&ran.stderr));
    }
    let wrong = program.command(&["plan", &spec]).env("ABLATE_PROTOCOL__KCORE", "3").output().expect("it starts");
    let err = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(err.contains("environment variable ABLATE_PROTOCOL__KCORE") && err.contains("`k_core`"), "{err}");
}

#[test]
fn settings_outlive_a_plugin_that_comes_with_them_however_they_are_ordered() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    let use_last = ["--set", "recommender.training.patience=3", "--set", "recommender.use=\"gru4rec\""];
    let out = program.ok(&[&["plan", &spec], &use_last[..]].concat()).out;
    assert!(out.contains("use = \"gru4rec\"") && out.contains("patience = 3"), "{out}");
    let mut command = program.command(&["plan", &spec]);
    command.env("ABLATE_RECOMMENDER__LOSS__USE", "bce").env("ABLATE_RECOMMENDER__TRAINING__PATIENCE", "3");
    let ran = command.env("ABLATE_RECOMMENDER__USE", "gru4rec").output().expect("the program starts");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let all = ["use = \"gru4rec\"", "use = \"bce\"", "patience = 3"];
    assert!(all.iter().all(|line| out.contains(line)), "{out}{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn extends_lays_specs_over_each_other_and_a_new_use_replaces_the_table() {
    let program = Program::new();
    program.file("small.toml", SMALL);
    let spec =
        program.file("child.toml", "extends = [\"small.toml\"]\nname = \"child\"\nrecommender.use = \"markov\"\n");
    let out = program.ok(&["plan", &spec]).out;
    assert!(out.contains("name = \"child\"") && out.contains("use = \"markov\""), "{out}");
    assert!(!out.contains("hidden_size"), "the old plugin's keys stayed:\n{out}");
    let circle = program.file("circle.toml", "extends = [\"circle.toml\"]\n");
    assert!(program.run(&["plan", &circle]).err.contains("extends itself"));
}

#[test]
fn missing_data_and_unknown_runs_say_what_to_do() {
    let program = Program::new();
    let ran = program.run(&["run", "experiments/sasrec-movielens-100k.toml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("ablate fetch ml-100k"), "{}", ran.err);
    let ran = program.run(&["show", "abcdef"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("ablate list"), "{}", ran.err);
}
