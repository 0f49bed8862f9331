//! What a spec's finished runs say: each variant's mean and interval, its difference from the base, its cost, and the
//! runs behind it; curves of grids and shares of components. Here it is gathered; `text` and `html` write it.

mod attribution;
mod compared;
mod cost;
mod figures;
mod html;
mod manifest;
mod notes;
mod plots;
mod rows;
mod tables;
mod text;
mod warnings;

use attribution::Attribution;
use compared::Compared;
pub(crate) use compared::is_random;
use framework::ablation::{Design, Plan};
use framework::choice;
use framework::comparison::{Comparison, Difference, Side};
use framework::error::{Error, Result};
use framework::run::settled;
use framework::statistics::Interval;
use framework::store::Store;
use framework::toml;
use manifest::Manifest;
use rows::{Row, fill, intervals, rows};
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
    /// All that the spec declares to be compared.
    compared: Vec<Compared>,
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
    let compared = compared::compare(&rows, &first.spec.comparison);
    let base = rows[0].variant.clone();
    for row in &mut rows {
        let own =
            compared.iter().find(|own| own.variant == row.variant && own.against == base && own.stratum.is_none());
        row.difference = own.and_then(|own| own.difference);
    }
    let openings = openings(&rows, store)?;
    let (attributions, mut unattributed) = attribute(&rows);
    unattributed.extend(compared::unlike(&rows, &first.spec.comparison));
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
        compared,
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
            Ok(cells) => {
                let sides: Vec<&Side> = cells.iter().map(|row| &row.side).collect();
                found.push(Attribution::new(name, components, &sides));
            }
            Err(why) => lacking.push(format!("the components of {name} are not attributed: {why}")),
        }
    }
    (found, lacking)
}

/// The row of each subset of the components, the first of which is the lowest bit.
fn factorial_cells<'a>(
    rows: &'a [Row],
    name: &str,
    components: &[String],
) -> std::result::Result<Vec<&'a Row>, String> {
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
    for row in rows.iter().filter(|row| row.is_complete()) {
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
    Ok(cells)
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
