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
    let output = Command::new(target.join("debug/third-party"))
        .args(["run", &spec])
        .env("ABLATE_STORE", program.store())
        .output()
        .expect("it starts");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && out.contains("| alphabetical"),
        "{out}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
