//! Factors of users, items and the items before them.

use crate::descent::{self, Descent};
use crate::factors::{Choice, Factors};
use framework::context::Context;
use framework::error::Result;
use framework::plugin::defaults;
use framework::protocol::Train;
use framework::roles::{Recommender, Scorer};
use std::path::Path;

framework::plugin! {
    /// Factorized personalized Markov chain: what the user likes, plus what tends to follow their last item.
    ///
    /// `score(u, l, i) = <A(u), B(i)> + <C(l), D(i)>`, where l is the last item of user u and A, B, C, D are factors
    /// (the paper's V of U,I; I,U; L,I and I,L). Rendle et al., WWW 2010: stochastic gradient ascent on
    /// `ln sigmoid(score(u, l, i) - score(u, l, j))`, S-BPR, less a penalty on the squares of all numbers. A user's
    /// step from l to i is drawn uniformly and with replacement, then j uniformly from the other items. Validation
    /// picks the epoch.
    ///
    /// The paper predicts baskets of several items; here, as in RecBole, a basket is one item. RecBole draws j from
    /// items that the user never chose; in the paper j may be one that they chose at another time, and so it may here.
    /// The default of `hidden_size` is RecBole's. Users are known by their index.
    struct Fpmc: Recommender = "fpmc" {
        /// Factors in each row of A, B, C and D.
        #[range(1..=8192)]
        hidden_size: usize = 64,
        /// How it is trained: `learning_rate`, `regularization`, `max_epochs` and `patience`.
        training: Descent = defaults(),
    }
}

impl Recommender for Fpmc {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let steps = train.sequences.iter().enumerate().flat_map(|(user, sequence)| {
            let pairs = sequence.items.windows(2);
            pairs.map(move |pair| Choice { contexts: [user as u32, pair[0]], item: pair[1] })
        });
        let choices: Vec<Choice<2>> = steps.collect();
        let is_known = |choice: &Choice<2>, item: u32| choice.item == item;
        descent::fit(self.factors(train), &choices, is_known, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        descent::load(self.factors(train), folder)
    }
}

impl Fpmc {
    fn factors(&self, train: &Train) -> Factors<2> {
        let rows = [train.sequences.len(), train.num_items()];
        Factors::new(self.hidden_size, rows, train.num_items(), false, |query| {
            [Some(query.user), query.history.last().copied()]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Fpmc;
    use crate::fixture::{context, cycle};
    use framework::plugin::defaults;
    use framework::roles::{Query, Recommender, Scorer};

    #[test]
    fn it_learns_a_cycle_and_its_checkpoint_scores_alike() {
        let (cx, _folder) = context();
        let (train, model): (_, Fpmc) = (cycle(12, 64, 9), defaults());
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
    fn the_last_item_and_the_user_both_count() {
        let (cx, _folder) = context();
        let (train, model): (_, Fpmc) = (cycle(12, 64, 9), defaults());
        let scorer = model.fit(&train, &cx).expect("it trains");
        let query = |user, history| Query { user, history, ..Query::default() };
        let queries = [query(0, &[3, 4]), query(0, &[9, 4]), query(0, &[4, 3]), query(1, &[3, 4])];
        let scores = scorer.score(&queries, &cx).expect("scores").into_data();
        let scores: Vec<f32> = scores.try_to_vec().expect("floats");
        let rows: Vec<&[f32]> = scores.chunks(12).collect();
        assert_eq!(rows[0], rows[1], "only the last item counts");
        assert_ne!(rows[0], rows[2]);
        assert_ne!(rows[0], rows[3]);
    }
}
