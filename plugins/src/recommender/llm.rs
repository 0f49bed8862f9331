//! A language model that answers, for each candidate, whether the user will choose it.

use crate::template::Template;
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::corpus::Items;
use framework::error::{Error, Result};
use framework::language::{Example, Model, Prompt, Tuning};
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::{Aggregator, LanguageModel, Query, Recommender, Scorer};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

framework::plugin! {
    /// A language model reads the titles of a user's history and of a candidate and answers yes or no.
    ///
    /// TALLRec (Bao et al., RecSys 2023, arXiv 2305.00447): fine-tuned with LoRA on one yes and some no per user; the
    /// score is the probability of the yes answer among the two. TALLRec itself rates items as liked or disliked by
    /// their ratings and draws 64 to 256 users ("few-shot"); here a user's next item is a yes, items never chosen are
    /// a no, and `max_users` says how many users are learned from.
    struct Llm: Recommender = "llm" {
        /// What answers.
        language_model: Pick<dyn LanguageModel> = Pick::named("tiny"),
        /// What writes a text about the user's preferences for the prompt, if anything does.
        aggregator: Option<Pick<dyn Aggregator>> = None,
        /// The prompt's template, built in or a file; it is given `history` (titles, oldest first), `candidate` (a title)
        /// and `preference` (a text, perhaps empty); and with the attributes that the dataset keeps, `history_items` and
        /// `candidate_item` (`candidate_item.title`, `candidate_item.brand`).
        prompt: String = "tallrec".into(),
        /// The answer that means yes.
        yes: String = "Yes".into(),
        /// The answer that means no.
        no: String = "No".into(),
        /// The most recent items of the history that the prompt shows.
        #[range(0..=10_000)]
        max_history: usize = 10,
        /// Users that are learned from at most, drawn with the seed; 0 takes all.
        #[range(0..=100_000_000)]
        max_users: usize = 0,
        /// The most recent training items of each user that are learned as a yes, each after the history before it.
        #[range(1..=10_000)]
        targets_per_user: usize = 1,
        /// Items never chosen, learned as a no beside each yes.
        #[range(1..=1000)]
        negatives: usize = 1,
        /// Whether the model is fine-tuned, or asked as it is.
        fine_tuned: bool = true,
        /// How it is fine-tuned.
        tuning: Tuning = defaults(),
    }
    check |settings, report| {
        if settings.fine_tuned && !settings.language_model.is_trainable() {
            report.conflict(
                "fine_tuned",
                format!("`{}` cannot be trained here", settings.language_model.name()),
                "fine_tuned = false, or language_model = { use = \"local\", … }",
            );
        }
    }
}

impl Recommender for Llm {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let model = self.language_model.open(&self.texts(train)?, cx)?;
        if !self.fine_tuned {
            return Ok(Box::new(self.judge(model, train)?));
        }
        let groups = self.examples(&self.judge(model.clone(), train)?, train, cx)?;
        let validate = |model: Arc<dyn Model>| train.validate(&self.judge(model, train)?, cx);
        let tuned = model.tune(&groups, &self.tuning, &validate, cx)?;
        Ok(Box::new(self.judge(tuned, train)?))
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let model = self.language_model.open(&self.texts(train)?, cx)?;
        let model = if self.fine_tuned { model.load(folder, cx)? } else { model };
        Ok(Box::new(self.judge(model, train)?))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        let aggregator = self.aggregator.as_ref().map(|aggregator| aggregator.inputs(cache)).transpose()?;
        let language_model = self.language_model.inputs(cache)?;
        Ok(
            json!({ "language_model": language_model, "aggregator": aggregator, "prompt": Template::open(&self.prompt)?.text }),
        )
    }
}

impl Llm {
    /// What prompts are made of.
    fn texts(&self, train: &Train) -> Result<Vec<String>> {
        let attributes = train.items.attributes.iter().flat_map(|attribute| attribute.values.iter().flatten());
        Ok(train.items.title.iter().chain(attributes).cloned().chain([Template::open(&self.prompt)?.text]).collect())
    }

    fn judge(&self, model: Arc<dyn Model>, train: &Train) -> Result<Judge> {
        Ok(Judge {
            model,
            template: Template::open(&self.prompt)?,
            aggregator: self.aggregator.clone(),
            fine_tuned: self.fine_tuned,
            answers: [self.yes.clone(), self.no.clone()],
            max_history: self.max_history,
            items: train.items.clone(),
        })
    }

