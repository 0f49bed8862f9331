//! Housekeeping: what nothing refers to any more, its removal, and where the bytes are.
//!
//! A result is never garbage: objects are marked from runs and stages, generously, by every hash that stands in them.
//! What a living process needs is not garbage either. Whatever is younger than a grace period stays, and using an old
//! object or stage makes it young; where a lock is held, the long work behind it may rely on more, and tmp and stages
//! stay altogether.

use super::files::{entries, failing};
use super::{Store, files};
use crate::error::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Something that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// `stage`, `object`, `work` or `tmp`.
    pub kind: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// How much of something there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Usage {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl Store {
    /// All garbage older than `grace`; with `stages` also the stages that no run refers to. Removes nothing.
    pub fn garbage(&self, grace: Duration, stages: bool) -> Result<Vec<Garbage>> {
        let busy = self.is_busy()?;
        let (mut marked, used) = self.marked_by_runs()?;
        let mut garbage = Vec::new();
        for key in self.names(Path::new("stages"))? {
            let path = self.entry("stages", &key)?;
            let Some(record) = self.known_stage(&key)? else { continue };
            if stages && !busy && !used.contains(&key) && self.is_older(&path, grace)? {
                garbage.push(Garbage { kind: "stage", bytes: size(&path), path });
            } else {
                hashes(&json!(record), &mut marked);
            }
        }
        // Under a lock a stage's objects are written before its record.
        let spared = if busy { grace.max(COMMIT) } else { grace };
        for object in self.objects()? {
            if !marked.contains(&object.hash) && object.modified.elapsed().is_ok_and(|age| age >= spared) {
                garbage.push(Garbage { kind: "object", path: object.path, bytes: object.bytes });
            }
        }
        for (path, key) in self.works()? {
            if !self.is_held(&key)? && is_older(&path, grace) {
                garbage.push(Garbage { kind: "work", bytes: size(&path), path });
            }
        }
        for entry in if busy { Vec::new() } else { entries(&self.root().join("tmp"))? } {
            let path = entry.path();
            if is_older(&path, grace) {
                garbage.push(Garbage { kind: "tmp", bytes: size(&path), path });
            }
        }
        garbage.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        Ok(garbage)
    }

    /// Removes garbage, and gives what is gone.
    pub fn collect_garbage(&self, grace: Duration, stages: bool) -> Result<Vec<Garbage>> {
        let mut gone = Vec::new();
        // Stages first: a kill in between leaves objects without a record, and never a record without its objects.
        for garbage in self.garbage(grace, stages)?.into_iter().filter(|garbage| garbage.kind == "stage") {
            let key = garbage.path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let Some(_lock) = self.try_lock(&key)? else { continue };
            if self.is_older(&garbage.path, grace)? && self.remove(&garbage.path)? {
                gone.push(garbage);
            }
        }
        // Marked anew, since a stage may have been found by somebody meanwhile and stayed.
        for garbage in self.garbage(grace, false)? {
            // Looked at again: who uses an old object touches it first.
            let removed = match garbage.kind {
                "work" => self.remove_work(&garbage.path, grace)?,
                _ => self.is_older(&garbage.path, grace)? && self.remove(&garbage.path)?,
            };
            if removed {
                gone.push(garbage);
            }
        }
        Ok(gone)
    }

    /// Removes a folder of work or a lock's file, unless somebody holds the lock.
    fn remove_work(&self, path: &Path, grace: Duration) -> Result<bool> {
        let key = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(_lock) = self.try_lock(key)? else { return Ok(false) };
        // The lock removes its own file when dropped; by then the name may be another's, so it is left to it.
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        Ok(is_lock || (is_older(path, grace) && remove(path)?))
    }

    /// Whether somebody works in this store now.
    pub fn is_busy(&self) -> Result<bool> {
        if !self.leased()?.is_empty() {
            return Ok(true);
        }
        let works = self.works()?;
        works.iter().map(|(_, key)| self.is_held(key)).try_fold(false, |busy, held| held.map(|held| busy || held))
    }

    /// Files and bytes by what they are for. An object that serves two stages counts for the earlier one.
    pub fn usage(&self) -> Result<Vec<(String, Usage)>> {
        let roles = self.roles()?;
        let mut parts: BTreeMap<(usize, String), Usage> = BTreeMap::new();
        for object in self.objects()? {
            let place = roles.get(&object.hash).cloned().unwrap_or((OBJECTS.len(), "unreferenced".into()));
            parts.entry(place).or_default().add(object.bytes);
        }
        for entry in entries(self.root())? {
            if let Some((remote, name)) = self.remote(&entry.path()).filter(|(_, name)| name != "objects") {
                let kept = remote.list(&name)?;
                let bytes = kept.iter().map(|entry| entry.bytes).sum();
                if !kept.is_empty() {
                    parts.insert((OBJECTS.len() + 1, name), Usage { files: kept.len() as u64, bytes });
                }
                continue;
            }
            let Some(folder) = entry.file_name().to_str().filter(|name| *name != "objects").map(String::from) else {
                continue;
            };
            let mut usage = Usage::default();
            walk(&entry.path(), &mut |_, metadata| {
                // In tmp lie second names of objects, whose bytes are counted above.
                let linked = folder == "tmp" && metadata.nlink() > 1;
                if metadata.is_file() && !linked {
                    usage.add(metadata.len());
                }
            });
            if usage.files > 0 {
                parts.insert((OBJECTS.len() + 1, folder), usage);
            }
        }
        Ok(parts.into_iter().map(|((_, kind), usage)| (kind, usage)).collect())
    }

    /// Makes a stage young: it has just been used.
    pub fn touch_stage(&self, key: &str) -> Result<()> {
        let path = self.entry("stages", key)?;
        files::touch(&path);
        let Some((remote, name)) = self.remote(&path) else { return Ok(()) };
        let bytes = fs::read(&path).map_err(failing("cannot read the stage's record", &path))?;
        remote.put(&name, &bytes)
    }

    /// Whether a file or folder is as it was for `grace`, in the bucket if the store is in one.
    fn is_older(&self, path: &Path, grace: Duration) -> Result<bool> {
        match self.remote(path) {
            Some((remote, name)) if name.starts_with("stages/") || name.starts_with("objects/") => {
                let entry = remote.head(&name)?;
                Ok(entry.and_then(|entry| entry.modified.elapsed().ok()).is_some_and(|age| age >= grace))
            }
            _ => Ok(is_older(path, grace)),
        }
    }

    /// Removes a file or folder, from the bucket first; false if it was gone.
    fn remove(&self, path: &Path) -> Result<bool> {
        let Some((remote, name)) = self.remote(path) else { return remove(path) };
        remote.delete(&name)?;
        remove(path).map(|_| true)
    }

    /// What each object is for, with its rank.
    fn roles(&self) -> Result<HashMap<String, (usize, String)>> {
        let mut roles: HashMap<String, (usize, String)> = HashMap::new();
        let mut say = |hash: &str, role: &str| {
            let rank = OBJECTS.iter().position(|known| *known == role).unwrap_or(OBJECTS.len() - 1);
            let entry = roles.entry(hash.to_owned()).or_insert((rank, role.to_owned()));
            if rank < entry.0 {
                *entry = (rank, role.to_owned());
            }
        };
        for key in self.names(Path::new("stages"))? {
            let Some(record) = self.known_stage(&key)? else { continue };
            record.files.values().for_each(|hash| say(hash, &record.stage));
        }
        for id in self.names(Path::new("runs"))? {
            let Some(record) = self.run(&id)? else { continue };
            for (part, role) in [("checkpoint", "recommender"), ("scores", "evaluator")] {
                let mut hashes_of = HashSet::new();
                hashes(&record["outcome"][part], &mut hashes_of);
                hashes_of.iter().for_each(|hash| say(hash, role));
            }
            say(record["log"].as_str().unwrap_or_default(), "logs");
            let mut others = HashSet::new();
            hashes(&record, &mut others);
            others.iter().for_each(|hash| say(hash, "other"));
        }
        Ok(roles)
    }

    /// Every hash in every run, and the stages that runs name.
    fn marked_by_runs(&self) -> Result<(HashSet<String>, HashSet<String>)> {
        let (mut marked, mut used) = (HashSet::new(), HashSet::new());
        for id in self.names(Path::new("runs"))? {
            let Some(record) = self.run(&id)? else { continue };
            hashes(&record, &mut marked);
            let keys = record["stages"].as_array().into_iter().flatten().filter_map(|stage| stage["key"].as_str());
            let besides = ["controls", "search"].into_iter().filter_map(|what| record[what]["stage"].as_str());
            used.extend(keys.chain(besides).map(String::from));
        }
        Ok((marked, used))
    }

    /// The folders of work and the locks, each with its key.
    fn works(&self) -> Result<Vec<(PathBuf, String)>> {
        let keyed = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let key = name.strip_suffix(".lock").unwrap_or(&name);
            files::checked(key).ok().map(|key| (entry.path(), key.to_owned()))
        };
        Ok(entries(&self.root().join("work"))?.into_iter().filter_map(keyed).collect())
    }

    /// Whether a lock is held. Unlike [`Store::try_lock`] it leaves no trace.
    fn is_held(&self, key: &str) -> Result<bool> {
        let path = self.root().join("work").join(format!("{}.lock", files::checked(key)?));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failing("cannot look at a lock", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(failing("cannot look at a lock", &path)(error)),
        }
    }
}

