//! What a spec's runs will cost, by what similar stages in the store cost; and the smallest difference they can show.

use crate::report::is_random;
use framework::ablation::Plan;
use framework::comparison::Side;
use framework::error::Result;
use framework::run::{UserScores, keys, settled};
use framework::stage::{Stage, differences};
use framework::statistics::Scores;
use framework::store::{Cost, StageRecord, Store};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// What is to be made and what that took before.
#[derive(Default)]
pub(crate) struct Estimate {
    pub(crate) runs: usize,
    pub(crate) runs_to_make: usize,
    /// Stages to be made, each once however many runs share it.
    pub(crate) stages_to_make: usize,
    /// Those that the plugin's history says nothing about.
    unknown: usize,
    seconds: f64,
    /// Of the largest stage.
    pub(crate) peak_memory_mb: f64,
    cost: Cost,
}

/// The estimate for `plans`; a plan whose data is missing counts as unknown.
pub(crate) fn estimate(plans: &[Plan], store: &Store, cache: &Path) -> Result<Estimate> {
    let history = store.stages()?;
    let (mut seen, mut estimate) = (BTreeSet::new(), Estimate { runs: plans.len(), ..Estimate::default() });
    for plan in &settled(plans, store, cache)? {
        let Ok(keys) = keys(plan, cache) else {
            estimate.runs_to_make += 1;
            estimate.unknown += 1;
            continue;
        };
        estimate.runs_to_make += usize::from(store.run(&keys.run)?.is_none());
        for stage in keys.stages() {
            if !seen.insert(stage.key.clone()) || store.stage(&stage.key)?.is_some() {
                continue;
            }
            // A search trains as often as it has trials, once for all seeds.
            let searched = plan.spec.search.as_ref().filter(|_| stage.name == "recommender");
            let trials = searched.filter(|_| seen.insert(format!("search of {}", plan.variant)));
            let times = 1 + trials.map_or(0, |search| search.trainings(&plan.spec));
            estimate.stages_to_make += times;
            let Some(similar) = most_similar(stage, &history) else {
                estimate.unknown += times;
                continue;
            };
            estimate.seconds += similar.seconds * times as f64;
            estimate.peak_memory_mb = estimate.peak_memory_mb.max(similar.peak_memory_mb);
            estimate.cost.tokens_trained += similar.cost.tokens_trained * times as u64;
            estimate.cost.tokens_read += similar.cost.tokens_read * times as u64;
            estimate.cost.tokens_written += similar.cost.tokens_written * times as u64;
            estimate.cost.texts_written += similar.cost.texts_written * times as u64;
        }
    }
    Ok(estimate)
}

/// The stage that was made by the same plugin, on the same data if there is one, and differs least.
fn most_similar<'a>(stage: &Stage, history: &'a [StageRecord]) -> Option<&'a StageRecord> {
    // An evaluator's time is its recommender's time to score.
    let plugins = |inputs: &Value| {
        let of = |inputs: &Value| inputs["plugin"]["settings"]["use"].clone();
        [of(inputs), of(&inputs["recommender"])]
    };
    let same =
        history.iter().filter(|record| record.stage == stage.name && plugins(&record.inputs) == plugins(&stage.inputs));
    same.min_by_key(|record| differences(&record.inputs, &stage.inputs).len())
}

impl Estimate {
    /// One line for people.
    pub(crate) fn in_words(&self) -> String {
        let Self { runs, runs_to_make, stages_to_make, unknown, seconds, peak_memory_mb, cost } = self;
        if *runs_to_make == 0 {
            return format!("{runs} runs, all in the store: nothing to compute");
        }
        let mut text = format!("{runs} runs, {runs_to_make} to be made in {stages_to_make} stages");
        let known = stages_to_make.saturating_sub(*unknown);
        if known > 0 {
            text +=
                &format!("; about {seconds:.0} s and {peak_memory_mb:.0} MiB at most, by similar stages in the store");
        }
        let tokens = [
            (cost.tokens_trained, "tokens to train on"),
            (cost.tokens_read, "tokens to read"),
            (cost.tokens_written, "tokens to write"),
            (cost.texts_written, "texts to write"),
        ];
        for (count, what) in tokens.into_iter().filter(|(count, _)| *count > 0) {
            text += &format!(", {count} {what}");
        }
        if *unknown > 0 {
            text += &format!("; {unknown} with nothing similar in the store");
        }
        text
    }
}

/// The smallest difference from the base that these plans' users and seeds can show: in four of five studies (power .8)
/// at the 5 % level, two-sided, corrected for the number of rows. By the widest spread in the store; `None` while the
/// base and another row have not both run.
pub(crate) fn smallest_difference(plans: &[Plan], store: &Store, cache: &Path) -> Result<Option<String>> {
    let plans = &settled(plans, store, cache)?;
    let Some(base) = plans.first() else { return Ok(None) };
    let metric = format!("{}{}", base.spec.evaluator.selects_by(), base.spec.protocol.metric_suffix());
    let scores = |plan: &Plan| -> Result<Option<(Vec<f64>, bool)>> {
        let Ok(keys) = keys(plan, cache) else { return Ok(None) };
        let Some(record) = store.run(&keys.run)? else { return Ok(None) };
        let random = is_random(&record);
        Ok(UserScores::read(store, &record)
            .and_then(|scores| scores.metric(&metric))
            .ok()
            .map(|values| (values, random)))
    };
    let mut sides: Vec<(&str, Side)> = Vec::new();
    let rows = plans.chunk_by(|a, b| a.variant == b.variant);
    let names: Vec<&str> = rows.clone().map(|row| row[0].variant.as_str()).collect();
    let family = base.spec.comparison.declared(&names);
    for row in rows {
        let (mut values, mut random): (Vec<Vec<f64>>, bool) = (Vec::new(), false);
        for plan in row {
            let users = sides.first().map(|(_, base)| base.values[0].len());
            let found = scores(plan)?.filter(|(own, _)| users.is_none_or(|users| users == own.len()));
            if let Some((own, drawn)) = found {
                values.push(own);
                random |= drawn;
            }
        }
        if !values.is_empty() {
            sides.push((&row[0].variant, Side::of_seeds(values, random)));
        } else if sides.is_empty() {
            return Ok(None);
        }
    }
    let Some((_, reference)) = sides.first() else { return Ok(None) };
    let (users, seeds) = (reference.values[0].len(), reference.values.len());
    let table = Scores::new(&sides.iter().map(|(_, side)| side.sample()).collect::<Vec<_>>());
    let found = (1..sides.len()).map(|n| (table.difference(n, 0).smallest(family), sides[n].0));
    let widest = found.filter(|(smallest, _)| smallest.is_finite()).max_by(|a, b| a.0.total_cmp(&b.0));
    let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("{seeds} seeds") };
    Ok(widest.map(|(smallest, variant)| {
        format!("a difference of {smallest:.4} in {metric} can be shown with {users} users and {seeds} (by the spread of `{variant}`)")
    }))
}
