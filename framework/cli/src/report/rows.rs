//! The rows of a report: the records behind each variant, and what they scored and cost.

use super::compared::is_random;
use super::cost::Cost;
use framework::ablation::{Design, Plan};
use framework::comparison::{Difference, Side, Stratum};
use framework::error::Result;
use framework::run::{UserScores, keys};
use framework::search::Tuned;
use framework::stage::are_current;
use framework::statistics::{Interval, Sample, Scores};
use framework::store::Store;
use framework::toml;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One variant.
pub(super) struct Row {
    pub(super) variant: String,
    pub(super) design: Design,
    pub(super) plan: toml::Table,
    /// The hash of all that makes its numbers comparable with another row's.
    pub(super) fingerprint: String,
    /// The metric by which it is compared, as its cells call it.
    pub(super) metric: String,
    /// What its search found.
    pub(super) tuned: Option<Tuned>,
    pub(super) records: Vec<Value>,
    pub(super) missing: usize,
    /// Of the records, those that were made from a stage that is another one by now.
    pub(super) outdated: usize,
    /// Runs that are left out, since an earlier program asked other cases.
    pub(super) other_cases: usize,
    /// Whether other seeds could score otherwise.
    pub(super) random: bool,
    /// Per metric: mean and interval; an interval without users (`n` 0) is a metric of the whole test set.
    pub(super) cells: Vec<(String, Interval)>,
    /// The selected metric of its runs.
    pub(super) side: Side,
    /// Of each test case, the length of its history and the popularity of its target; `None` in old runs.
    pub(super) cases: Option<[Vec<u32>; 2]>,
    /// From the base, over all cases.
    pub(super) difference: Option<Difference>,
    pub(super) cost: Option<Cost>,
}

/// The plans' rows with the records that are there.
pub(super) fn rows(plans: &[Plan], store: &Store, cache: &Path) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let Some(first) = plans.first() else { return Ok(rows) };
    for plan in plans {
        let keys = keys(plan, cache)?;
        if rows.last().is_none_or(|row| row.variant != plan.variant) {
            rows.push(Row {
                variant: plan.variant.clone(),
                design: plan.design.clone(),
                plan: plan.table(),
                fingerprint: keys.fingerprint.clone(),
                // The base's, with the number of this row's candidates.
                metric: format!("{}{}", first.spec.evaluator.selects_by(), plan.spec.protocol.metric_suffix()),
                tuned: plan.tuned.clone(),
                records: vec![],
                missing: 0,
                outdated: 0,
                other_cases: 0,
                random: false,
                cells: vec![],
                side: Side::default(),
                cases: None,
                difference: None,
                cost: None,
            });
        }
        let record = store.run(&keys.run)?;
        if let Some(row) = rows.last_mut() {
            let outdated = record.is_some() && !are_current(store, &keys.stages())?;
            row.outdated += usize::from(outdated);
            row.missing += usize::from(record.is_none());
            row.records.extend(record);
        }
    }
    leave_out_other_cases(&mut rows);
    Ok(rows)
}

/// Runs of one protocol that were asked other cases than the newest of them, because an earlier program had another rule,
/// stand in no table with it.
fn leave_out_other_cases(rows: &mut [Row]) {
    let mut newest: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for row in rows.iter() {
        for record in &row.records {
            let started = record["started"].as_str().unwrap_or_default().to_owned();
            let found = newest.entry(row.fingerprint.clone()).or_default();
            if started >= found.0 {
                *found = (started, record["data"]["test_cases"].clone());
            }
        }
    }
    for row in rows {
        let cases = newest.get(&row.fingerprint).map_or(Value::Null, |(_, cases)| cases.clone());
        let before = row.records.len();
        row.records.retain(|record| record["data"]["test_cases"] == cases);
        let gone = before - row.records.len();
        row.missing += gone;
        row.other_cases = gone;
    }
}

/// The places of a row and of a cell in it, and what its runs scored there.
type Cell = (usize, usize, Side);

/// Reads what the rows' runs scored and cost.
pub(super) fn fill(rows: &mut [Row], store: &Store) -> Result<()> {
    // By fingerprint and metric: rows and their cells with the runs' values.
    let mut tables: BTreeMap<(String, String), Vec<Cell>> = BTreeMap::new();
    for (n, row) in rows.iter_mut().enumerate() {
        let scores = row.records.iter().map(|record| UserScores::read(store, record));
        let scores: Vec<UserScores> = scores.collect::<Result<_>>()?;
        let random = row.records.iter().any(is_random);
        let elsewhere = row.records.iter().any(|record| record["made_elsewhere"] == true);
        let side = |metric: &str| -> Result<Side> {
            let values = scores.iter().map(|run| run.metric(metric)).collect::<Result<_>>()?;
            Ok(if elsewhere { Side::of_one_draw(values) } else { Side::of_seeds(values, random) })
        };
        row.cost = Cost::of(&row.records);
        row.cases = scores.first().and_then(UserScores::cases);
        // A row that does not measure what the base is judged by is compared with nothing.
        row.side = side(&row.metric).unwrap_or_default();
        row.random = random;
        for (name, summary) in
            row.records.first().and_then(|record| record["metrics"].as_object()).into_iter().flatten()
        {
            let of_runs = row.records.iter().filter_map(|record| record["metrics"][name]["mean"].as_f64());
            let of_runs: Vec<f64> = of_runs.collect();
            let cell = Interval::alone(of_runs.iter().sum::<f64>() / of_runs.len() as f64);
            if summary.get("n").is_some() {
                let table = tables.entry((row.fingerprint.clone(), name.clone())).or_default();
                table.push((n, row.cells.len(), side(name)?));
            }
            row.cells.push((name.clone(), cell));
        }
    }
    let tables: Vec<_> = tables.into_values().collect();
    let found: Vec<Vec<Interval>> = tables
        .par_iter()
        .map(|table| intervals(&table.iter().map(|(_, _, side)| side.sample()).collect::<Vec<_>>()))
        .collect();
    for ((row, cell, _), interval) in tables.iter().flatten().zip(found.into_iter().flatten()) {
        rows[*row].cells[*cell].1 = interval;
    }
    Ok(())
}

/// The mean of each of a table's rows in one metric.
pub(super) fn intervals(samples: &[Sample]) -> Vec<Interval> {
    let scores = Scores::new(samples);
    (0..samples.len()).map(|row| scores.interval(row)).collect()
}

impl Row {
    /// Whether all that can be said of it is there: every seed, or one where nothing is random.
    pub(super) fn is_complete(&self) -> bool {
        !self.side.values.is_empty() && (self.missing == 0 || !self.random)
    }

    /// The selected metric of each user, the mean over seeds.
    pub(super) fn user_means(&self) -> Vec<f64> {
        Scores::new(&[self.side.sample()]).by_user(&[(0, 1.0)])
    }

    /// The cases that belong to a stratum; none for a run of before histories and popularities were kept.
    pub(super) fn cases_within(&self, stratum: &Stratum) -> Option<Vec<usize>> {
        let [histories, popularities] = self.cases.as_ref()?;
        let cases = histories.iter().zip(popularities).enumerate();
        Some(
            cases.filter(|(_, (history, popularity))| stratum.holds(**history, **popularity)).map(|(n, _)| n).collect(),
        )
    }
}
