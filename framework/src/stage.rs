//! One stage: its key, and its artifact found in the store or made.

use crate::context::{Context, is_interrupted};
use crate::error::{Error, Explain, Result};
use crate::store::{Committed, Cost, StageRecord, Store, hash_json, now};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A stage and everything that decides what it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its role: `dataset`, `recommender`, `evaluator`.
    pub name: &'static str,
    /// All that its artifact depends on, the inputs of earlier stages included.
    pub inputs: Value,
    /// The hash of that.
    pub key: String,
}

impl Stage {
    /// The stage that plays `name` with `inputs`.
    pub fn new(name: &'static str, inputs: Value) -> Self {
        let key = hash_json(&serde_json::json!({ "stage": name, "inputs": inputs }));
        Self { name, inputs, key }
    }
}

/// What a run's record keeps of each stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The stage's role.
    pub stage: String,
    /// The key of its artifact.
    pub key: String,
    /// Whether the artifact was there already.
    pub found: bool,
    /// Wall time of making it in seconds; of the run that made it, when found.
    pub seconds: f64,
    /// Peak resident memory of the process while making it, in MiB.
    pub peak_memory_mb: f64,
    /// What it cost besides.
    #[serde(default)]
    pub cost: Cost,
    /// Whether it depends on the run's seed; none where it was made before that was kept.
    #[serde(default)]
    pub random: Option<bool>,
    /// The keys that differ from the most similar artifact there was, when made.
    pub because: Vec<String>,
}

/// An artifact, laid out in a folder until dropped.
pub struct Artifact {
    /// What is in the store about it.
    pub record: StageRecord,
    /// How it came here.
    pub trace: Trace,
    folder: tempfile::TempDir,
}

impl Artifact {
    /// The folder with its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it was made just now in the place of one that differed.
    pub fn took_a_place(&self) -> bool {
        !self.trace.found && self.record.replaces.is_some()
    }
}

/// What making a stage leaves besides its files.
pub struct Made {
    notes: Value,
    cost: Cost,
    random: bool,
}

impl Made {
    /// With what the stage wants to say about itself, and what its surroundings saw.
    pub fn new(notes: Value, cx: &Context) -> Self {
        Self { notes, cost: cx.cost(), random: cx.is_random() }
    }

    /// Of stages of their own, which count for themselves.
    pub fn of_stages(notes: Value) -> Self {
        Self { notes, cost: Cost::default(), random: false }
    }
}

/// Finds the stage's artifact, or calls `make` with an empty folder to fill and commits what it left there.
///
/// One that was made from other artifacts than `upstream` is made again, and so is a `fresh` one; what it leaves then
/// takes the earlier one's place. A panic inside `make` becomes an error that names the stage.
pub fn found_or_made(
    store: &Store,
    stage: &Stage,
    fresh: bool,
    upstream: &[&Artifact],
    make: impl FnOnce(&Path, &Path) -> Result<Made>,
) -> Result<Artifact> {
    let _lock = store.lock(&stage.key, &is_interrupted)?;
    let upstream = upstream.iter().map(|artifact| (artifact.record.key.clone(), artifact.record.content())).collect();
    let known = store.stage(&stage.key)?;
    let stale = known.as_ref().is_some_and(|record| is_stale(record, &upstream));
    if let (false, Some(record)) = (fresh || stale, known) {
        tracing::info!(stage = stage.name, key = stage.key, "found");
        // Until a run names it, the garbage collection spares it for its age only.
        store.touch_stage(&stage.key)?;
        return artifact(store, record, true, Vec::new());
    }
    let because = because(store, stage)?;
    tracing::info!(stage = stage.name, key = stage.key, ?because, "making");
    let folder = store.temporary()?;
    let work: PathBuf = store.work(&stage.key)?;
    let started = Instant::now();
    reset_peak_memory();
    let Made { notes, cost, random } = guarded(stage.name, || make(folder.path(), &work))?;
    let record = StageRecord {
        format: crate::store::FORMAT,
        key: stage.key.clone(),
        stage: stage.name.into(),
        inputs: stage.inputs.clone(),
        files: Default::default(),
        seconds: started.elapsed().as_secs_f64(),
        made: now(),
        peak_memory_mb: peak_memory_mb(),
        cost,
        random: Some(random),
        upstream,
        replaces: None,
        notes,
    };
    let (record, committed) = store.commit_stage(folder.path(), record, fresh || stale)?;
    store.finish_work(&stage.key)?;
    match committed {
        Committed::Different(files) => {
            return Err(
                Error::new(format!("the stage is not deterministic: {} differ", files.join(", "))).at(stage.name)
            );
        }
        Committed::Replaced(files) if !files.is_empty() => {
            let kept = record.replaces.as_deref().unwrap_or_default();
            tracing::warn!(
                stage = stage.name,
                ?files,
                kept,
                "made again, it left other bytes and took the old one's place"
            );
        }
        _ => {}
    }
    artifact(store, record, false, because)
}

