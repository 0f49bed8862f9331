//! Convolutions over the last few items; how it is trained is the framework's business.

use crate::nn::item_bias::ItemBias;
use crate::nn::linear::{embedding, linear};
use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::activation::relu;
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
    /// Caser: convolutions over the embeddings of a user's last few items, seen as an image.
    ///
    /// Tang and Wang, WSDM 2018 (arXiv 1809.07426). Horizontal filters of every height find patterns of neighbouring
    /// items, vertical ones weight the items by their place. The defaults of `embedding_size`, `window`, the filters
    /// and `dropout` are those of the authors' code for MovieLens 1M; its loss is `{ use = "bce", negatives = 3 }`.
    ///
    /// The paper puts an embedding of the user beside the convolutions' result. It is left out here, as in several
    /// re-implementations: a sequence model knows a user by their items alone, and so can serve users whom it was not
    /// trained on. The paper also predicts the next `T` items at once; here it is the next one.
    pub struct Caser: Recommender = "caser" {
        /// Width of the item embeddings and of the states (`d` in the paper).
        #[range(1..=8192)]
        embedding_size: usize = 50,
        /// The last items that a prediction is made from (`L` in the paper).
        #[range(1..=100)]
        window: usize = 5,
        /// Horizontal filters of each height from 1 to `window`.
        #[range(1..=1024)]
        horizontal_filters: usize = 16,
        /// Vertical filters.
        #[range(1..=1024)]
        vertical_filters: usize = 4,
        /// The share of the convolutions' results that is dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.5,
        /// The most recent interactions that a row of training data holds.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
}

impl Recommender for Caser {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::fit(self.network(train.num_items(), &cx.device), &*self.loss, &self.training, train, cx)
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        training::load(self.network(train.num_items(), &cx.device), folder, train)
    }
}

impl Caser {
    fn network(&self, num_items: usize, device: &Device) -> Network {
        let Self { embedding_size, window, horizontal_filters, vertical_filters, dropout, max_seq_length, .. } = *self;
        let filters = |height: usize| linear(height * embedding_size, horizontal_filters, device);
        let found = embedding_size * vertical_filters + window * horizontal_filters;
        Network {
            items: embedding(num_items + 1, embedding_size, device),
            horizontal: (1..=window).map(filters).collect(),
            vertical: linear(window, vertical_filters, device),
            dense: linear(found, embedding_size, device),
            outputs: embedding(num_items, embedding_size, device),
            bias: ItemBias::new(num_items, device),
            dropout,
            max_seq_length,
        }
    }
}

/// The network: embeddings, two kinds of convolutions side by side, a dense layer; items have other embeddings where
/// they are predicted.
#[derive(Module, Debug)]
struct Network {
    /// `[items + 1, embedding]`; the last row is the padding's, which is not read.
    items: Embedding,
    /// For each height from 1 to the window's, `[height * embedding, filters]`.
    horizontal: Vec<Linear>,
    /// `[window, filters]`.
    vertical: Linear,
    dense: Linear,
    /// `[items, embedding]`.
    outputs: Embedding,
    bias: ItemBias,
    dropout: f64,
    max_seq_length: usize,
}

impl SequenceModel for Network {
    fn max_seq_length(&self) -> usize {
        self.max_seq_length
    }

    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3> {
        let images = Images::new(self.read(histories), self.horizontal.len());
        let mut found = vec![self.vertical(&images)];
        found.extend(self.horizontal.iter().enumerate().map(|(n, filters)| images.strongest(filters, n + 1)));
        let found = noise.dropout(Tensor::cat(found, 2), self.dropout);
        self.bias.states(relu(self.dense.forward(found)))
    }

    fn item_embeddings(&self) -> Tensor<2> {
        self.bias.items(self.outputs.weight.val())
    }
}

