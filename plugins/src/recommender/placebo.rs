//! A control for recommenders that read lists of candidates: the same candidates in another order.

use burn::tensor::Tensor;
use framework::context::Context;
use framework::error::Result;
use framework::metrics::Metric;
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use serde_json::Value;
use std::path::Path;

framework::plugin! {
    /// Another recommender that is shown each user's candidates in another order: whether it judges what they are, or
    /// where they stand.
    ///
    /// Language models that rank a list prefer places (Hou et al., ECIR 2024, arXiv 2305.08845). A recommender that
    /// judges every candidate by itself gives the same scores, and without `protocol.candidates` there is no list.
    struct Placebo: Recommender = "placebo" {
        /// The recommender.
        of: Pick<dyn Recommender>,
        /// Whether the order is another one.
        permute_candidates: bool = true,
    }
}

/// Whose candidates are permuted.
struct Permuted {
    scorer: Box<dyn Scorer>,
    permutes: bool,
}

impl Recommender for Placebo {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Permuted { scorer: self.of.fit(train, cx)?, permutes: self.permute_candidates }))
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Permuted { scorer: self.of.load(folder, train, cx)?, permutes: self.permute_candidates }))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.of.inputs(cache)
    }

    fn needs_truth(&self) -> bool {
        self.of.needs_truth()
    }

    fn ceiling(&self) -> Option<Metric> {
        self.of.ceiling()
    }
}

impl Scorer for Permuted {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        if !self.permutes {
            return self.scorer.score(queries, cx);
        }
        let rng = cx.rng("permuted candidates");
        let permuted = |query: &Query| {
            let mut candidates = query.candidates?.to_vec();
            rng.fork(u64::from(query.user)).shuffle(&mut candidates);
            Some(candidates)
        };
        let candidates: Vec<Option<Vec<u32>>> = queries.iter().map(permuted).collect();
        let shown = queries.iter().zip(&candidates);
        let shown = shown.map(|(query, candidates)| Query { candidates: candidates.as_deref(), ..*query });
        let queries: Vec<Query> = shown.collect();
        self.scorer.score(&queries, cx)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.scorer.save(folder)
    }

    fn item_embeddings(&self) -> Option<Tensor<2>> {
        self.scorer.item_embeddings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers which candidates it was shown.
    struct Listener(std::sync::Arc<Mutex<Vec<Vec<u32>>>>);

    impl Scorer for Listener {
        fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
            let shown = queries.iter().filter_map(|query| query.candidates.map(<[u32]>::to_vec));
            self.0.lock().expect("no panic").extend(shown);
            Ok(Tensor::zeros([queries.len(), 9], &cx.device))
        }

        fn save(&self, _folder: &Path) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_candidates_stay_and_their_order_does_not() {
        let (cx, _folder) = crate::fixture::context();
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let scorer = Permuted { scorer: Box::new(Listener(seen.clone())), permutes: true };
        let candidates: Vec<u32> = (0..9).collect();
        let query = |user, candidates| Query { user, candidates, ..Query::default() };
        scorer.score(&[query(1, Some(&candidates)), query(2, Some(&candidates)), query(3, None)], &cx).expect("scores");
        scorer.score(&[query(1, Some(&candidates))], &cx).expect("scores");
        let mut seen = seen.lock().expect("no panic").clone();
        assert_eq!(seen.len(), 3);
        assert!(seen[0] != candidates && seen[0] != seen[1] && seen[0] == seen[2], "{seen:?}");
        seen.iter_mut().for_each(|order| order.sort_unstable());
        assert!(seen.iter().all(|order| *order == candidates));
    }
}
