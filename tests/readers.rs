//! The store as others read it: plain JSON and parquet, without this program.

use crate::program::{Program, SMALL};
use serde_json::Value;
use std::process::Command;

#[test]
fn polars_and_duckdb_reproduce_the_means_of_the_report() {
    let python = std::env::var_os("ABLATE_PYTHON").unwrap_or_else(|| "python3".into());
    let imports = Command::new(&python).args(["-c", "import duckdb, polars"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the Python of ABLATE_PYTHON has no polars and duckdb");
        return;
    }
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/read_store.py");
    let output = Command::new(&python).arg(script).arg(program.store()).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let means: Value = serde_json::from_slice(&output.stdout).expect("JSON");
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
