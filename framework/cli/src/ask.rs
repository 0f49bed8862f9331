//! One language model, outside any experiment: which one is meant, and what it answers.

use framework::context::Context;
use framework::error::{Error, Result};
use framework::language::{Decoding, Generation, Model, Prompt};
use framework::plugin::{Pick, Setting};
use framework::problem::Reader;
use framework::roles::LanguageModel;
use toml::{Table, Value};

/// The plugin called `plugin`, which reads checkpoints, with the one at `model`, a path or a fetched name.
pub fn checkpoint(plugin: &str, model: &str) -> Result<Pick<dyn LanguageModel>> {
    let table = [("use", plugin), ("model", model)].map(|(key, value)| (key.to_string(), value.into()));
    setting(&Value::Table(Table::from_iter(table)))
}

/// The first language model that a plan names, a recommender's before its aggregator's.
pub fn first_in(plan: &Table) -> Result<Pick<dyn LanguageModel>> {
    fn find(table: &Table) -> Option<&Value> {
        let below = || table.values().filter_map(Value::as_table).find_map(find);
        table.get("language_model").or_else(below)
    }
    let missing = || Error::new("the spec names no language model").fix("a spec with a `language_model` table");
    setting(find(plan).ok_or_else(missing)?)
}

/// How answers are drawn, from `--set` arguments: TOML, `key = value`.
pub fn decoding(set: &[String]) -> Result<Decoding> {
    let mut table = Table::new();
    for argument in set {
        let keys: Table = toml::from_str(argument).map_err(|error| {
            Error::new(format!("`--set {argument}` is not TOML: {}", error.message())).fix("--set 'temperature=0.7'")
        })?;
        table.extend(keys);
    }
    setting(&Value::Table(table))
}

/// A setting outside any spec; an error with the first mistake in it.
pub fn setting<T: Setting>(value: &Value) -> Result<T> {
    let mut reader = Reader::default();
    let read = T::read(value, &mut reader);
    match reader.problems.into_iter().next() {
        None => read.ok_or_else(|| Error::new(format!("{value} is not {}", T::kind()))),
        Some(problem) => {
            let error = Error::new(problem.message);
            let error = if problem.path.is_empty() { error } else { error.at(problem.path.join(".")) };
            let meant = problem.nearest.map_or(String::new(), |name| format!("did you mean `{name}`? "));
            Err(error.fix(meant + &problem.expected))
        }
    }
}

/// The model's answer to one prompt; nothing is kept.
pub fn answer(model: &dyn Model, prompt: Prompt, decoding: &Decoding, seed: u64, cx: &Context) -> Result<Generation> {
    let mut answer = None;
    model.generate(&[prompt], decoding, seed, cx, &mut |_, generation| {
        answer = Some(generation);
        Ok(())
    })?;
    answer.ok_or_else(|| Error::new("the prompt was left unanswered"))
}
