//! `ablate data --rows`: the first interactions and items as the program understood them.

use framework::corpus::{Corpus, Part};
use serde_json::{Value, json};

/// The first `rows` interactions and items.
pub(crate) fn first(corpus: &Corpus, rows: usize) -> Value {
    let data = &corpus.interactions;
    let interaction = |row: usize| {
        let mut shown = json!({
            "user": corpus.users[data.user[row] as usize],
            "item": corpus.items.id[data.item[row] as usize],
        });
        match corpus.untimed {
            true => shown["position"] = data.timestamp[row].into(),
            false => shown["time"] = moment(data.timestamp[row], data.unit.per_second()).into(),
        }
        if let Some(part) = data.part.get(row) {
            shown["part"] = part_name(*part).into();
        }
        shown
    };
    let item = |n: usize| {
        let mut shown = json!({ "id": corpus.items.id[n] });
        for (name, value) in corpus.items.in_words(n as u32) {
            shown[name] = value.into();
        }
        shown["picture"] = corpus.items.image[n].is_some().into();
        shown
    };
    json!({
        "interactions": (0..rows.min(data.user.len())).map(interaction).collect::<Vec<_>>(),
        "items": (0..rows.min(corpus.items.id.len())).map(item).collect::<Vec<_>>(),
    })
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Validation => "validation",
        Part::Test => "test",
        Part::History => "history",
    }
}

/// The same as two tables.
pub(crate) fn in_words(first: &Value) -> String {
    let mut text = String::new();
    for name in ["interactions", "items"] {
        let rows: Vec<&Value> = first[name].as_array().into_iter().flatten().collect();
        text.push_str(&format!("\nfirst {name}, as they were understood\n"));
        let Some(keys) = rows.first().and_then(|row| row.as_object()).map(|row| row.keys().collect::<Vec<_>>()) else {
            continue;
        };
        let cell = |row: &Value, key: &str| match &row[key] {
            Value::String(text) => clipped(text),
            other => other.to_string(),
        };
        let lines: Vec<Vec<String>> = std::iter::once(keys.iter().map(|key| (*key).clone()).collect())
            .chain(rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()))
            .collect();
        let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..keys.len()).map(width).collect();
        for line in &lines {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(&format!("{}\n", cells.join("  ").trim_end()));
        }
    }
    text
}

/// A value that leaves room for others.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// A time since 1970 as a date and time in UTC, as fine as it is; as it is where it cannot be that.
pub(crate) fn moment(time: i64, per_second: i64) -> String {
    let nanoseconds = time.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let moment = chrono::DateTime::from_timestamp(time.div_euclid(per_second), nanoseconds as u32);
    moment.map_or(time.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.f").to_string())
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_as_fine_as_they_are() {
        assert_eq!(moment(951_868_799, 1), "2000-02-29 23:59:59");
        assert_eq!(moment(951_868_799_500, 1000), "2000-02-29 23:59:59.500");
        assert_eq!(moment(-1, 1_000_000), "1969-12-31 23:59:59.999999");
        assert_eq!(moment(i64::MAX, 1), i64::MAX.to_string());
    }
}
