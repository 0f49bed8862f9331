//! A plugin crate outside this workspace works without a change here.

use crate::program::Program;
use std::process::Command;

#[test]
fn a_plugin_crate_of_its_own_builds_and_runs() {
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_ablate")).parent().and_then(|path| path.parent());
    let target = target.expect("the target folder");
    // The same versions as here, so that dependencies are compiled once.
    std::fs::copy("Cargo.lock", "tests/third_party/Cargo.lock").expect("a lock file");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--manifest-path", "tests/third_party/Cargo.toml"]);
    let output = cargo.env("CARGO_TARGET_DIR", target).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let program = Program::new();
    let spec = program.file(
        "own.toml",
        "name = \"own\"\n[dataset]\nuse = \"world\"\nusers = 120\nitems = 60\nmax_interactions = 25\n[recommender]\nuse = \"alphabetical\"\n",
    );
    let run = |more: &[&str]| {
        let mut command = Command::new(target.join("debug/third-party"));
        command.args(["run", &spec]).args(more).env("ABLATE_STORE", program.store());
        let output = command.output().expect("it starts");
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        (output.status.code(), out, err)
    };
    let (code, out, err) = run(&[]);
    assert!(code == Some(0) && out.contains("| alphabetical"), "{out}{err}");
    // An evaluator that puts the target before what ties with it: constant scores do better than chance.
    let (code, out, err) = run(&["--set", "evaluator.use=\"flattering\""]);
    assert!(code == Some(1) && err.contains("the control `constant` is violated"), "{out}{err}");
    assert_eq!(program.ok(&["list", "--json"]).out.matches("\"run\"").count(), 1, "the run that failed has no record");
}
