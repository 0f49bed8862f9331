//! Causal attention with rotary positions and shared key heads, over rows that are packed without padding.
//!
//! On the CPU one head of one row is worked on at a time, a block of queries after another, and nothing quadratic is
//! kept for the gradient (Dao et al., NeurIPS 2022): weights are computed again from their logarithmic sums. Elsewhere
//! burn's operations are composed over padded rows. Both give the same numbers (see the tests).

use super::composed;
use super::layout::{Layout, Span};
use burn::tensor::Tensor;
use framework::fused::gradient::{self, Values};
use framework::fused::vector::{self, Strided, TILE, multiply};
use framework::vectorized;
use rayon::prelude::*;
use std::sync::Arc;

/// Queries that are worked on together.
const BLOCK: usize = 64;

/// The heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Heads {
    /// Heads of queries.
    pub(crate) queries: usize,
    /// Heads of keys and values, each shared by `queries / keys` heads of queries.
    pub(crate) keys: usize,
    /// A head's width.
    pub(crate) width: usize,
}

impl Heads {
    /// Heads of queries that share one of keys.
    pub(crate) fn group(&self) -> usize {
        self.queries / self.keys
    }

    /// What dot products are multiplied by.
    pub(crate) fn scale(&self) -> f32 {
        (self.width as f32).powf(-0.5)
    }
}

/// `softmax(query . key / sqrt(width)) . value` per head, queries and keys turned by their positions.
///
/// `query` `[tokens, queries * width]`; `key` and `value` `[tokens, keys * width]`; the result is shaped like `query`.
pub(crate) fn attention([query, key, value]: [Tensor<2>; 3], heads: Heads, layout: &Arc<Layout>) -> Tensor<2> {
    if !gradient::applies(&query) {
        return composed::attention([query, key, value], heads, layout);
    }
    let shape = query.dims();
    let read = |x: &Tensor<2>| Values::of(x.clone());
    let (q, k, v) = (read(&query), read(&key), read(&value));
    let plan = Plan { heads, layout: layout.clone() };
    let (output, sums) = plan.forward(&q, &k, &v);
    if !query.is_autodiff() {
        return Tensor::from_data(burn::tensor::TensorData::new(output, shape), &query.device());
    }
    let flat = |x: Tensor<2>| {
        let len = x.shape().num_elements();
        x.reshape([len])
    };
    let kept = Arc::new(output.clone());
    gradient::node([flat(query), flat(key), flat(value)], output, shape, move |d| {
        plan.backward([&q, &k, &v], &kept, &sums, d)
    })
}

struct Plan {
    heads: Heads,
    layout: Arc<Layout>,
}

/// A row and one of its heads of keys.
type Part<'a> = (&'a Span, usize);

