//! Self-attention over the sequence of items in gated blocks; how it is trained is the framework's business.

use crate::nn::ligr::{LigrBlock, LigrSettings};
use crate::nn::linear::embedding;
use burn::module::Module;
use burn::nn::Embedding;
use burn::tensor::{Device, Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::fused::Visible;
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Loss, Recommender, Scorer};
use framework::training::{self, SequenceModel, Training};
use std::path::Path;

framework::plugin! {
    /// eSASRec: SASRec with gated transformer blocks and a sampled softmax.
    ///
    /// Tikhonovich et al., RecSys 2025 (arXiv 2508.06450): SASRec's training by shifted sequences, the blocks of LiGR
    /// (arXiv 2502.03417) and softmax over 256 negatives are the paper's. All else is inferred from the authors' code,
    /// which builds on RecTools: SwiGLU without biases in the feed-forward network, positions counted from the end, no
    /// scaling of embeddings and no normalization after the last block. The defaults are those they chose for MovieLens
    /// 1M, but for `max_seq_length`, which is 200 there and 50 for their sparse data.
    ///
    /// Two things differ from their code: it also drops parts of the table of item embeddings itself, where items are
    /// read and where they are matched, and the second decay of its Adam is 0.98, not 0.999.
    pub struct ESasRec: Recommender = "esasrec" {
        /// Width of the embeddings and of all layers.
        #[range(1..=8192)]
        hidden_size: usize = 64,
        /// Transformer blocks.
        #[range(1..=64)]
        num_layers: usize = 2,
        /// Attention heads per block; they divide `hidden_size`.
        #[range(1..=64)]
        num_heads: usize = 1,
        /// How many times as wide as `hidden_size` the feed-forward network is.
        #[range(1..=64)]
        inner_multiplier: usize = 4,
        /// The share of embeddings, attention weights and layer outputs that are dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.1,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("sampled_softmax"),
        /// How it is trained.
        training: Training = defaults(),
    }
    check |settings, report| {
        let ESasRec { hidden_size, num_heads, .. } = settings;
        if hidden_size % num_heads != 0 {
            report.conflict(
                "num_heads",
                format!("{num_heads} heads do not divide a hidden_size of {hidden_size}"),
                "a divisor of hidden_size",
            );
        }
    }
}

impl Recommender for ESasRec {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl ESasRec {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { hidden_size, num_heads, inner_multiplier, dropout, .. } = *self;
        let block = LigrSettings { hidden_size, num_heads, inner_size: inner_multiplier * hidden_size, dropout };
        Network {
            items: embedding(num_items + 1, hidden_size, device),
            positions: embedding(self.max_seq_length, hidden_size, device),
            blocks: (0..self.num_layers).map(|_| LigrBlock::new(&block, device)).collect(),
            dropout,
        }
    }
}

/// The network: embeddings and gated blocks.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, hidden]`; the last row is the padding's.
    items: Embedding,
    /// `[max_seq_length, hidden]`; the last row is the most recent interaction's.
    positions: Embedding,
    blocks: Vec<LigrBlock>,
    dropout: f64,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.positions.weight.dims()[0]
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let [_, length] = histories.dims();
        let [rows, _] = self.items.weight.dims();
        let visible = Visible::causal(&histories, rows - 1);
        let last = self.max_seq_length();
        let positions = self.positions.weight.val().narrow(0, last - length, length);
        let x = noise.dropout(self.items.forward(histories) + positions.unsqueeze(), self.dropout);
        self.blocks.iter().fold(x, |x, block| block.forward(x, &visible, noise))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{ESasRec, Network};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, hits_on_a_cycle};
    use burn::tensor::Device;
    use framework::plugin::defaults;

    fn network() -> Network {
        let settings: ESasRec = defaults();
        settings.network(9, &Device::flex())
    }

    #[test]
    fn a_later_item_does_not_change_earlier_states() {
        assert_causal(network());
    }

    #[test]
    fn padding_does_not_change_states() {
        assert_padding_changes_nothing(network());
    }

    #[test]
    fn it_learns_a_cycle() {
        let settings = "training = { max_epochs = 30, learning_rate = 0.003, batch_size = 16 }";
        let hits = hits_on_a_cycle::<ESasRec>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }
}
