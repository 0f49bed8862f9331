//! Layers whose initial values the trainer draws from the run's seed, not burn from its global generator.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use framework::fused;

/// `[.., input]` to `[.., output]`, with a bias.
pub(crate) fn linear(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).with_initializer(Initializer::Zeros).init(device)
}

/// `[.., input]` to `[.., output]`, without a bias.
pub(crate) fn projection(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).with_bias(false).with_initializer(Initializer::Zeros).init(device)
}

/// `[a, b]` indices below `count` to `[a, b, hidden_size]`.
pub(crate) fn embedding(count: usize, hidden_size: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(count, hidden_size).with_initializer(Initializer::Zeros).init(device)
}

/// Layer normalization over the last dimension.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    scale: Param<Tensor<1>>,
    shift: Param<Tensor<1>>,
}

impl LayerNorm {
    pub(crate) fn new(hidden_size: usize, device: &Device) -> Self {
        let vector = |initializer: Initializer| initializer.init([hidden_size], device);
        Self { scale: vector(Initializer::Ones), shift: vector(Initializer::Zeros) }
    }

    /// `x` `[batch, length, hidden]`; shaped like it.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        fused::layer_norm(x, self.scale.val(), self.shift.val(), 1e-5)
    }
}
