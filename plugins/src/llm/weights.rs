//! A decoder's weights on disk, in Hugging Face's folders or GGUF files, as f32 by Hugging Face's names. Not tensors on
//! a device.

use super::architecture::Architecture;
use super::gguf::Gguf;
use super::pickle::Pickles;
use super::shards::{PICKLED, SAFETENSORS, Safetensors, listed};
use super::tokenizer::Tokenizer;
use framework::error::{Error, Explain, Result};
use memmap2::Mmap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Files of a folder that decide the model besides its weights.
const BESIDES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// The embedding table, and the output layer.
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// An open checkpoint, mapped into memory.
pub(crate) struct Weights {
    path: PathBuf,
    architecture: Architecture,
    files: Files,
}

enum Files {
    Folder(Safetensors),
    Pickled(Pickles),
    Gguf(Gguf),
}

impl Weights {
    /// Opens a Hugging Face folder (`config.json` and `model.safetensors`, whole or sharded, or else
    /// `pytorch_model.bin`) or a `.gguf` file.
    ///
    /// An error if the model is not supported, or a weight is missing or has another shape than the configuration says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (files, architecture) = if is_gguf(path)? {
            let file = Gguf::open(path)?;
            let architecture = Architecture::from_config(&file.config()?, path.display())?;
            (Files::Gguf(file), architecture)
        } else {
            let config = path.join("config.json");
            if !config.is_file() {
                return Err(no_model("the folder has no config.json", path));
            }
            let architecture = Architecture::from_config(&read_json(&config)?, config.display())?;
            let files = match listed(path, PICKLED)? {
                Some(pickled) if listed(path, SAFETENSORS)?.is_none() => Files::Pickled(Pickles::open(pickled)?),
                _ => Files::Folder(Safetensors::open(path)?),
            };
            (files, architecture)
        };
        let mut weights = Self { path: path.to_path_buf(), architecture, files };
        weights.untie()?;
        weights.check()?;
        Ok(weights)
    }

    /// A file's own output layer counts even where the configuration says that there is none, as in transformers.
    fn untie(&mut self) -> Result<()> {
        if !self.architecture.tied || self.stored(EMBEDDING).as_deref() == Some(HEAD) || self.shape(HEAD).is_none() {
            return Ok(());
        }
        if !self.same(HEAD, EMBEDDING)? {
            self.architecture.tied = false;
            tracing::warn!(
                "the output layer is the file's own `{HEAD}`: it is not the embedding table, as `tie_word_embeddings` \
                 says"
            );
        }
        Ok(())
    }

    fn same(&self, a: &str, b: &str) -> Result<bool> {
        let known = match (&self.files, self.stored(a), self.stored(b)) {
            (Files::Folder(folder), Some(a), Some(b)) => folder.same(&a, &b),
            _ => None,
        };
        match known {
            _ if self.shape(a) != self.shape(b) => Ok(false),
            Some(same) => Ok(same),
            None => Ok(self.tensor(a)? == self.tensor(b)?),
        }
    }

    /// Whether every weight is there in its shape. Before weights are counted, layers are: a number in a configuration
    /// costs nothing, a list as long as it says does.
    fn check(&self) -> Result<()> {
        let Architecture { family, num_layers, .. } = &self.architecture;
        let wrong = |problem: String| {
            Err(Error::new(problem)
                .at(self.path.display())
                .fix(format!("a complete checkpoint of the `{family}` family")))
        };
        let tensors = self.names().len();
        if *num_layers > tensors {
            return wrong(format!(
                "the configuration says {num_layers} layers, but there are {tensors} weights in all"
            ));
        }
        for (name, shape) in self.architecture.tensors() {
            match self.shape(&name) {
                None => return wrong(format!("the weight `{name}` is missing")),
                Some(stored) if stored != shape => {
                    return wrong(format!(
                        "the weight `{name}` has shape {stored:?}, but the configuration says {shape:?}"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The files whose bytes decide the model that `path` names.
    pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
        if is_gguf(path)? {
            return Ok(vec![path.to_path_buf()]);
        }
        let mut files = match (listed(path, SAFETENSORS)?, listed(path, PICKLED)?) {
            (Some(listed), _) | (None, Some(listed)) => listed.files,
            (None, None) => Safetensors::files(path)?,
        };
        files.extend(BESIDES.map(|name| path.join(name)).into_iter().filter(|file| file.is_file()));
        Ok(files)
    }

    /// Whether a weight is there, by Hugging Face's name.
    #[cfg(test)]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// A weight's shape (`[out, in]` for matrices) and values, by Hugging Face's name; an error if one is no number.
    pub(crate) fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || Error::new(format!("the weight `{name}` is missing")).at(self.path.display());
        let stored = self.stored(name).ok_or_else(missing)?;
        let values = match &self.files {
            Files::Folder(folder) => return folder.tensor(&stored),
            Files::Pickled(files) => files.tensor(&stored),
            Files::Gguf(file) => file.tensor(name, &self.architecture),
        };
        let values = finite(&stored, values.ok_or_else(missing)??, &self.path)?;
        Ok((self.shape(name).ok_or_else(missing)?, values))
    }

    /// The tokenizer; an error if it has tokens that the embedding table has no row for.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        let rows = self.architecture.vocab_size;
        let fits = |tokens: usize| {
            let error = || {
                let what = format!("the tokenizer has {tokens} tokens, but the embedding table has {rows} rows");
                Error::new(what).at(self.path.display()).fix("the tokenizer that the model was trained with")
            };
            if tokens > rows { Err(error()) } else { Ok(()) }
        };
        let tokenizer = match &self.files {
            Files::Folder(_) | Files::Pickled(_) => Tokenizer::from_folder(&self.path)?,
            Files::Gguf(file) => {
                fits(file.count("tokenizer.ggml.tokens").unwrap_or_default())?;
                Tokenizer::from_gguf(file)?
            }
        };
        fits(tokenizer.ids())?;
        // Qwen 3 would otherwise be left to think aloud before it answers.
        let answers_at_once = Map::from_iter([("enable_thinking".to_string(), Value::Bool(false))]);
        Ok(tokenizer.with_variables(answers_at_once))
    }

    /// Where it comes from and under which licence, as far as its files say: `revision.json` of `ablate fetch`, or the
    /// header of a GGUF file.
    pub(crate) fn source(&self) -> Result<Value> {
        match &self.files {
            Files::Folder(_) | Files::Pickled(_) => {
                let pinned = read_json_if_any(&self.path.join("revision.json"))?;
                Ok(json!({"name": pinned["repository"], "revision": pinned["revision"], "licence": pinned["licence"]}))
            }
            Files::Gguf(file) => {
                let (name, licence) = (file.get("general.name"), file.get("general.license"));
                Ok(json!({"name": name, "revision": null, "licence": licence}))
            }
        }
    }

    /// How many tensors are stored in which format.
    pub(crate) fn formats(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let mut count = |format: String| *counts.entry(format).or_default() += 1;
        match &self.files {
            Files::Folder(folder) => folder.formats().for_each(&mut count),
            Files::Pickled(files) => files.formats().for_each(&mut count),
            Files::Gguf(file) => file.formats().for_each(&mut count),
        }
        counts
    }

    /// Tensors in the files that the model does not use, by the files' names; but what follows from the configuration.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used: BTreeSet<String> =
            self.architecture.tensors().iter().filter_map(|(name, _)| self.stored(name)).collect();
        let follows = |name: &str| name.contains("rotary_emb.") || self.architecture.tied && name == HEAD;
        let names = self.names().into_iter();
        names.filter(|name| !used.contains(name) && !follows(name)).collect()
    }

    /// The names of all tensors as the files have them.
    fn names(&self) -> BTreeSet<String> {
        match &self.files {
            Files::Folder(folder) => folder.names(),
            Files::Pickled(files) => files.names(),
            Files::Gguf(file) => file.names(),
        }
    }

    /// What the files call a weight that Hugging Face's causal models call `name`. Their base models' files have no
    /// `model.` before names, and a shared table may stand there as the output layer only.
    fn stored(&self, name: &str) -> Option<String> {
        if let Files::Gguf(file) = &self.files {
            return file.stored(name);
        }
        let shared = (self.architecture.tied && name == EMBEDDING).then_some(HEAD);
        let mut names = [Some(name), name.strip_prefix("model."), shared].into_iter().flatten();
        names.find(|name| self.stored_shape(name).is_some()).map(str::to_string)
    }

    fn stored_shape(&self, stored: &str) -> Option<Vec<usize>> {
        match &self.files {
            Files::Folder(folder) => folder.shape(stored),
            Files::Pickled(files) => files.shape(stored),
            Files::Gguf(file) => file.shape(stored),
        }
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.stored_shape(&self.stored(name)?)
    }
}

/// `values` of the tensor `name` if all are numbers.
pub(crate) fn finite(name: &str, values: Vec<f32>, place: &Path) -> Result<Vec<f32>> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(n) => {
            let what = format!("the weight `{name}` holds {} (value {n} of {})", values[n], values.len());
            let fix = "a checkpoint of finite numbers; was the copy damaged, or did its training diverge?";
            Err(Error::new(what).at(place.display()).fix(fix))
        }
    }
}

/// Maps a file into memory, to be read only.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).explain("cannot open the file", path.display())?;
    // SAFETY: bytes are only read. Whoever changes weights while a program runs on them breaks that program.
    unsafe { Mmap::map(&file) }.explain("cannot map the file into memory", path.display())
}

/// A JSON file's content.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).explain("cannot read the file", path.display())?;
    let parsed = serde_json::from_str(&text).explain("the file is not JSON", path.display());
    parsed.map_err(|error| error.fix("the file as the model's makers publish it"))
}

/// A JSON file's content, `null` if there is no such file.
pub(crate) fn read_json_if_any(path: &Path) -> Result<Value> {
    if path.is_file() { read_json(path) } else { Ok(Value::Null) }
}

fn is_gguf(path: &Path) -> Result<bool> {
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if path.is_dir() || gguf && path.is_file() {
        return Ok(gguf && path.is_file());
    }
    Err(no_model("there is no language model", path))
}

fn no_model(what: &str, path: &Path) -> Error {
    let fix = "a folder in Hugging Face's format (config.json, model.safetensors, tokenizer.json), or a .gguf file";
    Error::new(what).at(path.display()).fix(fix)
}

#[cfg(test)]
mod tests;
