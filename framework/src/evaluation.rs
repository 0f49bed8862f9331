//! Ranks of the targets among all items, computed on the device a batch at a time; the catalogue is never sorted here.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::metrics::Rank;
use crate::protocol::Cases;
use crate::roles::{Query, Scorer};
use crate::{host, ranking};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rayon::prelude::*;

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
        let scores = scored(scorer, cases, &batch, num_items, cx)?;
        let (ranks, lists) = match host::holds(&scores.device()) {
            true => in_memory(scores, cases, &batch, num_items, depth)?,
            false => on_device(scores, cases, &batch, num_items, depth)?,
        };
        outcomes.ranks.extend(ranks);
        outcomes.lists.extend(lists);
        bar.advance(batch.len());
    }
    Ok(outcomes)
}

/// The scores of a batch of cases, `[batch, items]`.
pub(crate) fn scored(
    scorer: &dyn Scorer,
    cases: &Cases,
    batch: &[usize],
    num_items: usize,
    cx: &Context,
) -> Result<Tensor<2>> {
    let queries: Vec<Query> = batch.iter().map(|n| cases.query(*n)).collect();
    let scores = scorer.score(&queries, cx)?;
    match scores.dims() == [batch.len(), num_items] {
        true => Ok(scores),
        false => Err(Error::new(format!("scores of shape {:?}, not {:?}", scores.dims(), [batch.len(), num_items]))
            .at("recommender")
            .fix("Scorer::score gives one row per query and one column per item")),
    }
}

/// The scores of a batch in main memory, row by row.
pub(crate) fn read_back(scores: Tensor<2>) -> Result<Vec<f32>> {
    let data = scores.into_data().convert::<f32>();
    data.try_into_vec().map_err(|error| Error::new(format!("reading scores back from the device: {error:?}")))
}

/// The ranks of a batch and, where `depth` is not 0, the best items of each case.
type Ranked = (Vec<Rank>, Vec<Vec<u32>>);

/// Looks at each row once, the rows in parallel: burn's CPU backend would compare and mask the whole batch in many passes
/// on one thread, and sort each row for its list.
fn in_memory(scores: Tensor<2>, cases: &Cases, batch: &[usize], num_items: usize, depth: usize) -> Result<Ranked> {
    let mut scores = read_back(scores)?;
    let ranked = scores.par_chunks_mut(num_items).zip(batch).map(|(row, case)| {
        let (target, mask_seen) = (cases.targets[*case] as usize, cases.mask_seen);
        let score = row[target];
        let silent = score == f32::NEG_INFINITY && row.iter().all(|score| *score == f32::NEG_INFINITY);
        let candidates = match cases.candidates.get(*case) {
            Some(candidates) => {
                let kept: Vec<(u32, f32)> = candidates.iter().map(|item| (*item, row[*item as usize])).collect();
                row.fill(f32::NEG_INFINITY);
                kept.iter().for_each(|(item, score)| row[*item as usize] = *score);
                candidates.len()
            }
            None if mask_seen => {
                cases.histories[*case].iter().for_each(|item| row[*item as usize] = f32::NEG_INFINITY);
                row[target] = score;
                let mut seen = cases.histories[*case].clone();
                seen.sort_unstable();
                seen.dedup();
                num_items - seen.iter().filter(|item| **item as usize != target).count()
            }
            None => num_items,
        };
        if silent {
            return Ok((last_of(candidates as u32), Vec::new()));
        }
        let [above, equal, not_numbers] = ranking::count(row, score);
        if not_numbers > 0 || !score.is_finite() {
            return Err(not_numbers_error());
        }
        let rank = Rank { above, tied: equal.saturating_sub(1), candidates: candidates as u32 };
        Ok((rank, if depth > 0 { ranking::best(row, depth.min(num_items)) } else { Vec::new() }))
    });
    let ranked: Vec<(Rank, Vec<u32>)> = ranked.collect::<Result<_>>()?;
    let (ranks, lists): (Vec<Rank>, Vec<Vec<u32>>) = ranked.into_iter().unzip();
    Ok((ranks, if depth > 0 { lists } else { Vec::new() }))
}

/// Where a target is of which nothing was recommended: below all others.
fn last_of(candidates: u32) -> Rank {
    Rank { above: candidates.saturating_sub(1), tied: 0, candidates }
}

pub(crate) fn not_numbers_error() -> Error {
    Error::new("the recommender gave scores that are not numbers")
        .at("recommender")
        .fix("a lower learning_rate: a diverged model scores NaN")
}

