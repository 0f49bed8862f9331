//! Small training data for the tests of plugins.

use burn::tensor::{Device, Int, Tensor};
use framework::context::Context;
use framework::corpus::Items;
use framework::metrics::Metric;
use framework::noise::Noise;
use framework::parameters;
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::progress::Progress;
use framework::protocol::{Cases, Sequence, Train};
use framework::rng::Rng;
use framework::roles::{Loss, Recommender};
use framework::toml::{Table, Value};
use framework::training::SequenceModel;
use std::sync::Arc;

/// Surroundings on the CPU with seed 1, and the folder that they work in.
pub(crate) fn context() -> (Context, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let work = folder.path().to_path_buf();
    let cx = Context::new(Device::flex(), 1, work.clone(), work, Progress::hidden());
    (cx, folder)
}

/// Sequences of items below `num_items`, timestamps by position; the last item of each is the validation target.
pub(crate) fn train(num_items: usize, sequences: &[&[u32]]) -> Train {
    let mut validation = Cases { max_history: 50, ..Cases::default() };
    let mut split = Vec::new();
    for (user, items) in sequences.iter().enumerate() {
        let (target, history) = items.split_last().expect("no sequence is empty");
        validation.users.push(user as u32);
        validation.histories.push(history.to_vec());
        validation.targets.push(*target);
        split.push(Sequence { items: history.to_vec(), timestamps: (0..history.len() as i64).collect() });
    }
    let names: Vec<String> = (0..num_items).map(|n| n.to_string()).collect();
    Train {
        users: Arc::new((0..sequences.len()).map(|n| n.to_string()).collect()),
        items: Arc::new(Items { id: names.clone(), title: names, image: vec![None; num_items], ..Items::default() }),
        sequences: split,
        max_history: 50,
        validation,
        truth: None,
        selects_by: Metric::parse("hr@1").expect("a metric"),
    }
}

/// Training data of items with these titles, at least one.
pub(crate) fn titled(titles: &[&str]) -> Train {
    let mut train = train(titles.len(), &[&[0, 0]]);
    Arc::make_mut(&mut train.items).title = titles.iter().map(|title| (*title).to_string()).collect();
    train
}

/// The rows of `values`.
pub(crate) fn rows(values: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, columns] = values.dims();
    let values: Vec<f32> = values.into_data().iter::<f32>().collect();
    values.chunks(columns.max(1)).map(<[f32]>::to_vec).collect()
}

/// `users` walks of `length` steps around a circle of `num_items`: the next item is certain.
pub(crate) fn cycle(num_items: u32, users: u32, length: u32) -> Train {
    let walks: Vec<Vec<u32>> =
        (0..users).map(|user| (0..length).map(|n| (user * 5 + n) % num_items).collect()).collect();
    train(num_items as usize, &walks.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The share of a circle's validation targets that a recommender with these settings ranks first.
pub(crate) fn hits_on_a_cycle<R: Recommender + Setting>(settings: &str) -> f64 {
    let (cx, _folder) = context();
    let train = cycle(12, 64, 9);
    let table: Table = settings.parse().expect("TOML");
    let recommender = R::read(&Value::Table(table), &mut Reader::default()).expect("right settings");
    let scorer = recommender.fit(&train, &cx).expect("it trains");
    train.validate(&*scorer, &cx).expect("it scores")
}

/// The state after each of `items`.
pub(crate) fn states(network: &impl SequenceModel, items: &[i64]) -> Vec<Vec<f32>> {
    let histories = Tensor::<1, Int>::from_ints(items, &Device::flex()).unsqueeze();
    let states = network.states(histories, &mut Noise::none());
    let [_, _, hidden] = states.dims();
    let values: Vec<f32> = states.into_data().try_to_vec().expect("floats");
    values.chunks(hidden).map(<[f32]>::to_vec).collect()
}

/// Fails where a later item changes the states before it. The network is for nine items.
pub(crate) fn assert_causal(network: impl SequenceModel) {
    let network = parameters::initialize(network, &Rng::new(1, "test"));
    let (a, b) = (states(&network, &[9, 1, 2, 3, 4]), states(&network, &[9, 1, 2, 3, 8]));
    assert_eq!(a[..4], b[..4]);
    assert_ne!(a[4], b[4]);
}

/// Fails where padding changes the states after it. The network is for nine items, so padding is 9.
pub(crate) fn assert_padding_changes_nothing(network: impl SequenceModel) {
    let network = parameters::initialize(network, &Rng::new(1, "test"));
    let (alone, padded) = (states(&network, &[1, 2, 3]), states(&network, &[9, 9, 1, 2, 3]));
    assert_eq!(alone.len(), padded[2..].len());
    for (a, b) in alone.iter().flatten().zip(padded[2..].iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} but {b}");
    }
}

/// A loss for one position whose target, the last of three items, scores ln 5 and whose other items score 0 and ln 2.
pub(crate) fn loss(loss: &dyn Loss) -> f64 {
    let device = Device::flex().autodiff();
    let states = Tensor::from_floats([[1.0, 0.0]], &device).require_grad();
    let items = Tensor::from_floats([[0.0, 1.0], [2f32.ln(), 1.0], [5f32.ln(), 1.0]], &device).require_grad();
    let value = loss.loss(states, items, Tensor::from_ints([2], &device), &mut Rng::new(1, "test"));
    value.inner().into_data().iter::<f64>().sum()
}
