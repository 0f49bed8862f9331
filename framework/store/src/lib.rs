//! The results store: objects named by their content, and records that are created once and never changed.
//!
//! Plain files are the truth, so that processes which race, a kill -9 or a network file system cannot tear it: bytes
//! are durable before the record that names them, and a record appears whole under a free name (`link(2)`) or not at
//! all. This file is the order in which records become true, `record` what they say; `files` puts bytes on the disk, `index` lists
//! runs, `tags` names lists of them, `work` holds what is not yet a result; `verify`, `gc` and `bundle` check, tidy and
//! carry a store.

mod bundle;
pub mod error;
mod files;
mod gc;
mod index;
mod lease;
mod mirror;
mod naming;
mod record;
mod remote;
mod tags;
mod verify;
mod work;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use error::{Error, Explain, Result};
use files::{checked, failing, make_parent, newer, pretty, read_json, sync};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use bundle::{Merged, belongs};
pub use gc::{Garbage, Usage};
pub use index::Summary;
pub use naming::{hash_bytes, hash_file, hash_json, now};
pub use record::{Committed, Cost, FORMAT, StageRecord};
pub use tags::{Tag, Tagged};
pub use verify::Verified;
pub use work::Lock;

const FOLDERS: [&str; 9] = ["objects", "stages", "runs", "tags", "attempts", "openings", "index", "tmp", "work"];

/// A folder of results, safe to share between threads and processes.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    mirrored: Option<Arc<mirror::Mirrored>>,
}

impl Store {
    /// Opens the store in a folder, and makes it there on first use; a store that exists is only read.
    pub fn open(root: &Path) -> Result<Self> {
        Self { root: root.to_path_buf(), mirrored: None }.opened()
    }

    fn opened(self) -> Result<Self> {
        let path = self.root.join("format.json");
        let remedy = "if this is a results store, restore this file; else choose another folder";
        let Some(format) = self.read::<Value>(&path, remedy)? else {
            self.create_layout(&path)?;
            return Ok(self);
        };
        match format["format"].as_u64() {
            Some(version) if version <= FORMAT => Ok(self),
            Some(version) => Err(newer(version, &path)),
            None => Err(Error::new("this file does not say the store's format").at(path.display()).fix(remedy)),
        }
    }

    /// The folder the store is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where texts that language models wrote are kept.
    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    fn create_layout(&self, format: &Path) -> Result<()> {
        for folder in FOLDERS {
            let path = self.root.join(folder);
            fs::create_dir_all(&path).map_err(failing("cannot make the results store", &path))?;
        }
        let bytes = pretty(&json!({ "format": FORMAT }), format)?;
        // A server that lets two create one name would let two machines overwrite each other's records.
        if self.create(format, &bytes)? && self.mirrored.is_some() && self.create(format, &bytes)? {
            return Err(Error::new("the object store does not know conditional writes (If-None-Match)")
                .at(self.place())
                .fix("one that does, such as Amazon's or a current MinIO; or a folder"));
        }
        // The root's own name is in the folder above, which may not be ours to open.
        let _ = self.root.canonicalize().and_then(|root| root.parent().map_or(Ok(()), sync));
        Ok(())
    }

