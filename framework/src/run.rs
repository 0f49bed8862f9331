//! The stages of one run in the order of the science: dataset, protocol, recommender, evaluator; and its record.

use crate::ablation::Plan;
use crate::context::{Context, Epoch};
use crate::controls;
use crate::corpus::Corpus;
use crate::error::{Error, Explain, Result};
use crate::metrics;
use crate::picture::is_picture;
use crate::progress::Progress;
use crate::protocol::{Split, split};
use crate::provenance::Code;
use crate::stage::{self, Artifact, Made, Stage, Trace, are_current, found_or_made};
use crate::store::{Committed, Store, hash_json, now};
use crate::{device, log};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

mod recommended;
mod scores;
mod tuned;

pub use recommended::{Recommended, recommended};
pub use scores::{UserScores, summary};
pub use tuned::settled;

/// The stages of a plan with their keys, known before anything runs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The stage that leaves the corpus.
    pub dataset: Stage,
    /// The stage that leaves the fitted recommender.
    pub recommender: Stage,
    /// The stage that leaves the scores.
    pub evaluator: Stage,
    /// The stage that looks at evaluation itself.
    pub controls: Stage,
    /// The hash of all that makes two numbers comparable: data, protocol, metric definitions.
    pub fingerprint: String,
    /// The run's id.
    pub run: String,
}

impl Keys {
    /// The stages in order.
    pub fn stages(&self) -> [&Stage; 3] {
        [&self.dataset, &self.recommender, &self.evaluator]
    }
}

/// Computes a plan's keys; reads (to hash them) the files of its dataset in `cache`.
pub fn keys(plan: &Plan, cache: &Path) -> Result<Keys> {
    let spec = &plan.spec;
    let files = spec.dataset.files(cache).map_err(|error| error.at("dataset"))?;
    let (names, hashes) = stage::named_hashes(&files)?;
    let by_name: BTreeMap<&String, &String> = names.iter().zip(&hashes).collect();
    let dataset = json!({ "plugin": spec.dataset.identity(), "files": by_name });
    let protocol = spec.protocol.identity();
    let inputs = spec.recommender.inputs(cache).map_err(|error| error.at("recommender"))?;
    let mut recommender = json!({
        "plugin": spec.recommender.identity(),
        "inputs": inputs,
        "dataset": dataset,
        "protocol": protocol,
        "selects_by": spec.evaluator.selects_by().to_string(),
        "seed": plan.seed,
        // Which of several GPUs it was changes nothing that can be relied on.
        "device": spec.device.backend(),
    });
    // Until the search has chosen, the run is another one.
    if let Some(search) = &spec.search {
        recommender["search"] = search.identity(spec);
    }
    // Of other frameworks only what was corrected since it was added: a new definition makes no stored run stale.
    let corrected = metrics::others().iter().filter(|definition| definition.version > 1);
    let counted = metrics::definitions().iter().chain(corrected);
    let versions: Value = counted.map(|d| (d.name.to_string(), json!(d.version))).collect();
    let evaluator = json!({ "plugin": spec.evaluator.identity(), "metrics": versions, "recommender": recommender });
    let task = spec.dataset.task().unwrap_or_else(|| spec.dataset.identity_without_paths());
    // Pictures say nothing about who met what.
    let hashes: Vec<_> =
        files.iter().zip(&hashes).filter(|(path, _)| !is_picture(path)).map(|(_, hash)| hash).collect();
    let task = json!({ "plugin": task, "files": hashes });
    let fingerprint = hash_json(&json!({ "dataset": task, "protocol": protocol, "metrics": versions }));
    let evaluator = Stage::new("evaluator", evaluator);
    // 2: the controls' own seed, and how many cases were looked at.
    let controls = json!({ "version": 2, "evaluator": spec.evaluator.identity(), "metrics": versions, "dataset": dataset,
        "protocol": protocol, "device": spec.device.backend() });
    Ok(Keys {
        dataset: Stage::new("dataset", dataset),
        recommender: Stage::new("recommender", recommender),
        run: evaluator.key.clone(),
        controls: Stage::new("controls", controls),
        evaluator,
        fingerprint,
    })
}

/// Everything that the runs of one command share.
pub struct Runner {
    store: Store,
    cache: PathBuf,
    progress: Progress,
    code: Code,
    fresh: Vec<String>,
    split: Option<(String, Split)>,
    /// The keys of searches that this process made again.
    searched: BTreeSet<String>,
    /// Why searches failed in this process, by their stages' keys.
    hopeless: BTreeMap<String, String>,
}

