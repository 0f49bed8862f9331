//! Small training data for the tests of plugins.

use burn::tensor::Tensor;
use framework::context::Context;
use framework::corpus::Items;
use framework::metrics::Metric;
use framework::progress::Progress;
use framework::protocol::{Cases, Sequence, Train};
use framework::rng::Rng;
use framework::roles::Loss;
use std::sync::Arc;

/// Surroundings on the CPU with seed 1, and the folder that they work in.
pub(crate) fn context() -> (Context, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let work = folder.path().to_path_buf();
    let cx = Context::new(burn::tensor::Device::flex(), 1, work.clone(), work, Progress::hidden());
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
        items: Arc::new(Items { id: names.clone(), title: names, image: vec![None; num_items] }),
        sequences: split,
        max_history: 50,
        validation,
        truth: None,
        selects_by: Metric::parse("hr@1").expect("a metric"),
    }
}

/// `users` walks of `length` steps around a circle of `num_items`: the next item is certain.
pub(crate) fn cycle(num_items: u32, users: u32, length: u32) -> Train {
    let walks: Vec<Vec<u32>> =
        (0..users).map(|user| (0..length).map(|n| (user * 5 + n) % num_items).collect()).collect();
    train(num_items as usize, &walks.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A loss for one position whose target, the last of three items, scores ln 5 and whose other items score 0 and ln 2.
pub(crate) fn loss(loss: &dyn Loss) -> f64 {
    let device = burn::tensor::Device::flex().autodiff();
    let states = Tensor::from_floats([[1.0, 0.0]], &device).require_grad();
    let items = Tensor::from_floats([[0.0, 1.0], [2f32.ln(), 1.0], [5f32.ln(), 1.0]], &device).require_grad();
    let value = loss.loss(states, items, Tensor::from_ints([2], &device), &mut Rng::new(1, "test"));
    value.inner().into_data().iter::<f64>().sum()
}
