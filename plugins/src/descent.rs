//! Stochastic gradient ascent on which of two items was chosen: the trainer of BPR's recommenders, with early stopping
//! and a state on disk from which a killed run goes on to the same result. Not a plugin.

use framework::checkpoint::{self, Tensors};
use framework::context::{Context, Epoch};
use framework::error::{Error, Explain, Result};
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::Scorer;
use std::path::Path;
use std::time::Instant;

framework::settings! {
    /// How factors are trained: stochastic gradient ascent, one chosen item and one other item at a time.
    ///
    /// The defaults of `learning_rate` and `regularization` are those of MyMediaLite, by BPR's authors, who give items
    /// that were not chosen a tenth of this regularization, and biases none.
    pub(crate) struct Descent {
        /// Step size.
        #[range(0.0..=10.0)]
        pub(crate) learning_rate: f64 = 0.05,
        /// Weight of half the squares of the numbers that a step changes.
        #[range(0.0..=10.0)]
        pub(crate) regularization: f64 = 0.0025,
        /// Passes over the training data at most; 0 keeps the initial values.
        #[range(0..=100_000)]
        pub(crate) max_epochs: usize = 200,
        /// Epochs without a better validation score after which training ends.
        #[range(1..=100_000)]
        pub(crate) patience: usize = 10,
    }
}

/// The sizes of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) rate: f32,
    /// Weight of half the squares of the numbers that it changes.
    pub(crate) shrink: f32,
}

/// A model that learns from an item that was chosen and one that was not.
pub(crate) trait Pairwise: Scorer + Clone + 'static {
    /// Which item was chosen, and by whom or after what.
    type Choice;

    /// The size of the catalogue.
    fn num_items(&self) -> usize;

    /// The name, number of columns and values of each matrix that it learns.
    fn parts(&mut self) -> Vec<(String, usize, &mut Vec<f32>)>;

    /// Draws the values that it starts from.
    fn initialize(&mut self, rng: &Rng);

    /// One step up the gradient of `ln sigmoid(score of the chosen item - score of the other)`; gives its negative.
    fn step(&mut self, choice: &Self::Choice, other: u32, step: Step) -> f32;
}

/// The derivative of `ln sigmoid(margin)`.
pub(crate) fn slope(margin: f32) -> f32 {
    1.0 / (1.0 + margin.exp())
}

