//! Which plots a report has: it chooses rows, users and strata and hands them to `plots`.

use super::plots::{Across, Line, histogram, intervals, lines};
use super::tables::Table;
use super::{Interval, Report, Row, intervals as means_of, shown};
use framework::comparison::Side;
use framework::statistics::Scope;
use serde::Serialize;
use serde_json::Value;

/// Plots with one subject.
#[derive(Default, Serialize)]
pub(super) struct Section {
    /// Its name in the page's address.
    pub(super) id: &'static str,
    /// Its headline.
    pub(super) title: String,
    /// How to read it.
    pub(super) lead: String,
    /// What the two styles of lines mean, where there are two.
    pub(super) legend: Vec<(&'static str, String)>,
    /// Each plot with its caption.
    pub(super) plots: Vec<(String, String)>,
    /// The numbers behind them.
    #[serde(skip)]
    pub(super) tables: Vec<Table>,
}

/// At most this many strata, each with about as many users.
const STRATA: usize = 4;

impl Report {
    /// All sections that have anything to show.
    pub(super) fn sections(&self) -> Vec<Section> {
        let all =
            [self.differences(), self.attributed(), self.gridded(), self.spread(), self.strata(), self.training()];
        all.into_iter().filter(|section| !section.plots.is_empty() || !section.lead.is_empty()).collect()
    }

    fn differences(&self) -> Section {
        let row = |row: &Row| {
            let difference = row.difference.as_ref()?;
            let verdict = difference.verdict;
            let sign = if difference.scope == Scope::Methods { verdict.sign() } else { 0 };
            let class = ["worse", "same", "better"][(sign + 1) as usize];
            Some((format!("{} ({verdict})", row.variant), difference.interval, class))
        };
        let rows: Vec<_> = self.rows.iter().filter_map(row).collect();
        if rows.is_empty() {
            return Section::default();
        }
        let title = format!("Difference from {}", self.base());
        let plot = intervals(&title, &self.metric, &rows, false);
        Section {
            id: "differences",
            lead: "Right of zero scores higher than the base. The interval is not corrected; the verdict goes by the corrected p.".into(),
            plots: vec![(format!("{} of each variant minus {}", self.metric, self.base()), plot)],
            title,
            ..Section::default()
        }
    }

    fn attributed(&self) -> Section {
        let plots = self.attributions.iter().flat_map(|found| {
            let sign = |(name, interval): &(String, Interval)| {
                let class = match found.is_of_methods {
                    true if interval.low > 0.0 => "better",
                    true if interval.high < 0.0 => "worse",
                    _ => "same",
                };
                (name.clone(), *interval, class)
            };
            let values: Vec<_> = found.values.iter().map(sign).collect();
            let pairs: Vec<_> = found.pairs.iter().map(sign).collect();
            let plot = |what: &str, rows: &[_]| {
                let caption = format!("{what} of {}", found.name);
                (!rows.is_empty()).then(|| (caption.clone(), intervals(&caption, &self.metric, rows, true)))
            };
            [plot("Shapley values", &values), plot("Interactions", &pairs)].into_iter().flatten()
        });
        let mut section = Section { id: "components", title: "What each component adds".into(), ..Section::default() };
        section.plots = plots.collect();
        section.tables = self.components();
        if !section.plots.is_empty() {
            section.lead =
                "A component's share of what all of them add together; the shares sum up to the whole.".into();
        } else if !self.unattributed.is_empty() {
            section.lead = self.unattributed.join("; ");
        }
        section
    }

    fn gridded(&self) -> Section {
        let plot = |curve: &super::Curve| {
            let numbers: Option<Vec<f64>> = curve.points.iter().map(|point| point.number).collect();
            let places = numbers.clone().unwrap_or_else(|| (0..curve.points.len()).map(|n| n as f64).collect());
            let words = curve.points.iter().map(|point| point.value.clone()).collect();
            let across = match numbers {
                Some(_) => Across::Numbers(curve.key.clone()),
                None => Across::Words(curve.key.clone(), words),
            };
            let points = places.into_iter().zip(curve.points.iter().map(|point| point.interval)).collect();
            let line = Line { title: self.metric.clone(), class: "one", points };
            let title = format!("{}: {} against {}", curve.name, self.metric, curve.key);
            (title.clone(), lines(&title, &self.metric, &across, &[line]))
        };
        let plots: Vec<_> = self.curves.iter().map(plot).collect();
        let lead = if plots.is_empty() { "" } else { "The base's own value is among the points." };
        let title = "Curves of grids".into();
        Section { id: "grids", title, lead: lead.into(), plots, tables: self.grids(), ..Section::default() }
    }

