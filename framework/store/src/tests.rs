mod keeping;

use super::{Committed, FORMAT, StageRecord, Store, hash_bytes, hash_file, now};
use crate::error::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("results")).unwrap();
    (folder, store)
}

fn record(key: &str) -> StageRecord {
    StageRecord {
        format: FORMAT,
        key: key.to_owned(),
        stage: "dataset".to_owned(),
        inputs: json!({"use": "synthetic"}),
        files: BTreeMap::new(),
        seconds: 0.1,
        made: now(),
        peak_memory_mb: 12.5,
        cost: Default::default(),
        random: None,
        upstream: Default::default(),
        replaces: None,
        notes: Value::Null,
    }
}

fn manifest(id: &str, started: &str, ndcg: f64) -> Value {
    json!({
        "run": id, "started": started, "name": "demo", "variant": "full", "seed": 7, "seconds": 1.25, "status": "done",
        "plan": {"dataset": {"use": "synthetic"}, "recommender": {"use": "sasrec"}},
        "outcome": {"metrics": {"ndcg@10": {"mean": ndcg, "low": 0.0}, "auc": 0.5}},
    })
}

fn refused<T>(result: Result<T, Error>, words: &[&str]) {
    let text = result.err().expect("must be refused").to_string();
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn objects_are_named_by_content_and_read_only() {
    let (folder, store) = store();
    let hash = store.put_bytes(b"some bytes").unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"some bytes").unwrap();
    assert_eq!(store.put_file(&file).unwrap(), hash);
    let object = store.get(&hash).unwrap();
    assert_eq!(hash_file(&object).unwrap(), hash);
    assert_eq!(fs::metadata(&object).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);

    fs::remove_file(&object).unwrap();
    refused(store.get(&hash), &["lacks the object", &hash, "fix:"]);
    refused(store.get("../../etc/passwd"), &["not an object's hash"]);
    refused(store.put_file(&folder.path().join("none")), &["cannot open", "none"]);

    fs::write(&object, b"some").unwrap();
    store.put_bytes(b"some bytes").unwrap();
    assert_eq!(hash_file(&object).unwrap(), hash, "an object that was cut short is written again");
}

