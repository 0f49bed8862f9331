//! The transformer block (Vaswani et al., NeurIPS 2017) as sequential recommenders use it: causal, dropout after each
//! part, normalization before or after it.

use super::linear::{layer_norm, linear};
use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor};
use framework::noise::Noise;

/// What a block is made of.
pub(crate) struct BlockSettings {
    pub(crate) hidden_size: usize,
    pub(crate) num_heads: usize,
    pub(crate) dropout: f64,
    pub(crate) norm_first: bool,
}

/// Self-attention and a feed-forward network, each with a residual connection around it.
#[derive(Module, Debug)]
pub(crate) struct Block {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    inner: Linear,
    outer: Linear,
    feed_forward_norm: LayerNorm,
    dropout: f64,
    norm_first: bool,
}

impl Block {
    pub(crate) fn new(settings: &BlockSettings, device: &Device) -> Self {
        let BlockSettings { hidden_size, num_heads, dropout, norm_first } = *settings;
        Self {
            attention: SelfAttention::new(hidden_size, num_heads, dropout, device),
            attention_norm: layer_norm(hidden_size, device),
            inner: linear(hidden_size, hidden_size, device),
            outer: linear(hidden_size, hidden_size, device),
            feed_forward_norm: layer_norm(hidden_size, device),
            dropout,
            norm_first,
        }
    }

    /// `x` `[batch, length, hidden]`, `mask` `[batch, 1, length, length]` from `causal_mask`; shaped like `x`.
    pub(crate) fn forward(&self, x: Tensor<3>, mask: &Tensor<4>, noise: &mut Noise) -> Tensor<3> {
        let x = self.residual(x, &self.attention_norm, noise, |x, noise| self.attention.forward(x, mask, noise));
        self.residual(x, &self.feed_forward_norm, noise, |x, noise| {
            let inner = noise.dropout(relu(self.inner.forward(x)), self.dropout);
            self.outer.forward(inner)
        })
    }

    fn residual(
        &self,
        x: Tensor<3>,
        norm: &LayerNorm,
        noise: &mut Noise,
        part: impl Fn(Tensor<3>, &mut Noise) -> Tensor<3>,
    ) -> Tensor<3> {
        let input = if self.norm_first { norm.forward(x.clone()) } else { x.clone() };
        let output = part(input, noise);
        let sum = x + noise.dropout(output, self.dropout);
        if self.norm_first { sum } else { norm.forward(sum) }
    }
}

/// Scaled dot-product attention with several heads.
#[derive(Module, Debug)]
struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    num_heads: usize,
    dropout: f64,
}

impl SelfAttention {
    fn new(hidden_size: usize, num_heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || linear(hidden_size, hidden_size, device);
        Self { query: linear(), key: linear(), value: linear(), output: linear(), num_heads, dropout }
    }

    /// `x` `[batch, length, hidden]`, `mask` `[batch, 1, length, length]`; shaped like `x`.
    fn forward(&self, x: Tensor<3>, mask: &Tensor<4>, noise: &mut Noise) -> Tensor<3> {
        let [batch, length, hidden] = x.dims();
        let width = hidden / self.num_heads;
        let heads = |x: Tensor<3>| x.reshape([batch, length, self.num_heads, width]).swap_dims(1, 2);
        let query = heads(self.query.forward(x.clone()) * (width as f64).powf(-0.5));
        let (key, value) = (heads(self.key.forward(x.clone())), heads(self.value.forward(x)));
        let weights = softmax(query.matmul(key.transpose()) + mask.clone(), 3);
        let mixed = noise.dropout(weights, self.dropout).matmul(value);
        self.output.forward(mixed.swap_dims(1, 2).reshape([batch, length, hidden]))
    }
}

/// What to add to attention scores so that no position sees a later one or `padding`, `[batch, 1, length, length]`.
///
/// `histories` `[batch, length]`. Every position sees itself, so that no row of the softmax is empty.
pub(crate) fn causal_mask(histories: &Tensor<2, Int>, padding: usize) -> Tensor<4> {
    let [batch, length] = histories.dims();
    let (device, square) = (histories.device(), [length, length]);
    let later: Tensor<2, Bool> = Tensor::<2, Int>::ones(square, &device).triu(1).bool();
    let other: Tensor<2, Bool> = Tensor::<2, Int>::eye(length, &device).equal_elem(0);
    let full = [batch, 1, length, length];
    let padding = histories.clone().equal_elem(padding as i64).reshape([batch, 1, 1, length]).expand(full);
    let hidden = padding.bool_and(other.reshape([1, 1, length, length]).expand(full));
    let hidden = hidden.bool_or(later.reshape([1, 1, length, length]).expand(full));
    hidden.float() * -1e9
}
