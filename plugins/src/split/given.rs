//! The data's own division.

use framework::corpus::Part;
use framework::error::{Error, Result};
use framework::protocol::{Cut, Sequence};
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// The users that the data set itself holds out, such as LLaRA's files of LastFM: of a user who is held out the last
    /// interaction is the target and the rest its history.
    struct Given: SplitRule = "given" {}
}

impl SplitRule for Given {
    fn cut(&self, users: &[Sequence], source: Source) -> Result<Vec<Cut>> {
        let Some(parts) = source.given else {
            return Err(Error::new("the data set does not say which users are for testing")
                .at("protocol.split")
                .fix("use = \"by_users\", which draws them; or a data set with a split of its own, such as `lastfm`"));
        };
        let cut = |(sequence, part): (&Sequence, &Part)| {
            let n = sequence.items.len();
            match (part, n) {
                (Part::Validation, 2..) => Cut { train: 0, validation: Some(n - 1), test: None },
                (Part::Test, 2..) => Cut { train: 0, validation: None, test: Some(n - 1) },
                _ => Cut::train(n),
            }
        };
        Ok(users.iter().zip(parts).map(cut).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_data_sets_own() {
        let users = [3, 3, 2, 1].map(|n| Sequence { items: vec![0; n], timestamps: vec![0; n] });
        let parts = [Part::Train, Part::Validation, Part::Test, Part::Test];
        let source = Source { given: Some(&parts), ..Source::default() };
        let cuts = Given {}.cut(&users, source).expect("cuts");
        assert_eq!(cuts[0], Cut::train(3));
        assert_eq!(cuts[1], Cut { train: 0, validation: Some(2), test: None });
        assert_eq!(cuts[2], Cut { train: 0, validation: None, test: Some(1) });
        assert_eq!(cuts[3], Cut::train(1));
        assert!(Given {}.cut(&users, Source::default()).is_err());
    }
}
