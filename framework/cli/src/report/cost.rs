//! What a variant's runs cost, from the traces of their stages; how it is printed.

use serde_json::{Value, json};

/// The cost of one run of a variant: the mean over its seeds, and the highest memory of any.
///
/// A stage that was found counts as when it was made, so that a variant that shares stages looks no cheaper.
pub(super) struct Cost([f64; 7]);

/// What each number is called in tables and in data.
const NAMES: [(&str, &str); 7] = [
    ("wall time", "seconds"),
    ("controls", "controls_seconds"),
    ("peak memory", "peak_memory_mb"),
    ("parameters trained", "parameters_trained"),
    ("tokens trained", "tokens_trained"),
    ("tokens read", "tokens_read"),
    ("tokens written", "tokens_written"),
];
const CONTROLS: usize = 1;
const MEMORY: usize = 2;

/// Below the table.
pub(super) const NOTE: &str = "of one run with all its stages, also those that it shares with others; the controls, which all \
     runs of a protocol share, apart; mean over seeds, peak memory the highest of any";

impl Cost {
    /// Of runs; `None` where there is none.
    pub(super) fn of(records: &[Value]) -> Option<Self> {
        if records.is_empty() {
            return None;
        }
        let of_run = |record: &Value, n: usize| {
            // No part of any variant. Records of before it was kept do not say it.
            if n == CONTROLS {
                return record[NAMES[n].1].as_f64().unwrap_or(0.0);
            }
            let stages = record["stages"].as_array().into_iter().flatten();
            let key = NAMES[n].1;
            let numbers = stages.filter_map(|stage| stage[key].as_f64().or_else(|| stage["cost"][key].as_f64()));
            if n == MEMORY { numbers.fold(0.0, f64::max) } else { numbers.fold(0.0, |sum, number| sum + number) }
        };
        let of_all = |n: usize| {
            let numbers = records.iter().map(|record| of_run(record, n));
            if n == MEMORY { numbers.fold(0.0, f64::max) } else { numbers.sum::<f64>() / records.len() as f64 }
        };
        Some(Self(std::array::from_fn(of_all)))
    }

    /// Each number by its name in data.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (&'static str, f64)> {
        NAMES.iter().zip(self.0).map(|((_, key), number)| (*key, number))
    }

    pub(super) fn json(&self) -> Value {
        self.numbers().map(|(key, number)| (key.to_string(), json!(number))).collect()
    }

    fn cell(&self, n: usize) -> String {
        match (n, self.0[n]) {
            (0 | CONTROLS, seconds) => format!("{seconds:.1} s"),
            (MEMORY, mebibytes) => format!("{mebibytes:.0} MiB"),
            (_, count) => grouped(count),
        }
    }
}

/// Head and lines of the table of costs, without what is zero in all rows.
pub(super) fn table<'a>(rows: impl Iterator<Item = (&'a str, Option<&'a Cost>)>) -> (Vec<String>, Vec<Vec<String>>) {
    let rows: Vec<_> = rows.collect();
    let spent = |n: &usize| rows.iter().filter_map(|(_, cost)| *cost).any(|cost| cost.0[*n] > 0.0);
    let columns: Vec<usize> = (0..NAMES.len()).filter(spent).collect();
    let head = ["variant"].into_iter().chain(columns.iter().map(|n| NAMES[*n].0)).map(String::from).collect();
    let line = |(variant, cost): &(&str, Option<&Cost>)| {
        let cell = |n: &usize| cost.map_or("not run".into(), |cost| cost.cell(*n));
        [(*variant).to_string()].into_iter().chain(columns.iter().map(cell)).collect()
    };
    (head, rows.iter().map(line).collect())
}

/// A count with a comma between thousands.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let chunks: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
    chunks.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_seeds_are_averaged_and_memory_peaks() {
        let run = |seconds: f64, memory: f64| {
            json!({ "controls_seconds": 0.25, "stages": [
                { "seconds": seconds, "peak_memory_mb": memory, "cost": { "tokens_read": 1500 } },
                { "seconds": 1.0, "peak_memory_mb": 10.0, "cost": {} },
            ] })
        };
        let cost = Cost::of(&[run(1.0, 50.0), run(3.0, 70.0)]).expect("two runs");
        assert_eq!(cost.0, [3.0, 0.25, 70.0, 0.0, 0.0, 1500.0, 0.0]);
        let (head, lines) = table([("a", Some(&cost)), ("b", None)].into_iter());
        assert_eq!(head, ["variant", "wall time", "controls", "peak memory", "tokens read"]);
        assert_eq!(lines[0], ["a", "3.0 s", "0.2 s", "70 MiB", "1,500"]);
        assert_eq!(lines[1][1..], ["not run"; 4]);
        assert!(Cost::of(&[]).is_none());
        let old = Cost::of(&[json!({ "stages": [{ "seconds": 1.0 }] })]).expect("a run of before it was kept");
        assert_eq!(table([("a", Some(&old))].into_iter()).0, ["variant", "wall time"]);
    }
}
