//! Ranking metrics of one test case, and the list-level coverage; neither scoring nor averaging happens here.
//!
//! A case has exactly one relevant item, the target (leave-one-out). Then recall@k is hr@k, precision@k is hr@k / k and
//! map@k is mrr@k; the names are kept because papers report them.
//!
//! Candidates that score exactly like the target are in no order, so a metric is its exact expectation over all of
//! their orders: the target's rank is uniform on `above + 1 ..= above + tied + 1`. A constant scorer gets chance, and
//! nothing depends on how a sort breaks ties (McSherry & Najork, ECIR 2008). All values are shares from 0 to 1, and
//! higher is better.
//!
//! Other frameworks define some of these metrics in another way. Their definitions have names of their own, such as
//! `map@10 as elliot`, also where they are equal to ours, so that a table says which one was asked for. One of them is
//! no share: `coverage@10 as elliot` is a number of items.

use crate::error::{Error, Result};
use crate::plugin::Setting;
use crate::problem::{Reader, nearest};
use std::{fmt, num::NonZeroU32};
use toml::Value;

mod others;

/// Where one test case's target landed among its candidates; `above + tied < candidates`.
///
/// It is counted by comparisons, which a NaN always fails: whoever counts must refuse NaN scores, for they would rank
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Candidates that score strictly higher than the target.
    pub above: u32,
    /// Other candidates with exactly the target's score.
    pub tied: u32,
    /// Candidates that were ranked, the target included.
    pub candidates: u32,
}

/// What a metric's name stands for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Definition {
    /// The name in specs and reports; `@k` stands for a cutoff such as `@10`, `as` comes before another framework.
    pub name: &'static str,
    /// Rises whenever the same case may get another value, so that old results are not mixed with new ones.
    pub version: u32,
    /// The value for a target at a known `rank` (from 1); the metric is its expectation over ties.
    pub formula: &'static str,
    /// The publication, or the release and file of another framework, that the formula is from.
    pub source: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Kind {
    Hit,
    Precision,
    ReciprocalRank,
    DiscountedGain,
    MeanPrecision,
    MeanRecall,
    F1,
    Auc,
    AucAmongCandidates,
    LimitedAuc,
    Coverage,
    PaddedCoverage,
    DistinctItems,
}

const MANNING: &str = "Manning, Raghavan & Schütze, Introduction to Information Retrieval, 2008, ch. 8";

static DEFINITIONS: [Definition; 8] = [
    Definition {
        name: "hr@k",
        version: 1,
        formula: "1 if rank <= k, else 0",
        source: "Deshpande & Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22(1), 2004",
        kind: Kind::Hit,
    },
    Definition {
        name: "ndcg@k",
        version: 1,
        formula: "1 / log2(rank + 1) if rank <= k, else 0; the ideal DCG of one relevant item is 1",
        source: "Järvelin & Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002; \
                 discount as in He et al., Neural collaborative filtering, WWW 2017",
        kind: Kind::DiscountedGain,
    },
    Definition {
        name: "mrr@k",
        version: 1,
        formula: "1 / rank if rank <= k, else 0",
        source: "Voorhees, The TREC-8 question answering track report, TREC 1999",
        kind: Kind::ReciprocalRank,
    },
    Definition {
        name: "recall@k",
        version: 1,
        formula: "relevant items in the top k / relevant items; equals hr@k with one relevant item",
        source: MANNING,
        kind: Kind::Hit,
    },
    Definition {
        name: "precision@k",
        version: 1,
        formula: "relevant items in the top k / k; equals hr@k / k with one relevant item",
        source: MANNING,
        kind: Kind::Precision,
    },
    Definition {
        name: "map@k",
        version: 1,
        formula: "mean precision at the ranks <= k of the relevant items; equals mrr@k with one relevant item",
        source: MANNING,
        kind: Kind::ReciprocalRank,
    },
    Definition {
        name: "auc",
        version: 1,
        formula: "(candidates - rank) / (candidates - 1); none with one candidate",
        source: "Rendle et al., BPR: Bayesian personalized ranking from implicit feedback, UAI 2009",
        kind: Kind::Auc,
    },
    Definition {
        name: "coverage@k",
        version: 2,
        formula: "distinct items in all users' top-k lists / items in the catalogue; of equal scores, where they are \
                  ranked in main memory, the item that comes first in the data",
        source: "Ge, Delgado-Battenfeld & Jannach, Beyond accuracy, RecSys 2010",
        kind: Kind::Coverage,
    },
];

