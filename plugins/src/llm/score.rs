//! How likely given answers are. What the prompts of a group share is read once; the rest of each follows as a branch.

use super::decoder::Decoder;
use super::generate::{no_numbers, values};
use super::layout::Row;
use super::tokenizer::Tokenizer;
use burn::tensor::{Int, Tensor, TensorData};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::fused::vector;
use framework::host::Shards;
use framework::language::Prompt;
use framework::vectorized;
use rayon::prelude::*;

/// Tokens that are read at once.
const PASS_TOKENS: usize = 2048;

/// Tokens whose logits are computed at once.
const LOGITS: usize = 256;

/// A token whose likelihood is asked for: the place of the state that predicts it among a row's tokens, and the token.
type Asked = (usize, u32);

/// A row and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    row: Row,
    /// Tokens asked for, by answer.
    asked: Vec<Vec<Asked>>,
}

/// The log-likelihood of each of `answers` to each prompt: `[group][prompt][answer]`.
pub(crate) fn score(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    groups: &[Vec<Prompt>],
    answers: &[String],
    cx: &Context,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let questions: Vec<Vec<Question>> =
        groups.par_iter().map(|group| ask(tokenizer, group, answers, decoder)).collect::<Result<_>>()?;
    let flat: Vec<&Question> = questions.iter().flatten().collect();
    let shards = Shards::new(&cx.device).explain("starting threads", "this machine")?;
    let tokens = flat.iter().map(|question| question.row.tokens.len() as u64).sum::<u64>();
    cx.spend(|cost| cost.tokens_read += tokens);
    let bar = cx.bar("scoring", flat.len());
    let mut scores = Vec::new();
    for pass in passes(&flat, |question| question.row.tokens.len(), PASS_TOKENS) {
        cx.proceed()?;
        let parts = shards.run(shards.cut(pass), |part| likelihoods(decoder, part));
        for part in parts {
            scores.extend(part?);
        }
        bar.advance(pass.len());
    }
    let mut scores = scores.into_iter();
    let of_group = |(group, questions): (&Vec<Prompt>, &Vec<Question>)| {
        let values: Vec<f64> = scores.by_ref().take(questions.len()).flatten().collect();
        debug_assert_eq!(values.len(), group.len() * answers.len());
        values.chunks(answers.len().max(1)).map(<[f64]>::to_vec).collect()
    };
    Ok(groups.iter().zip(&questions).map(of_group).collect())
}

/// Cuts `all` into stretches of at most `limit` tokens, at least one element each.
pub(crate) fn passes<T>(all: &[T], tokens: impl Fn(&T) -> usize, limit: usize) -> Vec<&[T]> {
    let (mut cut, mut start, mut total) = (Vec::new(), 0, 0);
    for (n, element) in all.iter().enumerate() {
        if n > start && total + tokens(element) > limit {
            cut.push(&all[start..n]);
            (start, total) = (n, 0);
        }
        total += tokens(element);
    }
    if start < all.len() {
        cut.push(&all[start..]);
    }
    cut
}

/// A group's questions: one where it fits into a pass, else several that share the same prefix each.
fn ask(tokenizer: &Tokenizer, group: &[Prompt], answers: &[String], decoder: &Decoder) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for prompt in group {
        all.push(continuations(tokenizer, prompt, answers)?);
    }
    let limit = decoder.architecture.max_positions;
    let longest = all.iter().flatten().map(|(context, answer)| context.len() + answer.len()).max().unwrap_or_default();
    if longest > limit {
        return Err(
            Error::new(format!("a prompt of {longest} tokens exceeds the model's {limit}")).fix("a shorter history")
        );
    }
    let len = |continuations: &Vec<(Vec<u32>, Vec<u32>)>| continuations.iter().map(|(c, a)| c.len() + a.len()).sum();
    Ok(passes(&all, len, PASS_TOKENS * answers.len().max(1)).into_iter().map(question).collect())
}

/// Context and answer of each of `answers` to `prompt`, cut where the tokens of all texts part.
fn continuations(tokenizer: &Tokenizer, prompt: &Prompt, answers: &[String]) -> Result<Vec<(Vec<u32>, Vec<u32>)>> {
    let text = tokenizer.chat(prompt, None)?;
    let context = tokenizer.encode(&text)?;
    let continuation = |answer: &String| {
        let whole = tokenizer.encode(&format!("{text}{answer}"))?;
        let shared = parted(&context, &whole, answer)?;
        Ok((whole[..shared].to_vec(), whole[shared..].to_vec()))
    };
    answers.iter().map(continuation).collect()
}

/// How many tokens of `context` those of the `whole` text with an `answer` begin with; at least one is left to it.
pub(crate) fn parted(context: &[u32], whole: &[u32], answer: &str) -> Result<usize> {
    let shared = context.iter().zip(whole).take_while(|(a, b)| a == b).count();
    match shared.min(whole.len().saturating_sub(1)) {
        0 => Err(Error::new(format!("nothing stands before the answer `{answer}`")).fix("a prompt that is not empty")),
        shared => Ok(shared),
    }
}

