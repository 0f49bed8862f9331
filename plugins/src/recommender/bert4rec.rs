//! Bidirectional self-attention that guesses masked items; how it is trained is the framework's business.

use crate::nn::item_bias::ItemBias;
use crate::nn::linear::{LayerNorm, embedding, linear};
use crate::nn::transformer::{Block, BlockSettings};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::fused::{Visible, gelu};
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::{Loss, Recommender, Scorer};
use framework::sequences::Batch;
use framework::training::{self, SequenceModel, Training};
use std::path::Path;

framework::plugin! {
    /// BERT4Rec: a transformer that sees a sequence from both sides and guesses the items that are masked in it; a mask
    /// after a user's history asks for the next one.
    ///
    /// Sun et al., CIKM 2019 (arXiv 1904.06690), with what the authors' code adds: normalization of the embeddings and
    /// before the output. The sizes, the dropout and `mask_probability` are the authors' for MovieLens 1M and 64 units.
    ///
    /// It learns from few positions of each sequence at a time, so it needs many more epochs than its peers: most
    /// replications that fell short of the paper were stopped too early (Petrov and Macdonald, RecSys 2022, arXiv
    /// 2207.07483). Give it time, as in `training = { max_epochs = 2000, patience = 100 }`.
    pub struct Bert4Rec: Recommender = "bert4rec" {
        /// Width of the embeddings and of all layers; feed-forward networks are four times as wide.
        #[range(1..=8192)]
        hidden_size: usize = 64,
        /// Transformer blocks.
        #[range(1..=64)]
        num_layers: usize = 2,
        /// Attention heads per block; they divide `hidden_size`.
        #[range(1..=64)]
        num_heads: usize = 2,
        /// The share of embeddings, attention weights and layer outputs that are dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.2,
        /// The share of a sequence's items that are masked in training, one at least.
        #[range(0.0..=1.0)]
        mask_probability: f64 = 0.2,
        /// How often only the last item is masked instead, as when it is asked for the next. The authors add one such
        /// sample to ten others.
        #[range(0.0..=1.0)]
        mask_last_probability: f64 = 0.1,
        /// The most recent interactions that it reads, besides the mask.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What a masked item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
    check |settings, report| {
        let Bert4Rec { hidden_size, num_heads, .. } = settings;
        if hidden_size % num_heads != 0 {
            report.conflict(
                "num_heads",
                format!("{num_heads} heads do not divide a hidden_size of {hidden_size}"),
                "a divisor of hidden_size",
            );
        }
    }
}

impl Recommender for Bert4Rec {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl Bert4Rec {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { hidden_size, num_heads, dropout, mask_probability, mask_last_probability, .. } = *self;
        let block = BlockSettings {
            hidden_size,
            num_heads,
            inner_size: 4 * hidden_size,
            dropout,
            inner_dropout: 0.0,
            norm_first: false,
            gelu: true,
        };
        Network {
            items: embedding(num_items + 2, hidden_size, device),
            positions: embedding(self.max_seq_length + 1, hidden_size, device),
            norm: LayerNorm::new(hidden_size, device),
            blocks: (0..self.num_layers).map(|_| Block::new(&block, device)).collect(),
            output: linear(hidden_size, hidden_size, device),
            output_norm: LayerNorm::new(hidden_size, device),
            bias: ItemBias::new(num_items, device),
            dropout,
            mask_probability,
            mask_last_probability,
        }
    }
}

/// The network: embeddings, blocks, one more layer before states are matched with the same embeddings.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 2, hidden]`; the last rows are the padding's and the mask's.
    items: Embedding,
    /// `[max_seq_length + 1, hidden]`; the last row is the most recent position's.
    positions: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
    output: Linear,
    output_norm: LayerNorm,
    bias: ItemBias,
    dropout: f64,
    mask_probability: f64,
    mask_last_probability: f64,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.positions.weight.dims()[0] - 1
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let [_, length] = histories.dims();
        let visible = Visible::both_ways(&histories, self.mask() - 1);
        let [last, _] = self.positions.weight.dims();
        let positions = self.positions.weight.val().narrow(0, last - length, length);
        let x = self.norm.forward(self.items.forward(histories) + positions.unsqueeze());
        let x = noise.dropout(x, self.dropout);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &visible, noise));
        self.bias.states(self.output_norm.forward(gelu(self.output.forward(x))))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        self.bias.items(self.items.weight.val().narrow(0, 0, self.mask() - 1))
    }

    fn batch(&self, rows: &[&[u32]], padding: usize, rng: &mut Rng, device: &Device) -> Batch {
        let places: Vec<Vec<usize>> = rows.iter().map(|row| self.masked(row.len(), rng)).collect();
        Batch::masked(rows, &places, self.mask() as u32, padding, device)
    }

    fn question(&self, histories: Tensor<2, Int>) -> Tensor<2, Int> {
        let [batch, _] = histories.dims();
        let mask = Tensor::full([batch, 1], self.mask() as i64, &histories.device());
        Tensor::cat(vec![histories, mask], 1)
    }
}