impl Plan {
    fn parts(&self) -> Vec<Part<'_>> {
        self.layout.spans.iter().flat_map(|span| (0..self.heads.keys).map(move |head| (span, head))).collect()
    }

    /// The result, and for each part the logarithm of each query's sum of weights, `[group, len]`.
    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<Vec<f32>>) {
        let parts = self.parts();
        let made = parts.par_iter().map(|part| {
            let width = self.heads.group() * self.heads.width;
            let (mut output, mut sums) = (vec![0.0; part.0.len * width], vec![0.0; part.0.len * self.heads.group()]);
            forward_part(self, [q, k, v], *part, &mut output, &mut sums);
            (output, sums)
        });
        let (outputs, sums): (Vec<Vec<f32>>, Vec<_>) = made.collect::<Vec<_>>().into_iter().unzip();
        let mut output = vec![0.0; q.len()];
        for (part, values) in parts.iter().zip(&outputs) {
            self.scatter(*part, self.heads.group(), self.heads.queries, values, &mut output);
        }
        (output, sums)
    }

    /// The gradients of query, key and value, given the result's.
    fn backward(&self, [q, k, v]: [&[f32]; 3], output: &[f32], sums: &[Vec<f32>], d: &[f32]) -> [Vec<f32>; 3] {
        let parts = self.parts();
        let made = parts.par_iter().zip(sums).map(|(part, sums)| {
            let narrow = part.0.len * self.heads.width;
            let mut gradients = [narrow * self.heads.group(), narrow, narrow].map(|len| vec![0.0; len]);
            backward_part(self, [q, k, v, output, d], *part, sums, &mut gradients);
            gradients
        });
        let made: Vec<[Vec<f32>; 3]> = made.collect();
        let mut gradients = [q, k, v].map(|x| vec![0.0; x.len()]);
        for (part, made) in parts.iter().zip(&made) {
            let group = self.heads.group();
            self.scatter(*part, group, self.heads.queries, &made[0], &mut gradients[0]);
            self.scatter(*part, 1, self.heads.keys, &made[1], &mut gradients[1]);
            self.scatter(*part, 1, self.heads.keys, &made[2], &mut gradients[2]);
        }
        gradients
    }

    /// Puts a part's `count` heads `[len, count * width]` where they belong in `[tokens, of * width]`.
    fn scatter(&self, (span, head): Part, count: usize, of: usize, from: &[f32], to: &mut [f32]) {
        let (wide, narrow) = (of * self.heads.width, count * self.heads.width);
        for (i, row) in from.chunks_exact(narrow).enumerate() {
            to[(span.offset + i) * wide + head * narrow..][..narrow].copy_from_slice(row);
        }
    }

    /// A row's tokens in whole tiles.
    fn rows(&self, span: &Span) -> usize {
        span.len.next_multiple_of(TILE.1)
    }

    /// A head's width in whole tiles.
    fn columns(&self) -> usize {
        self.heads.width.next_multiple_of(TILE.1)
    }

    /// Head `head` of token `i` of a row in `x`, which has `of` heads.
    #[inline(always)]
    fn head<'a>(&self, x: &'a [f32], span: &Span, i: usize, head: usize, of: usize) -> &'a [f32] {
        &x[((span.offset + i) * of + head) * self.heads.width..][..self.heads.width]
    }

    /// Turns `x` by the position of token `i`, or back with `sign` -1; `x` and `to` are as wide as a head.
    #[inline(always)]
    fn turn(&self, span: &Span, i: usize, x: &[f32], sign: f32, to: &mut [f32]) {
        let half = self.heads.width / 2;
        let cosines = &self.layout.cosines[(span.offset + i) * half..][..half];
        let sines = &self.layout.sines[(span.offset + i) * half..][..half];
        let (low, high) = x.split_at(half);
        let (to_low, to_high) = to.split_at_mut(half);
        for n in 0..half {
            let (c, s) = (cosines[n], sines[n] * sign);
            to_low[n] = low[n] * c - high[n] * s;
            to_high[n] = high[n] * c + low[n] * s;
        }
    }

    /// Head `head` of `x` for `count` tokens from `first`, turned and scaled, as a panel of whole tiles.
    #[inline(always)]
    fn turned(
        &self,
        x: &[f32],
        span: &Span,
        tokens: std::ops::Range<usize>,
        (head, of): (usize, usize),
        scale: f32,
        panel: &mut [f32],
    ) {
        let columns = self.columns();
        let count = tokens.len();
        for (row, i) in panel.chunks_exact_mut(columns).zip(tokens) {
            self.turn(span, i, self.head(x, span, i, head, of), 1.0, &mut row[..self.heads.width]);
            row[..self.heads.width].iter_mut().for_each(|x| *x *= scale);
        }
        panel[count * columns..].fill(0.0);
    }

    /// The same as it lies.
    #[inline(always)]
    fn copied(
        &self,
        x: &[f32],
        span: &Span,
        tokens: std::ops::Range<usize>,
        (head, of): (usize, usize),
        panel: &mut [f32],
    ) {
        let columns = self.columns();
        let count = tokens.len();
        for (row, i) in panel.chunks_exact_mut(columns).zip(tokens) {
            row[..self.heads.width].copy_from_slice(self.head(x, span, i, head, of));
        }
        panel[count * columns..].fill(0.0);
    }

    /// Applies `weigh` to the visible parts of the scores of token `i` and puts zeros elsewhere.
    #[inline(always)]
    fn mask(&self, span: &Span, i: usize, row: &mut [f32], fill: f32) {
        let [prefix, own] = self.layout.visible(span, i);
        row[..prefix.start].fill(fill);
        row[prefix.end..own.start].fill(fill);
        row[own.end..].fill(fill);
    }
}

/// `panel` `[rows, columns]` transposed.
#[inline(always)]
fn across(panel: &[f32], columns: usize, to: &mut [f32]) {
    let rows = panel.len() / columns;
    for (i, row) in panel.chunks_exact(columns).enumerate() {
        for (d, x) in row.iter().enumerate() {
            to[d * rows + i] = *x;
        }
    }
}

fn dense(values: &[f32], rows: usize) -> Strided<'_> {
    Strided { values, rows, columns: 1 }
}

fn transposed(values: &[f32], rows: usize) -> Strided<'_> {
    Strided { values, rows: 1, columns: rows }
}

