//! Writing answers: rows are read, then written a token at a time, all unfinished ones together; when enough have ended,
//! new prompts take their place. A batch that does not fit into memory is halved.

use super::cache::Cache;
use super::decoder::Decoder;
use super::layout::Row;
use super::sampling::{Choices, best, draw};
use super::score::parted;
use super::tokenizer::Tokenizer;
use framework::context::Context;
use framework::error::{Error, Result};
use framework::language::{Decoding, Finish, Generation, Prompt};
use framework::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// Tokens of prompts that are read at once.
const READ_TOKENS: usize = 4096;

/// An answer that is being written.
struct Writing {
    /// The prompt's place in the caller's list.
    place: usize,
    prompt_tokens: usize,
    /// Prompt and answer.
    tokens: Vec<u32>,
    rng: Rng,
    choices: Choices,
    /// The one of the choices that was taken.
    chosen: Option<usize>,
}

/// What writes.
pub(crate) struct Writer<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) decoding: &'a Decoding,
    pub(crate) seed: u64,
    pub(crate) cx: &'a Context,
}

impl Writer<'_> {
    /// Answers `prompts`, at most `batch` at a time; each answer goes to `done` with its prompt's place.
    pub(crate) fn write(
        &self,
        prompts: &[Prompt],
        batch: usize,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let bar = self.cx.bar("generating", prompts.len());
        let (started, mut written, mut answered) = (Instant::now(), 0, vec![false; prompts.len()]);
        halving(batch, |batch| {
            let mut waiting = self.open(prompts)?;
            waiting.retain(|writing| !answered[writing.place]);
            // They are taken from the end, long prompts first: what does not fit into memory shows at once.
            waiting.sort_by_key(|writing| (writing.prompt_tokens, std::cmp::Reverse(writing.place)));
            self.pass(waiting, batch, &mut |writing, finish| {
                let generation = self.close(writing, finish)?;
                written += generation.tokens;
                bar.say(format!("{:.0} tokens/s", written as f64 / started.elapsed().as_secs_f64()));
                bar.advance(1);
                answered[writing.place] = true;
                done(writing.place, generation)
            })
        })
    }

    fn open(&self, prompts: &[Prompt]) -> Result<Vec<Writing>> {
        let open = |(place, prompt): (usize, &Prompt)| {
            let text = self.tokenizer.chat(prompt, None)?;
            let start = || text.chars().take(80).collect::<String>();
            let (tokens, choices) =
                self.tokens(&text).map_err(|error| error.at(format!("prompt {place}: {}", start())))?;
            let longest = choices.0.iter().map(Vec::len).max().unwrap_or(self.decoding.max_tokens);
            let limit = self.decoder.architecture.max_positions;
            if tokens.len() + longest > limit {
                return Err(Error::new(format!(
                    "a prompt of {} tokens and {longest} to write exceed the model's {limit}",
                    tokens.len(),
                ))
                .at(format!("prompt {place}: {}", start()))
                .fix("a shorter prompt, or a lower max_tokens"));
            }
            let hash = blake3::hash(text.as_bytes());
            let word = u64::from_le_bytes(std::array::from_fn(|n| hash.as_bytes()[n]));
            let rng = Rng::new(self.seed, "decoding").fork(word);
            Ok(Writing { place, prompt_tokens: tokens.len(), tokens, rng, choices, chosen: None })
        };
        prompts.iter().enumerate().map(open).collect()
    }

    /// The tokens of a prompt's `text`, and of the answers allowed: cut where the first of the whole texts parts from
    /// it, for an answer's first letters may make one token with the prompt's last.
    fn tokens(&self, text: &str) -> Result<(Vec<u32>, Choices)> {
        let mut tokens = self.tokenizer.encode(text)?;
        if text.is_empty() {
            return Err(Error::new("the prompt is empty").fix("a prompt with a text, or a template that adds one"));
        }
        if tokens.is_empty() {
            return Err(Error::new("nothing in the prompt is in the model's vocabulary, so that it has no tokens")
                .fix("a prompt in a language that the model knows, or another model"));
        }
        let whole = |choice: &String| self.tokenizer.encode(&format!("{text}{choice}"));
        let mut choices = self.decoding.choices.iter().map(whole).collect::<Result<Vec<_>>>()?;
        for (choice, whole) in self.decoding.choices.iter().zip(&choices) {
            tokens.truncate(parted(&tokens, whole, choice)?);
        }
        for (n, (choice, tokens)) in self.decoding.choices.iter().zip(&choices).enumerate() {
            let others = self.decoding.choices.iter().zip(&choices).take(n);
            if let Some((other, _)) = others.into_iter().find(|(other, same)| *same == tokens && *other != choice) {
                let what = format!("the model's vocabulary does not tell the choices `{other}` and `{choice}` apart");
                return Err(Error::new(what).fix("choices of words that the model knows"));
            }
        }
        let end = self.tokenizer.end_tokens().first().copied();
        choices.iter_mut().for_each(|choice| *choice = choice.split_off(tokens.len()).into_iter().chain(end).collect());
        let choices = Choices(choices);
        match choices.prefix() {
            Some((a, b)) => {
                let [a, b] = [a, b].map(|n| &self.decoding.choices[n]);
                let what =
                    format!("of the choices, `{b}` begins with `{a}`, and the model has no token that ends an answer");
                Err(Error::new(what).fix("choices of which none begins another"))
            }
            None => Ok((tokens, choices)),
        }
    }

    /// Writes until none is left in `waiting`, at most `batch` at a time.
    fn pass(
        &self,
        mut waiting: Vec<Writing>,
        batch: usize,
        done: &mut dyn FnMut(&Writing, Finish) -> Result<()>,
    ) -> Result<()> {
        let device = &self.cx.device;
        let mut cache = Cache::new(self.decoder.layers.len(), device);
        // In the order of the cache's rows.
        let mut rows: Vec<Writing> = Vec::new();
        loop {
            let mut logits = Vec::new();
            if rows.len() <= batch / 2 && !waiting.is_empty() {
                let mut tokens = 0;
                let mut new = Vec::new();
                while rows.len() + new.len() < batch && tokens < READ_TOKENS {
                    let Some(writing) = waiting.pop() else { break };
                    tokens += writing.prompt_tokens;
                    new.push(writing);
                }
                let read: Vec<Row> = new.iter().map(|writing| Row::plain(writing.tokens.clone())).collect();
                if !rows.is_empty() {
                    logits = self.next(&rows, &mut cache)?;
                }
                logits.extend(values(self.decoder.next_logits(self.decoder.read(&read, &mut cache)))?);
                rows.extend(new);
            } else if !rows.is_empty() {
                logits = self.next(&rows, &mut cache)?;
            }
            if rows.is_empty() {
                return Ok(());
            }
            self.cx.proceed()?;
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(no_numbers(self.decoder));
            }
            let vocabulary = logits.len() / rows.len();
            let mut ended = Vec::new();
            for (writing, logits) in rows.iter_mut().zip(logits.chunks_mut(vocabulary)) {
                ended.push(self.advance(writing, logits)?);
            }
            if ended.iter().any(Option::is_some) {
                let kept: Vec<usize> = (0..rows.len()).filter(|row| ended[*row].is_none()).collect();
                cache.keep(&kept, device);
                for (writing, finish) in std::mem::take(&mut rows).into_iter().zip(ended) {
                    match finish {
                        Some(finish) => done(&writing, finish)?,
                        None => rows.push(writing),
                    }
                }
            }
        }
    }

    fn next(&self, rows: &[Writing], cache: &mut Cache) -> Result<Vec<f32>> {
        let lasts: Vec<u32> = rows.iter().filter_map(|writing| writing.tokens.last().copied()).collect();
        values(self.decoder.next_logits(self.decoder.read_on(&lasts, cache)))
    }

    /// Draws the next token; says why the answer ends with it, if it does.
    fn advance(&self, writing: &mut Writing, logits: &mut [f32]) -> Result<Option<Finish>> {
        let written = writing.tokens.len() - writing.prompt_tokens;
        if !writing.choices.0.is_empty() {
            writing.choices.constrain(&writing.tokens[writing.prompt_tokens..], logits);
        }
        let token = match self.decoding.temperature == 0.0 && self.decoding.repetition_penalty == 1.0 {
            true => best(logits),
            false => draw(logits, &writing.tokens, self.decoding, &mut writing.rng.fork(written as u64)),
        };
        writing.tokens.push(token);
        let answer = &writing.tokens[writing.prompt_tokens..];
        if !writing.choices.0.is_empty() {
            // Neither `stop` nor `max_tokens` may leave half an answer.
            let Some(only) = writing.choices.only(answer) else { return Ok(None) };
            let answer = writing.choices.0[only].clone();
            writing.tokens.truncate(writing.prompt_tokens);
            writing.tokens.extend(answer);
            writing.chosen = Some(only);
            return Ok(Some(Finish::Stop));
        }
        if self.tokenizer.end_tokens().contains(&token) {
            return Ok(Some(Finish::Stop));
        }
        if !self.decoding.stop.is_empty() {
            let text = self.tokenizer.decode(answer)?;
            if self.decoding.stop.iter().any(|stop| text.contains(stop.as_str())) {
                return Ok(Some(Finish::Stop));
            }
        }
        Ok((answer.len() >= self.decoding.max_tokens).then_some(Finish::Length))
    }

    fn close(&self, writing: &Writing, finish: Finish) -> Result<Generation> {
        let answer = &writing.tokens[writing.prompt_tokens..];
        let (prompt_tokens, tokens) = (writing.prompt_tokens, answer.len());
        if let Some(choice) = writing.chosen.and_then(|chosen| self.decoding.choices.get(chosen)) {
            // Its tokens may begin with the prompt's last letters.
            return Ok(Generation { text: choice.trim().to_string(), finish, prompt_tokens, tokens });
        }
        let ends = answer.last().is_some_and(|last| self.tokenizer.end_tokens().contains(last));
        let mut text = self.tokenizer.decode(&answer[..answer.len() - usize::from(ends)])?;
        if let Some(end) = self.decoding.stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(end);
        }
        Ok(Generation { text: text.trim().to_string(), finish, prompt_tokens, tokens })
    }
}

