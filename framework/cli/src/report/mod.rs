//! What a spec's finished runs say: each variant's mean and interval, its difference from the base, its cost, and the
//! runs behind it; curves of grids and shares of components. Here it is gathered; `text` and `html` write it.

mod attribution;
mod cost;
mod figures;
mod html;
mod manifest;
mod plots;
mod tables;
mod text;

use attribution::Attribution;
use cost::Cost;
use framework::ablation::{Design, Plan};
use framework::choice;
use framework::comparison::{Comparison, Difference};
use framework::error::{Error, Result};
use framework::run::{UserScores, keys, settled};
use framework::search::Tuned;
use framework::statistics::{Interval, bootstrap_seeds, user_means};
use framework::store::Store;
use framework::toml;
use manifest::Manifest;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

choice! {
    /// How a report is written.
    pub enum Format {
        /// Markdown, for people.
        Markdown = "md",
        /// One row per number.
        Csv = "csv",
        /// Everything.
        Json = "json",
        /// `tabular`s for a paper, and an appendix that lists what made the numbers.
        Latex = "latex",
        /// One page with plots that needs no other file.
        Html = "html",
    }
}

/// The seed of every bootstrap and randomization in reports, so that a report can be re-made.
pub(crate) const SEED: u64 = 2026;

/// One variant.
struct Row {
    variant: String,
    design: Design,
    plan: toml::Table,
    /// The hash of all that makes its numbers comparable with another row's.
    fingerprint: String,
    /// The metric by which it is compared, as its cells call it.
    metric: String,
    /// What its search found.
    tuned: Option<Tuned>,
    records: Vec<Value>,
    missing: usize,
    /// Per metric: mean and interval; an interval without users (`n` 0) is a metric of the whole test set.
    cells: Vec<(String, Interval)>,
    /// The selected metric, by seed and user.
    values: Vec<Vec<f64>>,
    /// Of each test case, the length of its history and the popularity of its target; `None` in old runs.
    cases: Option<[Vec<u32>; 2]>,
    difference: Option<Difference>,
    cost: Option<Cost>,
}

/// A metric against the values of one key.
struct Curve {
    name: String,
    key: String,
    points: Vec<Point>,
}

/// One value of a grid.
struct Point {
    variant: String,
    value: String,
    number: Option<f64>,
    interval: Interval,
}

/// The report of one spec.
pub struct Report {
    name: String,
    description: String,
    rows: Vec<Row>,
    metric: String,
    comparison: Comparison,
    /// How often the test split of each fingerprint was opened.
    openings: BTreeMap<String, usize>,
    attributions: Vec<Attribution>,
    /// Why an ablation's components are not attributed.
    unattributed: Vec<String>,
    curves: Vec<Curve>,
    manifests: Vec<Manifest>,
}

/// How often the test split of each row's fingerprint was opened, also under the names that fingerprint had when the
/// records were made, by an earlier version of this program.
fn openings(rows: &[Row], store: &Store) -> Result<BTreeMap<String, usize>> {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let of_records = row.records.iter().filter_map(|record| record["fingerprint"].as_str());
        names.entry(&row.fingerprint).or_default().extend(of_records.chain([row.fingerprint.as_str()]));
    }
    let count = |names: BTreeSet<&str>| names.into_iter().map(|name| store.openings(name)).sum::<Result<usize>>();
    names.into_iter().map(|(row, names)| Ok((row.to_owned(), count(names)?))).collect()
}

/// Gathers the finished runs of a spec's plans.
pub fn report(plans: &[Plan], store: &Store, cache: &Path) -> Result<Report> {
    let Some(first) = plans.first() else {
        return Err(Error::new("the spec has no runs"));
    };
    let mut rows = rows(&settled(plans, store, cache)?, store, cache)?;
    fill(&mut rows, store)?;
    compare(&mut rows, &first.spec.comparison);
    let openings = openings(&rows, store)?;
    let (attributions, unattributed) = attribute(&rows);
    let runs = rows.iter().map(|row| row.records.len()).sum();
    let manifests = rows.iter().flat_map(|row| {
        let openings = &openings;
        row.records.iter().map(move |record| Manifest::new(record, store, runs, openings[&row.fingerprint]))
    });
    let manifests = manifests.collect::<Result<_>>()?;
    Ok(Report {
        name: first.spec.name.clone(),
        description: first.spec.description.clone(),
        metric: metric(first),
        comparison: first.spec.comparison.clone(),
        openings,
        attributions,
        unattributed,
        curves: curves(&rows, &first.spec.evaluator.selects_by().to_string()),
        manifests,
        rows,
    })
}

/// The metric by which a plan's models are selected and compared, as its runs call it.
fn metric(plan: &Plan) -> String {
    format!("{}{}", plan.spec.evaluator.selects_by(), plan.spec.protocol.metric_suffix())
}

