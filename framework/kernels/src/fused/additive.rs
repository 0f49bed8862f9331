//! The scores of additive attention (Bahdanau, Cho and Bengio, ICLR 2015) of each position for those up to it.
//!
//! Composed, the sum of every query with every key is a tensor of its own, as many times as large as the scores as
//! states are wide.

use super::gradient::{self, Values};
use super::vector::{sigmoid, vectorized};
use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

/// `weight . sigmoid(query_i + key_j)` for each position `i` and each `j` up to it; zero for later ones.
///
/// `query` and `key` `[batch, length, hidden]`, `weight` `[hidden]`; the result is `[batch, length, length]`.
pub fn additive_scores(query: Tensor<3>, key: Tensor<3>, weight: Tensor<1>) -> Tensor<3> {
    if !gradient::applies(&query) {
        return composed(query, key, weight);
    }
    let [batch, length, hidden] = query.dims();
    let (q, k, w) = (Values::of(query.clone()), Values::of(key.clone()), Values::of(weight.clone()));
    let weights: &[f32] = &w;
    let (history, square) = (length * hidden, length * length);
    let mut output = vec![0.0; batch * square];
    let histories = output.par_chunks_mut(square).zip(q.par_chunks(history)).zip(k.par_chunks(history));
    histories.for_each(|((scores, q), k)| forward(q, k, weights, scores));
    let flat = |x: Tensor<3>| x.reshape([batch * history]);
    gradient::node([flat(query), flat(key), weight], output, [batch, length, length], move |d| {
        backward([&q, &k, &w, d], length)
    })
}

fn composed(query: Tensor<3>, key: Tensor<3>, weight: Tensor<1>) -> Tensor<3> {
    let [hidden] = weight.dims();
    let sums = query.unsqueeze_dim::<4>(2) + key.unsqueeze_dim::<4>(1);
    let scores = (activation::sigmoid(sums) * weight.reshape([1, 1, 1, hidden])).sum_dim(3);
    scores.squeeze_dim::<3>(3).tril(0)
}

/// The gradients of query, key and weight, given the result's.
fn backward([q, k, weight, d]: [&[f32]; 4], length: usize) -> [Vec<f32>; 3] {
    let (history, square) = (length * weight.len(), length * length);
    let (mut d_q, mut d_k) = (vec![0.0; q.len()], vec![0.0; k.len()]);
    let inputs = q.par_chunks(history).zip(k.par_chunks(history)).zip(d.par_chunks(square));
    let histories = d_q.par_chunks_mut(history).zip(d_k.par_chunks_mut(history)).zip(inputs);
    let sums = histories.map(|((d_q, d_k), ((q, k), d))| {
        let mut d_weight = vec![0.0; weight.len()];
        backward_history([q, k, weight, d], [d_q, d_k, &mut d_weight]);
        d_weight
    });
    let mut d_weight = vec![0.0; weight.len()];
    for sum in sums.collect::<Vec<_>>() {
        d_weight.iter_mut().zip(sum).for_each(|(total, x)| *total += x);
    }
    [d_q, d_k, d_weight]
}

vectorized! {
    /// The scores of one history.
    fn forward<'a>[_](q: &'a [f32], k: &'a [f32], weight: &'a [f32], scores: &'a mut [f32]) -> () {
        let (hidden, length) = (weight.len(), q.len() / weight.len());
        for (i, (scores, q)) in scores.chunks_exact_mut(length).zip(q.chunks_exact(hidden)).enumerate() {
            for (score, k) in scores[..=i].iter_mut().zip(k.chunks_exact(hidden)) {
                *score = score_of(q, k, weight);
            }
        }
    }
}

#[inline(always)]
fn score_of(q: &[f32], k: &[f32], weight: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    let ((q, q_rest), (k, k_rest)) = (q.as_chunks::<LANES>(), k.as_chunks::<LANES>());
    let (weight, weight_rest) = weight.as_chunks::<LANES>();
    for ((q, k), weight) in q.iter().zip(k).zip(weight) {
        for n in 0..LANES {
            lanes[n] = sigmoid(q[n] + k[n]).mul_add(weight[n], lanes[n]);
        }
    }
    let rest = q_rest.iter().zip(k_rest).zip(weight_rest).map(|((q, k), weight)| sigmoid(q + k) * weight);
    lanes.iter().sum::<f32>() + rest.sum::<f32>()
}

vectorized! {
    /// The gradients of one history's query and key, and its part of the weight's.
    fn backward_history<'a>[_](inputs: [&'a [f32]; 4], gradients: [&'a mut [f32]; 3]) -> () {
        let ([q, k, weight, d], [d_q, d_k, d_weight]) = (inputs, gradients);
        let (hidden, length) = (weight.len(), q.len() / weight.len());
        let queries = q.chunks_exact(hidden).zip(d_q.chunks_exact_mut(hidden)).zip(d.chunks_exact(length));
        for (i, ((q, d_q), d)) in queries.enumerate() {
            let keys = k.chunks_exact(hidden).zip(d_k.chunks_exact_mut(hidden));
            for (d, (k, d_k)) in d[..=i].iter().zip(keys) {
                backward_score(q, k, weight, *d, d_q, d_k, d_weight);
            }
        }
    }
}

#[inline(always)]
fn backward_score(
    q: &[f32],
    k: &[f32],
    weight: &[f32],
    d: f32,
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_weight: &mut [f32],
) {
    let gradients = d_q.iter_mut().zip(d_k).zip(d_weight);
    for (((d_q, d_k), d_weight), ((q, k), weight)) in gradients.zip(q.iter().zip(k).zip(weight)) {
        let s = sigmoid(q + k);
        let slope = d * weight * s * (1.0 - s);
        *d_q += slope;
        *d_k += slope;
        *d_weight = d.mul_add(s, *d_weight);
    }
}

#[cfg(test)]
mod tests {
    use super::{additive_scores, composed};
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn it_agrees_with_composed_operations() {
        let (query, key, weight) = (random([3, 7, 21], 1), random([3, 7, 21], 2), random([21], 3));
        let weights = random([3, 7, 7], 4).detach();
        let measured = |y: Tensor<3>| {
            let gradients = (y.clone() * weights.clone()).sum().backward();
            let values = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
            let [query, key] = [&query, &key].map(|x| values(x.grad(&gradients).expect("a gradient").reshape([441])));
            let weight = values(weight.grad(&gradients).expect("a gradient"));
            [values(y.inner().reshape([147])), query, key, weight].concat()
        };
        let fused = measured(additive_scores(query.clone(), key.clone(), weight.clone()));
        let composed = measured(composed(query.clone(), key.clone(), weight.clone()));
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-4, "they differ by {worst}");
    }
}
