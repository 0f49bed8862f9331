//! Multi-head self-attention over left-padded histories, causal or not.

use super::gradient::{self, Values};
use super::vector::{self, Strided, multiply, vectorized};
use crate::noise::{Mask, Noise};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Int, Tensor};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Which positions see which: all see themselves, and none sees padding or, where that is wanted, a later one.
#[derive(Clone, Debug)]
pub struct Visible {
    /// Positions of padding at the left of each history.
    gaps: Arc<Vec<usize>>,
    causal: bool,
    /// What is added to the scores where burn's operations are composed, `[batch, 1, length, length]`.
    bias: Option<Tensor<4>>,
}

impl Visible {
    /// Each position sees those before it. `histories` `[batch, length]` are padded on the left with `padding`.
    pub fn causal(histories: &Tensor<2, Int>, padding: usize) -> Self {
        Self::new(histories, padding, true)
    }

    /// Each position sees all others. `histories` `[batch, length]` are padded on the left with `padding`.
    pub fn both_ways(histories: &Tensor<2, Int>, padding: usize) -> Self {
        Self::new(histories, padding, false)
    }

    fn new(histories: &Tensor<2, Int>, padding: usize, causal: bool) -> Self {
        if !crate::host::holds(&histories.device()) {
            return Self { gaps: Arc::default(), causal, bias: Some(bias(histories, padding, causal)) };
        }
        let [_, length] = histories.dims();
        let items: Vec<i64> = histories.clone().into_data().iter().collect();
        let gap = |row: &[i64]| row.iter().take_while(|item| **item == padding as i64).count();
        Self { gaps: Arc::new(items.chunks(length).map(gap).collect()), causal, bias: None }
    }
}

fn bias(histories: &Tensor<2, Int>, padding: usize, causal: bool) -> Tensor<4> {
    let [batch, length] = histories.dims();
    let (device, full) = (histories.device(), [batch, 1, length, length]);
    let other: Tensor<2, Bool> = Tensor::<2, Int>::eye(length, &device).equal_elem(0);
    let padding = histories.clone().equal_elem(padding as i64);
    let keys = padding.clone().reshape([batch, 1, 1, length]).expand(full);
    let queries = padding.reshape([batch, 1, length, 1]).expand(full);
    let mut hidden = keys.bool_or(queries).bool_and(other.reshape([1, 1, length, length]).expand(full));
    if causal {
        let later: Tensor<2, Bool> = Tensor::<2, Int>::ones([length, length], &device).triu(1).bool();
        hidden = hidden.bool_or(later.reshape([1, 1, length, length]).expand(full));
    }
    hidden.float() * -1e9
}

/// `softmax(query . key / sqrt(width)) . value` per head (Vaswani et al., NeurIPS 2017), weights dropped at `dropout`.
///
/// `query`, `key` and `value` `[batch, length, hidden]`, where `hidden` is `heads` times the width of a head; the
/// result has their shape.
pub fn attention(
    [query, key, value]: [Tensor<3>; 3],
    heads: usize,
    visible: &Visible,
    dropout: f64,
    noise: &mut Noise,
) -> Tensor<3> {
    let shape @ [batch, length, hidden] = query.dims();
    let width = hidden / heads;
    let scale = (width as f32).powf(-0.5);
    if let Some(bias) = &visible.bias {
        let split = |x: Tensor<3>| x.reshape([batch, length, heads, width]).swap_dims(1, 2);
        let scores = split(query * scale).matmul(split(key).transpose()) + bias.clone();
        let weights = noise.dropout(softmax(scores, 3), dropout);
        return weights.matmul(split(value)).swap_dims(1, 2).reshape(shape);
    }
    let read = |x: &Tensor<3>| Values::of(x.clone());
    let (q, k, v) = (read(&query), read(&key), read(&value));
    let (mask, gaps, causal) = (noise.mask(dropout), visible.gaps.clone(), visible.causal);
    let plan = Plan { length, hidden, heads, width, scale, mask, gaps, causal };
    let (output, weights) = plan.forward(&q, &k, &v);
    let flat = |x: Tensor<3>| x.reshape([batch * length * hidden]);
    gradient::node([flat(query), flat(key), flat(value)], output, shape, move |d| {
        plan.backward([&q, &k, &v], &weights, d)
    })
}