    /// How the difference from the base is spread over users.
    fn spread(&self) -> Section {
        let Some(base) = self.rows.first().map(Row::user_means) else { return Section::default() };
        let plot = |row: &Row| {
            let differences: Vec<f64> = row.user_means().iter().zip(&base).map(|(value, base)| value - base).collect();
            let differences: Vec<f64> = differences.into_iter().filter(|difference| !difference.is_nan()).collect();
            let changed: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
            let better = changed.iter().filter(|difference| **difference > 0.0).count();
            let caption = format!(
                "{}: {better} users better, {} worse, {} equal",
                row.variant,
                changed.len() - better,
                differences.len() - changed.len()
            );
            let unit = format!("{} minus {}", self.metric, self.base());
            (caption, histogram(&format!("Users' differences of {}", row.variant), &unit, &changed))
        };
        let plots: Vec<_> = self.rows.iter().filter(|row| row.difference.is_some()).map(plot).collect();
        let lead = if plots.is_empty() {
            ""
        } else {
            "Each user's mean over seeds; users without a difference are counted, not drawn."
        };
        Section { id: "users", title: "Differences of users".into(), lead: lead.into(), plots, ..Section::default() }
    }

    /// The metric by length of the history and popularity of the target.
    fn strata(&self) -> Section {
        let mut section = Section { id: "strata", title: "By history and popularity".into(), ..Section::default() };
        let Some(base) = self.rows.first().filter(|base| !base.records.is_empty()) else { return section };
        let Some(cases) = &base.cases else {
            section.lead = "These runs were made before history length and popularity were kept with the scores: `ablate run` in a new store keeps them.".into();
            return section;
        };
        let rows =
            self.rows.iter().filter(|row| row.fingerprint == base.fingerprint && row.cases.as_ref() == Some(cases));
        let rows: Vec<&Row> = rows.collect();
        for (case, what) in cases.iter().zip(["length of the history", "popularity of the target in training"]) {
            let strata = cut(case);
            let words: Vec<String> = strata.iter().map(|(from, to, _)| range(*from, *to)).collect();
            let users: Vec<&[usize]> = strata.iter().map(|(_, _, users)| users.as_slice()).collect();
            let means = means(&rows, &users);
            let line = |n: usize, class| {
                let points = means[n].iter().enumerate().map(|(x, interval)| (x as f64, *interval)).collect();
                Line { title: rows[n].variant.clone(), class, points }
            };
            for n in if rows.len() == 1 { 0..1 } else { 1..rows.len() } {
                let drawn = if n == 0 { vec![line(0, "other")] } else { vec![line(0, "other"), line(n, "one")] };
                let title = format!("{} by {what}", rows[n].variant);
                let across = Across::Words(what.to_string(), words.clone());
                section.plots.push((title.clone(), lines(&title, &self.metric, &across, &drawn)));
            }
            let counts =
                strata.iter().map(|(from, to, users)| format!("{} ({} users)", range(*from, *to), users.len()));
            section.tables.push(Table {
                caption: format!("{} by {what}", self.metric),
                head: ["variant".to_string()].into_iter().chain(counts).collect(),
                lines: rows
                    .iter()
                    .zip(&means)
                    .map(|(row, means)| [row.variant.clone()].into_iter().chain(means.iter().map(shown)).collect())
                    .collect(),
                notes: Vec::new(),
            });
        }
        section.lead = "Users in up to four groups of about the same size, with 95 % intervals.".into();
        section.legend = vec![("other", format!("{} (base)", base.variant)), ("one", "the variant".into())];
        section
    }

