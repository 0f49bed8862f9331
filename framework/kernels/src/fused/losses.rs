//! Scores against item embeddings and what a loss needs of them.
//!
//! The logits `[n, items]` are the largest tensors of a training step; the graph would keep several of them. Here they
//! live a cache-sized block at a time.

use super::gradient::{self, Values};
use super::products::multiply;
use super::vector::{self, vectorized};
use crate::rng::Rng;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

/// Rows of logits that are computed together; `[BLOCK, items]` should fit a core's cache.
const BLOCK: usize = 128;

/// The mean over `n` rows of `-log softmax(states . items)[target]`.
///
/// `states` `[n, hidden]`, `items` `[items, hidden]`, `targets` `[n]`.
pub fn cross_entropy(states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [n] = targets.dims();
    let scales = vec![1.0 / n as f32; n];
    weighted_cross_entropy(states, items, targets, scales)
}

/// The sum over `n` rows of `-log softmax(states . items)[target]` times the row's scale.
///
/// `states` `[n, hidden]`, `items` `[items, hidden]`, `targets` `[n]`, `n` scales.
pub fn weighted_cross_entropy(
    states: Tensor<2>,
    items: Tensor<2>,
    targets: Tensor<1, Int>,
    scales: Vec<f32>,
) -> Tensor<1> {
    if !gradient::applies(&states) {
        let log_p = log_softmax(states.matmul(items.transpose()), 1);
        let scales = Tensor::<2>::from_data(TensorData::new(scales, [targets.dims()[0], 1]), &targets.device());
        return (log_p.gather(1, targets.unsqueeze_dim(1)) * scales).sum().neg();
    }
    let targets: Vec<usize> = targets.into_data().iter::<i64>().map(|target| target as usize).collect();
    let [num_items, hidden] = items.dims();
    let (rows, columns) = (Values::of(states.clone()), Values::of(items.clone()));
    let columns = MatRef::from_row_major_slice(&columns, num_items, hidden);
    let mut logits = vec![0.0; BLOCK.min(targets.len()) * num_items];
    let (mut value, mut d_states) = (0.0, vec![0.0; rows.len()]);
    let mut d_items = gradient::is_tracked(&items).then(|| vec![0.0; num_items * hidden]);
    let blocks = targets.chunks(BLOCK).zip(scales.chunks(BLOCK)).zip(rows.chunks(BLOCK * hidden));
    for (((wanted, scales), rows), d_rows) in blocks.zip(d_states.chunks_mut(BLOCK * hidden)) {
        let n = wanted.len();
        let rows = MatRef::from_row_major_slice(rows, n, hidden);
        let logits = &mut logits[..n * num_items];
        multiply(MatMut::from_row_major_slice_mut(logits, n, num_items), Accum::Replace, rows, columns.transpose());
        value += softmax_minus_target(logits, wanted, scales);
        let d_logits = MatRef::from_row_major_slice(logits, n, num_items);
        if let Some(d_items) = &mut d_items {
            let d_items = MatMut::from_row_major_slice_mut(d_items, num_items, hidden);
            multiply(d_items, Accum::Add, d_logits.transpose(), rows);
        }
        multiply(MatMut::from_row_major_slice_mut(d_rows, n, hidden), Accum::Replace, d_logits, columns);
    }
    match d_items {
        Some(d_items) => scalar([states, items], value, [d_states, d_items]),
        None => scalar([states], value, [d_states]),
    }
}

/// A loss over the scores of a few candidates per row.
///
/// `states` `[n, hidden]`, `items` `[items, hidden]`, `candidates` `[n, m]` item indices; `loss` maps scores `[n, m]` to
/// one number by differentiable operations.
pub fn candidates_loss(
    states: Tensor<2>,
    items: Tensor<2>,
    candidates: Tensor<2, Int>,
    loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
) -> Tensor<1> {
    let ([n, m], [_, hidden]) = (candidates.dims(), states.dims());
    if !gradient::applies(&states) {
        let candidates = items.select(0, candidates.reshape([n * m])).reshape([n, m, hidden]);
        return loss((states.unsqueeze_dim::<3>(1) * candidates).sum_dim(2).squeeze_dim(2));
    }
    let candidates: Vec<usize> = candidates.into_data().iter::<i64>().map(|item| item as usize).collect();
    let (h, e) = (Values::of(states.clone()), Values::of(items.clone()));
    let scores = dots(&h, &e, &candidates, hidden);
    let flat = |x: Tensor<2>| {
        let len = x.shape().num_elements();
        x.reshape([len])
    };
    loss(gradient::node([flat(states), flat(items)], scores, [n, m], move |d| {
        dots_backward(&h, &e, &candidates, d, hidden)
    }))
}

