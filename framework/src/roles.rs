//! The roles of an experiment: one trait each. A plugin is a value that implements one of them.

use crate::context::Context;
use crate::corpus::{Corpus, Items, LinkedPictures, Part};
use crate::error::{Error, Result};
use crate::evaluation::{Outcomes, Scores};
use crate::language::Model;
use crate::metrics::Metric;
use crate::protocol::{Cut, Sequence, Train};
use crate::role;
use burn::tensor::{Int, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where interactions and items come from.
pub trait Dataset: Send + Sync + Debug {
    /// Reads or makes the data.
    fn load(&self, cx: &Context) -> Result<Corpus>;
    /// The files it reads; their bytes are part of the cache key. Fails when one is missing.
    fn files(&self, _cache: &Path) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    /// What its users and interactions depend on, where that is less than all its settings: a dataset that changes
    /// nothing but titles or pictures of another can be compared with that one.
    fn task(&self) -> Option<Value> {
        None
    }
    /// The pictures of its items, where they are linked: `ablate pictures` gets them.
    fn linked_pictures(&self, _cache: &Path) -> Result<Option<LinkedPictures>> {
        Ok(None)
    }
    /// Whether its corpus says how it came about, which the oracle needs.
    fn knows_truth(&self) -> bool {
        false
    }
}
role!(dyn Dataset, "dataset");

/// What the data says about itself that a split may need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// Whether timestamps are mere places in a user's sequence.
    pub untimed: bool,
    /// The users' own ids, for messages; empty where nobody knows them.
    pub users: &'a [String],
    /// What each user's interactions are for, oldest first, where the data has a split of its own.
    pub given: Option<&'a [Vec<Part>]>,
}

/// Divides interactions into training, validation and test.
pub trait SplitRule: Send + Sync + Debug {
    /// Where each of the users' interactions, oldest first, are divided. The framework sees to it that no target is
    /// trained on.
    fn cut(&self, users: &[Sequence], source: Source) -> Result<Vec<Cut>>;
    /// Whether it takes the split that the data may have of its own; where it does not, the report says so.
    fn takes_given(&self) -> bool {
        false
    }
}
role!(dyn SplitRule, "split");

/// Ranks items for a user.
pub trait Recommender: Send + Sync + Debug {
    /// Learns from the training split; may select on `train.validation`, never sees the test split.
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>>;
    /// Reads back what `Scorer::save` wrote to `folder`.
    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>>;
    /// What decides its scores besides its settings: hashes of the files it reads. Part of the cache key.
    fn inputs(&self, _cache: &Path) -> Result<Value> {
        Ok(Value::Null)
    }
    /// Whether it ranks by the dataset's own truth.
    fn needs_truth(&self) -> bool {
        false
    }
    /// Whether its scores come from other software: then they are one draw of whatever made them, with any seed of ours.
    fn is_made_elsewhere(&self) -> bool {
        false
    }
    /// Where it only orders what something else found: the share of cases in which that found the target, as a metric of
    /// its own ranking. No order can exceed it, and reports print it.
    fn ceiling(&self) -> Option<Metric> {
        None
    }
}
role!(dyn Recommender, "recommender");

/// A user's history up to the moment of the prediction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    /// The user's index.
    pub user: u32,
    /// Item indices, oldest first, at most the protocol's `max_history`.
    pub history: &'a [u32],
    /// All that the user met, of which `history` is the end: what the ranking leaves out where the protocol masks.
    pub seen: &'a [u32],
    /// The only items whose scores count, or `None` when all do.
    pub candidates: Option<&'a [u32]>,
}

/// Items and their scores, by users.
pub type Lists = BTreeMap<u32, Vec<(u32, f32)>>;

/// A fitted recommender.
pub trait Scorer: Send {
    /// Scores of every item for every query, `[queries, items]`; higher is better, equal is a tie. A row of nothing but
    /// negative infinity recommends nothing: a miss.
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>>;
    /// Writes what `Recommender::load` needs into `folder`.
    fn save(&self, folder: &Path) -> Result<()>;
    /// Each user's items, where it holds no more than lists that were made elsewhere.
    fn lists(&self) -> Option<&Lists> {
        None
    }
    /// The ID embeddings that it learned, `[items, width]`, where it has such.
    fn item_embeddings(&self) -> Option<Tensor<2>> {
        None
    }
}

/// What a sequence model is trained against: its states should score the next item above all others.
pub trait Loss: Send + Sync + Debug {
    /// The mean loss over `n` positions.
    ///
    /// `states` `[n, hidden]` predict `targets` `[n]`; `items` `[items, hidden]` are the item embeddings and an item's
    /// score is the dot product with a state. `rng` draws negatives.
    fn loss(
        &self,
        states: Tensor<2>,
        items: Tensor<2>,
        targets: Tensor<1, Int>,
        rng: &mut crate::rng::Rng,
    ) -> Tensor<1>;
}
role!(dyn Loss, "loss");

/// Turns items into vectors: by what is said or shown of them, or by who chose them.
pub trait Embeddings: Send + Sync + Debug {
    /// A row for each item of the catalogue, `[items, width]`. What is learned is learned from the training split.
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>>;
    /// What decides them besides its settings: hashes of the files it reads. Part of the cache key.
    fn inputs(&self, _cache: &Path) -> Result<Value> {
        Ok(Value::Null)
    }
}
role!(dyn Embeddings, "embeddings");

/// Turns each test case's outcome into scores.
pub trait Evaluator: Send + Sync + Debug {
    /// The depth of the recommendation lists it needs, 0 for none.
    fn list_depth(&self) -> usize {
        0
    }
    /// Every metric per user, and those that only the whole test set has.
    fn evaluate(&self, outcomes: &Outcomes) -> Result<Scores>;
    /// The metric by which models are selected on validation; one with a value per user.
    fn selects_by(&self) -> Metric;
}
role!(dyn Evaluator, "evaluator");

/// What writes texts and judges answers.
pub trait LanguageModel: Send + Sync + Debug {
    /// Opens it; `texts` are the experiment's own, for a model that is made from them.
    fn open(&self, texts: &[String], cx: &Context) -> Result<Arc<dyn Model>>;
    /// What decides its answers besides its settings: hashes of the files it reads. Part of the cache key.
    fn inputs(&self, _cache: &Path) -> Result<Value> {
        Ok(Value::Null)
    }
    /// What `ablate inspect` prints: its sizes, memory, tokenizer and source.
    fn describe(&self, _cache: &Path) -> Result<Value> {
        Err(Error::new("this language model has no files here that could be looked into").fix("one that has"))
    }
    /// Whether it can be trained and asked for likelihoods here, not only for texts.
    fn is_trainable(&self) -> bool {
        false
    }
}
role!(dyn LanguageModel, "language_model");

/// Turns a user's history into a text about their preferences.
pub trait Aggregator: Send + Sync + Debug {
    /// A text for each history, oldest item first, in order.
    fn aggregate(&self, histories: &[&[u32]], items: &Items, cx: &Context) -> Result<Vec<String>>;
    /// What decides its answers besides its settings: hashes of the files it reads. Part of the cache key.
    fn inputs(&self, _cache: &Path) -> Result<Value> {
        Ok(Value::Null)
    }
}
role!(dyn Aggregator, "aggregator");
