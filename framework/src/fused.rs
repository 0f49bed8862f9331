//! Scores against item embeddings and what a loss needs of them, value and gradient at once.
//!
//! Under autodiff burn keeps every intermediate of size `[n, items]`, the largest tensors of a training step. On the
//! CPU these functions work out the gradient by hand, a cache-sized block at a time; elsewhere they compose burn's
//! operations. Both give the same numbers (see the tests).

use crate::host;
use crate::rng::Rng;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

/// Rows of logits that are computed together; `[BLOCK, items]` should fit a core's cache.
const BLOCK: usize = 256;

/// The mean over `n` rows of `-log softmax(states . items)[target]`.
///
/// `states` `[n, hidden]`, `items` `[items, hidden]`, `targets` `[n]`.
pub fn cross_entropy(states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    if !host::holds(&states.device()) || !states.is_autodiff() {
        let log_p = log_softmax(states.matmul(items.transpose()), 1);
        return log_p.gather(1, targets.unsqueeze_dim(1)).mean().neg();
    }
    let targets: Vec<usize> = targets.into_data().iter::<i64>().map(|target| target as usize).collect();
    let [n, _] = states.dims();
    let (plain_states, plain_items) = (states.clone().inner(), items.clone().inner());
    let across = plain_items.clone().transpose();
    let (mut value, mut d_states, mut d_items) = (0.0, Vec::new(), Tensor::zeros_like(&plain_items));
    for (block, targets) in targets.chunks(BLOCK).enumerate() {
        let rows = plain_states.clone().narrow(0, block * BLOCK, targets.len());
        let logits = rows.clone().matmul(across.clone());
        let shape = logits.shape();
        let mut logits: Vec<f32> = logits.into_data().try_into_vec().expect("logits are floats");
        value += softmax_minus_target(&mut logits, targets, 1.0 / n as f32);
        let d_logits = Tensor::<2>::from_data(TensorData::new(logits, shape), &plain_items.device());
        d_items = d_items + d_logits.clone().transpose().matmul(rows);
        d_states.push(d_logits.matmul(plain_items.clone()));
    }
    with_gradients(value / n as f64, states, Tensor::cat(d_states, 0), items, d_items)
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
    let [n, m] = candidates.dims();
    let [_, hidden] = states.dims();
    if !host::holds(&states.device()) || !states.is_autodiff() {
        let candidates = items.select(0, candidates.reshape([n * m])).reshape([n, m, hidden]);
        return loss((states.unsqueeze_dim::<3>(1) * candidates).sum_dim(2).squeeze_dim(2));
    }
    let candidates: Vec<usize> = candidates.into_data().iter::<i64>().map(|item| item as usize).collect();
    let floats = |tensor: Tensor<2>| tensor.into_data().try_into_vec::<f32>().expect("embeddings are floats");
    let (h, e) = (floats(states.clone().inner()), floats(items.clone().inner()));
    let scores = TensorData::new(dots(&h, &e, &candidates, hidden), [n, m]);
    let scores = Tensor::<2>::from_data(scores, &states.device()).require_grad();
    let value = loss(scores.clone());
    let mut gradients = value.backward();
    let value: f64 = value.inner().into_data().iter::<f64>().sum();
    let Some(d_scores) = scores.grad_remove(&mut gradients) else {
        return states.sum() * 0.0 + value;
    };
    let (d_h, d_e) = dots_backward(&h, &e, &candidates, &floats(d_scores), hidden);
    let device = states.device().inner();
    let d_states = Tensor::from_data(TensorData::new(d_h, states.shape()), &device);
    let d_items = Tensor::from_data(TensorData::new(d_e, items.shape()), &device);
    with_gradients(value, states, d_states, items, d_items)
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

/// A tensor of value `value` whose gradient by `a` is `d_a` and by `b` is `d_b`, without a custom node in the graph:
/// `value + s - detached s` with `s = sum(a * d_a) + sum(b * d_b)`.
fn with_gradients(value: f64, a: Tensor<2>, d_a: Tensor<2>, b: Tensor<2>, d_b: Tensor<2>) -> Tensor<1> {
    let s = (a * Tensor::from_inner(d_a)).sum() + (b * Tensor::from_inner(d_b)).sum();
    s.clone() - s.detach() + value
}

/// Turns rows of `logits` into `scale * (softmax - one-hot target)`; gives the sum of the rows' cross-entropies.
fn softmax_minus_target(logits: &mut [f32], targets: &[usize], scale: f32) -> f64 {
    let width = logits.len() / targets.len().max(1);
    let rows = logits.par_chunks_mut(width).zip(targets).map(|(row, target)| {
        let score = row[*target];
        let (max, sum) = pulp::Arch::new().dispatch(|| softmax(row, scale));
        row[*target] -= scale;
        f64::from(max) + f64::from(sum).ln() - f64::from(score)
    });
    // Summed in order, whatever the number of threads.
    rows.collect::<Vec<f64>>().into_iter().sum()
}

/// Turns `row` into `scale * softmax(row)`; gives its maximum and the sum of `exp(x - max)`.
#[inline(always)]
fn softmax(row: &mut [f32], scale: f32) -> (f32, f32) {
    let max = fold(row, f32::NEG_INFINITY, |lane, x| if *x > lane { *x } else { lane }, f32::max);
    let sum = fold_mut(row, |x| {
        *x = exp(*x - max);
        *x
    });
    let factor = scale / sum;
    row.iter_mut().for_each(|x| *x *= factor);
    (max, sum)
}

/// Lanes that a sum or maximum is kept in; without them the order of the operations would forbid vector instructions.
const LANES: usize = 32;

#[inline(always)]
fn fold(values: &[f32], start: f32, step: impl Fn(f32, &f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, value);
        }
    }
    let rest = rest.iter().fold(start, &step);
    lanes.into_iter().fold(rest, join)
}

