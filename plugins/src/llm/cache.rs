//! What is remembered of the rows that are being written: keys and values of every token so far, layer by layer.

use super::attention::Heads;
use super::composed::Remembered;
use super::layout::{Layout, turns};
use burn::tensor::{Device, Tensor, TensorData};
use framework::fused::gradient::Values;
use framework::fused::vector;
use framework::vectorized;
use rayon::prelude::*;

/// The memory of one layer.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// Keys (turned) and values of each head of each row, `[rows * keys]` lists of `[len, width]`.
    Host(Vec<[Vec<f32>; 2]>),
    /// The same on a device.
    Device(Box<Remembered>),
}

/// The memory of all layers, and each row's length.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) layers: Vec<Layer>,
    /// Tokens remembered of each row.
    pub(crate) lens: Vec<usize>,
}

impl Cache {
    /// An empty memory on `device`.
    pub(crate) fn new(layers: usize, device: &Device) -> Self {
        let layer = || match framework::host::holds(device) {
            true => Layer::Host(Vec::new()),
            false => Layer::Device(Box::default()),
        };
        Self { layers: (0..layers).map(|_| layer()).collect(), lens: Vec::new() }
    }

    /// Keeps only these rows.
    pub(crate) fn keep(&mut self, rows: &[usize], device: &Device) {
        let before = self.lens.len();
        for layer in &mut self.layers {
            match layer {
                Layer::Device(layer) => layer.keep(rows, device),
                Layer::Host(layer) => {
                    let keys = layer.len() / before.max(1);
                    let mut old: Vec<_> = std::mem::take(layer).into_iter().map(Some).collect();
                    let places = rows.iter().flat_map(|row| row * keys..(row + 1) * keys);
                    *layer = places.filter_map(|place| old[place].take()).collect();
                }
            }
        }
        self.lens = rows.iter().map(|row| self.lens[*row]).collect();
    }
}

impl Layer {
    /// Adds the rows of `layout`, whose keys and values `[tokens, keys * width]` were just read.
    pub(crate) fn append(&mut self, [key, value]: [Tensor<2>; 2], heads: Heads, layout: &Layout) {
        let rows = match self {
            Self::Device(layer) => return layer.append([key, value], heads, layout),
            Self::Host(rows) => rows,
        };
        let (key, value) = (Values::of(key), Values::of(value));
        for span in &layout.spans {
            for head in 0..heads.keys {
                let mut memory =
                    [Vec::with_capacity(2 * span.len * heads.width), Vec::with_capacity(2 * span.len * heads.width)];
                for token in span.offset..span.offset + span.len {
                    let at = (token * heads.keys + head) * heads.width;
                    let half = heads.width / 2;
                    let tables = [&layout.cosines, &layout.sines].map(|table| &table[token * half..][..half]);
                    push_turned(&key[at..][..heads.width], tables, &mut memory[0]);
                    memory[1].extend_from_slice(&value[at..][..heads.width]);
                }
                rows.push(memory);
            }
        }
    }

    /// Reads one more token of each row, which sees all that is remembered of its row.
    ///
    /// `query` `[rows, queries * width]`, `key` and `value` `[rows, keys * width]`; the result is shaped like `query`.
    pub(crate) fn attend(&mut self, [query, key, value]: [Tensor<2>; 3], heads: Heads, layout: &Layout) -> Tensor<2> {
        let memories = match self {
            Self::Device(layer) => return layer.attend([query, key, value], heads, layout),
            Self::Host(memories) => memories,
        };
        let (shape, device) = (query.dims(), query.device());
        let (query, key, value) = (Values::of(query), Values::of(key), Values::of(value));
        let mut output = vec![0.0; query.len()];
        let wide = heads.group() * heads.width;
        let parts = output.par_chunks_mut(wide).zip(memories).zip(query.par_chunks(wide));
        let inputs = key.par_chunks(heads.width).zip(value.par_chunks(heads.width));
        parts.zip(inputs).enumerate().for_each(|(n, (((output, memory), query), (key, value)))| {
            let (row, half) = (n / heads.keys, heads.width / 2);
            let tables = [&layout.cosines, &layout.sines].map(|table| &table[row * half..][..half]);
            push_turned(key, tables, &mut memory[0]);
            memory[1].extend_from_slice(value);
            let first = (memory[0].len() / heads.width).saturating_sub(layout.window);
            let seen = memory.each_ref().map(|x| &x[first * heads.width..]);
            attend_part(heads, tables, query, seen, output);
        });
        Tensor::from_data(TensorData::new(output, shape), &device)
    }
}

/// The layout of one more token for each row of a memory.
pub(crate) fn next(lens: &[usize], rope: &super::rope::Rope, width: usize, window: Option<usize>) -> Layout {
    let positions: Vec<u32> = lens.iter().map(|len| *len as u32).collect();
    let (cosines, sines) = turns(&positions, rope, width);
    Layout { spans: Vec::new(), begins: Vec::new(), positions, window: window.unwrap_or(usize::MAX), cosines, sines }
}

#[inline(always)]
fn push_turned(x: &[f32], [cosines, sines]: [&[f32]; 2], to: &mut Vec<f32>) {
    let (low, high) = x.split_at(x.len() / 2);
    to.extend(low.iter().zip(high).zip(cosines.iter().zip(sines)).map(|((low, high), (c, s))| low * c - high * s));
    to.extend(low.iter().zip(high).zip(cosines.iter().zip(sines)).map(|((low, high), (c, s))| high * c + low * s));
}

vectorized! {
    /// The group of queries `[group, width]` of one token over keys and values `[len, width]`.
    fn attend_part<'a>[_](
        heads: Heads,
        tables: [&'a [f32]; 2],
        query: &'a [f32],
        seen: [&'a [f32]; 2],
        output: &'a mut [f32],
    ) -> () {
        let [keys, values] = seen;
        let mut turned = Vec::with_capacity(heads.width);
        let mut weights = vec![0.0; keys.len() / heads.width];
        for (query, output) in query.chunks_exact(heads.width).zip(output.chunks_exact_mut(heads.width)) {
            turned.clear();
            push_turned(query, tables, &mut turned);
            for (weight, key) in weights.iter_mut().zip(keys.chunks_exact(heads.width)) {
                *weight = vector::dot(&turned, key) * heads.scale();
            }
            vector::softmax(&mut weights, 1.0);
            for (weight, value) in weights.iter().zip(values.chunks_exact(heads.width)) {
                for (output, value) in output.iter_mut().zip(value) {
                    *output = weight.mul_add(*value, *output);
                }
            }
        }
    }
}
