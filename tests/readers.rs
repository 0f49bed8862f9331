//! The store as others read it: plain JSON and parquet, without this program.

use crate::program::{Program, SMALL};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python of `ABLATE_PYTHON`, if it has `modules`.
pub(crate) fn python(modules: &str) -> Option<OsString> {
    let python = std::env::var_os("ABLATE_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    let found = imports.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: the Python of ABLATE_PYTHON lacks {modules}");
    }
    found.then_some(python)
}

/// What a script of `tests/peers` finds in `folders`.
fn read(python: &OsStr, script: &str, folders: &[PathBuf]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let output = Command::new(python).arg(script).args(folders).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn polars_and_duckdb_reproduce_the_means_of_the_report() {
    let Some(python) = python("duckdb, polars") else { return };
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    let means = read(&python, "read_store.py", &[program.store()]);
    let report: Value = serde_json::from_str(&program.ok(&["report", &spec, "--format", "json"]).out).expect("JSON");
    let mut compared = 0;
    for row in report["rows"].as_array().expect("rows") {
        let run = row["runs"][0]["run"].as_str().or_else(|| row["runs"][0].as_str()).expect("an id");
        for (metric, [polars, duckdb, recorded]) in means[run]
            .as_object()
            .expect("a run")
            .iter()
            .map(|(metric, all)| (metric, [0, 1, 2].map(|n| all[n].as_f64().expect("a mean"))))
        {
            let reported = row["metrics"][metric]["mean"].as_f64().expect("a reported mean");
            for other in [polars, duckdb, recorded] {
                assert!((other - reported).abs() < 1e-12, "{run} {metric}: {other}, but the report says {reported}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 4, "{compared} means compared");
}

#[test]
fn mlflow_and_tensorboard_open_what_is_exported_for_them() {
    let Some(python) = python("mlflow, tensorboard") else { return };
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    program.ok(&["tag", "v1", &spec]);
    let (mlflow, tensorboard) = (program.path("mlflow"), program.path("tensorboard"));
    program.ok(&["export", "v1", &mlflow.to_string_lossy(), "--as", "mlflow"]);
    program.ok(&["export", "v1", &tensorboard.to_string_lossy(), "--as", "tensorboard"]);
    let again = program.run(&["export", "v1", &mlflow.to_string_lossy(), "--as", "mlflow"]);
    assert!(again.code != 0 && again.err.contains("the folder is there already"), "{}", again.err);

    let found = read(&python, "read_trackers.py", &[mlflow, tensorboard]);
    let runs: Value = serde_json::from_str(&program.ok(&["list", "--json"]).out).expect("JSON");
    let runs = runs.as_array().expect("runs");
    assert_eq!(found["mlflow"].as_object().map(serde_json::Map::len), Some(runs.len()));
    for run in runs {
        let id = run["run"].as_str().expect("an id");
        let record: Value = serde_json::from_str(&program.ok(&["show", id, "--json"]).out).expect("JSON");
        let mean = record["metrics"]["ndcg@10"]["mean"].as_f64().expect("a mean");
        let theirs = &found["mlflow"][id];
        assert_eq!(theirs["metrics"]["ndcg_at_10"].as_f64(), Some(mean), "{theirs:#}");
        assert!(theirs["params"].as_u64() > Some(10), "{theirs:#}");
        let epochs = record["epochs"].as_array().expect("epochs");
        let place =
            format!("small/{}/seed {} {}", record["variant"].as_str().expect("a name"), record["seed"], &id[..10]);
        let curves = &found["tensorboard"][&place];
        let drawn = curves["ndcg@10"][0].as_f64().expect("a value");
        assert!((drawn - mean).abs() < 1e-6, "{place}: {drawn}, not {mean}");
        assert_eq!(curves["training loss"].as_array().map_or(0, Vec::len), epochs.len(), "{place}");
    }
}
