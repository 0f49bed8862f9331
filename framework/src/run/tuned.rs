//! The trials of a `[search]`: each is trained like a run and judged on validation; the test split stays sealed.

use super::{Keys, Runner, keys, split_key};
use crate::ablation::Plan;
use crate::error::{Error, Explain, Result};
use crate::plugin::Setting;
use crate::protocol::Split;
use crate::search::{Point, Proposals, Search, Trial, Tuned, with};
use crate::stage::{Artifact, Made, Stage, found_or_made};
use crate::store::Store;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;
use std::time::Instant;

/// The stages that `--fresh` may name so that a search is made again.
const SEARCHED_FROM: [&str; 3] = ["dataset", "recommender", "search"];

/// The stage that leaves what a plan's search found.
fn stage(plan: &Plan, search: &Search, cache: &Path) -> Result<Stage> {
    let row = with(plan, &Point::new(), search.training_seed(0))
        .map_err(|_| Error::new("the row is not a spec of its own"))?;
    let recommender = keys(&row, cache)?.recommender.inputs;
    let version = plan.spec.evaluator.selects_by().version();
    let inputs = json!({ "search": search.identity(&plan.spec), "metric": version, "recommender": recommender });
    Ok(Stage::new("search", inputs))
}

/// The lock of a plan's search, while that was not made.
pub(super) fn unsearched(plan: &Plan, store: &Store, cache: &Path) -> Result<Option<String>> {
    let settled = settle(plan, store, cache)?;
    let Some(search) = &settled.spec.search else { return Ok(None) };
    Ok(stage(plan, search, cache).ok().map(|stage| format!("search-{}", stage.key)))
}

/// The plans, each with the settings that its search chose, where the store knows them.
pub fn settled(plans: &[Plan], store: &Store, cache: &Path) -> Result<Vec<Plan>> {
    plans.iter().map(|plan| settle(plan, store, cache)).collect()
}

/// See [`settled`].
pub(super) fn settle(plan: &Plan, store: &Store, cache: &Path) -> Result<Plan> {
    let Some(search) = &plan.spec.search else { return Ok(plan.clone()) };
    if search.points(&plan.spec) == 0 {
        return idle(plan, search);
    }
    // Missing data is reported by what needs it.
    let Ok(stage) = stage(plan, search, cache) else { return Ok(plan.clone()) };
    let found = store.stage(&stage.key)?;
    found.map_or_else(|| Ok(plan.clone()), |record| chosen(plan, read(&stage.key, &record.notes)?))
}

/// The plan of a row that has nothing to tune.
fn idle(plan: &Plan, search: &Search) -> Result<Plan> {
    let metric = plan.spec.evaluator.selects_by().to_string();
    chosen(plan, Tuned { stage: String::new(), metric, method: name(search), seconds: 0.0, trials: Vec::new() })
}

/// The search's method as a spec says it.
fn name(search: &Search) -> String {
    search.method.write().as_str().unwrap_or_default().to_owned()
}

fn all_failed(plan: &Plan, tuned: &Tuned) -> Error {
    let first = tuned.trials.first().and_then(|trial| trial.error.clone()).unwrap_or_default();
    Error::new(format!("all {} trials failed; the first: {first}", tuned.trials.len()))
        .at(format!("search of {}", plan.variant))
        .fix("a space that holds settings which train")
}

/// What the stage of that key found.
fn read(stage: &str, notes: &Value) -> Result<Tuned> {
    let tuned: Tuned = serde_json::from_value(notes.clone()).explain("reading a search", stage)?;
    Ok(Tuned { stage: stage.into(), ..tuned })
}

/// The plan with the settings of its best trial.
fn chosen(plan: &Plan, tuned: Tuned) -> Result<Plan> {
    let point = match tuned.best() {
        Some(best) => best.values.clone(),
        None if tuned.trials.is_empty() => Point::new(),
        None => return Err(all_failed(plan, &tuned)),
    };
    let settled = with(plan, &point, plan.seed).map_err(|_| {
        Error::new("the chosen settings are none of this spec").at(format!("search stage {}", tuned.stage))
    })?;
    Ok(Plan { tuned: Some(tuned), ..settled })
}