/// Candidates `[n, 1 + count]` for `targets` `[n]`: the target, then `count` other items of `num_items`, uniform.
pub fn with_negatives(targets: Tensor<1, Int>, num_items: usize, count: usize, rng: &mut Rng) -> Tensor<2, Int> {
    let device = targets.device();
    let targets: Vec<i64> = targets.into_data().iter().collect();
    let mut candidates = Vec::with_capacity(targets.len() * (1 + count));
    for target in &targets {
        candidates.push(*target);
        candidates.extend((0..count).map(|_| {
            let other = rng.below(num_items.max(2) - 1) as i64;
            other + i64::from(other >= *target)
        }));
    }
    Tensor::from_data(TensorData::new(candidates, [targets.len(), 1 + count]), &device)
}

/// A number whose gradients by `inputs` are known already.
fn scalar<const N: usize>(inputs: [Tensor<2>; N], value: f64, gradients: [Vec<f32>; N]) -> Tensor<1> {
    let inputs = inputs.map(|input| {
        let len = input.shape().num_elements();
        input.reshape([len])
    });
    gradient::node(inputs, vec![value as f32], [1], move |d| {
        gradients.each_ref().map(|gradient| gradient.iter().map(|x| x * d[0]).collect())
    })
}

/// Turns rows of `logits` into `scale * (softmax - one-hot target)`; gives the sum of the rows' scaled cross-entropies.
fn softmax_minus_target(logits: &mut [f32], targets: &[usize], scales: &[f32]) -> f64 {
    let width = logits.len() / targets.len().max(1);
    let rows = logits.par_chunks_mut(width).zip(targets).zip(scales).map(|((row, target), scale)| {
        let score = row[*target];
        let (max, sum) = softmax(row, *scale);
        row[*target] -= scale;
        f64::from(*scale) * (f64::from(max) + f64::from(sum).ln() - f64::from(score))
    });
    // Summed in order, whatever the number of threads.
    rows.collect::<Vec<f64>>().into_iter().sum()
}

vectorized! {
    fn softmax<'a>[_](row: &'a mut [f32], scale: f32) -> (f32, f32) {
        vector::softmax(row, scale)
    }
}

/// The dot product of each row of `h` with its candidates' rows of `e`, all `hidden` wide.
fn dots(h: &[f32], e: &[f32], candidates: &[usize], hidden: usize) -> Vec<f32> {
    let per_row = candidates.len() / (h.len() / hidden).max(1);
    let mut scores = vec![0.0; candidates.len()];
    let rows = scores.par_chunks_mut(per_row).zip(candidates.par_chunks(per_row)).zip(h.par_chunks(hidden));
    rows.with_min_len(64).for_each(|((scores, candidates), h)| dots_of_row(h, e, candidates, scores));
    scores
}

vectorized! {
    fn dots_of_row<'a>[_](h: &'a [f32], e: &'a [f32], candidates: &'a [usize], scores: &'a mut [f32]) -> () {
        for (score, item) in scores.iter_mut().zip(candidates) {
            *score = vector::dot(h, &e[item * h.len()..][..h.len()]);
        }
    }
}

/// The gradients of `dots` by `h` and by `e`.
fn dots_backward(h: &[f32], e: &[f32], candidates: &[usize], d: &[f32], hidden: usize) -> [Vec<f32>; 2] {
    let per_row = candidates.len() / (h.len() / hidden).max(1);
    let (mut d_h, mut d_e) = (vec![0.0; h.len()], vec![0.0; e.len()]);
    // One thread: rows share candidates, and the order of the sums must not change.
    let rows = h.chunks(hidden).zip(candidates.chunks(per_row)).zip(d.chunks(per_row));
    for (d_h, ((h, candidates), d)) in d_h.chunks_mut(hidden).zip(rows) {
        dots_of_row_backward(h, e, candidates, d, d_h, &mut d_e);
    }
    [d_h, d_e]
}

