//! Versions of a set of results: tagged, compared, checked, carried to another store, made again; and housekeeping.

use crate::program::{Program, SMALL, real_data};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Quick to run: two recommenders, nothing to train for long.
fn small() -> String {
    SMALL.replace("max_epochs = 4", "max_epochs = 2")
}

/// Puts other bytes in the place of a read-only file.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("it goes");
    fs::write(path, bytes).expect("it is written");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).expect("a copy") }
    }
}

/// The word behind a tag's name in a line of output: the hash of its list.
fn hash_of(out: &str, tag: &str) -> String {
    let mut words = out.split_whitespace().skip_while(|word| *word != tag);
    words.nth(1).expect("a hash").to_owned()
}

fn run_of(program: &Program, variant: &str) -> String {
    let list = program.ok(&["list", "--json", "--where", &format!("variant={variant}")]).out;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    list[0]["run"].as_str().expect("an id").to_owned()
}

fn object(program: &Program, run: &str, part: &str) -> PathBuf {
    let record: Value = serde_json::from_str(&program.ok(&["show", run, "--json"]).out).expect("JSON");
    let files = record["outcome"][part].as_object().expect("files");
    let hash = files.values().next().and_then(Value::as_str).expect("a hash");
    program.store().join("objects").join(&hash[..2]).join(&hash[2..])
}

#[test]
fn a_tag_pins_runs_and_two_tags_can_be_compared() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    let missing = program.run(&["tag", "v1", &spec]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("2 of the spec's 2 runs are not in the store"), "{}", missing.err);
    assert!(missing.err.contains("sasrec seed 1") && missing.err.contains("ablate run"), "{}", missing.err);
    program.ok(&["run", &spec]);
    let made = program.ok(&["tag", "v1", &spec]).out;
    let found = program.ok(&["tag", "v1", &spec]).out;
    assert!(made.starts_with("made v1") && found.starts_with("found v1"), "{made}{found}");
    assert_eq!(hash_of(&made, "v1"), hash_of(&found, "v1"));
    assert_eq!(hash_of(&program.ok(&["list", "--tags"]).out, "v1"), hash_of(&made, "v1"));

    let changed = ["--set", "recommender.dropout = 0.5"];
    program.ok(&["run", &spec, changed[0], changed[1]]);
    let refused = program.run(&["tag", "v1", &spec, changed[0], changed[1]]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("there with another list") && refused.err.contains("fix:"), "{}", refused.err);
    program.ok(&["tag", "v2", &spec, changed[0], changed[1]]);
    let diff = program.ok(&["diff", "v1", "v2"]).out;
    for part in ["changed  small: sasrec seed 1", "recommender.dropout: 0.2 -> 0.5", "ndcg@10  0.", "as they were: 1"] {
        assert!(diff.contains(part), "{part} is not in {diff}");
    }
    assert!(!diff.contains("added  ") && !diff.contains("removed  "), "{diff}");
    program.ok(&["tag", "sasrec", &run_of(&program, "sasrec")]);
    let diff = program.ok(&["diff", "sasrec", "v1"]).out;
    assert!(diff.contains("added    small: popularity seed 1") && diff.contains("verdict  - -> "), "{diff}");
    assert_eq!(program.ok(&["list", "--tag", "v1"]).out.lines().count(), 2);
    assert!(program.ok(&["list"]).out.lines().count() >= 3);
    assert_eq!(program.run(&["diff", "v1", "latest"]).code, 1);
    for name in ["latest", "../x", "a b", "x.toml"] {
        assert_eq!(program.run(&["tag", name, "latest"]).code, 1, "{name}");
    }
}

#[test]
fn verify_is_quiet_about_a_sound_store_and_names_a_damaged_byte() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    program.ok(&["tag", "v1", &spec]);
    let clean = program.ok(&["verify"]).out;
    assert!(clean.starts_with("sound: ") && clean.contains("2 runs, 1 tags"), "{clean}");
    let path = object(&program, &run_of(&program, "sasrec"), "scores");
    let mut bytes = fs::read(&path).expect("an object");
    bytes[100] ^= 1;
    replace(&path, &bytes);
    let ran = program.run(&["verify"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("the object is damaged") && ran.out.contains(&path.display().to_string()), "{}", ran.out);
    assert!(ran.out.contains("fix:") && ran.out.contains("1 problem:"), "{}", ran.out);
    let archive = program.path("x.zip").display().to_string();
    assert_eq!(program.run(&["export", "v1", &archive]).code, 1, "what is damaged is not handed on");
}

