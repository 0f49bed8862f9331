//! `[search]`: which keys are tuned, with which values, and what came of it. Validation alone decides, every row of a
//! table has the same budget, and a seed is never a hyper-parameter. What is tried next is `proposals`.

use crate::ablation::{Plan, nested, overlay};
use crate::plugin::Setting;
use crate::problem::{Problem, Reader, nearest};
use crate::rng::Rng;
use crate::spec::{Seeds, Spec};
use crate::{choice, settings};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

mod proposals;

pub use proposals::Proposals;

choice! {
    /// How the settings to try are found.
    pub enum Method {
        /// At random, none twice (Bergstra and Bengio, JMLR 2012).
        Random = "random",
        /// All combinations of lists.
        Grid = "grid",
        /// Ten at random, then where good trials are dense and bad ones are not: tree-structured Parzen estimators, one
        /// for each key (Bergstra et al., NIPS 2011).
        Tpe = "tpe",
    }
}

choice! {
    /// How a range is divided.
    pub enum Scale {
        /// Equal steps are equally likely.
        Linear = "linear",
        /// Equal ratios are.
        Log = "log",
    }
}

settings! {
    /// How settings are tuned: on validation only, with one budget for all rows of a table. The chosen settings then run
    /// with every seed.
    pub struct Search {
        /// The keys with the values that they may take: a list, as in `space.recommender.dropout = [0.1, 0.3]`, or a
        /// range, as in `space.recommender.training.learning_rate = { low = 1e-4, high = 1e-2, scale = "log" }`. A row
        /// tunes those that it has and does not set itself.
        pub space: Space,
        /// The settings that are tried for each row.
        #[range(1..=10_000)]
        pub trials: usize,
        /// How they are found.
        pub method: Method = Method::Random,
        /// What trials are drawn with, and what their own seeds are made from. No trial is trained with a seed of `seeds`:
        /// what won by the luck of a seed must not keep it.
        pub seed: u64 = 1,
        /// The best trials that are trained again before one wins: the best of many is partly the luckiest.
        #[range(1..=100)]
        pub finalists: usize = 3,
        /// The fresh seeds that each of them is trained with; the best mean over these alone wins. 0 judges none again.
        #[range(0..=100)]
        pub judges: usize = 2,
    }
}

settings! {
    /// A range of numbers, whole ones where both ends are.
    pub struct Range {
        /// The lowest.
        pub low: f64,
        /// The highest.
        pub high: f64,
        /// How it is divided.
        pub scale: Scale = Scale::Linear,
    }
    check |range, report| {
        let Range { low, high, scale } = *range;
        if low.is_nan() || low >= high || (scale == Scale::Log && low <= 0.0) {
            report.conflict("low", format!("there is no range from {low} to {high}"), "low below high, and above 0 for a log scale");
        }
    }
}

/// The keys that are tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    table: Table,
    axes: Vec<Axis>,
}

/// One key, and what it may be.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    path: Vec<String>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Listed(Vec<Value>),
    Range { low: f64, high: f64, is_log: bool, is_whole: bool },
}

/// Values for keys, by dotted path.
pub type Point = BTreeMap<String, Value>;

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The tuned keys.
    pub values: Point,
    /// The selection metric on validation; none where training failed.
    pub validation: Option<f64>,
    /// The same with fresh seeds, for the best trials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<f64>,
    /// Whether another seed could have given another value; none where that was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<bool>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The key of the stage that searched.
    #[serde(default)]
    pub stage: String,
    /// The metric that decided.
    pub metric: String,
    /// How the settings were found.
    pub method: String,
    /// Wall time of all trials.
    pub seconds: f64,
    /// All that was tried, in order.
    pub trials: Vec<Trial>,
}

impl Trial {
    /// What it is judged by: the mean over fresh seeds, where there are such.
    pub fn judged(&self) -> Option<f64> {
        match self.again.len() {
            0 => self.validation,
            n => Some(self.again.iter().sum::<f64>() / n as f64),
        }
    }
}

