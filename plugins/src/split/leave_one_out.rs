//! The last two interactions of each user.

use framework::error::Result;
use framework::protocol::{Cut, Sequence};
use framework::roles::{Source, SplitRule};

framework::plugin! {
    /// Each user's last interaction is the test target, the one before it the validation target; all others are for
    /// training. Users with fewer than three interactions are for training only.
    ///
    /// The usual protocol of sequential recommendation (Kang and McAuley, ICDM 2018; Sun et al., CIKM 2019). It leaks the
    /// future: one user's training interactions may be later than another one's test target, and models can profit (Ji
    /// et al., TOIS 41(3), 2023). The report says how many are; `global_time` has none.
    struct LeaveOneOut: SplitRule = "leave_one_out" {}
}

impl SplitRule for LeaveOneOut {
    fn cut(&self, users: &[Sequence], _: Source) -> Result<Vec<Cut>> {
        let cut = |sequence: &Sequence| match sequence.items.len() {
            n @ 3.. => Cut { train: n - 2, validation: Some(n - 2), test: Some(n - 1) },
            n => Cut::train(n),
        };
        Ok(users.iter().map(cut).collect())
    }
}
