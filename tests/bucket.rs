//! A store in a bucket that several machines share, against moto's S3 server. Each machine is a cache folder of its own.

use crate::program::{Program, SMALL};
use crate::readers::python;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Serves until it is dropped.
struct Bucket {
    server: Child,
    address: String,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Bucket {
    fn start() -> Option<Self> {
        let python = python("moto, flask")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/bucket.py");
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().expect("Python starts");
        let mut address = String::new();
        BufReader::new(server.stdout.take().expect("its output")).read_line(&mut address).expect("an address");
        Some(Self { server, address: address.trim().into() })
    }

    /// A command of a machine whose cache is `machine`.
    fn command(&self, program: &Program, machine: &str, arguments: &[&str]) -> Command {
        let mut command = program.command(arguments);
        command
            .env("ABLATE_STORE", "s3://results/team")
            .env("ABLATE_CACHE", program.path(machine))
            .env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_ACCESS_KEY_ID", "tester")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    fn ok(&self, program: &Program, machine: &str, arguments: &[&str]) -> String {
        let output = self.command(program, machine, arguments).output().expect("the program starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "ablate {arguments:?} on {machine}\n{out}\n{err}");
        format!("{out}{err}")
    }

    fn runs(&self, program: &Program, machine: &str) -> Vec<Value> {
        let output = self.command(program, machine, &["list", "--json"]).output().expect("the program starts");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// Four cheap runs and a trained one.
fn spec(program: &Program) -> String {
    program.file(
        "small.toml",
        &SMALL.replace("max_epochs = 4", "max_epochs = 2").replace("[dataset]", "seeds = [1, 2, 3]\n[dataset]"),
    )
}

#[test]
fn machines_share_a_bucket_do_each_run_once_and_see_the_same() {
    let Some(bucket) = Bucket::start() else { return };
    let program = Program::new();
    let spec = spec(&program);
    let start = |machine| {
        let mut command = bucket.command(&program, machine, &["run", &spec]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let outputs = [start("one"), start("two")].map(|child| child.wait_with_output().expect("its end"));
    let mut made = 0;
    for output in &outputs {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        made += said.lines().filter(|line| line.contains(": made run")).count();
    }
    assert_eq!(made, 6, "each of the runs is made once, by one of the two");
    let local = Program::new();
    local.ok(&["run", &self::spec(&local)]);
    let table = |text: &str| text.lines().filter(|line| line.starts_with('|')).map(String::from).collect::<Vec<_>>();
    let seconds = |line: &String| line.split(" s |").next().unwrap_or_default().to_owned();
    let report = bucket.ok(&program, "three", &["report", &spec]);
    let alone = local.ok(&["report", &self::spec(&local)]).out;
    let metrics = |text: &str| {
        table(text).iter().take(4).map(seconds).map(|line| line.split('|').take(4).collect()).collect::<Vec<String>>()
    };
    assert_eq!(metrics(&report), metrics(&alone), "a machine that ran nothing reports what a store in a folder does");
    assert!(bucket.ok(&program, "three", &["verify"]).contains("6 runs"));
    bucket.ok(&program, "one", &["tag", "v1", &spec]);
    assert!(bucket.ok(&program, "two", &["list", "--tags"]).contains("v1"));
    let archive = program.path("v1.zip").display().to_string();
    bucket.ok(&program, "four", &["export", "v1", &archive]);
    let carried = Program::new();
    carried.ok(&["import", &archive]);
    carried.ok(&["verify"]);
    assert!(bucket.ok(&program, "four", &["run", &spec]).contains("0 made, 6 found"));
    assert!(bucket.ok(&program, "one", &["du"]).contains("runs"));
}

#[test]
fn what_was_acknowledged_is_in_the_bucket_whoever_is_killed() {
    let Some(bucket) = Bucket::start() else { return };
    let program = Program::new();
    let spec = spec(&program);
    let mut acknowledged = Vec::new();
    for n in 0..8u64 {
        let machine = format!("m{}", n % 2);
        let mut child = bucket.command(&program, &machine, &["run", &spec]);
        let mut child = child.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("standard error"));
        let reader = std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(150 + 130 * n));
        child.kill().expect("a kill");
        child.wait().expect("its end");
        let said = reader.join().expect("its lines");
        let made = said.iter().filter(|line| line.contains("made run"));
        acknowledged.extend(
            made.map(|line| {
                line.split_whitespace().skip_while(|word| *word != "run").nth(1).expect("an id").to_owned()
            }),
        );
    }
    let known = bucket.runs(&program, "elsewhere");
    for id in &acknowledged {
        assert!(known.iter().any(|run| run["run"].as_str().is_some_and(|run| run.starts_with(id.as_str()))), "{id}");
    }
    // Leases that the killed left are taken over: at once on their own machine, after a while from another.
    bucket.ok(&program, "elsewhere", &["run", &spec]);
    assert_eq!(bucket.runs(&program, "m0").len(), 6);
    bucket.ok(&program, "m1", &["verify"]);
}

#[test]
fn garbage_in_a_bucket_is_found_and_goes_and_stages_go_for_all() {
    let Some(bucket) = Bucket::start() else { return };
    let program = Program::new();
    let spec = spec(&program);
    bucket.ok(&program, "one", &["run", &spec]);
    let mirror = |machine: &str| {
        let stores = std::fs::read_dir(program.path(machine).join("stores")).expect("a copy");
        stores.map(|entry| entry.expect("an entry").path()).next().expect("a copy")
    };
    let keys = |folder: PathBuf| std::fs::read_dir(folder).expect("a folder").count();
    bucket.ok(&program, "two", &["verify"]);
    let before = keys(mirror("two").join("stages"));
    // A run that is gone leaves stages that nothing refers to.
    let ids: Vec<String> =
        bucket.runs(&program, "one").iter().map(|run| run["run"].as_str().expect("an id").to_owned()).collect();
    let mut delete = Command::new(python("boto3").expect("moto needs it"));
    let script = "import boto3, sys\nboto3.client('s3').delete_object(Bucket='results', Key='team/runs/' + sys.argv[1] + '.json')";
    delete.args(["-c", script, &ids[0]]).env("AWS_ENDPOINT_URL", &bucket.address).env("AWS_REGION", "us-east-1");
    delete
        .env("AWS_ACCESS_KEY_ID", "tester")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_DEFAULT_REGION", "us-east-1");
    assert!(delete.status().expect("Python starts").success());
    let dry = bucket.ok(&program, "one", &["gc", "--stages", "--grace", "0"]);
    assert!(dry.contains("would be removed") && !dry.contains("0 files"), "{dry}");
    bucket.ok(&program, "one", &["gc", "--stages", "--grace", "0", "--delete"]);
    bucket.ok(&program, "two", &["verify"]);
    assert!(keys(mirror("two").join("stages")) < before, "what is gone from the bucket goes from every copy");
    assert!(bucket.ok(&program, "two", &["run", &spec]).contains("1 made, 5 found"));
    bucket.ok(&program, "three", &["verify"]);
}

#[test]
fn a_bucket_that_cannot_be_reached_is_one_clear_message() {
    let Some(bucket) = Bucket::start() else { return };
    let program = Program::new();
    let spec = spec(&program);
    let mut command = bucket.command(&program, "one", &["run", &spec]);
    let output = command.env("ABLATE_STORE", "s3://nobody/team").output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.contains("s3://nobody/team") && said.contains("bucket"), "{said}");
    let mut command = bucket.command(&program, "one", &["list"]);
    let output = command.env("ABLATE_STORE", "s3:///x").output().expect("the program starts");
    assert!(String::from_utf8_lossy(&output.stderr).contains("lacks the bucket"));
}

#[test]
fn a_dead_process_s_leases_are_taken_over_at_once_here_and_after_a_while_elsewhere() {
    let Some(bucket) = Bucket::start() else { return };
    let program = Program::new();
    let long = SMALL.replace("max_epochs = 4", "max_epochs = 300\npatience = 300");
    let killed = |machine: &str, spec: &str| {
        let mut command = bucket.command(&program, machine, &["run", spec]);
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(2500));
        assert!(child.try_wait().expect("its state").is_none(), "it should still train");
        child.kill().expect("a kill");
        child.wait().expect("its end");
    };
    let spec = program.file("one.toml", &long);
    killed("here", &spec);
    let clock = Instant::now();
    assert!(bucket.ok(&program, "here", &["run", &spec]).contains("2 made"));
    let here = clock.elapsed();
    let spec = program.file("two.toml", &long.replace("hidden_size = 16", "hidden_size = 8"));
    killed("here", &spec);
    let clock = Instant::now();
    let said = bucket.ok(&program, "elsewhere", &["run", &spec]);
    assert!(said.contains("1 made, 1 found"), "{said}");
    let elsewhere = clock.elapsed();
    assert!(elsewhere > Duration::from_secs(35), "taken from the living after {elsewhere:?}");
    assert!(here < elsewhere, "{here:?} where it died, {elsewhere:?} elsewhere");
}
