//! Factors that learn which of two items was chosen: what BPR's recommenders share. Not a plugin.

use burn::tensor::{Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::context::{Context, Epoch};
use framework::error::{Error, Explain, Result};
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::{Query, Scorer};
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

/// An item that was chosen, and the rows of the contexts that it was chosen in: the user, say, and the item before it.
pub(crate) struct Choice<const N: usize> {
    pub(crate) contexts: [u32; N],
    pub(crate) item: u32,
}

/// Scores an item by the sum, over the contexts, of the dot product of its factors and the context's, plus its bias.
#[derive(Clone)]
pub(crate) struct Factors<const N: usize> {
    width: usize,
    /// For each context `[rows, width]`, flat.
    contexts: [Vec<f32>; N],
    /// For each context `[items, width]`, flat.
    items: [Vec<f32>; N],
    /// All zero when they are not learned.
    biases: Vec<f32>,
    is_biased: bool,
    contexts_of: fn(&Query) -> [Option<u32>; N],
}

const FILE: &str = "factors.safetensors";
const STATE: &str = "training.safetensors";

impl<const N: usize> Factors<N> {
    /// Zeros: contexts of so many `rows` each, and items. `contexts_of` says in which rows a query is, if in any.
    pub(crate) fn new(
        width: usize,
        rows: [usize; N],
        num_items: usize,
        is_biased: bool,
        contexts_of: fn(&Query) -> [Option<u32>; N],
    ) -> Self {
        let contexts = rows.map(|rows| vec![0.0; rows * width]);
        let items = rows.map(|_| vec![0.0; num_items * width]);
        Self { width, contexts, items, biases: vec![0.0; num_items], is_biased, contexts_of }
    }

    /// Learns from `choices`; `is_known` says which items cannot be the one that was not chosen.
    ///
    /// Gives the best epoch's factors. Goes on from where a killed run stopped.
    pub(crate) fn fit(
        mut self,
        choices: &[Choice<N>],
        is_known: impl Fn(&Choice<N>, u32) -> bool,
        settings: &Descent,
        train: &Train,
        cx: &Context,
    ) -> Result<Box<dyn Scorer>> {
        if choices.is_empty() || self.biases.len() < 2 {
            return Err(Error::new("no user chose an item and left another").at("recommender").fix("more data"));
        }
        self.initialize(&cx.rng("initial values"));
        let size = self.parts().map(|(_, _, values)| values.len()).sum::<usize>() as u64;
        cx.spend(|cost| cost.parameters_trained += size);
        let mut state = State::resume(self, cx)?;
        let bar = cx.bar("training", settings.max_epochs);
        bar.advance(state.epochs.len());
        while !state.is_done(settings) {
            let (started, epoch) = (Instant::now(), state.epochs.len() + 1);
            let loss = state.model.pass(choices, &is_known, settings, cx.rng("training").fork(epoch as u64), cx)?;
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

    /// Reads back what a fitted one saved to `folder`.
    pub(crate) fn load(self, folder: &Path) -> Result<Box<dyn Scorer>> {
        let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
        Ok(Box::new(self.filled(&mut tensors, "")?))
    }

    /// The name, number of columns and values of each matrix, the biases last.
    fn parts(&mut self) -> impl Iterator<Item = (String, usize, &mut Vec<f32>)> {
        let width = self.width;
        let contexts = self.contexts.iter_mut().enumerate();
        let contexts = contexts.map(move |(n, values)| (format!("contexts.{n}"), width, values));
        let items = self.items.iter_mut().enumerate();
        let items = items.map(move |(n, values)| (format!("items.{n}"), width, values));
        contexts.chain(items).chain([("biases".to_string(), 1, &mut self.biases)])
    }

    /// Draws all but the biases from a normal distribution with mean 0 and deviation 0.1.
    fn initialize(&mut self, rng: &Rng) {
        for (n, (_, _, values)) in self.parts().take(2 * N).enumerate() {
            let mut rng = rng.fork(n as u64);
            values.iter_mut().for_each(|value| *value = (0.1 * rng.normal()) as f32);
        }
    }

    /// As many steps as there are choices, each from one drawn at random; their mean loss.
    fn pass(
        &mut self,
        choices: &[Choice<N>],
        is_known: &impl Fn(&Choice<N>, u32) -> bool,
        settings: &Descent,
        mut rng: Rng,
        cx: &Context,
    ) -> Result<f64> {
        let (rate, shrink) = (settings.learning_rate as f32, settings.regularization as f32);
        let mut loss = 0.0;
        for step in 0..choices.len() {
            if step % 65_536 == 0 {
                cx.proceed()?;
            }
            let choice = &choices[rng.below(choices.len())];
            let other = loop {
                let item = rng.below(self.biases.len()) as u32;
                if !is_known(choice, item) {
                    break item;
                }
            };
            loss += f64::from(self.step(choice, other, rate, shrink));
        }
        Ok(loss / choices.len() as f64)
    }

    /// One step up the gradient of `ln sigmoid(score of the chosen item - score of the other)`; gives its negative.
    fn step(&mut self, choice: &Choice<N>, other: u32, rate: f32, shrink: f32) -> f32 {
        let (width, chosen) = (self.width, choice.item);
        let row = |n: u32| n as usize * width..(n as usize + 1) * width;
        let mut margin = self.biases[chosen as usize] - self.biases[other as usize];
        for ((context, factors), items) in choice.contexts.iter().zip(&self.contexts).zip(&self.items) {
            let pairs = items[row(chosen)].iter().zip(&items[row(other)]);
            margin += factors[row(*context)].iter().zip(pairs).map(|(p, (q, r))| p * (q - r)).sum::<f32>();
        }
        let slope = 1.0 / (1.0 + margin.exp());
        for ((context, factors), items) in choice.contexts.iter().zip(&mut self.contexts).zip(&mut self.items) {
            let rows = items.get_disjoint_mut([row(chosen), row(other)]);
            let [up, down] = rows.expect("the other item is not the chosen one");
            for ((p, q), r) in factors[row(*context)].iter_mut().zip(up).zip(down) {
                let (old_p, old_q, old_r) = (*p, *q, *r);
                *p += rate * (slope * (old_q - old_r) - shrink * old_p);
                *q += rate * (slope * old_p - shrink * old_q);
                *r += rate * (-slope * old_p - shrink * old_r);
            }
        }
        if self.is_biased {
            for (item, gradient) in [(chosen, slope), (other, -slope)] {
                let bias = &mut self.biases[item as usize];
                *bias += rate * (gradient - shrink * *bias);
            }
        }
        // -ln sigmoid(margin), without overflow.
        (-margin).max(0.0) + (-margin.abs()).exp().ln_1p()
    }

    /// All values, `prefix` before their names.
    fn tensors(&self, prefix: &str) -> Tensors {
        let mut copy = self.clone();
        let shaped = copy.parts().map(|(name, columns, values)| {
            (format!("{prefix}{name}"), (vec![values.len() / columns, columns], std::mem::take(values)))
        });
        shaped.collect()
    }

    /// The same with the values of `tensors`.
    fn filled(mut self, tensors: &mut Tensors, prefix: &str) -> Result<Self> {
        for (name, _, values) in self.parts() {
            let stored = tensors.remove(&format!("{prefix}{name}")).filter(|(_, stored)| stored.len() == values.len());
            let missing =
                || Error::new(format!("no `{prefix}{name}` of {} numbers in it", values.len())).at("checkpoint");
            *values = stored.ok_or_else(missing)?.1;
        }
        Ok(self)
    }
}

impl<const N: usize> Scorer for Factors<N> {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let (width, num_items) = (self.width, self.biases.len());
        let matrix = |values: Vec<f32>, rows: usize, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &cx.device)
        };
        let contexts: Vec<[Option<u32>; N]> = queries.iter().map(self.contexts_of).collect();
        let mut scores = matrix(self.biases.clone(), 1, num_items);
        for (n, (factors, items)) in self.contexts.iter().zip(&self.items).enumerate() {
            let row = |contexts: &[Option<u32>; N]| match contexts[n] {
                Some(row) => factors[row as usize * width..][..width].to_vec(),
                None => vec![0.0; width],
            };
            let rows: Vec<f32> = contexts.iter().flat_map(row).collect();
            let items = matrix(items.clone(), num_items, width).transpose();
            scores = scores.add(matrix(rows, queries.len(), width).matmul(items));
        }
        Ok(scores)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        checkpoint::write(&folder.join(FILE), &self.tensors(""), "")
    }
}

