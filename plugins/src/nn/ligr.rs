//! The gated transformer block of LiGR ("From Features to Transformers", 2025, arXiv 2502.03417).

use super::linear::{LayerNorm, linear, projection};
use super::transformer::SelfAttention;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use framework::fused::{Visible, swiglu};
use framework::noise::Noise;

/// What a block is made of.
pub(crate) struct LigrSettings {
    pub(crate) hidden_size: usize,
    pub(crate) num_heads: usize,
    /// Width of the feed-forward network.
    pub(crate) inner_size: usize,
    pub(crate) dropout: f64,
}

/// Self-attention and a feed-forward network with SwiGLU, both normalized first; the block's own input decides how much
/// of each is added to it.
#[derive(Module, Debug)]
pub(crate) struct LigrBlock {
    attention: SelfAttention,
    attention_norm: LayerNorm,
    attention_gate: Linear,
    /// `[hidden, inner]`, the half of SwiGLU that goes through SiLU.
    inner: Linear,
    /// `[hidden, inner]`, the other half.
    up: Linear,
    outer: Linear,
    feed_forward_norm: LayerNorm,
    feed_forward_gate: Linear,
    dropout: f64,
}

impl LigrBlock {
    pub(crate) fn new(settings: &LigrSettings, device: &Device) -> Self {
        let LigrSettings { hidden_size, num_heads, inner_size, dropout } = *settings;
        Self {
            attention: SelfAttention::new(hidden_size, num_heads, dropout, device),
            attention_norm: LayerNorm::new(hidden_size, device),
            attention_gate: linear(hidden_size, hidden_size, device),
            inner: projection(hidden_size, inner_size, device),
            up: projection(hidden_size, inner_size, device),
            outer: projection(inner_size, hidden_size, device),
            feed_forward_norm: LayerNorm::new(hidden_size, device),
            feed_forward_gate: linear(hidden_size, hidden_size, device),
            dropout,
        }
    }

    /// `x` `[batch, length, hidden]`; shaped like it.
    pub(crate) fn forward(&self, x: Tensor<3>, visible: &Visible, noise: &mut Noise) -> Tensor<3> {
        let attended = self.attention.forward(self.attention_norm.forward(x.clone()), visible, noise);
        let x = self.add(x, &self.attention_gate, attended, noise);
        let fed = self.feed_forward(self.feed_forward_norm.forward(x.clone()), noise);
        self.add(x, &self.feed_forward_gate, fed, noise)
    }

    fn feed_forward(&self, x: Tensor<3>, noise: &mut Noise) -> Tensor<3> {
        let [batch, length, hidden] = x.dims();
        let x = x.reshape([batch * length, hidden]);
        let inner = noise.dropout(swiglu(self.inner.forward(x.clone()), self.up.forward(x)), self.dropout);
        self.outer.forward(inner).reshape([batch, length, hidden])
    }

    fn add(&self, x: Tensor<3>, gate: &Linear, part: Tensor<3>, noise: &mut Noise) -> Tensor<3> {
        x.clone() + sigmoid(gate.forward(x)) * noise.dropout(part, self.dropout)
    }
}
