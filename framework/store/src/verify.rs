//! Checks everything in the store that can be checked without running anything: bytes against their hashes, records
//! against the keys they stand under, references against what is there. It changes nothing.

use super::files::Object;
use super::mirror::Hashing;
use super::{Store, hash_file, hash_json};
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Verified {
    /// Objects.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Stage records.
    pub stages: usize,
    /// Runs.
    pub runs: usize,
    /// Those of the runs whose data, checkpoint and log were left out of this store, which is allowed.
    pub lean: usize,
    /// Tags.
    pub tags: usize,
    /// Each with its file and a remedy.
    pub problems: Vec<Error>,
}

const RUN_REMEDY: &str = "restore this file from a copy, or delete it and run it again";
const STAGE_REMEDY: &str = "delete this file; the stage is then made again";

impl Store {
    /// Checks objects, stages, runs and tags.
    pub fn verify(&self) -> Result<Verified> {
        let mut found = Verified::default();
        let present = self.verify_objects(&mut found)?;
        for key in sorted(self.names(Path::new("stages"))?) {
            found.stages += 1;
            if let Err(problem) = self.verify_stage(&key, &present, &mut found.problems) {
                found.problems.push(problem);
            }
        }
        for id in sorted(self.names(Path::new("runs"))?) {
            found.runs += 1;
            match self.verify_run(&id, &present, &mut found.problems) {
                Ok(lean) => found.lean += usize::from(lean),
                Err(problem) => found.problems.push(problem),
            }
        }
        for name in self.tag_names()? {
            found.tags += 1;
            if let Err(problem) = self.verify_tag(&name, &mut found.problems) {
                found.problems.push(problem);
            }
        }
        Ok(found)
    }

    /// Hashes every object and gives the names of those that are there, damaged ones too.
    fn verify_objects(&self, found: &mut Verified) -> Result<HashSet<String>> {
        let objects = self.objects()?;
        let remedy = "restore this file from a copy; or delete it and give the run's command again, which makes it";
        let checked: Vec<Option<Error>> = objects
            .par_iter()
            .map(|object| match self.hash_object(object) {
                Ok(hash) if hash == object.hash => None,
                Ok(hash) => Some(
                    Error::new(format!("the object is damaged: its bytes have the hash {hash}"))
                        .at(object.path.display())
                        .fix(remedy),
                ),
                Err(error) => Some(error.fix(remedy)),
            })
            .collect();
        found.objects = objects.len();
        found.bytes = objects.iter().map(|object| object.bytes).sum();
        found.problems.extend(checked.into_iter().flatten());
        Ok(objects.into_iter().map(|object| object.hash).collect())
    }

    /// The hash of an object's bytes where they are kept.
    fn hash_object(&self, object: &Object) -> Result<String> {
        let Some((remote, name)) = self.remote(&object.path) else { return hash_file(&object.path) };
        let mut hashing = Hashing { hasher: blake3::Hasher::new(), out: &mut std::io::sink() };
        remote.read(&name, &mut hashing)?;
        Ok(hashing.hasher.finalize().to_hex().to_string())
    }

    fn verify_stage(&self, key: &str, present: &HashSet<String>, problems: &mut Vec<Error>) -> Result<()> {
        let path = self.entry("stages", key)?;
        let Some(record) = self.known_stage(key)? else { return Ok(()) };
        let mut wrong = |what: String| problems.push(Error::new(what).at(path.display()).fix(STAGE_REMEDY));
        if record.key != key {
            wrong(format!("the file is damaged: it is the record of stage {}", record.key));
        }
        if hash_json(&json!({ "stage": record.stage, "inputs": record.inputs })) != key {
            wrong("the stage's inputs do not have the hash that is its key".into());
        }
        for (name, _) in record.files.iter().filter(|(_, hash)| !present.contains(*hash)) {
            wrong(format!("the object of `{name}`, a file of the {}, is not in the store", record.stage));
        }
        Ok(())
    }

    /// Says whether the run is a lean one: only its scores were kept.
    fn verify_run(&self, id: &str, present: &HashSet<String>, problems: &mut Vec<Error>) -> Result<bool> {
        let path = self.entry("runs", id)?;
        let Some(record) = self.run(id)? else { return Ok(false) };
        let mut wrong = |what: String| problems.push(Error::new(what).at(path.display()).fix(RUN_REMEDY));
        if record["run"].as_str() != Some(id) || !record["started"].is_string() {
            wrong(format!("the file is damaged: it is not the manifest of run {id}"));
            return Ok(false);
        }
        let outcome = &record["outcome"];
        if record["metrics"] != outcome["metrics"] {
            wrong("the run's `metrics` are not those of its `outcome`".into());
        }
        let mut lean = true;
        for trace in record["stages"].as_array().into_iter().flatten() {
            let (stage, key) = (trace["stage"].as_str().unwrap_or_default(), trace["key"].as_str().unwrap_or_default());
            if stage == "evaluator" && key != id {
                wrong(format!("the run's id is not the key of its evaluator, {key}"));
            }
            let Ok(Some(made)) = self.known_stage(key) else { continue };
            lean &= stage != "recommender";
            let files = json!(made.files);
            match stage {
                "recommender" if files != outcome["checkpoint"] => {
                    wrong("the run's `checkpoint` is not what its recommender left".into());
                }
                "evaluator" if files != outcome["scores"] => {
                    wrong("the run's `scores` are not what its evaluator left".into());
                }
                "evaluator" if means(&made.notes) != means(&record["metrics"]) => {
                    wrong("the run's `metrics` are not those that its evaluator computed".into());
                }
                _ => {}
            }
        }
        for (name, hash) in needed(&record) {
            let left_out = lean && !name.starts_with("outcome.scores");
            if !present.contains(&hash) && !left_out {
                wrong(format!("the object of the run's `{name}` is not in the store: {hash}"));
            }
        }
        Ok(lean)
    }

    fn verify_tag(&self, name: &str, problems: &mut Vec<Error>) -> Result<()> {
        let path = self.tag_path(name)?;
        for run in self.tag(name)?.map(|tag| tag.runs).unwrap_or_default() {
            let what = match self.manifest_hash(&run.run)? {
                Some(hash) if hash == run.manifest => continue,
                Some(_) => "is not the one that was tagged: its manifest has another hash",
                None => "is not in the store",
            };
            let what = format!("run {} ({} seed {}) {what}", run.run, run.variant, run.seed.unwrap_or_default());
            let remedy = "restore the run's manifest from a copy, or `ablate import` an archive of this tag";
            problems.push(Error::new(what).at(path.display()).fix(remedy));
        }
        Ok(())
    }
}

/// Metrics without their intervals, which another version of the program computes otherwise from the same scores.
fn means(metrics: &Value) -> Value {
    let mut means = metrics.clone();
    for summary in means.as_object_mut().into_iter().flat_map(|metrics| metrics.values_mut()) {
        if let Some(summary) = summary.as_object_mut() {
            ["low", "high"].iter().for_each(|bound| drop(summary.remove(*bound)));
        }
    }
    means
}

/// The objects that a run names, by where it names them.
fn needed(record: &Value) -> BTreeMap<String, String> {
    let files = ["checkpoint", "scores"].into_iter().flat_map(|part| {
        let files = record["outcome"][part].as_object().into_iter().flatten();
        files.map(move |(name, hash)| (format!("outcome.{part}.{name}"), hash))
    });
    let log = record.get("log").map(|hash| ("log".to_owned(), hash));
    let text = |hash: &Value| hash.as_str().unwrap_or_default().to_owned();
    files.chain(log).map(|(name, hash)| (name, text(hash))).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