#[test]
fn an_archive_carries_a_tag_to_another_store_whole_or_not_at_all() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    let tag = hash_of(&program.ok(&["tag", "v1", &spec]).out, "v1");
    let archive = program.path("v1.zip").display().to_string();
    program.ok(&["export", "v1", &archive]);
    assert_eq!(program.run(&["export", "v1", &archive]).code, 1, "no file is overwritten");
    let again = program.path("again.zip").display().to_string();
    program.ok(&["export", "v1", &again]);
    assert!(fs::read(&archive).ok() == fs::read(&again).ok(), "the same tag makes the same archive");
    let other = program.path("other").display().to_string();
    let elsewhere = |arguments: &[&str]| program.run(&[arguments, &["--store", &other]].concat());
    let good = fs::read(&archive).expect("the archive");
    for place in [200, good.len() / 3, good.len() / 2, good.len() * 2 / 3] {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        fs::write(program.path("bad.zip"), bytes).expect("a damaged archive");
        let ran = elsewhere(&["import", &program.path("bad.zip").display().to_string()]);
        assert_eq!(ran.code, 1, "byte {place}: {}", ran.out);
        assert!(ran.err.contains("nothing was added"), "{}", ran.err);
        assert_eq!(elsewhere(&["list"]).out, "");
    }
    let imported = elsewhere(&["import", &archive]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    assert_eq!(hash_of(&imported.out, "v1"), tag);
    assert!(elsewhere(&["import", &archive]).out.starts_with("0 files added"), "again it adds nothing");
    assert_eq!(elsewhere(&["report", &spec]).out, program.ok(&["report", &spec]).out);
    assert_eq!(elsewhere(&["verify"]).code, 0);
    let lean = program.path("lean.zip").display().to_string();
    program.ok(&["export", "v1", &lean, "--lean"]);
    let third = program.path("third").display().to_string();
    program.ok(&["import", &lean, "--store", &third]);
    assert!(program.ok(&["verify", "--store", &third]).out.contains("2 without data and checkpoint"));
    assert_eq!(program.ok(&["report", &spec, "--store", &third]).out, program.ok(&["report", &spec]).out);
}

#[test]
fn runs_are_made_again_from_their_records_alone() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    program.ok(&["tag", "v1", &spec]);
    fs::remove_file(&spec).expect("the spec goes");
    let before = program.ok(&["list"]).out;
    let ran = program.ok(&["reproduce", "v1"]);
    assert_eq!(ran.out.matches("identical, bit for bit").count(), 2, "{}", ran.out);
    assert!(ran.out.contains("2 of 2 runs reproduced"), "{}", ran.out);
    assert_eq!(program.ok(&["list"]).out, before, "the store is as it was");
}

/// Changes a run's record behind the store's back.
fn tamper(program: &Program, id: &str, change: impl FnOnce(&mut Value)) {
    let path = program.store().join("runs").join(format!("{id}.json"));
    let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    change(&mut record);
    replace(&path, record.to_string().as_bytes());
}