/// Every metric of our own definition.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

/// What other frameworks compute where there is one relevant item; theirs is for one order of the ties.
pub fn others() -> &'static [Definition] {
    &others::DEFINITIONS
}

fn all() -> impl Iterator<Item = &'static Definition> {
    definitions().iter().chain(others())
}

impl Definition {
    fn family(&self) -> String {
        apart(self.name).0
    }

    fn needs_cutoff(&self) -> bool {
        self.name.contains("@k")
    }
}

/// A name without its cutoff, and the cutoff: `map as elliot` and 10 of `map@10 as elliot`.
fn apart(text: &str) -> (String, Option<u32>) {
    let (front, rest) = text.split_once('@').unwrap_or((text, ""));
    let (k, whose) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
    (format!("{front}{whose}"), k.parse().ok().map(NonZeroU32::get))
}

/// The largest cutoff among metrics' names, as records have them: 10 of `hr@5` and `ndcg@10|c21`.
pub fn deepest<'a>(names: impl Iterator<Item = &'a str>) -> Option<u32> {
    names.filter_map(|name| apart(name.split('|').next()?).1).max()
}

/// A metric as a spec names it, such as `ndcg@10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    definition: &'static Definition,
    cutoff: Option<u32>,
}

impl Metric {
    /// Reads a name in the one spelling that `Display` gives back; k is at least 1.
    pub fn parse(text: &str) -> Result<Self> {
        let unknown = || {
            let near = Self::nearest(text).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Error::new(format!("no metric is called `{text}`")).fix(format!("{}{near}", known(text)))
        };
        let (_, cutoff) = apart(text);
        let named = |definition| Self { definition, cutoff };
        // Comparing the spelling refuses what parses as a number but is not how one writes it: `hr@+5`, `hr@05`.
        let exact = |metric: &Self| metric.definition.needs_cutoff() == cutoff.is_some() && metric.to_string() == text;
        all().map(named).find(exact).ok_or_else(unknown)
    }

    /// The metric whose name is nearest to `text`, with the same cutoff.
    fn nearest(text: &str) -> Option<String> {
        let (family, cutoff) = apart(text);
        let families: Vec<String> = all().map(Definition::family).collect();
        let near = nearest(&family, families.iter().map(String::as_str))?;
        let definition = all().find(|definition| definition.family() == near)?;
        Some(Self { definition, cutoff }.to_string())
    }

    /// The case's expected value over all orders of its ties. `None` for coverage, which is not of one case, and for
    /// `auc` where the target has no rival.
    pub fn value(&self, rank: Rank) -> Option<f64> {
        debug_assert!(u64::from(rank.above) + u64::from(rank.tied) < u64::from(rank.candidates), "{rank:?}");
        let candidates = f64::from(rank.candidates);
        match self.definition.kind {
            Kind::Hit => self.expected(rank, |_| 1.0),
            Kind::Precision => self.expected(rank, |_| 1.0).zip(self.cutoff).map(|(hit, k)| hit / f64::from(k)),
            Kind::ReciprocalRank => self.expected(rank, f64::recip),
            Kind::DiscountedGain => self.expected(rank, |position| (position + 1.0).log2().recip()),
            Kind::MeanPrecision => self.over_cutoffs(rank, f64::recip),
            Kind::MeanRecall => self.over_cutoffs(rank, |_| 1.0),
            Kind::F1 => self.expected(rank, |_| 2.0).zip(self.cutoff).map(|(hit, k)| hit / (f64::from(k) + 1.0)),
            Kind::Auc => auc(rank, candidates - 1.0),
            Kind::AucAmongCandidates => auc(rank, candidates),
            Kind::LimitedAuc => self.expected(rank, |position| (candidates + 1.0 - position) / candidates),
            Kind::Coverage | Kind::PaddedCoverage | Kind::DistinctItems => None,
        }
    }

