//! Texts from a list, for tests of what stands around a language model. It understands nothing and is no baseline.

use framework::context::Context;
use framework::error::{Explain, Result};
use framework::language::{Decoding, Example, Finish, Generation, Model, Prompt, Tuning};
use framework::plugin::Setting;
use framework::rng::Rng;
use framework::roles::LanguageModel;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// How many of the prompt's last words an echo repeats.
const ECHO: usize = 8;

framework::plugin! {
    /// Texts from a list, for tests only: it takes no time and understands nothing.
    ///
    /// Which text a prompt gets, and how likely an answer is, is decided by a hash. Tokens are words. Training it changes
    /// nothing.
    pub struct Scripted: LanguageModel = "scripted" {
        /// The texts.
        answers: Vec<String> = vec!["An answer.".into()],
        /// Answers with the prompt's last eight words instead.
        echo: bool = false,
    }
    check |settings, report| {
        if settings.answers.is_empty() && !settings.echo {
            report.conflict("answers", "there is no text to answer with", "at least one text, or `echo = true`");
        }
    }
}

impl LanguageModel for Scripted {
    fn open(&self, _texts: &[String], _cx: &Context) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }

    fn is_trainable(&self) -> bool {
        true
    }
}

impl Scripted {
    fn answer(&self, prompt: &Prompt, decoding: &Decoding) -> Generation {
        let texts = if decoding.choices.is_empty() { &self.answers } else { &decoding.choices };
        let asked: Vec<&str> = prompt.0.iter().flat_map(|message| message.content.split_whitespace()).collect();
        let text = match self.echo && decoding.choices.is_empty() {
            true => asked[asked.len().saturating_sub(ECHO)..].join(" "),
            false => texts[Rng::new(0, &json!(prompt).to_string()).below(texts.len())].clone(),
        };
        let end = decoding.stop.iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
        let words: Vec<&str> = text[..end].split_whitespace().collect();
        let (text, finish) = match words.get(..decoding.max_tokens) {
            Some(most) if words.len() > most.len() => (most.join(" "), Finish::Length),
            _ => (text[..end].to_string(), Finish::Stop),
        };
        Generation { text, finish, prompt_tokens: asked.len(), tokens: words.len().min(decoding.max_tokens) }
    }
}

impl Model for Scripted {
    fn identity(&self) -> Value {
        json!({ "plugin": "scripted", "settings": self.write() })
    }

    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        _seed: u64,
        _cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        prompts.iter().enumerate().try_for_each(|(place, prompt)| done(place, self.answer(prompt, decoding)))
    }

    fn score(&self, groups: &[Vec<Prompt>], answers: &[String], _cx: &Context) -> Result<Vec<Vec<Vec<f64>>>> {
        let likelihood = |prompt: &Prompt, answer: &String| {
            let mut rng = Rng::new(0, &json!([prompt, answer]).to_string());
            10.0 * (rng.uniform() - 1.0)
        };
        let of = |prompt: &Prompt| answers.iter().map(|answer| likelihood(prompt, answer)).collect();
        Ok(groups.iter().map(|group| group.iter().map(of).collect()).collect())
    }

    fn tune(
        &self,
        _groups: &[Vec<Example>],
        _tuning: &Tuning,
        validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        _cx: &Context,
    ) -> Result<Arc<dyn Model>> {
        validate(Arc::new(self.clone()))?;
        Ok(Arc::new(self.clone()))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("scripted.json");
        fs::write(&path, self.identity().to_string()).explain("saving a language model", path.display())
    }

    fn load(&self, _folder: &Path, _cx: &Context) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::Scripted;
    use crate::fixture::context;
    use framework::generations;
    use framework::language::{Decoding, Finish, Model, Prompt};
    use framework::plugin::defaults;
    use std::collections::HashSet;

    fn prompts() -> Vec<Prompt> {
        (0..20).map(|n| Prompt::new("Be brief.", &format!("one two three four five six {n}"))).collect()
    }

    fn texts(model: &dyn Model, decoding: &Decoding) -> Vec<String> {
        let (cx, _folder) = context();
        let written = generations::generate(model, &prompts(), decoding, &cx).expect("texts");
        written.into_iter().map(|generation| generation.text).collect()
    }

    #[test]
    fn each_prompt_has_its_text() {
        let model = Scripted { answers: vec!["red".into(), "blue".into()], echo: false };
        let written = texts(&model, &defaults());
        assert_eq!(written, texts(&model, &defaults()));
        assert_eq!(written.iter().collect::<HashSet<_>>().len(), 2);
        let chosen = texts(&model, &Decoding { choices: vec!["yes".into()], ..defaults() });
        assert_eq!(chosen, ["yes"; 20]);
    }

    #[test]
    fn an_echo_is_cut_like_any_text() {
        let model = Scripted { answers: Vec::new(), echo: true };
        assert_eq!(texts(&model, &defaults())[7], "brief. one two three four five six 7");
        assert_eq!(texts(&model, &Decoding { stop: vec![" three".into()], ..defaults() })[0], "brief. one two");
        let answer = model.answer(&prompts()[0], &Decoding { max_tokens: 3, ..defaults() });
        assert_eq!((answer.text.as_str(), answer.finish, answer.tokens), ("brief. one two", Finish::Length, 3));
    }

    #[test]
    fn likelihoods_differ_by_prompt_and_answer_and_survive_training_and_the_disk() {
        let (cx, folder) = context();
        let model: Scripted = defaults();
        let groups = [prompts(), prompts()[..2].to_vec()];
        let answers = ["yes".to_string(), "no".to_string()];
        let scores = model.score(&groups, &answers, &cx).expect("likelihoods");
        assert_eq!((scores[0].len(), scores[1].len(), scores[1][1].len()), (20, 2, 2));
        assert!(scores.iter().flatten().flatten().all(|score| *score < 0.0));
        assert_ne!(scores[0][0][0], scores[0][0][1]);
        assert_ne!(scores[0][0][0], scores[0][1][0]);
        let tuned = model.tune(&[], &defaults(), &|_| Ok(1.0), &cx).expect("trained");
        tuned.save(folder.path()).expect("saved");
        let loaded = model.load(folder.path(), &cx).expect("loaded");
        assert_eq!(loaded.score(&groups, &answers, &cx).expect("likelihoods"), scores);
        assert_eq!(loaded.identity(), model.identity());
    }
}
