//! Which rows a spec declares to be compared, and what came of it: each row with the base, further pairs, and all of
//! these once more in each stratum. Those whose runs are missing count in the correction too.

use super::Row;
use framework::comparison::{Comparison, Difference, Side, Stratum};
use framework::statistics::{Estimate, Scope, Scores};
use serde_json::Value;

/// One declared comparison.
pub(super) struct Compared {
    /// The row that is judged.
    pub(super) variant: String,
    /// What it is judged against.
    pub(super) against: String,
    /// The part of the cases that it is about; none for all.
    pub(super) stratum: Option<String>,
    /// How many cases that are.
    pub(super) cases: usize,
    /// Whether runs of either side are missing.
    pub(super) missing: bool,
    /// None while runs are missing, or where no case is in the stratum.
    pub(super) difference: Option<Difference>,
}

/// Declared pairs that cannot be compared: a line each.
pub(super) fn unlike(rows: &[Row], comparison: &Comparison) -> Vec<String> {
    let find = |name: &String| rows.iter().find(|row| row.variant == *name);
    let line = |pair: &Vec<String>| {
        let (a, b) = (find(pair.first()?)?, find(pair.get(1)?)?);
        let differ = a.fingerprint != b.fingerprint;
        differ.then(|| {
            format!(
                "WARNING: the declared pair of {} and {} differs in data, protocol or metric versions and is not compared",
                a.variant, b.variant
            )
        })
    };
    comparison.pairs.iter().filter_map(line).collect()
}

/// Whether other seeds could have given the run other scores.
pub(crate) fn is_random(record: &Value) -> bool {
    let stages = || record["stages"].as_array().into_iter().flatten().filter(|stage| stage["stage"] != "dataset");
    let trained = || {
        let epochs = record["epochs"].as_array().is_some_and(|epochs| !epochs.is_empty());
        epochs || stages().any(|stage| stage["cost"]["parameters_trained"].as_u64() > Some(0))
    };
    // Stages of before this was kept are taken for random if anything was trained.
    stages().any(|stage| stage["random"] == true) || (stages().any(|stage| stage["random"].is_null()) && trained())
}

/// All declared comparisons of a table, the base's first.
pub(super) fn compare(rows: &[Row], comparison: &Comparison) -> Vec<Compared> {
    let Some(base) = rows.first() else { return Vec::new() };
    let place = |name: &String| rows.iter().position(|row| row.variant == *name);
    let with_base = (1..rows.len()).map(|n| (n, 0)).filter(|(n, _)| rows[*n].fingerprint == base.fingerprint);
    let further = comparison.pairs.iter().filter_map(|pair| Some((place(pair.get(1)?)?, place(pair.first()?)?)));
    let further = further.filter(|(a, b)| rows[*a].fingerprint == rows[*b].fingerprint);
    let mut pairs: Vec<(usize, usize)> = with_base.collect();
    for pair in further {
        if !pairs.contains(&pair) && !pairs.contains(&(pair.1, pair.0)) {
            pairs.push(pair);
        }
    }
    let strata = std::iter::once(None).chain(comparison.strata.iter().map(Some));
    let mut found = Vec::new();
    let mut declared = Vec::new();
    for stratum in strata {
        for (row, estimate, cases) in estimates(rows, &pairs, stratum) {
            found.extend(estimate);
            declared.push((row, stratum, estimate.is_some(), cases));
        }
    }
    let mut judged = comparison.judge(&found, declared.len()).into_iter();
    let compared =
        |((row, against), stratum, known, cases): ((usize, usize), Option<&Stratum>, bool, usize)| Compared {
            variant: rows[row].variant.clone(),
            against: rows[against].variant.clone(),
            stratum: stratum.map(|stratum| stratum.name.clone()),
            cases,
            missing: !(rows[row].is_complete() && rows[against].is_complete()),
            difference: if known { judged.next() } else { None },
        };
    declared.into_iter().map(compared).collect()
}

/// Each pair with what it shows in a stratum, and the number of its cases.
#[allow(clippy::type_complexity)] // A list of three things, read once.
fn estimates(
    rows: &[Row],
    pairs: &[(usize, usize)],
    stratum: Option<&Stratum>,
) -> Vec<((usize, usize), Option<(Estimate, Scope)>, usize)> {
    // Rows of another protocol have other cases, so each protocol has statistics of its own.
    let mut fingerprints: Vec<&str> = pairs.iter().map(|(row, _)| rows[*row].fingerprint.as_str()).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    let mut all = Vec::new();
    for fingerprint in fingerprints {
        let known: Vec<usize> =
            (0..rows.len()).filter(|n| rows[*n].fingerprint == fingerprint && rows[*n].is_complete()).collect();
        let users =
            stratum.map(|stratum| known.iter().find_map(|n| rows[*n].cases_within(stratum)).unwrap_or_default());
        let side =
            |n: &usize| users.as_ref().map_or_else(|| rows[*n].side.clone(), |users| rows[*n].side.of_users(users));
        let sides: Vec<Side> = known.iter().map(side).collect();
        let scores = Scores::new(&sides.iter().map(Side::sample).collect::<Vec<_>>());
        let place = |row: usize| known.iter().position(|n| *n == row);
        for (row, against) in pairs.iter().filter(|(row, _)| rows[*row].fingerprint == fingerprint) {
            let both = place(*row).zip(place(*against));
            let estimate = both.map(|(a, b)| (scores.difference(a, b), sides[a].scope(&sides[b])));
            let cases = users.as_ref().map_or_else(|| rows[*row].side.values.first().map_or(0, Vec::len), Vec::len);
            all.push(((*row, *against), estimate.filter(|(estimate, _)| estimate.n > 0), cases));
        }
    }
    all.sort_by_key(|(pair, ..)| pairs.iter().position(|other| other == pair));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_asked_for_the_seed_is_random_and_old_runs_go_by_their_training() {
        let run = |random: Value, epochs: Value, trained: u64| {
            json!({ "epochs": epochs, "stages": [
                { "stage": "dataset", "random": true },
                { "stage": "recommender", "random": random, "cost": { "parameters_trained": trained } },
                { "stage": "evaluator", "random": random },
            ] })
        };
        assert!(is_random(&run(json!(true), json!([]), 0)));
        assert!(!is_random(&run(json!(false), json!([1]), 9)));
        assert!(is_random(&run(Value::Null, json!([1]), 0)) && is_random(&run(Value::Null, json!([]), 7)));
        assert!(!is_random(&run(Value::Null, json!([]), 0)));
    }
}
