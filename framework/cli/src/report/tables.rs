//! The report's tables in words, the same in every format; what stands below them is `notes`, how they are marked up `text`
//! and `html`.

use super::notes::data_and_protocol;
use super::{Compared, Difference, Report, Row, cost, metrics, shown, signed};
use framework::search::{Trial, Tuned};
use framework::toml;
use std::collections::BTreeSet;

/// A difference with its interval and effect size.
fn judged(difference: &Difference) -> String {
    let signed = signed(&difference.interval);
    if difference.effect.is_finite() { format!("{signed}, d {:+.2}", difference.effect) } else { signed }
}

/// The column of the smallest difference that a row could have shown.
const CAN_SHOW: &str = "can show";

/// The cells of a comparison: the difference, what may be said, and what could have been shown.
fn outcome(difference: &Difference) -> [String; 3] {
    let smallest = difference.smallest;
    let can_show = if smallest.is_finite() { format!("{smallest:.4}") } else { "–".into() };
    [judged(difference), difference.verdict.to_string(), can_show]
}

/// A table in words.
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: String,
    /// The names of the columns.
    pub(super) head: Vec<String>,
    /// The cells, a line for each row.
    pub(super) lines: Vec<Vec<String>>,
    /// What a reader must know besides: a line each.
    pub(super) notes: Vec<String>,
}

impl Report {
    /// Each variant of `group` with its metrics, difference and verdict.
    pub(super) fn results(&self, group: &[&Row]) -> Table {
        let metrics = metrics(group);
        let compared = group.iter().any(|row| row.difference.is_some());
        let mut head = vec!["variant".to_string()];
        head.extend(metrics.iter().map(|name| (*name).to_string()));
        if compared {
            head.extend([format!("{} against {}", self.metric, self.base()), "verdict".into(), CAN_SHOW.into()]);
        }
        let line = |row: &&Row| {
            let mut line = vec![row.variant.clone()];
            let missing = if row.records.is_empty() { "not run" } else { "not measured" };
            let cell =
                |name: &&str| row.cells.iter().find(|(n, _)| n == name).map_or(missing.into(), |(_, i)| shown(i));
            line.extend(metrics.iter().map(cell));
            if compared {
                line.extend(row.difference.as_ref().map_or_else(Default::default, outcome));
            }
            line
        };
        let lines = group.iter().map(line).collect();
        Table { caption: "Results".into(), head, lines, notes: Vec::new() }
    }

    /// The same of the rows that cannot be compared with the base, in tables of their own.
    pub(super) fn apart(&self) -> Vec<Table> {
        let table = |group: Vec<&Row>| {
            let names: Vec<&str> = group.iter().map(|row| row.variant.as_str()).collect();
            let found = group.iter().find_map(|row| Some((*row, row.records.first()?)));
            let notes = found.map(|(row, record)| [data_and_protocol(record), self.checks(row, record)].concat());
            Table {
                caption: format!("Under another protocol: {}", names.join(", ")),
                notes: notes.unwrap_or_default(),
                ..self.results(&group)
            }
        };
        self.groups().into_iter().skip(1).map(table).collect()
    }

    /// All tables but the first.
    pub(super) fn more(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = self.further().into_iter().chain(self.apart()).collect();
        if self.rows.iter().any(|row| row.cost.is_some()) {
            tables.push(self.costs());
        }
        tables.extend(self.searches());
        tables.extend(self.components());
        tables.extend(self.grids());
        tables
    }

    /// The declared comparisons besides those of each row with the base over all cases.
    pub(super) fn further(&self) -> Option<Table> {
        let base = self.base();
        let further = self.compared.iter().filter(|own| own.stratum.is_some() || own.against != base);
        let line = |own: &Compared| {
            let within = match &own.stratum {
                Some(stratum) if own.missing => stratum.clone(),
                Some(stratum) => format!("{stratum} ({} cases)", own.cases),
                None => "all cases".into(),
            };
            let missing = if own.missing { "not run" } else { "no cases" };
            let found = own.difference.as_ref().map_or([missing.into(), String::new(), String::new()], outcome);
            [own.variant.clone(), own.against.clone(), within].into_iter().chain(found).collect()
        };
        let lines: Vec<Vec<String>> = further.map(line).collect();
        let head = ["variant", "against", "cases", &self.metric, "verdict", CAN_SHOW].map(String::from).to_vec();
        let notes = vec!["corrected together with the comparisons of the first table".into()];
        (!lines.is_empty()).then(|| Table { caption: "Further comparisons".into(), head, lines, notes })
    }

    pub(super) fn costs(&self) -> Table {
        let (head, lines) = cost::table(self.rows.iter().map(|row| (row.variant.as_str(), row.cost.as_ref())));
        Table { caption: "Cost".into(), head, lines, notes: vec![cost::NOTE.into()] }
    }

