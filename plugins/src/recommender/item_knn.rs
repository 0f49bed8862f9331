//! Items like those that the user chose.

use crate::baskets::baskets;
use burn::tensor::{Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::Path;

plugin! {
    /// Item-based nearest neighbors: ranks items by how similar they are to those of the user's history.
    ///
    /// `score(i) = sum of s(i, j) over the history's items j that are neighbors of i`, with the cosine of their users,
    /// shrunk: `s(i, j) = both(i, j) / (sqrt(users(i) * users(j)) + shrinkage)`. Shrinkage keeps items that few users
    /// share from being similar by chance.
    ///
    /// Sarwar et al., WWW 2001; Deshpande and Karypis, ACM TOIS 2004. Once tuned it beats many neural recommenders
    /// (Ferrari Dacrema et al., RecSys 2019, arXiv 1907.06902). The defaults of `neighbors` and `shrinkage` are those
    /// of that paper's code, which tunes them from 5 to 1000 and from 0 to 1000; RecBole's are 100 and 0.
    ///
    /// As in both, neighbors are those of the item that is scored; Deshpande and Karypis keep those of the history's
    /// items, which gives other scores. Choices are binary: one that is repeated counts once. Items without a neighbor
    /// in the history all score 0. The papers know no order; `decay` is an addition.
    struct ItemKnn: Recommender = "item_knn" {
        /// How many items, the most similar ones, are an item's neighbors.
        #[range(1..=100_000)]
        neighbors: usize = 50,
        /// What is added to the cosine's denominator, in users.
        #[range(0.0..=1e6)]
        shrinkage: f64 = 100.0,
        /// The share of its weight that an item of the history loses with every later interaction; 0 weighs all alike.
        #[range(0.0..1.0)]
        decay: f64 = 0.0,
    }
}

const FILE: &str = "similarities.safetensors";

/// For each item, those whose neighbor it is, and how similar they are.
struct Neighborhoods {
    neighbor_of: Vec<Vec<(u32, f32)>>,
    decay: f64,
}

impl Recommender for ItemKnn {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let nearest = nearest(&baskets(train), train.num_items(), self.neighbors, self.shrinkage);
        Ok(Box::new(Neighborhoods::new(&nearest, self.decay)))
    }

    fn load(&self, folder: &Path, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
        let stored = tensors.remove("similarities");
        let (_, rows) = stored.ok_or_else(|| Error::new("no `similarities` in it").at(FILE))?;
        let mut neighbor_of = vec![Vec::new(); train.num_items()];
        for row in rows.chunks_exact(3) {
            neighbor_of[row[0] as usize].push((row[1] as u32, row[2]));
        }
        Ok(Box::new(Neighborhoods { neighbor_of, decay: self.decay }))
    }
}

/// Each item's nearest items with their similarities, the most similar first; equal ones by their index.
///
/// An item's counts are of the items that its users chose, so memory is taken for pairs that occur, not for all.
fn nearest(baskets: &[Vec<u32>], num_items: usize, neighbors: usize, shrinkage: f64) -> Vec<Vec<(u32, f32)>> {
    let mut users = vec![Vec::new(); num_items];
    for (user, basket) in baskets.iter().enumerate() {
        basket.iter().for_each(|item| users[*item as usize].push(user));
    }
    let of = |counts: &mut Vec<u32>, item: usize| {
        let mut seen = Vec::new();
        for other in users[item].iter().flat_map(|user| &baskets[*user]) {
            if counts[*other as usize] == 0 {
                seen.push(*other);
            }
            counts[*other as usize] += 1;
        }
        let similarity = |other: u32| {
            // Leaves the counts at zero for the next item.
            let both = f64::from(std::mem::take(&mut counts[other as usize]));
            let norms = (users[item].len() as f64 * users[other as usize].len() as f64).sqrt();
            (other, (both / (norms + shrinkage)) as f32)
        };
        let mut near: Vec<(u32, f32)> = seen.into_iter().map(similarity).collect();
        near.retain(|(other, _)| *other as usize != item);
        near.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        near.truncate(neighbors);
        near
    };
    (0..num_items).into_par_iter().map_init(|| vec![0; num_items], of).collect()
}

