//! The scores of a run: made from the test split, kept for each user beside what was asked, and read back.

use crate::ablation::Plan;
use crate::context::Context;
use crate::corpus;
use crate::error::{Explain, Result};
use crate::evaluation::{self, Outcomes, Scores};
use crate::metrics::deepest;
use crate::protocol::{Cases, Split};
use crate::roles::Scorer;
use crate::statistics::{self, Interval, Sample};
use crate::store::Store;
use polars::prelude::{Column, DataFrame, NamedFrom, ParquetReader, SerReader, Series};
use serde_json::{Value, json};
use std::path::Path;

/// Opens the test split, ranks, and leaves the scores of each user as parquet. Gives the summary of each metric.
pub(super) fn evaluate(plan: &Plan, scorer: &dyn Scorer, split: &Split, folder: &Path, cx: &Context) -> Result<Value> {
    let cases = split.test.open();
    let outcomes = evaluation::rank(scorer, cases, split.train.num_items(), plan.spec.evaluator.list_depth(), cx)?;
    let mut scores = plan.spec.evaluator.evaluate(&outcomes)?;
    if let Some(ceiling) = plan.spec.recommender.ceiling() {
        let name = ceiling.to_string();
        if scores.per_user.iter().all(|(metric, _)| *metric != name) {
            let values = outcomes.ranks.iter().map(|rank| ceiling.value(*rank).unwrap_or(f64::NAN)).collect();
            scores.per_user.push((name, values));
        }
    }
    let scores = scores.named(&plan.spec.protocol.metric_suffix());
    save_scores(&outcomes, &scores, split, folder)?;
    save_cases(cases, folder)?;
    let mut summary = serde_json::Map::new();
    for (name, values) in &scores.per_user {
        summary.insert(name.clone(), written(&interval(values)));
    }
    for (name, value) in &scores.overall {
        summary.insert(name.clone(), json!({ "mean": value }));
    }
    Ok(Value::Object(summary))
}

/// A run's metrics with the intervals that reports give them, by its scores; as the record has them where these are gone.
pub fn summary(store: &Store, record: &Value) -> Value {
    let mut metrics = record["metrics"].clone();
    let Ok(scores) = UserScores::read(store, record) else { return metrics };
    for (name, summary) in metrics.as_object_mut().into_iter().flatten() {
        if let (true, Ok(values)) = (summary.get("n").is_some(), scores.metric(name)) {
            *summary = written(&interval(&values));
        }
    }
    metrics
}

fn written(interval: &Interval) -> Value {
    json!({ "mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n })
}

/// The mean of one run's values of each user, with its 95 % interval over users.
fn interval(values: &[f64]) -> Interval {
    let values = [values.to_vec()];
    statistics::Scores::new(&[Sample { values: &values, factors: &[] }]).interval(0)
}

fn save_scores(outcomes: &Outcomes, scores: &Scores, split: &Split, folder: &Path) -> Result<()> {
    let cases = split.test.open();
    let mut popularity = vec![0u32; split.train.num_items()];
    split.train.sequences.iter().flat_map(|sequence| &sequence.items).for_each(|item| popularity[*item as usize] += 1);
    let rank = |field: fn(&crate::metrics::Rank) -> u32| outcomes.ranks.iter().map(field).collect::<Vec<u32>>();
    let mut columns = vec![
        Column::new("user".into(), &outcomes.users),
        Column::new("above".into(), rank(|rank| rank.above)),
        Column::new("tied".into(), rank(|rank| rank.tied)),
        Column::new("candidates".into(), rank(|rank| rank.candidates)),
        Column::new("history".into(), cases.histories.iter().map(|history| history.len() as u32).collect::<Vec<_>>()),
        Column::new(
            "popularity".into(),
            cases.targets.iter().map(|item| popularity[*item as usize]).collect::<Vec<_>>(),
        ),
    ];
    columns.extend(scores.per_user.iter().map(|(name, values)| Column::new(name.as_str().into(), values)));
    corpus::write(folder, "scores", DataFrame::new(outcomes.users.len(), columns))
}

/// What was asked, the same bytes for all models of a protocol: so the store keeps it once, and equal hashes prove it.
fn save_cases(cases: &Cases, folder: &Path) -> Result<()> {
    let mut columns = vec![Column::new("user".into(), &cases.users), Column::new("target".into(), &cases.targets)];
    if !cases.candidates.is_empty() {
        let lists: Vec<Series> = cases.candidates.iter().map(|list| Series::new("".into(), list)).collect();
        columns.push(Column::new("candidates".into(), lists));
    }
    corpus::write(folder, "cases", DataFrame::new(cases.len(), columns))
}

/// Of lists that were made elsewhere: how many test users have none, and how many have one that is shorter than the
/// metrics look, by what is ranked of it. Null for other recommenders.
pub(super) fn of_lists(scorer: &dyn Scorer, cases: &Cases, num_items: usize, metrics: &Value) -> Value {
    let names = metrics.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let (Some(lists), depth) = (scorer.lists(), deepest(names).unwrap_or(1) as usize) else { return Value::Null };
    let (mut missing, mut short) = (0, 0);
    for case in 0..cases.len() {
        let Some(list) = lists.get(&cases.users[case]) else {
            missing += 1;
            continue;
        };
        let ranked = cases.ranked(case, num_items);
        let listed = list.iter().filter(|(item, _)| ranked.binary_search(item).is_ok()).count();
        short += usize::from(listed < depth.min(ranked.len()));
    }
    json!({ "cases": cases.len(), "missing": missing, "short": short, "depth": depth })
}

/// A run's scores of each user, in the order of the test cases.
pub struct UserScores(DataFrame);

impl UserScores {
    /// Reads those of a run's record; an error where the store lacks them or they cannot be read.
    pub fn read(store: &Store, record: &Value) -> Result<Self> {
        let hash = record["outcome"]["scores"]["scores.parquet"].as_str().unwrap_or_default();
        let path = store.get(hash)?;
        let file = std::fs::File::open(&path).explain("opening scores", path.display())?;
        Ok(Self(ParquetReader::new(file).finish().explain("reading scores", path.display())?))
    }

    /// A metric of each user; an error where it was not measured.
    pub fn metric(&self, name: &str) -> Result<Vec<f64>> {
        let column = corpus::column(&self.0, name)?.f64().explain("reading scores", format!("column {name}"))?;
        Ok(column.iter().flatten().collect())
    }

    /// Of each test case, how many candidates were above its target.
    pub fn above(&self) -> Result<Vec<u32>> {
        let above = corpus::column(&self.0, "above")?.u32().explain("reading scores", "column above")?;
        Ok(above.iter().flatten().collect())
    }

    /// Of each test case, the length of its history and how often its target occurs in training. `None` for a run that
    /// was made before these were kept.
    pub fn cases(&self) -> Option<[Vec<u32>; 2]> {
        let read = |name: &str| {
            let column = self.0.column(name).ok()?.u32().ok()?;
            Some(column.iter().flatten().collect::<Vec<u32>>())
        };
        read("history").zip(read("popularity")).map(|(history, popularity)| [history, popularity])
    }
}
