//! A checkpoint on this machine.

use crate::llm::model::Local as Open;
use crate::llm::{load, weights::Weights};
use burn::tensor::FloatDType;
use framework::context::Context;
use framework::error::{Error, Result};
use framework::language::Model;
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
        /// A folder with `config.json`, `model.safetensors` and `tokenizer.json`, or a `.gguf` file: a path, or a name
        /// that `ablate fetch` knows.
        model: PathBuf,
        /// The precision of weights and activations; quantized ones are widened to it.
        precision: Precision = Precision::F32,
        /// Answers that are written at a time; halved when memory runs out.
        #[range(1..=65_536)]
        batch_size: usize = 16,
    }
}

impl Local {
    /// The checkpoint's folder or file: as given, or in the cache.
    fn path(&self, cache: &Path) -> Result<PathBuf> {
        let cached = cache.join(&self.model);
        match [&self.model, &cached].into_iter().find(|path| path.exists()) {
            Some(path) => Ok(path.clone()),
            None => Err(Error::new(format!("there is no model at {}", self.model.display()))
                .at("language_model.model")
                .fix(format!("the path of a checkpoint, or `ablate fetch {}` first", self.model.display()))),
        }
    }
}

impl LanguageModel for Local {
    fn open(&self, _: &[String], cx: &Context) -> Result<Arc<dyn Model>> {
        let path = self.path(&cx.cache)?;
        let base = file_hashes(&Weights::files(&path)?)?;
        let weights = Weights::open(&path)?;
        let precision = match self.precision {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
            Precision::F16 => FloatDType::F16,
        };
        let decoder = load::open(&weights, &cx.device, precision)?;
        let tokenizer = Arc::new(weights.tokenizer()?);
        Ok(Arc::new(Open { decoder, tokenizer, base, batch_size: self.batch_size, tuned: None }))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        file_hashes(&Weights::files(&self.path(cache)?)?)
    }

    fn is_trainable(&self) -> bool {
        true
    }
}
