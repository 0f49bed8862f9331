//! Gated recurrent units over the sequence of items; how it is trained is the framework's business.

use crate::nn::gru::Gru;
use crate::nn::linear::{embedding, linear};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Loss, Recommender, Scorer};
use framework::training::{self, SequenceModel, Training};
use std::path::Path;

framework::plugin! {
    /// GRU4Rec: gated recurrent units whose last state is matched with item embeddings.
    ///
    /// Hidasi et al., ICLR 2016 (arXiv 1511.06939), in the form of RecBole: a linear map takes states to the width of
    /// the embeddings, and the same embeddings are read and matched. The sizes and the dropout are RecBole's defaults.
    /// The paper reads one-hot items and steps through many sessions side by side; here each user is a row. What Hidasi
    /// and Karatzoglou improved (CIKM 2018, arXiv 1706.03847) are losses and their negatives: choose a `loss`.
    pub struct Gru4Rec: Recommender = "gru4rec" {
        /// Width of the item embeddings.
        #[range(1..=8192)]
        embedding_size: usize = 64,
        /// Width of the states.
        #[range(1..=8192)]
        hidden_size: usize = 128,
        /// Layers of gated recurrent units.
        #[range(1..=64)]
        num_layers: usize = 1,
        /// The share of the embeddings that are read that is dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.3,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
}

impl Recommender for Gru4Rec {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl Gru4Rec {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { embedding_size, hidden_size, num_layers, dropout, max_seq_length, .. } = *self;
        Network {
            items: embedding(num_items + 1, embedding_size, device),
            gru: Gru::new(embedding_size, hidden_size, num_layers, device),
            output: linear(hidden_size, embedding_size, device),
            dropout,
            max_seq_length,
        }
    }
}

/// The network: embeddings, recurrent layers, a linear map back to embeddings.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, embedding]`; the last row is the padding's.
    items: Embedding,
    gru: Gru,
    output: Linear,
    dropout: f64,
    max_seq_length: usize,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.max_seq_length
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let [rows, _] = self.items.weight.dims();
        let padding = histories.clone().equal_elem((rows - 1) as i64);
        let items = noise.dropout(self.items.forward(histories), self.dropout);
        self.output.forward(self.gru.forward(items, padding))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gru4Rec, Network};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, hits_on_a_cycle};
    use burn::tensor::Device;
    use framework::plugin::defaults;

    fn network() -> Network {
        let settings: Gru4Rec = defaults();
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
        let settings = "training = { max_epochs = 20, learning_rate = 0.01, batch_size = 16 }";
        let hits = hits_on_a_cycle::<Gru4Rec>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }
}
