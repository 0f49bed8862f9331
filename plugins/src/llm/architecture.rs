//! The shape of a decoder, as its `config.json` or GGUF header tells it; one struct for every supported family.

/// How positions turn queries and keys (RoPE; Su et al., 2021).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// The base of the wavelengths.
    pub theta: f64,
    /// How wavelengths are stretched for longer contexts.
    pub scaling: Scaling,
}

/// How wavelengths are stretched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// All by `factor`.
    Linear { factor: f64 },
    /// Long ones by `factor`, short ones not, those between in part (Llama 3.1).
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_positions: f64 },
}

/// A decoder's sizes and variants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Architecture {
    /// The family: `llama`, `mistral`, `qwen2`, `qwen3`.
    pub family: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    /// Heads of keys and values, each shared by `num_heads / num_kv_heads` heads of queries.
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub rope: Rope,
    /// The longest context it was trained for, in tokens.
    pub max_positions: usize,
    /// The most recent positions a token sees, itself included.
    pub sliding_window: Option<usize>,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalized per head.
    pub qk_norm: bool,
    /// Whether the output layer is the embedding table.
    pub tied: bool,
}
