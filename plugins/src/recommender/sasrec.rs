//! Self-attention over the sequence of items; how it is trained is the framework's business.

use crate::nn::linear::{LayerNorm, embedding};
use crate::nn::transformer::{Block, BlockSettings};
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
    /// Self-attentive sequential recommendation: a causal transformer whose last state is matched with item embeddings.
    ///
    /// Kang and McAuley, ICDM 2018 (arXiv 1808.09781). The defaults of `hidden_size`, `num_layers` and `max_seq_length`
    /// are the paper's for sparse data. With `loss = { use = "bce" }` it is trained as in the paper; cross-entropy over
    /// the catalogue, the default, is stronger (Klenitskiy and Vasilev, RecSys 2023, arXiv 2309.07602), and
    /// `loss = { use = "gbce" }` makes it gSASRec (Petrov and Macdonald, RecSys 2023, arXiv 2308.07192).
    ///
    /// Traps of the original: the paper ranks each target among 100 drawn items, of at most 10,000 users, so its figures
    /// are not those of the whole catalogue. Its code trains on the last `max_seq_length` items of a user only, where
    /// here all are trained on, in stretches of that length; and it normalizes an attention's queries, not its keys and
    /// values, where here all three are.
    pub struct SasRec: Recommender = "sasrec" {
        /// Width of the embeddings and of all layers.
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
        /// Normalization before attention and feed-forward, as in the paper, or after them.
        norm_first: bool = true,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
    check |settings, report| {
        let SasRec { hidden_size, num_heads, .. } = settings;
        if hidden_size % num_heads != 0 {
            report.conflict(
                "num_heads",
                format!("{num_heads} heads do not divide a hidden_size of {hidden_size}"),
                "a divisor of hidden_size",
            );
        }
    }
}

impl Recommender for SasRec {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl SasRec {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { hidden_size, num_heads, dropout, norm_first, .. } = *self;
        let block = BlockSettings {
            hidden_size,
            num_heads,
            inner_size: hidden_size,
            dropout,
            inner_dropout: dropout,
            norm_first,
            gelu: false,
        };
        Network {
            items: embedding(num_items + 1, hidden_size, device),
            positions: embedding(self.max_seq_length, hidden_size, device),
            blocks: (0..self.num_layers).map(|_| Block::new(&block, device)).collect(),
            norm: LayerNorm::new(hidden_size, device),
            dropout,
        }
    }
}

