//! Which files of a store a tag needs to be carried elsewhere, and how one store takes in another. Archives and their
//! formats are not known here.

use super::files::{checked, entries, failing};
use super::tags::tag_name;
use super::{Store, hash_file};
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What one store took in from another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files that are new.
    pub added: usize,
    /// Files that were there already.
    pub found: usize,
}

/// In the order in which they become true: what a record names comes before the record.
const FOLDERS: [&str; 5] = ["objects", "openings", "stages", "runs", "tags"];

impl Store {
    /// The files that a tag needs, relative to the root: its runs, their stages and objects, the openings of their test
    /// splits, and itself. A `lean` bundle leaves out data, checkpoints and logs, and is enough for reports.
    pub fn bundle(&self, tag: &str, lean: bool) -> Result<Vec<String>> {
        let Some(list) = self.tag(tag)? else { return Err(no_tag(tag, self.root())) };
        let mut files = BTreeSet::new();
        for tagged in &list.runs {
            let Some(record) = self.run(&tagged.run)? else { return Err(no_run(&tagged.run, self.root())) };
            files.insert((3, format!("runs/{}.json", tagged.run)));
            let mut needed: Vec<&Value> = values(&record["outcome"]["scores"]).collect();
            if !lean {
                needed.extend(values(&record["outcome"]["checkpoint"]).chain(record.get("log")));
            }
            let mut hashes: Vec<String> = needed.into_iter().filter_map(Value::as_str).map(String::from).collect();
            for trace in record["stages"].as_array().into_iter().flatten() {
                let key = trace["key"].as_str().unwrap_or_default();
                if lean && trace["stage"] != "evaluator" {
                    continue;
                }
                let Some(stage) = self.stage_record(key)? else {
                    if lean {
                        continue;
                    }
                    return Err(Error::new(format!("run {} lacks its stage {}", tagged.run, trace["stage"]))
                        .at(self.entry("stages", key)?.display())
                        .fix(
                            "`--lean` leaves data and checkpoints out; or run the spec again, which makes the stage",
                        ));
                };
                hashes.extend(stage.files.into_values());
                files.insert((2, format!("stages/{key}.json")));
            }
            // Without it nobody knows which run the spec means.
            if let Some(key) = record["search"]["stage"].as_str().filter(|key| !key.is_empty())
                && self.stage_record(key)?.is_some()
            {
                files.insert((2, format!("stages/{key}.json")));
            }
            for hash in hashes {
                self.get(&hash)?;
                files.insert((0, format!("objects/{}/{}", &hash[..2], &hash[2..])));
            }
            let openings = format!("openings/{}", checked(record["fingerprint"].as_str().unwrap_or("none"))?);
            self.pull_folder(&self.root().join(&openings))?;
            files.extend(self.below(&openings)?.into_iter().map(|path| (1, path)));
        }
        files.insert((4, format!("tags/{tag}.json")));
        Ok(files.into_iter().map(|(_, path)| path).collect())
    }

    /// Takes in all objects, openings, stages, runs and tags of another store, which must be whole. Nothing that is
    /// here is replaced: where the two contradict each other, nothing is added at all.
    pub fn merge(&self, other: &Store) -> Result<Merged> {
        let mut files = Vec::new();
        for folder in FOLDERS {
            files.extend(other.below(folder)?);
        }
        let mut new = Vec::new();
        for path in &files {
            if !belongs(path) {
                return Err(Error::new(format!("`{path}` is no file of a results store")).at(other.root().display()));
            }
            if !self.agrees(other, path)? {
                new.push(path);
            }
        }
        for path in &new {
            let (from, to) = (other.root().join(path), self.root().join(path));
            if path.starts_with("objects/") {
                self.put_file(&from)?;
            } else {
                let bytes = fs::read(&from).map_err(failing("cannot read the file to add", &from))?;
                if !self.create(&to, &bytes)? && !self.agrees(other, path)? {
                    return Err(Error::new("the file was removed while the store was merged").at(to.display()));
                }
            }
        }
        Ok(Merged { added: new.len(), found: files.len() - new.len() })
    }

    /// Whether a file is here and says the same as in `other`; false if it is not here, an error if it says another thing.
    fn agrees(&self, other: &Store, path: &str) -> Result<bool> {
        let (ours, theirs) = (self.root().join(path), other.root().join(path));
        match path.starts_with("objects/") {
            true => self.pull_object(&ours, &path["objects/".len()..].replace('/', ""))?,
            false => self.pull(&ours)?,
        }
        if !ours.exists() || hash_file(&ours)? == hash_file(&theirs)? {
            return Ok(ours.exists());
        }
        if let Some(key) = path.strip_prefix("stages/").and_then(|name| name.strip_suffix(".json")) {
            // Time and memory always differ; what the stage left must not.
            let files = |store: &Store| store.stage_record(key).map(|record| record.map(|record| record.files));
            if files(self)? == files(other)? {
                return Ok(true);
            }
        }
        let remedy = match path.starts_with("objects/") {
            true => "the object here is damaged: `ablate verify` says what to do",
            false => "nothing was added; use a store of its own: --store FOLDER",
        };
        Err(Error::new("the store has this file already, with other content").at(ours.display()).fix(remedy))
    }

    /// The files below a folder, relative to the root, sorted.
    pub(super) fn below(&self, folder: &str) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for entry in entries(&self.root().join(folder))? {
            let Some(name) = entry.file_name().to_str().map(|name| format!("{folder}/{name}")) else { continue };
            if entry.path().is_dir() { files.extend(self.below(&name)?) } else { files.push(name) }
        }
        files.sort();
        Ok(files)
    }
}

/// Whether a relative path is one that an object, opening, stage, run or tag has: nothing else, and nowhere else.
pub fn belongs(path: &str) -> bool {
    let hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let stem = |name: &str| name.strip_suffix(".json").is_some_and(|stem| checked(stem).is_ok());
    match path.split('/').collect::<Vec<_>>()[..] {
        ["objects", shard, rest] => hex(shard, 2) && hex(rest, 62),
        ["openings", fingerprint, name] => checked(fingerprint).is_ok() && stem(name),
        ["stages" | "runs", name] => stem(name),
        ["tags", name] => name.strip_suffix(".json").is_some_and(|name| tag_name(name).is_ok()),
        _ => false,
    }
}

fn values(map: &Value) -> impl Iterator<Item = &Value> {
    map.as_object().into_iter().flat_map(|map| map.values())
}

fn no_tag(tag: &str, root: &Path) -> Error {
    let root: PathBuf = root.join("tags");
    Error::new(format!("no tag is called `{tag}`")).at(root.display()).fix("`ablate list --tags` shows them")
}

fn no_run(id: &str, root: &Path) -> Error {
    let what = format!("the tag's run {id} is not in the store");
    Error::new(what).at(root.display()).fix("`ablate verify` says what is missing")
}
