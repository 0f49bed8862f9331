//! Users that were never trained on.

use super::shares;
use framework::error::Result;
use framework::protocol::{Cut, Sequence};
use framework::rng::Rng;
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// A share of the users is for testing, another for validation: all interactions of the others are for training, and
    /// of a user who is held out the last interaction is the target and the rest its history.
    ///
    /// The split of LLaRA (Liao et al., SIGIR 2024) and of the repository of MLLM-MSR (Ye et al., AAAI 2025), both 8:1:1.
    /// A recommender that knows users by their index, such as `bpr_mf`, has learned nothing about those who are held out.
    /// Users with one interaction are for training only. Shares are rounded: of 943 users 94 are for testing, where LLaRA's
    /// own files have 95.
    struct ByUsers: SplitRule = "by_users" {
        /// Share of the users that are for validation.
        #[range(0.0..=0.5)]
        validation: f64 = 0.1,
        /// Share of the users that are for testing.
        #[range(0.0..=0.5)]
        test: f64 = 0.1,
        /// What the users are drawn with.
        seed: u64 = 1,
    }
    check |settings, report| {
        shares(settings.validation, settings.test, report);
    }
}

impl SplitRule for ByUsers {
    fn cut(&self, users: &[Sequence], _: Source) -> Result<Vec<Cut>> {
        let mut order: Vec<usize> = (0..users.len()).collect();
        Rng::new(self.seed, "split").shuffle(&mut order);
        let part = |share: f64| ((share * users.len() as f64).round() as usize).max(1);
        let test = part(self.test).min(users.len());
        let validation = (test + part(self.validation)).min(users.len());
        let mut cuts: Vec<Cut> = users.iter().map(|sequence| Cut::train(sequence.items.len())).collect();
        for (place, user) in order.into_iter().enumerate().take(validation) {
            if let Some(last) = users[user].items.len().checked_sub(1).filter(|last| *last > 0) {
                cuts[user] = match place < test {
                    true => Cut { train: 0, validation: None, test: Some(last) },
                    false => Cut { train: 0, validation: Some(last), test: None },
                };
            }
        }
        Ok(cuts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_users_are_not_trained_on() {
        let users: Vec<Sequence> = (0..50).map(|_| Sequence { items: vec![0; 4], timestamps: vec![0; 4] }).collect();
        let rule = |seed| ByUsers { validation: 0.1, test: 0.2, seed };
        let cuts = rule(1).cut(&users, Source::default()).expect("cuts");
        let count = |wanted: Cut| cuts.iter().filter(|cut| **cut == wanted).count();
        assert_eq!(count(Cut { train: 0, validation: None, test: Some(3) }), 10);
        assert_eq!(count(Cut { train: 0, validation: Some(3), test: None }), 5);
        assert_eq!(count(Cut::train(4)), 35);
        assert_ne!(cuts, rule(2).cut(&users, Source::default()).expect("cuts"));
    }
}