#[test]
fn a_store_opens_again_and_a_newer_one_is_refused() {
    let (_folder, store) = store();
    let hash = store.put_bytes(b"x").unwrap();
    for empty in ["stages", "work", "tmp"] {
        fs::remove_dir(store.root().join(empty)).unwrap(); // as git would
    }
    let again = Store::open(store.root()).unwrap();
    assert!(!store.root().join("tmp").exists(), "opening does not write");
    again.get(&hash).unwrap();
    assert_eq!((again.stage("k").unwrap(), again.sweep_tmp(Duration::ZERO).unwrap()), (None, 0));
    again.put_bytes(b"y").unwrap();
    again.work("k").unwrap();

    let format = store.root().join("format.json");
    let write = |text: &str| {
        fs::remove_file(&format).unwrap();
        fs::write(&format, text).unwrap();
    };
    write(r#"{"format": 7}"#);
    refused(Store::open(store.root()), &["format 7", "up to 1", "format.json", "fix:"]);
    write(r#"{"for"#);
    refused(Store::open(store.root()), &["damaged", "format.json", "fix:"]);
    write("[]");
    refused(Store::open(store.root()), &["does not say", "format.json", "fix:"]);
}

#[test]
fn a_stage_is_created_once_and_laid_out_again() {
    let (folder, store) = store();
    let made = folder.path().join("made");
    fs::create_dir_all(made.join("model")).unwrap();
    fs::write(made.join("table.parquet"), b"table").unwrap();
    fs::write(made.join("model/weights"), b"weights").unwrap();
    let (first, committed) = store.commit_stage(&made, record("k1"), false).unwrap();
    assert_eq!(committed, Committed::New);
    assert_eq!(first.files.keys().collect::<Vec<_>>(), ["model/weights", "table.parquet"]);
    assert_eq!(store.stage("k1").unwrap().as_ref(), Some(&first));
    assert_eq!(
        store.commit_stage(&made, StageRecord { seconds: 9.0, ..record("k1") }, false).unwrap().1,
        Committed::Same
    );

    let out = folder.path().join("out");
    store.materialize(&first, &out).unwrap();
    store.materialize(&first, &out).unwrap();
    assert_eq!(fs::read(out.join("model/weights")).unwrap(), b"weights");

    fs::write(made.join("table.parquet"), b"other").unwrap();
    fs::write(made.join("extra"), b"").unwrap();
    let (kept, committed) = store.commit_stage(&made, record("k1"), false).unwrap();
    assert_eq!(committed, Committed::Different(vec!["extra".to_owned(), "table.parquet".to_owned()]));
    assert_eq!((&kept, store.stage("k1").unwrap().as_ref()), (&first, Some(&first)));

    fs::remove_file(store.get(&first.files["table.parquet"]).unwrap()).unwrap();
    assert_eq!(store.stage("k1").unwrap(), None, "a stage whose objects are gone is not there");
    refused(store.materialize(&first, &out), &["lacks the object"]);
    let (second, committed) = store.commit_stage(&made, record("k1"), false).unwrap();
    assert_eq!((committed, store.stage("k1").unwrap()), (Committed::New, Some(second)), "and can be made again");
}

#[test]
fn bad_stages_are_refused() {
    let (folder, store) = store();
    refused(
        store.commit_stage(&folder.path().join("none"), record("k"), false),
        &["cannot read the stage's folder", "none"],
    );
    refused(store.commit_stage(folder.path(), StageRecord { seconds: f64::NAN, ..record("k") }, false), &["finite"]);
    refused(store.stage("../k"), &["cannot name", "fix:"]);
    let hash = store.put_bytes(b"x").unwrap();
    let escape = StageRecord { files: [("../x".to_owned(), hash)].into(), ..record("k") };
    refused(store.materialize(&escape, &folder.path().join("out")), &["leads out", "k.json"]);
    fs::write(store.root().join("stages/k.json"), "{").unwrap();
    refused(store.stage("k"), &["damaged", "k.json", "delete this file"]);
    let newer = StageRecord { format: 9, ..record("k2") };
    store.commit_stage(&store.work("k2").unwrap(), newer, false).unwrap();
    refused(store.stage("k2"), &["format 9", "k2.json"]);
}

#[test]
fn a_run_is_immutable_and_a_different_outcome_is_told() {
    let (_folder, store) = store();
    // This number is one that serde_json may read back as its neighbour.
    let ndcg = 0.122_342_342_342_342_37;
    assert_eq!(store.commit_run("ab1", &manifest("ab1", "t1", ndcg), false).unwrap(), Committed::New);
    let mut again = manifest("ab1", "t2", ndcg);
    again["seconds"] = json!(99);
    assert_eq!(store.commit_run("ab1", &again, false).unwrap(), Committed::Same);
    let differ = Committed::Different(vec!["metrics.ndcg@10.mean".to_owned()]);
    assert_eq!(store.commit_run("ab1", &manifest("ab1", "t1", 0.2), false).unwrap(), differ);
    assert_eq!(store.run("ab1").unwrap().unwrap()["started"], "t1");
    assert_eq!(store.run("none").unwrap(), None);
    refused(store.commit_run("x", &manifest("y", "t", 0.1), false), &["`run`", "x.json"]);
}

#[test]
fn attempts_and_openings_add_up() {
    let (_folder, store) = store();
    assert_eq!(store.openings("data").unwrap(), 0);
    for n in 1..=20 {
        store.record_opening("data", &json!({"run": n})).unwrap();
        store.record_attempt("ab1", &json!({"error": "killed"})).unwrap();
        assert_eq!(store.openings("data").unwrap(), n);
    }
    assert_eq!(fs::read_dir(store.root().join("attempts/ab1")).unwrap().count(), 20);
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let (_folder, store) = store();
    refused(store.find_run("latest"), &["no run is stored yet", "fix:"]);
    for (id, started) in [("abc1", "2025-01-02"), ("abd2", "2025-01-03"), ("abd23", "2025-01-01")] {
        store.commit_run(id, &manifest(id, started, 0.1), false).unwrap();
    }
    assert_eq!(store.find_run("latest").unwrap(), "abd2");
    assert_eq!(store.find_run("abc").unwrap(), "abc1");
    assert_eq!(store.find_run("abd2").unwrap(), "abd2", "a whole id wins over a longer one");
    refused(store.find_run("ab"), &["3 runs begin with `ab`", "abc1", "abd2", "abd23", "fix: give more letters"]);
    refused(store.find_run("zz"), &["begins with `zz`", "`ablate list`"]);
    refused(store.find_run(""), &["`ablate list`"]);
}

#[test]
fn the_index_is_derived() {
    let (_folder, store) = store();
    for n in 0..5 {
        let id = format!("run{n}");
        store.commit_run(&id, &manifest(&id, &format!("2025-01-0{}", 9 - n), 0.25), false).unwrap();
    }
    let listed = store.list().unwrap();
    let first = &listed[0];
    assert_eq!((first.run.as_str(), first.seed, first.seconds), ("run4", Some(7), Some(1.25)));
    assert_eq!((first.dataset.as_str(), first.recommender.as_str()), ("synthetic", "sasrec"));
    assert_eq!(first.metrics, [("auc".to_owned(), 0.5), ("ndcg@10".to_owned(), 0.25)].into());

    let index = store.root().join("index/runs.jsonl");
    let good = fs::read_to_string(&index).unwrap();
    for bad in ["", "\0\0\0\n", &good[..good.len() / 2], &good.replace("0.25", "0.35")] {
        fs::write(&index, bad).unwrap();
        assert_eq!(store.list().unwrap(), listed);
        assert_eq!(fs::read_to_string(&index).unwrap().len(), good.len());
    }
    // Anyone may write the index, and fails to: the list is right all the same.
    fs::remove_dir_all(store.root().join("index")).unwrap();
    fs::write(store.root().join("index"), "").unwrap();
    assert_eq!(store.list().unwrap(), listed);
    fs::remove_file(store.root().join("index")).unwrap();
    store.list().unwrap();

    fs::remove_file(store.root().join("runs/run4.json")).unwrap();
    assert_eq!(store.list().unwrap(), listed[1..]);
    store.commit_run("run4", &manifest("run4", "2026", 0.5), false).unwrap();
    assert_eq!(store.list().unwrap()[4].started, "2026", "a run that was removed and made again is read again");
    fs::remove_file(store.root().join("runs/run3.json")).unwrap();
    fs::write(store.root().join("runs/run3.json"), "{}").unwrap();
    refused(store.list(), &["damaged", "run3.json", "fix:"]);
}

#[test]
fn ten_thousand_runs_are_listed_quickly() {
    let (_folder, store) = store();
    let history: Vec<_> = (0..60).map(|n| json!({"epoch": n, "loss": 1.0 / f64::from(n + 1)})).collect();
    for n in 0..10_000 {
        let id = hash_bytes(&[(n % 256) as u8, (n / 256) as u8]);
        let mut run = manifest(&id, &now(), 0.1);
        run["history"] = json!(history);
        fs::write(store.root().join("runs").join(format!("{id}.json")), run.to_string()).unwrap();
    }
    let timed = || {
        let start = Instant::now();
        assert_eq!(store.list().unwrap().len(), 10_000);
        start.elapsed()
    };
    let (cold, warm) = (timed(), timed());
    println!("10,000 runs: {cold:?} without an index, {warm:?} with it");
    assert!(warm < Duration::from_secs(2) && cold < Duration::from_secs(30), "{cold:?} {warm:?}");
}

#[test]
fn threads_that_race_agree() {
    let (_folder, store) = store();
    let threads = 8;
    let race = |thread: usize| {
        let store = Store::open(store.root()).unwrap();
        let mut won = 0;
        for n in 0..20 {
            let shared = format!("shared{n}");
            match store.commit_run(&shared, &manifest(&shared, "t", 0.5), false).unwrap() {
                Committed::New => won += 1,
                other => assert_eq!(other, Committed::Same),
            }
            let own = format!("own{thread}-{n}");
            assert_eq!(store.commit_run(&own, &manifest(&own, "t", 0.5), false).unwrap(), Committed::New);
            store.put_bytes(shared.as_bytes()).unwrap();
            store.list().unwrap();
        }
        won
    };
    let won: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || race(thread))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 20, "every run is created by exactly one");
    assert_eq!(store.list().unwrap().len(), 20 + threads * 20);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_lock_excludes_everyone_else() {
    let (_folder, store) = store();
    let lock = store.lock("k", &|| unreachable!("nobody holds it")).unwrap();
    assert!(store.try_lock("k").unwrap().is_none());
    assert!(store.try_lock("other").unwrap().is_some());
    assert!(store.lock("k", &|| true).unwrap_err().is_interrupt());
    drop(lock);
    let inside = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let Some(_lock) = store.try_lock("k").unwrap() else { continue };
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    assert!(!store.root().join("work/k.lock").exists());
}

#[test]
fn work_survives_until_it_is_finished_and_tmp_is_swept() {
    let (_folder, store) = store();
    fs::write(store.work("k").unwrap().join("checkpoint"), b"1").unwrap();
    assert!(store.work("k").unwrap().join("checkpoint").exists());
    store.finish_work("k").unwrap();
    store.finish_work("k").unwrap();
    assert!(!store.root().join("work/k").exists());

    fs::write(store.root().join("tmp/left"), b"").unwrap();
    fs::create_dir(store.root().join("tmp/folder")).unwrap();
    assert_eq!(store.sweep_tmp(Duration::from_secs(60)).unwrap(), 0);
    assert_eq!(store.sweep_tmp(Duration::ZERO).unwrap(), 2);
}

#[test]
fn a_disk_that_refuses_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let text = |kind: ErrorKind| super::failing("cannot write", Path::new("/there"))(io::Error::from(kind)).to_string();
    assert!(text(ErrorKind::StorageFull).contains("free space"));
    assert!(text(ErrorKind::ReadOnlyFilesystem).contains("another folder"));
    fs::write(folder.path().join("file"), b"").unwrap();
    refused(Store::open(&folder.path().join("file/results")), &["cannot", "file/results"]);

    let store = Store::open(&folder.path().join("results")).unwrap();
    store.commit_run("r", &manifest("r", "t", 0.1), false).unwrap();
    let folders = ["", "runs", "tmp", "index", "work", "objects"].map(|name| store.root().join(name));
    let set = |mode| folders.iter().for_each(|path| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap());
    set(0o555);
    let root_user = fs::write(store.root().join("probe"), b"").is_ok(); // no permission stops root
    if !root_user {
        refused(store.put_bytes(b"x"), &["cannot write to the results store", "tmp", "fix: let yourself"]);
        refused(store.lock("k", &|| false), &["cannot lock", "fix: let yourself"]);
        assert_eq!(Store::open(store.root()).unwrap().list().unwrap().len(), 1, "it can still be read");
    }
    set(0o755);
}