/// One row for the answers of some prompts. An answer's last token is never read, only predicted.
fn question(prompts: &[Vec<(Vec<u32>, Vec<u32>)>]) -> Question {
    // Answers of one token after the same context need that context once.
    let mut sequences: Vec<Vec<u32>> = Vec::new();
    let mut places = Vec::new();
    for (context, answer) in prompts.iter().flatten() {
        let sequence: Vec<u32> = context.iter().chain(&answer[..answer.len() - 1]).copied().collect();
        if sequences.last() != Some(&sequence) {
            sequences.push(sequence);
        }
        places.push((sequences.len() - 1, context.len(), answer));
    }
    let row = Row::tree(&sequences);
    let place = |branch: usize, n: usize| if n < row.prefix { n } else { row.branch(branch).start + n - row.prefix };
    let asked = places.iter().map(|(branch, context, answer)| {
        answer.iter().enumerate().map(|(n, token)| (place(*branch, context + n - 1), *token)).collect()
    });
    let asked = asked.collect();
    Question { row, asked }
}

/// The log-likelihoods of each question's answers.
fn likelihoods(decoder: &Decoder, questions: &[&Question]) -> Result<Vec<Vec<f64>>> {
    let rows: Vec<Row> = questions.iter().map(|question| question.row.clone()).collect();
    let layout = decoder.layout(&rows);
    let tokens: Vec<u32> = rows.into_iter().flat_map(|row| row.tokens).collect();
    let states = decoder.states(decoder.embed(&tokens), &layout, None);
    let asked = questions.iter().zip(&layout.spans).flat_map(|(question, span)| {
        question.asked.iter().flatten().map(move |(place, token)| ((span.offset + place) as i64, *token as usize))
    });
    let mut log_p = Vec::new();
    for asked in asked.collect::<Vec<_>>().chunks(LOGITS) {
        let mut places: Vec<i64> = asked.iter().map(|(place, _)| *place).collect();
        places.dedup();
        let index = Tensor::<1, Int>::from_data(TensorData::new(places.clone(), [places.len()]), &states.device());
        let mut logits = values(decoder.logits(states.clone().select(0, index)))?;
        let same_place = asked.chunk_by(|(a, _), (b, _)| a == b);
        for (row, asked) in logits.chunks_mut(decoder.architecture.vocab_size).zip(same_place) {
            let scores: Vec<f32> = asked.iter().map(|(_, token)| row[*token]).collect();
            let total = log_sum_exp(row);
            log_p.extend(scores.into_iter().map(|score| f64::from(score) - total));
        }
    }
    if log_p.iter().any(|log_p: &f64| !log_p.is_finite()) {
        return Err(no_numbers(decoder));
    }
    let mut log_p = log_p.into_iter();
    let mut of_answer = |asked: &Vec<Asked>| log_p.by_ref().take(asked.len()).sum();
    Ok(questions.iter().map(|question| question.asked.iter().map(&mut of_answer).collect()).collect())
}

/// The logarithm of the sum of `e^x` over `row`, whose values are lost.
fn log_sum_exp(row: &mut [f32]) -> f64 {
    let (max, sum) = softmax(row);
    f64::from(max) + f64::from(sum).ln()
}

vectorized! {
    fn softmax<'a>[_](row: &'a mut [f32]) -> (f32, f32) {
        vector::softmax(row, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{log_sum_exp, passes, question};
    use crate::llm::layout::Row;

    #[test]
    fn passes_hold_at_most_the_limit() {
        let cut = passes(&[3, 4, 9, 1, 1, 1], |n| *n, 7);
        assert_eq!(cut, [&[3, 4][..], &[9], &[1, 1, 1]]);
    }

    #[test]
    fn answers_are_asked_of_the_states_before_them() {
        // Two prompts that begin alike, two answers each; the second answer has two tokens.
        let prompts = [vec![(vec![1, 2], vec![7]), (vec![1, 2], vec![8, 9])], vec![(vec![1, 3], vec![7])]];
        let question = question(&prompts);
        assert_eq!(question.row, Row { tokens: vec![1, 2, 2, 8, 3], prefix: 1, starts: vec![1, 2, 4] });
        assert_eq!(question.asked, [vec![(1, 7)], vec![(2, 8), (3, 9)], vec![(4, 7)]]);
        // The shared state is asked for both answers where it is the same sequence.
        let same = super::question(&[vec![(vec![1, 2], vec![7]), (vec![1, 2], vec![8])]]);
        assert_eq!((same.row, same.asked), (Row::plain(vec![1, 2]), vec![vec![(1, 7)], vec![(1, 8)]]));
    }

    #[test]
    fn log_sum_exp_is_exact_enough() {
        let mut row: Vec<f32> = (0..1000).map(|n| (n as f32).sin() * 5.0).collect();
        let exact = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
        assert!((log_sum_exp(&mut row) - exact).abs() < 1e-5);
    }
}