    /// Loss and validation of each run by epoch.
    fn training(&self) -> Section {
        let mut section = Section { id: "training", title: "Training".into(), ..Section::default() };
        for row in &self.rows {
            for (key, what) in
                [("loss", "training loss".to_string()), ("validation", format!("{} on validation", self.metric))]
            {
                let drawn: Vec<Line> = row.records.iter().filter_map(|record| epochs(record, key)).collect();
                if !drawn.is_empty() {
                    let title = format!("{}: {what}", row.variant);
                    section.plots.push((title.clone(), lines(&title, &what, &Across::Numbers("epoch".into()), &drawn)));
                }
            }
        }
        if !section.plots.is_empty() {
            section.lead = "One line for each seed.".into();
        }
        section
    }
}

fn epochs(record: &Value, key: &str) -> Option<Line> {
    let epochs = record["epochs"].as_array().filter(|epochs| !epochs.is_empty())?;
    let point = |epoch: &Value| {
        let mean = epoch[key].as_f64()?;
        Some((epoch["epoch"].as_f64()?, Interval { mean, low: mean, high: mean, n: 0 }))
    };
    let points = epochs.iter().filter_map(point).collect();
    Some(Line { title: format!("seed {}", record["seed"]), class: "one", points })
}

/// The selected metric of each stratum's users, by row.
fn means(rows: &[&Row], strata: &[&[usize]]) -> Vec<Vec<Interval>> {
    let of_stratum = |users: &&[usize]| {
        let sides: Vec<Side> = rows.iter().map(|row| row.side.of_users(users)).collect();
        means_of(&sides.iter().map(Side::sample).collect::<Vec<_>>())
    };
    let found: Vec<Vec<Interval>> = strata.iter().map(of_stratum).collect();
    (0..rows.len()).map(|row| found.iter().map(|means| means[row]).collect()).collect()
}

/// Cuts cases into strata of about the same size; equal values stay together. Smallest and largest value, and the cases.
fn cut(values: &[u32]) -> Vec<(u32, u32, Vec<usize>)> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|case| values[*case]);
    let mut strata: Vec<(u32, u32, Vec<usize>)> = Vec::new();
    for (place, case) in order.into_iter().enumerate() {
        let value = values[case];
        let full = place * STRATA / values.len() >= strata.len();
        match strata.last_mut() {
            Some((_, to, cases)) if !full || *to == value => {
                *to = value;
                cases.push(case);
            }
            _ => strata.push((value, value, vec![case])),
        }
    }
    strata
}

fn range(from: u32, to: u32) -> String {
    if from == to { from.to_string() } else { format!("{from}–{to}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strata_are_whole_and_keep_equal_values_together() {
        let strata = cut(&[5, 1, 2, 3, 4, 6, 7, 8]);
        let ranges: Vec<String> = strata.iter().map(|(from, to, _)| range(*from, *to)).collect();
        assert_eq!(ranges, ["1–2", "3–4", "5–6", "7–8"]);
        assert_eq!(cut(&[3; 10]).len(), 1);
        let skewed = cut(&[1, 1, 1, 1, 1, 1, 2, 9]);
        assert_eq!(skewed.iter().map(|(_, _, cases)| cases.len()).sum::<usize>(), 8);
        assert_eq!(skewed[0].2.len(), 6);
        assert!(cut(&[]).is_empty());
    }
    #[test]
    fn runs_without_the_columns_leave_the_plot_out_and_say_so() {
        let row = Row {
            variant: "old".into(),
            design: super::super::Design::Base,
            plan: Default::default(),
            fingerprint: String::new(),
            metric: String::new(),
            records: vec![serde_json::json!({ "run": "0" })],
            missing: 0,
            cells: vec![],
            side: Side::of_seeds(vec![vec![0.5, 1.0]], false),
            random: false,
            outdated: 0,
            other_cases: 0,
            cases: None,
            difference: None,
            tuned: None,
            cost: None,
        };
        let report = Report {
            name: String::new(),
            description: String::new(),
            rows: vec![row],
            metric: "ndcg@10".into(),
            comparison: framework::plugin::defaults(),
            compared: vec![],
            openings: Default::default(),
            attributions: vec![],
            unattributed: vec![],
            curves: vec![],
            manifests: vec![],
        };
        let sections = report.sections();
        assert!(sections.len() == 1 && sections[0].id == "strata" && sections[0].plots.is_empty());
        assert!(sections[0].lead.contains("before history length"), "{}", sections[0].lead);
    }
}
