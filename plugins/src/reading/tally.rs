//! What a reader leaves out or doubts, counted, with the first place of each: nothing is lost in silence.

use super::Place;
use framework::choice;
use framework::error::{Error, Result};

choice! {
    /// What becomes of rows that lack what they need.
    pub(crate) enum Lacking {
        /// The first of them is an error.
        Refuse = "refuse",
        /// They are left out and counted.
        Drop = "drop",
    }
}

/// Counts by what they are of, and remarks.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<Count>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Count {
    what: String,
    rows: usize,
    first: String,
}

impl Tally {
    /// Counts one row of those that `what`: `have no `user_id` and are left out`.
    pub(crate) fn count(&mut self, place: Place<'_>, what: &str) {
        match self.counts.iter_mut().find(|count| count.what == what) {
            Some(count) => count.rows += 1,
            None => self.counts.push(Count { what: what.to_string(), rows: 1, first: place.in_file() }),
        }
    }

    /// Leaves a row out where that is wanted; else an error of what it lacks.
    pub(crate) fn lacks(&mut self, place: Place<'_>, column: &str, rule: Lacking) -> Result<()> {
        match rule {
            Lacking::Drop => {
                self.count(place, &format!("have no `{column}` and are left out"));
                Ok(())
            }
            Lacking::Refuse => Err(lacking(place, column)),
        }
    }

    /// Remarks on something that is no row.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// All of it in words.
    pub(crate) fn into_notes(self) -> Vec<String> {
        let in_words = |Count { what, rows, first }: Count| format!("rows that {what}: {rows}, the first {first}");
        self.counts.into_iter().map(in_words).chain(self.notes).collect()
    }
}

/// A row has no value in a column that must have one.
fn lacking(place: Place<'_>, column: &str) -> Error {
    let fix = "a value in each row; or `missing = \"drop\"`, which leaves such rows out and counts them";
    place.broken(format!("`{column}` is missing")).fix(fix)
}
