//! What recommenders know of items besides who chose them: frozen vectors, made once and kept beside the checkpoint.
//! Not a plugin.

use super::linear::projection;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::roles::{Embeddings, Loss, Query, Scorer};
use framework::training::{self, SequenceModel, Training};
use std::path::Path;

const FILE: &str = "features.safetensors";
const FEATURES: &str = "features";

/// What a recommender reads besides its parameters, so that nothing has to be embedded again to load it.
#[derive(Debug)]
pub(crate) struct Features {
    matrices: Tensors,
}

impl Features {
    /// One matrix, `[items, width]`: the items' embeddings, all multiplied by one number so that the mean of the rows'
    /// squared lengths is one. Step sizes then suit any kind of embeddings, and their geometry stays.
    pub(crate) fn of(embeddings: &Pick<dyn Embeddings>, train: &Train, cx: &Context) -> Result<Self> {
        Self::made(cx, || {
            let (width, mut values) = embedded(embeddings, "features", train, cx)?;
            let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            if squares > 0.0 {
                let scale = (train.num_items() as f64 / squares).sqrt() as f32;
                values.iter_mut().for_each(|value| *value *= scale);
            }
            Ok(Tensors::from([(FEATURES.to_string(), (vec![train.num_items(), width], values))]))
        })
    }

    /// The matrices that `make` gives, or gave before this run was killed.
    pub(crate) fn made(cx: &Context, make: impl FnOnce() -> Result<Tensors>) -> Result<Self> {
        let file = cx.work.join(FILE);
        if file.exists() {
            return Self::read(&cx.work);
        }
        let matrices = make()?;
        checkpoint::write(&file, &matrices, "")?;
        Ok(Self { matrices })
    }

    /// Reads back what a scorer that came from `beside` saved to `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        Ok(Self { matrices: checkpoint::read(&folder.join(FILE))?.0 })
    }

    /// The columns and, row by row, the values of the matrix `name`.
    pub(crate) fn matrix(&self, name: &str) -> Result<(usize, &[f32])> {
        match self.matrices.get(name).map(|(shape, values)| (shape.as_slice(), values.as_slice())) {
            Some(([_, columns], values)) => Ok((*columns, values)),
            _ => Err(Error::new(format!("no matrix `{name}` in it")).at(FILE).fix("a checkpoint of this recommender")),
        }
    }

    /// The only matrix of `of`: its columns and, row by row, its values.
    pub(crate) fn values(&self) -> Result<(usize, &[f32])> {
        self.matrix(FEATURES)
    }

    /// The only matrix of `of`, `[items, width]`.
    pub(crate) fn tensor(&self, device: &Device) -> Result<Tensor<2>> {
        let (width, values) = self.values()?;
        let shape = [values.len() / width.max(1), width];
        Ok(Tensor::from_data(TensorData::new(values.to_vec(), shape), device))
    }

    /// Trains the network that `network` makes for the embeddings, and keeps both.
    pub(crate) fn fit<M: SequenceModel>(
        embeddings: &Pick<dyn Embeddings>,
        network: impl FnOnce(Tensor<2>) -> M,
        loss: &dyn Loss,
        settings: &Training,
        train: &Train,
        cx: &Context,
    ) -> Result<Box<dyn Scorer>> {
        let features = Self::of(embeddings, train, cx)?;
        let network = network(features.tensor(&cx.device)?);
        Ok(features.beside(training::fit(network, loss, settings, train, cx)?))
    }

    /// Reads back what the scorer that `fit` gave saved to `folder`.
    pub(crate) fn load<M: SequenceModel>(
        network: impl FnOnce(Tensor<2>) -> M,
        folder: &Path,
        train: &Train,
        cx: &Context,
    ) -> Result<Box<dyn Scorer>> {
        let features = Self::read(folder)?;
        let network = network(features.tensor(&cx.device)?);
        Ok(features.beside(training::load(network, folder, train)?))
    }

    /// `scorer`, which saves these matrices with its own checkpoint.
    pub(crate) fn beside(self, scorer: Box<dyn Scorer>) -> Box<dyn Scorer> {
        Box::new(Featured { scorer, features: self })
    }
}

/// The width and, row by row, the values of the items' embeddings; `key` is the setting that names their plugin.
pub(crate) fn embedded(
    embeddings: &Pick<dyn Embeddings>,
    key: &str,
    train: &Train,
    cx: &Context,
) -> Result<(usize, Vec<f32>)> {
    // Some train a recommender, which needs a folder of its own.
    let cx = cx.inside(key);
    std::fs::create_dir_all(&cx.work).explain("making a folder", cx.work.display())?;
    let embedded = embeddings.embed(train, &cx)?;
    let ([rows, width], place) = (embedded.dims(), format!("recommender.{key}"));
    if rows != train.num_items() || width == 0 {
        let message = format!("{} gives vectors of shape {:?}", embeddings.name(), [rows, width]);
        return Err(Error::new(message).at(place).fix(format!("a row for each of {} items", train.num_items())));
    }
    let values: Vec<f32> = embedded.into_data().iter::<f32>().collect();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok((width, values)),
        false => Err(Error::new(format!("{} gives vectors that are not numbers", embeddings.name())).at(place)),
    }
}

/// A scorer and what it reads besides its parameters.
struct Featured {
    scorer: Box<dyn Scorer>,
    features: Features,
}

impl Scorer for Featured {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        self.scorer.score(queries, cx)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.scorer.save(folder)?;
        checkpoint::write(&folder.join(FILE), &self.features.matrices, "")
    }

    fn item_embeddings(&self) -> Option<Tensor<2>> {
        self.scorer.item_embeddings()
    }
}