impl Tuned {
    /// The best trial, the first of equals; none where all failed. Where some were judged again, one of those.
    pub fn best(&self) -> Option<&Trial> {
        let value = |trial: &Trial| trial.judged().unwrap_or(f64::NEG_INFINITY);
        let done =
            self.trials.iter().filter(|trial| trial.validation.is_some() && trial.again.is_empty() != self.is_judged());
        done.reduce(|best, trial| if value(trial) > value(best) { trial } else { best })
    }

    /// Whether the best trials were judged again with fresh seeds.
    pub fn is_judged(&self) -> bool {
        self.trials.iter().any(|trial| !trial.again.is_empty())
    }

    /// Whether the winner was chosen by one seed out of several trials, so that its validation is partly luck.
    pub fn is_optimistic(&self) -> bool {
        let mut done = self.trials.iter().filter(|trial| trial.validation.is_some());
        !self.is_judged() && done.clone().count() > 1 && done.any(|trial| trial.random != Some(false))
    }

    /// The trials that trained, the best first, of equals the first.
    pub fn ranked(&self) -> Vec<usize> {
        let value = |n: &usize| self.trials[*n].validation.unwrap_or(f64::NEG_INFINITY);
        let mut order: Vec<usize> = (0..self.trials.len()).filter(|n| self.trials[*n].validation.is_some()).collect();
        order.sort_by(|a, b| value(b).total_cmp(&value(a)));
        order
    }
}

impl Setting for Space {
    fn kind() -> String {
        "table of lists and ranges".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let Some(table) = value.as_table() else { return reader.wrong_type(value, &Self::kind()) };
        let mut axes = Vec::new();
        for (key, value) in table {
            reader.inside(key, |reader| match key.as_str() {
                "recommender" => walk(value, vec![key.clone()], &mut axes, reader),
                _ => reader.report(
                    "only the recommender is tuned: all else is the question that it answers",
                    "keys below `recommender`",
                ),
            })?;
        }
        if axes.is_empty() {
            return reader.report("no key is tuned", "at least one, as in space.recommender.dropout = [0.1, 0.3]");
        }
        Some(Self { table: table.clone(), axes })
    }
    fn write(&self) -> Value {
        Value::Table(self.table.clone())
    }
}

/// Collects the keys at and below `path`.
fn walk(value: &Value, path: Vec<String>, axes: &mut Vec<Axis>, reader: &mut Reader) -> Option<()> {
    let values = match value {
        _ if path.last().is_some_and(|key| key == "seed" || key == "seeds") => {
            return reader
                .report("a seed is never a hyper-parameter", "other keys; `seeds` of the spec are replicates");
        }
        Value::Array(values) if values.is_empty() => return reader.report("no values", "at least one"),
        Value::Array(values) if values.iter().any(has_seed) => {
            return reader.report("a seed is never a hyper-parameter", "values without a seed");
        }
        Value::Array(values) => Values::Listed(values.clone()),
        Value::Table(table) if table.contains_key("low") || table.contains_key("high") => {
            let Range { low, high, scale } = Range::read(value, reader)?;
            let is_whole = [&table["low"], &table["high"]].iter().all(|end| end.is_integer());
            Values::Range { low, high, is_log: scale == Scale::Log, is_whole }
        }
        Value::Table(table) => {
            let below = table.iter().map(|(key, value)| {
                let path = [path.clone(), vec![key.clone()]].concat();
                reader.inside(key, |reader| walk(value, path, axes, reader))
            });
            return below.collect::<Vec<_>>().into_iter().collect();
        }
        _ => return reader.wrong_type(value, "list of values, or a table with `low` and `high`"),
    };
    axes.push(Axis { path, values });
    Some(())
}

/// Whether a seed is set anywhere in it.
fn has_seed(value: &Value) -> bool {
    match value {
        Value::Table(table) => table.iter().any(|(key, value)| key == "seed" || key == "seeds" || has_seed(value)),
        Value::Array(values) => values.iter().any(has_seed),
        _ => false,
    }
}