    /// A stage that was made before; one whose objects are gone counts as not there.
    pub fn stage(&self, key: &str) -> Result<Option<StageRecord>> {
        let Some(record) = self.stage_record(key)? else { return Ok(None) };
        for hash in record.files.values() {
            if !self.has(hash)? {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }

    /// A stage's record, whether or not its objects are there.
    pub fn stage_record(&self, key: &str) -> Result<Option<StageRecord>> {
        self.pull(&self.entry("stages", key)?)?;
        self.known_stage(key)
    }

    /// The same without asking a bucket again: after all names were listed.
    fn known_stage(&self, key: &str) -> Result<Option<StageRecord>> {
        let path = self.entry("stages", key)?;
        let record: Option<StageRecord> = read_json(&path, "delete this file; the stage is then made again")?;
        match record {
            Some(record) if record.format > FORMAT => Err(newer(record.format, &path)),
            record => Ok(record),
        }
    }

    /// Stores every file under a folder and then the stage's record, and gives the record that the store now holds:
    /// this one, or the earlier one, which is never overwritten while it can be read. With `replace` an earlier one that
    /// differs makes room, and is kept aside.
    pub fn commit_stage(&self, folder: &Path, record: StageRecord, replace: bool) -> Result<(StageRecord, Committed)> {
        let path = self.entry("stages", &record.key)?;
        // JSON has no NaN: it would be written as null, and the record could not be read again.
        if !(record.seconds.is_finite() && record.peak_memory_mb.is_finite()) {
            return Err(Error::new("a stage's seconds and peak memory must be finite numbers").at(path.display()));
        }
        let mut files = BTreeMap::new();
        self.put_folder(folder, "", &mut files)?;
        let record = StageRecord { files, ..record };
        let bytes = pretty(&record, &path)?;
        if self.create(&path, &bytes)? {
            return Ok((record, Committed::New));
        }
        let Some(old) = self.stage(&record.key)? else {
            // The earlier record's objects are gone, so it serves nobody and would hide this one for ever.
            self.replace(&path, &bytes)?;
            return Ok((record, Committed::New));
        };
        let names: BTreeSet<_> = old.files.keys().chain(record.files.keys()).collect();
        let differ = names.into_iter().filter(|name| old.files.get(*name) != record.files.get(*name));
        let mut differ: Vec<String> = differ.cloned().collect();
        // What a stage says of itself counts where it leaves no files, as a search does; seconds of epochs always differ.
        if differ.is_empty() && record.files.is_empty() && !alike(&old.notes, &record.notes) {
            differ.push("what it found".into());
        }
        if replace && (!differ.is_empty() || old.upstream != record.upstream) {
            let record = StageRecord { replaces: Some(self.put_bytes(&pretty(&old, &path)?)?), ..record };
            self.replace(&path, &pretty(&record, &path)?)?;
            return Ok((record, Committed::Replaced(differ)));
        }
        Ok((old, agreement(differ)))
    }

    fn put_folder(&self, folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<()> {
        let unreadable = "cannot read the stage's folder";
        for entry in fs::read_dir(folder).map_err(failing(unreadable, folder))? {
            let entry = entry.map_err(failing(unreadable, folder))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else {
                return Err(Error::new("a file's name is not UTF-8").at(path.display()).fix("rename it"));
            };
            // A linked file is stored by its content; a linked folder could lead round in a circle.
            if entry.file_type().map_err(failing(unreadable, &path))?.is_dir() {
                self.put_folder(&path, &format!("{name}/"), files)?;
            } else if path.is_file() {
                files.insert(name, self.put_file(&path)?);
            } else {
                return Err(Error::new("only files and folders can be stored, and this is neither").at(path.display()));
            }
        }
        Ok(())
    }

    /// Lays a stage's files out in a folder under their names, to be read and not written: they may be the objects.
    pub fn materialize(&self, record: &StageRecord, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(failing("cannot make the folder", folder))?;
        for (name, hash) in &record.files {
            if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(Error::new(format!("`{name}` leads out of the stage's folder"))
                    .at(self.entry("stages", &record.key)?.display())
                    .fix("delete this record; the stage is then made again"));
            }
            let object = self.get(hash)?;
            let path = folder.join(name);
            make_parent(&path)?;
            // First, because copying onto what is already a link would write into the object.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failing("cannot replace the file", &path)(error));
                }
                _ => {}
            }
            // No link to another disk, nor to another user's file on some systems: then a copy.
            fs::hard_link(&object, &path)
                .or_else(|_| fs::copy(&object, &path).map(|_| ()))
                .map_err(failing("cannot lay out a stored file", &path))?;
        }
        Ok(())
    }

    /// Publishes a run's manifest, whose objects are stored already. It needs `run` (the id) and `started`; a second
    /// manifest of the run agrees if its `outcome` does, because time and host always differ. With `replace` an earlier
    /// one that differs makes room, and is kept aside: the new one's `replaces` names its object.
    pub fn commit_run(&self, id: &str, manifest: &Value, replace: bool) -> Result<Committed> {
        let path = self.entry("runs", id)?;
        if manifest["run"].as_str() != Some(id) || !manifest["started"].is_string() {
            return Err(
                Error::new("a run's manifest must hold `run`, its id, and `started`, a time").at(path.display())
            );
        }
        let bytes = pretty(manifest, &path)?;
        if self.create(&path, &bytes)? {
            return Ok(Committed::New);
        }
        let old = self.run(id)?.ok_or_else(|| {
            Error::new("the run was removed from the store while it was written").at(path.display()).fix("run it again")
        })?;
        // Read back as the old one was, so that a number's way through JSON makes no difference.
        let new: Value =
            serde_json::from_slice(&bytes).explain("cannot read the run's manifest back", path.display())?;
        let mut differ = Vec::new();
        differences("", &old["outcome"], &new["outcome"], &mut differ);
        // The same scores may have had other intervals under an earlier program.
        differ.retain(|path| !path.ends_with(".low") && !path.ends_with(".high"));
        if replace {
            ["data", "controls"].iter().for_each(|part| differences(part, &old[*part], &new[*part], &mut differ));
        }
        if replace && !differ.is_empty() {
            let mut manifest = manifest.clone();
            let record = self.put_bytes(&pretty(&old, &path)?)?;
            manifest["replaces"] = json!({ "record": record, "scores": old["outcome"]["scores"] });
            self.replace(&path, &pretty(&manifest, &path)?)?;
            return Ok(Committed::Replaced(differ));
        }
        Ok(agreement(differ))
    }

