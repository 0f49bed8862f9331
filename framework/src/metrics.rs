//! Ranking metrics of one test case, and the list-level coverage; neither scoring nor averaging happens here.
//!
//! A case has exactly one relevant item, the target (leave-one-out). Then recall@k is hr@k, precision@k is hr@k / k and
//! map@k is mrr@k; the names are kept because papers report them.
//!
//! Candidates that score exactly like the target are in no order, so a metric is its exact expectation over all of
//! their orders: the target's rank is uniform on `above + 1 ..= above + tied + 1`. A constant scorer gets chance, and
//! nothing depends on how a sort breaks ties (McSherry & Najork, ECIR 2008). All values are shares from 0 to 1, and
//! higher is better.

use crate::error::{Error, Result};
use crate::plugin::Setting;
use crate::problem::{Reader, nearest};
use std::{fmt, num::NonZeroU32};
use toml::Value;

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
    /// The name in specs and reports; `@k` stands for a cutoff such as `@10`.
    pub name: &'static str,
    /// Rises whenever the same case may get another value, so that old results are not mixed with new ones.
    pub version: u32,
    /// The value for a target at a known `rank` (from 1); the metric is its expectation over ties.
    pub formula: &'static str,
    /// The publication that the formula is from.
    pub source: &'static str,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Kind {
    Hit,
    Precision,
    ReciprocalRank,
    DiscountedGain,
    Auc,
    Coverage,
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
        version: 1,
        formula: "distinct items in all users' top-k lists / items in the catalogue",
        source: "Ge, Delgado-Battenfeld & Jannach, Beyond accuracy, RecSys 2010",
        kind: Kind::Coverage,
    },
];

/// Every metric there is.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

impl Definition {
    fn family(&self) -> &'static str {
        self.name.trim_end_matches("@k")
    }

    fn needs_cutoff(&self) -> bool {
        self.name.ends_with("@k")
    }
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
            Error::new(format!("no metric is called `{text}`")).fix(format!("{}{near}", known()))
        };
        let cutoff = Self::cutoff_of(text);
        let named = |definition| Self { definition, cutoff };
        // Comparing the spelling refuses what parses as a number but is not how one writes it: `hr@+5`, `hr@05`.
        let exact = |metric: &Self| metric.definition.needs_cutoff() == cutoff.is_some() && metric.to_string() == text;
        DEFINITIONS.iter().map(named).find(exact).ok_or_else(unknown)
    }

    /// The metric whose name is nearest to `text`, with the same cutoff.
    fn nearest(text: &str) -> Option<String> {
        let family = text.split_once('@').map_or(text, |(family, _)| family);
        let near = nearest(family, DEFINITIONS.iter().map(Definition::family))?;
        let definition = DEFINITIONS.iter().find(|definition| definition.family() == near)?;
        Some(Self { definition, cutoff: Self::cutoff_of(text) }.to_string())
    }

    fn cutoff_of(text: &str) -> Option<u32> {
        text.split_once('@').and_then(|(_, k)| k.parse().ok()).map(NonZeroU32::get)
    }

    /// The case's expected value over all orders of its ties. `None` for coverage, which is not of one case, and for
    /// `auc` where the target has no rival.
    pub fn value(&self, rank: Rank) -> Option<f64> {
        debug_assert!(u64::from(rank.above) + u64::from(rank.tied) < u64::from(rank.candidates), "{rank:?}");
        match self.definition.kind {
            Kind::Hit => self.expected(rank, |_| 1.0),
            Kind::Precision => self.expected(rank, |_| 1.0).zip(self.cutoff).map(|(hit, k)| hit / f64::from(k)),
            Kind::ReciprocalRank => self.expected(rank, f64::recip),
            Kind::DiscountedGain => self.expected(rank, |position| (position + 1.0).log2().recip()),
            Kind::Auc => auc(rank),
            Kind::Coverage => None,
        }
    }

    /// The mean of `gain` over the ranks that the target may have; those beyond the cutoff gain nothing, so the loop
    /// is as short as the cutoff however many candidates tie.
    fn expected(&self, rank: Rank, gain: impl Fn(f64) -> f64) -> Option<f64> {
        let last = rank.above.saturating_add(rank.tied).saturating_add(1).min(self.cutoff?);
        let total = (rank.above..last).fold(0.0, |sum, before| sum + gain(f64::from(before) + 1.0));
        Some(total / (f64::from(rank.tied) + 1.0))
    }

    /// The k of `@k`; `None` for a metric of the whole ranking.
    pub fn cutoff(&self) -> Option<u32> {
        self.cutoff
    }

    /// Whether it is a property of all lists together (see [`coverage`]), not of a case.
    pub fn is_of_lists(&self) -> bool {
        self.definition.kind == Kind::Coverage
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
        Self::parse(&name).ok().or_else(|| reader.unknown(&name, "metric", &known(), Self::nearest(&name)))
    }
    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// The names there are, in words.