/// The sizes of one attention, what its positions see and which weights are dropped.
///
/// A head works on panels: matrices of one head of one history, padded with zeros to whole tiles.
struct Plan {
    length: usize,
    hidden: usize,
    heads: usize,
    width: usize,
    scale: f32,
    mask: Option<Mask>,
    gaps: Arc<Vec<usize>>,
    causal: bool,
}

impl Plan {
    /// What position `i` of history `n` sees; padding sees itself only.
    #[inline(always)]
    fn seen(&self, n: usize, i: usize) -> Range<usize> {
        let gap = self.gaps[n];
        match (i < gap, self.causal) {
            (true, _) => i..i + 1,
            (false, true) => gap..i + 1,
            (false, false) => gap..self.length,
        }
    }

    /// Where what the four positions from `i` see ends; at the length of a history or after it.
    #[inline(always)]
    fn end(&self, i: usize) -> usize {
        if self.causal { i + 4 } else { self.length }
    }

    /// The positions by which the four from `i` can be seen.
    #[inline(always)]
    fn seeing(&self, i: usize) -> Range<usize> {
        if self.causal { i..self.length } else { 0..self.length }
    }

    /// The length in whole tiles.
    fn rows(&self) -> usize {
        self.length.next_multiple_of(vector::TILE.1)
    }

    /// A head's width in whole tiles.
    fn columns(&self) -> usize {
        self.width.next_multiple_of(vector::TILE.1)
    }

    /// The result, and the weights `[batch, heads, rows, rows]`, where a dropped weight has a minus sign.
    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (history, square) = (self.length * self.hidden, self.rows() * self.rows());
        let mut output = vec![0.0; q.len()];
        let mut weights = vec![0.0; self.gaps.len() * self.heads * square];
        let histories = output.par_chunks_mut(history).zip(weights.par_chunks_mut(self.heads * square));
        histories.enumerate().for_each(|(n, (output, weights))| {
            let [q, k, v] = [q, k, v].map(|x| &x[n * history..][..history]);
            let panels = &mut Panels::new(self);
            for (head, weights) in weights.chunks_exact_mut(square).enumerate() {
                forward_head(self, [q, k, v], (n, head), panels, weights, output);
            }
        });
        (output, weights)
    }

    /// The gradients of query, key and value, given the result's.
    fn backward(&self, [q, k, v]: [&[f32]; 3], weights: &[f32], d: &[f32]) -> [Vec<f32>; 3] {
        let (history, square) = (self.length * self.hidden, self.rows() * self.rows());
        let [mut d_q, mut d_k, mut d_v] = [q, k, v].map(|x| vec![0.0; x.len()]);
        let outputs = d_q.par_chunks_mut(history).zip(d_k.par_chunks_mut(history)).zip(d_v.par_chunks_mut(history));
        outputs.enumerate().for_each(|(n, ((d_q, d_k), d_v))| {
            let inputs = [q, k, v, d].map(|x| &x[n * history..][..history]);
            let panels = &mut Panels::new(self);
            for head in 0..self.heads {
                let weights = &weights[(n * self.heads + head) * square..][..square];
                backward_head(self, inputs, head, weights, panels, [d_q, d_k, d_v]);
            }
        });
        [d_q, d_k, d_v]
    }

    /// Gives the dropped weights of head `part` a minus sign; `factors` is room for the mask.
    #[inline(always)]
    fn drop(&self, part: usize, weights: &mut [f32], factors: &mut [f32]) {
        if let Some(mask) = &self.mask {
            factors.fill(1.0);
            mask.apply(part as u64, factors);
            for (p, factor) in weights.iter_mut().zip(factors) {
                *p = if *factor > 0.0 { *p } else { -*p };
            }
        }
    }

    /// The weights after dropout.
    #[inline(always)]
    fn keep(&self, weights: &[f32], kept: &mut [f32]) {
        let scale = self.mask.as_ref().map_or(1.0, Mask::scale);
        for (kept, p) in kept.iter_mut().zip(weights) {
            *kept = if *p > 0.0 { p * scale } else { 0.0 };
        }
    }

    /// One head's part of `x` `[length, hidden]`, `[rows, columns]`.
    #[inline(always)]
    fn copy(&self, x: &[f32], head: usize, panel: &mut [f32]) {
        for (row, x) in panel.chunks_exact_mut(self.columns()).zip(x.chunks_exact(self.hidden)) {
            row[..self.width].copy_from_slice(&x[head * self.width..][..self.width]);
        }
    }

    /// The same transposed, `[columns, rows]`.
    #[inline(always)]
    fn copy_across(&self, x: &[f32], head: usize, panel: &mut [f32]) {
        let rows = self.rows();
        for (i, x) in x.chunks_exact(self.hidden).enumerate() {
            for (d, x) in x[head * self.width..][..self.width].iter().enumerate() {
                panel[d * rows + i] = *x;
            }
        }
    }

    /// Writes a panel back to where `copy` reads.
    #[inline(always)]
    fn store(&self, panel: &[f32], head: usize, x: &mut [f32]) {
        for (row, x) in panel.chunks_exact(self.columns()).zip(x.chunks_exact_mut(self.hidden)) {
            x[head * self.width..][..self.width].copy_from_slice(&row[..self.width]);
        }
    }
}