impl Network {
    /// The items' embeddings, `[batch, length, embedding]`; padding is zero.
    fn read(&self, histories: Tensor<2, Int>) -> Tensor<3> {
        let [rows, _] = self.items.weight.dims();
        let real = histories.clone().not_equal_elem((rows - 1) as i64).float();
        self.items.forward(histories) * real.unsqueeze_dim::<3>(2)
    }

    /// Each position's window weighted by place, `[batch, length, embedding * filters]`.
    fn vertical(&self, images: &Images) -> Tensor<3> {
        let windows = images.stretches(images.window);
        let ([batch, length, _], [window, filters]) = (windows.dims(), self.vertical.weight.dims());
        let [_, _, width] = images.items.dims();
        let windows = windows.reshape([batch * length, window, width]).swap_dims(1, 2);
        self.vertical.forward(windows).reshape([batch, length, width * filters])
    }
}

/// Every position's window: itself and the items before it, zeros where there are none.
struct Images {
    /// `[batch, window - 1 + length, embedding]`.
    items: Tensor<3>,
    window: usize,
}

impl Images {
    fn new(items: Tensor<3>, window: usize) -> Self {
        let [batch, _, width] = items.dims();
        if window == 1 {
            return Self { items, window };
        }
        let before = Tensor::zeros([batch, window - 1, width], &items.device());
        Self { items: Tensor::cat(vec![before, items], 1), window }
    }

    /// All stretches of `height` items that lie side by side, `[batch, stretches, height * embedding]`.
    fn stretches(&self, height: usize) -> Tensor<3> {
        let [_, length, _] = self.items.dims();
        let count = length + 1 - height;
        Tensor::cat((0..height).map(|n| self.items.clone().narrow(1, n, count)).collect(), 2)
    }

    /// The most that each of the `filters` finds anywhere in a position's window, `[batch, length, filters]`.
    ///
    /// Windows overlap, so each stretch is looked at once and not once for every window that it is in.
    fn strongest(&self, filters: &Linear, height: usize) -> Tensor<3> {
        let found = relu(filters.forward(self.stretches(height)));
        let [_, count, _] = found.dims();
        let places = self.window - height;
        let at = |place: usize| found.clone().narrow(1, place, count - places);
        (1..=places).fold(at(0), |most, place| most.max_pair(at(place)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Caser, Images, Network};
    use crate::fixture::{assert_causal, assert_padding_changes_nothing, hits_on_a_cycle, states};
    use crate::nn::linear::linear;
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::parameters;
    use framework::plugin::defaults;
    use framework::rng::Rng;

    fn network() -> Network {
        let settings: Caser = defaults();
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
    fn only_the_window_counts() {
        let network = parameters::initialize(network(), &Rng::new(1, "test"));
        let (a, b) = (states(&network, &[7, 1, 2, 3, 4, 5]), states(&network, &[8, 1, 2, 3, 4, 5]));
        assert_eq!(a[5], b[5]);
        assert_ne!(a[4], b[4]);
    }

    #[test]
    fn a_horizontal_filter_gives_the_most_it_finds_in_the_window() {
        let device = Device::flex();
        let items = Tensor::<1>::from_floats([1.0, -2.0, 3.0, 0.5], &device).reshape([1, 4, 1]);
        // One filter of height 2: the older item minus the newer one.
        let filter = parameters::replace(linear(2, 1, &device), |_, shape, values| match shape {
            [2, 1] => Tensor::from_data(TensorData::from([1.0f32, -1.0]), &values.device()),
            _ => values,
        });
        let found = Images::new(items, 3).strongest(&filter, 2);
        // Differences, from zeros on: 0, -1, 3, -5, 2.5. Windows of three items hold two of them each.
        assert_eq!(found.into_data().try_to_vec::<f32>().expect("floats"), [0.0, 3.0, 3.0, 2.5]);
    }

    #[test]
    fn it_learns_a_cycle() {
        let settings = "training = { max_epochs = 20, learning_rate = 0.01, batch_size = 16 }";
        let hits = hits_on_a_cycle::<Caser>(settings);
        assert!(hits > 0.95, "hr@1 {hits}");
    }
}