#[inline(always)]
fn fold_mut(values: &mut [f32], value: impl Fn(&mut f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += value(x);
        }
    }
    rest.iter_mut().map(value).sum::<f32>() + lanes.iter().sum::<f32>()
}

/// `e^x` for `x <= 0` to 2e-7 relative: `2^n * p(r)` with `x = n ln 2 + r` (Cody and Waite, 1980).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the integer in the low bits of the mantissa.
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// The dot product of each row of `h` with its candidates' rows of `e`, all `hidden` wide.
fn dots(h: &[f32], e: &[f32], candidates: &[usize], hidden: usize) -> Vec<f32> {
    let per_row = candidates.len() / (h.len() / hidden).max(1);
    let mut scores = vec![0.0; candidates.len()];
    let rows =
        scores.par_chunks_mut(per_row.max(1)).zip(candidates.par_chunks(per_row.max(1))).zip(h.par_chunks(hidden));
    rows.with_min_len(64).for_each(|((scores, candidates), h)| {
        pulp::Arch::new().dispatch(|| {
            for (score, item) in scores.iter_mut().zip(candidates) {
                *score = dot(h, &e[item * hidden..][..hidden]);
            }
        });
    });
    scores
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let mut lanes = [0.0f32; WIDTH];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>());
    for (a, b) in a.iter().zip(b) {
        for n in 0..WIDTH {
            lanes[n] += a[n] * b[n];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The gradients of `dots` by `h` and by `e`.
fn dots_backward(h: &[f32], e: &[f32], candidates: &[usize], d: &[f32], hidden: usize) -> (Vec<f32>, Vec<f32>) {
    let per_row = (candidates.len() / (h.len() / hidden).max(1)).max(1);
    let (mut d_h, mut d_e) = (vec![0.0; h.len()], vec![0.0; e.len()]);
    let rows = d_h.chunks_mut(hidden).zip(h.chunks(hidden)).zip(candidates.chunks(per_row).zip(d.chunks(per_row)));
    // One thread: rows share candidates, and the order of the sums must not change.
    pulp::Arch::new().dispatch(|| {
        for ((d_h, h), (candidates, d)) in rows {
            for (item, d) in candidates.iter().zip(d) {
                let place = item * hidden..(item + 1) * hidden;
                d_h.iter_mut().zip(&e[place.clone()]).for_each(|(d_h, e)| *d_h += d * e);
                d_e[place].iter_mut().zip(h).for_each(|(d_e, h)| *d_e += d * h);
            }
        }
    });
    (d_h, d_e)
}

#[cfg(test)]
mod tests {
    use super::{candidates_loss, cross_entropy, exp, with_negatives};
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
    fn exp_is_exact_enough() {
        for n in 0..=8700 {
            let x = -f64::from(n) / 100.0;
            let relative = f64::from(exp(x as f32)) / f64::from(x as f32).exp() - 1.0;
            assert!(relative.abs() < 3e-7, "exp({x}) is off by {relative}");
        }
        assert_eq!(exp(0.0), 1.0);
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
