//! A small decoder made from the experiment's own texts: nothing is downloaded, and it knows nothing else.

use crate::llm::architecture::Architecture;
use crate::llm::load;
use crate::llm::model::Local as Open;
use crate::llm::rope::{Rope, Scaling};
use crate::llm::tokenizer::Tokenizer;
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::language::Model;
use framework::plugin::Setting;
use framework::rng::Rng;
use framework::roles::LanguageModel;
use framework::store::hash_json;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::{AddedToken, TokenizerBuilder};

framework::plugin! {
    /// A small Llama-like decoder with random weights and a tokenizer trained on the experiment's own texts.
    ///
    /// For quick starts, tests and ablations on generated data: it needs no download. It cannot write sensible texts;
    /// fine-tuned on an experiment's examples it can learn to judge them. Use `tuning.method = "full"` with it: an
    /// adapter beside random weights learns little.
    struct Tiny: LanguageModel = "tiny" {
        /// Tokens of the vocabulary at most.
        #[range(300..=100_000)]
        vocab_size: usize = 1000,
        /// Width of the embeddings and of all layers.
        #[range(8..=4096)]
        hidden_size: usize = 64,
        /// Blocks.
        #[range(1..=64)]
        num_layers: usize = 2,
        /// Attention heads per block; twice their number divides `hidden_size`.
        #[range(1..=64)]
        num_heads: usize = 4,
        /// Answers that are written at a time; halved when memory runs out.
        #[range(1..=65_536)]
        batch_size: usize = 64,
        /// The seed of the weights, apart from the run's seed: every run starts from the same model.
        seed: u64 = 1,
    }
    check |tiny, report| {
        if !tiny.hidden_size.is_multiple_of(2 * tiny.num_heads) {
            let message = format!("{} heads of even width do not divide a hidden_size of {}", tiny.num_heads, tiny.hidden_size);
            report.conflict("num_heads", message, "twice num_heads divides hidden_size");
        }
    }
}

const TEMPLATE: &str = "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}";

impl LanguageModel for Tiny {
    fn open(&self, texts: &[String], cx: &Context) -> Result<Arc<dyn Model>> {
        let base = json!({ "settings": self.write().to_string(), "texts": hash_json(&json!(texts)) });
        let folder = cx.cache.join("tiny").join(hash_json(&base));
        if !folder.join("tokenizer_config.json").exists() {
            train_tokenizer(self.vocab_size, texts, &folder)?;
        }
        let tokenizer = Tokenizer::from_folder(&folder)?;
        let architecture = self.architecture(tokenizer.vocab_size());
        let rng = Rng::new(self.seed, "initial values");
        let decoder = load::random(&architecture, &cx.device, &rng)?;
        Ok(Arc::new(Open { decoder, tokenizer: Arc::new(tokenizer), base, batch_size: self.batch_size, tuned: None }))
    }

    fn is_trainable(&self) -> bool {
        true
    }
}

impl Tiny {
    fn architecture(&self, vocab_size: usize) -> Architecture {
        Architecture {
            family: "llama".into(),
            vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: 4 * self.hidden_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: self.num_heads,
            head_dim: self.hidden_size / self.num_heads,
            rms_norm_eps: 1e-5,
            rope: Rope { theta: 1e4, scaling: Scaling::None },
            max_positions: 4096,
            sliding_window: None,
            qkv_bias: false,
            qk_norm: false,
            tied: true,
        }
    }
}

/// Trains a byte-level BPE (Sennrich et al., ACL 2016) on `texts` and leaves it in `folder` as transformers would; the
/// last file appears last, so that a folder with it is whole.
fn train_tokenizer(vocab_size: usize, texts: &[String], folder: &Path) -> Result<()> {
    let special = ["<|start|>", "<|end|>"].map(|text| AddedToken::from(text.to_string(), true));
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .min_frequency(1)
        .show_progress(false)
        .initial_alphabet(tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec())
        .build();
    let bytes = || ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(bytes()))
        .with_post_processor(Some(bytes()))
        .with_decoder(Some(bytes()))
        .build()
        .map_err(failed)?;
    // What prompts say besides the texts: the names of speakers.
    let words = ["system\n", "user\n", "assistant\n", "Yes", "No"].map(str::to_string);
    tokenizer.train(&mut trainer, texts.iter().chain(&words).cloned()).map_err(failed)?;
    fs::create_dir_all(folder).explain("making a folder for a tokenizer", folder.display())?;
    let unfinished = tempfile::NamedTempFile::new_in(folder).explain("writing a tokenizer", folder.display())?;
    tokenizer.save(unfinished.path(), false).map_err(failed)?;
    unfinished.persist(folder.join("tokenizer.json")).explain("writing a tokenizer", folder.display())?;
    let config = json!({ "chat_template": TEMPLATE, "eos_token": "<|end|>" });
    let file = folder.join("tokenizer_config.json");
    fs::write(&file, config.to_string()).explain("writing a tokenizer", file.display())
}

fn failed(error: tokenizers::Error) -> Error {
    Error::new(format!("training a tokenizer: {error}")).at("language_model")
}
