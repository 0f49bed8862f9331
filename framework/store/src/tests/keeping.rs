//! Tags, verification, garbage and bundles.

use super::{manifest, record, refused, store};
use crate::{Store, belongs, hash_bytes, hash_json};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

/// A store with one run, its three stages and their objects, as a real run leaves them; gives the run's id.
fn with_a_run(store: &Store) -> String {
    let mut traces = Vec::new();
    let mut files = Vec::new();
    for stage in ["dataset", "recommender", "evaluator"] {
        let inputs = json!({ "plugin": stage });
        let key = hash_json(&json!({ "stage": stage, "inputs": inputs }));
        let folder = store.temporary().unwrap();
        fs::write(folder.path().join("file"), stage).unwrap();
        let mut made = record(&key);
        (made.stage, made.inputs, made.notes) = (stage.into(), inputs, json!({"auc": 0.5}));
        files.push(json!(store.commit_stage(folder.path(), made, false).unwrap().0.files));
        traces.push(json!({ "stage": stage, "key": key }));
    }
    let id = traces[2]["key"].as_str().unwrap().to_owned();
    let mut run = manifest(&id, "2025", 0.1);
    run["metrics"] = json!({"auc": 0.5});
    run["outcome"] = json!({ "metrics": {"auc": 0.5}, "checkpoint": files[1], "scores": files[2] });
    run["stages"] = json!(traces);
    run["fingerprint"] = json!("data");
    run["log"] = json!(store.put_bytes(b"log").unwrap());
    store.commit_run(&id, &run, false).unwrap();
    store.record_opening("data", &json!({ "run": id })).unwrap();
    id
}

/// Puts other bytes in the place of a file, read-only or not.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn age(path: &Path, by: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
}

fn age_all(folder: &Path, by: Duration) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age_all(&path, by);
        }
        age(&path, by);
    }
}

#[test]
fn a_tag_never_changes() {
    let (_folder, store) = store();
    for id in ["a", "b"] {
        store.commit_run(id, &manifest(id, "t", 0.1), false).unwrap();
    }
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let (tag, new) = store.commit_tag("paper-v1.0", "ablate tag", &ids(&["a", "b", "a"])).unwrap();
    assert!(new && tag.runs.len() == 2 && tag.runs[0].seed == Some(7));
    assert_eq!(store.tag("paper-v1.0").unwrap(), Some(tag.clone()));
    let again = store.commit_tag("paper-v1.0", "another command", &ids(&["a", "b"])).unwrap();
    assert_eq!(again, (tag.clone(), false));
    refused(store.commit_tag("paper-v1.0", "", &ids(&["a"])), &["`paper-v1.0`", "1 of its own would go", "fix:"]);
    assert_eq!(store.commit_tag("other", "", &ids(&["a", "b"])).unwrap().0.hash, tag.hash, "the list alone is hashed");
    refused(store.commit_tag("x", "", &ids(&["zz"])), &["run zz is not in the store"]);
    refused(store.commit_tag("x", "", &[]), &["at least one run"]);
    for name in ["", ".hidden", "../up", "a b", "a/b", "ä"] {
        refused(store.commit_tag(name, "", &ids(&["a"])), &["cannot name a tag", "fix:"]);
    }
    assert_eq!(store.tag_names().unwrap(), ["other", "paper-v1.0"]);
    let path = store.root().join("tags/other.json");
    let text = fs::read_to_string(&path).unwrap();
    replace(&path, text.replace("\"full\"", "\"half\"").as_bytes());
    refused(store.tag("other"), &["damaged", "other.json", "fix:"]);
    replace(&path, text.replace("\"format\": 1", "\"format\": 9").as_bytes());
    refused(store.tag("other"), &["format 9", "newer ablate"]);
}