vectorized! {
    /// Adds one head's part to the result of history `n`, from its query, key and value; fills in the head's weights.
    fn forward_head<'a>[simd](
        plan: &'a Plan,
        inputs: [&'a [f32]; 3],
        place: (usize, usize),
        panels: &'a mut Panels,
        weights: &'a mut [f32],
        output: &'a mut [f32],
    ) -> () {
        let ([q, k, v], (n, head)) = (inputs, place);
        let (rows, columns) = (plan.rows(), plan.columns());
        let Panels { narrow: [query, value, mixed, ..], across, square: [kept, ..] } = panels;
        plan.copy(q, head, query);
        plan.copy(v, head, value);
        plan.copy_across(k, head, across);
        multiply(simd, dense(query, columns), across, weights, rows, false, |i| (0..plan.width, plan.end(i)));
        for i in 0..plan.length {
            let row = &mut weights[i * rows..][..rows];
            let Range { start, end } = plan.seen(n, i);
            for x in &mut row[start..end] {
                *x *= plan.scale;
            }
            row[..start].fill(f32::NEG_INFINITY);
            row[end..].fill(f32::NEG_INFINITY);
            vector::softmax(row, 1.0);
            row[..start].fill(0.0);
            row[end..].fill(0.0);
        }
        weights[plan.length * rows..].fill(0.0);
        plan.drop(n * plan.heads + head, weights, kept);
        plan.keep(weights, kept);
        multiply(simd, dense(kept, rows), value, mixed, columns, false, |i| (0..plan.end(i).min(plan.length), columns));
        plan.store(mixed, head, output);
    }
}

vectorized! {
    /// Adds one head's part to the gradients of a history's query, key and value, from these, the result's gradient and
    /// the head's weights.
    fn backward_head<'a>[simd](
        plan: &'a Plan,
        inputs: [&'a [f32]; 4],
        head: usize,
        weights: &'a [f32],
        panels: &'a mut Panels,
        outputs: [&'a mut [f32]; 3],
    ) -> () {
        let ([q, k, v, d], [d_q, d_k, d_v]) = (inputs, outputs);
        let (rows, columns) = (plan.rows(), plan.columns());
        let Panels { narrow: [query, key, d_mixed, result], across, square: [kept, d_weights] } = panels;
        plan.copy(q, head, query);
        plan.copy(k, head, key);
        plan.copy(d, head, d_mixed);
        plan.copy_across(v, head, across);
        let seeing = |i: usize| (plan.seeing(i), columns);
        let seen = |i: usize| (0..plan.end(i).min(plan.length), columns);
        plan.keep(weights, kept);
        multiply(simd, transposed(kept, rows), d_mixed, result, columns, false, seeing);
        plan.store(result, head, d_v);
        multiply(simd, dense(d_mixed, columns), across, d_weights, rows, false, |i| (0..plan.width, plan.end(i)));
        for i in 0..plan.length {
            // With p the weights, m the mask and g the gradient of the kept weights p * m, that of the scores is
            // p * (m * g - sum(p * m * g)).
            let [p, kept] = [weights, kept].map(|x| &x[i * rows..][..rows]);
            let g = &mut d_weights[i * rows..][..rows];
            let sum = vector::dot(kept, g);
            for ((g, kept), p) in g.iter_mut().zip(kept).zip(p) {
                *g = (kept * *g - p.abs() * sum) * plan.scale;
            }
        }
        multiply(simd, dense(d_weights, rows), key, result, columns, false, seen);
        plan.store(result, head, d_q);
        multiply(simd, transposed(d_weights, rows), query, result, columns, false, seeing);
        plan.store(result, head, d_k);
    }
}

/// Room for the panels of one head.
struct Panels {
    /// `[rows, columns]`.
    narrow: [Vec<f32>; 4],
    /// `[columns, rows]`.
    across: Vec<f32>,
    /// `[rows, rows]`.
    square: [Vec<f32>; 2],
}

impl Panels {
    fn new(plan: &Plan) -> Self {
        let (rows, columns) = (plan.rows(), plan.columns());
        Self {
            narrow: std::array::from_fn(|_| vec![0.0; rows * columns]),
            across: vec![0.0; rows * columns],
            square: std::array::from_fn(|_| vec![0.0; rows * rows]),
        }
    }
}

fn dense(values: &[f32], rows: usize) -> Strided<'_> {
    Strided { values, rows, columns: 1 }
}

