//! The one trainer of all sequence models: shifted sequences unless a model masks them, Adam, early stopping on
//! validation, and a state on disk after each epoch from which a killed run goes on to the same result.
//!
//! A model says only what it computes (`SequenceModel`); what it is trained against is a `Loss`.

use crate::adam::{Adam, add, clip};
use crate::checkpoint::{self, Tensors};
use crate::context::{Context, Epoch};
use crate::error::{Error, Explain, Result};
use crate::fused::products;
use crate::host::Shards;
use crate::noise::Noise;
use crate::parameters;
use crate::protocol::Train;
use crate::rng::Rng;
use crate::roles::{Loss, Query, Scorer};
use crate::sequences::{self, Batch};
use crate::settings;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A network that reads a user's history and predicts what comes next.
pub trait SequenceModel: Module + 'static {
    /// The most recent interactions that it reads.
    fn max_seq_length(&self) -> usize;

    /// What it knows after each interaction, `[batch, length, hidden]`.
    ///
    /// `histories` `[batch, length]` holds item indices, oldest first, at most `max_seq_length` long. Shorter histories
    /// are padded on the left with the index that follows the last item's. `noise` is the dropout of this pass. A model
    /// whose `batch` asks for nothing but the last state may give that alone, `[batch, 1, hidden]`.
    fn states(&self, histories: Tensor<2, Int>, noise: &mut Noise) -> Tensor<3>;

    /// The items' embeddings, `[items, hidden]`; an item's score is the dot product with a state.
    fn item_embeddings(&self) -> Tensor<2>;

    /// What one step learns from `rows`, each two to `max_seq_length() + 1` items long, oldest first. Unless a model
    /// says otherwise, each state predicts the next item.
    ///
    /// `padding` is the index that follows the last item's; `rng` belongs to that step.
    fn batch(&self, rows: &[&[u32]], padding: usize, _rng: &mut Rng, device: &Device) -> Batch {
        Batch::new(rows, padding, device)
    }

    /// What `states` is given so that its last state predicts the item that follows `histories`.
    fn question(&self, histories: Tensor<2, Int>) -> Tensor<2, Int> {
        histories
    }
}

settings! {
    /// How a sequence model is trained.
    pub struct Training {
        /// Step size of Adam.
        #[range(0.0..=1.0)]
        pub learning_rate: f64 = 1e-3,
        /// Users per step.
        #[range(1..=65_536)]
        pub batch_size: usize = 128,
        /// Passes over the training data at most; 0 keeps the initial values.
        #[range(0..=100_000)]
        pub max_epochs: usize = 200,
        /// Epochs without a better validation score after which training ends.
        #[range(1..=100_000)]
        pub patience: usize = 10,
        /// Decoupled weight decay.
        #[range(0.0..=1.0)]
        pub weight_decay: f64 = 0.0,
        /// The norm that the gradients of a step are scaled down to; 0 leaves them alone.
        #[range(0.0..=1e6)]
        pub max_gradient_norm: f64 = 0.0,
    }
}

/// Trains `model` from scratch, or on from where a killed run stopped; gives the best epoch's model.
pub fn fit<M: SequenceModel>(
    model: M,
    loss: &dyn Loss,
    settings: &Training,
    train: &Train,
    cx: &Context,
) -> Result<Box<dyn Scorer>> {
    let trainer = Trainer {
        loss,
        settings,
        train,
        cx,
        shards: Shards::new(&cx.device).explain("starting threads", "this machine")?,
    };
    let mut state = State::resume(parameters::initialize(model, &cx.rng("initial values")), cx)?;
    let windows = sequences::windows(&train.sequences, state.model.max_seq_length().min(train.max_history));
    if windows.is_empty() {
        return Err(Error::new("no user has two training interactions").at("recommender"));
    }
    let sizes = parameters::read(&state.model).into_iter().map(|parameter| parameter.shape.iter().product::<usize>());
    let size = sizes.sum::<usize>() as u64;
    cx.spend(|cost| cost.parameters_trained += size);
    let bar = cx.bar("training", settings.max_epochs);
    bar.advance(state.epochs.len());
    while !state.is_done(settings) {
        let started = Instant::now();
        let loss = trainer.epoch(&mut state, &windows)?;
        let validation = train.validate(&Trained::new(state.model.clone(), train), cx)?;
        let epoch = Epoch { epoch: state.epochs.len() + 1, loss, validation, seconds: started.elapsed().as_secs_f64() };
        bar.say(format!("loss {loss:.4}, {} {validation:.4}", train.selects_by));
        state.keep(epoch, cx)?;
        bar.advance(1);
    }
    Ok(Box::new(Trained::new(state.best, train)))
}

