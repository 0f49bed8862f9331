//! The network: embeddings, blocks of attention and gated feed-forward layers, a last normalization, an output layer.
//!
//! One struct for every supported family. Parameters carry the names of Hugging Face's checkpoints.

use super::architecture::Architecture;
use super::attention::{Heads, attention};
use super::cache::{Cache, Layer};
use super::few;
use super::layout::{Layout, Row};
use super::linear::Linear;
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use framework::fused::{rms_norm, swiglu};
use framework::noise::Noise;
use framework::rng::Rng;
use std::sync::Arc;

/// A decoder.
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    /// `[vocabulary, hidden]`.
    pub(crate) embed_tokens: Param<Tensor<2>>,
    pub(crate) layers: Vec<Block>,
    /// `[hidden]`.
    pub(crate) norm: Param<Tensor<1>>,
    /// `[vocabulary, hidden]`; the embeddings where absent.
    pub(crate) lm_head: Option<Param<Tensor<2>>>,
    #[module(skip)]
    pub(crate) architecture: Architecture,
}

/// One block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) input_layernorm: Param<Tensor<1>>,
    pub(crate) self_attn: Attention,
    pub(crate) post_attention_layernorm: Param<Tensor<1>>,
    pub(crate) mlp: FeedForward,
}

/// The attention of a block.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    /// `[head_dim]`.
    pub(crate) q_norm: Option<Param<Tensor<1>>>,
    /// `[head_dim]`.
    pub(crate) k_norm: Option<Param<Tensor<1>>>,
}

