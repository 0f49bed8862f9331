//! Tells the program which compiler made it, for the provenance of its runs.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
    println!("cargo::rustc-env=ABLATE_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
}
