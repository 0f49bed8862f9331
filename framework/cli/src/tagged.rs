//! What a change from one tag to another did: to the list of runs, to the mean of each variant, to its verdict.
//! The statistics are those of a report; the first variant of an experiment is what the others are compared with.

use crate::report::{is_random, short};
use framework::comparison::{Comparison, Side};
use framework::error::{Error, Result};
use framework::plugin::{Setting, defaults};
use framework::problem::Reader;
use framework::run::UserScores;
use framework::stage::differences;
use framework::statistics::{Scores, Verdict};
use framework::store::{Store, Tag, Tagged};
use framework::toml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One variant of an experiment in a tag.
struct Cell {
    name: String,
    variant: String,
    records: Vec<Value>,
    /// The mean of each metric over the runs.
    means: BTreeMap<String, f64>,
    /// Against the experiment's first variant.
    verdict: Option<Verdict>,
}

/// The difference of two tags, for people.
pub fn diff(store: &Store, a: &Tag, b: &Tag) -> Result<String> {
    let mut text = String::new();
    for tag in [a, b] {
        let _ = writeln!(text, "{}  {}  {} runs", tag.tag, tag.hash, tag.runs.len());
    }
    text += "[runs]\n";
    text += &runs(store, a, b)?;
    text += "[cells]\n";
    let (old, new) = (cells(store, a)?, cells(store, b)?);
    let find = |cells: &[Cell], cell: &Cell| {
        cells.iter().position(|other| (&other.name, &other.variant) == (&cell.name, &cell.variant))
    };
    let mut same = 0;
    for cell in &old {
        let other = find(&new, cell).map(|place| &new[place]);
        match change(Some(cell), other) {
            Some(change) => text += &change,
            None => same += 1,
        }
    }
    for cell in new.iter().filter(|cell| find(&old, cell).is_none()) {
        text += &change(None, Some(cell)).unwrap_or_default();
    }
    let _ = writeln!(text, "cells as they were: {same}");
    Ok(text)
}

/// Which runs were added, removed, or replaced by another with the same variant and seed, and why.
fn runs(store: &Store, a: &Tag, b: &Tag) -> Result<String> {
    let same = |x: &Tagged, y: &Tagged| (&x.name, &x.variant, x.seed) == (&y.name, &y.variant, y.seed);
    let (gone, added) = (without(a, b), without(b, a));
    let mut text = String::new();
    for run in &gone {
        match added.iter().find(|other| same(run, other)) {
            Some(other) => {
                let (from, to) = (&run.run[..10.min(run.run.len())], &other.run[..10.min(other.run.len())]);
                let _ = writeln!(text, "changed  {}: {from} -> {to}", title(run));
                let (old, new) = (record(store, run)?, record(store, other)?);
                for part in ["plan", "data_hash", "provenance"] {
                    for difference in differences(&old[part], &new[part]) {
                        let _ = writeln!(text, "    {part}.{}", difference.trim_start_matches(": "));
                    }
                }
            }
            None => {
                let _ = writeln!(text, "removed  {}: {}", title(run), short(&run.run.as_str().into()));
            }
        }
    }
    for run in added.iter().filter(|run| !gone.iter().any(|other| same(run, other))) {
        let _ = writeln!(text, "added    {}: {}", title(run), short(&run.run.as_str().into()));
    }
    Ok(text)
}

/// The runs of `a` that `b` does not have.
fn without<'a>(a: &'a Tag, b: &Tag) -> Vec<&'a Tagged> {
    a.runs
        .iter()
        .filter(|run| b.runs.iter().all(|other| (&other.run, &other.manifest) != (&run.run, &run.manifest)))
        .collect()
}

fn title(run: &Tagged) -> String {
    format!("{}: {} seed {}", run.name, run.variant, run.seed.unwrap_or_default())
}

/// The record of a tagged run; an error where it is gone.
pub(crate) fn record(store: &Store, run: &Tagged) -> Result<Value> {
    store.run(&run.run)?.ok_or_else(|| {
        let what = format!("the tagged run {} is not in the store", run.run);
        Error::new(what).at(store.place()).fix("`ablate verify` says what is missing")
    })
}

fn cells(store: &Store, tag: &Tag) -> Result<Vec<Cell>> {
    let mut cells: Vec<Cell> = Vec::new();
    for run in &tag.runs {
        let record = record(store, run)?;
        match cells.iter_mut().find(|cell| (&cell.name, &cell.variant) == (&run.name, &run.variant)) {
            Some(cell) => cell.records.push(record),
            None => {
                let (name, variant) = (run.name.clone(), run.variant.clone());
                cells.push(Cell { name, variant, records: vec![record], means: BTreeMap::new(), verdict: None });
            }
        }
    }
    for cell in &mut cells {
        let metrics = cell.records.iter().flat_map(|record| record["metrics"].as_object().into_iter().flatten());
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, summary) in metrics {
            values.entry(name.clone()).or_default().extend(summary["mean"].as_f64());
        }
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        cell.means = values.into_iter().map(|(name, values)| (name, mean(values))).collect();
    }
    judge(store, &mut cells)?;
    Ok(cells)
}

