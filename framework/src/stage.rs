//! One stage: its key, and its artifact found in the store or made.

use crate::context::is_interrupted;
use crate::error::{Error, Explain, Result};
use crate::store::{Committed, Cost, StageRecord, Store, hash_json, now};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
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
}

/// Finds the stage's artifact, or calls `make` with an empty folder to fill and commits what it left there.
///
/// `make` gives notes for the record, and what it cost. A panic inside it becomes an error that names the stage.
pub fn found_or_made(
    store: &Store,
    stage: &Stage,
    fresh: bool,
    make: impl FnOnce(&Path, &Path) -> Result<(Value, Cost)>,
) -> Result<Artifact> {
    let _lock = store.lock(&stage.key, &is_interrupted)?;
    if let (false, Some(record)) = (fresh, store.stage(&stage.key)?) {
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
    let (notes, cost) = guarded(stage.name, || make(folder.path(), &work))?;
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
        notes,
    };
    let (record, committed) = store.commit_stage(folder.path(), record)?;
    store.finish_work(&stage.key)?;
    if let Committed::Different(files) = committed {
        tracing::warn!(stage = stage.name, ?files, "not deterministic: made again, it left other bytes");
        if !fresh {
            return Err(
                Error::new(format!("the stage is not deterministic: {} differ", files.join(", "))).at(stage.name)
            );
        }
    }
    artifact(store, record, false, because)
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
