//! What a language model is asked, what it answers, and how it is trained; the words between experiments and models.

use crate::choice;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::plugin::defaults;
use crate::settings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// Instructions that stand above the conversation.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Speaker,
    /// What is said.
    pub content: String,
}

/// A conversation that the model shall answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt(pub Vec<Message>);

impl Prompt {
    /// A question; instructions stand above it unless they are empty.
    pub fn new(instructions: &str, question: &str) -> Self {
        let message = |role, content: &str| Message { role, content: content.to_string() };
        let system = (!instructions.is_empty()).then(|| message(Speaker::System, instructions));
        Self(system.into_iter().chain([message(Speaker::User, question)]).collect())
    }
}

settings! {
    /// How an answer is drawn.
    pub struct Decoding {
        /// Tokens after which an answer is cut.
        #[range(1..=1_000_000)]
        pub max_tokens: usize = 256,
        /// What logits are divided by before drawing; 0 takes the most likely token (greedy).
        #[range(0.0..=100.0)]
        pub temperature: f64 = 0.0,
        /// Tokens that are drawn from, the most likely ones; 0 keeps all.
        #[range(0..=1_000_000)]
        pub top_k: usize = 0,
        /// The least probability that the tokens drawn from make up together (nucleus; Holtzman et al., ICLR 2020).
        #[range(0.0..=1.0)]
        pub top_p: f64 = 1.0,
        /// What positive logits of tokens already there are divided by, and negative ones multiplied (Keskar et al., 2019).
        #[range(0.01..=100.0)]
        pub repetition_penalty: f64 = 1.0,
        /// Texts that end an answer and are not part of it.
        pub stop: Vec<String> = Vec::new(),
        /// The only answers allowed; any text when empty.
        pub choices: Vec<String> = Vec::new(),
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop text came.
    Stop,
    /// It reached `max_tokens`.
    Length,
}

/// A written answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// What was written.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens read.
    pub prompt_tokens: usize,
    /// Tokens written.
    pub tokens: usize,
}

/// A prompt and the answer to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What is asked.
    pub prompt: Prompt,
    /// What shall be answered.
    pub answer: String,
}

choice! {
    /// Which tokens of an example are learned.
    pub enum Learned {
        /// The answer's.
        Answer = "answer",
        /// All, the prompt's too, as MLLM-MSR's Eq. 2 says.
        All = "all",
    }
}

choice! {
    /// Which weights are trained.
    pub enum Method {
        /// Low-rank adapters beside frozen weights (Hu et al., ICLR 2022).
        Lora = "lora",
        /// All weights.
        Full = "full",
    }
}

settings! {
    /// Low-rank adapters.
    pub struct Lora {
        /// The width of an adapter.
        #[range(1..=4096)]
        pub rank: usize = 8,
        /// The adapter's output is multiplied by `alpha / rank`.
        #[range(0.0..=1e6)]
        pub alpha: f64 = 16.0,
        /// The share of the adapter's inputs that are dropped in training.
        #[range(0.0..1.0)]
        pub dropout: f64 = 0.05,
        /// The layers that get one: a regular expression that the end of a layer's name must match.
        pub target_modules: String = "(q|k|v|o|gate|up|down)_proj".into(),
        /// Multiplies by `alpha / sqrt(rank)` instead (Kalajdzievski, 2023, arXiv 2312.03732).
        pub rank_stabilized: bool = false,
    }
}

settings! {
    /// How a language model is fine-tuned.
    pub struct Tuning {
        /// Which weights are trained.
        pub method: Method = Method::Lora,
        /// The adapters.
        pub lora: Lora = defaults(),
        /// Weights whose name matches this regular expression stay as they are in full fine-tuning; none when empty.
        pub frozen: String = String::new(),
        /// Which tokens of an example are learned.
        pub learned: Learned = Learned::Answer,
        /// Step size of AdamW after the warm-up.
        #[range(0.0..=1.0)]
        pub learning_rate: f64 = 2e-4,
        /// The share of steps over which the step size rises from 0; from there it falls to 0 along a cosine.
        #[range(0.0..=1.0)]
        pub warmup: f64 = 0.05,
        /// Decoupled weight decay.
        #[range(0.0..=1.0)]
        pub weight_decay: f64 = 0.0,
        /// The norm that the gradients of a step are scaled down to; 0 leaves them alone.
        #[range(0.0..=1e6)]
        pub max_gradient_norm: f64 = 1.0,
        /// Examples per step.
        #[range(1..=1_000_000)]
        pub batch_size: usize = 32,
        /// Tokens that go through the model at once; a step adds up as many passes as its examples need.
        #[range(1..=10_000_000)]
        pub tokens_per_pass: usize = 4096,
        /// Tokens after which an example's prompt is cut at its start.
        #[range(8..=1_000_000)]
        pub max_length: usize = 1024,
        /// Passes over the examples.
        #[range(1..=10_000)]
        pub epochs: usize = 3,
        /// Keeps each block's input only and computes the block again for its gradient (Chen et al., 2016).
        pub gradient_checkpointing: bool = false,
    }
}

/// A fixed amount of work that models are timed by, with random tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Logits at every position of 4 sequences of 256 tokens.
    Forward,
    /// A training step of adapters of rank 8 beside queries and values, on 4 sequences of 256 tokens.
    Lora,
    /// 128 tokens written after each of 8 prompts of 64 tokens.
    Generate,
    /// Two answers to each of 21 prompts of 400 tokens in common and 12 of their own, one prompt after another.
    ScoreOneByOne,
    /// The same, what is in common read once.
    ScoreShared,
}

impl Work {
    /// All, by name.
    pub const ALL: [(&str, Self); 5] = [
        ("forward", Self::Forward),
        ("lora", Self::Lora),
        ("generate", Self::Generate),
        ("score_one_by_one", Self::ScoreOneByOne),
        ("score_shared", Self::ScoreShared),
    ];
}

/// A piece of work that can be done again and again.
pub type Repeat = Box<dyn FnMut() -> Result<()>>;

/// An open language model.
pub trait Model: Send + Sync {
    /// All that decides its answers: hashes of weights, tokenizer and chat template, or server and model name.
    fn identity(&self) -> Value;

    /// Answers `prompts`, in any order; hands each answer with its prompt's place to `done` as soon as it is there.
    ///
    /// The random numbers of an answer come from `seed` and its prompt alone, so they do not depend on the other prompts.
    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        seed: u64,
        cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()>;

    /// The log-likelihood of each of `answers` as the answer to each prompt of each group: `[group][prompt][answer]`.
    ///
    /// What the prompts of a group begin with in common is computed once.
    fn score(&self, groups: &[Vec<Prompt>], answers: &[String], cx: &Context) -> Result<Vec<Vec<Vec<f64>>>>;

    /// A model trained on groups of examples; the prompts of a group begin alike, which is computed once per step.
    ///
    /// `validate` gives the score by which the best epoch is kept, higher is better.
    fn tune(
        &self,
        groups: &[Vec<Example>],
        tuning: &Tuning,
        validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        cx: &Context,
    ) -> Result<Arc<dyn Model>>;

    /// Writes what `tune` changed to `folder`: the adapter as PEFT's files, or all weights.
    fn save(&self, folder: &Path) -> Result<()>;

    /// This model with what `save` wrote to `folder`.
    fn load(&self, folder: &Path, cx: &Context) -> Result<Arc<dyn Model>>;

    /// The work to be timed.
    fn work(&self, work: Work, _cx: &Context) -> Result<Repeat> {
        Err(Error::new(format!("{work:?} cannot be timed with this language model"))
            .fix("a model that runs in this process"))
    }
}
