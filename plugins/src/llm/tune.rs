//! Fine-tuning: examples packed without padding, gradients added up over passes, AdamW with warm-up and cosine, and a
//! state on disk from which a killed run goes on to the same result.

use super::decoder::{Decoder, Memory};
use super::layout::Row;
use super::lora;
use super::score::passes;
use super::tokenizer::Tokenizer;
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use framework::adam::{Adam, add, clip};
use framework::checkpoint::{self, Tensors};
use framework::context::{Context, Epoch};
use framework::error::{Error, Explain, Result};
use framework::fused::weighted_cross_entropy;
use framework::host::Shards;
use framework::language::{Example, Learned, Method, Tuning};
use framework::parameters;
use framework::rng::Rng;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time after which the state is saved within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(120);

/// A group of examples as one row, and the tokens to learn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lesson {
    pub(crate) row: Row,
    /// Examples in it.
    pub(crate) examples: usize,
    /// The place of the state that predicts it, the token, and how often it counts.
    pub(crate) targets: Vec<(usize, u32, f32)>,
}

/// A group's lesson: the prompts' common beginning once, then the rest of each example as a branch.
pub(crate) fn lesson(tokenizer: &Tokenizer, group: &[Example], tuning: &Tuning) -> Result<Lesson> {
    let mut sequences = Vec::new();
    for Example { prompt, answer } in group {
        let text = tokenizer.chat(prompt, None)?;
        let mut tokens = tokenizer.encode(&format!("{text}{answer}"))?;
        tokens.extend(tokenizer.end_tokens().first());
        let context = tokenizer.encode(&text)?;
        let shared = context.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        let excess = tokens.len().saturating_sub(tuning.max_length).min(shared.saturating_sub(1));
        sequences.push((tokens.split_off(excess), shared - excess));
    }
    Ok(packed(&sequences, tuning.learned))
}

/// Sequences, each with the length of its context, as one row. A sequence's last token is never read, only predicted.
pub(crate) fn packed(sequences: &[(Vec<u32>, usize)], learned: Learned) -> Lesson {
    let read: Vec<Vec<u32>> = sequences.iter().map(|(tokens, _)| tokens[..tokens.len() - 1].to_vec()).collect();
    let row = Row::tree(&read);
    let mut targets: BTreeMap<(usize, u32), f32> = BTreeMap::new();
    for (branch, (tokens, context)) in sequences.iter().enumerate() {
        let first = if learned == Learned::All { 1 } else { (*context).max(1) };
        for (n, token) in tokens.iter().enumerate().skip(first) {
            let place = if n - 1 < row.prefix { n - 1 } else { row.branch(branch).start + n - 1 - row.prefix };
            *targets.entry((place, *token)).or_default() += 1.0;
        }
    }
    let targets = targets.into_iter().map(|((place, token), count)| (place, token, count)).collect();
    Lesson { row, examples: sequences.len(), targets }
}

/// Lessons that go through the model at once, and what of the step's mean loss each of their targets makes up.
pub(crate) struct Pass<'a> {
    pub(crate) lessons: &'a [&'a Lesson],
    pub(crate) share: f32,
    pub(crate) checkpointing: bool,
}

