//! Self-attention over items and what is known of them; how it is trained is the framework's business.

use crate::nn::features::{FeatureMap, Features};
use crate::nn::linear::{LayerNorm, embedding, linear};
use crate::nn::transformer::{Block, BlockSettings};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::fused::Visible;
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Embeddings, Loss, Recommender, Scorer};
use framework::training::{SequenceModel, Training};
use serde_json::{Value, json};
use std::path::Path;

framework::plugin! {
    /// SASRecF: a SASRec that reads each item's features beside its embedding.
    ///
    /// RecBole's model of this name (Zhao et al., CIKM 2021, arXiv 2011.01731), a variant of SASRec (Kang and McAuley,
    /// ICDM 2018, arXiv 1808.09781): one linear map takes an item's embedding and its features, side by side, to what
    /// the transformer reads; positions are added, then comes a normalization. Blocks are those of BERT. The last state
    /// is matched with the embeddings alone, so features tell about what was chosen, not about what could be next.
    ///
    /// RecBole learns an embedding for each value of a categorical field. Here features are vectors that do not change,
    /// through a linear map that is learned: the same thing for a field that is written as ones and zeros, and more for
    /// embeddings of titles or pictures. The sizes are RecBole's defaults; its dropout is 0.5, this one is `sasrec`'s.
    ///
    /// What features add is the difference to the same recommender with the features of a `placebo`: `sasrec` itself
    /// has other blocks.
    struct SasRecF: Recommender = "sasrec_f" {
        /// Width of the embeddings and of all layers; feed-forward networks are four times as wide.
        #[range(1..=8192)]
        hidden_size: usize = 64,
        /// Transformer blocks.
        #[range(1..=64)]
        num_layers: usize = 2,
        /// Attention heads per block; they divide `hidden_size`.
        #[range(1..=64)]
        num_heads: usize = 2,
        /// The share of inputs, attention weights and layer outputs that are dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.2,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What is known of the items.
        features: Pick<dyn Embeddings> = Pick::named("title_words"),
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
    check |settings, report| {
        let SasRecF { hidden_size, num_heads, .. } = settings;
        if hidden_size % num_heads != 0 {
            report.conflict(
                "num_heads",
                format!("{num_heads} heads do not divide a hidden_size of {hidden_size}"),
                "a divisor of hidden_size",
            );
        }
    }
}

impl Recommender for SasRecF {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        Features::fit(&self.features, |features| self.network(features), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        Features::load(|features| self.network(features), folder, train, cx)
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(json!({ "features": self.features.inputs(cache)? }))
    }
}

impl SasRecF {
    /// The network for items with these `features`, `[items, width]`.
    fn network(&self, features: Tensor<2>) -> Network {
        let Self { hidden_size, num_heads, dropout, .. } = *self;
        let ([num_items, _], device) = (features.dims(), features.device());
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
            items: embedding(num_items + 1, hidden_size, &device),
            features: FeatureMap::new(features, hidden_size),
            fusion: linear(2 * hidden_size, hidden_size, &device),
            positions: embedding(self.max_seq_length, hidden_size, &device),
            norm: LayerNorm::new(hidden_size, &device),
            blocks: (0..self.num_layers).map(|_| Block::new(&block, &device)).collect(),
            dropout,
        }
    }
}

/// The network: embeddings beside features, a linear map of both, blocks.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, hidden]`; the last row is the padding's.
    items: Embedding,
    features: FeatureMap,
    /// `[2 * hidden, hidden]`.
    fusion: Linear,
    /// `[max_seq_length, hidden]`; the last row is the most recent interaction's.
    positions: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
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
        let both = vec![self.items.forward(histories.clone()), self.features.forward(histories)];
        let x = self.fusion.forward(Tensor::cat(both, 2)) + positions.unsqueeze();
        let x = noise.dropout(self.norm.forward(x), self.dropout);
        self.blocks.iter().fold(x, |x, block| block.forward(x, &visible, noise))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, SasRecF};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, context, cycle, hits_on_a_cycle, states};
    use crate::nn::features::planted;
    use burn::tensor::{Device, Tensor};
    use framework::context::Context;
    use framework::parameters;
    use framework::plugin::{Setting, defaults};
    use framework::problem::Reader;
    use framework::rng::Rng;
    use framework::roles::{Query, Recommender, Scorer};
    use framework::toml;

    fn sasrec_f(settings: &str) -> SasRecF {
        let table: toml::Table = settings.parse().expect("TOML");
        SasRecF::read(&toml::Value::Table(table), &mut Reader::default()).expect("right settings")
    }

    /// For nine items that features do not tell apart.
    fn network() -> Network {
        let settings: SasRecF = defaults();
        settings.network(Tensor::ones([9, 3], &Device::flex()))
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
    fn features_change_states() {
        let settings: SasRecF = defaults();
        let state = |feature: f32| {
            let features = Tensor::full([9, 3], feature, &Device::flex());
            let network = parameters::initialize(settings.network(features), &Rng::new(1, "test"));
            states(&network, &[1, 2])
        };
        assert_eq!(state(1.0), state(1.0));
        assert_ne!(state(1.0), state(2.0));
    }

    #[test]
    fn it_learns_a_cycle() {
        let settings = "training = { max_epochs = 60, learning_rate = 0.01, patience = 60 }";
        let hits = hits_on_a_cycle::<SasRecF>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }

    #[test]
    fn features_speak_for_an_item_that_nobody_chose() {
        let settings: SasRecF = defaults();
        let features = planted::groups();
        let told = planted::hits(settings.network(features.clone()));
        let untold = planted::hits(settings.network(features.zeros_like()));
        assert!(told > 0.8 && untold < 0.5, "hr@1 {told}, without features {untold}");
    }

    #[test]
    fn a_resumed_run_ends_with_the_same_bytes() {
        let train = cycle(12, 40, 9);
        let settings = |epochs: usize| sasrec_f(&format!("training = {{ max_epochs = {epochs}, batch_size = 16 }}"));
        let saved = |model: SasRecF, cx: &Context| {
            let scorer = model.fit(&train, cx).expect("it trains");
            scorer.save(&cx.work).expect("it is saved");
            std::fs::read(cx.work.join("model.safetensors")).expect("the checkpoint")
        };
        let ((straight, _a), (stopped, _b)) = (context(), context());
        let expected = saved(settings(4), &straight);
        saved(settings(2), &stopped);
        assert_eq!(stopped.epochs().len(), 2);
        assert_eq!(saved(settings(4), &stopped), expected);
    }

    #[test]
    fn a_checkpoint_scores_like_the_model_it_came_from_and_embeds_nothing() {
        let ((cx, _folder), (elsewhere, saved)) = (context(), context());
        let train = cycle(12, 20, 9);
        let model = sasrec_f("training = { max_epochs = 1 }");
        let fitted = model.fit(&train, &cx).expect("it trains");
        fitted.save(saved.path()).expect("it is saved");
        let loaded = model.load(saved.path(), &train, &elsewhere).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
        assert!(!elsewhere.work.join("features").exists(), "it embedded the items again");
    }

    #[test]
    fn heads_must_divide_the_width() {
        let table: toml::Table = "num_heads = 7".parse().expect("TOML");
        let mut reader = Reader::default();
        SasRecF::read(&toml::Value::Table(table), &mut reader);
        assert_eq!(reader.problems[0].path, ["num_heads"]);
    }
}
