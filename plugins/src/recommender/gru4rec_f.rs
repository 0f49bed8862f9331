//! Gated recurrent units over items, and others over what is known of them; how it is trained is the framework's
//! business.

use crate::nn::features::{FeatureMap, Features};
use crate::nn::gru::Gru;
use crate::nn::linear::{embedding, linear};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor};
use framework::context::Context;
use framework::error::Result;
use framework::noise::Noise;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Embeddings, Loss, Recommender, Scorer};
use framework::training::{SequenceModel, Training};
use serde_json::{Value, json};
use std::path::Path;

framework::plugin! {
    /// GRU4RecF: one recurrent network reads the items, another their features, and both together name the next item.
    ///
    /// The parallel architecture of Hidasi et al., RecSys 2016, in the form of RecBole: both networks' states, side by
    /// side, go through one linear map to the width of the embeddings, and are matched with these alone. Both networks
    /// are trained at once; the paper also trains them in turns, which was better there. The sizes and the dropout are
    /// RecBole's defaults.
    ///
    /// RecBole learns an embedding for each value of a categorical field. Here features are vectors that do not change,
    /// through a linear map that is learned: the same thing for a field that is written as ones and zeros, and more for
    /// embeddings of titles or pictures, as the paper's are. The recurrent layers have biases, as those of `gru4rec`.
    ///
    /// What features add is the difference to the same recommender with the features of a `placebo`: `gru4rec` has one
    /// network only.
    struct Gru4RecF: Recommender = "gru4rec_f" {
        /// Width of the item embeddings, and of what features are mapped to.
        #[range(1..=8192)]
        embedding_size: usize = 64,
        /// Width of each network's states.
        #[range(1..=8192)]
        hidden_size: usize = 128,
        /// Layers of gated recurrent units in each network.
        #[range(1..=64)]
        num_layers: usize = 1,
        /// The share of the item embeddings that are read that is dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.3,
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
}

impl Recommender for Gru4RecF {
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

impl Gru4RecF {
    /// The network for items with these `features`, `[items, width]`.
    fn network(&self, features: Tensor<2>) -> Network {
        let Self { embedding_size, hidden_size, num_layers, dropout, max_seq_length, .. } = *self;
        let ([num_items, _], device) = (features.dims(), features.device());
        let gru = || Gru::new(embedding_size, hidden_size, num_layers, &device);
        Network {
            items: embedding(num_items + 1, embedding_size, &device),
            features: FeatureMap::new(features, embedding_size),
            item_gru: gru(),
            feature_gru: gru(),
            output: linear(2 * hidden_size, embedding_size, &device),
            dropout,
            max_seq_length,
        }
    }
}

/// The network: recurrent layers over embeddings, others over features, a linear map of both back to embeddings.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, embedding]`; the last row is the padding's.
    items: Embedding,
    features: FeatureMap,
    item_gru: Gru,
    feature_gru: Gru,
    /// `[2 * hidden, embedding]`.
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
        let items = noise.dropout(self.items.forward(histories.clone()), self.dropout);
        let items = self.item_gru.forward(items, padding.clone());
        let features = self.feature_gru.forward(self.features.forward(histories), padding);
        self.output.forward(Tensor::cat(vec![items, features], 2))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        let [rows, _] = self.items.weight.dims();
        self.items.weight.val().narrow(0, 0, rows - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gru4RecF, Network};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, context, cycle, hits_on_a_cycle};
    use crate::nn::features::planted;
    use burn::tensor::{Device, Tensor};
    use framework::plugin::defaults;
    use framework::roles::{Query, Recommender, Scorer};
    use framework::training::Training;

    /// For nine items that features do not tell apart.
    fn network() -> Network {
        let settings: Gru4RecF = defaults();
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
    fn it_learns_a_cycle() {
        let settings = "training = { max_epochs = 20, learning_rate = 0.01, batch_size = 16 }";
        let hits = hits_on_a_cycle::<Gru4RecF>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }

    #[test]
    fn features_speak_for_an_item_that_nobody_chose() {
        let settings: Gru4RecF = defaults();
        let features = planted::groups();
        let told = planted::hits(settings.network(features.clone()));
        let untold = planted::hits(settings.network(features.zeros_like()));
        assert!(told > 0.8 && untold < 0.5, "hr@1 {told}, without features {untold}");
    }

    #[test]
    fn a_checkpoint_scores_like_the_model_it_came_from() {
        let ((cx, _folder), (_elsewhere, saved)) = (context(), context());
        let train = cycle(12, 20, 9);
        let model = Gru4RecF { training: Training { max_epochs: 1, ..defaults() }, ..defaults() };
        let fitted = model.fit(&train, &cx).expect("it trains");
        fitted.save(saved.path()).expect("it is saved");
        let loaded = model.load(saved.path(), &train, &cx).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }
}
