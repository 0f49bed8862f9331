//! How interactions are divided into training, validation and test.

mod by_users;
mod given;
mod global_time;
mod leave_one_out;
mod ratio;

use framework::problem::Reader;
use std::ops::Range;

framework::choice! {
    /// Which interaction of a part is predicted.
    pub(crate) enum Target {
        /// The first: what comes right after what was learned.
        First = "first",
        /// The last: the others of the part are known by then.
        Last = "last",
    }
}

impl Target {
    /// Its place in a part; none if the part is empty.
    fn of(self, part: Range<usize>) -> Option<usize> {
        match self {
            Self::First => part.into_iter().next(),
            Self::Last => part.into_iter().next_back(),
        }
    }
}

/// Something must be left for training.
fn shares(validation: f64, test: f64, report: &mut Reader) {
    if validation + test >= 1.0 {
        report.conflict(
            "test",
            format!("nothing is left for training: {validation} and {test}"),
            "shares with a sum below 1",
        );
    }
}
