//! What the store keeps about a stage.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The newest layout of a store, and of a stage's record, that this program reads; it writes this one.
pub const FORMAT: u64 = 1;

/// What one stage left, under the hash of everything that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The layout of this record: [`FORMAT`].
    pub format: u64,
    /// The hash of `inputs`.
    pub key: String,
    /// The stage's name, such as `dataset`.
    pub stage: String,
    /// Everything that the key was hashed from, so that two keys can be explained.
    pub inputs: Value,
    /// The files it left: name (with `/`) to object hash. [`Store::commit_stage`] fills it in.
    pub files: BTreeMap<String, String>,
    /// How long it took.
    pub seconds: f64,
    /// When it was made, as [`now`] writes it.
    pub made: String,
    /// The most memory the process held while making it.
    pub peak_memory_mb: f64,
    /// What it cost besides.
    #[serde(default)]
    pub cost: Cost,
    /// Whether it depends on the run's seed; none in records from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<bool>,
    /// What the stages before it had left when it was made: the hash of their files, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstream: BTreeMap<String, String>,
    /// The record whose place it took, as an object: made again from the same inputs, the stage left something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// What the stage wants to say about itself: epochs, metrics.
    pub notes: Value,
}

/// What became of a record that was to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It was not there before.
    New,
    /// It was there, and agrees.
    Same,
    /// It was there, stays as it was, and differs in what is named here: this work is not deterministic.
    Different(Vec<String>),
    /// It was there, differed in what is named here, and is kept aside: the new record names it.
    Replaced(Vec<String>),
}

impl StageRecord {
    /// The hash of the files that the stage left.
    pub fn content(&self) -> String {
        super::hash_json(&serde_json::json!(self.files))
    }
}

/// What a stage cost besides time and memory. Numbers that stay zero are left out of records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Parameters that training changed.
    #[serde(skip_serializing_if = "is_zero")]
    pub parameters_trained: u64,
    /// Tokens that language models were trained on, over all epochs; what prompts share counts once a step.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens_trained: u64,
    /// Tokens of prompts that language models read to write, or to judge answers; what prompts share counts once.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens_read: u64,
    /// Tokens that language models wrote.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens_written: u64,
    /// Texts that they wrote.
    #[serde(skip_serializing_if = "is_zero")]
    pub texts_written: u64,
    /// Texts that were there already, written for an earlier stage or run.
    #[serde(skip_serializing_if = "is_zero")]
    pub texts_found: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks with a reference.
fn is_zero(n: &u64) -> bool {
    *n == 0
}
