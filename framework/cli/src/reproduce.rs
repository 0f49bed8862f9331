//! Makes stored runs again from their stored plans, in a store that goes, and compares stage by stage.
//!
//! On the CPU device, with as many threads on the same kind of CPU, the outputs must be the same bit for bit.
//! Elsewhere floating-point sums come in another order, and the new mean must lie in the stored interval.

use framework::ablation::{Plan, plans};
use framework::corpus::Corpus;
use framework::error::{Error, Explain, Result};
use framework::progress::Progress;
use framework::provenance::Code;
use framework::run::{Keys, Runner, keys};
use framework::stage::differences;
use framework::store::{StageRecord, Store, alike, hash_json};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The stores of a comparison, and what runs.
pub struct Reproduction<'a> {
    stored: &'a Store,
    fresh: Store,
    cache: PathBuf,
    runner: Runner,
    /// Where the fresh store is until this is dropped.
    _folder: tempfile::TempDir,
}

/// What came of one run.
pub struct Cell {
    /// In words: how near the new run came, and the first stage whose output differs.
    pub verdict: String,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Each metric's name, stored value and new value.
    pub metrics: Vec<(String, String, String)>,
    /// Whether the stored numbers hold.
    pub reproduced: bool,
}

impl<'a> Reproduction<'a> {
    /// Compares with the runs in `stored`; data is read from `cache`.
    pub fn new(stored: &'a Store, cache: PathBuf, progress: Progress, code: Code) -> Result<Self> {
        // In the system's folder, since a store may be one that we can only read.
        let folder = tempfile::tempdir().explain("making a folder", "TMPDIR")?;
        let fresh = Store::open(&folder.path().join("store"))?;
        let runner = Runner::new(fresh.clone(), cache.clone(), progress, code, Vec::new());
        Ok(Self { stored, fresh, cache, runner, _folder: folder })
    }

    /// Makes a run again and compares it with its record.
    pub fn cell(&mut self, record: &Value) -> Result<Cell> {
        let plan = stored_plan(record)?;
        let keys = keys(&plan, &self.cache).map_err(|error| {
            Error::new(format!("what the run reads is not in the cache: {error}")).fix("`ablate fetch` gets it")
        })?;
        let (data, stored) =
            (hash_json(&keys.dataset.inputs["files"]), record["data_hash"].as_str().unwrap_or_default());
        if data != stored {
            return Err(Error::new(format!("the data in the cache is not that of the run: hash {data}, not {stored}"))
                .at(self.cache.display())
                .fix("get the release of the data that the run was made with: --cache FOLDER"));
        }
        let mut notes = self.reasons(record, &keys)?;
        let new = self.runner.run(&plan)?.record;
        let unlike = unlike(record, &new, &plan.spec.device.0);
        let first = self.first_difference(record, &new)?;
        let outside = outside(record, &new);
        let (verdict, reproduced) = match &first {
            None => ("identical, bit for bit: dataset, recommender, evaluator, metrics".into(), true),
            Some((stage, what)) if unlike.is_empty() || *stage == METRICS => {
                (format!("DIFFERS, first in the {stage}: {what}"), false)
            }
            Some((stage, what)) if !outside.is_empty() => (
                format!("DIFFERS: {} outside of the stored interval; first in the {stage}: {what}", outside.join(", ")),
                false,
            ),
            Some((stage, what)) => {
                notes.push(format!("bit for bit is not to be expected: {}", unlike.join(", ")));
                (format!("agrees: new means within the stored intervals; differs first in the {stage}: {what}"), true)
            }
        };
        Ok(Cell { verdict, notes, metrics: metrics(record, &new), reproduced })
    }

    /// Why this program gives the stored plan another id, if it does.
    fn reasons(&self, record: &Value, keys: &Keys) -> Result<Vec<String>> {
        let id = record["run"].as_str().unwrap_or_default();
        if id == keys.run {
            return Ok(Vec::new());
        }
        let mut notes = vec![format!("this program gives the stored plan another id, {}", &keys.run[..10])];
        if let Some(stage) = self.stored.stage_record(id)? {
            notes
                .extend(differences(&stage.inputs, &keys.evaluator.inputs).into_iter().map(|line| format!("  {line}")));
        }
        Ok(notes)
    }

    /// Whether two datasets are the same, stored in two forms: an earlier program had another one.
    fn are_one_corpus(&self, old: &StageRecord, new: &StageRecord) -> Result<bool> {
        if self.stored.stage(&old.key)?.is_none() {
            return Ok(false);
        }
        let corpus = |store: &Store, record: &StageRecord| {
            let folder = self.fresh.temporary()?;
            store.materialize(record, folder.path())?;
            Corpus::load(folder.path())
        };
        Ok(corpus(self.stored, old)? == corpus(&self.fresh, new)?)
    }