/// Whether a stage was made from other artifacts; one of before that was kept is believed.
fn is_stale(record: &StageRecord, upstream: &BTreeMap<String, String>) -> bool {
    upstream.iter().any(|(key, content)| record.upstream.get(key).is_some_and(|made_from| made_from != content))
}

/// Whether a run's stages, the earlier ones first, are there and were made from one another.
pub fn are_current(store: &Store, stages: &[&Stage]) -> Result<bool> {
    let mut upstream = BTreeMap::new();
    for stage in stages {
        let Some(record) = store.stage_record(&stage.key)? else { continue };
        if is_stale(&record, &upstream) {
            return Ok(false);
        }
        upstream.insert(record.key.clone(), record.content());
    }
    Ok(true)
}

fn artifact(store: &Store, record: StageRecord, found: bool, because: Vec<String>) -> Result<Artifact> {
    let folder = store.temporary()?;
    store.materialize(&record, folder.path())?;
    let trace = Trace {
        stage: record.stage.clone(),
        key: record.key.clone(),
        found,
        seconds: record.seconds,
        peak_memory_mb: record.peak_memory_mb,
        cost: record.cost.clone(),
        random: record.random,
        because,
    };
    Ok(Artifact { record, trace, folder })
}

/// The keys by which a stage differs from the most similar one in the store: why it has to be made.
pub fn because(store: &Store, stage: &Stage) -> Result<Vec<String>> {
    let known = store.stages()?.into_iter().filter(|record| record.stage == stage.name && record.key != stage.key);
    let differences = known.map(|record| differences(&record.inputs, &stage.inputs));
    Ok(differences.min_by_key(Vec::len).unwrap_or_else(|| vec![format!("no {} was made before", stage.name)]))
}

/// The leaves by which two JSON values differ, as `key: old -> new`.
pub fn differences(old: &Value, new: &Value) -> Vec<String> {
    let (old, new) = (leaves(old), leaves(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |value: Option<&Value>| value.map_or("(absent)".to_string(), Value::to_string);
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing.map(|key| format!("{key}: {} -> {}", shown(old.get(key)), shown(new.get(key)))).collect()
}

/// Every leaf of a JSON value by its dotted path.
pub fn leaves(value: &Value) -> std::collections::BTreeMap<String, Value> {
    fn walk(value: &Value, path: &str, out: &mut std::collections::BTreeMap<String, Value>) {
        let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| walk(value, &join(key), out)),
            Value::Array(all) if all.iter().any(|v| v.is_object() || v.is_array()) => {
                all.iter().enumerate().for_each(|(n, value)| walk(value, &join(&n.to_string()), out));
            }
            leaf => {
                out.insert(path.to_string(), leaf.clone());
            }
        }
    }
    let mut out = std::collections::BTreeMap::new();
    walk(value, "", &mut out);
    out
}

/// A panic inside burn or a plugin ends a run, not the program.
pub(crate) fn guarded<T>(stage: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(make));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_string())).unwrap_or_default();
        Err(Error::new(format!("the {stage} panicked: {text}")).fix("this is a bug of the plugin: please report it"))
    });
    result.map_err(|error| error.at(stage))
}

fn reset_peak_memory() {
    // What earlier stages freed is no part of this one.
    crate::allocator::give_back();
    // Linux resets VmHWM when 5 is written there; elsewhere the peak is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The process's peak resident memory in MiB, 0 where the system does not say.
pub fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Hashes files, by name; files of one name in several folders are counted.
pub fn file_hashes(files: &[PathBuf]) -> Result<Value> {
    let (names, hashes) = named_hashes(files)?;
    Ok(names.into_iter().zip(hashes.into_iter().map(Value::String)).collect())
}

/// The names of files, made different by a number where two are alike, and the hashes of their bytes.
pub(crate) fn named_hashes(files: &[PathBuf]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut own = name.clone();
        for n in 2.. {
            if seen.insert(own.clone()) {
                break;
            }
            own = format!("{name} ({n})");
        }
        names.push(own);
    }
    let hash = |path: &PathBuf| crate::store::hash_file(path).explain("hashing data", "dataset");
    Ok((names, files.iter().map(hash).collect::<Result<_>>()?))
}
