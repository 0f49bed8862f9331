//! A cheap recommender finds, an expensive one orders.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::metrics::Metric;
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

framework::plugin! {
    /// Two stages: a retriever's best items are put in order by a ranker, which is shown these as its candidates; all
    /// others follow in the retriever's order.
    ///
    /// How a recommender that cannot score the whole catalogue, such as a language model, is judged end to end: what the
    /// retriever does not find is lost. The ceiling, which no ranker can exceed, is the retriever's own `hr@depth`: it is
    /// measured beside the evaluator's metrics, and the report prints it. Items of the history are not retrieved where
    /// the protocol masks them. Both are trained on the same data; where the protocol has candidates, only those are
    /// retrieved.
    struct Rerank: Recommender = "rerank" version 2 {
        /// What finds.
        retriever: Pick<dyn Recommender>,
        /// What orders.
        ranker: Pick<dyn Recommender>,
        /// Items that the ranker is shown.
        #[range(1..=10_000)]
        depth: usize = 20,
    }
}

/// Both, fitted.
struct Stages {
    retriever: Box<dyn Scorer>,
    ranker: Box<dyn Scorer>,
    depth: usize,
    mask_seen: bool,
}

impl Recommender for Rerank {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let fit = |what: &Pick<dyn Recommender>, name: &str| {
            let cx = cx.inside(name);
            made(cx.work.clone())?;
            what.fit(train, &cx)
        };
        Ok(Box::new(self.stages(fit(&self.retriever, "retriever")?, fit(&self.ranker, "ranker")?, train)))
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let load = |what: &Pick<dyn Recommender>, name: &str| what.load(&made(folder.join(name))?, train, cx);
        Ok(Box::new(self.stages(load(&self.retriever, "retriever")?, load(&self.ranker, "ranker")?, train)))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(json!({ "retriever": self.retriever.inputs(cache)?, "ranker": self.ranker.inputs(cache)? }))
    }

    fn needs_truth(&self) -> bool {
        self.retriever.needs_truth() || self.ranker.needs_truth()
    }

    fn ceiling(&self) -> Option<Metric> {
        Metric::parse(&format!("hr@{}", self.depth)).ok()
    }
}

impl Rerank {
    fn stages(&self, retriever: Box<dyn Scorer>, ranker: Box<dyn Scorer>, train: &Train) -> Stages {
        Stages { retriever, ranker, depth: self.depth, mask_seen: train.validation.mask_seen }
    }
}

impl Stages {
    /// The items with the best of a query's scores, of equals the first.
    fn best(&self, query: &Query, scores: &[f32]) -> Vec<u32> {
        let seen = |item: &u32| self.mask_seen && query.seen.contains(item);
        let mut items: Vec<u32> = match query.candidates {
            Some(candidates) => candidates.to_vec(),
            None => (0..scores.len() as u32).filter(|item| !seen(item)).collect(),
        };
        let better = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
        if items.len() > self.depth {
            items.select_nth_unstable_by(self.depth - 1, better);
            items.truncate(self.depth);
        }
        items.sort_unstable_by(better);
        items
    }
}