#[test]
fn a_record_that_was_tampered_with_is_not_reproduced() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    program.ok(&["tag", "v1", &spec]);
    let id = run_of(&program, "popularity");
    let good = fs::read(program.store().join("runs").join(format!("{id}.json"))).expect("a record");
    let says = |words: &[&str], change: &dyn Fn(&mut Value)| {
        tamper(&program, &id, |record| change(record));
        let ran = program.run(&["reproduce", &id]);
        assert_eq!(ran.code, 1, "{}", ran.out);
        words.iter().for_each(|word| assert!(ran.out.contains(word), "{word} is not in {}", ran.out));
        assert!(ran.out.contains("0 of 1 runs reproduced"), "{}", ran.out);
        let tagged = program.run(&["reproduce", "v1"]);
        assert!(tagged.code == 1 && tagged.err.contains("is not the one that was tagged"), "{}", tagged.err);
        replace(&program.store().join("runs").join(format!("{id}.json")), &good);
    };
    says(&["DIFFERS, first in the evaluator's metrics: ndcg@10.mean: 0.9 -> "], &|record| {
        record["metrics"]["ndcg@10"]["mean"] = 0.9.into();
        record["outcome"]["metrics"]["ndcg@10"]["mean"] = 0.9.into();
    });
    says(&["DIFFERS, first in the recommender: "], &|record| {
        let files = record["outcome"]["checkpoint"].as_object_mut().expect("files");
        files.values_mut().for_each(|hash| *hash = "0".repeat(64).into());
    });
    says(&["DIFFERS, first in the evaluator: scores.parquet"], &|record| {
        record["outcome"]["scores"]["scores.parquet"] = "0".repeat(64).into();
    });
    says(&["the data in the cache is not that of the run"], &|record| record["data_hash"] = "0".repeat(64).into());
    says(&["cannot read the stored plan", "recommender.use", "revision"], &|record| {
        record["plan"]["recommender"]["use"] = "gone".into();
    });
    // As if made with other threads: then the bytes may differ, and the means must not leave the intervals.
    let elsewhere = |record: &mut Value| {
        record["provenance"]["threads"] = 999.into();
        record["outcome"]["scores"]["scores.parquet"] = "0".repeat(64).into();
    };
    says(&["DIFFERS: auc outside of the stored interval; first in the evaluator"], &|record| {
        elsewhere(record);
        record["metrics"]["auc"] = serde_json::json!({ "mean": 0.01, "low": 0.0, "high": 0.02, "n": 120 });
    });
    tamper(&program, &id, elsewhere);
    let ran = program.ok(&["reproduce", &id]).out;
    assert!(ran.contains("agrees: new means within the stored intervals") && ran.contains("threads 999 then"), "{ran}");
}

#[test]
fn data_that_is_gone_or_another_is_said() {
    let Some(data) = real_data("ml-100k") else { return };
    let program = Program::new();
    program.ok(&["fetch", "ml-100k", "--from", &data.display().to_string()]);
    let spec = "name = \"ml\"\n[dataset]\nuse = \"movielens\"\n[recommender]\nuse = \"popularity\"\n";
    program.ok(&["run", &program.file("ml.toml", spec)]);
    program.ok(&["reproduce", "latest"]);
    let file = program.path("cache").join("ml-100k/u.data");
    let text = fs::read_to_string(&file).expect("the data");
    replace(&file, text.replacen("\t3\t", "\t4\t", 1).as_bytes());
    let ran = program.run(&["reproduce", "latest"]);
    assert!(ran.code == 1 && ran.out.contains("the data in the cache is not that of the run"), "{}", ran.out);
    fs::remove_dir_all(program.path("cache")).expect("the cache goes");
    let ran = program.run(&["reproduce", "latest"]);
    assert!(ran.code == 1 && ran.out.contains("not in the cache") && ran.out.contains("ablate fetch"), "{}", ran.out);
}

#[test]
fn garbage_goes_only_when_asked_and_results_stay() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    program.ok(&["tag", "v1", &spec]);
    let report = program.ok(&["report", &spec]).out;
    let left = program.store().join("objects/ab").join("0".repeat(62));
    fs::create_dir_all(left.parent().expect("a folder")).expect("a folder");
    fs::write(&left, "nobody's").expect("an object");
    assert!(program.ok(&["gc"]).out.starts_with("0 files"), "it is young");
    let dry = program.ok(&["gc", "--grace", "0", "--stages"]).out;
    assert!(dry.contains(&left.display().to_string()) && dry.contains("1 files") && left.exists(), "{dry}");
    let du: Value = serde_json::from_str(&program.ok(&["du", "--json"]).out).expect("JSON");
    let kinds: Vec<&str> =
        du["parts"].as_array().expect("parts").iter().filter_map(|part| part["kind"].as_str()).collect();
    for kind in ["dataset", "recommender", "evaluator", "logs", "unreferenced", "runs", "tags"] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    assert!(program.ok(&["du"]).out.lines().last().is_some_and(|line| line.starts_with("total")));
    program.ok(&["gc", "--grace", "0", "--stages", "--delete"]);
    assert!(!left.exists());
    program.ok(&["verify"]);
    assert_eq!(program.ok(&["report", &spec]).out, report);
    assert_eq!(program.run(&["gc", "--grace", "soon"]).code, 2);
}

