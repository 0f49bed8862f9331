//! Finding runs: the list of all of them, and the run that a few letters of its id mean.
//!
//! The list is kept in `index/runs.jsonl` so that ten thousand manifests need not be parsed each time. That file is
//! derived, never the truth: if it is missing, damaged or behind, the manifests say what belongs in it.

use super::files::{failing, make_parent};
use super::{Store, hash_bytes};
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Raised when [`summarize`] reads a manifest differently, so that older index files are made anew.
const VERSION: u32 = 1;

/// One run in a line: what a list or a table of runs shows. What the manifest does not say is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's id.
    pub run: String,
    /// The experiment's name.
    pub name: String,
    /// Which variant of the experiment.
    pub variant: String,
    /// The seed.
    pub seed: Option<u64>,
    /// When it began, in UTC, as RFC 3339.
    pub started: String,
    /// How long it took.
    pub seconds: Option<f64>,
    /// How it ended.
    pub status: String,
    /// The mean of every metric.
    pub metrics: BTreeMap<String, f64>,
    /// The dataset plugin.
    pub dataset: String,
    /// The recommender plugin.
    pub recommender: String,
}

/// A summary, and the sign by which it is known to be still that of the manifest.
#[derive(Serialize, Deserialize)]
struct Line {
    stamp: Stamp,
    summary: Summary,
}

/// Inode, length and time of change: all of them stay for as long as nobody puts another file in its place.
type Stamp = (u64, u64, i64, i64);

impl Store {
    /// Every run, the earliest first.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let index = self.root().join("index").join("runs.jsonl");
        let mut known = load(&index);
        let mut changed = false;
        let mut lines = Vec::with_capacity(known.len());
        let stamped = |id: String| {
            let path = self.entry("runs", &id)?;
            Ok(stamp(&path)?.map(|stamp| (id, path, stamp)))
        };
        let found: Vec<Option<_>> =
            self.names(Path::new("runs"))?.into_par_iter().map(stamped).collect::<Result<_>>()?;
        for (id, path, stamp) in found.into_iter().flatten() {
            if let Some(line) = known.remove(&id).filter(|line| line.stamp == stamp) {
                lines.push(line);
            } else if let Some(manifest) = self.run(&id)? {
                lines.push(Line { stamp, summary: summarize(&id, &manifest, &path)? });
                changed = true;
            }
        }
        lines.sort_by(|a, b| (&a.summary.started, &a.summary.run).cmp(&(&b.summary.started, &b.summary.run)));
        if changed || !known.is_empty() {
            // The list is right without it; a store that one may only read is slower, not broken.
            let _ = self.save(&index, &lines);
        }
        Ok(lines.into_iter().map(|line| line.summary).collect())
    }

    /// The id of the run that is meant by `latest`, by an id, or by the beginning of an id that no other run shares.
    pub fn find_run(&self, reference: &str) -> Result<String> {
        if reference == "latest" {
            let latest = self.list()?.pop();
            return latest
                .map(|summary| summary.run)
                .ok_or_else(|| Error::new("no run is stored yet").at(self.place()).fix("`ablate run SPEC` makes one"));
        }
        let mut matches = self.names(Path::new("runs"))?;
        if matches.iter().any(|id| id == reference) {
            return Ok(reference.to_owned());
        }
        matches.retain(|id| !reference.is_empty() && id.starts_with(reference));
        matches.sort();
        match matches.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(Error::new(format!("no run's id begins with `{reference}`"))
                .at(self.place())
                .fix("`ablate list` shows the runs; `latest` means the one that began last")),
            several => Err(ambiguous(reference, several).at(self.place())),
        }
    }

    /// Readers see the old file or the new one; it is not synced, because a torn one is noticed and made anew.
    fn save(&self, index: &Path, lines: &[Line]) -> Result<()> {
        let mut body = String::new();
        for line in lines {
            // A line that cannot be written is only missing: its manifest is read again next time.
            if let Ok(line) = serde_json::to_string(line) {
                body.push_str(&line);
                body.push('\n');
            }
        }
        let mut file = self.scratch()?;
        let mode = Permissions::from_mode(0o644);
        make_parent(index)?;
        file.write_all(header(&body).as_bytes())
            .and_then(|()| file.write_all(body.as_bytes()))
            .and_then(|()| file.as_file().set_permissions(mode))
            .and_then(|()| file.persist(index).map(|_| ()).map_err(|error| error.error))
            .map_err(failing("cannot write the index", index))
    }
}

fn ambiguous(reference: &str, matches: &[String]) -> Error {
    const SHOWN: usize = 10;
    let mut text = format!("{} runs begin with `{reference}`:", matches.len());
    for id in matches.iter().take(SHOWN) {
        text.push_str(&format!("\n    {id}"));
    }
    if matches.len() > SHOWN {
        text.push_str(&format!("\n    and {} more", matches.len() - SHOWN));
    }
    Error::new(text).fix("give more letters of the id")
}

/// The first line: which version wrote the file, and the hash of all that follows.
fn header(body: &str) -> String {
    format!("{{\"index\":{VERSION},\"blake3\":\"{}\"}}\n", hash_bytes(body.as_bytes()))
}

/// What the index says by run; nothing if it is not exactly what was written.
fn load(index: &Path) -> HashMap<String, Line> {
    let text = fs::read_to_string(index).unwrap_or_default();
    let Some((first, body)) = text.split_once('\n') else { return HashMap::new() };
    if header(body).trim_end() != first {
        return HashMap::new();
    }
    let lines = body.par_lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.map(|line| (line.summary.run.clone(), line)).collect()
}

fn stamp(path: &Path) -> Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failing("cannot look at the run's manifest", path)(error)),
    }
}

fn summarize(id: &str, manifest: &Value, path: &Path) -> Result<Summary> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if manifest["run"].as_str() != Some(id) || !manifest["started"].is_string() {
        return Err(Error::new(format!("the file is damaged: it is not the manifest of run {id}"))
            .at(path.display())
            .fix("restore this file from a copy, or delete it and run it again"));
    }
    let metrics = manifest.pointer("/outcome/metrics").or_else(|| manifest.get("metrics")).and_then(Value::as_object);
    let mean = |value: &Value| value.as_f64().or_else(|| value.get("mean")?.as_f64());
    Ok(Summary {
        run: id.to_owned(),
        name: text("/name"),
        variant: text("/variant"),
        seed: manifest["seed"].as_u64(),
        started: text("/started"),
        seconds: manifest["seconds"].as_f64(),
        status: text("/status"),
        metrics: metrics.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), mean(value)?))).collect(),
        dataset: text("/plan/dataset/use"),
        recommender: text("/plan/recommender/use"),
    })
}