impl Neighborhoods {
    fn new(nearest: &[Vec<(u32, f32)>], decay: f64) -> Self {
        let mut neighbor_of = vec![Vec::new(); nearest.len()];
        for (item, near) in nearest.iter().enumerate() {
            near.iter().for_each(|(other, similarity)| neighbor_of[*other as usize].push((item as u32, *similarity)));
        }
        Self { neighbor_of, decay }
    }

    fn scores(&self, history: &[u32]) -> Vec<f32> {
        let mut scores = vec![0.0; self.neighbor_of.len()];
        let mut counted = HashSet::new();
        for (later, item) in history.iter().rev().enumerate().filter(|(_, item)| counted.insert(**item)) {
            let weight = (1.0 - self.decay).powi(later as i32) as f32;
            let similar = &self.neighbor_of[*item as usize];
            similar.iter().for_each(|(other, similarity)| scores[*other as usize] += weight * similarity);
        }
        scores
    }
}

impl Scorer for Neighborhoods {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let scores: Vec<f32> = queries.iter().flat_map(|query| self.scores(query.history)).collect();
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.neighbor_of.len()]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        // Item indices below 2^24 are exact in f32; catalogues are smaller.
        let row = |(neighbor, of): (usize, &Vec<(u32, f32)>)| {
            of.iter().flat_map(|(item, similarity)| [neighbor as f32, *item as f32, *similarity]).collect::<Vec<_>>()
        };
        let rows: Vec<f32> = self.neighbor_of.iter().enumerate().flat_map(row).collect();
        let tensors = Tensors::from([("similarities".to_string(), (vec![rows.len() / 3, 3], rows))]);
        checkpoint::write(&folder.join(FILE), &tensors, "")
    }
}

#[cfg(test)]
mod tests {
    use super::{ItemKnn, Neighborhoods, nearest};
    use crate::fixture::{context, cycle};
    use framework::plugin::defaults;
    use framework::roles::{Query, Recommender, Scorer};

    /// Item 0 has four users; one of them chose item 1 too, two chose item 2.
    fn four_users() -> [Vec<u32>; 4] {
        [vec![0, 1], vec![0, 2], vec![0, 2], vec![0]]
    }

    /// The similarity of items 0 and 2 with a shrinkage of 2.
    fn of_two() -> f32 {
        (2.0 / (8f64.sqrt() + 2.0)) as f32
    }

    #[test]
    fn cosines_are_shrunk_and_the_largest_kept() {
        let near = nearest(&four_users(), 3, 2, 2.0);
        assert_eq!(near, [vec![(2, of_two()), (1, 0.25)], vec![(0, 0.25)], vec![(0, of_two())]]);
        assert_eq!(nearest(&four_users(), 3, 1, 2.0)[0], [(2, of_two())]);
        // All three are equally similar.
        assert_eq!(nearest(&[vec![0, 1, 2]], 3, 1, 0.0), [vec![(1, 1.0)], vec![(0, 1.0)], vec![(0, 1.0)]]);
    }

    #[test]
    fn older_items_weigh_less_and_repeated_ones_count_once() {
        let near = nearest(&four_users(), 3, 2, 2.0);
        assert_eq!(Neighborhoods::new(&near, 0.0).scores(&[0, 1]), [0.25, 0.25, of_two()]);
        assert_eq!(Neighborhoods::new(&near, 0.5).scores(&[0, 1]), [0.25, 0.125, 0.5 * of_two()]);
        assert_eq!(Neighborhoods::new(&near, 0.5).scores(&[0, 1, 0]), [0.125, 0.25, of_two()]);
        // Item 2 is the only neighbor of item 0, and item 1 is nobody's.
        let near = nearest(&four_users(), 3, 1, 2.0);
        assert_eq!(Neighborhoods::new(&near, 0.0).scores(&[1]), [0.0; 3]);
    }

    #[test]
    fn with_decay_it_finds_the_next_step_and_so_does_its_checkpoint() {
        let (cx, _folder) = context();
        let mut train = cycle(12, 60, 9);
        train.validation.mask_seen = true;
        let model = ItemKnn { decay: 0.2, ..defaults() };
        let fitted = model.fit(&train, &cx).expect("it counts");
        assert_eq!(train.validate(&*fitted, &cx).expect("it scores"), 1.0);
        fitted.save(&cx.work).expect("it is saved");
        let loaded = model.load(&cx.work, &train, &cx).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }
}