impl Runner {
    /// The plan with the settings that its search chose; searches where that was not done yet.
    pub(super) fn tuned<'a>(&mut self, plan: &'a Plan) -> Result<Cow<'a, Plan>> {
        let Some(search) = &plan.spec.search else { return Ok(Cow::Borrowed(plan)) };
        if search.points(&plan.spec) == 0 {
            return idle(plan, search).map(Cow::Owned);
        }
        let stage = stage(plan, search, &self.cache)?;
        if let Some(why) = self.hopeless.get(&stage.key) {
            return Err(Error::new(why));
        }
        let store = self.store.clone();
        // Once in this process: all seeds of a row share their search.
        let fresh = SEARCHED_FROM.iter().any(|stage| self.is_fresh(stage)) && self.searched.insert(stage.key.clone());
        let found = found_or_made(&store, &stage, fresh, &[], |_, _| {
            let tuned = self.search(plan, search)?;
            // Not kept: a stage is for good, and what made all fail may be gone the next time.
            if tuned.best().is_none() {
                let error = all_failed(plan, &tuned);
                self.hopeless.insert(stage.key.clone(), error.to_string());
                return Err(error);
            }
            Ok(Made::of_stages(json!(tuned)))
        })?;
        chosen(plan, read(&stage.key, &found.record.notes)?).map(Cow::Owned)
    }

    /// Tries what the search proposes, then judges the best again. A trial that does not train counts, and is no reason
    /// to stop.
    fn search(&mut self, plan: &Plan, search: &Search) -> Result<Tuned> {
        let metric = plan.spec.evaluator.selects_by().to_string();
        let mut proposals = Proposals::new(search, &plan.spec);
        let mut found = Tuned { stage: String::new(), metric, method: name(search), seconds: 0.0, trials: Vec::new() };
        while let Some(values) = proposals.propose() {
            let title = format!("trial {} of {}", found.trials.len() + 1, search.trials);
            let result = self.tried(plan, &values, search.training_seed(0), &title, &mut found)?;
            proposals.tell(result.as_ref().map_or(0.0, |judged| judged.value));
            let random = result.as_ref().ok().map(|judged| judged.random);
            let validation = result.as_ref().ok().map(|judged| judged.value);
            found.trials.push(Trial { values, validation, again: Vec::new(), random, error: result.err() });
        }
        if found.trials.len() > 1 && search.judges > 0 {
            self.judge_again(plan, search, &mut found)?;
        }
        Ok(found)
    }

    /// Trains the best trials with fresh seeds, until as many as the search asks for have come through.
    fn judge_again(&mut self, plan: &Plan, search: &Search, found: &mut Tuned) -> Result<()> {
        let mut through = 0;
        for trial in found.ranked() {
            if through == search.finalists {
                break;
            }
            for judge in 1..=search.judges {
                let Trial { values, validation, random, .. } = found.trials[trial].clone();
                let title = format!(
                    "finalist {} of {}, fresh seed {judge} of {}",
                    through + 1,
                    search.finalists,
                    search.judges
                );
                let value = match (random, validation) {
                    // What is not random is the same with every seed.
                    (Some(false), Some(value)) => Ok(value),
                    _ => {
                        let seed = search.training_seed(judge as u64);
                        self.tried(plan, &values, seed, &title, found)?.map(|judged| judged.value)
                    }
                };
                let trial = &mut found.trials[trial];
                match value {
                    Ok(value) => trial.again.push(value),
                    // Settings that fail with another seed have not won.
                    Err(error) => {
                        (trial.validation, trial.error) = (None, Some(format!("with a fresh seed: {error}")));
                        trial.again.clear();
                        break;
                    }
                }
            }
            through += usize::from(!found.trials[trial].again.is_empty());
        }
        Ok(())
    }

    /// What one setting gets on validation with one seed; or why it got nothing.
    fn tried(
        &mut self,
        plan: &Plan,
        values: &Point,
        seed: u64,
        title: &str,
        found: &mut Tuned,
    ) -> Result<std::result::Result<Judged, String>> {
        let tried = with(plan, values, seed);
        let tried = tried.map_err(|wrong| wrong.into_iter().map(|p| p.message).collect::<Vec<_>>().join("; "));
        let clock = Instant::now();
        let result = match tried {
            Ok(trial) => self.trial(&trial)?,
            Err(conflict) => Err(conflict),
        };
        // Of a trial that was there already, what it took when it was made.
        found.seconds += result.as_ref().map_or_else(|_| clock.elapsed().as_secs_f64(), |judged| judged.seconds);
        let shown: Vec<String> = values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        let outcome = match &result {
            Ok(judged) => format!("{} {:.4} on validation", found.metric, judged.value),
            Err(error) => error.clone(),
        };
        self.progress.line(&format!("search of {}, {title}: {}: {outcome}", plan.variant, shown.join(", ")));
        Ok(result)
    }

    /// The selection metric on validation of one setting; or why there is none.
    fn trial(&mut self, plan: &Plan) -> Result<std::result::Result<Judged, String>> {
        let keys = keys(plan, &self.cache)?;
        let context = self.surroundings(plan)?;
        let dataset = self.dataset(plan, &keys, &context)?;
        let split = self.split(plan, &keys, &dataset)?;
        let value = self.validated(plan, &keys, (&dataset, &split));
        self.split = Some((split_key(&keys), split));
        value
    }

    fn validated(
        &self,
        plan: &Plan,
        keys: &Keys,
        (dataset, split): (&Artifact, &Split),
    ) -> Result<std::result::Result<Judged, String>> {
        let context = self.surroundings(plan)?;
        let version = plan.spec.evaluator.selects_by().version();
        let inputs = json!({ "recommender": keys.recommender.inputs, "metric": version });
        let (stage, mut failed) = (Stage::new("validation", inputs), None);
        let fresh = SEARCHED_FROM.iter().any(|stage| self.is_fresh(stage));
        let validation = found_or_made(&self.store, &stage, fresh, &[dataset], |_, work| {
            let fitted = self.recommender(plan, keys, (dataset, split), &context, &mut failed)?;
            let cx = context(work);
            let scorer = plan.spec.recommender.load(fitted.folder(), &split.train, &cx);
            let judged = scorer.and_then(|scorer| split.train.validate(scorer.as_ref(), &cx));
            failed = judged.as_ref().err().filter(|error| !error.is_interrupt()).map(ToString::to_string);
            let random = fitted.record.random.unwrap_or(true) || cx.is_random();
            Ok(Made::new(json!({ "value": judged?, "random": random }), &cx))
        });
        match (validation, failed) {
            (Err(_), Some(error)) => Ok(Err(error)),
            (validation, _) => {
                let record = validation?.record;
                let (notes, seconds) = (&record.notes, record.seconds);
                // A number alone in records of before it was kept whether anything was random.
                let value = notes["value"].as_f64().or_else(|| notes.as_f64()).ok_or_else(|| "no number".to_owned());
                let random = notes["random"].as_bool().unwrap_or(true);
                Ok(value.map(|value| Judged { value, seconds, random }))
            }
        }
    }
}

/// What became of one training.
struct Judged {
    /// The selection metric on validation.
    value: f64,
    /// What it took.
    seconds: f64,
    /// Whether another seed may give another value.
    random: bool,
}
