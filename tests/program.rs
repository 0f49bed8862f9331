//! Running the program in a store of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program with a fresh store and cache that go when dropped.
pub(crate) struct Program {
    folder: tempfile::TempDir,
}

/// What one command left.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file next to the store and gives its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file in the temporary folder");
        path.display().to_string()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ablate"));
        command.args(arguments).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ABLATE_")) {
            command.env_remove(name);
        }
        command.env("ABLATE_STORE", self.store()).env("ABLATE_CACHE", self.path("cache")).env_remove("RUST_BACKTRACE");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(&self.command(arguments).output().expect("the program starts"))
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "ablate {arguments:?}\n{}\n{}", ran.out, ran.err);
        ran
    }
}

impl Ran {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The folder of real data, if `ABLATE_DATA` names one; says so when a test is skipped.
pub(crate) fn real_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ABLATE_DATA").map(|root| Path::new(&root).join(name)).filter(|path| path.is_dir());
    if folder.is_none() {
        eprintln!("skipped: ABLATE_DATA names no folder with {name}");
    }
    folder
}

/// insta settings that hide what changes from run to run: hashes, times, seconds, folders.
pub(crate) fn redacted() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, word) in [
        (r"\b[0-9a-f]{40,64}\b", "[hash]"),
        (r"\b[0-9a-f]{10}\b", "[run]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "[time]"),
        (r"(/[^\s:]*)?/\.tmp\w+", "[folder]"),
        (r"\d+\.\d s +\| ", "[time] | "),
        (r"\d+\.\d s\b", "[seconds] s"),
        (r"\d+ MiB *\|", "[memory] |"),
    ] {
        settings.add_filter(pattern, word);
    }
    settings
}

/// A spec small enough to run in a test: a little world and a little SASRec.
pub(crate) const SMALL: &str = r#"
name = "small"
[dataset]
use = "world"
users = 120
items = 60
max_interactions = 25
[recommender]
use = "sasrec"
hidden_size = 16
num_layers = 1
max_seq_length = 12
[recommender.training]
max_epochs = 4
[[ablation]]
name = "popularity"
set.recommender.use = "popularity"
"#;
