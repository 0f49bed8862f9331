//! What a protocol leaves of the data, in numbers, for records and reports.

use crate::corpus::Corpus;

/// What was left of the data, and what the reader of a table should know about it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// Users left by the k-core.
    pub users: usize,
    /// Items left by the k-core.
    pub items: usize,
    /// Interactions left by the k-core.
    pub interactions: usize,
    /// Test cases.
    pub test_cases: usize,
    /// Share of interactions whose user has another one at the same timestamp: `protocol.ties` decides their order.
    pub tie_rate: f64,
    /// Test cases whose target shares its time with another item of its user: that order alone made it the target.
    #[serde(default)]
    pub tied_targets: Option<usize>,
    /// Rows that are exact copies of another.
    #[serde(default)]
    pub copies: Option<usize>,
    /// Test cases that are left out because their target was seen before and seen items are masked.
    #[serde(default)]
    pub left_out: Option<usize>,
    /// The same of validation cases.
    #[serde(default)]
    pub left_out_of_validation: Option<usize>,
    /// Interactions that are trained on; 0 in records from before it was counted.
    #[serde(default)]
    pub training: usize,
    /// Mean share of training interactions that are later than the test target; none where the data has no times.
    #[serde(default)]
    pub leak_rate: Option<f64>,
    /// Test cases whose last three items and target follow each other in the training of anybody.
    #[serde(default)]
    pub copied_targets: usize,
    /// Test cases whose target stands in their own history, those that are left out among them.
    #[serde(default)]
    pub repeated_targets: usize,
    /// Test cases whose target no training interaction has.
    #[serde(default)]
    pub cold_targets: usize,
    /// Whether the data has a split of its own that the protocol does not take.
    #[serde(default)]
    pub own_split_unused: bool,
    /// What the data's own split holds out for validation and for test, and what the k-core left of it; none where that
    /// split is not taken.
    #[serde(default)]
    pub given_targets: Option<[GivenTargets; 2]>,
    /// What the dataset's reader left out, took for something or doubts.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What became of the interactions that the data itself holds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GivenTargets {
    /// Interactions that the data holds out.
    pub given: usize,
    /// Those that the k-core left.
    pub left: usize,
}

/// What a reader of results should know of the data.
pub(super) fn notes(corpus: &Corpus) -> Vec<String> {
    let broken = corpus.items.broken.first().map(|first| {
        let count = corpus.items.broken.len();
        format!(
            "WARNING: {count} pictures are broken, and their items have none: {first}{}",
            if count > 1 { ", …" } else { "" }
        )
    });
    corpus.notes.iter().cloned().chain(broken).collect()
}