/// How a run came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The run's id.
    pub id: String,
    /// Whether its record was there already.
    pub found: bool,
    /// Its record.
    pub record: Value,
}

impl Runner {
    /// Runs into `store`, with data in `cache`; `code` is what the program was made from, `fresh` names stages to make again.
    pub fn new(store: Store, cache: PathBuf, progress: Progress, code: Code, fresh: Vec<String>) -> Self {
        Self { store, cache, progress, code, fresh, split: None, searched: BTreeSet::new(), hopeless: BTreeMap::new() }
    }

    /// Runs a plan as `run` does, unless somebody else is running it: then `None`.
    pub fn try_run(&mut self, plan: &Plan) -> Result<Option<Finished>> {
        if let Some(name) = tuned::unsearched(plan, &self.store, &self.cache)? {
            // One process searches for all seeds; the others go on with other rows.
            let Some(_held) = self.store.try_lock(&name)? else { return Ok(None) };
            log::start();
            let started = now();
            if let Err(error) = self.tuned(plan) {
                return Err(self.failed(plan, &keys(plan, &self.cache)?, &started, error)?);
            }
        }
        let id = keys(&tuned::settle(plan, &self.store, &self.cache)?, &self.cache)?.run;
        // Not the evaluator's own lock, which the run will take.
        let lock = self.store.try_lock(&format!("run-{id}"))?;
        lock.map(|_held| self.run(plan)).transpose()
    }

    /// How long to wait before trying again what somebody else is running.
    pub fn patience(&self) -> std::time::Duration {
        self.store.patience()
    }

    /// What the last try of a plan said that failed since `time`, here or elsewhere.
    pub fn failed_since(&self, plan: &Plan, time: &str) -> Result<Option<String>> {
        let settled = tuned::settle(plan, &self.store, &self.cache)?;
        let attempts = self.store.attempts(&keys(&settled, &self.cache)?.run)?;
        let failed = |attempt: &Value| attempt["status"] == "failed" && attempt["ended"].as_str() >= Some(time);
        Ok(attempts.into_iter().rev().find(failed).and_then(|attempt| Some(attempt["error"].as_str()?.to_string())))
    }

    /// Runs a plan, or finds that it was run and that its scores are still there. A failed try is recorded in the store.
    pub fn run(&mut self, plan: &Plan) -> Result<Finished> {
        log::start();
        let started = now();
        let plan = match self.tuned(plan) {
            Ok(plan) => plan,
            Err(error) => return Err(self.failed(plan, &keys(plan, &self.cache)?, &started, error)?),
        };
        let keys = keys(&plan, &self.cache)?;
        let current = are_current(&self.store, &keys.stages())?;
        if current
            && self.fresh.is_empty()
            && let Some(record) = self.store.run(&keys.run)?
            && self.store.stage(&keys.evaluator.key)?.is_some()
        {
            return Ok(Finished { id: keys.run, found: true, record });
        }
        if !current || !self.fresh.is_empty() {
            self.refuse_to_replace(&keys.run)?;
        }
        match self.stages(&plan, &keys, &started) {
            Err(error) => Err(self.failed(&plan, &keys, &started, error)?),
            done => done,
        }
    }

    /// What a tag holds stays as it is.
    fn refuse_to_replace(&self, run: &str) -> Result<()> {
        let Some(tag) = self.store.tag_of(run)? else { return Ok(()) };
        let why = match self.fresh.is_empty() {
            true => "a stage that it was made from was made again since, and making it again",
            false => "`--fresh`",
        };
        Err(Error::new(format!("{why} would replace run {}, which the tag `{tag}` holds", &run[..10]))
            .at(self.store.place())
            .fix("`ablate reproduce` makes it again beside the store and compares; another store with `--store` takes new results"))
    }

    /// Records that a try failed; gives back why.
    fn failed(&self, plan: &Plan, keys: &Keys, started: &str, error: Error) -> Result<Error> {
        let status = if error.is_interrupt() { "interrupted" } else { "failed" };
        let attempt = json!({ "run": keys.run, "name": plan.spec.name, "variant": plan.variant, "seed": plan.seed,
            "status": status, "started": started, "ended": now(), "error": error.to_string(), "log": log::text() });
        self.store.record_attempt(&keys.run, &attempt)?;
        Ok(error)
    }

