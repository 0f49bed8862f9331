//! Shares of each user's interactions.

use super::{Target, shares};
use framework::error::Result;
use framework::protocol::{Cut, Sequence};
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// The last share of each user's interactions is for testing, the share before it for validation; of each part one
    /// interaction is the target. Users with fewer than three interactions are for training only.
    ///
    /// Parts are rounded to whole interactions, each at least one. Interactions of a part before its target are part of
    /// the target's history and never trained on. Like `leave_one_out` it leaks the future from user to user.
    struct Ratio: SplitRule = "ratio" {
        /// Share of a user's interactions that are for validation.
        #[range(0.0..=0.5)]
        validation: f64 = 0.1,
        /// Share of a user's interactions that are for testing.
        #[range(0.0..=0.5)]
        test: f64 = 0.1,
        /// Which interaction of a part is predicted.
        target: Target = Target::First,
    }
    check |settings, report| {
        shares(settings.validation, settings.test, report);
    }
}

impl SplitRule for Ratio {
    fn cut(&self, users: &[Sequence], _: Source) -> Result<Vec<Cut>> {
        let cut = |sequence: &Sequence| {
            let n = sequence.items.len();
            if n < 3 {
                return Cut::train(n);
            }
            let part = |share: f64| ((share * n as f64).round() as usize).max(1);
            let test = n - part(self.test).min(n - 2);
            let validation = test - part(self.validation).min(test - 1);
            Cut { train: validation, validation: self.target.of(validation..test), test: self.target.of(test..n) }
        };
        Ok(users.iter().map(cut).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(n: usize, target: Target) -> Cut {
        let users = [Sequence { items: vec![0; n], timestamps: vec![0; n] }];
        let rule = Ratio { validation: 0.1, test: 0.2, target };
        rule.cut(&users, Source::default()).expect("a cut").remove(0)
    }

    #[test]
    fn parts_are_shares_of_at_least_one() {
        assert_eq!(cut(20, Target::First), Cut { train: 14, validation: Some(14), test: Some(16) });
        assert_eq!(cut(20, Target::Last), Cut { train: 14, validation: Some(15), test: Some(19) });
        assert_eq!(cut(3, Target::First), Cut { train: 1, validation: Some(1), test: Some(2) });
        assert_eq!(cut(2, Target::First), Cut::train(2));
    }
}
