//! What a plugin is given besides its input: a device, a seed, a place for unfinished work, and a way to be heard.

use crate::error::{Error, Result};
use crate::progress::{Bar, Progress};
use crate::rng::Rng;
use crate::store::Cost;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks every run in this process to stop at the next safe point.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether a stop was asked for.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

static EXPECTED: AtomicUsize = AtomicUsize::new(0);

/// Does work that catches panics itself: a library that is given a damaged file. They are no news for the log.
pub fn expecting_panics<T>(work: impl FnOnce() -> T) -> T {
    EXPECTED.fetch_add(1, Ordering::SeqCst);
    let result = work();
    EXPECTED.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Whether somebody is at such work.
pub fn expects_panics() -> bool {
    EXPECTED.load(Ordering::SeqCst) > 0
}

/// One epoch of training, as the run's record keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean training loss over the epoch's batches.
    pub loss: f64,
    /// The selection metric on validation.
    pub validation: f64,
    /// Wall time in seconds, validation included.
    pub seconds: f64,
}

/// A plugin's surroundings.
pub struct Context {
    /// Where tensors live; without autodiff.
    pub device: Device,
    /// A folder that survives a kill: what is saved there by one process, the next finds.
    pub work: PathBuf,
    /// Where fetched data lies.
    pub cache: PathBuf,
    /// Where texts that language models wrote are kept, for all runs of a store.
    pub generations: PathBuf,
    /// Training examples per evaluation or scoring batch.
    pub batch_size: usize,
    seed: u64,
    /// Whether anybody asked for the seed: what nobody asked for decides nothing.
    is_random: Arc<AtomicBool>,
    progress: Progress,
    epochs: Mutex<Vec<Epoch>>,
    cost: Arc<Mutex<Cost>>,
}

impl Context {
    /// Surroundings on `device` with `seed`, unfinished work in `work`, fetched data in `cache`.
    pub fn new(device: Device, seed: u64, work: PathBuf, cache: PathBuf, progress: Progress) -> Self {
        let generations = work.join("generations");
        let (is_random, epochs, cost) = (Arc::default(), Mutex::default(), Arc::default());
        Self { device, work, cache, generations, batch_size: 256, seed, is_random, progress, epochs, cost }
    }

    /// The same with texts of language models in `folder`.
    #[must_use]
    pub fn with_generations(self, folder: PathBuf) -> Self {
        Self { generations: folder, ..self }
    }

    /// The same for a part of the work, with a folder of its own.
    #[must_use]
    pub fn inside(&self, folder: &str) -> Self {
        Self {
            device: self.device.clone(),
            work: self.work.join(folder),
            cache: self.cache.clone(),
            generations: self.generations.clone(),
            batch_size: self.batch_size,
            seed: self.seed,
            is_random: self.is_random.clone(),
            progress: self.progress.clone(),
            epochs: Mutex::default(),
            cost: self.cost.clone(),
        }
    }

    /// The run's seed. Whoever asks makes the stage random: other seeds are other replicates of it.
    pub fn seed(&self) -> u64 {
        self.is_random.store(true, Ordering::Relaxed);
        self.seed
    }

    /// Random numbers of the run's seed for one purpose.
    pub fn rng(&self, purpose: &str) -> Rng {
        Rng::new(self.seed(), purpose)
    }

    /// Whether anything so far depended on the run's seed.
    pub fn is_random(&self) -> bool {
        self.is_random.load(Ordering::Relaxed)
    }

    /// A progress bar of `total` steps.
    pub fn bar(&self, what: &str, total: usize) -> Bar {
        self.progress.bar(what, total)
    }

    /// To be called between units of work: an error once the user asked for a stop.
    pub fn proceed(&self) -> Result<()> {
        if is_interrupted() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Keeps an epoch for the run's record.
    pub fn record(&self, epoch: Epoch) {
        tracing::info!(epoch = epoch.epoch, loss = epoch.loss, validation = epoch.validation, "epoch");
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).push(epoch);
    }

    /// The epochs recorded so far.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds to what the stage cost, as in `cx.spend(|cost| cost.tokens_read += 100)`.
    pub fn spend(&self, add: impl FnOnce(&mut Cost)) {
        add(&mut self.cost.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the stage cost so far.
    pub fn cost(&self) -> Cost {
        self.cost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
