//! What usually comes next.

use burn::tensor::{Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use std::collections::BTreeMap;
use std::path::Path;

plugin! {
    /// First-order Markov chain: ranks items by how often they followed the user's last item in training.
    ///
    /// `P(next | last) = (count(last, next) + smoothing * P(next)) / (count(last) + smoothing)`, where `P(next)` is the
    /// item's popularity: an item never seen last falls back to popularity.
    struct Markov: Recommender = "markov" {
        /// How many transitions the popularity of the next item is worth.
        #[range(0.001..=1e6)]
        smoothing: f64 = 10.0,
    }
}

const FILE: &str = "transitions.safetensors";

/// Popularity, and for each item that was followed by another: which, how often, and how often in all.
struct Chain {
    popularity: Vec<f32>,
    transitions: Vec<BTreeMap<u32, f32>>,
    smoothing: f32,
}

impl Recommender for Markov {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let mut popularity = vec![0.0; train.num_items()];
        let mut transitions = vec![BTreeMap::new(); train.num_items()];
        for sequence in &train.sequences {
            sequence.items.iter().for_each(|item| popularity[*item as usize] += 1.0);
            for pair in sequence.items.windows(2) {
                *transitions[pair[0] as usize].entry(pair[1]).or_insert(0.0) += 1.0;
            }
        }
        let total: f32 = popularity.iter().sum();
        popularity.iter_mut().for_each(|count| *count /= total.max(1.0));
        Ok(Box::new(Chain { popularity, transitions, smoothing: self.smoothing as f32 }))
    }

    fn load(&self, folder: &Path, _train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
        let mut take = |name: &str| {
            let tensor = tensors.remove(name).map(|(_, values)| values);
            tensor.ok_or_else(|| Error::new(format!("no `{name}` in it")).at(FILE))
        };
        let (popularity, rows) = (take("popularity")?, take("transitions")?);
        let mut transitions = vec![BTreeMap::new(); popularity.len()];
        for row in rows.chunks_exact(3) {
            transitions[row[0] as usize].insert(row[1] as u32, row[2]);
        }
        Ok(Box::new(Chain { popularity, transitions, smoothing: self.smoothing as f32 }))
    }
}

impl Chain {
    /// `P(next | last)` for every next item.
    fn next(&self, last: Option<&u32>) -> Vec<f32> {
        let Some(after) = last.map(|last| &self.transitions[*last as usize]) else {
            return self.popularity.clone();
        };
        let seen: f32 = after.values().sum();
        let mut scores: Vec<f32> =
            self.popularity.iter().map(|p| self.smoothing * p / (seen + self.smoothing)).collect();
        after.iter().for_each(|(next, count)| scores[*next as usize] += count / (seen + self.smoothing));
        scores
    }
}

impl Scorer for Chain {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let scores: Vec<f32> = queries.iter().flat_map(|query| self.next(query.history.last())).collect();
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.popularity.len()]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        // Item indices below 2^24 are exact in f32; catalogues are smaller.
        let row = |(last, after): (usize, &BTreeMap<u32, f32>)| {
            after.iter().flat_map(|(next, count)| [last as f32, *next as f32, *count]).collect::<Vec<_>>()
        };
        let rows: Vec<f32> = self.transitions.iter().enumerate().flat_map(row).collect();
        let tensors = Tensors::from([
            ("popularity".to_string(), (vec![self.popularity.len()], self.popularity.clone())),
            ("transitions".to_string(), (vec![rows.len() / 3, 3], rows)),
        ]);
        checkpoint::write(&folder.join(FILE), &tensors, "")
    }
}

#[cfg(test)]
mod tests {
    use super::Chain;
    use std::collections::BTreeMap;

    #[test]
    fn counts_are_smoothed_by_popularity() {
        let transitions = vec![BTreeMap::from([(1, 3.0)]), BTreeMap::new()];
        let chain = Chain { popularity: vec![0.25, 0.75], transitions, smoothing: 1.0 };
        // After item 0: (0 + .25) / (3 + 1) and (3 + .75) / (3 + 1).
        assert_eq!(chain.next(Some(&0)), [0.0625, 0.9375]);
        assert_eq!(chain.next(Some(&1)), chain.popularity);
        assert_eq!(chain.next(None), chain.popularity);
    }
}