impl Scorer for Stages {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let found = rows(self.retriever.score(queries, cx)?)?;
        let best: Vec<Vec<u32>> = queries.iter().zip(&found).map(|(query, scores)| self.best(query, scores)).collect();
        let shown = queries.iter().zip(&best).map(|(query, best)| Query { candidates: Some(best), ..*query });
        let judged = rows(self.ranker.score(&shown.collect::<Vec<_>>(), cx)?)?;
        let num_items = found.first().map_or(0, Vec::len);
        let mut all = Vec::with_capacity(queries.len() * num_items);
        for ((mut scores, best), judged) in found.into_iter().zip(&best).zip(&judged) {
            let highest = scores.iter().copied().filter(|score| score.is_finite()).fold(0.0, f32::max);
            // Far enough from the highest to be told apart from it in 32 bits.
            let step = (highest * 1e-3).max(1.0);
            let mut order: Vec<f32> = best.iter().map(|item| judged[*item as usize]).collect();
            order.sort_unstable_by(f32::total_cmp);
            order.dedup();
            for item in best {
                let level = order.partition_point(|score| *score < judged[*item as usize]);
                scores[*item as usize] = highest + step * (level + 1) as f32;
            }
            all.extend(scores);
        }
        Ok(Tensor::from_data(TensorData::new(all, [queries.len(), num_items]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.retriever.save(&made(folder.join("retriever"))?)?;
        self.ranker.save(&made(folder.join("ranker"))?)
    }
}

/// The rows of `[queries, items]`.
fn rows(scores: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, num_items] = scores.dims();
    let values: Vec<f32> = scores.into_data().iter::<f32>().collect();
    match values.iter().any(|value| value.is_nan()) {
        true => Err(Error::new("a stage gave scores that are not numbers").at("recommender.rerank")),
        false => Ok(values.chunks(num_items.max(1)).map(<[f32]>::to_vec).collect()),
    }
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder).explain("making a folder", folder.display())?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, train};

    /// Gives each item what it says here.
    struct Fixed(Vec<f32>);

    impl Scorer for Fixed {
        fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
            let all = queries.iter().flat_map(|_| self.0.clone()).collect();
            Ok(Tensor::from_data(TensorData::new(all, [queries.len(), self.0.len()]), &cx.device))
        }
        fn save(&self, _: &Path) -> Result<()> {
            Ok(())
        }
    }

    fn order(retriever: &[f32], ranker: &[f32], query: Query, mask_seen: bool) -> Vec<usize> {
        let (cx, _folder) = context();
        let fixed = |scores: &[f32]| Box::new(Fixed(scores.to_vec()));
        let stages = Stages { retriever: fixed(retriever), ranker: fixed(ranker), depth: 2, mask_seen };
        let scores: Vec<f32> = stages.score(&[query], &cx).expect("scores").into_data().iter::<f32>().collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        order
    }

    #[test]
    fn what_is_found_is_put_in_the_rankers_order_above_the_rest() {
        let query = Query { history: &[4], seen: &[4], ..Query::default() };
        let (retriever, ranker) = ([1e6, 5.0, 4.0, 1.0, 2e6], [0.0, 9.0, 8.0, 99.0, 1.0]);
        assert_eq!(order(&retriever, &ranker, query, false), [4, 0, 1, 2, 3]);
        assert_eq!(order(&retriever, &ranker, query, true)[..2], [1, 0]);
        let few = Query { candidates: Some(&[1, 2, 3]), ..query };
        assert_eq!(order(&retriever, &ranker, few, false)[..2], [1, 2]);
    }

    #[test]
    fn a_ranker_cannot_exceed_the_retrievers_hits() {
        let (cx, folder) = context();
        let train = train(6, &[&[0, 1, 2], &[1, 2, 3], &[2, 3, 4]]);
        let model = Rerank { retriever: Pick::named("popularity"), ranker: Pick::named("markov"), depth: 2 };
        let scorer = model.fit(&train, &cx).expect("it fits");
        scorer.save(folder.path()).expect("it is saved");
        let loaded = model.load(folder.path(), &train, &cx).expect("it is read");
        let queries: Vec<_> = (0..3).map(|n| train.validation.query(n)).collect();
        let hits = |scorer: &dyn Scorer| -> Vec<bool> {
            let rows = rows(scorer.score(&queries, &cx).expect("scores")).expect("numbers");
            let hit = |(row, target): (&Vec<f32>, &u32)| {
                row.iter().filter(|score| **score > row[*target as usize]).count() < 2
            };
            rows.iter().zip(&train.validation.targets).map(hit).collect()
        };
        let popularity: Pick<dyn Recommender> = Pick::named("popularity");
        let retriever = popularity.fit(&train, &cx).expect("it fits");
        assert_eq!(hits(&*scorer), hits(&*loaded));
        assert_eq!(hits(&*scorer), hits(&*retriever), "hr@depth is the retriever's");
    }
}