impl Values {
    /// The value at a place from 0 to 1.
    fn at(&self, place: f64) -> Value {
        match self {
            Self::Listed(values) => values[((place * values.len() as f64) as usize).min(values.len() - 1)].clone(),
            Self::Range { low, high, is_log, is_whole } => {
                let number = match is_log {
                    true => (low.ln() + place * (high.ln() - low.ln())).exp(),
                    false => low + place * (high - low),
                };
                // Four digits: nobody reads more, and logarithms differ in their last ones between machines.
                let number = format!("{number:.3e}").parse().unwrap_or(number).clamp(*low, *high);
                if *is_whole { Value::Integer(number.round() as i64) } else { Value::Float(number) }
            }
        }
    }

    fn identity(&self) -> serde_json::Value {
        match self {
            Self::Listed(values) => json!(values),
            Self::Range { low, high, is_log, is_whole } => {
                json!({ "from": [low, high], "log": is_log, "whole": is_whole })
            }
        }
    }

    /// Those that show whether all of them are allowed.
    fn extremes(&self) -> Vec<Value> {
        match self {
            Self::Listed(values) => values.clone(),
            Self::Range { .. } => vec![self.at(0.0), self.at(1.0)],
        }
    }
}

impl Axis {
    fn key(&self) -> String {
        self.path.join(".")
    }

    fn is_in(&self, spec: &Table) -> bool {
        let (first, rest) = self.path.split_first().expect("a key has a name");
        spec.get(first).is_some_and(|value| rest.iter().try_fold(value, |value, key| value.get(key)).is_some())
    }
}

impl Search {
    /// The axes of the keys that a row has.
    fn axes(&self, spec: &Spec) -> Vec<Axis> {
        let Value::Table(table) = spec.write() else { return Vec::new() };
        self.space.axes.iter().filter(|axis| axis.is_in(&table)).cloned().collect()
    }

    /// How often a row is tried: 0 where it has no key to tune.
    pub fn points(&self, spec: &Spec) -> usize {
        let axes = self.axes(spec);
        let sizes = axes.iter().map(|axis| match &axis.values {
            Values::Listed(values) => values.len(),
            Values::Range { .. } => usize::MAX,
        });
        match axes.is_empty() {
            true => 0,
            false => sizes.fold(1, usize::saturating_mul).min(self.trials),
        }
    }

    /// All that decides what a row's search finds, besides the row itself.
    pub fn identity(&self, spec: &Spec) -> serde_json::Value {
        let axes = self.axes(spec);
        let space: serde_json::Map<_, _> = axes.iter().map(|axis| (axis.key(), axis.values.identity())).collect();
        json!({ "space": space, "trials": self.trials, "method": self.method.write(), "seed": self.seed,
            "finalists": self.finalists, "judges": self.judges, "version": 2 })
    }

    /// What all rows of a table must have in common.
    fn budget(&self) -> impl PartialEq {
        (self.trials, self.method, self.seed, self.finalists, self.judges)
    }

    /// How many trainings a row's search takes.
    pub fn trainings(&self, spec: &Spec) -> usize {
        let points = self.points(spec);
        points + if points > 1 { points.min(self.finalists) * self.judges } else { 0 }
    }

    /// What trials are trained with: 0 for all of them, from 1 on for those that are judged again. Apart from the seeds
    /// of replicates by construction, which are below [`Seeds::LIMIT`].
    pub fn training_seed(&self, n: u64) -> u64 {
        Seeds::LIMIT + Rng::new(self.seed, "seeds of a search").fork(n).bits() % Seeds::LIMIT
    }
}

/// The plan with these values, without its search, trained with `seed`; or why there is no such plan.
pub fn with(plan: &Plan, point: &Point, seed: u64) -> Result<Plan, Vec<Problem>> {
    let mut plan = plan.clone();
    plan.seed = seed;
    plan.spec.search = None;
    let Value::Table(mut table) = plan.spec.write() else { return Ok(plan) };
    let mut changes: Vec<_> = point.iter().collect();
    // Another plugin comes first: it takes away the settings of the one before.
    changes.sort_by_key(|(key, _)| (!key.ends_with(".use"), key.matches('.').count()));
    for (key, value) in changes {
        let path: Vec<String> = key.split('.').map(String::from).collect();
        overlay(&mut table, &nested(&path, value.clone()));
    }
    let mut reader = Reader::default();
    match Spec::read(&Value::Table(table), &mut reader) {
        Some(spec) if reader.problems.is_empty() => Ok(Plan { spec, ..plan }),
        _ => Err(reader.problems),
    }
}

