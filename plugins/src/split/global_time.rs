//! Two moments for everyone.

use super::{Target, shares};
use framework::error::{Error, Result};
use framework::protocol::{Cut, Sequence};
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// One moment divides training from validation and another one validation from testing, for all users alike: what is
    /// learned is earlier than everything that is predicted, as it would be in use.
    ///
    /// The answer to the leak of `leave_one_out` (Ji et al., TOIS 41(3), 2023). Of each user's interactions in a part one
    /// is the target, and those before it are its history. Users without an earlier interaction are not asked about.
    /// Targets may be items that no training interaction has; the report counts them. Needs real times.
    struct GlobalTime: SplitRule = "global_time" {
        /// Share of all interactions that are for validation.
        #[range(0.0..=0.5)]
        validation: f64 = 0.1,
        /// Share of all interactions, the latest, that are for testing.
        #[range(0.0..=0.5)]
        test: f64 = 0.1,
        /// Which interaction of a user's part is predicted.
        target: Target = Target::First,
    }
    check |settings, report| {
        shares(settings.validation, settings.test, report);
    }
}

impl SplitRule for GlobalTime {
    fn cut(&self, users: &[Sequence], source: Source) -> Result<Vec<Cut>> {
        if source.untimed {
            return Err(Error::new("the data has no times, only an order within each user")
                .at("protocol.split")
                .fix("use = \"leave_one_out\", \"ratio\" or \"by_users\""));
        }
        let mut times: Vec<i64> = users.iter().flat_map(|sequence| &sequence.timestamps).copied().collect();
        times.sort_unstable();
        // The first moment of the last `share` of all interactions; those of the same moment are all on one side.
        let moment = |share: f64| times[((1.0 - share) * times.len() as f64) as usize..].first().copied();
        let (validation, test) = (moment(self.validation + self.test), moment(self.test));
        let until = |sequence: &Sequence, moment: Option<i64>| {
            moment.map_or(sequence.items.len(), |moment| sequence.timestamps.partition_point(|time| *time < moment))
        };
        let cut = |sequence: &Sequence| {
            let (train, tested) = (until(sequence, validation), until(sequence, test));
            // Nobody is asked about without a history.
            let target = |part: std::ops::Range<usize>| self.target.of(part).filter(|place| *place > 0);
            Cut { train, validation: target(train..tested), test: target(tested..sequence.items.len()) }
        };
        Ok(users.iter().map(cut).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(times: &[i64]) -> Sequence {
        Sequence { items: vec![0; times.len()], timestamps: times.to_vec() }
    }

    #[test]
    fn everyone_is_cut_at_the_same_moments() {
        let users = [sequence(&[1, 2, 3, 8, 9, 10]), sequence(&[4, 5, 6, 7]), sequence(&[9])];
        let rule = GlobalTime { validation: 0.2, test: 0.2, target: Target::First };
        // Of 11 interactions the last 3 begin at time 9, and the last 5 at time 7.
        let cuts = rule.cut(&users, Source::default()).expect("cuts");
        assert_eq!(cuts[0], Cut { train: 3, validation: Some(3), test: Some(4) });
        assert_eq!(cuts[1], Cut { train: 3, validation: Some(3), test: None });
        assert_eq!(cuts[2], Cut { train: 0, validation: None, test: None });
    }

    #[test]
    fn data_without_times_is_refused() {
        let rule = GlobalTime { validation: 0.1, test: 0.1, target: Target::First };
        let source = Source { untimed: true, ..Source::default() };
        let message = rule.cut(&[sequence(&[0, 1, 2])], source).expect_err("no times").to_string();
        assert!(message.contains("has no times") && message.contains("leave_one_out"), "{message}");
    }
}
