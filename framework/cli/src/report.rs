//! A table that can be traced: each variant's mean and interval, its difference from the base, and the runs behind it.

use framework::ablation::Plan;
use framework::choice;
use framework::error::Result;
use framework::run::{keys, per_user};
use framework::statistics::{Difference, Interval, Verdict, bootstrap_seeds, holm, paired_difference};
use framework::store::Store;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

choice! {
    /// How a report is written.
    pub enum Format {
        /// Markdown, for people.
        Markdown = "md",
        /// One row per variant and metric.
        Csv = "csv",
        /// Everything.
        Json = "json",
        /// A `tabular` for a paper.
        Latex = "latex",
    }
}

/// The seed of every bootstrap and randomization in reports, so that a report can be re-made.
pub(crate) const SEED: u64 = 2026;

/// One variant.
struct Row {
    variant: String,
    records: Vec<Value>,
    missing: usize,
    /// Per metric: mean and interval; an interval without users (`n` 0) is a metric of the whole test set.
    cells: Vec<(String, Interval)>,
    difference: Option<(Difference, Verdict)>,
}

/// The table of one spec.
pub struct Report {
    name: String,
    description: String,
    rows: Vec<Row>,
    metric: String,
    openings: usize,
}

/// Gathers the finished runs of a spec's plans.
pub fn report(plans: &[Plan], store: &Store, cache: &Path) -> Result<Report> {
    let Some(first) = plans.first() else {
        return Err(framework::error::Error::new("the spec has no runs"));
    };
    let metric = format!("{}{}", first.spec.evaluator.selects_by(), first.spec.protocol.metric_suffix());
    let mut rows: Vec<Row> = Vec::new();
    for plan in plans {
        if rows.last().is_none_or(|row| row.variant != plan.variant) {
            let variant = plan.variant.clone();
            rows.push(Row { variant, records: vec![], missing: 0, cells: vec![], difference: None });
        }
        let record = store.run(&keys(plan, cache)?.run)?;
        if let Some(row) = rows.last_mut() {
            row.missing += usize::from(record.is_none());
            row.records.extend(record);
        }
    }
    for row in &mut rows {
        row.cells = cells(store, &row.records)?;
    }
    compare(&mut rows, store, &metric)?;
    let fingerprint = rows.iter().flat_map(|row| &row.records).next().map(|record| record["fingerprint"].clone());
    let openings = fingerprint.as_ref().and_then(Value::as_str).map_or(Ok(0), |name| store.openings(name))?;
    let (name, description) = (first.spec.name.clone(), first.spec.description.clone());
    Ok(Report { name, description, rows, metric, openings })
}

/// Mean and interval of every metric over the users and seeds of some runs.
fn cells(store: &Store, records: &[Value]) -> Result<Vec<(String, Interval)>> {
    let Some(metrics) = records.first().and_then(|record| record["metrics"].as_object()) else {
        return Ok(Vec::new());
    };
    let cell = |(name, summary): (&String, &Value)| {
        if summary.get("n").is_some() {
            return Ok((name.clone(), bootstrap_seeds(&values(store, records, name)?, SEED)));
        }
        let of_runs: Vec<f64> = records.iter().filter_map(|record| record["metrics"][name]["mean"].as_f64()).collect();
        let mean = of_runs.iter().sum::<f64>() / of_runs.len() as f64;
        Ok((name.clone(), Interval { mean, low: f64::NAN, high: f64::NAN, n: 0 }))
    };
    metrics.iter().map(cell).collect()
}

fn values(store: &Store, records: &[Value], metric: &str) -> Result<Vec<Vec<f64>>> {
    records.iter().map(|record| per_user(store, record, metric)).collect()
}