    /// What each row's search tried and chose, where there was one.
    pub(super) fn searches(&self) -> Option<Table> {
        let searched = self.rows.iter().find_map(|row| row.tuned.as_ref())?;
        let line = |row: &Row| {
            let Some(tuned) = &row.tuned else {
                let why = if row.plan.get("search").is_some_and(toml::Value::is_table) {
                    "not searched yet"
                } else {
                    "not tuned"
                };
                return vec![row.variant.clone(), "0".into(), String::new(), why.into(), String::new()];
            };
            let failed = tuned.trials.iter().filter(|trial| trial.validation.is_none()).count();
            let spent = tuned.trials.len();
            let trials = if failed > 0 { format!("{spent}, {failed} failed") } else { spent.to_string() };
            let (chosen, validation) = match tuned.best() {
                Some(best) => (settings(best), format!("{:.4}", best.judged().unwrap_or(f64::NAN))),
                None => ("nothing to tune".into(), String::new()),
            };
            vec![row.variant.clone(), trials, validation, chosen, format!("{:.0} s", tuned.seconds)]
        };
        let head = ["variant", "trials", &format!("best {} on validation", searched.metric), "chosen", "wall time"];
        let mut notes = vec![format!(
            "{} search on validation only; the chosen settings then ran with every seed of the table",
            searched.method
        )];
        let named = |wanted: fn(&Tuned) -> bool| {
            let rows = self.rows.iter().filter(|row| row.tuned.as_ref().is_some_and(wanted));
            rows.map(|row| row.variant.as_str()).collect::<Vec<_>>().join(", ")
        };
        let judged = named(Tuned::is_judged);
        if !judged.is_empty() {
            notes.push(format!(
                "trained with seeds of the search's own, the best trials judged again with fresh ones, the best mean over these \
                 won: {judged}"
            ));
        }
        let lucky = named(Tuned::is_optimistic);
        if !lucky.is_empty() {
            notes.push(format!(
                "WARNING: of several trials the winner was chosen by one seed (in searches by an earlier program perhaps one of \
                 this table), so these rows look better than their settings are: {lucky}; `search.judges` judges the best again"
            ));
        }
        // A row with nothing to tune has no trials, and needs none.
        let spent = |row: &Row| row.tuned.as_ref().map_or(Some(0), |tuned| Some(tuned.trials.len()).filter(|n| *n > 0));
        let budgets: BTreeSet<usize> = self.rows.iter().filter_map(spent).collect();
        if budgets.len() > 1 {
            notes.push("NOTE: rows had different numbers of trials, which favours those with more".into());
        }
        let lines = self.rows.iter().map(line).collect();
        Some(Table { caption: "Search".into(), head: head.map(String::from).to_vec(), lines, notes })
    }

    pub(super) fn components(&self) -> Vec<Table> {
        let table = |found: &super::Attribution| {
            let value = |(name, interval): &(String, _)| vec![name.clone(), "Shapley value".into(), signed(interval)];
            let pair = |(name, interval): &(String, _)| vec![name.clone(), "interaction".into(), signed(interval)];
            let all = vec!["all together".into(), "sum of the values".into(), signed(&found.total)];
            Table {
                caption: format!("What the components of {} add", found.name),
                head: vec!["component".into(), "measure".into(), self.metric.clone()],
                lines: found.values.iter().map(value).chain([all]).chain(found.pairs.iter().map(pair)).collect(),
                notes: vec![format!(
                    "exact over all subsets; brackets: 95 % interval over users and seeds, paired in the users, not corrected \
                     for their number; an interaction is what two add together beyond what each adds alone{}",
                    if found.is_of_methods {
                        ""
                    } else {
                        "; as trained: with fewer than 3 seeds these are about the trained models, not the components"
                    }
                )],
            }
        };
        self.attributions.iter().map(table).collect()
    }

    pub(super) fn grids(&self) -> Vec<Table> {
        let table = |curve: &super::Curve| Table {
            caption: format!("{}: {} against {}", curve.name, self.metric, curve.key),
            head: vec![curve.key.clone(), self.metric.clone(), "variant".into()],
            lines: curve
                .points
                .iter()
                .map(|point| vec![point.value.clone(), shown(&point.interval), point.variant.clone()])
                .collect(),
            notes: Vec::new(),
        };
        self.curves.iter().map(table).collect()
    }
}

/// The settings of a trial.
pub(crate) fn settings(trial: &Trial) -> String {
    let short = |key: &String| key.strip_prefix("recommender.").unwrap_or(key).to_owned();
    trial.values.iter().map(|(key, value)| format!("{} = {value}", short(key))).collect::<Vec<_>>().join(", ")
}