/// Reads items' features: frozen vectors and a learned linear map from them.
#[derive(Module, Debug)]
pub(crate) struct FeatureMap {
    /// `[items + 1, width]`; the padding's row, the last, is zero. No parameter: neither trained nor in the checkpoint.
    features: Tensor<2>,
    /// `[width, output]`.
    map: Linear,
}

impl FeatureMap {
    /// From `features` `[items, width]` to vectors of `output` numbers.
    pub(crate) fn new(features: Tensor<2>, output: usize) -> Self {
        let ([_, width], device) = (features.dims(), features.device());
        let padding = Tensor::zeros([1, width], &device);
        Self { features: Tensor::cat(vec![features, padding], 0), map: projection(width, output, &device) }
    }

    /// Items `[batch, length]` to `[batch, length, output]`; padding, the index that follows the last item's, to zeros.
    pub(crate) fn forward(&self, items: Tensor<2, Int>) -> Tensor<3> {
        let ([batch, length], [_, output]) = (items.dims(), self.map.weight.dims());
        let rows = self.features.clone().select(0, items.reshape([batch * length]));
        self.map.forward(rows).reshape([batch, length, output])
    }
}

/// A task that only features solve.
#[cfg(test)]
pub(crate) mod planted {
    use crate::fixture::{context, train};
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::plugin::{Pick, defaults};
    use framework::protocol::Train;
    use framework::roles::Loss;
    use framework::training::{self, SequenceModel, Training};

    /// Groups of two items each: `2 * g` and `2 * g + 1` are group `g`'s.
    const GROUPS: u32 = 12;

    /// Who chose from one group chooses from the next. Nobody chose a group's second item in training; in validation
    /// it is all that is known of a user, and the first item of the next group is right.
    fn circle() -> Train {
        let walk = |user: u32| (0..3 + user % 5).map(|n| 2 * ((user + n) % GROUPS)).collect();
        let walks: Vec<Vec<u32>> = (0..180).map(walk).collect();
        let mut train = train(2 * GROUPS as usize, &walks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for user in &train.validation.users {
            let group = user % GROUPS;
            train.validation.histories[*user as usize] = vec![2 * group + 1];
            train.validation.targets[*user as usize] = 2 * ((group + 1) % GROUPS);
        }
        train
    }

    /// Features that say which group an item is of, `[items, groups]`.
    pub(crate) fn groups() -> Tensor<2> {
        let one = |n: u32| f32::from(u8::from(n / GROUPS / 2 == n % GROUPS));
        let shape = [2 * GROUPS as usize, GROUPS as usize];
        let values = (0..2 * GROUPS * GROUPS).map(one).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    /// The share of validation targets that a network ranks first once it is trained; by chance, one in 24.
    pub(crate) fn hits(network: impl SequenceModel) -> f64 {
        let ((cx, _folder), train) = (context(), circle());
        let loss: Pick<dyn Loss> = Pick::named("cross_entropy");
        let settings = Training { max_epochs: 40, learning_rate: 0.01, batch_size: 16, patience: 40, ..defaults() };
        let scorer = training::fit(network, &*loss, &settings, &train, &cx).expect("it trains");
        train.validate(&*scorer, &cx).expect("it scores")
    }
}

#[cfg(test)]
mod tests {
    use super::{FeatureMap, Features, Tensors};
    use crate::fixture::{context, train};
    use burn::tensor::{Device, Int, Tensor, TensorData};
    use framework::error::Error;
    use framework::parameters;
    use framework::plugin::Pick;

    #[test]
    fn features_have_a_row_for_each_item_and_are_made_once() {
        let (cx, _folder) = context();
        let train = train(4, &[&[0, 1, 2], &[1, 2, 3]]);
        let features = Features::of(&Pick::named("title_words"), &train, &cx).expect("features");
        let (width, values) = features.values().expect("a matrix");
        assert_eq!(values.len(), 4 * width);
        let squares: f32 = values.iter().map(|value| value * value).sum();
        assert!(squares == 0.0 || (squares - 4.0).abs() < 1e-3, "{squares}");
        let again = Features::made(&cx, || Err(Error::new("they are made again"))).expect("the same");
        assert_eq!(again.values().expect("a matrix"), (width, values));
        assert!(features.matrix("another").is_err());
        assert_eq!(features.tensor(&cx.device).expect("a tensor").dims(), [4, width]);
    }

    #[test]
    fn matrices_that_are_there_are_not_made_again() {
        let (cx, _folder) = context();
        let matrices = |value: f32| Tensors::from([("codes".to_string(), (vec![1, 2], vec![value, 7.0]))]);
        for value in [3.0, 4.0] {
            let made = Features::made(&cx, || Ok(matrices(value))).expect("features");
            assert_eq!(made.matrix("codes").expect("a matrix"), (2, &[3.0, 7.0][..]));
        }
    }

    #[test]
    fn the_map_is_trained_the_features_are_not_and_padding_has_none() {
        let device = Device::flex();
        let map = FeatureMap::new(Tensor::from_floats([[1.0, 2.0], [3.0, 4.0]], &device), 1);
        let paths: Vec<String> = parameters::read(&map).into_iter().map(|parameter| parameter.path).collect();
        assert_eq!(paths, ["map.weight"]);
        let map = parameters::replace(map, |_, _, values| {
            Tensor::from_data(TensorData::from([10.0f32, 1.0]), &values.device())
        });
        let read = map.forward(Tensor::<2, Int>::from_ints([[2, 0], [1, 1]], &device));
        assert_eq!(read.dims(), [2, 2, 1]);
        assert_eq!(read.into_data().try_to_vec::<f32>().expect("floats"), [0.0, 12.0, 34.0, 34.0]);
    }
}