/// The feed-forward layer of a block.
#[derive(Module, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// What a block's attention looks at besides the tokens that are being read.
pub(crate) enum Memory<'a> {
    /// Nothing.
    None,
    /// Nothing yet, but what is read is remembered: new rows.
    Append(&'a mut Layer),
    /// All that is remembered of each row, which is read one token further.
    Attend(&'a mut Layer),
}

impl Decoder {
    /// The layout of `rows`.
    pub(crate) fn layout(&self, rows: &[Row]) -> Arc<Layout> {
        let Architecture { rope, head_dim, sliding_window, .. } = &self.architecture;
        Arc::new(Layout::new(rows, rope, *head_dim, *sliding_window))
    }

    /// The embeddings of `tokens`, `[tokens, hidden]`.
    pub(crate) fn embed(&self, tokens: &[u32]) -> Tensor<2> {
        let tokens: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        let tokens = TensorData::new(tokens.clone(), [tokens.len()]);
        let table = self.embed_tokens.val();
        let tokens = Tensor::<1, Int>::from_data(tokens, &table.device());
        table.select(0, tokens)
    }

    /// The states from which the next tokens are predicted, `[tokens, hidden]`, of embeddings laid out as `layout` says;
    /// with dropout where there is randomness.
    pub(crate) fn states(&self, x: Tensor<2>, layout: &Arc<Layout>, rng: Option<&Rng>) -> Tensor<2> {
        let blocks = 0..self.layers.len();
        self.last_norm(blocks.fold(x, |x, n| self.block(n, x, layout, Memory::None, rng)))
    }

    /// Reads new rows and remembers them; the state after each row's last token, `[rows, hidden]`.
    pub(crate) fn read(&self, rows: &[Row], cache: &mut Cache) -> Tensor<2> {
        let layout = self.layout(rows);
        let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.iter().copied()).collect();
        let blocks = cache.layers.iter_mut().enumerate();
        let x =
            blocks.fold(self.embed(&tokens), |x, (n, layer)| self.block(n, x, &layout, Memory::Append(layer), None));
        cache.lens.extend(rows.iter().map(|row| row.tokens.len()));
        let lasts: Vec<i64> = layout.spans.iter().map(|span| (span.offset + span.len - 1) as i64).collect();
        let lasts = Tensor::<1, Int>::from_data(TensorData::new(lasts.clone(), [lasts.len()]), &x.device());
        self.last_norm(x.select(0, lasts))
    }

    /// Reads one more token of each remembered row; the states after them, `[rows, hidden]`.
    pub(crate) fn read_on(&self, tokens: &[u32], cache: &mut Cache) -> Tensor<2> {
        let Architecture { rope, head_dim, sliding_window, .. } = &self.architecture;
        let layout = Arc::new(super::cache::next(&cache.lens, rope, *head_dim, *sliding_window));
        let blocks = cache.layers.iter_mut().enumerate();
        let x = blocks.fold(self.embed(tokens), |x, (n, layer)| self.block(n, x, &layout, Memory::Attend(layer), None));
        cache.lens.iter_mut().for_each(|len| *len += 1);
        self.last_norm(x)
    }

    /// The logits of `states` `[n, hidden]`, `[n, vocabulary]`.
    pub(crate) fn logits(&self, states: Tensor<2>) -> Tensor<2> {
        states.matmul(self.output_layer().transpose())
    }

    /// The logits of the states of few rows, without gradients; as `logits`.
    pub(crate) fn next_logits(&self, states: Tensor<2>) -> Tensor<2> {
        few::product(states, self.output_layer())
    }

    /// The output layer, `[vocabulary, hidden]`.
    pub(crate) fn output_layer(&self) -> Tensor<2> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).val()
    }

    /// The last normalization.
    pub(crate) fn last_norm(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, self.norm.val(), self.architecture.rms_norm_eps)
    }

    /// Block `n`, `[tokens, hidden]` to `[tokens, hidden]`.
    pub(crate) fn block(
        &self,
        n: usize,
        x: Tensor<2>,
        layout: &Arc<Layout>,
        memory: Memory,
        rng: Option<&Rng>,
    ) -> Tensor<2> {
        let (block, noise) = (&self.layers[n], &mut rng.map_or(Noise::none(), |rng| Noise::new(rng.fork(n as u64))));
        let Architecture { rms_norm_eps: epsilon, num_heads, num_kv_heads, head_dim, .. } = self.architecture;
        let heads = Heads { queries: num_heads, keys: num_kv_heads, width: head_dim };
        let Attention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm } = &block.self_attn;
        let few = matches!(memory, Memory::Attend(_));
        let h = rms_norm(x.clone(), block.input_layernorm.val(), epsilon);
        let normed = |x: Tensor<2>, norm: &Option<Param<Tensor<1>>>| match norm {
            None => x,
            Some(scale) => {
                let [tokens, wide] = x.dims();
                rms_norm(x.reshape([tokens * wide / head_dim, head_dim]), scale.val(), epsilon).reshape([tokens, wide])
            }
        };
        let query = normed(q_proj.forward(h.clone(), few, noise), q_norm);
        let key = normed(k_proj.forward(h.clone(), few, noise), k_norm);
        let value = v_proj.forward(h, few, noise);
        let mixed = match memory {
            Memory::Attend(layer) => layer.attend([query, key, value], heads, layout),
            Memory::None => attention([query, key, value], heads, layout),
            Memory::Append(layer) => {
                layer.append([key.clone(), value.clone()], heads, layout);
                attention([query, key, value], heads, layout)
            }
        };
        let x = x + o_proj.forward(mixed, few, noise);
        let h = rms_norm(x.clone(), block.post_attention_layernorm.val(), epsilon);
        let FeedForward { gate_proj, up_proj, down_proj } = &block.mlp;
        let gated = swiglu(gate_proj.forward(h.clone(), few, noise), up_proj.forward(h, few, noise));
        x + down_proj.forward(gated, few, noise)
    }

    /// Every linear layer with its name in Hugging Face's checkpoints.
    pub(crate) fn linears(&mut self) -> Vec<(String, &mut Linear)> {
        let layers = self.layers.iter_mut().enumerate();
        let named = layers.flat_map(|(n, Block { self_attn, mlp, .. })| {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = self_attn;
            let FeedForward { gate_proj, up_proj, down_proj } = mlp;
            let attention = [("q_proj", q_proj), ("k_proj", k_proj), ("v_proj", v_proj), ("o_proj", o_proj)];
            let attention = attention.map(|(name, linear)| (format!("model.layers.{n}.self_attn.{name}"), linear));
            let mlp = [("gate_proj", gate_proj), ("up_proj", up_proj), ("down_proj", down_proj)];
            let mlp = mlp.map(|(name, linear)| (format!("model.layers.{n}.mlp.{name}"), linear));
            attention.into_iter().chain(mlp)
        });
        named.collect()
    }
}