/// Everything that training goes on from.
struct State<const N: usize> {
    model: Factors<N>,
    best: Factors<N>,
    epochs: Vec<Epoch>,
}

impl<const N: usize> State<N> {
    /// The state after the last epoch that was finished in this place before, or a fresh start.
    fn resume(model: Factors<N>, cx: &Context) -> Result<Self> {
        let file = cx.work.join(STATE);
        if !file.exists() {
            return Ok(Self { best: model.clone(), model, epochs: Vec::new() });
        }
        let (mut tensors, note) = checkpoint::read(&file)?;
        let epochs: Vec<Epoch> = serde_json::from_str(&note).explain("reading the training state", file.display())?;
        epochs.iter().for_each(|epoch| cx.record(epoch.clone()));
        let best = model.clone().filled(&mut tensors, "best.")?;
        Ok(Self { best, model: model.filled(&mut tensors, "model.")?, epochs })
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
        let mut tensors = self.model.tensors("model.");
        tensors.extend(self.best.tensors("best."));
        let note = serde_json::to_string(&self.epochs).explain("writing the training state", "")?;
        checkpoint::write(&cx.work.join(STATE), &tensors, &note)?;
        cx.record(epoch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Factors};
    use crate::fixture::context;
    use framework::roles::{Query, Scorer};

    #[test]
    fn one_step_by_hand() {
        let factors = Factors {
            width: 1,
            contexts: [vec![1.0]],
            items: [vec![9.0, 2.0, 1.0]],
            biases: vec![0.0, 1.0, 1.0],
            is_biased: true,
            contexts_of: |_| [None],
        };
        let mut stepped = factors.clone();
        // Item 1 leads item 2 by 1 * (2 - 1) + (1 - 1).
        let loss = stepped.step(&Choice { contexts: [0], item: 1 }, 2, 0.1, 0.5);
        let slope = 1.0 / (1.0 + 1f32.exp());
        let near = |values: &[f32], right: &[f32]| values.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&[loss], &[(1.0 + (-1f32).exp()).ln()]));
        assert!(near(&stepped.contexts[0], &[1.0 + 0.1 * (slope - 0.5)]));
        assert!(near(&stepped.items[0], &[9.0, 2.0 + 0.1 * (slope - 1.0), 1.0 + 0.1 * (-slope - 0.5)]));
        assert!(near(&stepped.biases, &[0.0, 1.0 + 0.1 * (slope - 0.5), 1.0 + 0.1 * (-slope - 0.5)]));
    }

    #[test]
    fn scores_are_sums_over_contexts_and_a_missing_one_adds_nothing() {
        let (cx, _folder) = context();
        let factors = Factors {
            width: 1,
            contexts: [vec![1.0, 2.0], vec![3.0, 7.0]],
            items: [vec![1.0, 10.0], vec![100.0, 1000.0]],
            biases: vec![0.5, 0.0],
            is_biased: true,
            contexts_of: |query| [Some(query.user), query.history.last().copied()],
        };
        let queries =
            [Query { user: 0, history: &[1, 0], candidates: None }, Query { user: 1, history: &[], candidates: None }];
        let scores = factors.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores.try_to_vec::<f32>().expect("floats"), [301.5, 3010.0, 2.5, 20.0]);
    }
}
