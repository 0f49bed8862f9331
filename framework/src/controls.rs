//! Recommenders whose scores are known beforehand, ranked and scored like any other: what they get tells whether
//! evaluation does what it says. They know no more than the protocol does.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::evaluation::{self, Scores};
use crate::metrics::{Metric, Rank};
use crate::protocol::{Cases, Split};
use crate::rng::Rng;
use crate::roles::{Evaluator, Query, Scorer};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How many standard errors a random control may be from what is expected: further off once in 100,000 evaluations.
const TOLERANCE: f64 = 4.5;

/// What a metric must be, and how far from it is allowed.
type Expectation<'a> = &'a dyn Fn(Metric) -> (f64, f64);

/// Cases that are looked at, at most.
const CASES: usize = 2_000;

/// Scores that are looked at of each control, roughly: above 50,000 items fewer cases are, but never fewer than
/// [`FEWEST`]. What is known exactly is known of each case.
const SCORES: usize = 100_000_000;

/// Cases that are looked at whatever the size of the catalogue.
const FEWEST: usize = 50;

/// Scores that are in memory at the same time.
const AT_ONCE: usize = 1 << 24;

/// What sums of doubles may differ by.
const EXACT: f64 = 1e-9;

/// What a control gives each item in a case.
#[derive(Clone, Copy)]
enum Control<'a> {
    /// The same to all.
    Constant,
    /// Noise.
    Random,
    /// One to the target, nothing to all others.
    Oracle(&'a [u32]),
    /// How often it is trained on.
    Popularity(&'a [f32]),
}

/// A control as a scorer of cases that come in order, each with its number in the place of a user.
struct Known<'a> {
    control: Control<'a>,
    num_items: usize,
    seed: u64,
}

