//! Attention by burn's own operations, over padded rows: for devices that are not main memory.

use super::attention::Heads;
use super::layout::Layout;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::sync::Arc;

/// As `attention::attention`.
pub(crate) fn attention([query, key, value]: [Tensor<2>; 3], heads: Heads, layout: &Arc<Layout>) -> Tensor<2> {
    let device = query.device();
    let padded = Padded::new(layout, &device);
    let query = padded.spread(turned(query, heads.queries, heads, layout), heads.queries, heads);
    let [key, value] = [turned(key, heads.keys, heads, layout), value].map(|x| padded.spread(x, heads.keys, heads));
    let mixed = mix(query, key, value, heads, padded.bias(layout, &device));
    let [rows, count, len, width] = mixed.dims();
    mixed.swap_dims(1, 2).reshape([rows * len, count * width]).select(0, padded.back)
}

/// `softmax(query . key * scale + bias) . value`; query `[rows, queries, n, width]`, key and value
/// `[rows, keys, len, width]`, bias `[rows, 1, n, len]`.
fn mix(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, heads: Heads, bias: Tensor<4>) -> Tensor<4> {
    let [key, value] = [key, value].map(|x| {
        let [rows, keys, len, width] = x.dims();
        let x = x.reshape([rows, keys, 1, len, width]).expand([rows, keys, heads.group(), len, width]);
        x.reshape([rows, heads.queries, len, width])
    });
    let scores = (query * heads.scale()).matmul(key.transpose());
    softmax(scores + bias, 3).matmul(value)
}

/// `x` `[tokens, count * width]` with every head turned by its token's position.
fn turned(x: Tensor<2>, count: usize, heads: Heads, layout: &Layout) -> Tensor<2> {
    let ([tokens, wide], half) = (x.dims(), heads.width / 2);
    let table =
        |values: &Vec<f32>| Tensor::<3>::from_data(TensorData::new(values.clone(), [tokens, 1, half]), &x.device());
    let (cosines, sines) = (table(&layout.cosines), table(&layout.sines));
    let x = x.reshape([tokens, count, heads.width]);
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let turned = [low.clone() * cosines.clone() - high.clone() * sines.clone(), high * cosines + low * sines];
    Tensor::cat(turned.to_vec(), 2).reshape([tokens, wide])
}

/// Rows padded on the left to one length, so that their last tokens stand together.
struct Padded {
    rows: usize,
    len: usize,
    /// The token at each place, `[rows * len]`; padding repeats a row's first token.
    there: Tensor<1, Int>,
    /// The place of each token, `[tokens]`.
    back: Tensor<1, Int>,
}

impl Padded {
    fn new(layout: &Layout, device: &Device) -> Self {
        let (rows, len) = (layout.spans.len(), layout.spans.iter().map(|span| span.len).max().unwrap_or_default());
        let there = layout
            .spans
            .iter()
            .flat_map(|span| (0..len).map(move |n| (span.offset + (n + span.len).saturating_sub(len)) as i64));
        let back = layout
            .spans
            .iter()
            .enumerate()
            .flat_map(|(row, span)| (0..span.len).map(move |n| (row * len + len - span.len + n) as i64));
        let index = |places: Vec<i64>| {
            let shape = [places.len()];
            Tensor::from_data(TensorData::new(places, shape), device)
        };
        Self { rows, len, there: index(there.collect()), back: index(back.collect()) }
    }

    /// `[tokens, count * width]` as `[rows, count, len, width]`.
    fn spread(&self, x: Tensor<2>, count: usize, heads: Heads) -> Tensor<4> {
        x.select(0, self.there.clone()).reshape([self.rows, self.len, count, heads.width]).swap_dims(1, 2)
    }

    /// What is added to scores, `[rows, 1, len, len]`: nothing where a token sees another, else a large negative number.
    fn bias(&self, layout: &Layout, device: &Device) -> Tensor<4> {
        let mut bias = vec![-1e9f32; self.rows * self.len * self.len];
        for (row, span) in layout.spans.iter().enumerate() {
            let gap = self.len - span.len;
            for i in 0..span.len {
                let at = (row * self.len + gap + i) * self.len + gap;
                for range in layout.visible(span, i) {
                    bias[at + range.start..at + range.end].fill(0.0);
                }
            }
        }
        Tensor::from_data(TensorData::new(bias, [self.rows, 1, self.len, self.len]), device)
    }
}

/// One layer's keys (turned) and values of unfinished rows, `[rows, keys, len, width]`, padded on the left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    tensors: Option<[Tensor<4>; 2]>,
}

impl Remembered {
    /// Adds the rows of `layout`, whose keys and values `[tokens, keys * width]` were just read.
    pub(crate) fn append(&mut self, [key, value]: [Tensor<2>; 2], heads: Heads, layout: &Layout) {
        let padded = Padded::new(layout, &key.device());
        let new = [turned(key, heads.keys, heads, layout), value].map(|x| padded.spread(x, heads.keys, heads));
        self.tensors = Some(match self.tensors.take() {
            None => new,
            Some([old_keys, old_values]) => {
                let [keys, values] = new;
                [together(old_keys, keys), together(old_values, values)]
            }
        });
    }

    /// Keeps only these rows.
    pub(crate) fn keep(&mut self, rows: &[usize], device: &Device) {
        let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows.clone(), [rows.len()]), device);
        self.tensors = self.tensors.take().map(|tensors| tensors.map(|x| x.select(0, rows.clone())));
    }

    /// Reads one more token of each row, which sees all that is remembered of its row; as `attention`.
    pub(crate) fn attend(&mut self, [query, key, value]: [Tensor<2>; 3], heads: Heads, layout: &Layout) -> Tensor<2> {
        let ([rows, wide], device) = (query.dims(), query.device());
        let single = |x: Tensor<2>, count: usize| x.reshape([rows, 1, count, heads.width]).swap_dims(1, 2);
        let query = single(turned(query, heads.queries, heads, layout), heads.queries);
        let new = [single(turned(key, heads.keys, heads, layout), heads.keys), single(value, heads.keys)];
        let all = match self.tensors.take() {
            None => new,
            Some([keys, values]) => {
                let [key, value] = new;
                [Tensor::cat(vec![keys, key], 2), Tensor::cat(vec![values, value], 2)]
            }
        };
        self.tensors = Some(all.clone());
        let [keys, values] = all;
        let len = keys.dims()[2];
        let mut bias = vec![-1e9f32; rows * len];
        for (bias, position) in bias.chunks_mut(len).zip(&layout.positions) {
            let seen = (*position as usize + 1).min(layout.window);
            bias[len - seen..].fill(0.0);
        }
        let bias = Tensor::from_data(TensorData::new(bias, [rows, 1, 1, len]), &device);
        mix(query, keys, values, heads, bias).swap_dims(1, 2).reshape([rows, wide])
    }
}

/// Rows of `a`, then rows of `b`, the shorter ones padded on the left.
fn together(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let len = a.dims()[2].max(b.dims()[2]);
    let padded = |x: Tensor<4>| {
        let [rows, keys, short, width] = x.dims();
        match len - short {
            0 => x,
            gap => Tensor::cat(vec![Tensor::zeros([rows, keys, gap, width], &x.device()), x], 2),
        }
    };
    Tensor::cat(vec![padded(a), padded(b)], 0)
}
