//! The transformer block (Vaswani et al., NeurIPS 2017) as sequential recommenders use it: causal, dropout after each
//! part, normalization before or after it.

use super::linear::{LayerNorm, linear};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use framework::fused::{Causal, attention};
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
            attention_norm: LayerNorm::new(hidden_size, device),
            inner: linear(hidden_size, hidden_size, device),
            outer: linear(hidden_size, hidden_size, device),
            feed_forward_norm: LayerNorm::new(hidden_size, device),
            dropout,
            norm_first,
        }
    }

    /// `x` `[batch, length, hidden]`; shaped like it.
    pub(crate) fn forward(&self, x: Tensor<3>, causal: &Causal, noise: &mut Noise) -> Tensor<3> {
        let x = self.residual(x, &self.attention_norm, noise, |x, noise| self.attention.forward(x, causal, noise));
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

    /// `x` `[batch, length, hidden]`; shaped like it.
    fn forward(&self, x: Tensor<3>, causal: &Causal, noise: &mut Noise) -> Tensor<3> {
        let inputs = [&self.query, &self.key, &self.value].map(|linear| linear.forward(x.clone()));
        self.output.forward(attention(inputs, self.num_heads, causal, self.dropout, noise))
    }
}