    /// For each target that is learned, a yes and the negatives.
    fn examples(&self, judge: &Judge, train: &Train, cx: &Context) -> Result<Vec<Vec<Example>>> {
        let rng = cx.rng("examples");
        let mut users: Vec<usize> = (0..train.sequences.len()).collect();
        if self.max_users > 0 {
            rng.fork(0).shuffle(&mut users);
            users.truncate(self.max_users);
            users.sort_unstable();
        }
        let mut targets = Vec::new();
        for user in users {
            let items = &train.sequences[user].items;
            for n in items.len().saturating_sub(self.targets_per_user).max(1)..items.len() {
                let mut rng = rng.fork(1 + user as u64).fork(n as u64);
                let mut candidates = vec![items[n]];
                for _ in 0..self.negatives {
                    candidates.push(other(items, train.num_items(), &mut rng)?);
                }
                targets.push((&items[n.saturating_sub(train.max_history)..n], candidates));
            }
        }
        let histories: Vec<&[u32]> = targets.iter().map(|(history, _)| *history).collect();
        let preferences = judge.preferences(&histories, cx)?;
        let groups = targets.par_iter().zip(&preferences).map(|((history, candidates), preference)| {
            let prompts = judge.prompts(history, candidates, preference)?;
            let answers = [&self.yes].into_iter().chain(std::iter::repeat(&self.no));
            Ok(prompts
                .into_iter()
                .zip(answers)
                .map(|(prompt, answer)| Example { prompt, answer: answer.clone() })
                .collect())
        });
        groups.collect()
    }
}

/// An item that is not in `seen`.
fn other(seen: &[u32], num_items: usize, rng: &mut Rng) -> Result<u32> {
    for _ in 0..10_000 {
        let item = rng.below(num_items) as u32;
        if !seen.contains(&item) {
            return Ok(item);
        }
    }
    Err(Error::new("a user knows almost every item, so there are no negatives").fix("a larger catalogue"))
}

/// A model that is asked about candidates.
struct Judge {
    model: Arc<dyn Model>,
    template: Template,
    aggregator: Option<Pick<dyn Aggregator>>,
    /// Whether there is anything to save: a served model can be asked as it is, but neither trained nor saved.
    fine_tuned: bool,
    /// Yes and no.
    answers: [String; 2],
    max_history: usize,
    items: Arc<Items>,
}

impl Judge {
    /// A text for each history; empty ones without an aggregator.
    fn preferences(&self, histories: &[&[u32]], cx: &Context) -> Result<Vec<String>> {
        match &self.aggregator {
            Some(aggregator) => aggregator.aggregate(histories, &self.items, cx),
            None => Ok(vec![String::new(); histories.len()]),
        }
    }

    /// A prompt for each candidate.
    fn prompts(&self, history: &[u32], candidates: &[u32], preference: &str) -> Result<Vec<Prompt>> {
        let title = |item: &u32| self.items.title[*item as usize].as_str();
        let recent = &history[history.len().saturating_sub(self.max_history)..];
        let titles: Vec<&str> = recent.iter().map(title).collect();
        let items: Vec<_> = recent.iter().map(|item| self.items.in_words(*item)).collect();
        let prompt = |item: &u32| {
            self.template.fill(json!({
                "history": titles,
                "history_items": items,
                "candidate": title(item),
                "candidate_item": self.items.in_words(*item),
                "preference": preference,
            }))
        };
        candidates.iter().map(prompt).collect()
    }
}

impl Scorer for Judge {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let all: Vec<u32> = (0..self.items.id.len() as u32).collect();
        let histories: Vec<&[u32]> = queries.iter().map(|query| query.history).collect();
        let preferences = self.preferences(&histories, cx)?;
        let candidates: Vec<&[u32]> = queries.iter().map(|query| query.candidates.unwrap_or(&all)).collect();
        let asked = queries.par_iter().zip(&candidates).zip(&preferences);
        let prompts =
            asked.map(|((query, candidates), preference)| self.prompts(query.history, candidates, preference));
        let groups = prompts.collect::<Result<Vec<_>>>()?;
        let likelihoods = self.model.score(&groups, &self.answers, cx)?;
        let mut scores = vec![f32::NEG_INFINITY; queries.len() * all.len()];
        for ((row, candidates), likelihoods) in scores.chunks_mut(all.len()).zip(candidates).zip(likelihoods) {
            for (item, answers) in candidates.iter().zip(likelihoods) {
                // The logit of P(yes) / (P(yes) + P(no)), which ranks alike and does not round to 1.
                row[*item as usize] = (answers[0] - answers[1]) as f32;
            }
        }
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), all.len()]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        if self.fine_tuned { self.model.save(folder) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Llm;
    use crate::fixture::{context, cycle};
    use framework::plugin::Setting;
    use framework::problem::Reader;
    use framework::roles::Recommender;
    use framework::toml;

    #[test]
    fn a_served_model_that_is_asked_as_it_is_needs_no_training_and_no_files() {
        let text =
            "fine_tuned = false\nlanguage_model = { use = \"openai\", url = \"http://localhost\", model = \"m\" }";
        let table: toml::Table = text.parse().expect("TOML");
        let llm = Llm::read(&toml::Value::Table(table), &mut Reader::default()).expect("right settings");
        let ((cx, _folder), train) = (context(), cycle(12, 8, 9));
        llm.fit(&train, &cx).expect("nothing is asked yet").save(&cx.work).expect("there is nothing to save");
        assert!(llm.load(&cx.work, &train, &cx).is_ok());
    }
}