impl Network {
    /// The index that stands for a masked item; the padding's is the one before it.
    fn mask(&self) -> usize {
        self.items.weight.dims()[0] - 1
    }

    /// The places of a row of `length` items that are masked.
    fn masked(&self, length: usize, rng: &mut Rng) -> Vec<usize> {
        if rng.uniform() < self.mask_last_probability {
            return vec![length - 1];
        }
        let mut places: Vec<usize> = (0..length).collect();
        rng.shuffle(&mut places);
        places.truncate(((length as f64 * self.mask_probability).round() as usize).max(1));
        places
    }
}

#[cfg(test)]
mod tests {
    use super::{Bert4Rec, Network};
    use crate::fixture::{assert_padding_changes_nothing, hits_on_a_cycle, states};
    use burn::tensor::{Device, Int, Tensor};
    use framework::parameters;
    use framework::plugin::defaults;
    use framework::rng::Rng;
    use framework::training::SequenceModel;

    fn network() -> Network {
        let settings: Bert4Rec = defaults();
        settings.network(9, &Device::flex())
    }

    #[test]
    fn a_later_item_changes_earlier_states() {
        let network = parameters::initialize(network(), &Rng::new(1, "test"));
        let (a, b) = (states(&network, &[1, 2, 3, 4]), states(&network, &[1, 2, 3, 8]));
        assert!(a.iter().zip(&b).all(|(a, b)| a != b));
    }

    #[test]
    fn padding_does_not_change_states() {
        assert_padding_changes_nothing(network());
    }

    #[test]
    fn a_mask_follows_what_is_asked_about() {
        let histories = Tensor::<2, Int>::from_ints([[9, 9, 4], [1, 2, 3]], &Device::flex());
        let question = network().question(histories).into_data();
        assert_eq!(question.iter::<i64>().collect::<Vec<_>>(), [9, 9, 4, 10, 1, 2, 3, 10]);
    }

    #[test]
    fn a_fifth_of_the_items_is_masked_or_the_last_alone() {
        let (network, mut rng) = (network(), Rng::new(1, "test"));
        let drawn: Vec<Vec<usize>> = (0..2000).map(|_| network.masked(10, &mut rng)).collect();
        let last = drawn.iter().filter(|places| **places == [9]).count();
        assert!((140..260).contains(&last), "{last} of 2000 mask the last alone");
        let mut counts = [0; 10];
        for place in drawn.iter().filter(|places| places.len() == 2).flatten() {
            counts[*place] += 1;
        }
        assert!(counts.iter().all(|count| (280..440).contains(count)), "{counts:?}");
        assert!(drawn.iter().all(|places| places.len() == 2 || *places == [9]));
        assert_eq!(network.masked(1, &mut rng), [0]);
    }

    #[test]
    fn it_learns_a_cycle() {
        let settings = "dropout = 0.0\n\
            training = { max_epochs = 40, learning_rate = 0.002, batch_size = 16, patience = 20 }";
        let hits = hits_on_a_cycle::<Bert4Rec>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }
}