/// Reads back into `model` what a fitted one saved to `folder`.
pub fn load<M: SequenceModel>(model: M, folder: &Path, train: &Train) -> Result<Box<dyn Scorer>> {
    let (tensors, _) = checkpoint::read(&folder.join(MODEL))?;
    Ok(Box::new(Trained::new(parameters::load(model, &tensors, "")?, train)))
}

const MODEL: &str = "model.safetensors";

/// What does not change while a model is trained.
struct Trainer<'a> {
    loss: &'a dyn Loss,
    settings: &'a Training,
    train: &'a Train,
    cx: &'a Context,
    shards: Shards,
}

impl Trainer<'_> {
    /// One pass over the windows in random order; the mean loss of its steps.
    fn epoch<M: SequenceModel>(&self, state: &mut State<M>, windows: &[&[u32]]) -> Result<f64> {
        let epoch = state.epochs.len() + 1;
        let rng = self.cx.rng("training").fork(epoch as u64);
        let mut order: Vec<usize> = (0..windows.len()).collect();
        rng.fork(0).shuffle(&mut order);
        let mut losses = Vec::new();
        for (step, rows) in order.chunks(self.settings.batch_size).enumerate() {
            self.cx.proceed()?;
            let rows: Vec<&[u32]> = rows.iter().map(|row| windows[*row]).collect();
            let loss = self.step(state, &rows, &rng.fork(1 + step as u64));
            if !loss.is_finite() {
                return Err(Error::new(format!("training diverged: the loss was {loss}"))
                    .at(format!("recommender, epoch {epoch}, step {}", step + 1))
                    .fix("a lower learning_rate"));
            }
            losses.push(loss);
        }
        Ok(losses.iter().sum::<f64>() / losses.len() as f64)
    }

    /// One update from the mean loss over all targets in `rows`; that loss.
    fn step<M: SequenceModel>(&self, state: &mut State<M>, rows: &[&[u32]], rng: &Rng) -> f64 {
        let device = self.cx.device.clone().autodiff();
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| row.len());
        let shard = |(n, rows): (usize, Vec<&[u32]>)| {
            let rng = rng.fork(n as u64);
            let mut draws = rng.fork(2);
            let batch = |rows| state.model.batch(rows, self.train.num_items(), &mut draws, &device);
            let batches: Vec<Batch> = sequences::alike(&rows, &self.cx.device).into_iter().map(batch).collect();
            // `train` gives each replica leaves of its own, so the shards' graphs share nothing.
            (state.model.clone().train(), batches, rng)
        };
        let work: Vec<_> = self.shards.deal(&rows).into_iter().enumerate().map(shard).collect();
        let targets = |batches: &[Batch]| batches.iter().map(|batch| batch.targets.dims()[0]).sum::<usize>();
        let all: usize = work.iter().map(|(_, batches, _)| targets(batches)).sum();
        let results = self.shards.run(work, |(model, batches, rng)| {
            let share = targets(&batches) as f64 / all as f64;
            gradients(&model, batches, self.loss, &rng, share)
        });
        let (losses, gradients): (Vec<f64>, Vec<_>) = results.into_iter().unzip();
        let mut gradients = gradients.into_iter().reduce(add).unwrap_or_default();
        if self.settings.max_gradient_norm > 0.0 {
            gradients = clip(gradients, self.settings.max_gradient_norm);
        }
        let Training { learning_rate, weight_decay, .. } = *self.settings;
        state.model = state.adam.step(state.model.clone(), gradients, learning_rate, weight_decay);
        losses.iter().sum()
    }
}

/// `share` of the mean loss over all of `batches`, and its gradients.
fn gradients<M: SequenceModel>(
    model: &M,
    batches: Vec<Batch>,
    loss: &dyn Loss,
    rng: &Rng,
    share: f64,
) -> (f64, Vec<Option<Tensor<1>>>) {
    let mut noise = Noise::new(rng.fork(0));
    let matched = |batch: Batch| {
        let states = model.states(batch.histories, &mut noise);
        let [rows, length, hidden] = states.dims();
        let states = states.reshape([rows * length, hidden]);
        let states = match batch.positions {
            Some(positions) => states.select(0, positions),
            None => states,
        };
        (states, batch.targets)
    };
    let (states, targets) = batches.into_iter().map(matched).unzip();
    let (states, targets) = (Tensor::cat(states, 0), Tensor::cat(targets, 0));
    let loss = loss.loss(states, model.item_embeddings(), targets, &mut rng.fork(1)) * share;
    let value: f64 = loss.clone().without_autodiff().into_data().iter::<f64>().sum();
    (value, parameters::gradients(model, loss.backward()))
}

/// Everything that training goes on from.
struct State<M> {
    model: M,
    best: M,
    adam: Adam,
    epochs: Vec<Epoch>,
}