/// The network: embeddings, blocks, a last normalization.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, hidden]`; the last row is the padding's.
    items: Embedding,
    /// `[max_seq_length, hidden]`; the last row is the most recent interaction's.
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    dropout: f64,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.positions.weight.dims()[0]
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let [_, length] = histories.dims();
        let [rows, hidden] = self.items.weight.dims();
        let visible = Visible::causal(&histories, rows - 1);
        let last = self.max_seq_length();
        let positions = self.positions.weight.val().narrow(0, last - length, length);
        // The authors' code scales the items' embeddings so that positions do not drown them.
        let items = self.items.forward(histories) * (hidden as f64).sqrt();
        let x = noise.dropout(items + positions.unsqueeze(), self.dropout);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &visible, noise));
        self.norm.forward(x)
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::SasRec;
    use crate::fixture::{context, cycle, train};
    use burn::tensor::activation::log_softmax;
    use burn::tensor::{Device, Int, Tensor};
    use framework::noise::Noise;
    use framework::parameters;
    use framework::plugin::{Setting, defaults};
    use framework::problem::Reader;
    use framework::rng::Rng;
    use framework::roles::{Query, Recommender};
    use framework::sequences::{Batch, windows};
    use framework::toml;
    use framework::training::SequenceModel;

    fn sasrec(settings: &str) -> SasRec {
        let table: toml::Table = settings.parse().expect("TOML");
        SasRec::read(&toml::Value::Table(table), &mut Reader::default()).expect("right settings")
    }

    #[test]
    fn a_later_item_does_not_change_earlier_states() {
        let settings: SasRec = defaults();
        let device = Device::flex();
        let network = parameters::initialize(settings.network(9, &device), &Rng::new(1, "test"));
        let states = |items: [i64; 5]| {
            let histories = Tensor::<1, Int>::from_ints(items, &device).unsqueeze();
            let states = network.states(histories, &mut Noise::none()).reshape([5, 64]);
            states.into_data().try_to_vec::<f32>().expect("floats")
        };
        let (a, b) = (states([9, 1, 2, 3, 4]), states([9, 1, 2, 3, 8]));
        assert_eq!(a[..4 * 64], b[..4 * 64]);
        assert_ne!(a[4 * 64..], b[4 * 64..]);
    }

    #[test]
    fn padding_does_not_change_states() {
        let settings: SasRec = defaults();
        let device = Device::flex();
        let network = parameters::initialize(settings.network(9, &device), &Rng::new(1, "test"));
        let last = |items: &[i64]| {
            let histories = Tensor::<1, Int>::from_ints(items, &device).unsqueeze();
            let states = network.states(histories, &mut Noise::none()).reshape([items.len(), 64]);
            states.narrow(0, items.len() - 1, 1).into_data().try_to_vec::<f32>().expect("floats")
        };
        for (a, b) in last(&[1, 2, 3]).iter().zip(last(&[9, 9, 1, 2, 3])) {
            assert!((a - b).abs() < 1e-5);
        }
    }

    #[test]
    fn it_learns_a_cycle() {
        let (cx, _folder) = context();
        let train = cycle(12, 64, 9);
        let model = sasrec("training = { max_epochs = 60, learning_rate = 0.01, patience = 60 }");
        let scorer = model.fit(&train, &cx).expect("it trains");
        let hits = train.validate(&*scorer, &cx).expect("it scores");
        assert!(hits > 0.95, "hr@1 {hits}");
    }

    #[test]
    fn a_resumed_run_ends_with_the_same_bytes() {
        let train = cycle(12, 40, 9);
        let settings = |epochs: usize| {
            sasrec(&format!("training = {{ max_epochs = {epochs}, batch_size = 16, learning_rate = 0.003 }}"))
        };
        let saved = |model: SasRec, cx: &framework::context::Context| {
            let scorer = model.fit(&train, cx).expect("it trains");
            scorer.save(&cx.work).expect("it is saved");
            std::fs::read(cx.work.join("model.safetensors")).expect("the checkpoint")
        };
        let ((straight, _a), (stopped, _b)) = (context(), context());
        let expected = saved(settings(4), &straight);
        assert_ne!(saved(settings(2), &stopped), expected);
        assert_eq!(stopped.epochs().len(), 2);
        assert_eq!(saved(settings(4), &stopped), expected);
        assert_eq!(straight.epochs().len(), 4);
        let losses = |cx: &framework::context::Context| cx.epochs().iter().map(|e| e.loss).collect::<Vec<_>>();
        assert_eq!(losses(&stopped)[2..], losses(&straight));
    }

    #[test]
    fn a_checkpoint_scores_like_the_model_it_came_from() {
        let (cx, _folder) = context();
        let train = cycle(12, 20, 9);
        let model = sasrec("training = { max_epochs = 1 }");
        let fitted = model.fit(&train, &cx).expect("it trains");
        fitted.save(&cx.work).expect("it is saved");
        let loaded = model.load(&cx.work, &train, &cx).expect("it is read");
        let queries: Vec<_> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn framework::roles::Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }

    /// Forty rows of three items and forty of thirty, one after the other: worth two batches.
    fn mixed() -> Vec<Vec<u32>> {
        let row = |n: u32| (0..if n.is_multiple_of(2) { 3 } else { 30 }).map(|k| (n + k * (1 + n % 5)) % 12).collect();
        (0..80).map(row).collect()
    }

    #[test]
    fn short_and_long_histories_are_scored_together_as_alone() {
        let (cx, _folder) = context();
        let scorer = sasrec("training = { max_epochs = 1 }").fit(&cycle(12, 20, 9), &cx).expect("it trains");
        let histories = mixed();
        let queries: Vec<Query> = histories.iter().map(|history| Query { history, ..Query::default() }).collect();
        let scores = |queries: &[Query]| -> Vec<f32> {
            scorer.score(queries, &cx).expect("scores").into_data().try_to_vec().expect("floats")
        };
        let alone: Vec<f32> = queries.iter().flat_map(|query| scores(&[*query])).collect();
        for (a, b) in scores(&queries).iter().zip(&alone) {
            assert!((a - b).abs() < 1e-4, "{a} but {b}");
        }
    }

    #[test]
    fn a_step_that_is_cut_learns_from_the_mean_of_all_positions() {
        let (cx, _folder) = context();
        let rows = mixed();
        let train = train(12, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let model = sasrec("dropout = 0.0\ntraining = { max_epochs = 1, batch_size = 1000 }");
        model.fit(&train, &cx).expect("it trains");
        let network = parameters::initialize(model.network(12, &cx.device), &cx.rng("initial values"));
        let (mut sum, mut positions) = (0.0, 0);
        for row in windows(&train.sequences, 50) {
            let batch = Batch::new(&[row], 12, &cx.device);
            let states = network.states(batch.histories, &mut Noise::none()).reshape([row.len() - 1, 64]);
            let logits = log_softmax(states.matmul(network.item_embeddings().transpose()), 1);
            let chosen = logits.gather(1, batch.targets.unsqueeze_dim(1)).into_data();
            sum -= chosen.iter::<f64>().sum::<f64>();
            positions += row.len() - 1;
        }
        let (loss, expected) = (cx.epochs()[0].loss, sum / positions as f64);
        assert!((loss - expected).abs() < 1e-4, "{loss} but {expected}");
    }

    /// What a diverged model's loss is.
    #[derive(Debug)]
    struct Infinite;

    impl framework::roles::Loss for Infinite {
        fn loss(&self, states: Tensor<2>, _: Tensor<2>, _: Tensor<1, Int>, _: &mut Rng) -> Tensor<1> {
            states.sum() * f32::INFINITY
        }
    }

    #[test]
    fn a_diverged_loss_ends_the_run_with_epoch_step_and_remedy() {
        let (cx, _folder) = context();
        let (train, settings): (_, SasRec) = (cycle(12, 20, 9), defaults());
        let network = settings.network(train.num_items(), &cx.device);
        let result = framework::training::fit(network, &Infinite, &settings.training, &train, &cx);
        let message = result.err().expect("it diverges").to_string();
        for part in ["training diverged: the loss was", "epoch 1, step 1", "fix: a lower learning_rate"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn heads_must_divide_the_width() {
        let table: toml::Table = "num_heads = 7".parse().expect("TOML");
        let mut reader = Reader::default();
        SasRec::read(&toml::Value::Table(table), &mut reader);
        assert_eq!(reader.problems[0].path, ["num_heads"]);
    }
}
