#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

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
        ("gauc as recbole", 7.0 / 9.0),
        ("map@2 as elliot", 0.0),
        ("map@5 as elliot", 47.0 / 300.0), // precision is 0, 0, 1/3, 1/4, 1/5 at the cutoffs 1 to 5
        ("mar@5 as elliot", 0.6),          // recall is 1 at three of five cutoffs
        ("f1@2 as elliot", 0.0),
        ("f1@5 as elliot", 1.0 / 3.0), // precision 1/5, recall 1
        ("auc as elliot", 0.8),        // 2 of 10 are above
        ("gauc as elliot", 0.8),
        ("lauc@2 as elliot", 0.0),
        ("lauc@3 as elliot", 0.8),
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
        ("gauc as recbole", 7.0 / 9.0),      // rank 3, the mean of the three: (10 - 3) / 9
        ("map@3 as elliot", 7.0 / 54.0),     // ((1/2 + 1/3) / 3 + 1/3 / 3) / 3
        ("mar@3 as elliot", 1.0 / 3.0),      // (2/3 + 1/3) / 3
        ("f1@3 as elliot", 1.0 / 3.0),       // 2/4 in two of three orders
        ("auc as elliot", 0.8),              // 10 rivals, 1 above, 2 tied: (10 - 1 - 1) / 10
        ("lauc@3 as elliot", 17.0 / 30.0),   // (9/10 + 8/10) / 3
    ] {
        close(value(name, 1, 2, 10), expected);
    }
}

#[test]
fn no_rival() {
    for name in ["auc", "gauc as recbole"] {
        assert_eq!(Metric::parse(name).unwrap().value(Rank { above: 0, tied: 0, candidates: 1 }), None);
    }
    close(value("auc as elliot", 0, 0, 1), 1.0);
    close(value("ndcg@10", 0, 0, 1), 1.0);
}

#[test]
fn many_ties() {
    // 10 of 100,001 equally likely ranks are in the top 10, and the k-th harmonic number of 3 is 11/6.
    close(value("hr@10", 0, 100_000, 100_001), 10.0 / 100_001.0);
    close(value("mrr@3", 0, 100_000, 100_001), 11.0 / 6.0 / 100_001.0);
    close(value("hr@4294967295", u32::MAX - 2, 1, u32::MAX), 1.0);
}

/// What the code of trec_eval, RecBole and Elliot says of random rankings with ties: `tests/peers/metrics.py`.
#[test]
fn peers_agree() {
    #[derive(serde::Deserialize)]
    struct Peers {
        above_tied_candidates: Vec<[u32; 3]>,
        values: BTreeMap<String, Vec<f64>>,
        lists: Lists,
    }
    #[derive(serde::Deserialize)]
    struct Lists {
        num_items: usize,
        lists: Vec<Vec<u32>>,
        values: BTreeMap<String, f64>,
    }
    let peers: Peers = serde_json::from_str(include_str!("../../../tests/fixtures/metrics.json")).expect("JSON");
    assert_eq!((peers.above_tied_candidates.len(), peers.values.len(), peers.lists.values.len()), (1000, 83, 8));
    for (name, values) in &peers.values {
        assert_eq!(values.len(), if name.contains(" as ") { 60 } else { 1000 }, "{name}");
        for ([above, tied, candidates], expected) in peers.above_tied_candidates.iter().zip(values) {
            let found = value(name, *above, *tied, *candidates);
            assert!(
                (found - expected).abs() < 1e-12,
                "{name} of {above}, {tied}, {candidates}: {found}, not {expected}"
            );
        }
    }
    let checked = |definition: &&Definition| {
        let name = definition.name.replace("@k", "@5");
        peers.values.contains_key(&name) || name.starts_with("coverage")
    };
    assert_eq!(others().iter().filter(checked).count(), others().len(), "every other definition has been compared");
    let Lists { num_items, lists, values } = peers.lists;
    for (name, expected) in values {
        close(Metric::parse(&name).unwrap().of_lists(&lists, num_items).unwrap(), expected);
    }
}

/// Where a formula says that it equals one of ours, it does.
#[test]
fn equal_definitions_are_equal() {
    let mut equal = 0;
    for definition in others() {
        let Some((_, ours)) = definition.formula.split_once("equals ") else { continue };
        let ours = ours.split(':').next().unwrap().replace("@k", "@4");
        for (above, tied) in [(0, 0), (2, 0), (3, 0), (4, 0), (1, 2), (2, 5), (0, 8)] {
            close(value(&definition.name.replace("@k", "@4"), above, tied, 9), value(&ours, above, tied, 9));
        }
        equal += 1;
    }
    assert_eq!(equal, 12);
}

#[test]
fn coverage_counts_distinct_items() {
    // Items 0, 1 and 3 of 4 in the top 2; item 9 is in no catalogue of 4.
    let of =
        |name: &str, lists: &[Vec<u32>], num_items| Metric::parse(name).unwrap().of_lists(lists, num_items).unwrap();
    let lists = [vec![0, 1, 2], vec![3, 9, 2]];
    close(of("coverage@2", &lists, 4), 0.75);
    close(of("coverage@2 as recbole", &lists, 4), 0.6);
    close(of("coverage@2 as elliot", &lists, 4), 3.0);
    close(of("coverage@10", &lists, 4), 1.0);
    close(of("coverage@10", &[], 4), 0.0);
    assert!(of("coverage@10", &[], 0).is_nan());
    let metric = Metric::parse("coverage@10").unwrap();
    assert!(metric.is_of_lists());
    assert_eq!(metric.value(Rank { above: 0, tied: 0, candidates: 2 }), None);
    assert_eq!(Metric::parse("hr@10").unwrap().of_lists(&lists, 4), None);
}

#[test]
fn names_round_trip() {
    for definition in definitions().iter().chain(others()) {
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

#[test]
fn wrong_names_of_other_frameworks() {
    for (wrong, right) in [
        ("ndcg@10 as RecBole", "ndcg@10 as recbole"),
        ("map@5 as eliot", "map@5 as elliot"),
        ("map@5  as elliot", "map@5 as elliot"),
        ("map as elliot@5", "map@5 as elliot"),
        ("map as elliot", "map@k as elliot"),
        ("auc@5 as elliot", "auc as elliot"),
        ("auc as recbole", "gauc as recbole"),
    ] {
        let message = Metric::parse(wrong).unwrap_err().to_string();
        assert!(message.contains("one of hr@k as recbole,") && message.contains("map@k as elliot,"), "{message}");
        assert!(message.contains(&format!("did you mean `{right}`?")), "{message}");
    }
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
    let ours = CUT.iter().map(|family| format!("{family}@{k}"));
    let theirs = ["map", "mar", "f1", "lauc"].iter().map(|family| format!("{family}@{k} as elliot"));
    ours.chain(theirs).chain(["auc".into(), "auc as elliot".into()]).collect()
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