/// What objects are for, those of the earlier stages first.
const OBJECTS: [&str; 5] = ["dataset", "recommender", "evaluator", "logs", "other"];

/// Longer than any stage takes from its first object to its record.
const COMMIT: Duration = Duration::from_secs(3600);

/// Everything in a JSON value that could be an object's hash.
fn hashes(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::String(text) if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            found.insert(text.clone());
        }
        Value::Array(all) => all.iter().for_each(|value| hashes(value, found)),
        Value::Object(map) => map.values().for_each(|value| hashes(value, found)),
        _ => {}
    }
}

/// Whether nothing in a file or folder changed within the last `grace`; what cannot be looked at counts as changed.
fn is_older(path: &Path, grace: Duration) -> bool {
    let mut newest: Option<SystemTime> = None;
    let mut known = true;
    walk(path, &mut |_, metadata| match metadata.modified() {
        Ok(time) => newest = newest.max(Some(time)),
        Err(_) => known = false,
    });
    known && newest.and_then(|time| time.elapsed().ok()).is_some_and(|age| age >= grace)
}

fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    walk(path, &mut |_, metadata| bytes += if metadata.is_file() { metadata.len() } else { 0 });
    bytes
}

/// Calls `see` with a path and everything below it; what vanishes meanwhile is not seen, and no link is followed.
fn walk(path: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    see(path, &metadata);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            walk(&entry.path(), see);
        }
    }
}

/// Removes a file or folder; false if it was gone.
fn remove(path: &Path) -> Result<bool> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failing("cannot remove garbage from the results store", path)(error)),
    }
}