/// Fills in each row's difference from the base, where both have runs under the same protocol.
fn compare(rows: &mut [Row], store: &Store, metric: &str) -> Result<()> {
    let Some((base, others)) = rows.split_first_mut() else { return Ok(()) };
    let Some(reference) = base.records.first() else { return Ok(()) };
    let base_values = values(store, &base.records, metric)?;
    let mut compared = Vec::new();
    for row in others {
        // Seeds are paired; a row with runs missing is compared once they are there.
        let paired = row.missing == 0 && (base.missing == 0 || base.records.len() == 1);
        if paired && row.records.first().is_some_and(|record| record["fingerprint"] == reference["fingerprint"]) {
            let difference = paired_difference(&base_values, &values(store, &row.records, metric)?, SEED);
            compared.push((row, difference));
        }
    }
    let adjusted = holm(&compared.iter().map(|(_, difference)| difference.p).collect::<Vec<_>>());
    for ((row, mut difference), p) in compared.into_iter().zip(adjusted) {
        difference.p = p;
        let verdict = Verdict::new(&difference.interval, p);
        row.difference = Some((difference, verdict));
    }
    Ok(())
}

impl Report {
    /// Writes the report.
    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Markdown => self.markdown(),
            Format::Csv => self.csv(),
            Format::Json => format!("{:#}", self.json()),
            Format::Latex => self.latex(),
        }
    }

    fn metrics(&self) -> Vec<&str> {
        let first = self.rows.iter().find(|row| !row.cells.is_empty());
        first.map_or(Vec::new(), |row| row.cells.iter().map(|(name, _)| name.as_str()).collect())
    }

    fn table(&self) -> Vec<Vec<String>> {
        let metrics = self.metrics();
        let compared = self.rows.iter().any(|row| row.difference.is_some());
        let mut head = vec!["variant".to_string()];
        head.extend(metrics.iter().map(|name| (*name).to_string()));
        if compared {
            head.extend([format!("{} against {}", self.metric, self.rows[0].variant), "verdict".into()]);
        }
        let line = |row: &Row| {
            let mut line = vec![row.variant.clone()];
            let cell =
                |name: &&str| row.cells.iter().find(|(n, _)| n == name).map_or("not run".into(), |(_, i)| shown(i));
            line.extend(metrics.iter().map(cell));
            if compared {
                let (difference, verdict) = match &row.difference {
                    Some((difference, verdict)) => (signed(&difference.interval), verdict.to_string()),
                    None => (String::new(), String::new()),
                };
                line.extend([difference, verdict]);
            }
            line
        };
        [head].into_iter().chain(self.rows.iter().map(line)).collect()
    }

    fn markdown(&self) -> String {
        let mut table = self.table();
        table.iter_mut().flatten().for_each(|cell| *cell = cell.replace('|', "\\|"));
        let widths: Vec<usize> =
            (0..table[0].len()).map(|n| table.iter().map(|line| line[n].chars().count()).max().unwrap_or(0)).collect();
        let written = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join(" | ");
        let mut text = format!("# {}\n\n", self.name);
        if !self.description.is_empty() {
            let _ = writeln!(text, "{}\n", self.description);
        }
        text += &written(&table[0]);
        let _ = writeln!(text, "| {rule} |");
        table[1..].iter().for_each(|line| text += &written(line));
        text + "\n" + &self.notes()
    }

    /// What a reader must know to believe the table, and to trace it.
    fn notes(&self) -> String {
        let mut text = String::new();
        let records: Vec<&Value> = self.rows.iter().flat_map(|row| &row.records).collect();
        let Some(first) = records.first() else {
            return "No run of this spec is in the store yet: `ablate run` makes them.\n".into();
        };
        let (data, protocol) = (&first["data"], &first["plan"]["protocol"]);
        let ties = data["tie_rate"].as_f64().unwrap_or(0.0) * 100.0;
        let masked = if protocol["mask_seen"] == true { "masked" } else { "not masked" };
        let ranking = match protocol["candidates"]["negatives"].as_u64() {
            Some(negatives) if negatives > 0 => {
                format!("ranking of {} candidates (uniform negatives) out of {} items", negatives + 1, data["items"])
            }
            _ => format!("full ranking of {} items", data["items"]),
        };
        let split = protocol["split"].as_str().unwrap_or_default().replace('_', "-");
        let _ = writeln!(
            text,
            "- data: {} users, {} items, {} interactions; {ties:.1} % share a timestamp with another of their user (source order kept)",
            data["users"], data["items"], data["interactions"]
        );
        let _ = writeln!(
            text,
            "- protocol: {}-core, {split}, {ranking} for {} users, seen items {masked}, at most {} interactions of history; fingerprint {}",
            protocol["k_core"],
            data["test_cases"],
            protocol["max_history"],
            short(&first["fingerprint"])
        );
        let seeds = self.rows.iter().map(|row| row.records.len()).max().unwrap_or(0);
        let over = if seeds > 1 { format!("users and {seeds} seeds") } else { "users (one seed)".into() };
        let _ = writeln!(
            text,
            "- brackets: 95 % bootstrap interval over {over}; verdicts: paired randomization test on {}, Holm-corrected over {} comparisons",
            self.metric,
            self.rows.iter().filter(|row| row.difference.is_some()).count()
        );
        let _ = writeln!(text, "- the test split of this protocol was opened {} times", self.openings);
        if records.iter().any(|record| record["fingerprint"] != first["fingerprint"]) {
            text += "- WARNING: rows differ in data, protocol or metric versions and cannot be compared\n";
        }
        for row in &self.rows {
            let runs: Vec<String> =
                row.records.iter().map(|r| format!("{} (seed {})", short(&r["run"]), r["seed"])).collect();
            let missing = if row.missing > 0 { format!("; {} not run", row.missing) } else { String::new() };
            let _ = writeln!(text, "- runs of {}: {}{missing}", row.variant, runs.join(", "));
        }
        text
    }

    fn csv(&self) -> String {
        let mut text = String::from("variant,metric,mean,low,high,users,seeds,runs\n");
        for row in &self.rows {
            let runs: Vec<&str> = row.records.iter().filter_map(|record| record["run"].as_str()).collect();
            for (name, cell) in &row.cells {
                let Interval { mean, low, high, n } = cell;
                let (variant, seeds) = (quoted(&row.variant), row.records.len());
                let _ = writeln!(text, "{variant},{name},{mean},{low},{high},{n},{seeds},{}", runs.join(" "));
            }
        }
        text
    }

    fn json(&self) -> Value {
        let number = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
        let interval =
            |i: &Interval| json!({ "mean": number(i.mean), "low": number(i.low), "high": number(i.high), "n": i.n });
        let row = |row: &Row| {
            let metrics: serde_json::Map<_, _> =
                row.cells.iter().map(|(name, cell)| (name.clone(), interval(cell))).collect();
            let difference = row.difference.as_ref().map(|(difference, verdict)| {
                json!({ "metric": self.metric, "interval": interval(&difference.interval), "p_holm": difference.p, "verdict": verdict.to_string() })
            });
            let runs: Vec<_> = row.records.iter().map(|r| json!({ "run": r["run"], "seed": r["seed"] })).collect();
            json!({ "variant": row.variant, "metrics": metrics, "difference": difference, "runs": runs, "not_run": row.missing })
        };
        json!({ "name": self.name, "openings": self.openings, "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }

    fn latex(&self) -> String {
        let table = self.table();
        let escaped = |cell: &String| cell.replace('_', "\\_").replace('%', "\\%").replace('&', "\\&");
        let line = |line: &Vec<String>| line.iter().map(escaped).collect::<Vec<_>>().join(" & ") + " \\\\\n";
        let mut text = format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(table[0].len() - 1));
        text += &line(&table[0]);
        text += "\\midrule\n";
        table[1..].iter().for_each(|row| text += &line(row));
        let notes = self.notes();
        let comments: Vec<String> = notes.lines().map(|note| format!("% {note}\n")).collect();
        text + "\\bottomrule\n\\end{tabular}\n" + &comments.concat()
    }
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.into() }
}

fn shown(interval: &Interval) -> String {
    let Interval { mean, low, high, .. } = interval;
    if low.is_nan() { format!("{mean:.4}") } else { format!("{mean:.4} [{low:.4}, {high:.4}]") }
}

fn signed(interval: &Interval) -> String {
    format!("{:+.4} [{:+.4}, {:+.4}]", interval.mean, interval.low, interval.high)
}

/// The first characters of a hash: enough for `ablate show`.
pub fn short(hash: &Value) -> String {
    hash.as_str().unwrap_or_default().chars().take(10).collect()
}
