//! Models of the Hugging Face hub: lists a repository, downloads the files of a checkpoint, and pins its commit.

use crate::download::Download;
use crate::fetch::{check, sum};
use framework::error::{Error, Explain, Result};
use framework::progress::Progress;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The hub, or a mirror of it.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
}

/// A repository at a revision, as in `Qwen/Qwen3-0.6B@main`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Name<'a> {
    owner: &'a str,
    name: &'a str,
    revision: Option<&'a str>,
}

/// What was fetched, as `revision.json` beside the files keeps it.
#[derive(Serialize, Deserialize)]
struct Pinned {
    repository: String,
    /// The commit.
    revision: String,
    licence: Option<String>,
    /// The SHA-256 of each file.
    files: BTreeMap<String, String>,
}

/// A file in the hub's listing.
#[derive(Debug, PartialEq)]
struct Listed {
    name: String,
    bytes: Option<u64>,
    sha256: Option<String>,
}

const PINNED: &str = "revision.json";
const HOST: &str = "the model hub";

impl Hub {
    /// The hub at `HF_ENDPOINT`, Hugging Face's when that is not set, asked with the token in `HF_TOKEN`.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        Self { endpoint: endpoint.trim_end_matches('/').to_string(), token: variable("HF_TOKEN") }
    }

    /// Gets the model that `name` names, `OWNER/NAME[@REVISION]`, into `cache/OWNER/NAME` and gives that folder back.
    ///
    /// The hub is not asked if a whole copy is there already: of any commit when no revision is named, else of that one.
    pub fn fetch(&self, name: &str, cache: &Path, progress: &Progress) -> Result<PathBuf> {
        let name = Name::parse(name)?;
        let folder = cache.join(name.owner).join(name.name);
        let there = Pinned::read(&folder).filter(|pinned| pinned.is_whole(&folder));
        let found = |pinned: &Pinned| {
            let (repository, revision) = (&pinned.repository, &pinned.revision);
            progress.line(&format!("{repository} is already there and whole, at revision {revision}"));
            Ok(folder.clone())
        };
        if let Some(pinned) = there.as_ref().filter(|pinned| name.revision.is_none_or(|r| r == pinned.revision)) {
            return found(pinned);
        }
        let (mut pinned, files) = self.list(name)?;
        if let Some(there) = there.filter(|there| there.revision == pinned.revision) {
            return found(&there);
        }
        let licence = pinned.licence.as_deref().unwrap_or("not stated; see the model's page");
        progress.line(&format!("{}, revision {}, licence: {licence}", pinned.repository, pinned.revision));
        // Beside its destination, and kept on errors, so that a later try goes on.
        let staging = cache.join(name.owner).join(format!(".{}-{}", name.name, pinned.revision));
        for file in &files {
            let path = staging.join(&file.name);
            if !path.is_file() {
                self.download(&pinned, file, &path, progress)?;
            }
            pinned.files.insert(file.name.clone(), sum(&path)?);
        }
        let text = serde_json::to_vec_pretty(&pinned).explain("writing what was fetched", folder.display())?;
        fs::write(staging.join(PINNED), text).explain("writing what was fetched", staging.display())?;
        if folder.exists() {
            if !folder.join(PINNED).exists() {
                let error = Error::new("a folder is there that was not fetched").at(folder.display());
                return Err(error.fix("move it elsewhere, then the same command again"));
            }
            fs::remove_dir_all(&folder).explain("replacing another revision", folder.display())?;
        }
        fs::rename(&staging, &folder).explain("moving the files into the cache", folder.display())?;
        progress.line(&format!("{} is in {}", pinned.repository, folder.display()));
        Ok(folder)
    }

    /// The commit that `name` stands for now, and the files of the checkpoint in it.
    fn list(&self, name: Name) -> Result<(Pinned, Vec<Listed>)> {
        let repository = format!("{}/{}", name.owner, name.name);
        let revision = name.revision.unwrap_or("main").replace('/', "%2F");
        let url = format!("{}/api/models/{repository}/revision/{revision}?blobs=true", self.endpoint);
        let request = Download { host: HOST, url: &url, bytes: None, sha256: None, token: self.token.as_deref() };
        let mut response =
            request.ask(0).map_err(|error| error.fix("a connection to it, or a mirror in HF_ENDPOINT"))?;
        match response.status().as_u16() {
            200 => {}
            status @ (401 | 403 | 404) => {
                let what = format!("the model hub gives no `{repository}` at `{revision}` (HTTP status {status})");
                let fix = "a name as on the model's page; for a private model, or one whose terms must be accepted \
                           there, also HF_TOKEN";
                return Err(Error::new(what).at(url).fix(fix));
            }
            status => return Err(request.refused(status)),
        }
        let text = response.body_mut().read_to_string().explain("the model hub's answer broke off", &url)?;
        let answer: Value = serde_json::from_str(&text).explain("the model hub's answer is not JSON", &url)?;
        let commit = answer["sha"].as_str().filter(|sha| !sha.is_empty() && sha.chars().all(char::is_alphanumeric));
        let commit = commit.ok_or_else(|| Error::new("the model hub names no commit").at(&url))?;
        let licence = match &answer["cardData"]["license"] {
            Value::String(licence) => Some(licence.clone()),
            Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
            _ => None,
        };
        let files = answer["siblings"].as_array().into_iter().flatten().filter_map(Listed::read);
        let files: Vec<Listed> = files.filter(Listed::is_wanted).collect();
        if !files.iter().any(|file| file.name.ends_with(".safetensors")) {
            let error = Error::new(format!("`{repository}` has no weights in safetensors (model.safetensors)")).at(url);
            return Err(error.fix("a repository with them, or a .gguf file's path as `model`"));
        }
        Ok((Pinned { repository, revision: commit.to_string(), licence, files: BTreeMap::new() }, files))
    }

    /// Downloads a file to `path`, where it appears when it is whole and right.
    fn download(&self, pinned: &Pinned, file: &Listed, path: &Path, progress: &Progress) -> Result<()> {
        let folder = path.parent().unwrap_or(path);
        fs::create_dir_all(folder).explain("creating a folder for the model", folder.display())?;
        let Pinned { repository, revision, .. } = pinned;
        let url = format!("{}/{repository}/resolve/{revision}/{}", self.endpoint, file.name);
        let (sha256, token) = (file.sha256.as_deref(), self.token.as_deref());
        let download = Download { host: HOST, url: &url, bytes: file.bytes, sha256, token };
        download.keep(path, "the same command again; if it stays wrong, another revision", progress).map_err(|error| {
            error.fix("the same command again, which resumes; where terms must be accepted first, HF_TOKEN also")
        })
    }
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (repository, revision) = text.split_once('@').map_or((text, None), |(name, rev)| (name, Some(rev)));
        let plain = |part: &str, more: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || more.contains(c);
            !part.is_empty() && !part.starts_with('.') && !part.contains("..") && part.chars().all(known)
        };
        match repository.split_once('/') {
            Some((owner, name)) if plain(owner, "") && plain(name, "") && revision.is_none_or(|r| plain(r, "/")) => {
                Ok(Self { owner, name, revision })
            }
            _ => Err(Error::new(format!("`{text}` is no name of a model on the hub")).fix("OWNER/NAME[@REVISION]")),
        }
    }
}

impl Pinned {
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(PINNED)).ok()?).ok()
    }

    fn is_whole(&self, folder: &Path) -> bool {
        !self.files.is_empty() && self.files.iter().all(|(name, sum)| check(&folder.join(name), name, sum).is_ok())
    }
}

impl Listed {
    fn read(sibling: &Value) -> Option<Self> {
        let sha256 = sibling["lfs"]["sha256"].as_str().map(str::to_lowercase);
        Some(Self { name: sibling["rfilename"].as_str()?.to_string(), bytes: sibling["size"].as_u64(), sha256 })
    }

    /// Whether it belongs to a checkpoint or an adapter: configuration, tokenizer, chat template, or weights in safetensors. Of weights
    /// that lie there twice, as one publisher's do, those by Hugging Face's names.
    fn is_wanted(&self) -> bool {
        let name = self.name.as_str();
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) && !name.starts_with('.');
        let configures = [".json", ".jinja", "tokenizer.model"].iter().any(|end| name.ends_with(end));
        let weights =
            name.starts_with("model") && name.ends_with(".safetensors") || name == "adapter_model.safetensors";
        name == "1_Pooling/config.json" || plain && name != PINNED && (configures || weights)
    }
}

#[cfg(test)]
mod tests;