/// What is said where a model gives values that are no numbers, of finite weights.
pub(crate) fn no_numbers(decoder: &Decoder) -> Error {
    let error = Error::new("the model's output is not a number (NaN) or infinite");
    error.at(format!("a decoder of the `{}` family", decoder.architecture.family)).fix(
        "precision = \"f32\" or \"bf16\" where it is f16, or fewer steps or a lower learning_rate where it was tuned",
    )
}

/// Does `work` with a batch of this size, or with half of it for as long as memory runs out.
fn halving(mut batch: usize, mut work: impl FnMut(usize) -> Result<()>) -> Result<()> {
    loop {
        match catch_unwind(AssertUnwindSafe(|| work(batch))) {
            Ok(result) => return result,
            Err(panic) if batch > 1 && is_memory(panic.as_ref()) => {
                batch = batch.div_ceil(2);
                tracing::warn!(batch, "out of memory: the batch is halved");
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// The values of logits, row by row.
pub(crate) fn values(logits: burn::tensor::Tensor<2>) -> Result<Vec<f32>> {
    let data = logits.into_data().convert::<f32>();
    data.try_into_vec().map_err(|error| Error::new(format!("reading logits back from the device: {error:?}")))
}

/// Whether a panic says that memory ran out.
fn is_memory(panic: &(dyn std::any::Any + Send)) -> bool {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.is_some_and(|text| {
        let text = text.to_lowercase();
        text.contains("out of memory") || text.contains("outofmemory") || text.contains("out_of_memory")
    })
}

#[cfg(test)]
mod tests {
    use super::halving;

    #[test]
    fn a_batch_that_does_not_fit_is_halved() {
        let mut tried = Vec::new();
        let result = halving(20, |batch| {
            tried.push(batch);
            assert!(batch <= 4, "CUDA error: out of memory");
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(tried, [20, 10, 5, 3]);
    }
}