/// `-ln sigmoid(margin)`, without overflow.
pub(crate) fn loss(margin: f32) -> f32 {
    (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
}

const FILE: &str = "factors.safetensors";
const STATE: &str = "training.safetensors";

/// Trains `model` on `choices`; `is_known` says which items cannot be the one that was not chosen.
///
/// Gives the best epoch's model. Goes on from where a killed run stopped.
pub(crate) fn fit<M: Pairwise>(
    mut model: M,
    choices: &[M::Choice],
    is_known: impl Fn(&M::Choice, u32) -> bool,
    settings: &Descent,
    train: &Train,
    cx: &Context,
) -> Result<Box<dyn Scorer>> {
    if choices.is_empty() || model.num_items() < 2 {
        return Err(Error::new("no user chose an item and left another").at("recommender").fix("more data"));
    }
    model.initialize(&cx.rng("initial values"));
    let size = model.parts().iter().map(|(_, _, values)| values.len()).sum::<usize>() as u64;
    cx.spend(|cost| cost.parameters_trained += size);
    let mut state = State::resume(model, cx)?;
    let bar = cx.bar("training", settings.max_epochs);
    bar.advance(state.epochs.len());
    while !state.is_done(settings) {
        let (started, epoch) = (Instant::now(), state.epochs.len() + 1);
        let rng = cx.rng("training").fork(epoch as u64);
        let loss = pass(&mut state.model, choices, &is_known, settings, rng, cx)?;
        if !loss.is_finite() {
            return Err(Error::new(format!("training diverged: the loss was {loss}"))
                .at(format!("recommender, epoch {epoch}"))
                .fix("a lower learning_rate"));
        }
        let validation = train.validate(&state.model, cx)?;
        bar.say(format!("loss {loss:.4}, {} {validation:.4}", train.selects_by));
        state.keep(Epoch { epoch, loss, validation, seconds: started.elapsed().as_secs_f64() }, cx)?;
        bar.advance(1);
    }
    Ok(Box::new(state.best))
}

/// Writes what `load` reads.
pub(crate) fn save<M: Pairwise>(model: &M, folder: &Path) -> Result<()> {
    checkpoint::write(&folder.join(FILE), &tensors(model, ""), "")
}

/// Reads back into `model` what a fitted one saved to `folder`.
pub(crate) fn load<M: Pairwise>(model: M, folder: &Path) -> Result<Box<dyn Scorer>> {
    let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
    Ok(Box::new(filled(model, &mut tensors, "")?))
}

/// As many steps as there are choices, each from one drawn at random; their mean loss.
fn pass<M: Pairwise>(
    model: &mut M,
    choices: &[M::Choice],
    is_known: &impl Fn(&M::Choice, u32) -> bool,
    settings: &Descent,
    mut rng: Rng,
    cx: &Context,
) -> Result<f64> {
    let size = Step { rate: settings.learning_rate as f32, shrink: settings.regularization as f32 };
    let mut loss = 0.0;
    for step in 0..choices.len() {
        if step % 65_536 == 0 {
            cx.proceed()?;
        }
        let choice = &choices[rng.below(choices.len())];
        let other = loop {
            let item = rng.below(model.num_items()) as u32;
            if !is_known(choice, item) {
                break item;
            }
        };
        loss += f64::from(model.step(choice, other, size));
    }
    Ok(loss / choices.len() as f64)
}

/// All values that `model` learns, `prefix` before their names.
fn tensors<M: Pairwise>(model: &M, prefix: &str) -> Tensors {
    let mut copy = model.clone();
    let shaped = copy.parts().into_iter().map(|(name, columns, values)| {
        (format!("{prefix}{name}"), (vec![values.len() / columns, columns], std::mem::take(values)))
    });
    shaped.collect()
}

/// `model` with the values of `tensors`.
fn filled<M: Pairwise>(mut model: M, tensors: &mut Tensors, prefix: &str) -> Result<M> {
    for (name, _, values) in model.parts() {
        let stored = tensors.remove(&format!("{prefix}{name}")).filter(|(_, stored)| stored.len() == values.len());
        let missing = || Error::new(format!("no `{prefix}{name}` of {} numbers in it", values.len())).at("checkpoint");
        *values = stored.ok_or_else(missing)?.1;
    }
    Ok(model)
}

/// Everything that training goes on from.
struct State<M> {
    model: M,
    best: M,
    epochs: Vec<Epoch>,
}

impl<M: Pairwise> State<M> {
    /// The state after the last epoch that was finished in this place before, or a fresh start.
    fn resume(model: M, cx: &Context) -> Result<Self> {
        let file = cx.work.join(STATE);
        if !file.exists() {
            return Ok(Self { best: model.clone(), model, epochs: Vec::new() });
        }
        let (mut tensors, note) = checkpoint::read(&file)?;
        let epochs: Vec<Epoch> = serde_json::from_str(&note).explain("reading the training state", file.display())?;
        epochs.iter().for_each(|epoch| cx.record(epoch.clone()));
        let best = filled(model.clone(), &mut tensors, "best.")?;
        Ok(Self { best, model: filled(model, &mut tensors, "model.")?, epochs })
    }

    /// The epoch with the best validation score, counted from 1; the first of equals.
    fn best_epoch(&self) -> usize {
        let better = |a: &&Epoch, b: &&Epoch| a.validation.total_cmp(&b.validation).then(b.epoch.cmp(&a.epoch));
        self.epochs.iter().max_by(better).map_or(0, |epoch| epoch.epoch)
    }

    fn is_done(&self, settings: &Descent) -> bool {
        let epochs = self.epochs.len();
        epochs >= settings.max_epochs || epochs - self.best_epoch() >= settings.patience
    }

    /// Takes note of a finished epoch, here, on disk and in the run's record.
    fn keep(&mut self, epoch: Epoch, cx: &Context) -> Result<()> {
        self.epochs.push(epoch.clone());
        if self.best_epoch() == self.epochs.len() {
            self.best = self.model.clone();
        }
        let mut all = tensors(&self.model, "model.");
        all.extend(tensors(&self.best, "best."));
        let note = serde_json::to_string(&self.epochs).explain("writing the training state", "")?;
        checkpoint::write(&cx.work.join(STATE), &all, &note)?;
        cx.record(epoch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{loss, slope};

    #[test]
    fn loss_and_slope_are_those_of_the_logarithm_of_the_sigmoid() {
        for margin in [-3.0f32, -0.5, 0.0, 2.0] {
            let sigmoid = 1.0 / (1.0 + (-margin).exp());
            assert!((loss(margin) + sigmoid.ln()).abs() < 1e-5);
            assert!((slope(margin) - (1.0 - sigmoid)).abs() < 1e-5);
        }
        assert_eq!((loss(-200.0), slope(-200.0), loss(200.0)), (200.0, 1.0, 0.0));
    }
}