fn known() -> String {
    let names: Vec<_> = DEFINITIONS.iter().map(|definition| definition.name).collect();
    format!("one of {}, with k a whole number of at least 1", names.join(", "))
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cutoff {
            Some(k) if self.definition.needs_cutoff() => write!(f, "{}@{k}", self.definition.family()),
            _ => f.write_str(self.definition.name),
        }
    }
}

/// The expectation of (candidates - rank) / (candidates - 1): a tied rival counts as half beaten.
fn auc(rank: Rank) -> Option<f64> {
    let rivals = f64::from(rank.candidates) - 1.0;
    (rivals > 0.0).then(|| (rivals - f64::from(rank.above) - f64::from(rank.tied) / 2.0) / rivals)
}

/// The share of the catalogue `0..num_items` that is in any of the lists, each a user's top k, already cut.
///
/// Items outside the catalogue count for nothing; an empty catalogue gives NaN.
pub fn coverage(lists: &[Vec<u32>], num_items: usize) -> f64 {
    let mut listed = vec![false; num_items];
    for &item in lists.iter().flatten() {
        if let Some(seen) = listed.get_mut(item as usize) {
            *seen = true;
        }
    }
    listed.iter().filter(|seen| **seen).count() as f64 / num_items as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(name: &str, above: u32, tied: u32, candidates: u32) -> f64 {
        Metric::parse(name).unwrap().value(Rank { above, tied, candidates }).unwrap()
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn golden_without_ties() {
        // Rank 3 of 10: 1/3, 1/log2(4) = 1/2, and 7 of 9 rivals beaten.
        for (name, expected) in [
            ("hr@2", 0.0),
            ("hr@3", 1.0),
            ("recall@3", 1.0),
            ("precision@5", 0.2),
            ("mrr@2", 0.0),
            ("mrr@5", 1.0 / 3.0),
            ("map@5", 1.0 / 3.0),
            ("ndcg@2", 0.0),
            ("ndcg@3", 0.5),
            ("auc", 7.0 / 9.0),
        ] {
            close(value(name, 2, 0, 10), expected);
        }
        assert!(value("hr@2", 2, 0, 10).is_sign_positive(), "a report must not print -0");
    }

    #[test]
    fn golden_with_ties() {
        // Ranks 2, 3 and 4 of 10, a third each; only 2 and 3 are in the top 3.
        for (name, expected) in [
            ("hr@1", 0.0),
            ("hr@3", 2.0 / 3.0),
            ("recall@3", 2.0 / 3.0),
            ("precision@3", 2.0 / 9.0),
            ("mrr@3", 5.0 / 18.0),               // (1/2 + 1/3) / 3
            ("map@4", 13.0 / 36.0),              // (1/2 + 1/3 + 1/4) / 3
            ("ndcg@3", 0.376_976_584_523_819_4), // (0.6309297535714574 + 0.5) / 3
            ("auc", 7.0 / 9.0),                  // 9 rivals, 1 above, 2 tied that count half: (9 - 1 - 1) / 9
        ] {
            close(value(name, 1, 2, 10), expected);
        }
    }

    #[test]
    fn no_rival() {
        assert_eq!(Metric::parse("auc").unwrap().value(Rank { above: 0, tied: 0, candidates: 1 }), None);
        close(value("ndcg@10", 0, 0, 1), 1.0);
    }

    #[test]
    fn many_ties() {
        // 10 of 100,001 equally likely ranks are in the top 10, and the k-th harmonic number of 3 is 11/6.
        close(value("hr@10", 0, 100_000, 100_001), 10.0 / 100_001.0);
        close(value("mrr@3", 0, 100_000, 100_001), 11.0 / 6.0 / 100_001.0);
        close(value("hr@4294967295", u32::MAX - 2, 1, u32::MAX), 1.0);
    }

    #[test]
    fn coverage_counts_distinct_items() {
        // Items 0, 1 and 3 of 4; item 9 is in no catalogue of 4.
        close(coverage(&[vec![0, 1], vec![1, 3, 9]], 4), 0.75);
        close(coverage(&[], 4), 0.0);
        assert!(coverage(&[], 0).is_nan());
        let metric = Metric::parse("coverage@10").unwrap();
        assert!(metric.is_of_lists());
        assert_eq!(metric.value(Rank { above: 0, tied: 0, candidates: 2 }), None);
    }

    #[test]
    fn names_round_trip() {
        for definition in definitions() {
            let name = definition.name.replace("@k", "@20");
            let metric = Metric::parse(&name).unwrap();
            assert_eq!(metric.to_string(), name);
            assert_eq!(metric.version(), definition.version);
            assert_eq!(metric.cutoff(), definition.needs_cutoff().then_some(20));
        }
    }

    #[test]
    fn wrong_names_say_what_is_right() {
        for (wrong, right) in [
            ("ndgc@10", "ndcg@10"),
            ("HR@5", "hr@5"),
            ("hr", "hr@k"),
            ("hr@", "hr@k"),
            ("hr@k", "hr@k"),
            ("hr@0", "hr@k"),
            ("hr@05", "hr@5"),
            ("hr@+5", "hr@5"),
            ("hr@5@6", "hr@k"),
            ("hr@4294967296", "hr@k"),
            ("auc@10", "auc"),
            ("recal@3", "recall@3"),
        ] {
            let message = Metric::parse(wrong).unwrap_err().to_string();
            assert!(message.contains(&format!("no metric is called `{wrong}`")), "{message}");
            assert!(message.contains("one of hr@k, ndcg@k,"), "{message}");
            assert!(message.contains(&format!("did you mean `{right}`?")), "{message}");
        }
        assert!(!Metric::parse("perplexity").unwrap_err().to_string().contains("did you mean"));
        assert!(Metric::parse("").is_err());
    }

    /// A case's rank by comparing scores, as an evaluation counts it.
    fn ranked(scores: &[u8], target: usize) -> Rank {
        let count = |wanted: fn(&u8, &u8) -> bool| scores.iter().filter(|score| wanted(score, &scores[target])).count();
        Rank {
            above: count(u8::gt) as u32,
            tied: count(u8::eq) as u32 - 1,
            candidates: u32::try_from(scores.len()).unwrap(),
        }
    }

    /// The places that item 0 takes in every order of `tied + 1` items (Heap's algorithm).
    fn places(tied: u32) -> Vec<u32> {
        fn permute(size: usize, items: &mut [u32], places: &mut Vec<u32>) {
            if size <= 1 {
                return places.push(items.iter().position(|&item| item == 0).unwrap() as u32);
            }
            for swap in 0..size {
                permute(size - 1, items, places);
                items.swap(if size.is_multiple_of(2) { swap } else { 0 }, size - 1);
            }
        }
        let (mut items, mut places) = ((0..=tied).collect::<Vec<_>>(), Vec::new());
        permute(items.len(), &mut items, &mut places);
        places
    }

    const CUT: [&str; 6] = ["hr", "ndcg", "mrr", "recall", "precision", "map"];

    fn all(k: u32) -> Vec<String> {
        CUT.iter().map(|family| format!("{family}@{k}")).chain(["auc".to_string()]).collect()
    }

    prop_compose! {
        fn any_rank()(above in 0..40u32, tied in 0..40u32, below in 1..40u32) -> Rank {
            Rank { above, tied, candidates: above + tied + 1 + below }
        }
    }

    proptest! {
        #[test]
        fn stays_in_bounds_and_never_gains_from_more_above(rank in any_rank(), k in 1..90u32) {
            for name in all(k) {
                let now = value(&name, rank.above, rank.tied, rank.candidates);
                let worse = value(&name, rank.above + 1, rank.tied, rank.candidates);
                prop_assert!((0.0..=1.0).contains(&now) && worse <= now + 1e-12, "{name}: {now}, then {worse}");
            }
        }

        #[test]
        fn grows_with_k_and_is_ordered(rank in any_rank(), k in 1..90u32) {
            let at = |family: &str, k: u32| value(&format!("{family}@{k}"), rank.above, rank.tied, rank.candidates);
            // Precision alone divides by k, so it is times k that it cannot fall.
            for family in CUT {
                let scale = |k: u32| if family == "precision" { f64::from(k) } else { 1.0 };
                prop_assert!(at(family, k) * scale(k) <= at(family, k + 1) * scale(k + 1) + 1e-12, "{family}");
            }
            prop_assert!(at("mrr", k) <= at("ndcg", k) + 1e-12 && at("ndcg", k) <= at("hr", k) + 1e-12);
            prop_assert_eq!(at("recall", k), at("hr", k));
            prop_assert_eq!(at("map", k), at("mrr", k));
            prop_assert!((at("precision", k) * f64::from(k) - at("hr", k)).abs() < 1e-12);
        }

        #[test]
        fn is_the_mean_over_all_tie_orders(above in 0..6u32, tied in 0..6u32, below in 1..4u32, k in 1..14u32) {
            let (candidates, places) = (above + tied + 1 + below, places(tied));
            for name in all(k) {
                let sum: f64 = places.iter().map(|place| value(&name, above + place, 0, candidates)).sum();
                let expected = sum / places.len() as f64;
                let found = value(&name, above, tied, candidates);
                prop_assert!((found - expected).abs() < 1e-12, "{name}: {found} is not {expected}");
            }
        }

        #[test]
        fn a_constant_scorer_gets_chance(candidates in 2..500u32, k in 1..600u32) {
            let at = |name: &str| value(name, 0, candidates - 1, candidates);
            let chance = f64::from(k.min(candidates)) / f64::from(candidates);
            let hit = at(&format!("hr@{k}"));
            prop_assert!((hit - chance).abs() < 1e-12);
            prop_assert!((at("auc") - 0.5).abs() < 1e-12);
        }

        #[test]
        fn the_order_of_ties_is_irrelevant(scores in prop::collection::vec(0..4u8, 2..30), k in 1..30u32) {
            for target in 0..scores.len() {
                for twin in (0..scores.len()).filter(|&twin| scores[twin] == scores[target]) {
                    for name in all(k) {
                        let metric = Metric::parse(&name).unwrap();
                        let value = |target| metric.value(ranked(&scores, target));
                        prop_assert_eq!(value(target), value(twin));
                    }
                }
            }
        }
    }
}
