use super::{SECONDS, START, World, titles};
use framework::context::Context;
use framework::corpus::Corpus;
use framework::plugin::{Setting, defaults};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::roles::Dataset;
use std::collections::BTreeSet;

fn load(world: &World) -> Corpus {
    let cx = Context::new(Default::default(), 0, "".into(), "".into(), Progress::hidden());
    let corpus = world.load(&cx).expect("the world needs nothing that could fail");
    corpus.check().expect("the world is whole");
    corpus
}

fn without_effects() -> World {
    World { category_strength: 0.0, style_strength: 0.0, group_strength: 0.0, ..defaults() }
}

/// Each user's items, oldest first.
fn histories(corpus: &Corpus) -> Vec<Vec<u32>> {
    let mut histories = vec![Vec::new(); corpus.users.len()];
    for (user, item) in corpus.interactions.user.iter().zip(&corpus.interactions.item) {
        histories[*user as usize].push(*item);
    }
    histories
}

/// The share of users whose last item is among the ten best unseen ones by `score`, given their history.
fn hit_rate(corpus: &Corpus, score: impl Fn(&[u32]) -> Vec<f64>) -> f64 {
    let histories = histories(corpus);
    let hit = |items: &&Vec<u32>| {
        let (target, history) = items.split_last().expect("nobody has an empty history");
        let scores = score(history);
        let better =
            (0..scores.len() as u32).filter(|n| !history.contains(n) && scores[*n as usize] > scores[*target as usize]);
        better.count() < 10
    };
    histories.iter().filter(hit).count() as f64 / histories.len() as f64
}

fn popularity(corpus: &Corpus) -> Vec<f64> {
    let mut counts = vec![0.0; corpus.items.id.len()];
    for history in histories(corpus) {
        history[..history.len() - 1].iter().for_each(|item| counts[*item as usize] += 1.0);
    }
    counts
}

#[test]
fn is_the_same_whatever_the_threads_and_another_for_another_seed() {
    let world = World { users: 200, ..defaults() };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let one = pool(1).install(|| load(&world));
    assert_eq!(one, pool(4).install(|| load(&world)));
    assert_ne!(one, load(&World { seed: 2, ..world }));
}

#[test]
fn users_never_repeat_an_item_and_time_moves_on() {
    let corpus = load(&defaults());
    let data = &corpus.interactions;
    for history in histories(&corpus) {
        assert!((10..=40).contains(&history.len()));
        assert_eq!(history.iter().collect::<BTreeSet<_>>().len(), history.len());
    }
    for n in 1..data.user.len() {
        assert!(data.user[n] != data.user[n - 1] || data.timestamp[n] > data.timestamp[n - 1]);
    }
    assert!(data.timestamp.iter().all(|time| (START..START + SECONDS as i64 + 100).contains(time)));
}

#[test]
fn properties_are_independent() {
    let world = World { items: 6000, ..defaults() };
    let truth = world.truth();
    let median = world.popularity * -3000f64.ln();
    let popular: Vec<u32> = truth.popularity.iter().map(|logit| u32::from(*logit > median)).collect();
    let columns: Vec<&Vec<u32>> = truth.factors.iter().map(|f| &f.of_item).chain([&popular]).collect();
    for (n, one) in columns.iter().enumerate() {
        for other in &columns[..n] {
            let size = |column: &[u32]| column.iter().max().map_or(0, |max| *max as usize + 1);
            let mut counts = vec![vec![0.0; size(other)]; size(one)];
            one.iter().zip(other.iter()).for_each(|(a, b)| counts[*a as usize][*b as usize] += 1.0);
            let expected = 6000.0 / (size(one) * size(other)) as f64;
            let chi_square: f64 = counts.iter().flatten().map(|count| (count - expected) * (count - expected)).sum();
            let freedom = ((size(one) - 1) * (size(other) - 1)) as f64;
            // Mean `freedom`, variance twice that: within four standard deviations.
            assert!((chi_square / expected - freedom).abs() < 4.0 * (2.0 * freedom).sqrt());
        }
    }
}

#[test]
fn titles_reveal_the_category() {
    let corpus = load(&defaults());
    let truth = corpus.truth.as_ref().expect("the world knows its truth");
    for (title, category) in corpus.items.title.iter().zip(&truth.factors[0].of_item) {
        assert_eq!(titles::revealed(title), BTreeSet::from([*category as usize]));
    }
}

#[test]
fn truth_beats_popularity_when_there_are_effects_and_only_then() {
    let compare = |world: &World| {
        let corpus = load(&World { users: 3000, ..world.clone() });
        let (truth, counts) = (corpus.truth.as_ref().expect("the world knows its truth"), popularity(&corpus));
        (hit_rate(&corpus, |history| truth.logits(history)), hit_rate(&corpus, |_| counts.clone()))
    };
    let (oracle, popular) = compare(&defaults());
    assert!(oracle > 2.0 * popular, "with effects: oracle {oracle}, popularity {popular}");
    let (oracle, popular) = compare(&without_effects());
    assert!((oracle - popular).abs() < 0.02, "without effects: oracle {oracle}, popularity {popular}");
}

#[test]
fn every_effect_counts() {
    let full = load(&World { users: 3000, ..defaults() });
    let truth = full.truth.as_ref().expect("the world knows its truth");
    let with_all = hit_rate(&full, |history| truth.logits(history));
    for n in 0..truth.factors.len() {
        let mut blind = truth.clone();
        blind.factors[n].strength = 0.0;
        let without = hit_rate(&full, |history| blind.logits(history));
        assert!(without < with_all - 0.02, "without {}: {without}, with all: {with_all}", truth.factors[n].name);
    }
    let mut forgetful = truth.clone();
    forgetful.drift = 0.0;
    let without = hit_rate(&full, |history| forgetful.logits(history));
    assert!(without < with_all - 0.01, "without drift: {without}, with all: {with_all}");
}

#[test]
fn without_effects_the_oracle_ranks_by_popularity() {
    let truth = without_effects().truth();
    assert_eq!(truth.logits(&[3, 1, 4]), truth.popularity);
}

#[test]
fn impossible_lengths_are_conflicts() {
    for text in ["min_interactions = 20\nmax_interactions = 10", "items = 30\nmax_interactions = 30"] {
        let table: framework::toml::Table = text.parse().expect("TOML");
        let mut reader = Reader::default();
        World::read(&framework::toml::Value::Table(table), &mut reader);
        assert_eq!(reader.problems.len(), 1, "{text}");
        assert_eq!(reader.problems[0].path, ["max_interactions"]);
    }
}
