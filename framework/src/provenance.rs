//! Where a number came from: code, compiler, machine. Recorded with every run.

use serde_json::{Value, json};
use std::process::Command;

/// The code that the program was made from.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The text of `Cargo.lock`.
    pub lock: &'static str,
    /// The git revision, with `-dirty` behind it when the code had changes of its own; `None` outside of git.
    pub revision: Option<&'static str>,
}

/// Everything about this process that could change a result.
pub fn provenance(device: &str, code: Code) -> Value {
    let (lock, revision) = (code.lock, code.revision);
    json!({
        "ablate": env!("CARGO_PKG_VERSION"),
        "git_revision": revision.map(|revision| revision.trim_end_matches("-dirty")),
        "git_dirty": revision.map(|revision| revision.ends_with("-dirty")),
        "cargo_lock": blake3::hash(lock.as_bytes()).to_hex().to_string(),
        "rustc": env!("ABLATE_RUSTC"),
        "crates": versions(lock),
        "host": first_line("/proc/sys/kernel/hostname"),
        "os": std::env::consts::OS,
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, |n| n.get()),
        "gpu": gpu(device),
        "device": device,
        "threads": rayon::current_num_threads(),
    })
}

/// The versions of the crates that compute, from the lock file.
fn versions(lock: &str) -> Value {
    let lock: toml::Table = toml::from_str(lock).unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let field = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(String::from);
    let version = |package: toml::Value| {
        let name = field(&package, "name")?;
        let counts = name.starts_with("burn") || ["polars", "gemm", "cubecl", "safetensors"].contains(&name.as_str());
        counts.then_some((name, Value::from(field(&package, "version")?)))
    };
    Value::Object(packages.into_iter().filter_map(version).collect())
}

fn first_line(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()?.lines().next().map(String::from)
}

fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

fn gpu(device: &str) -> Option<String> {
    if device == "flex" {
        return None;
    }
    let output = Command::new("nvidia-smi").args(["--query-gpu=name,driver_version", "--format=csv,noheader"]).output();
    output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
}