    /// The value of all users' lists together, of which each one's first k items count. `None` for a metric of a case.
    ///
    /// Items outside the catalogue `0..num_items` count for nothing; the share of an empty catalogue is NaN.
    pub fn of_lists(&self, lists: &[Vec<u32>], num_items: usize) -> Option<f64> {
        let items = num_items as f64;
        let found = || distinct(lists, self.cutoff.unwrap_or(0) as usize, num_items) as f64;
        match self.definition.kind {
            Kind::Coverage => Some(found() / items),
            Kind::PaddedCoverage => Some(found() / (items + 1.0)),
            Kind::DistinctItems => Some(found()),
            _ => None,
        }
    }

    /// The mean of `gain` over the ranks that the target may have; those beyond the cutoff gain nothing, so the loop
    /// is as short as the cutoff however many candidates tie.
    fn expected(&self, rank: Rank, gain: impl Fn(f64) -> f64) -> Option<f64> {
        let last = rank.above.saturating_add(rank.tied).saturating_add(1).min(self.cutoff?);
        let total = (rank.above..last).fold(0.0, |sum, before| sum + gain(f64::from(before) + 1.0));
        Some(total / (f64::from(rank.tied) + 1.0))
    }

    /// The mean over n = 1 to k of `weight(n)` times the chance that the target is among the first n.
    fn over_cutoffs(&self, rank: Rank, weight: impl Fn(f64) -> f64) -> Option<f64> {
        let (k, places) = (self.cutoff?, f64::from(rank.tied) + 1.0);
        let total = (rank.above..k).fold(0.0, |sum, before| {
            let n = f64::from(before) + 1.0;
            sum + weight(n) * (n - f64::from(rank.above)).min(places)
        });
        Some(total / places / f64::from(k))
    }

    /// The k of `@k`; `None` for a metric of the whole ranking.
    pub fn cutoff(&self) -> Option<u32> {
        self.cutoff
    }

    /// Whether it is a property of all lists together (see [`Metric::of_lists`]), not of a case.
    pub fn is_of_lists(&self) -> bool {
        matches!(self.definition.kind, Kind::Coverage | Kind::PaddedCoverage | Kind::DistinctItems)
    }

    /// The version of its definition.
    pub fn version(&self) -> u32 {
        self.definition.version
    }
}

impl Setting for Metric {
    fn kind() -> String {
        "metric".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let name = String::read(value, reader)?;
        Self::parse(&name).ok().or_else(|| reader.unknown(&name, "metric", &known(&name), Self::nearest(&name)))
    }
    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// The names there are, in words; those of other frameworks only where one of them was meant.
fn known(text: &str) -> String {
    let meant = if text.contains(" as ") { others() } else { definitions() };
    let names: Vec<_> = meant.iter().map(|definition| definition.name).collect();
    format!("one of {}, with k a whole number of at least 1", names.join(", "))
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cutoff {
            Some(k) if self.definition.needs_cutoff() => {
                f.write_str(&self.definition.name.replace("@k", &format!("@{k}")))
            }
            _ => f.write_str(self.definition.name),
        }
    }
}

/// The expected share of the `rivals` that the target beats: a tied one counts as half beaten.
fn auc(rank: Rank, rivals: f64) -> Option<f64> {
    (rivals > 0.0).then(|| (rivals - f64::from(rank.above) - f64::from(rank.tied) / 2.0) / rivals)
}

/// How many items of the catalogue `0..num_items` are among the first `depth` of any list.
fn distinct(lists: &[Vec<u32>], depth: usize, num_items: usize) -> usize {
    let mut listed = vec![false; num_items];
    for &item in lists.iter().flat_map(|list| list.iter().take(depth)) {
        if let Some(seen) = listed.get_mut(item as usize) {
            *seen = true;
        }
    }
    listed.iter().filter(|seen| **seen).count()
}

#[cfg(test)]
mod tests;