vectorized! {
    /// The part of one row: `d_h` is its own, `d_e` that of all items.
    fn dots_of_row_backward<'a>[_](
        h: &'a [f32],
        e: &'a [f32],
        candidates: &'a [usize],
        d: &'a [f32],
        d_h: &'a mut [f32],
        d_e: &'a mut [f32],
    ) -> () {
        for (item, d) in candidates.iter().zip(d) {
            let e = &e[item * h.len()..][..h.len()];
            let d_e = &mut d_e[item * h.len()..][..h.len()];
            for ((d_h, h), (d_e, e)) in d_h.iter_mut().zip(h).zip(d_e.iter_mut().zip(e)) {
                *d_h = d.mul_add(*e, *d_h);
                *d_e = d.mul_add(*h, *d_e);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{candidates_loss, cross_entropy, with_negatives};
    use crate::rng::Rng;
    use burn::tensor::activation::{log_sigmoid, log_softmax};
    use burn::tensor::{Device, Int, Tensor, TensorData};

    fn random(rows: usize, columns: usize, seed: u64) -> Tensor<2> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex().autodiff()).require_grad()
    }

    fn targets(n: usize, items: usize) -> Tensor<1, Int> {
        let mut rng = Rng::new(5, "targets");
        let targets: Vec<i64> = (0..n).map(|_| rng.below(items) as i64).collect();
        Tensor::from_data(TensorData::new(targets, [n]), &Device::flex().autodiff())
    }

    /// Value and gradients of `loss` at random states and items.
    fn measured(n: usize, items: usize, loss: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1>) -> Vec<f32> {
        let (h, e) = (random(n, 24, 1), random(items, 24, 2));
        // Twice the loss, so that the surrogate's gradient is seen to follow what comes after it.
        let loss = loss(h.clone(), e.clone()) * 2.0;
        let gradients = loss.backward();
        let parts = [h.grad(&gradients), e.grad(&gradients)].into_iter().flatten();
        let parts = parts.flat_map(|gradient| gradient.into_data().iter::<f32>().collect::<Vec<_>>());
        loss.inner().into_data().iter::<f32>().chain(parts).collect()
    }

    fn assert_equal(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "they differ by {worst}");
    }

    #[test]
    fn cross_entropy_agrees_with_composed_operations() {
        let targets = targets(300, 77);
        let composed = measured(300, 77, |h, e| {
            log_softmax(h.matmul(e.transpose()), 1).gather(1, targets.clone().unsqueeze_dim(1)).mean().neg()
        });
        assert_equal(&measured(300, 77, |h, e| cross_entropy(h, e, targets.clone())), &composed);
    }

    #[test]
    fn candidates_loss_agrees_with_composed_operations() {
        let candidates = with_negatives(targets(40, 30), 30, 5, &mut Rng::new(1, "negatives"));
        let loss = |scores: Tensor<2>| log_sigmoid(scores).mean().neg();
        let composed = measured(40, 30, |h, e| {
            let items = e.select(0, candidates.clone().reshape([240])).reshape([40, 6, 24]);
            loss((h.unsqueeze_dim::<3>(1) * items).sum_dim(2).squeeze_dim(2))
        });
        assert_equal(&measured(40, 30, |h, e| candidates_loss(h, e, candidates.clone(), loss)), &composed);
    }

    #[test]
    fn negatives_are_uniform_over_the_other_items() {
        let candidates = with_negatives(targets(4000, 5), 5, 4, &mut Rng::new(2, "negatives"));
        let rows: Vec<i64> = candidates.into_data().iter().collect();
        let mut counts = [[0usize; 5]; 5];
        for row in rows.chunks(5) {
            assert!(row[1..].iter().all(|item| *item != row[0] && (0..5).contains(item)));
            row[1..].iter().for_each(|item| counts[row[0] as usize][*item as usize] += 1);
        }
        for (target, counts) in counts.iter().enumerate() {
            let total: usize = counts.iter().sum();
            let even =
                |(item, count): (usize, &usize)| item == target || (*count as f64 / total as f64 - 0.25).abs() < 0.04;
            assert!(counts.iter().enumerate().all(even), "{counts:?}");
        }
    }
}