/// The same by tensors, where the scores are on a device that should not send them all.
fn on_device(scores: Tensor<2>, cases: &Cases, batch: &[usize], num_items: usize, depth: usize) -> Result<Ranked> {
    let silent = integers(scores.clone().max_dim(1).equal_elem(f32::NEG_INFINITY).int())?;
    let masked = masked(cases, batch, num_items, &scores.device());
    let scores = match &masked {
        Some(masked) => scores.mask_fill(masked.clone(), f32::NEG_INFINITY),
        None => scores,
    };
    let hidden = masked.map(|masked| masked.int().sum_dim(1));
    let ranks = ranks(scores.clone(), hidden, &silent, cases, batch, num_items)?;
    if depth == 0 {
        return Ok((ranks, Vec::new()));
    }
    let mut lists = best(scores, depth.min(num_items))?;
    lists.iter_mut().zip(silent).filter(|(_, silent)| *silent > 0).for_each(|(list, _)| list.clear());
    Ok((ranks, lists))
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

/// Counts, on the device, the items above each target and those tied with it; nothing was recommended where `silent` is 1.
fn ranks(
    scores: Tensor<2>,
    hidden: Option<Tensor<2, Int>>,
    silent: &[i64],
    cases: &Cases,
    batch: &[usize],
    num_items: usize,
) -> Result<Vec<Rank>> {
    let targets: Vec<i64> = batch.iter().map(|case| i64::from(cases.targets[*case])).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [batch.len(), 1]), &scores.device());
    let target = scores.clone().gather(1, targets);
    let unusable = integers(target.clone().is_finite().bool_not().int())?.iter().sum::<i64>()
        + integers(scores.clone().is_nan().int().sum_dim(1))?.iter().sum::<i64>()
        - silent.iter().sum::<i64>();
    if unusable > 0 {
        return Err(not_numbers_error());
    }
    let above = integers(scores.clone().greater(target.clone()).int().sum_dim(1))?;
    let equal = integers(scores.equal(target).int().sum_dim(1))?;
    let hidden = hidden.map_or(Ok(vec![0; batch.len()]), integers)?;
    let rank = |(((above, equal), hidden), silent): (((i64, i64), i64), &i64)| {
        let candidates = (num_items as i64 - hidden) as u32;
        match silent {
            0 => Rank { above: above as u32, tied: (equal - 1).max(0) as u32, candidates },
            _ => last_of(candidates),
        }
    };
    Ok(above.into_iter().zip(equal).zip(hidden).zip(silent).map(rank).collect())
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

#[cfg(test)]
mod tests {
    use super::{in_memory, on_device};
    use crate::metrics::Rank;
    use crate::protocol::Cases;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    /// Scores of so many levels, `[20, 30]`, and cases with candidates, masked histories, or neither.
    fn ranked(levels: usize, kind: usize) -> [super::Ranked; 2] {
        let mut rng = Rng::new(levels as u64, "test");
        let values: Vec<f32> = (0..600).map(|_| rng.below(levels) as f32).collect();
        let scores = Tensor::<2>::from_data(TensorData::new(values, [20, 30]), &Device::flex());
        let mut items = |n: usize| (0..n).map(|_| rng.below(30) as u32).collect::<Vec<u32>>();
        let mut cases = Cases { targets: items(20), mask_seen: kind == 1, ..Cases::default() };
        cases.histories = (0..20).map(|_| items(12)).collect();
        if kind == 2 {
            let set = |target: u32| (0..30).filter(|item| item % 3 == target % 3).collect();
            cases.candidates = cases.targets.iter().map(|target| set(*target)).collect();
        }
        let batch: Vec<usize> = (0..20).collect();
        [in_memory, on_device].map(|rank| rank(scores.clone(), &cases, &batch, 30, 5).expect("ranks"))
    }

    #[test]
    fn both_ways_rank_alike() {
        for kind in 0..3 {
            for levels in [4, 1_000_000] {
                let [(ranks, lists), (others, other_lists)] = ranked(levels, kind);
                assert_eq!(ranks, others, "kind {kind}, {levels} levels");
                // Which of equal scores a list holds is up to the device.
                assert!(levels == 4 || lists == other_lists, "kind {kind}");
            }
        }
    }

    #[test]
    fn who_recommends_nothing_misses() {
        let none = f32::NEG_INFINITY;
        let scores = Tensor::<2>::from_floats([[none; 3], [none, 1.0, 2.0]], &Device::flex());
        let (targets, histories) = (vec![2, 2], vec![vec![0], vec![0]]);
        let cases = Cases { targets, histories, mask_seen: true, ..Cases::default() };
        for rank in [in_memory, on_device] {
            let (ranks, lists) = rank(scores.clone(), &cases, &[0, 1], 3, 1).expect("ranks");
            assert_eq!(ranks, [Rank { above: 1, tied: 0, candidates: 2 }, Rank { above: 0, tied: 0, candidates: 2 }]);
            assert_eq!(lists, [vec![], vec![2]]);
        }
        let unfit = Tensor::<2>::from_floats([[1.0, 1.0, none]], &Device::flex());
        for rank in [in_memory, on_device] {
            assert!(rank(unfit.clone(), &cases, &[0], 3, 0).is_err(), "a target alone without a score is a mistake");
        }
    }

    #[test]
    fn scores_that_are_not_numbers_are_refused_unless_nobody_looks_at_them() {
        let scores = |bad| Tensor::<2>::from_floats([[1.0, bad, 3.0]], &Device::flex());
        let cases = |history: Vec<u32>| Cases {
            targets: vec![2],
            histories: vec![history],
            mask_seen: true,
            ..Cases::default()
        };
        for rank in [in_memory, on_device] {
            assert!(rank(scores(f32::NAN), &cases(vec![1]), &[0], 3, 0).is_ok());
            let error = rank(scores(f32::NAN), &cases(vec![0]), &[0], 3, 0).expect_err("NaN").to_string();
            assert!(error.contains("not numbers"), "{error}");
        }
    }
}
