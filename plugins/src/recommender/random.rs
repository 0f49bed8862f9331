//! Chance.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::Result;
use framework::plugin;
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::{Query, Recommender, Scorer};
use std::path::Path;

plugin! {
    /// Ranks items in a random order of each user: what any other recommender has to beat, whose `hr@k` is k over the
    /// number of candidates.
    struct Random: Recommender = "random" {}
}

struct Dice {
    rng: Rng,
    num_items: usize,
}

impl Recommender for Random {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Dice { rng: cx.rng("random ranking"), num_items: train.num_items() }))
    }

    fn load(&self, _folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        self.fit(train, cx)
    }
}

impl Scorer for Dice {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let row = |query: &Query| {
            let mut rng = self.rng.fork(u64::from(query.user));
            (0..self.num_items).map(|_| rng.uniform() as f32).collect::<Vec<_>>()
        };
        let scores: Vec<f32> = queries.iter().flat_map(row).collect();
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.num_items]), &cx.device))
    }

    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}