impl Pass<'_> {
    /// The loss of this pass and its gradients by the order of the parameters; `decoder` without autodiff.
    pub(crate) fn gradients(&self, decoder: &Decoder, rng: &Rng) -> (f64, Vec<Option<Tensor<1>>>) {
        let rows: Vec<Row> = self.lessons.iter().map(|lesson| lesson.row.clone()).collect();
        let layout = decoder.layout(&rows);
        let tokens: Vec<u32> = rows.into_iter().flat_map(|row| row.tokens).collect();
        // `train` gives each pass leaves of its own, so that passes' graphs share nothing.
        let train = decoder.clone().train();
        if !self.checkpointing {
            let states = train.states(train.embed(&tokens), &layout, Some(rng));
            let loss = self.loss(&train, states, &layout.spans);
            let value = scalar(&loss);
            return (value, parameters::gradients(&train, loss.backward()));
        }
        let mut inputs = vec![decoder.embed(&tokens)];
        for n in 0..decoder.layers.len() {
            inputs.push(decoder.block(n, inputs[n].clone(), &layout, Memory::None, Some(rng)));
        }
        let leaf = |x: Option<Tensor<2>>| x.map(|x| Tensor::from_inner(x).require_grad());
        let Some(x) = leaf(inputs.pop()) else { return (0.0, Vec::new()) };
        let loss = self.loss(&train, train.last_norm(x.clone()), &layout.spans);
        let value = scalar(&loss);
        let mut gradients = loss.backward();
        let mut d = x.grad_remove(&mut gradients);
        let mut total = parameters::gradients(&train, gradients);
        for n in (0..decoder.layers.len()).rev() {
            let (Some(x), Some(above)) = (leaf(inputs.pop()), d.take()) else { break };
            let y = train.block(n, x.clone(), &layout, Memory::None, Some(rng));
            let mut gradients = (y * Tensor::from_inner(above)).sum().backward();
            d = x.grad_remove(&mut gradients);
            total = add(total, parameters::gradients(&train, gradients));
        }
        let x = train.embed(&tokens);
        if let Some(above) = d.filter(|_| train.embed_tokens.is_require_grad()) {
            let gradients = (x * Tensor::from_inner(above)).sum().backward();
            total = add(total, parameters::gradients(&train, gradients));
        }
        (value, total)
    }

    /// The share of the step's mean loss, given all states `[tokens, hidden]`.
    fn loss(&self, decoder: &Decoder, states: Tensor<2>, spans: &[super::layout::Span]) -> Tensor<1> {
        let (mut places, mut tokens, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (lesson, span) in self.lessons.iter().zip(spans) {
            for (place, token, count) in &lesson.targets {
                places.push((span.offset + place) as i64);
                tokens.push(i64::from(*token));
                scales.push(count * self.share);
            }
        }
        let device = states.device();
        let index = |values: Vec<i64>| {
            let len = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [len]), &device)
        };
        weighted_cross_entropy(states.select(0, index(places)), decoder.output_layer(), index(tokens), scales)
    }
}

fn scalar(loss: &Tensor<1>) -> f64 {
    loss.clone().without_autodiff().into_data().iter::<f64>().sum()
}

/// The mean loss over all targets of `step` and its gradients, added up over as many passes as its tokens need.
pub(crate) fn gradients(
    decoder: &Decoder,
    step: &[&Lesson],
    tuning: &Tuning,
    shards: &Shards,
    rng: &Rng,
) -> (f64, Vec<Option<Tensor<1>>>) {
    let count: f32 = step.iter().flat_map(|lesson| &lesson.targets).map(|(_, _, count)| count).sum();
    let (mut loss, mut gradients) = (0.0, Vec::new());
    let passes = passes(step, |lesson| lesson.row.tokens.len(), tuning.tokens_per_pass);
    for (n, lessons) in passes.into_iter().enumerate() {
        let work: Vec<_> = shards.cut(lessons).into_iter().enumerate().collect();
        let results = shards.run(work, |(shard, lessons)| {
            let pass = Pass { lessons, share: 1.0 / count, checkpointing: tuning.gradient_checkpointing };
            pass.gradients(decoder, &rng.fork((n * 64 + shard) as u64))
        });
        for (value, part) in results {
            loss += value;
            gradients = if gradients.is_empty() { part } else { add(gradients, part) };
        }
    }
    (loss, gradients)
}

/// How a decoder is trained.
pub(crate) struct Tuner<'a> {
    pub(crate) lessons: Vec<Lesson>,
    pub(crate) tuning: &'a Tuning,
    pub(crate) cx: &'a Context,
}

