//! Ranks of the targets among all items, computed on the device a batch at a time; the catalogue is never sorted here.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::metrics::Rank;
use crate::protocol::Cases;
use crate::roles::{Query, Scorer};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// What a recommender did with each case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// User indices.
    pub users: Vec<u32>,
    /// Where each case's target came.
    pub ranks: Vec<Rank>,
    /// The best items of each case, best first, as deep as the evaluator asked.
    pub lists: Vec<Vec<u32>>,
    /// The size of the catalogue.
    pub num_items: usize,
}

/// What an evaluator made of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Metrics with a value for each case, in the order of `Outcomes::users`.
    pub per_user: Vec<(String, Vec<f64>)>,
    /// Metrics of the test set as a whole.
    pub overall: Vec<(String, f64)>,
}

impl Scores {
    /// With `suffix` after every metric's name.
    #[must_use]
    pub fn named(mut self, suffix: &str) -> Self {
        self.per_user.iter_mut().for_each(|(name, _)| *name += suffix);
        self.overall.iter_mut().for_each(|(name, _)| *name += suffix);
        self
    }
}

/// Ranks every case's target among all `num_items` items; lists are `depth` deep.
pub fn rank(scorer: &dyn Scorer, cases: &Cases, num_items: usize, depth: usize, cx: &Context) -> Result<Outcomes> {
    let mut outcomes = Outcomes { users: cases.users.clone(), num_items, ..Outcomes::default() };
    let bar = cx.bar("ranking", cases.len());
    for start in (0..cases.len()).step_by(cx.batch_size) {
        cx.proceed()?;
        let batch: Vec<usize> = (start..cases.len().min(start + cx.batch_size)).collect();
        let queries: Vec<Query> = batch.iter().map(|n| cases.query(*n)).collect();
        let scores = scorer.score(&queries, cx)?;
        if scores.dims() != [batch.len(), num_items] {
            return Err(Error::new(format!("scores of shape {:?}, not {:?}", scores.dims(), [batch.len(), num_items]))
                .at("recommender")
                .fix("Scorer::score gives one row per query and one column per item"));
        }
        let masked = masked(cases, &batch, num_items, &scores.device());
        let scores = match &masked {
            Some(masked) => scores.mask_fill(masked.clone(), f32::NEG_INFINITY),
            None => scores,
        };
        let hidden = masked.map(|masked| masked.int().sum_dim(1));
        outcomes.ranks.extend(ranks(scores.clone(), hidden, cases, &batch, num_items)?);
        if depth > 0 {
            outcomes.lists.extend(best(scores, depth.min(num_items))?);
        }
        bar.advance(batch.len());
    }
    Ok(outcomes)
}

/// `[cases, items]`: the items that the ranking leaves out. A target is never left out, even if seen before.
fn masked(cases: &Cases, batch: &[usize], num_items: usize, device: &Device) -> Option<Tensor<2, Bool>> {
    let sampled = !cases.candidates.is_empty();
    if !cases.mask_seen && !sampled {
        return None;
    }
    let mut mask = vec![sampled; batch.len() * num_items];
    for (row, case) in batch.iter().enumerate() {
        let row = &mut mask[row * num_items..][..num_items];
        match cases.candidates.get(*case) {
            Some(candidates) => candidates.iter().for_each(|item| row[*item as usize] = false),
            None => cases.histories[*case].iter().for_each(|item| row[*item as usize] = true),
        }
        row[cases.targets[*case] as usize] = false;
    }
    Some(Tensor::from_data(TensorData::new(mask, [batch.len(), num_items]), device))
}

/// Counts, on the device, the items above each target and those tied with it.
fn ranks(
    scores: Tensor<2>,
    hidden: Option<Tensor<2, Int>>,
    cases: &Cases,
    batch: &[usize],
    num_items: usize,
) -> Result<Vec<Rank>> {
    let targets: Vec<i64> = batch.iter().map(|case| i64::from(cases.targets[*case])).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [batch.len(), 1]), &scores.device());
    let target = scores.clone().gather(1, targets);
    let unusable = integers(target.clone().is_finite().bool_not().int())?.iter().sum::<i64>()
        + integers(scores.clone().is_nan().int().sum_dim(1))?.iter().sum::<i64>();
    if unusable > 0 {
        return Err(Error::new("the recommender gave scores that are not numbers")
            .at("recommender")
            .fix("a lower learning_rate: a diverged model scores NaN"));
    }
    let above = integers(scores.clone().greater(target.clone()).int().sum_dim(1))?;
    let equal = integers(scores.equal(target).int().sum_dim(1))?;
    let hidden = hidden.map_or(Ok(vec![0; batch.len()]), integers)?;
    let rank = |((above, equal), hidden): ((i64, i64), i64)| Rank {
        above: above as u32,
        tied: (equal - 1).max(0) as u32,
        candidates: (num_items as i64 - hidden) as u32,
    };
    Ok(above.into_iter().zip(equal).zip(hidden).map(rank).collect())
}

fn best(scores: Tensor<2>, depth: usize) -> Result<Vec<Vec<u32>>> {
    let (_, items) = scores.topk_with_indices(depth, 1);
    let items = integers(items)?;
    Ok(items.chunks(depth).map(|row| row.iter().map(|item| *item as u32).collect()).collect())
}

/// The values of an integer tensor, row by row.
pub fn integers(tensor: Tensor<2, Int>) -> Result<Vec<i64>> {
    let data = tensor.into_data().convert::<i64>();
    data.try_to_vec().map_err(|error| Error::new(format!("reading integers back from the device: {error:?}")))
}
