//! What a reader would have to find out alone: training that ended too early, users without a value, old rules.

use super::Row;
use serde_json::Value;

/// What is to be said of the rows: a line each.
pub(super) fn of_rows(rows: &[Row]) -> Vec<String> {
    let rising: Vec<String> = rows.iter().filter_map(rising).collect();
    let mut lines = Vec::new();
    if !rising.is_empty() {
        lines.push(format!(
            "WARNING: training ended at `max_epochs` with the best validation in its last tenth, so more epochs may give \
             more: {}",
            rising.join(", ")
        ));
    }
    lines.extend(without_value(rows));
    lines.extend(rows.iter().filter_map(|row| of_lists(&row.variant, row.records.first()?)).flatten());
    let named = |count: fn(&Row) -> usize| {
        let rows = rows.iter().filter(|row| count(row) > 0);
        rows.map(|row| format!("{} ({})", row.variant, count(row))).collect::<Vec<_>>().join(", ")
    };
    let outdated = named(|row| row.outdated);
    if !outdated.is_empty() {
        lines.push(format!(
            "WARNING: runs were made from a stage that was made again since and left something else; `ablate run SPEC` makes \
             them again: {outdated}"
        ));
    }
    let others = named(|row| row.other_cases);
    if !others.is_empty() {
        lines.push(format!(
            "WARNING: runs are left out, since an earlier program asked other test cases under the same protocol; `ablate run \
             SPEC --fresh recommender --fresh evaluator` makes them again: {others}"
        ));
    }
    lines
}

/// The row's name and how many of its runs ended while validation still rose.
fn rising(row: &Row) -> Option<String> {
    let rising = row.records.iter().filter(|record| is_rising(record)).count();
    let all = row.records.len();
    (rising > 0)
        .then(|| if all > 1 { format!("{} ({rising} of {all} runs)", row.variant) } else { row.variant.clone() })
}

/// Whether all epochs were used up and one of the last was the best.
fn is_rising(record: &Value) -> bool {
    // Two points make no curve.
    let Some(epochs) = record["epochs"].as_array().filter(|epochs| epochs.len() > 2) else { return false };
    if epochs.iter().any(|epoch| !epoch["validation"].is_number()) {
        return false;
    }
    let recommender = &record["plan"]["recommender"];
    let most = recommender["training"]["max_epochs"].as_u64().or_else(|| recommender["max_epochs"].as_u64());
    let validation = |epoch: &Value| epoch["validation"].as_f64().unwrap_or(f64::NEG_INFINITY);
    // The first of equals: a plateau does not rise.
    let best = (0..epochs.len()).rev().max_by(|a, b| validation(&epochs[*a]).total_cmp(&validation(&epochs[*b])));
    let last_tenth = epochs.len() - epochs.len().div_ceil(10);
    most == Some(epochs.len() as u64) && best.is_some_and(|best| best >= last_tenth)
}

/// The users that a metric has no value for.
fn without_value(rows: &[Row]) -> Vec<String> {
    let Some(row) = rows.iter().find(|row| !row.cells.is_empty()) else { return Vec::new() };
    let cases = row.records[0]["data"]["test_cases"].as_u64().unwrap_or(0) as usize;
    let lacking = row.cells.iter().filter(|(_, cell)| cell.n > 0 && cell.n < cases);
    let line = |(name, cell): &(String, framework::statistics::Interval)| {
        format!(
            "{name}: {} of {cases} users are left out, since for them nothing is ranked beside the target",
            cases - cell.n
        )
    };
    lacking.map(line).collect()
}

/// What lists that were made elsewhere lack: a line each.
fn of_lists(variant: &str, record: &Value) -> Option<Vec<String>> {
    let count = |key: &str| record["lists"][key].as_u64();
    let (cases, depth) = (count("cases")?, count("depth")?);
    let mut lines = Vec::new();
    if let Some(missing) = count("missing").filter(|missing| *missing > 0) {
        lines.push(format!("WARNING: {variant}: {missing} of {cases} test users have no list and count as misses"));
    }
    if let Some(short) = count("short").filter(|short| *short > 0) {
        lines.push(format!(
            "WARNING: {variant}: {short} of {cases} test users have a list of fewer than {depth} items that are ranked; what \
             it leaves out is tied below it, so that metrics at larger cutoffs are partly chance"
        ));
    }
    Some(lines)
}

/// What is to be said of a protocol: a line each.
pub(super) fn of_protocol(record: &Value) -> Option<String> {
    let (data, protocol) = (&record["data"], &record["plan"]["protocol"]);
    let repeated = data["repeated_targets"].as_u64().filter(|repeated| *repeated > 0)?;
    if protocol["mask_seen"] == true {
        return data["left_out"].is_null().then(|| {
            format!(
                "WARNING: {repeated} targets that their users had seen before gave themselves away, since all other seen items \
                 are masked: an earlier program kept them; `ablate run SPEC --fresh recommender --fresh evaluator` leaves them out"
            )
        });
    }
    let candidates = &protocol["candidates"];
    let drawn = candidates["negatives"].as_u64() > Some(0) && candidates["avoid"] == "interacted";
    drawn.then(|| {
        format!(
            "WARNING: {repeated} targets were seen before by their users, and no negative was: whoever remembers finds them; \
             `mask_seen = true` leaves these cases out, `candidates.avoid = \"history\"` draws seen items too"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn training_that_ran_out_of_epochs_while_it_rose_is_named() {
        let record = |values: &[f64], most: usize| {
            let epochs: Vec<Value> = values.iter().map(|value| json!({ "validation": value })).collect();
            json!({ "epochs": epochs, "plan": { "recommender": { "training": { "max_epochs": most } } } })
        };
        assert!(is_rising(&record(&[0.1, 0.2, 0.3], 3)));
        assert!(!is_rising(&record(&[0.1, 0.2, 0.3], 9)), "it stopped by patience");
        assert!(!is_rising(&record(&[0.1, 0.3, 0.2], 3)) && !is_rising(&record(&[0.3, 0.3, 0.3], 3)));
        assert!(!is_rising(&record(&[], 0)));
    }

    #[test]
    fn what_lists_lack_is_counted() {
        let record = json!({ "lists": { "cases": 9, "missing": 2, "short": 3, "depth": 10 } });
        let lines = of_lists("theirs", &record).expect("lists");
        assert!(lines[0].contains("theirs: 2 of 9 test users have no list") && lines[1].contains("fewer than 10"));
        let whole = json!({ "lists": { "cases": 9, "missing": 0, "short": 0, "depth": 10 } });
        assert_eq!((of_lists("theirs", &whole), of_lists("ours", &json!({}))), (Some(vec![]), None));
    }

    #[test]
    fn repeats_under_an_old_rule_are_told() {
        let record = |masked: bool, left_out: Value| {
            json!({ "data": { "repeated_targets": 4, "left_out": left_out },
                "plan": { "protocol": { "mask_seen": masked, "candidates": { "negatives": 20, "avoid": "interacted" } } } })
        };
        assert!(of_protocol(&record(true, Value::Null)).is_some_and(|line| line.contains("an earlier program")));
        assert_eq!(of_protocol(&record(true, json!(4))), None);
        assert!(of_protocol(&record(false, json!(0))).is_some_and(|line| line.contains("no negative was")));
    }
}