    fn stages(&mut self, plan: &Plan, keys: &Keys, started: &str) -> Result<Finished> {
        let clock = Instant::now();
        let context = self.surroundings(plan)?;
        let dataset = self.dataset(plan, keys, &context)?;
        let split = self.split(plan, keys, &dataset)?;
        let recommender = self.recommender(plan, keys, (&dataset, &split), &context, &mut None)?;
        let statistics = json!(split.statistics);
        let (controls, controls_seconds) = match plan.spec.controls {
            true => {
                let found = found_or_made(&self.store, &keys.controls, false, &[&dataset], |_, work| {
                    let cx = context(work);
                    let seed = plan.spec.protocol.candidates.seed;
                    Ok(Made::new(controls::check(&split, &*plan.spec.evaluator, seed, &cx)?, &cx))
                })?;
                let mut controls = found.record.notes;
                controls["stage"] = json!(keys.controls.key);
                (controls, json!(found.trace.seconds))
            }
            false => (Value::Null, Value::Null),
        };
        let upstream = [&dataset, &recommender];
        let fresh = self.is_fresh("evaluator");
        let evaluator = found_or_made(&self.store, &keys.evaluator, fresh, &upstream, |folder, work| {
            let cx = context(work);
            let scorer = plan.spec.recommender.load(recommender.folder(), &split.train, &cx)?;
            let opening = json!({ "at": now(), "name": plan.spec.name, "variant": plan.variant, "seed": plan.seed,
                "run": keys.run, "recommender": keys.recommender.key });
            self.store.record_opening(&keys.fingerprint, &opening)?;
            let metrics = scores::evaluate(plan, scorer.as_ref(), &split, folder, &cx)?;
            Ok(Made::new(metrics, &cx))
        })?;
        let seconds = clock.elapsed().as_secs_f64();
        let traces = [&dataset, &recommender, &evaluator].map(|artifact| artifact.trace.clone());
        let lists = match plan.spec.recommender.is_made_elsewhere() {
            true => {
                let cx = context(recommender.folder());
                let scorer = plan.spec.recommender.load(recommender.folder(), &split.train, &cx)?;
                scores::of_lists(scorer.as_ref(), split.test.open(), split.train.num_items(), &evaluator.record.notes)
            }
            false => Value::Null,
        };
        let known = json!({
            "data": statistics, "controls": controls, "controls_seconds": controls_seconds, "lists": lists,
        });
        let record = self.record(plan, keys, [&recommender, &evaluator], &traces, known, started, seconds)?;
        self.split = Some((split_key(keys), split));
        let replaced = [&dataset, &recommender, &evaluator].iter().any(|artifact| artifact.took_a_place());
        self.commit(keys, record, replaced || !self.fresh.is_empty())
    }

    /// The plan's data set, found or made.
    pub fn corpus(&mut self, plan: &Plan) -> Result<Corpus> {
        let context = self.surroundings(plan)?;
        Corpus::load(self.dataset(plan, &keys(plan, &self.cache)?, &context)?.folder())
    }

    /// Makes the surroundings of the plan's stages, each with a folder for unfinished work.
    fn surroundings(&self, plan: &Plan) -> Result<impl Fn(&Path) -> Context + use<>> {
        let (device, seed) = (device::open(&plan.spec.device)?, plan.seed);
        let (cache, progress, generations) = (self.cache.clone(), self.progress.clone(), self.store.generations());
        Ok(move |work: &Path| {
            Context::new(device.clone(), seed, work.to_path_buf(), cache.clone(), progress.clone())
                .with_generations(generations.clone())
        })
    }

    /// The plan's recommender, found or fitted; `failed` is told why it could not be.
    fn recommender(
        &self,
        plan: &Plan,
        keys: &Keys,
        (dataset, split): (&Artifact, &Split),
        context: &dyn Fn(&Path) -> Context,
        failed: &mut Option<String>,
    ) -> Result<Artifact> {
        found_or_made(&self.store, &keys.recommender, self.is_fresh("recommender"), &[dataset], |folder, work| {
            let cx = context(work);
            let fitted = stage::guarded("recommender", || plan.spec.recommender.fit(&split.train, &cx));
            *failed = fitted.as_ref().err().filter(|error| !error.is_interrupt()).map(ToString::to_string);
            fitted?.save(folder)?;
            let epochs = serde_json::to_value(cx.epochs()).explain("keeping epochs", "recommender")?;
            Ok(Made::new(epochs, &cx))
        })
    }

