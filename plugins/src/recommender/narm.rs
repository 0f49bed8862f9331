//! Gated recurrent units with attention over their own states; how it is trained is the framework's business.

use crate::nn::gru::Gru;
use crate::nn::linear::{embedding, projection};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::fused::additive_scores;
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Loss, Recommender, Scorer};
use framework::training::{self, SequenceModel, Training};
use std::path::Path;

framework::plugin! {
    /// NARM: gated recurrent units whose last state, beside what it attends to among the states before it, is matched
    /// with item embeddings.
    ///
    /// Li et al., CIKM 2017 (arXiv 1711.04725). The last state stands for what was done, attention for what was meant.
    /// One recurrent network serves both encoders, as in the authors' code. The attention's weights are those of the
    /// paper, `v . sigmoid(A1 h_t + A2 h_j)` as it is; the authors' code takes the softmax of them. The sizes and
    /// dropouts are those of their code.
    pub struct Narm: Recommender = "narm" {
        /// Width of the item embeddings.
        #[range(1..=8192)]
        embedding_size: usize = 50,
        /// Width of the states.
        #[range(1..=8192)]
        hidden_size: usize = 100,
        /// Layers of gated recurrent units.
        #[range(1..=64)]
        num_layers: usize = 1,
        /// The share of the embeddings that are read that is dropped in training.
        #[range(0.0..1.0)]
        embedding_dropout: f64 = 0.25,
        /// The share of both encoders' results that is dropped in training.
        #[range(0.0..1.0)]
        state_dropout: f64 = 0.5,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
}

impl Recommender for Narm {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl Narm {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { embedding_size, hidden_size, num_layers, max_seq_length, .. } = *self;
        Network {
            items: embedding(num_items + 1, embedding_size, device),
            gru: Gru::new(embedding_size, hidden_size, num_layers, device),
            attention: Attention::new(hidden_size, device),
            decoder: projection(2 * hidden_size, embedding_size, device),
            embedding_dropout: self.embedding_dropout,
            state_dropout: self.state_dropout,
            max_seq_length,
        }
    }
}

/// The network: embeddings, recurrent layers, attention, and the matrix of the bilinear decoder.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, embedding]`; the last row is the padding's.
    items: Embedding,
    gru: Gru,
    attention: Attention,
    /// `[2 * hidden, embedding]` (`B` in the paper).
    decoder: Linear,
    embedding_dropout: f64,
    state_dropout: f64,
    max_seq_length: usize,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.max_seq_length
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let [rows, _] = self.items.weight.dims();
        let padding = histories.clone().equal_elem((rows - 1) as i64);
        let items = noise.dropout(self.items.forward(histories), self.embedding_dropout);
        let global = self.gru.forward(items, padding);
        let local = self.attention.forward(global.clone());
        let both = noise.dropout(Tensor::cat(vec![global, local], 2), self.state_dropout);
        self.decoder.forward(both)
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

/// The local encoder: each state's sum of the states up to it, weighted by how well they go with it.
#[derive(Module, Debug)]
struct Attention {
    /// `A1` in the paper.
    current: Linear,
    /// `A2`.
    earlier: Linear,
    /// `[hidden, 1]` (`v`).
    weight: Linear,
}

impl Attention {
    fn new(hidden_size: usize, device: &Device) -> Self {
        let square = || projection(hidden_size, hidden_size, device);
        Self { current: square(), earlier: square(), weight: projection(hidden_size, 1, device) }
    }

    /// `states` `[batch, length, hidden]`, zero at padding, where they add nothing; shaped like them.
    fn forward(&self, states: Tensor<3>) -> Tensor<3> {
        let [hidden, _] = self.weight.weight.dims();
        let (current, earlier) = (self.current.forward(states.clone()), self.earlier.forward(states.clone()));
        additive_scores(current, earlier, self.weight.weight.val().reshape([hidden])).matmul(states)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attention, Narm, Network};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, hits_on_a_cycle};
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::parameters;
    use framework::plugin::defaults;

    fn network() -> Network {
        let settings: Narm = defaults();
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
    fn attention_is_what_the_equations_say() {
        let device = Device::flex();
        let mut values = [2.0f32, -1.0, 3.0].into_iter();
        // States one wide: A1 = 2, A2 = -1, v = 3.
        let attention = parameters::replace(Attention::new(1, &device), |_, _, old| {
            Tensor::from_data(TensorData::from([values.next().unwrap_or_default()]), &old.device())
        });
        let states = [0.0f32, 0.5, -1.0];
        let output = attention.forward(Tensor::<1>::from_floats(states, &device).reshape([1, 3, 1]));
        let output = output.into_data().try_to_vec::<f32>().expect("floats");
        for (t, output) in output.iter().enumerate() {
            let weight = |j: usize| 3.0 / (1.0 + (-(2.0 * states[t] - states[j])).exp());
            let expected: f32 = (0..=t).map(|j| weight(j) * states[j]).sum();
            assert!((output - expected).abs() < 1e-5, "{output} but {expected}");
        }
    }

    #[test]
    fn it_learns_a_cycle() {
        let settings = "training = { max_epochs = 20, learning_rate = 0.01, batch_size = 16 }";
        let hits = hits_on_a_cycle::<Narm>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }
}