    /// A run's manifest.
    pub fn run(&self, id: &str) -> Result<Option<Value>> {
        let path = self.entry("runs", id)?;
        let record: Option<Value> = self.read(&path, "restore this file from a copy, or delete it and run it again")?;
        match record.as_ref().and_then(|record| record["format"].as_u64()) {
            Some(format) if format > FORMAT => Err(newer(format, &path)),
            _ => Ok(record),
        }
    }

    /// Every stage record in the store.
    pub fn stages(&self) -> Result<Vec<StageRecord>> {
        let names = self.names(Path::new("stages"))?;
        let records: Result<Vec<_>> = names.iter().map(|key| self.known_stage(key)).collect();
        Ok(records?.into_iter().flatten().collect())
    }

    /// A folder of the store's own that goes when dropped.
    pub fn temporary(&self) -> Result<tempfile::TempDir> {
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder).map_err(failing("cannot make a folder", &folder))?;
        tempfile::tempdir_in(&folder).map_err(failing("cannot make a folder", &folder))
    }

    /// Keeps what is known of a try that failed or was killed.
    pub fn record_attempt(&self, id: &str, attempt: &Value) -> Result<()> {
        self.record("attempts", id, attempt)
    }

    /// The tries of a run that failed or were killed, oldest first.
    pub fn attempts(&self, id: &str) -> Result<Vec<Value>> {
        let folder = Path::new("attempts").join(checked(id)?);
        // A name begins with its time.
        let mut names = self.names(&folder)?;
        names.sort();
        let read = |name: String| read_json(&self.root.join(&folder).join(format!("{name}.json")), "delete this file");
        let attempts: Result<Vec<Option<Value>>> = names.into_iter().map(read).collect();
        Ok(attempts?.into_iter().flatten().collect())
    }

    /// Keeps that the sealed test split of some data was opened, and for what.
    pub fn record_opening(&self, fingerprint: &str, opening: &Value) -> Result<()> {
        self.record("openings", fingerprint, opening)
    }

    /// How often the sealed test split of some data was opened.
    pub fn openings(&self, fingerprint: &str) -> Result<usize> {
        checked(fingerprint)?;
        Ok(self.names(&Path::new("openings").join(fingerprint))?.len())
    }

    fn record(&self, folder: &str, key: &str, value: &Value) -> Result<()> {
        let place = self.root.join(folder).join(checked(key)?);
        let drawn = self.scratch()?;
        let unique = drawn.path().file_stem().and_then(|stem| stem.to_str()).unwrap_or("record");
        let path = place.join(format!("{}-{unique}.json", now().replace([':', '.'], "-")));
        // Taken only if another drew the same random letters in the same millisecond: draw again.
        if self.create(&path, &pretty(value, &place)?)? { Ok(()) } else { self.record(folder, key, value) }
    }
}

fn agreement(differ: Vec<String>) -> Committed {
    if differ.is_empty() { Committed::Same } else { Committed::Different(differ) }
}

/// Whether two JSON values are the same but for rounding in numbers: 1e-9 of the larger. What numbers sum up, such as
/// scores, is kept beside them under its hash, and that must be the same to the last bit.
pub fn alike(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            old == new || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        _ => old == new,
    }
}

/// The paths at which two JSON values differ.
fn differences(at: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if alike(old, new) {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        found.push(if at.is_empty() { "outcome".to_owned() } else { at.to_owned() });
        return;
    };
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        differences(&at, &old[key], &new[key], found);
    }
}