impl Tuner<'_> {
    /// Trains `decoder`, whose trained parameters require gradients; gives the best epoch's.
    pub(crate) fn tune(&self, decoder: Decoder, validate: &dyn Fn(&Decoder) -> Result<f64>) -> Result<Decoder> {
        if self.lessons.iter().all(|lesson| lesson.targets.is_empty()) {
            return Err(Error::new("there is nothing to learn from").at("recommender"));
        }
        let shards = Shards::new(&self.cx.device).explain("starting threads", "this machine")?;
        let mut state = State::resume(decoder, self)?;
        let trained = trained(self.tuning)?;
        let sizes = parameters::read(&state.decoder).into_iter().filter(|parameter| trained(&parameter.path));
        let size = sizes.map(|parameter| parameter.shape.iter().product::<usize>() as u64).sum::<u64>();
        self.cx.spend(|cost| {
            cost.parameters_trained += size;
            cost.tokens_trained += state.note.tokens;
        });
        let steps = self.steps().len();
        let bar = self.cx.bar("fine-tuning", steps * self.tuning.epochs);
        bar.advance(state.note.epochs.len() * steps + state.note.step);
        while state.note.epochs.len() < self.tuning.epochs {
            let (started, mut saved) = (Instant::now(), Instant::now());
            let epoch = state.note.epochs.len();
            let mut order: Vec<&Lesson> = self.lessons.iter().collect();
            let rng = self.cx.rng("fine-tuning").fork(epoch as u64);
            rng.fork(0).shuffle(&mut order);
            let steps = cut(&order, self.tuning.batch_size);
            while state.note.step < steps.len() {
                self.cx.proceed().or_else(|stop| state.save(self).and(Err(stop)))?;
                let lessons = steps[state.note.step];
                let loss = self.step(&mut state, lessons, steps.len(), &shards, &rng)?;
                bar.say(format!("epoch {}, loss {loss:.4}", epoch + 1));
                bar.advance(1);
                if saved.elapsed() > SAVE_EVERY {
                    state.save(self)?;
                    saved = Instant::now();
                }
            }
            let loss = state.note.losses.iter().sum::<f64>() / steps.len() as f64;
            let validation = validate(&state.decoder)?;
            let epoch = Epoch { epoch: epoch + 1, loss, validation, seconds: started.elapsed().as_secs_f64() };
            state.finish(epoch.clone(), self)?;
            self.cx.record(epoch);
        }
        Ok(state.best)
    }

    /// The steps of an epoch, in some order.
    fn steps(&self) -> Vec<Vec<&Lesson>> {
        cut(&self.lessons.iter().collect::<Vec<_>>(), self.tuning.batch_size).iter().map(|step| step.to_vec()).collect()
    }

    /// One update; the mean loss over the step's targets.
    fn step(&self, state: &mut State, step: &[&Lesson], steps: usize, shards: &Shards, rng: &Rng) -> Result<f64> {
        let rng = rng.fork(1 + state.note.step as u64);
        let (loss, mut gradients) = gradients(&state.decoder, step, self.tuning, shards, &rng);
        if !loss.is_finite() {
            return Err(Error::new(format!("training diverged: the loss was {loss}"))
                .at(format!("recommender, epoch {}, step {}", state.note.epochs.len() + 1, state.note.step + 1))
                .fix("a lower learning_rate"));
        }
        if self.tuning.max_gradient_norm > 0.0 {
            gradients = clip(gradients, self.tuning.max_gradient_norm);
        }
        let done = state.note.epochs.len() * steps + state.note.step;
        let rate = self.learning_rate(done, steps * self.tuning.epochs);
        state.decoder = state.adam.step(state.decoder.clone(), gradients, rate, self.tuning.weight_decay);
        let tokens = step.iter().map(|lesson| lesson.row.tokens.len() as u64).sum::<u64>();
        self.cx.spend(|cost| cost.tokens_trained += tokens);
        state.note.tokens += tokens;
        state.note.step += 1;
        state.note.losses.push(loss);
        Ok(loss)
    }

    /// The step size of step `n` of `total`: a line up from 0, then a cosine down to 0.
    fn learning_rate(&self, n: usize, total: usize) -> f64 {
        let warmup = (self.tuning.warmup * total as f64).ceil();
        let n = n as f64;
        let factor = match n < warmup {
            true => (n + 1.0) / warmup,
            false => 0.5 * (1.0 + (std::f64::consts::PI * (n - warmup) / (total as f64 - warmup).max(1.0)).cos()),
        };
        self.tuning.learning_rate * factor
    }
}

/// Cuts lessons into steps of `batch_size` examples, the last one smaller.
fn cut<'a, 'b>(lessons: &'a [&'b Lesson], batch_size: usize) -> Vec<&'a [&'b Lesson]> {
    passes(lessons, |lesson| lesson.examples, batch_size)
}

/// What a state says besides its tensors.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Note {
    adam_steps: usize,
    /// Tokens so far.
    #[serde(default)]
    tokens: u64,
    /// Steps of the current epoch, and their losses.
    step: usize,
    losses: Vec<f64>,
    epochs: Vec<Epoch>,
}