/// Fills in the verdicts, where both sides have the same data, protocol and seeds.
fn judge(store: &Store, cells: &mut [Cell]) -> Result<()> {
    let names: std::collections::BTreeSet<String> = cells.iter().map(|cell| cell.name.clone()).collect();
    for name in names {
        let mut of_name = cells.iter_mut().filter(|cell| cell.name == name);
        let Some(base) = of_name.next() else { continue };
        let Some(metric) = selected(&base.records[0]) else { continue };
        let side = |cell: &Cell| -> Result<Side> {
            let values = cell.records.iter().map(|record| UserScores::read(store, record)?.metric(&metric));
            Ok(Side::of_seeds(values.collect::<Result<_>>()?, cell.records.iter().any(is_random)))
        };
        let comparable = |cell: &&mut Cell| {
            let mut records = cell.records.iter().chain(&base.records);
            records.all(|record| record["fingerprint"] == base.records[0]["fingerprint"])
        };
        let mut sides = vec![side(base)?];
        let mut compared: Vec<&mut Cell> = Vec::new();
        // Other cases, by another rule of an earlier program, cannot be compared.
        let cases = sides[0].values.first().map_or(0, Vec::len);
        let alike = |side: &Side| side.values.iter().all(|values| values.len() == cases);
        if !alike(&sides[0]) {
            continue;
        }
        for cell in of_name.filter(comparable) {
            let own = side(cell)?;
            if alike(&own) {
                sides.push(own);
                compared.push(cell);
            }
        }
        let scores = Scores::new(&sides.iter().map(Side::sample).collect::<Vec<_>>());
        let found: Vec<_> = (1..sides.len()).map(|n| (scores.difference(n, 0), sides[n].scope(&sides[0]))).collect();
        let differences = declared(&base.records[0]).judge(&found, found.len());
        compared.into_iter().zip(differences).for_each(|(cell, found)| cell.verdict = Some(found.verdict));
    }
    Ok(())
}

/// How the experiment compares its rows; as by default, if the record is from before that could be said. Its choice of a
/// test, from when there were several, counts no more.
fn declared(record: &Value) -> Comparison {
    let mut table = record["plan"]["comparison"].clone();
    table.as_object_mut().map(|table| table.remove("test"));
    let table = toml::Value::try_from(&table).ok();
    table.and_then(|table| Comparison::read(&table, &mut Reader::default())).unwrap_or_else(defaults)
}

/// The metric that the experiment selects by, if it has a value for each user.
fn selected(record: &Value) -> Option<String> {
    let metric = record["plan"]["evaluator"]["selects_by"].as_str()?;
    let mut names = record["metrics"].as_object()?.iter().filter(|(_, summary)| summary.get("n").is_some());
    // With sampled candidates their number follows, behind a bar.
    let found =
        names.find(|(name, _)| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('|')));
    found.map(|(name, _)| name.clone())
}

/// The lines about a cell, if anything in it changed.
fn change(old: Option<&Cell>, new: Option<&Cell>) -> Option<String> {
    let cell = new.or(old)?;
    let verdict = |cell: Option<&Cell>| cell.and_then(|cell| cell.verdict).map_or("-".into(), |v| v.to_string());
    let (before, after) = (verdict(old), verdict(new));
    let empty = BTreeMap::new();
    let (means, others) = (old.map_or(&empty, |cell| &cell.means), new.map_or(&empty, |cell| &cell.means));
    if old.is_some() && new.is_some() && means == others && before == after {
        return None;
    }
    let mut text = format!("{}: {}\n", cell.name, cell.variant);
    let names: std::collections::BTreeSet<&String> = means.keys().chain(others.keys()).collect();
    let shown = |value: Option<&f64>| value.map_or("none".to_owned(), |value| format!("{value:.4}"));
    for name in names {
        let (old, new) = (means.get(name), others.get(name));
        let by = old.zip(new).map_or(String::new(), |(old, new)| format!(" ({:+.4})", new - old));
        let _ = writeln!(text, "    {name}  {} -> {}{by}", shown(old), shown(new));
    }
    // What the others are compared with has none.
    if before != after || before != "-" {
        let _ = writeln!(text, "    verdict  {before} -> {after}");
    }
    Some(text)
}
