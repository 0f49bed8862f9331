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
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How many standard errors a random control may be from what is expected: further off once in 100,000 evaluations.
const TOLERANCE: f64 = 4.5;

/// What a metric must be, and how far from it is allowed.
type Expectation<'a> = &'a dyn Fn(Metric) -> (f64, f64);

/// Cases that are looked at.
const CASES: usize = 2_000;

/// What sums of doubles may differ by.
const EXACT: f64 = 1e-9;

/// What a control gives each item in a case.
enum Control {
    /// The same to all.
    Constant,
    /// Noise.
    Random,
    /// One to the target, nothing to all others.
    Oracle(Vec<u32>),
    /// How often it is trained on.
    Popularity(Vec<f32>),
}

/// A control as a scorer of cases that come in order, each with its number in the place of a user.
struct Known<'a> {
    control: &'a Control,
    num_items: usize,
    seed: u64,
}

impl Scorer for Known<'_> {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let row = |query: &Query| -> Vec<f32> {
            match self.control {
                Control::Constant => vec![0.5; self.num_items],
                Control::Random => {
                    let mut rng = Rng::new(self.seed, "control").fork(u64::from(query.user));
                    (0..self.num_items).map(|_| rng.uniform() as f32).collect()
                }
                Control::Oracle(targets) => {
                    let mut row = vec![0.0; self.num_items];
                    row[targets[query.user as usize] as usize] = 1.0;
                    row
                }
                Control::Popularity(counts) => counts.clone(),
            }
        };
        let scores: Vec<f32> = queries.iter().flat_map(row).collect();
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
    let cases = some(split.test.open());
    let shuffled = shuffled(&cases, seed);
    let score = |control: &Control, cases: &Cases| {
        evaluator.evaluate(&evaluation::rank(&Known { control, num_items, seed }, cases, num_items, 0, cx)?)
    };
    let by_count = |cases: &Cases| (0..cases.len()).map(|case| counted(cases, case, &counts)).collect::<Vec<_>>();
    let (counted, counted_shuffled) = (by_count(&cases), by_count(&shuffled));
    let best: Vec<Rank> = counted.iter().map(|rank| Rank { above: 0, tied: 0, ..*rank }).collect();
    let oracle = Control::Oracle(cases.targets.clone());
    let popularity = Control::Popularity(counts.clone());
    let mut found = Map::new();
    let selects_by = evaluator.selects_by();
    let exactly = |ranks: &[Rank], metric: Metric| (mean(ranks, |rank| metric.value(*rank)), EXACT);
    let by_chance = |metric: Metric| {
        let (expected, error) = chance(metric, &counted);
        (expected, TOLERANCE * error + EXACT)
    };
    let known: [(&str, Scores, Expectation); 5] = [
        ("constant", score(&Control::Constant, &cases)?, &|metric| (chance(metric, &counted).0, EXACT)),
        ("random", score(&Control::Random, &cases)?, &by_chance),
        ("oracle", score(&oracle, &cases)?, &|metric| exactly(&best, metric)),
        ("popularity", score(&popularity, &cases)?, &|metric| exactly(&counted, metric)),
        ("shuffled labels", score(&popularity, &shuffled)?, &|metric| exactly(&counted_shuffled, metric)),
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

/// At most [`CASES`] of the cases, spread over all, under their own numbers instead of users.
fn some(cases: &Cases) -> Cases {
    let chosen: Vec<usize> = (0..cases.len()).step_by(cases.len().div_ceil(CASES).max(1)).collect();
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

/// A target's rank by counts, counted one by one.
fn counted(cases: &Cases, case: usize, counts: &[f32]) -> Rank {
    let target = cases.targets[case];
    let mut rank = Rank { above: 0, tied: 0, candidates: 1 };
    let mut add = |item: u32| {
        if item != target {
            rank.candidates += 1;
            rank.above += u32::from(counts[item as usize] > counts[target as usize]);
            rank.tied += u32::from(counts[item as usize] == counts[target as usize]);
        }
    };
    match cases.candidates.get(case) {
        Some(candidates) => candidates.iter().for_each(|item| add(*item)),
        None => {
            let seen: HashSet<u32> = match cases.mask_seen {
                true => cases.histories[case].iter().copied().collect(),
                false => HashSet::new(),
            };
            (0..counts.len() as u32).filter(|item| !seen.contains(item)).for_each(add);
        }
    }
    rank
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
    let mut known: HashMap<u32, (f64, f64)> = HashMap::new();
    let (mut sum, mut variance) = (0.0, 0.0);
    // A target without rivals has no value in some metrics.
    let measured = |rank: &&Rank| metric.value(Rank { above: 0, tied: 0, ..**rank }).is_some();
    let ranks: Vec<&Rank> = ranks.iter().filter(measured).collect();
    for Rank { candidates, .. } in &ranks {
        let (mean, spread) = *known.entry(*candidates).or_insert_with(|| {
            let at = |above| metric.value(Rank { above, tied: 0, candidates: *candidates }).unwrap_or(0.0);
            let (mut sum, mut squares) = (0.0, 0.0);
            (0..*candidates).map(at).for_each(|value| {
                sum += value;
                squares += value * value;
            });
            let n = f64::from(*candidates);
            (sum / n, (squares / n - (sum / n).powi(2)).max(0.0))
        });
        sum += mean;
        variance += spread;
    }
    let n = ranks.len().max(1) as f64;
    (sum / n, variance.sqrt() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let counts = [5.0, 3.0, 3.0, 9.0];
        // Item 0 is masked; item 3 is above item 2, item 1 tied.
        assert_eq!(counted(&cases(), 0, &counts), Rank { above: 1, tied: 1, candidates: 3 });
        let few = Cases { candidates: vec![vec![2, 1], vec![0, 3], vec![0, 1]], ..cases() };
        assert_eq!(counted(&few, 0, &counts), Rank { above: 0, tied: 1, candidates: 2 });
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