fn transposed(values: &[f32], rows: usize) -> Strided<'_> {
    Strided { values, rows: 1, columns: rows }
}

#[cfg(test)]
mod tests {
    use super::{Visible, attention, bias};
    use crate::noise::Noise;
    use crate::rng::Rng;
    use burn::tensor::{Device, Int, Tensor, TensorData};
    use std::sync::Arc;

    fn random(shape: [usize; 3], seed: u64) -> Tensor<3> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    /// The result and the gradients of a weighted sum of it.
    fn measured(visible: &Visible, histories: &Tensor<2, Int>, heads: usize, hidden: usize, dropout: f64) -> Vec<f32> {
        let [batch, length] = histories.dims();
        let inputs = [1, 2, 3].map(|seed| random([batch, length, hidden], seed));
        let mut noise = Noise::new(Rng::new(9, "dropout"));
        let output = attention(inputs.clone(), heads, visible, dropout, &mut noise);
        let gradients = (output.clone() * random([batch, length, hidden], 4).detach()).sum().backward();
        let values = |tensor: Tensor<3>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let gradients = inputs.iter().flat_map(|input| values(input.grad(&gradients).expect("a gradient")));
        values(output.inner()).into_iter().chain(gradients).collect()
    }

    #[test]
    fn it_agrees_with_composed_operations() {
        let device = Device::flex().autodiff();
        for (length, heads, hidden) in [(5, 1, 8), (37, 2, 24), (70, 3, 120)] {
            let mut items = vec![1i64; 3 * length];
            items[..4].fill(9);
            items[length..2 * length].fill(9);
            let histories = Tensor::<2, Int>::from_data(TensorData::new(items, [3, length]), &device);
            for causal in [true, false] {
                let composed = Visible { gaps: Arc::default(), causal, bias: Some(bias(&histories, 9, causal)) };
                let fused = measured(&Visible::new(&histories, 9, causal), &histories, heads, hidden, 0.0);
                let composed = measured(&composed, &histories, heads, hidden, 0.0);
                let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(fused.len() == composed.len() && worst < 1e-5, "they differ by {worst}");
            }
        }
    }

    #[test]
    fn gradients_go_through_dropout() {
        let device = Device::flex().autodiff();
        let histories = Tensor::<2, Int>::ones([1, 6], &device);
        let visible = Visible::causal(&histories, 9);
        // The result is linear in the values: moving them along their gradient must change it by its square.
        let [query, key, value] = [1, 2, 3].map(|seed| random([1, 6, 8], seed));
        let run = |value: Tensor<3>| {
            let mut noise = Noise::new(Rng::new(9, "dropout"));
            attention([query.clone(), key.clone(), value], 2, &visible, 0.5, &mut noise).sum()
        };
        let before = run(value.clone());
        let gradient = value.grad(&before.backward()).expect("a gradient");
        let square: f32 = gradient.clone().square().sum().into_scalar();
        let after = run(value + Tensor::from_inner(gradient));
        let change: f32 = after.into_scalar::<f32>() - before.into_scalar::<f32>();
        assert!((change - square).abs() < 1e-3 * square, "{change} but {square}");
    }
}
