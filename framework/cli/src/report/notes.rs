//! What a reader must know to believe a table, and to trace it, in words; the tables are `tables`, what speaks against
//! numbers is `warnings`.

use super::{Compared, Difference, Report, Row, short, warnings};
use framework::statistics::{SEEDS, Scope};
use serde_json::Value;
use std::fmt::Write;

impl Report {
    /// What speaks for and against a run's evaluation: a line each.
    pub(super) fn checks(&self, row: &Row, record: &Value) -> Vec<String> {
        let openings = self.openings.get(&row.fingerprint).unwrap_or(&0);
        let opened = format!("the test split of this protocol was opened {openings} times");
        std::iter::once(controls(record)).chain([opened]).chain(warnings::of_protocol(record)).collect()
    }

    /// What a reader must know to believe the table, and to trace it: a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let Some((row, first)) = self.rows.iter().find_map(|row| Some((row, row.records.first()?))) else {
            return vec!["No run of this spec is in the store yet: `ablate run` makes them.".into()];
        };
        let mut notes = data_and_protocol(first);
        let seeds = self.rows.iter().map(|row| row.records.len()).max().unwrap_or(0);
        let over = if seeds > 1 { format!("users and {seeds} seeds") } else { "users (one seed)".into() };
        notes.push(format!(
            "brackets: 95 % interval over {over}, not corrected; d: the difference in standard deviations of one run's users"
        ));
        notes.extend(self.ceilings());
        notes.extend(self.family());
        notes.extend(warnings::of_rows(&self.rows));
        notes.extend(self.checks(row, first));
        let apart: Vec<&str> = self.groups().iter().skip(1).flatten().map(|row| row.variant.as_str()).collect();
        if !apart.is_empty() {
            notes.push(format!(
                "WARNING: these rows differ from the base in data, protocol or metric versions, cannot be compared with it and stand apart: {}",
                apart.join(", ")
            ));
        }
        notes.extend(self.unattributed.clone());
        notes
    }

    /// What the rows that only order what something else found could have reached: a line each.
    fn ceilings(&self) -> Vec<String> {
        let line = |row: &Row| {
            let metric = row.records.first()?["ceiling"].as_str()?;
            let values = row.records.iter().filter_map(|record| record["metrics"][metric]["mean"].as_f64());
            let values: Vec<f64> = values.collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (!values.is_empty()).then(|| format!(
                "ceiling of {}: {metric} {mean:.4}, the cases whose target its retriever found; what was not found no ranker can order",
                row.variant
            ))
        };
        self.rows.iter().filter_map(line).collect()
    }

    /// What was compared and how, what it is about, and what it could have shown at all.
    fn family(&self) -> Vec<String> {
        const NAMED: usize = 12;
        let known: Vec<&Compared> = self.compared.iter().filter(|own| own.difference.is_some()).collect();
        let Some(Difference { interval, .. }) = known.first().and_then(|own| own.difference) else { return Vec::new() };
        let name = |own: &Compared| {
            let mut name = own.variant.clone();
            if own.against != self.base() {
                let _ = write!(name, " against {}", own.against);
            }
            own.stratum.iter().for_each(|stratum| {
                let _ = write!(name, " in {stratum}");
            });
            name
        };
        let mut names: Vec<String> = self.compared.iter().take(NAMED).map(name).collect();
        if self.compared.len() > NAMED {
            names.push(format!("{} more", self.compared.len() - NAMED));
        }
        let declared = self.compared.len();
        let missing = match self.compared.iter().filter(|own| own.missing).count() {
            0 => String::new(),
            missing => format!(" ({missing} of them not there yet)"),
        };
        let rows = format!("{declared} comparison{}{missing}", if declared == 1 { "" } else { "s" });
        let how = self.comparison.in_words();
        let mut notes = vec![
            format!("verdicts on {}: {how}; for {rows}: {}", self.metric, names.join(", ")),
            format!(
                "can show: the smallest difference in {} that these {} users and seeds show with power .8 as one of {declared}",
                self.metric, interval.n
            ),
        ];
        let trained = |own: &&&Compared| own.difference.is_some_and(|found| found.scope == Scope::Models);
        let trained: Vec<String> = known.iter().filter(trained).map(|own| name(own)).collect();
        if !trained.is_empty() {
            notes.push(format!(
                "as trained: {} of {declared} comparisons have a side with fewer than {SEEDS} seeds, so they are about these \
                 trained models, not about the methods, which may come out the other way round with other seeds; \
                 `seeds = [1, 2, 3]`, better five, allows a verdict: {}",
                trained.len(),
                trained.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
            ));
        }
        notes
    }

    /// The runs behind each row: a line each.
    pub(super) fn sources(&self) -> Vec<String> {
        let source = |row: &Row| {
            let runs: Vec<String> =
                row.records.iter().map(|r| format!("{} (seed {})", short(&r["run"]), r["seed"])).collect();
            let mut text = format!("runs of {}: {}", row.variant, runs.join(", "));
            if row.missing > 0 {
                let _ = write!(text, "; {} not run", row.missing);
            }
            text
        };
        let any = self.rows.iter().any(|row| !row.records.is_empty());
        self.rows.iter().filter(|_| any).map(source).collect()
    }
}

