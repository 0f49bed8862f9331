//! Tags: lists of runs under a name, each run pinned by the hash of its manifest and all of them by the hash of the
//! list. Whoever knows that hash knows every number behind a table. A tag is created once and never changed.

use super::files::{checked, entries, newer, pretty};
use super::{FORMAT, Store, hash_bytes, hash_json};
use crate::error::{Error, Explain, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// A list of runs that never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// The layout of this list: [`FORMAT`].
    pub format: u64,
    /// Its name.
    pub tag: String,
    /// The command that made it.
    pub command: String,
    /// The runs, a spec's base first.
    pub runs: Vec<Tagged>,
    /// The hash of `runs`: equal in two tags exactly if they list the same.
    pub hash: String,
}

/// One run of a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tagged {
    /// The run's id.
    pub run: String,
    /// The blake3 hash of the bytes of its manifest, and so of all that the manifest names.
    pub manifest: String,
    /// The experiment's name, for reading.
    pub name: String,
    /// The variant, for reading.
    pub variant: String,
    /// The seed, for reading.
    pub seed: Option<u64>,
}

impl Store {
    /// Makes a tag of some runs, in this order; one that is there already must list just these. Says if it is new.
    pub fn commit_tag(&self, name: &str, command: &str, ids: &[String]) -> Result<(Tag, bool)> {
        let path = self.tag_path(name)?;
        let mut runs: Vec<Tagged> = Vec::new();
        for id in ids {
            if runs.iter().all(|known| &known.run != id) {
                runs.push(self.tagged(id)?);
            }
        }
        if runs.is_empty() {
            return Err(Error::new("a tag needs at least one run").at(name).fix("`ablate list` shows the runs"));
        }
        let hash = list_hash(&runs);
        let tag = Tag { format: FORMAT, tag: name.into(), command: command.into(), runs, hash };
        if self.create(&path, &pretty(&tag, &path)?)? {
            return Ok((tag, true));
        }
        match self.tag(name)? {
            Some(old) if old.hash == tag.hash => Ok((old, false)),
            Some(old) => Err(other_content(&old, &tag).at(path.display())),
            None => Err(Error::new("the tag was removed while it was written").at(path.display()).fix("try again")),
        }
    }

    /// A tag; one whose list does not have its hash is an error.
    pub fn tag(&self, name: &str) -> Result<Option<Tag>> {
        let path = self.tag_path(name)?;
        let remedy = "restore this file from a copy, or delete it and make the tag again";
        let Some(tag) = self.read::<Tag>(&path, remedy)? else { return Ok(None) };
        if tag.format > FORMAT {
            return Err(newer(tag.format, &path));
        }
        if tag.tag != name || tag.hash != list_hash(&tag.runs) {
            let what = format!("the tag is damaged: its list is not the one with the hash {}", tag.hash);
            return Err(Error::new(what).at(path.display()).fix(remedy));
        }
        Ok(Some(tag))
    }

    /// A tag that lists the run, if there is one.
    pub fn tag_of(&self, run: &str) -> Result<Option<String>> {
        for name in self.tag_names()? {
            if self.tag(&name)?.is_some_and(|tag| tag.runs.iter().any(|tagged| tagged.run == run)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The names of all tags, sorted.
    pub fn tag_names(&self) -> Result<Vec<String>> {
        let folder = self.root().join("tags");
        self.pull_folder(&folder)?;
        let entries = entries(&folder)?;
        let names = entries.iter().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json").filter(|name| tag_name(name).is_ok()).map(str::to_owned)
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The hash of a manifest's bytes as they are in the store; nothing if the run is not there.
    pub fn manifest_hash(&self, id: &str) -> Result<Option<String>> {
        let path = self.entry("runs", checked(id)?)?;
        self.pull(&path)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(hash_bytes(&bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).explain("cannot read the run's manifest", path.display()),
        }
    }

    pub(super) fn tag_path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.root().join("tags").join(format!("{}.json", tag_name(name)?)))
    }

    fn tagged(&self, id: &str) -> Result<Tagged> {
        let (Some(manifest), Some(record)) = (self.manifest_hash(id)?, self.run(id)?) else {
            return Err(Error::new(format!("run {id} is not in the store"))
                .at(self.place())
                .fix("`ablate list` shows the runs"));
        };
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let (name, variant, seed) = (text("name"), text("variant"), record["seed"].as_u64());
        Ok(Tagged { run: id.into(), manifest, name, variant, seed })
    }
}

fn list_hash(runs: &[Tagged]) -> String {
    hash_json(&Value::Array(runs.iter().map(|run| json!(run)).collect()))
}

fn other_content(old: &Tag, new: &Tag) -> Error {
    let lacks = |tag: &Tag, run: &&Tagged| !tag.runs.contains(run);
    let added = new.runs.iter().filter(|run| lacks(old, run)).count();
    let gone = old.runs.iter().filter(|run| lacks(new, run)).count();
    Error::new(format!(
        "the tag `{}` is there with another list: {added} runs of the new one are not in it, {gone} of its own would go",
        old.tag
    ))
    .fix("a tag never changes: choose another name, and compare both with `ablate diff`")
}

/// A tag's name becomes a file's name.
pub(super) fn tag_name(name: &str) -> Result<&str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if plain && (1..=100).contains(&name.len()) && !name.starts_with('.') {
        return Ok(name);
    }
    Err(Error::new(format!("`{name}` cannot name a tag"))
        .fix("1 to 100 letters, digits, `.`, `_` and `-`, the first not a `.`; as in paper-v1.0"))
}