    /// The first stage whose output differs, and in what.
    fn first_difference(&self, stored: &Value, new: &Value) -> Result<Option<(&'static str, String)>> {
        let made =
            |store: &Store, record: &Value| store.stage_record(record["stages"][0]["key"].as_str().unwrap_or_default());
        // A lean store has no record of the dataset; the files that it was made from are the same.
        if let (Some(old), Some(new)) = (made(self.stored, stored)?, made(&self.fresh, new)?)
            && old.files != new.files
            && !self.are_one_corpus(&old, &new)?
        {
            return Ok(Some(("dataset", names(&json!(old.files), &json!(new.files)))));
        }
        let parts = [("recommender", "/outcome/checkpoint"), ("evaluator", "/outcome/scores")];
        for (stage, place) in parts {
            let (old, new) = (stored.pointer(place), new.pointer(place));
            if old != new {
                return Ok(Some((stage, names(old.unwrap_or(&Value::Null), new.unwrap_or(&Value::Null)))));
            }
        }
        for place in ["/metrics", "/outcome/metrics"] {
            // Means alone: the same scores may have had other intervals under an earlier program.
            let at = |record: &Value| means(record.pointer(place).unwrap_or(&Value::Null));
            let (old, new) = (at(stored), at(new));
            if !alike(&old, &new) {
                let changed = differences(&old, &new).join(", ");
                return Ok(Some((METRICS, changed)));
            }
        }
        Ok(None)
    }
}

/// Not a stage, but what the evaluator sums up. Where the scores are the same and these are not, the record is wrong.
const METRICS: &str = "evaluator's metrics";

/// The plan that a run's record holds.
pub(crate) fn stored_plan(record: &Value) -> Result<Plan> {
    let id = record["run"].as_str().unwrap_or_default();
    let mut table: framework::toml::Table =
        serde_json::from_value(record["plan"].clone()).explain("reading the stored plan", id)?;
    // What a report says of a run is no part of it, and an earlier program had other words for it.
    table.remove("comparison");
    let unreadable = |what: String| {
        let made = &record["provenance"];
        Error::new(format!("this program cannot read the stored plan: {what}"))
            .at(format!("run {id}"))
            .fix(format!("the program that made it: ablate {}, revision {}", made["ablate"], made["git_revision"]))
    };
    let (_, plans) = plans(&table).map_err(|problems| {
        let all = problems.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message));
        unreadable(all.collect::<Vec<_>>().join("; "))
    })?;
    plans.into_iter().next().ok_or_else(|| unreadable("it has no runs".into()))
}

/// The metrics without their intervals.
fn means(metrics: &Value) -> Value {
    let metrics = metrics.as_object().into_iter().flatten();
    metrics.map(|(name, summary)| (name.clone(), json!({ "mean": summary["mean"], "n": summary["n"] }))).collect()
}

/// Why the same bytes are not to be expected; nothing if they are.
fn unlike(stored: &Value, new: &Value, device: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    if device != "flex" {
        reasons.push(format!("the device is {device}"));
    }
    for key in ["threads", "cores", "cpu"] {
        let (old, new) = (&stored["provenance"][key], &new["provenance"][key]);
        if old != new {
            reasons.push(format!("{key} {old} then, {new} now"));
        }
    }
    reasons
}

/// The metrics whose new mean is not in the stored interval.
fn outside(stored: &Value, new: &Value) -> Vec<String> {
    let metrics = stored["metrics"].as_object().into_iter().flatten();
    let out = metrics.filter(|(name, summary)| {
        let mean = new["metrics"][*name]["mean"].as_f64().unwrap_or(f64::NAN);
        match (summary["low"].as_f64(), summary["high"].as_f64()) {
            (Some(low), Some(high)) => !(low..=high).contains(&mean),
            // A metric of the whole test set has no interval to lie in.
            _ => false,
        }
    });
    out.map(|(name, _)| name.clone()).collect()
}

/// The names of the files that differ.
fn names(old: &Value, new: &Value) -> String {
    let differing = differences(old, new);
    let names = differing.iter().filter_map(|line| line.split(": ").next());
    names.collect::<Vec<_>>().join(", ")
}

fn metrics(stored: &Value, new: &Value) -> Vec<(String, String, String)> {
    let shown = |summary: &Value| match (summary["mean"].as_f64(), summary["low"].as_f64(), summary["high"].as_f64()) {
        (Some(mean), Some(low), Some(high)) => format!("{mean:.4} [{low:.4}, {high:.4}]"),
        (Some(mean), ..) => format!("{mean:.4}"),
        _ => "none".to_owned(),
    };
    let metrics = stored["metrics"].as_object().into_iter().flatten();
    metrics.map(|(name, old)| (name.clone(), shown(old), shown(&new["metrics"][name]))).collect()
}