/// The plans' rows with the records that are there.
fn rows(plans: &[Plan], store: &Store, cache: &Path) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for plan in plans {
        let keys = keys(plan, cache)?;
        if rows.last().is_none_or(|row| row.variant != plan.variant) {
            rows.push(Row {
                variant: plan.variant.clone(),
                design: plan.design.clone(),
                plan: plan.table(),
                fingerprint: keys.fingerprint,
                metric: metric(plan),
                tuned: plan.tuned.clone(),
                records: vec![],
                missing: 0,
                cells: vec![],
                values: vec![],
                cases: None,
                difference: None,
                cost: None,
            });
        }
        let record = store.run(&keys.run)?;
        if let Some(row) = rows.last_mut() {
            row.missing += usize::from(record.is_none());
            row.records.extend(record);
        }
    }
    Ok(rows)
}

/// Reads what the rows' runs scored and cost.
fn fill(rows: &mut [Row], store: &Store) -> Result<()> {
    let values =
        |scores: &[UserScores], metric: &str| scores.iter().map(|run| run.metric(metric)).collect::<Result<_>>();
    let mut groups: Vec<Vec<Vec<f64>>> = Vec::new();
    for row in rows.iter_mut() {
        let scores = row.records.iter().map(|record| UserScores::read(store, record));
        let scores: Vec<UserScores> = scores.collect::<Result<_>>()?;
        row.cost = Cost::of(&row.records);
        row.cases = scores.first().and_then(UserScores::cases);
        row.values = values(&scores, &row.metric)?;
        for (name, summary) in
            row.records.first().and_then(|record| record["metrics"].as_object()).into_iter().flatten()
        {
            let of_runs = row.records.iter().filter_map(|record| record["metrics"][name]["mean"].as_f64());
            let of_runs: Vec<f64> = of_runs.collect();
            let mean = of_runs.iter().sum::<f64>() / of_runs.len() as f64;
            row.cells.push((name.clone(), Interval { mean, low: f64::NAN, high: f64::NAN, n: 0 }));
            groups.push(if summary.get("n").is_some() { values(&scores, name)? } else { Vec::new() });
        }
    }
    let groups: Vec<&[Vec<f64>]> = groups.iter().map(Vec::as_slice).collect();
    let cells = rows.iter_mut().flat_map(|row| &mut row.cells);
    let with_users = cells.zip(bootstrap_seeds(&groups, SEED)).filter(|(_, interval)| interval.n > 0);
    with_users.for_each(|((_, cell), interval)| *cell = interval);
    Ok(())
}

impl Row {
    fn seeds(&self) -> Vec<&Value> {
        self.records.iter().map(|record| &record["seed"]).collect()
    }

    /// The selected metric of each user, the mean over seeds.
    fn user_means(&self) -> Vec<f64> {
        user_means(&self.values)
    }
}

/// Fills in each row's difference from the base, where both have runs under the same protocol.
fn compare(rows: &mut [Row], comparison: &Comparison) {
    let Some((base, others)) = rows.split_first_mut() else { return };
    let comparable = |row: &&mut Row| {
        // Seeds are paired; a row with runs missing is compared once they are there.
        let paired = row.missing == 0 && (base.missing == 0 || base.records.len() == 1);
        let seeds = row.seeds() == base.seeds() || row.records.len() == 1 || base.records.len() == 1;
        paired && seeds && !base.records.is_empty() && row.fingerprint == base.fingerprint
    };
    let compared: Vec<&mut Row> = others.iter_mut().filter(comparable).collect();
    let values: Vec<&[Vec<f64>]> = compared.iter().map(|row| row.values.as_slice()).collect();
    let differences = comparison.compare(&base.values, &values, SEED);
    compared.into_iter().zip(differences).for_each(|(row, difference)| row.difference = Some(difference));
}

/// Attributes each factorial ablation whose rows are all there; for the others, why not.
fn attribute(rows: &[Row]) -> (Vec<Attribution>, Vec<String>) {
    let (mut found, mut lacking) = (Vec::new(), Vec::new());
    let mut seen: Vec<&str> = Vec::new();
    for row in rows {
        let Design::Factorial { name, components, .. } = &row.design else { continue };
        if seen.contains(&name.as_str()) {
            continue;
        }
        seen.push(name);
        match factorial_cells(rows, name, components) {
            Ok(cells) => found.push(Attribution::new(name, components, &cells)),
            Err(why) => lacking.push(format!("the components of {name} are not attributed: {why}")),
        }
    }
    (found, lacking)
}