const CHILD: &str = "ABLATE_TEST_KILLED_STORE";

/// Not a test of its own: the process that the next test starts and kills.
#[test]
fn killed_child() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let store = Store::open(Path::new(&root)).unwrap();
    let _lock = store.lock("child", &|| false).unwrap();
    for n in 0.. {
        let bytes = format!("{} {n}", std::process::id()).repeat(1 + n % 500);
        let object = store.put_bytes(bytes.as_bytes()).unwrap();
        let id = hash_bytes(format!("run {bytes}").as_bytes());
        let mut run = manifest(&id, &now(), 0.1);
        run["outcome"]["objects"] = json!([object]);
        store.commit_run(&id, &run, false).unwrap();
        // Not println!, which the test harness captures.
        writeln!(io::stdout(), "ack {id}").unwrap();
    }
}

#[test]
fn what_was_acknowledged_outlives_kill_9() {
    let (_folder, store) = store();
    let name = format!("{}::killed_child", module_path!().split_once("::").unwrap().1);
    let mut acknowledged = 0;
    for round in 0..20_u8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture", "--test-threads=1"])
            .env(CHILD, store.root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let random = u64::from(blake3::hash(format!("{round} {}", now()).as_bytes()).as_bytes()[0]);
        std::thread::sleep(Duration::from_millis(20 + random / 2));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap().stdout;
        assert!(store.try_lock("child").unwrap().is_some(), "the kernel gave a dead process's lock back");
        let output = String::from_utf8(output).unwrap();
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for id in whole.lines().filter_map(|line| line.split_once("ack ")).map(|(_, id)| id) {
            let run = store.run(id).unwrap().expect("an acknowledged run is there");
            let object = run["outcome"]["objects"][0].as_str().unwrap();
            assert_eq!(hash_file(&store.get(object).unwrap()).unwrap(), object);
            acknowledged += 1;
        }
        assert!(store.list().is_ok(), "and what was not acknowledged is whole or not there");
    }
    println!("{acknowledged} acknowledged runs, {} listed", store.list().unwrap().len());
    assert!(acknowledged > 0);
    store.sweep_tmp(Duration::ZERO).unwrap();
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
}
