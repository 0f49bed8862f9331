//! The data's own division.

use super::Target;
use framework::corpus::Part;
use framework::error::{Error, Result};
use framework::protocol::{Cut, Sequence};
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// What the data set itself holds out, such as LLaRA's files of LastFM, or the `validation` and `test` files of a
    /// `table`: of a user's validation interactions one is the target, and one of the test interactions.
    ///
    /// What a user did before a target is its history. A user's training interactions must all be older than what is
    /// held out: a split that trains on what comes later is refused. Who has no history is not asked about.
    struct Given: SplitRule = "given" {
        /// Which interaction of a part is predicted.
        target: Target = Target::First,
    }
}

impl SplitRule for Given {
    fn cut(&self, users: &[Sequence], source: Source) -> Result<Vec<Cut>> {
        let Some(parts) = source.given else {
            return Err(Error::new("the data set does not say what is held out").at("protocol.split").fix(
                "`validation` and `test` files of a `table`; a data set with a split, as `lastfm`; or another rule",
            ));
        };
        let cuts = users.iter().zip(parts).enumerate().map(|(user, (_, parts))| {
            self.cut_one(parts).ok_or_else(|| {
                let user = source.users.get(user).map_or(format!("number {user}"), String::clone);
                let what = "interactions that are not in the order training, validation, test";
                Error::new(format!("leak: user {user} has {what}"))
                    .at("protocol.split `given`")
                    .fix("files that divide each user's interactions in time; or the rule `ratio`, which does")
            })
        });
        cuts.collect()
    }

    fn takes_given(&self) -> bool {
        true
    }
}

impl Given {
    /// `None` where what is trained on, validated with and tested with is not in this order.
    fn cut_one(&self, parts: &[Part]) -> Option<Cut> {
        let rank = |part: &Part| match part {
            Part::Train | Part::History => 0,
            Part::Validation => 1,
            Part::Test => 2,
        };
        if !parts.is_sorted_by_key(rank) {
            return None;
        }
        let before = |part: &Part| parts.partition_point(|other| rank(other) < rank(part));
        let (validation, test) = (before(&Part::Validation), before(&Part::Test));
        let train = parts.iter().take_while(|part| **part == Part::Train).count();
        if train < validation && parts[train..validation].contains(&Part::Train) {
            return None;
        }
        let target = |part: std::ops::Range<usize>| self.target.of(part).filter(|place| *place > 0);
        Some(Cut { train, validation: target(validation..test), test: target(test..parts.len()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{History, Test, Train, Validation};

    fn cuts(target: Target, parts: &[&[Part]]) -> Result<Vec<Cut>> {
        let user = |parts: &&[Part]| Sequence { items: vec![0; parts.len()], timestamps: vec![0; parts.len()] };
        let users: Vec<Sequence> = parts.iter().map(user).collect();
        let parts: Vec<Vec<Part>> = parts.iter().map(|parts| parts.to_vec()).collect();
        Given { target }.cut(&users, Source { given: Some(&parts), ..Source::default() })
    }

    #[test]
    fn users_that_are_held_out_are_read_but_not_learned() {
        let cuts = cuts(Target::First, &[&[Train; 3], &[History, History, Validation], &[History, Test], &[Test]]);
        let cuts = cuts.expect("cuts");
        assert_eq!(cuts[0], Cut::train(3));
        assert_eq!(cuts[1], Cut { train: 0, validation: Some(2), test: None });
        assert_eq!(cuts[2], Cut { train: 0, validation: None, test: Some(1) });
        assert_eq!(cuts[3], Cut { train: 0, validation: None, test: None });
    }

    #[test]
    fn each_user_may_have_all_parts() {
        let parts: &[Part] = &[Train, Train, Validation, Validation, Test, Test];
        let of = |target| cuts(target, &[parts]).expect("cuts")[0];
        assert_eq!(of(Target::First), Cut { train: 2, validation: Some(2), test: Some(4) });
        assert_eq!(of(Target::Last), Cut { train: 2, validation: Some(3), test: Some(5) });
    }

    #[test]
    fn training_on_what_comes_after_a_target_is_refused() {
        for parts in [&[Train, Test, Train][..], &[Train, Test, Validation], &[History, Train, Test]] {
            let message = cuts(Target::First, &[&[Train], parts]).expect_err("a leak").to_string();
            assert!(message.contains("leak: user number 1"), "{message}");
        }
        assert!(Given { target: Target::First }.cut(&[], Source::default()).is_err());
    }
}