/// Everything that training goes on from.
struct State {
    decoder: Decoder,
    best: Decoder,
    adam: Adam,
    note: Note,
}

impl State {
    fn file(tuner: &Tuner) -> PathBuf {
        tuner.cx.work.join("tuning.safetensors")
    }

    fn resume(decoder: Decoder, tuner: &Tuner) -> Result<Self> {
        let file = Self::file(tuner);
        if !file.exists() {
            return Ok(Self { best: decoder.clone(), decoder, adam: Adam::default(), note: Note::default() });
        }
        let (tensors, note) = checkpoint::read(&file)?;
        let note: Note = serde_json::from_str(&note).explain("reading the training state", file.display())?;
        note.epochs.iter().for_each(|epoch| tuner.cx.record(epoch.clone()));
        let moment = |n: usize, parameter: &parameters::Parameter| {
            let (_, values) = tensors.get(&format!("moment_{n}.{}", parameter.path))?;
            Some(Tensor::from_floats(values.as_slice(), &parameter.values.device()))
        };
        let moments = parameters::read(&decoder);
        let moments = moments.iter().map(|parameter| moment(1, parameter).zip(moment(2, parameter)));
        let restored = |prefix: &str| {
            parameters::replace(decoder.clone(), |path, _, values| match tensors.get(&format!("{prefix}{path}")) {
                Some((_, stored)) => Tensor::from_floats(stored.as_slice(), &values.device()),
                None => values,
            })
        };
        let adam = Adam { steps: note.adam_steps, moments: moments.collect() };
        Ok(Self { best: restored("best."), decoder: restored("model."), adam, note })
    }

    /// Takes note of a finished epoch, here and on disk.
    fn finish(&mut self, epoch: Epoch, tuner: &Tuner) -> Result<()> {
        if self.note.epochs.iter().all(|before| before.validation < epoch.validation) {
            self.best = self.decoder.clone();
        }
        self.note.epochs.push(epoch);
        self.note.step = 0;
        self.note.losses.clear();
        self.save(tuner)
    }

    fn save(&mut self, tuner: &Tuner) -> Result<()> {
        let trained = trained(tuner.tuning)?;
        self.note.adam_steps = self.adam.steps;
        let mut tensors = Tensors::new();
        let only = |decoder: &Decoder| {
            let mut all = parameters::read(decoder);
            all.retain(|parameter| trained(&parameter.path));
            all
        };
        for (parameter, moments) in parameters::read(&self.decoder).into_iter().zip(&self.adam.moments) {
            let Some((first, second)) = moments.clone() else { continue };
            for (name, values) in [("moment_1.", first), ("moment_2.", second)] {
                checkpoint::add(&mut tensors, name, vec![parameter.with(values)]);
            }
        }
        checkpoint::add(&mut tensors, "model.", only(&self.decoder));
        checkpoint::add(&mut tensors, "best.", only(&self.best));
        let note = serde_json::to_string(&self.note).explain("writing the training state", "")?;
        checkpoint::write(&Self::file(tuner), &tensors, &note)
    }
}

/// Says of a path whether it is chosen.
type Chosen = Box<dyn Fn(&str) -> bool>;

/// Whether the parameter at a path of the decoder is trained.
pub(crate) fn trained(tuning: &Tuning) -> Result<Chosen> {
    match tuning.method {
        Method::Lora => Ok(Box::new(|path| path.contains(".adapter."))),
        Method::Full if tuning.frozen.is_empty() => Ok(Box::new(|_| true)),
        Method::Full => {
            let frozen = Regex::new(&tuning.frozen).explain("reading frozen", "tuning.frozen")?;
            Ok(Box::new(move |path| !frozen.is_match(&super::load::checkpoint_name(path))))
        }
    }
}

/// `decoder` ready to be trained: with fresh adapters, or with the parameters that are trained.
pub(crate) fn prepare(decoder: Decoder, tuning: &Tuning, rng: &Rng) -> Result<Decoder> {
    match tuning.method {
        Method::Lora => lora::attach(lora::merged(decoder), &tuning.lora, rng),
        Method::Full => {
            let trained = trained(tuning)?;
            Ok(parameters::require_gradients(lora::merged(decoder), |path| trained(path)))
        }
    }
}