#[test]
fn verification_names_what_is_wrong() {
    let (_folder, store) = store();
    let id = with_a_run(&store);
    store.commit_tag("v1", "", std::slice::from_ref(&id)).unwrap();
    let found = store.verify().unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!((found.objects, found.stages, found.runs, found.tags, found.lean), (4, 3, 1, 1, 0));

    let problems = |store: &Store| {
        let problems = store.verify().unwrap().problems;
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let object = store.get(&hash_bytes(b"dataset")).unwrap();
    replace(&object, b"datasat");
    let text = problems(&store);
    assert!(text.contains("damaged") && text.contains(object.to_str().unwrap()) && text.contains("fix:"), "{text}");
    fs::remove_file(&object).unwrap();
    assert!(problems(&store).contains("`file`, a file of the dataset, is not in the store"));
    replace_after_removal(&object, b"dataset");
    assert_eq!(problems(&store), "");

    let path = store.root().join(format!("runs/{id}.json"));
    let good = fs::read_to_string(&path).unwrap();
    replace(&path, good.replace("0.5", "0.6").as_bytes());
    let text = problems(&store);
    assert!(text.contains("not those that its evaluator computed") && text.contains("another hash"), "{text}");
    fs::remove_file(&path).unwrap();
    assert!(problems(&store).contains("is not in the store"));
    replace_after_removal(&path, good.as_bytes());
    fs::remove_file(store.get(&hash_bytes(b"log")).unwrap()).unwrap();
    assert!(problems(&store).contains("`log`"));

    // Without the recommender's stage it is a lean store, in which scores alone must be.
    let keys = store.stages().unwrap().into_iter().filter(|stage| stage.stage != "evaluator");
    keys.for_each(|stage| fs::remove_file(store.root().join(format!("stages/{}.json", stage.key))).unwrap());
    fs::remove_file(store.get(&hash_bytes(b"recommender")).unwrap()).unwrap();
    assert_eq!((problems(&store).as_str(), store.verify().unwrap().lean), ("", 1));
    fs::remove_file(store.get(&hash_bytes(b"evaluator")).unwrap()).unwrap();
    assert!(problems(&store).contains("outcome.scores.file"));
}

fn replace_after_removal(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_stage_under_a_wrong_key_is_found() {
    let (_folder, store) = store();
    let folder = store.temporary().unwrap();
    store.commit_stage(folder.path(), record("k"), false).unwrap();
    let problems = store.verify().unwrap().problems;
    assert!(problems.len() == 1 && problems[0].to_string().contains("do not have the hash that is its key"));
}

#[test]
fn garbage_is_what_nothing_refers_to_and_is_old() {
    let (_folder, store) = store();
    with_a_run(&store);
    let lonely = store.put_bytes(b"lonely").unwrap();
    let folder = store.temporary().unwrap();
    fs::write(folder.path().join("file"), b"of a stage").unwrap();
    store.commit_stage(folder.path(), record("stage"), false).unwrap();
    drop(folder);
    for key in ["held", "left"] {
        fs::write(store.work(key).unwrap().join("checkpoint"), b"1").unwrap();
    }
    fs::write(store.root().join("tmp/half"), b"12").unwrap();
    assert_eq!(store.garbage(HOUR, true).unwrap(), [], "all of it is young");
    age_all(store.root(), 2 * HOUR);

    let kinds = |stages| {
        let garbage = store.garbage(HOUR, stages).unwrap();
        garbage.into_iter().map(|garbage| garbage.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(false), ["object", "tmp", "work", "work"]);
    assert_eq!(kinds(true), ["object", "object", "stage", "tmp", "work", "work"]);
    let lock = store.try_lock("held").unwrap().unwrap();
    assert_eq!(kinds(true), ["object", "work"], "somebody works: tmp, stages and the work under the lock stay");
    let fresh = store.put_bytes(b"about to be committed").unwrap();
    assert_eq!(store.garbage(Duration::ZERO, true).unwrap().len(), 2, "not even without a grace period");
    drop(lock);
    fs::remove_file(store.get(&fresh).unwrap()).unwrap();

    store.put_bytes(b"lonely").unwrap();
    assert_eq!(kinds(false), ["tmp", "work", "work"], "an object that is used again is young again");
    age(&store.get(&lonely).unwrap(), 2 * HOUR);
    store.touch_stage("stage").unwrap();
    assert_eq!(kinds(true), ["object", "tmp", "work", "work"], "and so is a stage");
    age(&store.root().join("stages/stage.json"), 2 * HOUR);

    let gone = store.collect_garbage(HOUR, true).unwrap();
    assert_eq!(gone.len(), 6, "{gone:?}");
    assert!(store.get(&lonely).is_err() && !store.root().join("work/left").exists());
    assert_eq!(store.garbage(Duration::ZERO, true).unwrap(), []);
    assert!(store.verify().unwrap().problems.is_empty(), "no run lost anything");
}

#[test]
fn what_cannot_be_read_may_refer_to_anything() {
    let (_folder, store) = store();
    let id = with_a_run(&store);
    store.put_bytes(b"lonely").unwrap();
    replace(&store.root().join(format!("runs/{id}.json")), b"{");
    refused(store.collect_garbage(Duration::ZERO, true), &["damaged", &id]);
    assert_eq!(store.verify().unwrap().objects, 5, "nothing was removed");
}

#[test]
fn every_byte_is_counted_once() {
    let (_folder, store) = store();
    with_a_run(&store);
    store.put_bytes(b"lonely").unwrap();
    let usage: std::collections::BTreeMap<String, _> = store.usage().unwrap().into_iter().collect();
    for (kind, bytes) in [("dataset", 7), ("recommender", 11), ("evaluator", 9), ("logs", 3), ("unreferenced", 6)] {
        assert_eq!((usage[kind].files, usage[kind].bytes), (1, bytes), "{kind}");
    }
    assert_eq!((usage["runs"].files, usage["stages"].files, usage["openings"].files), (1, 3, 1));
}

#[test]
fn stores_are_merged_or_left_alone() {
    let (_folder, one) = store();
    let id = with_a_run(&one);
    one.commit_tag("v1", "", std::slice::from_ref(&id)).unwrap();
    let files = one.bundle("v1", false).unwrap();
    assert_eq!(files.len(), 4 + 1 + 3 + 1 + 1, "{files:?}");
    assert!(files.iter().all(|path| belongs(path)) && files.last().unwrap() == "tags/v1.json");
    assert_eq!(one.bundle("v1", true).unwrap().len(), 1 + 1 + 1 + 1 + 1);
    refused(one.bundle("v2", false), &["no tag is called `v2`"]);

    let (_folder, two) = store();
    let merged = two.merge(&one).unwrap();
    assert_eq!((merged.added, merged.found), (10, 0));
    assert_eq!((two.merge(&one).unwrap().added, two.verify().unwrap().problems.len()), (0, 0));
    assert_eq!(two.openings("data").unwrap(), 1);

    let (_folder, three) = store();
    let mut other: Value = one.run(&id).unwrap().unwrap();
    other["started"] = json!("2026");
    three.commit_run(&id, &other, false).unwrap();
    refused(three.merge(&one), &["other content", &id, "nothing was added"]);
    assert_eq!(three.verify().unwrap().objects, 0, "nothing was added");
}

#[test]
fn only_places_of_a_store_belong_to_a_bundle() {
    let hash = hash_bytes(b"x");
    assert!(belongs(&format!("objects/{}/{}", &hash[..2], &hash[2..])));
    assert!(belongs("stages/k.json") && belongs("runs/k.json") && belongs("tags/v1.0.json"));
    assert!(belongs("openings/data/2025-w.json"));
    for path in [
        "",
        "/etc/passwd",
        "../x.json",
        "runs/../x.json",
        "runs/x",
        "runs//x.json",
        "format.json",
        "work/k/file",
        "objects/ab/cd",
        "tags/.json",
        "tags/..json",
        "openings/../x.json",
        "./runs/x.json",
        "runs\\x.json",
    ] {
        assert!(!belongs(path), "{path}");
    }
}