/// What is wrong with the searches of a table's rows: each row's name and spec, the base first.
pub(crate) fn mistakes(rows: &[(&str, &Spec)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let searched: Vec<(&str, &Spec, &Search)> =
        rows.iter().filter_map(|(name, spec)| Some((*name, *spec, spec.search.as_ref()?))).collect();
    let Some((first, _, search)) = searched.first() else { return problems };
    let problem = |path: &[String], message: String, expected: &str| Problem {
        path: ["search".to_string()].iter().chain(path).cloned().collect(),
        on_key: false,
        message,
        expected: expected.into(),
        nearest: None,
    };
    for (name, _, other) in &searched {
        if other.budget() != search.budget() {
            let message =
                format!("`{name}` and `{first}` are searched with other trials, method, seed, finalists or judges");
            problems.push(problem(&[], message, "the same for every row, or none with `search = false`"));
        }
    }
    let mut axes: Vec<&Axis> = searched.iter().flat_map(|(_, _, search)| &search.space.axes).collect();
    axes.sort_by_key(|axis| axis.key());
    axes.dedup_by_key(|axis| axis.key());
    for axis in axes {
        let path = [&["space".to_string()], &axis.path[..]].concat();
        let known = |spec: &Spec| matches!(spec.write(), Value::Table(table) if axis.is_in(&table));
        if !searched.iter().any(|(_, spec, _)| known(spec)) {
            let parent = [&axis.path[..axis.path.len() - 1]].concat();
            let names: BTreeSet<String> =
                searched.iter().flat_map(|(_, spec, _)| below(&spec.write(), &parent)).collect();
            let names: Vec<String> = names.into_iter().filter(|name| name != "use").collect();
            let near = axis.path.last().and_then(|name| nearest(name, names.iter().map(String::as_str)));
            let expected = format!(
                "a key of a row{}",
                if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
            );
            problems.push(Problem {
                nearest: near,
                ..problem(&path, format!("no row has the key `{}`", axis.key()), &expected)
            });
        }
    }
    for (name, spec, search) in &searched {
        let axes = search.axes(spec);
        problems.extend(
            grid_size(&axes, search)
                .map(|(message, expected)| problem(&["trials".into()], format!("`{name}`: {message}"), expected)),
        );
        for axis in &axes {
            let plan = Plan::of((*name).to_string(), spec, search.seed);
            let tried = axis.values.extremes().into_iter();
            let wrong = tried.filter_map(|value| with(&plan, &Point::from([(axis.key(), value)]), search.seed).err());
            if let Some(wrong) = wrong.flatten().next() {
                let path = [&["space".to_string()], &axis.path[..]].concat();
                problems.push(problem(&path, format!("`{name}`: {}", wrong.message), &wrong.expected));
            }
        }
    }
    problems.dedup();
    problems
}

/// Why a grid is not one, or does not fit its budget.
fn grid_size(axes: &[Axis], search: &Search) -> Option<(String, &'static str)> {
    if search.method != Method::Grid {
        return None;
    }
    let sizes = axes.iter().map(|axis| match &axis.values {
        Values::Listed(values) => Some(values.len()),
        Values::Range { .. } => None,
    });
    match sizes.product::<Option<usize>>() {
        None => Some(("a grid has no ranges".into(), "lists, or method = \"random\"")),
        Some(size) if size > search.trials => Some((
            format!("the grid has {size} points, more than {} trials", search.trials),
            "as many trials, or fewer values",
        )),
        Some(_) => None,
    }
}

/// The keys of the table at `path`.
fn below(spec: &Value, path: &[String]) -> Vec<String> {
    let table = path.iter().try_fold(spec, |value, key| value.get(key)).and_then(Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