/// A store as the first version of the format left it, so that old stores stay readable. It is never made anew: a
/// change of the format gets a new version, a new fixture, and this test still passes.
#[test]
fn a_store_of_format_1_is_read() {
    let program = Program::new();
    copy(Path::new("tests/fixtures/store_v1"), &program.store());
    assert_eq!(program.ok(&["list"]).out.lines().count(), 3);
    assert!(program.ok(&["verify"]).out.starts_with("sound: "));
    assert_eq!(program.ok(&["list", "--tags"]).out.lines().count(), 2);
    program.ok(&["show", "latest"]);
    program.ok(&["why", "latest"]);
    let diff = program.ok(&["diff", "v1", "v2"]).out;
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("store_v1__diff", diff));
}

#[test]
fn what_a_newer_program_wrote_is_refused_by_name() {
    let program = Program::new();
    copy(Path::new("tests/fixtures/store_v1"), &program.store());
    let id = run_of(&program, "popularity");
    let path = program.store().join("runs").join(format!("{id}.json"));
    let text = fs::read_to_string(&path).expect("a record");
    replace(&path, text.replacen("\"format\": 1", "\"format\": 12", 1).as_bytes());
    let ran = program.run(&["show", &id]);
    assert!(ran.code == 1 && ran.err.contains("format 12") && ran.err.contains("newer ablate"), "{}", ran.err);
    replace(&program.store().join("format.json"), b"{\"format\": 12}");
    let ran = program.run(&["verify"]);
    assert!(ran.code == 1 && ran.err.contains("format 12") && ran.err.contains("newer ablate"), "{}", ran.err);
}

/// The record of a run as the file has it.
fn stored(program: &Program, id: &str) -> Value {
    let path = program.store().join("runs").join(format!("{id}.json"));
    serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON")
}

#[test]
fn what_is_made_again_is_what_is_stored_and_printed() {
    let program = Program::new();
    let spec = program.file("small.toml", &small());
    program.ok(&["run", &spec]);
    // Without what it took.
    let numbers = || {
        let csv = program.ok(&["report", &spec, "--format", "csv"]).out;
        csv.lines().filter(|line| !line.starts_with("cost,")).map(String::from).collect::<Vec<_>>()
    };
    let report = numbers();
    // As a plugin left it whose numbers were wrong, and whose version nobody raised when they were put right: the run of
    // SASRec has the scores of popularity.
    let (own, other) = (run_of(&program, "sasrec"), run_of(&program, "popularity"));
    let (mut record, wrong) = (stored(&program, &own), stored(&program, &other));
    let right = record["metrics"].clone();
    record["metrics"] = wrong["metrics"].clone();
    record["outcome"]["metrics"] = wrong["metrics"].clone();
    record["outcome"]["scores"] = wrong["outcome"]["scores"].clone();
    let path = program.store().join("runs").join(format!("{own}.json"));
    replace(&path, serde_json::to_string_pretty(&record).expect("JSON").as_bytes());
    let stage = |id: &str| program.store().join("stages").join(format!("{id}.json"));
    let mut made: Value = serde_json::from_slice(&fs::read(stage(&own)).expect("a stage")).expect("JSON");
    made["files"] = wrong["outcome"]["scores"].clone();
    made["notes"] = wrong["metrics"].clone();
    replace(&stage(&own), serde_json::to_string_pretty(&made).expect("JSON").as_bytes());
    assert!(program.ok(&["verify"]).out.starts_with("sound: "));
    assert_ne!(numbers(), report);

    // What a tag holds is not replaced.
    program.ok(&["tag", "paper", &spec]);
    let ran = program.run(&["run", &spec, "--fresh", "evaluator"]);
    assert!(ran.code == 1 && ran.err.contains("the tag `paper` holds") && ran.err.contains("reproduce"), "{}", ran.err);
    fs::remove_file(program.store().join("tags/paper.json")).expect("a tag");

    let ran = program.ok(&["run", &spec, "--fresh", "evaluator"]);
    assert!(ran.err.contains("is replaced"), "{}", ran.err);
    assert_eq!(numbers(), report);
    let now = stored(&program, &own);
    assert_eq!(now["metrics"], right);
    let kept = now["replaces"]["record"].as_str().expect("the old record's object");
    let kept = program.store().join("objects").join(&kept[..2]).join(&kept[2..]);
    let kept: Value = serde_json::from_slice(&fs::read(kept).expect("an object")).expect("JSON");
    assert_eq!(kept["metrics"], wrong["metrics"]);
    assert!(program.ok(&["verify"]).out.starts_with("sound: "));
    program.ok(&["gc", "--delete", "--grace", "0"]);
    assert!(program.ok(&["verify"]).out.starts_with("sound: "));
}