impl<M: SequenceModel> State<M> {
    fn file(cx: &Context) -> PathBuf {
        cx.work.join("training.safetensors")
    }

    /// The state after the last epoch that was finished in this place before, or a fresh start.
    fn resume(model: M, cx: &Context) -> Result<Self> {
        let file = Self::file(cx);
        if !file.exists() {
            return Ok(Self { best: model.clone(), model, adam: Adam::default(), epochs: Vec::new() });
        }
        let (tensors, note) = checkpoint::read(&file)?;
        let (steps, epochs): (usize, Vec<Epoch>) =
            serde_json::from_str(&note).explain("reading the training state", file.display())?;
        epochs.iter().for_each(|epoch| cx.record(epoch.clone()));
        let moment = |n: usize, path: &str, device: &Device| {
            let (_, values) = tensors.get(&format!("moment_{n}.{path}"))?;
            Some(Tensor::from_floats(values.as_slice(), device))
        };
        let named = parameters::read(&model).into_iter().map(|parameter| {
            let device = parameter.values.device();
            moment(1, &parameter.path, &device).zip(moment(2, &parameter.path, &device))
        });
        Ok(Self {
            adam: Adam { steps, moments: named.collect() },
            best: parameters::load(model.clone(), &tensors, "best.")?,
            model: parameters::load(model, &tensors, "model.")?,
            epochs,
        })
    }

    /// The epoch with the best validation score, counted from 1; the first of equals.
    fn best_epoch(&self) -> usize {
        let better = |a: &&Epoch, b: &&Epoch| a.validation.total_cmp(&b.validation).then(b.epoch.cmp(&a.epoch));
        self.epochs.iter().max_by(better).map_or(0, |epoch| epoch.epoch)
    }

    fn is_done(&self, settings: &Training) -> bool {
        let epochs = self.epochs.len();
        epochs >= settings.max_epochs || epochs - self.best_epoch() >= settings.patience
    }

    /// Takes note of a finished epoch, here, on disk and in the run's record.
    fn keep(&mut self, epoch: Epoch, cx: &Context) -> Result<()> {
        self.epochs.push(epoch.clone());
        if self.best_epoch() == self.epochs.len() {
            self.best = self.model.clone();
        }
        let mut tensors = Tensors::new();
        for (parameter, moments) in parameters::read(&self.model).into_iter().zip(&self.adam.moments) {
            let Some((first, second)) = moments.clone() else { continue };
            for (name, values) in [("moment_1.", first), ("moment_2.", second)] {
                checkpoint::add(&mut tensors, name, vec![parameter.with(values)]);
            }
        }
        checkpoint::add(&mut tensors, "model.", parameters::read(&self.model));
        checkpoint::add(&mut tensors, "best.", parameters::read(&self.best));
        let note = serde_json::to_string(&(self.adam.steps, &self.epochs)).explain("writing the training state", "")?;
        checkpoint::write(&Self::file(cx), &tensors, &note)?;
        cx.record(epoch);
        Ok(())
    }
}

/// A sequence model that scores.
struct Trained<M> {
    model: M,
    num_items: usize,
    length: usize,
}

impl<M: SequenceModel> Trained<M> {
    fn new(model: M, train: &Train) -> Self {
        let length = model.max_seq_length().min(train.max_history);
        Self { model, num_items: train.num_items(), length }
    }
}

impl<M: SequenceModel> Scorer for Trained<M> {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let recent = |query: &Query| query.history.len().saturating_sub(self.length);
        let rows: Vec<&[u32]> = queries.iter().map(|query| &query.history[recent(query)..]).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|n| rows[*n].len());
        let mut places = vec![0; rows.len()];
        order.iter().enumerate().for_each(|(place, n)| places[*n] = place as i64);
        let sorted: Vec<&[u32]> = order.into_iter().map(|n| rows[n]).collect();
        let last = |rows: &[&[u32]]| {
            let histories = sequences::pad(rows, self.num_items, &cx.device);
            let states = self.model.states(self.model.question(histories), &mut Noise::none());
            let [rows, length, hidden] = states.dims();
            states.slice([0..rows, length - 1..length, 0..hidden]).reshape([rows, hidden])
        };
        let last = Tensor::cat(sequences::alike(&sorted, &cx.device).into_iter().map(last).collect(), 0);
        let last = last.select(0, sequences::integers(places, &cx.device));
        Ok(products(last, self.model.item_embeddings()))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let mut tensors = Tensors::new();
        checkpoint::add(&mut tensors, "", parameters::read(&self.model));
        checkpoint::write(&folder.join(MODEL), &tensors, "")
    }

    fn item_embeddings(&self) -> Option<Tensor<2>> {
        Some(self.model.item_embeddings())
    }
}
