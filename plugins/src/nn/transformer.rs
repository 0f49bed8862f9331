//! The transformer block (Vaswani et al., NeurIPS 2017) as sequential recommenders use it: dropout after each part,
//! normalization before or after it.

use super::linear::{LayerNorm, linear};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use framework::fused::{Visible, attention, gelu};
use framework::noise::Noise;

/// What a block is made of.
pub(crate) struct BlockSettings {
    pub(crate) hidden_size: usize,
    pub(crate) num_heads: usize,
    /// Width of the feed-forward network.
    pub(crate) inner_size: usize,
    pub(crate) dropout: f64,
    /// Dropout between the feed-forward network's two layers.
    pub(crate) inner_dropout: f64,
    pub(crate) norm_first: bool,
    /// GELU between the feed-forward network's two layers, or ReLU.
    pub(crate) gelu: bool,
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
    inner_dropout: f64,
    norm_first: bool,
    gelu: bool,
}

impl Block {
    pub(crate) fn new(settings: &BlockSettings, device: &Device) -> Self {
        let BlockSettings { hidden_size, num_heads, inner_size, dropout, inner_dropout, norm_first, gelu } = *settings;
        Self {
            attention: SelfAttention::new(hidden_size, num_heads, dropout, device),
            attention_norm: LayerNorm::new(hidden_size, device),
            inner: linear(hidden_size, inner_size, device),
            outer: linear(inner_size, hidden_size, device),
            feed_forward_norm: LayerNorm::new(hidden_size, device),
            dropout,
            inner_dropout,
            norm_first,
            gelu,
        }
    }

    /// `x` `[batch, length, hidden]`; shaped like it.
    pub(crate) fn forward(&self, x: Tensor<3>, visible: &Visible, noise: &mut Noise) -> Tensor<3> {
        let x = self.residual(x, &self.attention_norm, noise, |x, noise| self.attention.forward(x, visible, noise));
        self.residual(x, &self.feed_forward_norm, noise, |x, noise| {
            let inner = self.inner.forward(x);
            let inner = if self.gelu { gelu(inner) } else { relu(inner) };
            self.outer.forward(noise.dropout(inner, self.inner_dropout))
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
pub(crate) struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    num_heads: usize,
    dropout: f64,
}

impl SelfAttention {
    pub(crate) fn new(hidden_size: usize, num_heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || linear(hidden_size, hidden_size, device);
        Self { query: linear(), key: linear(), value: linear(), output: linear(), num_heads, dropout }
    }

    /// `x` `[batch, length, hidden]`; shaped like it.
    pub(crate) fn forward(&self, x: Tensor<3>, visible: &Visible, noise: &mut Noise) -> Tensor<3> {
        let inputs = [&self.query, &self.key, &self.value].map(|linear| linear.forward(x.clone()));
        self.output.forward(attention(inputs, self.num_heads, visible, self.dropout, noise))
    }
}