    fn dataset(&self, plan: &Plan, keys: &Keys, context: &dyn Fn(&Path) -> Context) -> Result<Artifact> {
        found_or_made(&self.store, &keys.dataset, self.is_fresh("dataset"), &[], |folder, work| {
            let cx = context(work);
            let corpus = plan.spec.dataset.load(&cx)?;
            corpus.check()?;
            corpus.save(folder)?;
            Ok(Made::new(Value::Null, &cx))
        })
    }

    fn is_fresh(&self, stage: &str) -> bool {
        self.fresh.iter().any(|name| name == stage)
    }

    /// Divides the corpus, unless the run before did just that.
    fn split(&mut self, plan: &Plan, keys: &Keys, dataset: &Artifact) -> Result<Split> {
        let selects_by = plan.spec.evaluator.selects_by();
        match self.split.take() {
            Some((key, mut split)) if key == split_key(keys) => {
                split.train.selects_by = selects_by;
                Ok(split)
            }
            _ => split(&Corpus::load(dataset.folder())?, &plan.spec.protocol, selects_by),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn record(
        &self,
        plan: &Plan,
        keys: &Keys,
        [recommender, evaluator]: [&Artifact; 2],
        traces: &[Trace],
        known: Value,
        started: &str,
        seconds: f64,
    ) -> Result<Value> {
        let log = self.store.put_bytes(log::text().as_bytes())?;
        let epochs: Vec<Epoch> = serde_json::from_value(recommender.record.notes.clone()).unwrap_or_default();
        let metrics = evaluator.record.notes.clone();
        let plan_table = serde_json::to_value(plan.table()).explain("writing the plan", "the run's record")?;
        let mut record = json!({
            "format": crate::store::FORMAT,
            "run": keys.run,
            "name": plan.spec.name,
            "variant": plan.variant,
            "seed": plan.seed,
            "status": "done",
            "started": started,
            "seconds": seconds,
            "plan": plan_table,
            "fingerprint": keys.fingerprint,
            "data": known["data"],
            "controls": known["controls"],
            // Beside them: what they got is compared between runs, the time that it took is not.
            "controls_seconds": known["controls_seconds"],
            "search": plan.tuned,
            "data_hash": hash_json(&keys.dataset.inputs["files"]),
            "stages": traces,
            "epochs": epochs,
            "metrics": metrics,
            "outcome": { "metrics": metrics, "checkpoint": recommender.record.files, "scores": evaluator.record.files },
            "log": log,
            "provenance": crate::provenance::provenance(&plan.spec.device.0, self.code),
        });
        if plan.spec.recommender.is_made_elsewhere() {
            record["made_elsewhere"] = json!(true);
            record["lists"] = known["lists"].clone();
        }
        if let Some(ceiling) = plan.spec.recommender.ceiling() {
            record["ceiling"] = json!(format!("{ceiling}{}", plan.spec.protocol.metric_suffix()));
        }
        Ok(record)
    }

    /// Commits a run's record; where stages were made again, it takes the place of one that says otherwise.
    fn commit(&self, keys: &Keys, record: Value, replace: bool) -> Result<Finished> {
        match self.store.commit_run(&keys.run, &record, replace)? {
            Committed::Different(what) => {
                Err(Error::new(format!("the run is not deterministic: {} differ from the stored run", what.join(", ")))
                    .at(format!("run {}", keys.run))
                    .fix("the stored record is kept; `ablate run --fresh STAGE` makes a stage again and replaces it"))
            }
            Committed::Replaced(what) => {
                let short = &keys.run[..10];
                self.progress.line(&format!(
                    "run {short} is replaced: {} differ; the old record is kept beside it",
                    what.join(", ")
                ));
                let record = self.store.run(&keys.run)?.unwrap_or(record);
                Ok(Finished { id: keys.run.clone(), found: false, record })
            }
            // What is stored is what is shown: another time, the same outcome.
            Committed::New | Committed::Same => {
                let record = self.store.run(&keys.run)?.unwrap_or(record);
                Ok(Finished { id: keys.run.clone(), found: false, record })
            }
        }
    }
}

/// What a split depends on: two datasets of one fingerprint can differ in titles and pictures.
fn split_key(keys: &Keys) -> String {
    format!("{}{}", keys.dataset.key, keys.fingerprint)
}
