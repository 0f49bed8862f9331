//! kill -9 at any moment: nothing acknowledged is lost, and the same command goes on where it stopped.

use crate::program::{Program, SMALL};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

/// Starts a run and kills it after `delay`; gives what it had said by then.
fn killed_after(program: &Program, spec: &str, delay: Duration) -> Vec<String> {
    let mut child =
        program.command(&["run", spec]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("standard error"));
    let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<_>>());
    std::thread::sleep(delay);
    child.kill().expect("a kill");
    child.wait().expect("its end");
    reader.join().expect("its lines")
}

fn outcome(program: &Program, variant: &str) -> Value {
    let list = program.ok(&["list", "--json", "--where", &format!("variant={variant}")]).out;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let id = list[0]["run"].as_str().expect("an id").to_string();
    let record: Value = serde_json::from_str(&program.ok(&["show", &id, "--json"]).out).expect("JSON");
    record["outcome"].clone()
}

#[test]
fn killed_again_and_again_a_run_ends_as_if_it_never_was() {
    let spec = SMALL.replace("max_epochs = 4", "max_epochs = 30\npatience = 30");
    let whole = Program::new();
    let path = whole.file("small.toml", &spec);
    whole.ok(&["run", &path]);
    let broken = Program::new();
    let path = broken.file("small.toml", &spec);
    let mut acknowledged = 0;
    for n in 0..12u64 {
        let said = killed_after(&broken, &path, Duration::from_millis(60 + 97 * n));
        for line in said.iter().filter(|line| line.contains("made run")) {
            acknowledged += 1;
            let id = line.split_whitespace().skip_while(|word| *word != "run").nth(1).expect("an id");
            broken.ok(&["show", id]);
        }
        broken.ok(&["list"]);
    }
    broken.ok(&["run", &path]);
    for variant in ["sasrec", "popularity"] {
        assert_eq!(outcome(&whole, variant), outcome(&broken, variant), "{variant}, {acknowledged} acknowledged");
    }
}

#[test]
fn a_stop_by_the_user_is_clean_and_says_how_to_go_on() {
    let program = Program::new();
    let spec = program.file("long.toml", &SMALL.replace("max_epochs = 4", "max_epochs = 50000\npatience = 50000"));
    let child =
        program.command(&["run", &spec]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(1500));
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupt.success());
    let output = child.wait_with_output().expect("its end");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("the same command resumes"), "{err}");
    program.ok(&["list"]);
}

/// Each waits for its spec, which comes through a pipe, and never meets a safe point.
#[cfg(unix)]
#[test]
fn what_stores_nothing_ends_at_the_first_signal() {
    let program = Program::new();
    let pipe = program.path("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let spec = pipe.display().to_string();
    for (command, signal) in [("check", "-INT"), ("plan", "-TERM"), ("report", "-INT")] {
        let child = program.command(&[command, &spec]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn();
        let child = child.expect("it starts");
        // Opens when the program reads.
        let _writer = std::fs::OpenOptions::new().write(true).open(&pipe).expect("a reader");
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().expect("kill").success());
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(130), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn damaged_objects_are_made_again_and_a_newer_store_is_refused() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    program.ok(&["run", &spec]);
    std::fs::remove_dir_all(program.store().join("objects")).expect("objects go");
    std::fs::remove_dir_all(program.store().join("runs")).expect("runs go");
    let ran = program.ok(&["run", &spec]);
    assert!(ran.err.contains("2 made"), "{}", ran.err);
    std::fs::write(program.store().join("format.json"), "{\"format\": 99}").expect("a newer format");
    let ran = program.run(&["list"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("99"), "{}", ran.err);
}

#[test]
fn a_store_that_cannot_be_written_is_one_clear_message() {
    let program = Program::new();
    std::fs::write(program.store(), "a file, not a folder").expect("a file");
    let spec = program.file("small.toml", SMALL);
    let ran = program.run(&["run", &spec]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("error: ") && ran.err.contains("store"), "{}", ran.err);
}
