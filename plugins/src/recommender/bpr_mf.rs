//! Factors of users and items that rank what a user chose above what they did not.

use crate::baskets::baskets;
use crate::descent::{self, Descent};
use crate::factors::{Choice, Factors, choices};
use framework::context::Context;
use framework::error::Result;
use framework::plugin::defaults;
use framework::protocol::Train;
use framework::roles::{Recommender, Scorer};
use std::path::Path;

framework::plugin! {
    /// Matrix factorization with Bayesian personalized ranking: `score(u, i) = <factors of u, factors of i> + bias(i)`.
    ///
    /// Rendle et al., UAI 2009 (arXiv 1205.2618): stochastic gradient ascent on `ln sigmoid(score(u, i) - score(u, j))`
    /// less a penalty on the squares of all numbers. A user u and an item i that they chose are drawn together,
    /// uniformly and with replacement, then j uniformly from the items that u never chose in training. Validation picks
    /// the epoch.
    ///
    /// Implementations that leave the paper lose up to half of its quality (Milogradskii et al., RecSys 2024, arXiv
    /// 2409.14217). This keeps its plain gradient steps and its sampling with replacement, but has one regularization
    /// where the paper allows three; the bias is that of MyMediaLite, by the same authors. The default of `hidden_size`
    /// is RecBole's.
    ///
    /// It knows users by their index, not by their history: neither order nor what was chosen since training counts.
    struct BprMf: Recommender = "bpr_mf" {
        /// Factors of each user and of each item.
        #[range(1..=8192)]
        hidden_size: usize = 64,
        /// How it is trained: `learning_rate`, `regularization`, `max_epochs` and `patience`.
        training: Descent = defaults(),
    }
}

impl Recommender for BprMf {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let baskets = baskets(train);
        let choices = choices(&baskets, train.num_items());
        let is_known =
            |choice: &Choice<1>, item: u32| baskets[choice.contexts[0] as usize].binary_search(&item).is_ok();
        descent::fit(self.factors(train), &choices, is_known, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        descent::load(self.factors(train), folder)
    }
}

impl BprMf {
    fn factors(&self, train: &Train) -> Factors<1> {
        Factors::new(self.hidden_size, [train.sequences.len()], train.num_items(), true, |query| [Some(query.user)])
    }
}

#[cfg(test)]
mod tests {
    use super::BprMf;
    use crate::descent::Descent;
    use crate::fixture::{context, train};
    use framework::context::Context;
    use framework::plugin::defaults;
    use framework::protocol::Train;
    use framework::roles::{Query, Recommender, Scorer};

    /// Half of the users choose among items 0 to 3, the others among 4 to 7; each leaves one of their four for later.
    fn two_groups() -> Train {
        let chosen = |user: u32| (0..4u32).map(move |n| user % 2 * 4 + (user / 2 + n) % 4).collect();
        let users: Vec<Vec<u32>> = (0..40).map(chosen).collect();
        let mut train = train(8, &users.iter().map(Vec::as_slice).collect::<Vec<_>>());
        train.validation.mask_seen = true;
        train
    }

    #[test]
    fn it_learns_what_users_have_in_common_and_its_checkpoint_scores_alike() {
        let (cx, _folder) = context();
        let (train, model): (_, BprMf) = (two_groups(), defaults());
        let fitted = model.fit(&train, &cx).expect("it trains");
        let hits = train.validate(&*fitted, &cx).expect("it scores");
        assert!(hits > 0.95, "hr@1 {hits}");
        fitted.save(&cx.work).expect("it is saved");
        let loaded = model.load(&cx.work, &train, &cx).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }

    #[test]
    fn a_resumed_run_ends_with_the_same_bytes() {
        let train = two_groups();
        let saved = |max_epochs: usize, cx: &Context| {
            let model = BprMf { training: Descent { max_epochs, ..defaults() }, ..defaults() };
            model.fit(&train, cx).expect("it trains").save(&cx.work).expect("it is saved");
            std::fs::read(cx.work.join("factors.safetensors")).expect("the checkpoint")
        };
        let ((straight, _a), (stopped, _b)) = (context(), context());
        let expected = saved(6, &straight);
        saved(3, &stopped);
        assert_eq!(saved(6, &stopped), expected);
        // The resumed run records the first three epochs once more.
        let losses = |cx: &Context| cx.epochs().iter().map(|epoch| epoch.loss).collect::<Vec<_>>();
        assert_eq!(losses(&straight).len(), 6);
        assert_eq!(losses(&stopped)[3..], losses(&straight));
    }
}
