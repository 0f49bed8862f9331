//! Tells the program which revision of the code it was made from, for the provenance of its runs.

use std::process::Command;

fn main() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    // Paths are relative to the package's folder, which is the repository's.
    println!("cargo::rerun-if-changed=Cargo.lock");
    for folder in ["experiments", "framework", "plugins"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    if let Some(revision) = git(&["rev-parse", "HEAD"]) {
        let code = ["Cargo.lock", "Cargo.toml", "experiments", "framework", "plugins"];
        let changes = git(&[&["status", "--porcelain", "--"], &code[..]].concat()).unwrap_or_default();
        // Not ABLATE_…: cargo gives it to the program that it runs, too, which would take it for a key of the spec.
        println!("cargo::rustc-env=BUILT_FROM_REVISION={revision}{}", if changes.is_empty() { "" } else { "-dirty" });
    }
}
