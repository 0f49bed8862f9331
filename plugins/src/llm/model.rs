//! A decoder with its tokenizer as the framework's `Model`: what `local` and `tiny` open.

use super::decoder::Decoder;
use super::generate::Writer;
use super::tokenizer::Tokenizer;
use super::tune::{self, Tuner};
use super::{bench, load, lora, peft, score};
use burn::module::Module;
use burn::tensor::TensorData;
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Explain, Result};
use framework::language::{Decoding, Example, Generation, Lora, Method, Model, Prompt, Repeat, Tuning, Work};
use framework::parameters;
use framework::store::hash_json;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const WEIGHTS: &str = "model.safetensors";

/// A language model in this process.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Hashes of weights and tokenizer.
    pub(crate) base: Value,
    /// Answers that are written at a time.
    pub(crate) batch_size: usize,
    /// What `tune` changed.
    pub(crate) tuned: Option<Tuned>,
}

/// What `tune` changed, and the hash of it.
#[derive(Clone, Debug)]
pub(crate) enum Tuned {
    /// Adapters.
    Adapters(Lora, String),
    /// Any weights.
    Weights(String),
}

impl Local {
    fn with(&self, decoder: Decoder, tuned: Option<Tuned>) -> Self {
        Self { decoder, tuned, ..self.clone() }
    }

    fn tuned(decoder: &Decoder, tuning: &Tuning) -> Tuned {
        match tuning.method {
            Method::Lora => Tuned::Adapters(tuning.lora.clone(), hash(&lora::tensors(decoder))),
            Method::Full => Tuned::Weights(hash(&weights(decoder))),
        }
    }
}

/// Every parameter by its name in Hugging Face's checkpoints.
fn weights(decoder: &Decoder) -> Tensors {
    let named = parameters::read(decoder).into_iter().map(|parameter| {
        let values = parameter.values.into_data().convert::<f32>().iter().collect();
        (load::checkpoint_name(&parameter.path), (parameter.shape, values))
    });
    named.collect()
}

/// The hash of tensors' names, shapes and values.
fn hash(tensors: &Tensors) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, (shape, values)) in tensors {
        hasher.update(format!("{name}{shape:?}").as_bytes());
        values.iter().for_each(|x| {
            hasher.update(&x.to_le_bytes());
        });
    }
    hasher.finalize().to_hex().to_string()
}

impl Model for Local {
    fn identity(&self) -> Value {
        let tuned = self.tuned.as_ref().map(|(Tuned::Adapters(_, hash) | Tuned::Weights(hash))| hash);
        json!({ "base": self.base, "tokenizer": self.tokenizer.identity(), "tuned": tuned })
    }

    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        seed: u64,
        cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let decoder = &lora::merged(self.decoder.clone());
        Writer { decoder, tokenizer: &self.tokenizer, decoding, seed, cx }.write(prompts, self.batch_size, done)
    }

    fn score(&self, groups: &[Vec<Prompt>], answers: &[String], cx: &Context) -> Result<Vec<Vec<Vec<f64>>>> {
        score::score(&self.decoder, &self.tokenizer, groups, answers, cx)
    }

    fn tune(
        &self,
        groups: &[Vec<Example>],
        tuning: &Tuning,
        validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        cx: &Context,
    ) -> Result<Arc<dyn Model>> {
        let lesson = |group: &Vec<Example>| tune::lesson(&self.tokenizer, group, tuning);
        let lessons = groups.par_iter().map(lesson).collect::<Result<_>>()?;
        let decoder = tune::prepare(self.decoder.clone(), tuning, &cx.rng("initial values"))?;
        let model = |decoder: &Decoder| self.with(decoder.clone().no_grad(), Some(Self::tuned(decoder, tuning)));
        let best = Tuner { lessons, tuning, cx }.tune(decoder, &|decoder| validate(Arc::new(model(decoder))))?;
        Ok(Arc::new(model(&best)))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        match &self.tuned {
            None => Ok(()),
            Some(Tuned::Adapters(settings, _)) => lora::save(&self.decoder, settings, &hash_json(&self.base), folder),
            Some(Tuned::Weights(_)) => checkpoint::write(&folder.join(WEIGHTS), &weights(&self.decoder), ""),
        }
    }

    fn load(&self, folder: &Path, _: &Context) -> Result<Arc<dyn Model>> {
        if peft::is_in(folder) {
            let (decoder, settings) = lora::load(self.decoder.clone(), folder)?;
            let hash = hash(&lora::tensors(&decoder));
            return Ok(Arc::new(self.with(decoder, Some(Tuned::Adapters(settings, hash)))));
        }
        let file = folder.join(WEIGHTS);
        if !file.exists() {
            return Ok(Arc::new(self.clone()));
        }
        let (tensors, _) = checkpoint::read(&file)?;
        let mut missing = None;
        let decoder = parameters::replace(self.decoder.clone(), |path, shape, values| {
            let name = load::checkpoint_name(path);
            match tensors.get(&name).filter(|(stored, _)| stored == shape) {
                Some((_, stored)) => {
                    let data = TensorData::new(stored.clone(), [stored.len()]);
                    burn::tensor::Tensor::from_data(data, &values.device())
                }
                None => {
                    missing.get_or_insert(name);
                    values
                }
            }
        });
        match missing {
            Some(name) => Err(format!("no `{name}` of the right shape")).explain("reading weights", file.display()),
            None => {
                let tuned = Tuned::Weights(hash(&tensors));
                Ok(Arc::new(self.with(decoder.no_grad(), Some(tuned))))
            }
        }
    }

    fn work(&self, work: Work, cx: &Context) -> Result<Repeat> {
        bench::work(self, work, cx)
    }
}
