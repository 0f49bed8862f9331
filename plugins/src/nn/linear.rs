//! Layers whose initial values the trainer draws from the run's seed, not burn from its global generator.

use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Device;

/// `[.., input]` to `[.., output]`, with a bias.
pub(crate) fn linear(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).with_initializer(Initializer::Zeros).init(device)
}

/// `[a, b]` indices below `count` to `[a, b, hidden_size]`.
pub(crate) fn embedding(count: usize, hidden_size: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(count, hidden_size).with_initializer(Initializer::Zeros).init(device)
}

/// Layer normalization over the last dimension.
pub(crate) fn layer_norm(hidden_size: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(hidden_size).init(device)
}