/// The selected metric of each user for each subset of the components, the first of which is the lowest bit.
fn factorial_cells(rows: &[Row], name: &str, components: &[String]) -> std::result::Result<Vec<Vec<f64>>, String> {
    if components.len() > attribution::MOST {
        return Err(format!("{} components are more than {}", components.len(), attribution::MOST));
    }
    let subset = |row: &Row| match &row.design {
        Design::Base => Some((1 << components.len()) - 1),
        Design::Factorial { name: of, without, .. } if of == name => {
            Some((0..components.len()).filter(|n| !without.contains(&components[*n])).fold(0, |set, n| set | 1 << n))
        }
        _ => None,
    };
    let mut cells: Vec<Option<&Row>> = vec![None; 1 << components.len()];
    for row in rows.iter().filter(|row| row.missing == 0 && !row.records.is_empty()) {
        if let Some(set) = subset(row) {
            cells[set].get_or_insert(row);
        }
    }
    let without = |set: usize| {
        let absent = (0..components.len()).filter(|n| set >> n & 1 == 0).map(|n| components[n].as_str());
        let absent: Vec<&str> = absent.collect();
        if absent.is_empty() { "with all".to_string() } else { format!("without {}", absent.join(" and ")) }
    };
    let missing: Vec<String> = (0..cells.len()).filter(|set| cells[*set].is_none()).map(without).collect();
    if !missing.is_empty() {
        return Err(format!("{} of {} subsets have runs missing: {}", missing.len(), cells.len(), missing.join("; ")));
    }
    let cells: Vec<&Row> = cells.into_iter().flatten().collect();
    if cells.iter().any(|row| row.fingerprint != cells[0].fingerprint) {
        return Err("the subsets differ in data, protocol or metric versions".into());
    }
    Ok(cells.iter().map(|row| row.user_means()).collect())
}

/// The curve of each grid and key, the base's own value among the others.
fn curves(rows: &[Row], metric: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let Design::Grid { name, key, value } = &row.design else { continue };
        let place = curves.iter().position(|curve| curve.name == *name && curve.key == *key);
        let place = place.unwrap_or_else(|| {
            let base = rows.first().filter(|base| base.fingerprint == row.fingerprint);
            let point = base.and_then(|base| point(base, lookup(&base.plan, key)?, metric));
            curves.push(Curve { name: name.clone(), key: key.clone(), points: point.into_iter().collect() });
            curves.len() - 1
        });
        let Some(point) = point(row, value, metric) else { continue };
        let points = &mut curves[place].points;
        // The grid may name the base's value too: one point is enough.
        points.retain(|other| other.value != point.value);
        points.push(point);
    }
    for curve in &mut curves {
        if curve.points.iter().all(|point| point.number.is_some()) {
            curve.points.sort_by(|a, b| a.number.unwrap_or(0.0).total_cmp(&b.number.unwrap_or(0.0)));
        }
    }
    curves
}

fn point(row: &Row, value: &toml::Value, metric: &str) -> Option<Point> {
    let of = |cell: &&(String, Interval)| cell.0.split('|').next() == Some(metric);
    let (_, interval) = row.cells.iter().find(of)?;
    let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
    let text = value.as_str().map_or_else(|| value.to_string(), String::from);
    Some(Point { variant: row.variant.clone(), value: text, number, interval: *interval })
}

fn lookup<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    match rest {
        None => table.get(first),
        Some(rest) => lookup(table.get(first)?.as_table()?, rest),
    }
}

impl Report {
    /// Writes the report.
    pub fn write(&self, format: Format) -> Result<String> {
        match format {
            Format::Markdown => Ok(self.markdown()),
            Format::Csv => Ok(self.csv()),
            Format::Json => Ok(format!("{:#}", self.json())),
            Format::Latex => Ok(self.latex()),
            Format::Html => self.html(),
        }
    }

    /// The row that the others are compared with.
    fn base(&self) -> &str {
        self.rows.first().map_or("", |row| &row.variant)
    }

    /// The rows that can be compared with each other, the base's first: what else shares a table misleads.
    fn groups(&self) -> Vec<Vec<&Row>> {
        let mut groups: Vec<Vec<&Row>> = Vec::new();
        for row in &self.rows {
            match groups.iter_mut().find(|group| group[0].fingerprint == row.fingerprint) {
                Some(group) => group.push(row),
                None => groups.push(vec![row]),
            }
        }
        groups
    }
}

/// The metrics of rows that can be compared.
fn metrics<'a>(group: &[&'a Row]) -> Vec<&'a str> {
    let first = group.iter().find(|row| !row.cells.is_empty());
    first.map_or(Vec::new(), |row| row.cells.iter().map(|(name, _)| name.as_str()).collect())
}

pub(crate) use tables::settings;

/// The first characters of a hash: enough for `ablate show`.
pub fn short(hash: &Value) -> String {
    hash.as_str().unwrap_or_default().chars().take(10).collect()
}

/// A mean with its interval.
fn shown(interval: &Interval) -> String {
    let Interval { mean, low, high, .. } = interval;
    if low.is_nan() { format!("{mean:.4}") } else { format!("{mean:.4} [{low:.4}, {high:.4}]") }
}

/// A difference with its interval.
fn signed(interval: &Interval) -> String {
    format!("{:+.4} [{:+.4}, {:+.4}]", interval.mean, interval.low, interval.high)
}