impl Scorer for Known<'_> {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let mut scores = vec![0.0; queries.len() * self.num_items];
        scores.par_chunks_mut(self.num_items).zip(queries).for_each(|(row, query)| match self.control {
            Control::Constant => row.fill(0.5),
            Control::Random => {
                let mut rng = Rng::new(self.seed, "control").fork(u64::from(query.user));
                row.fill_with(|| rng.uniform() as f32);
            }
            Control::Oracle(targets) => row[targets[query.user as usize] as usize] = 1.0,
            Control::Popularity(counts) => row.copy_from_slice(counts),
        });
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.num_items]), &cx.device))
    }

    fn save(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// Ranks the controls and compares what they get with what is known. Gives the values for the record, or what is wrong.
///
/// | control | expected |
/// |---|---|
/// | constant | a metric's mean over all ranks, exactly, whatever the order of ties |
/// | random | the same, within 4.5 standard errors |
/// | oracle | a metric at rank 1, exactly |
/// | popularity | a metric at the ranks by counting, without a tensor, exactly |
/// | shuffled labels | the same, of popularity asked about another user's target |
/// | position | the target's place among drawn candidates is uniform, within 4.5 standard errors |
///
/// Each is scored by the evaluator, in all its metrics; `random` in the one that models are selected by. `seed` is the
/// protocol's own, so that all runs of a protocol look at the same controls, whichever comes first.
pub(crate) fn check(split: &Split, evaluator: &dyn Evaluator, seed: u64, cx: &Context) -> Result<Value> {
    let num_items = split.train.num_items();
    let mut counts = vec![0f32; num_items];
    split.train.sequences.iter().flat_map(|sequence| &sequence.items).for_each(|item| counts[*item as usize] += 1.0);
    let cases = some(split.test.open(), (SCORES / num_items.max(1)).clamp(FEWEST, CASES));
    let shuffled = shuffled(&cases, seed);
    let mut cx = cx.inside("controls");
    cx.batch_size = (AT_ONCE / num_items.max(1)).clamp(1, cx.batch_size);
    let bar = cx.bar("controls", 5);
    let score = |control: Control, cases: &Cases| {
        bar.advance(1);
        let known = Known { control, num_items, seed };
        evaluator.evaluate(&evaluation::rank(&known, cases, num_items, 0, &cx)?)
    };
    let mut sorted = counts.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let by_count =
        |cases: &Cases| -> Vec<Rank> { (0..cases.len()).map(|case| counted(cases, case, &counts, &sorted)).collect() };
    let (counted, counted_shuffled) = (by_count(&cases), by_count(&shuffled));
    let best: Vec<Rank> = counted.iter().map(|rank| Rank { above: 0, tied: 0, ..*rank }).collect();
    let (mut found, selects_by) = (Map::new(), evaluator.selects_by());
    let exactly = |ranks: &[Rank], metric: Metric| (mean(ranks, |rank| metric.value(*rank)), EXACT);
    let by_chance = |metric: Metric| {
        let (expected, error) = chance(metric, &counted);
        (expected, TOLERANCE * error + EXACT)
    };
    let known: [(&str, Scores, Expectation); 5] = [
        ("constant", score(Control::Constant, &cases)?, &|metric| (chance(metric, &counted).0, EXACT)),
        ("random", score(Control::Random, &cases)?, &by_chance),
        ("oracle", score(Control::Oracle(&cases.targets), &cases)?, &|metric| exactly(&best, metric)),
        ("popularity", score(Control::Popularity(&counts), &cases)?, &|metric| exactly(&counted, metric)),
        ("shuffled labels", score(Control::Popularity(&counts), &shuffled)?, &|metric| {
            exactly(&counted_shuffled, metric)
        }),
    ];
    for (name, scores, expectation) in known {
        if of_cases(&scores, selects_by).all(|(metric, _)| metric != selects_by) {
            let what = format!("the evaluator gives no {selects_by}, by which it selects");
            return Err(Error::new(what).at("evaluator").fix("a value for each user of what `selects_by` names"));
        }
        for (metric, values) in of_cases(&scores, selects_by) {
            let selects = metric == selects_by;
            // Of the others some are hit so rarely by chance that their standard error says little.
            if name == "random" && !selects {
                continue;
            }
            let got = mean(values, |value| Some(*value).filter(|value| !value.is_nan()));
            let (expected, allowed) = expectation(metric);
            judge(name, metric, got, expected, allowed)?;
            if selects {
                found.insert(name.into(), json!({ "metric": metric.to_string(), "value": got, "expected": expected }));
            }
        }
    }
    if let Some((place, error)) = position(split.test.open()) {
        judge("position", selects_by, place, 0.5, TOLERANCE * error + EXACT)?;
        found.insert("position".into(), json!({ "metric": "place of the target", "value": place, "expected": 0.5 }));
    }
    Ok(json!({ "values": found, "looked_at": cases.len(), "of": split.test.open().len() }))
}

fn judge(name: &str, metric: Metric, got: f64, expected: f64, allowed: f64) -> Result<()> {
    if (got - expected).abs() <= allowed {
        return Ok(());
    }
    Err(Error::new(format!(
        "the control `{name}` is violated: {metric} {got:.6}, where {expected:.6} is known (within {allowed:.6})"
    ))
    .at("evaluator")
    .fix("a bug of ours or of the plugin for split or evaluator: please report it; `controls = false` leaves them out"))
}

/// At most `most` of the cases, spread over all, under their own numbers instead of users.
fn some(cases: &Cases, most: usize) -> Cases {
    let chosen: Vec<usize> = (0..cases.len()).step_by(cases.len().div_ceil(most).max(1)).collect();
    Cases {
        users: (0..chosen.len() as u32).collect(),
        histories: chosen.iter().map(|n| cases.histories[*n].clone()).collect(),
        targets: chosen.iter().map(|n| cases.targets[*n]).collect(),
        candidates: chosen.iter().filter_map(|n| cases.candidates.get(*n).cloned()).collect(),
        ..*cases
    }
}

/// The cases with the targets of others. With candidates the target takes the place of the true one.
fn shuffled(cases: &Cases, seed: u64) -> Cases {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    Rng::new(seed, "shuffled labels").shuffle(&mut order);
    let mut other = cases.clone();
    for (case, from) in order.into_iter().enumerate() {
        let (own, target) = (cases.targets[case], cases.targets[from]);
        other.targets[case] = target;
        if let Some(list) = other.candidates.get_mut(case).filter(|list| !list.contains(&target)) {
            list.iter_mut().filter(|item| **item == own).for_each(|item| *item = target);
        }
    }
    other
}

/// A target's rank by counts, which are also given `sorted`.
fn counted(cases: &Cases, case: usize, counts: &[f32], sorted: &[f32]) -> Rank {
    let target = cases.targets[case];
    let own = counts[target as usize];
    let rivals = |items: &mut dyn Iterator<Item = u32>| {
        let mut rank = Rank { above: 0, tied: 0, candidates: 0 };
        for item in items.filter(|item| *item != target) {
            rank.candidates += 1;
            rank.above += u32::from(counts[item as usize] > own);
            rank.tied += u32::from(counts[item as usize] == own);
        }
        rank
    };
    if let Some(candidates) = cases.candidates.get(case) {
        let among = rivals(&mut candidates.iter().copied());
        return Rank { candidates: among.candidates + 1, ..among };
    }
    let seen: HashSet<u32> = match cases.mask_seen {
        true => cases.histories[case].iter().copied().collect(),
        false => HashSet::new(),
    };
    let masked = rivals(&mut seen.into_iter());
    let up_to = |own: f32| sorted.partition_point(|count| *count <= own) as u32;
    let all = sorted.len() as u32;
    let tied = up_to(own) - sorted.partition_point(|count| *count < own) as u32;
    Rank { above: all - up_to(own) - masked.above, tied: tied - 1 - masked.tied, candidates: all - masked.candidates }
}

/// The mean place of the target among its candidates, from 0 to 1, and the standard error of that under chance.
fn position(cases: &Cases) -> Option<(f64, f64)> {
    let place = |(target, list): (&u32, &Vec<u32>)| {
        let place = list.iter().position(|item| item == target)?;
        Some(place as f64 / (list.len().max(2) - 1) as f64)
    };
    let places: Vec<f64> = cases.targets.iter().zip(&cases.candidates).filter_map(place).collect();
    let n = places.len() as f64;
    // The variance of a uniform place among m is (m + 1) / (12 (m - 1)), at most 1/4.
    let m = cases.candidates.first().map_or(2, Vec::len).max(2) as f64;
    (!places.is_empty()).then(|| (places.iter().sum::<f64>() / n, ((m + 1.0) / (12.0 * (m - 1.0)) / n).sqrt()))
}

/// The mean over those that have a value.
fn mean<T>(all: &[T], value: impl Fn(&T) -> Option<f64>) -> f64 {
    let values: Vec<f64> = all.iter().filter_map(value).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// What the evaluator gave each case, by metric. Definitions of other frameworks break ties in their own ways: of them
/// only the one that models are selected by.
fn of_cases(scores: &Scores, selects_by: Metric) -> impl Iterator<Item = (Metric, &[f64])> {
    let known = move |name: &str| {
        let metric = Metric::parse(name).ok().filter(|metric| !metric.is_of_lists())?;
        (metric == selects_by || !name.contains(" as ")).then_some(metric)
    };
    scores.per_user.iter().filter_map(move |(name, values)| Some((known(name)?, values.as_slice())))
}

/// A metric's mean where each target's rank is any of its candidates' ranks with equal chance, place by place and so
/// without the rule for ties; and the standard error of that over the cases.
fn chance(metric: Metric, ranks: &[Rank]) -> (f64, f64) {
    // A target without rivals has no value in some metrics.
    let measured = |rank: &&Rank| metric.value(Rank { above: 0, tied: 0, ..**rank }).is_some();
    let ranks: Vec<&Rank> = ranks.iter().filter(measured).collect();
    let sizes: HashSet<u32> = ranks.iter().map(|rank| rank.candidates).collect();
    let known: HashMap<u32, (f64, f64)> = sizes.into_par_iter().map(|size| (size, over_places(metric, size))).collect();
    let (mut sum, mut variance) = (0.0, 0.0);
    for (mean, spread) in ranks.iter().map(|rank| known[&rank.candidates]) {
        sum += mean;
        variance += spread;
    }
    let n = ranks.len().max(1) as f64;
    (sum / n, variance.sqrt() / n)
}

/// A metric's mean over the places among so many candidates, and its variance.
fn over_places(metric: Metric, candidates: u32) -> (f64, f64) {
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in (0..candidates).map(|above| metric.value(Rank { above, tied: 0, candidates }).unwrap_or(0.0)) {
        sum += value;
        squares += value * value;
    }
    let n = f64::from(candidates);
    (sum / n, (squares / n - (sum / n).powi(2)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;

    fn cases() -> Cases {
        Cases {
            users: vec![0, 1, 2],
            histories: vec![vec![0], vec![1, 2], vec![3]],
            targets: vec![2, 0, 1],
            max_history: 5,
            mask_seen: true,
            candidates: Vec::new(),
        }
    }

    #[test]
    fn popularity_is_counted_without_what_is_masked() {
        let (counts, sorted) = ([5.0, 3.0, 3.0, 9.0], [3.0, 3.0, 5.0, 9.0]);
        let rank = |cases: &Cases, case| counted(cases, case, &counts, &sorted);
        // Item 0 is masked; item 3 is above item 2, item 1 tied.
        assert_eq!(rank(&cases(), 0), Rank { above: 1, tied: 1, candidates: 3 });
        let open = Cases { mask_seen: false, ..cases() };
        assert_eq!(rank(&open, 0), Rank { above: 2, tied: 1, candidates: 4 });
        // A target that was seen before is ranked all the same; what was seen twice is left out once.
        let again = Cases { histories: vec![vec![2, 3, 3]; 3], ..cases() };
        assert_eq!(rank(&again, 0), Rank { above: 1, tied: 1, candidates: 3 });
        let few = Cases { candidates: vec![vec![2, 1], vec![0, 3], vec![0, 1]], ..cases() };
        assert_eq!(rank(&few, 0), Rank { above: 0, tied: 1, candidates: 2 });
    }

    #[test]
    fn controls_score_as_they_are_called() {
        let cx = Context::new(crate::host::device(), 1, Default::default(), Default::default(), Progress::hidden());
        let cases = cases();
        let counts = [5.0, 3.0, 3.0, 9.0];
        let score = |control| {
            let queries: Vec<Query> = (0..3).map(|n| cases.query(n)).collect();
            let scores = Known { control, num_items: 4, seed: 7 }.score(&queries, &cx).expect("scores");
            scores.into_data().try_to_vec::<f32>().expect("numbers")
        };
        assert_eq!(score(Control::Constant), [0.5; 12]);
        assert_eq!(score(Control::Popularity(&counts)), counts.repeat(3));
        assert_eq!(
            score(Control::Oracle(&cases.targets)),
            [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
        );
        // Each case's own stream, whatever batch it comes in: stored values rest on it.
        let mut second = Rng::new(7, "control").fork(1);
        assert_eq!(score(Control::Random)[4..8], [(); 4].map(|()| second.uniform() as f32));
    }

    #[test]
    fn a_large_catalogue_is_looked_at_in_fewer_cases_that_are_spread_over_all() {
        let many = Cases {
            users: (0..4000).collect(),
            histories: vec![vec![0]; 4000],
            targets: (0..4000).collect(),
            ..cases()
        };
        assert_eq!(some(&many, CASES).targets[..3], [0, 2, 4]);
        let few = some(&many, 333);
        assert_eq!((few.len(), few.targets[1], few.users[1]), (308, 13, 1));
    }

    #[test]
    fn chance_is_the_mean_over_places() {
        let metric = |name| Metric::parse(name).expect("a metric");
        let rank = Rank { above: 0, tied: 0, candidates: 20 };
        let (mean, error) = chance(metric("hr@1"), &[rank; 100]);
        assert!((mean - 0.05).abs() < 1e-12);
        assert!((error - (0.05f64 * 0.95).sqrt() / 10.0).abs() < 1e-12);
        assert!((chance(metric("auc"), &[rank]).0 - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_target_that_is_always_first_is_noticed() {
        let lists = |place: usize| {
            let mut few = cases();
            few.candidates = few
                .targets
                .iter()
                .map(|target| {
                    let mut list = vec![9; 4];
                    list[place] = *target;
                    list
                })
                .collect();
            let many = |all: &[u32]| all.repeat(100);
            let (place, error) = position(&Cases {
                targets: many(&few.targets),
                candidates: vec![few.candidates.clone(); 100].concat(),
                ..few
            })
            .expect("candidates");
            (place - 0.5).abs() > TOLERANCE * error
        };
        assert!(lists(0) && lists(3));
        assert!(position(&cases()).is_none());
    }

    /// Gives every case what a metric is at the best rank.
    #[derive(Debug)]
    struct Flatterer;

    impl Evaluator for Flatterer {
        fn evaluate(&self, outcomes: &evaluation::Outcomes) -> Result<Scores> {
            let values = |name: &str, value| (name.to_string(), vec![value; outcomes.ranks.len()]);
            let fair = outcomes.ranks.iter().filter_map(|rank| self.selects_by().value(*rank)).collect();
            Ok(Scores { per_user: vec![("hr@1".into(), fair), values("mrr@2", 1.0)], overall: Vec::new() })
        }
        fn selects_by(&self) -> Metric {
            Metric::parse("hr@1").expect("a metric")
        }
    }

    #[test]
    fn an_evaluator_that_is_wrong_in_any_metric_is_noticed() {
        let scores = Flatterer
            .evaluate(&evaluation::Outcomes {
                users: (0..4).collect(),
                ranks: vec![Rank { above: 1, tied: 0, candidates: 3 }; 4],
                lists: Vec::new(),
                num_items: 4,
            })
            .expect("scores");
        let seen: Vec<(String, f64)> = of_cases(&scores, Flatterer.selects_by())
            .map(|(metric, values)| (metric.to_string(), mean(values, |value| Some(*value))))
            .collect();
        assert_eq!(seen, [("hr@1".into(), 0.0), ("mrr@2".into(), 1.0)]);
        assert!(judge("popularity", Metric::parse("mrr@2").expect("a metric"), seen[1].1, 0.5, EXACT).is_err());
    }

    #[test]
    fn a_violated_control_names_itself() {
        let metric = Metric::parse("hr@1").expect("a metric");
        let message = judge("oracle", metric, 0.5, 1.0, EXACT).expect_err("it is violated").to_string();
        assert!(
            message.contains("`oracle`") && message.contains("0.5") && message.contains("controls = false"),
            "{message}"
        );
        assert!(judge("random", metric, 0.5, 0.51, 0.02).is_ok());
    }
}