vectorized! {
    /// One head of keys of one row: the results of its group of queries, and the logarithms of their sums.
    fn forward_part<'a>[simd](
        plan: &'a Plan,
        inputs: [&'a [f32]; 3],
        part: Part<'a>,
        output: &'a mut [f32],
        sums: &'a mut [f32],
    ) -> () {
        let ([q, k, v], (span, head)) = (inputs, part);
        let Heads { queries, keys, width, .. } = plan.heads;
        let (rows, columns, group) = (plan.rows(span), plan.columns(), plan.heads.group());
        let (mut panel, mut key) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        plan.turned(k, span, 0..span.len, (head, keys), 1.0, &mut panel);
        across(&panel, columns, &mut key);
        plan.copied(v, span, 0..span.len, (head, keys), &mut panel);
        let (mut query, mut mixed) = (vec![0.0; BLOCK * columns], vec![0.0; BLOCK * columns]);
        let mut scores = vec![0.0; BLOCK * rows];
        for member in 0..group {
            for first in (0..span.len).step_by(BLOCK) {
                let tokens = first..(first + BLOCK).min(span.len);
                plan.turned(q, span, tokens.clone(), (head * group + member, queries), plan.heads.scale(), &mut query);
                multiply(simd, dense(&query, columns), &key, &mut scores, rows, false, |i| (0..width, first + i + 4));
                for i in tokens.clone() {
                    let row = &mut scores[(i - first) * rows..][..rows];
                    plan.mask(span, i, row, f32::NEG_INFINITY);
                    let (max, sum) = vector::softmax(&mut row[..i + 1], 1.0);
                    plan.mask(span, i, row, 0.0);
                    sums[member * span.len + i] = max + sum.ln();
                }
                scores[tokens.len() * rows..].fill(0.0);
                let extent = |i: usize| (0..(first + i + 4).min(span.len), columns);
                multiply(simd, dense(&scores, rows), &panel, &mut mixed, columns, false, extent);
                for (i, row) in tokens.zip(mixed.chunks_exact(columns)) {
                    output[(i * group + member) * width..][..width].copy_from_slice(&row[..width]);
                }
            }
        }
    }
}

vectorized! {
    /// One head of keys of one row: the gradients of its group of queries, of its keys and of its values, from these,
    /// the result, the result's gradient and the logarithms of the sums.
    fn backward_part<'a>[simd](
        plan: &'a Plan,
        inputs: [&'a [f32]; 5],
        part: Part<'a>,
        sums: &'a [f32],
        gradients: &'a mut [Vec<f32>; 3],
    ) -> () {
        let ([q, k, v, o, d], (span, head)) = (inputs, part);
        let Heads { queries, keys, width, .. } = plan.heads;
        let (rows, columns, group) = (plan.rows(span), plan.columns(), plan.heads.group());
        let wide = || vec![0.0; rows * columns];
        let (mut key, mut key_across, mut value_across) = (wide(), wide(), wide());
        plan.copied(v, span, 0..span.len, (head, keys), &mut key);
        across(&key, columns, &mut value_across);
        plan.turned(k, span, 0..span.len, (head, keys), 1.0, &mut key);
        across(&key, columns, &mut key_across);
        let (mut d_key, mut d_value) = (wide(), wide());
        let block = || vec![0.0; BLOCK * columns];
        let (mut query, mut d_mixed, mut d_query) = (block(), block(), block());
        let (mut weights, mut d_scores) = (vec![0.0; BLOCK * rows], vec![0.0; BLOCK * rows]);
        for member in 0..group {
            let place = (head * group + member, queries);
            for first in (0..span.len).step_by(BLOCK) {
                let tokens = first..(first + BLOCK).min(span.len);
                plan.turned(q, span, tokens.clone(), place, plan.heads.scale(), &mut query);
                plan.copied(d, span, tokens.clone(), place, &mut d_mixed);
                let wanted = |i: usize| (0..width, first + i + 4);
                multiply(simd, dense(&query, columns), &key_across, &mut weights, rows, false, wanted);
                multiply(simd, dense(&d_mixed, columns), &value_across, &mut d_scores, rows, false, wanted);
                for i in tokens.clone() {
                    let p = &mut weights[(i - first) * rows..][..rows];
                    let g = &mut d_scores[(i - first) * rows..][..rows];
                    let sum = sums[member * span.len + i];
                    let mean = vector::dot(plan.head(o, span, i, place.0, queries), plan.head(d, span, i, place.0, queries));
                    for (p, g) in p[..i + 1].iter_mut().zip(&mut g[..i + 1]) {
                        *p = vector::exp(*p - sum);
                        *g = *p * (*g - mean);
                    }
                    plan.mask(span, i, p, 0.0);
                    plan.mask(span, i, g, 0.0);
                }
                weights[tokens.len() * rows..].fill(0.0);
                d_scores[tokens.len() * rows..].fill(0.0);
                let reached = (first + BLOCK).min(rows) * columns;
                let later = |j: usize| (j.saturating_sub(first).min(BLOCK)..BLOCK, columns);
                multiply(simd, transposed(&weights, rows), &d_mixed, &mut d_value[..reached], columns, true, later);
                multiply(simd, transposed(&d_scores, rows), &query, &mut d_key[..reached], columns, true, later);
                let earlier = |i: usize| (0..(first + i + 4).min(span.len), columns);
                multiply(simd, dense(&d_scores, rows), &key, &mut d_query, columns, false, earlier);
                for (i, row) in tokens.zip(d_query.chunks_exact_mut(columns)) {
                    row.iter_mut().for_each(|x| *x *= plan.heads.scale());
                    plan.turn(span, i, &row[..width], -1.0, &mut gradients[0][(i * group + member) * width..][..width]);
                }
            }
        }
        for i in 0..span.len {
            plan.turn(span, i, &d_key[i * columns..][..width], -1.0, &mut gradients[1][i * width..][..width]);
            gradients[2][i * width..][..width].copy_from_slice(&d_value[i * columns..][..width]);
        }
    }
}