/// The data, the question that was asked of it, and what of the answers it gives away: a line each.
pub(super) fn data_and_protocol(first: &Value) -> Vec<String> {
    let (data, protocol) = (&first["data"], &first["plan"]["protocol"]);
    let (ties, copies) = (ties(data, protocol), copies(data, protocol));
    let masked = if protocol["mask_seen"] == true { "masked" } else { "not masked" };
    let split = &protocol["split"];
    // A name alone in records from before there were several.
    let name = split.as_str().or_else(|| split["use"].as_str()).unwrap_or_default().replace('_', "-");
    let leak = match data["leak_rate"].as_f64() {
        Some(rate) => format!("{:.1} % of training is later than the average test target", rate * 100.0),
        None => "how much of training is later than the test targets is not known".to_owned(),
    };
    let mut lines = vec![
        format!(
            "data: {} users, {} items, {} interactions; {ties}{copies}{}",
            data["users"],
            data["items"],
            data["interactions"],
            if data["own_split_unused"] == true {
                "; WARNING: the split that comes with it is not the one used"
            } else {
                ""
            }
        ),
        format!(
            "protocol: {}, {name}, {} for {} users, seen items {masked}, at most {} interactions of history; fingerprint {}",
            core(&protocol["k_core"]),
            ranked(first),
            data["test_cases"],
            protocol["max_history"],
            short(&first["fingerprint"])
        ),
        format!(
            "leak: {leak}; {} test targets are in no training interaction{}",
            data["cold_targets"].as_u64().unwrap_or(0),
            match data["copied_targets"].as_u64() {
                Some(copied) => format!(", and {copied} follow their last three items in somebody's training"),
                None => String::new(),
            } + &repeats(data)
        ),
    ];
    lines.extend(given_targets(data));
    lines.extend(
        data["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|note| format!("data: {note}")),
    );
    lines
}

/// What the k-core took of a split that the data itself gives.
fn given_targets(data: &Value) -> Option<String> {
    let [given, left] = ["given", "left"].map(|key| {
        ["/given_targets/0/", "/given_targets/1/"]
            .map(|at| data.pointer(&format!("{at}{key}")).and_then(Value::as_u64).unwrap_or(0))
    });
    (given != left).then(|| {
        format!(
            "WARNING: the k-core took {} of {} validation interactions and {} of {} test interactions that the data's own split \
             holds out, so this is not the published split; `protocol.k_core = 0` keeps all",
            given[0] - left[0], given[0], given[1] - left[1], given[1]
        )
    })
}

/// How many interactions share a time, and what their order decided.
fn ties(data: &Value, protocol: &Value) -> String {
    match data["tie_rate"].as_f64().unwrap_or(0.0) * 100.0 {
        _ if data["training"].is_u64() && data["leak_rate"].is_null() => {
            "no times, only an order of each user".to_owned()
        }
        ties => {
            let order = match protocol["ties"].as_str() {
                Some("item") => "ordered by item id",
                Some("random") => "ordered at random",
                _ => "source order kept",
            };
            let tied = data["tied_targets"].as_u64().filter(|tied| *tied > 0);
            let targets = tied.map_or(String::new(), |tied| {
                format!("; that order alone chose {tied} of {} test targets", data["test_cases"])
            });
            format!("{ties:.1} % share a timestamp with another of their user ({order}{targets})")
        }
    }
}

/// Exact copies of rows, where there are any.
fn copies(data: &Value, protocol: &Value) -> String {
    match data["copies"].as_u64() {
        Some(copies) if copies > 0 => {
            let kept = if protocol["copies"] == "drop" {
                "taken out"
            } else {
                "kept; `protocol.copies = \"drop\"` takes them out"
            };
            format!("; {copies} rows are exact copies of another ({kept})")
        }
        _ => String::new(),
    }
}

/// Targets that their users had seen before, and what became of them.
fn repeats(data: &Value) -> String {
    match data["repeated_targets"].as_u64() {
        Some(repeated) if repeated > 0 && data["left_out"] == repeated => format!(
            "; {repeated} more were seen before by their user, and are left out since seen items are masked, as are {} \
                     of validation",
            data["left_out_of_validation"]
        ),
        Some(repeated) if repeated > 0 => {
            format!("; {repeated} stand in their own user's history: items that come again")
        }
        _ => String::new(),
    }
}

/// What the controls of evaluation got.
fn controls(record: &Value) -> String {
    let Some(controls) = record["controls"]["values"].as_object() else {
        return "WARNING: no controls were evaluated with these runs".into();
    };
    let value =
        |(name, control): (&String, &Value)| format!("{name} {:.4}", control["value"].as_f64().unwrap_or(f64::NAN));
    let metric = controls.values().find_map(|control| control["metric"].as_str()).unwrap_or_default();
    let cases = match (record["controls"]["looked_at"].as_u64(), record["controls"]["of"].as_u64()) {
        (Some(some), Some(all)) if some < all => format!(", {some} of {all} cases, evenly spread"),
        (Some(all), Some(_)) => format!(", all {all} cases"),
        _ => String::new(),
    };
    format!(
        "controls got what they must ({metric}{cases}): {}",
        controls.iter().map(value).collect::<Vec<_>>().join(", ")
    )
}

/// The k-core in words.
fn core(k: &Value) -> String {
    match k.as_u64() {
        Some(0) => "all users and items".into(),
        Some(k) => format!("{k}-core"),
        None => format!("({}, {})-core of users and items", k["users"], k["items"]),
    }
}

/// What a run ranked for each test case.
pub(super) fn ranked(record: &Value) -> String {
    let items = &record["data"]["items"];
    let candidates = &record["plan"]["protocol"]["candidates"];
    match candidates["negatives"].as_u64() {
        Some(negatives) if negatives > 0 => {
            let draw = candidates["draw"].as_str().unwrap_or("uniform").replace('_', "-");
            format!("ranking of {} candidates ({draw} negatives) out of {items} items", negatives + 1)
        }
        _ => format!("full ranking of {items} items"),
    }
}
