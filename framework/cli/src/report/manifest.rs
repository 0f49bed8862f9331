//! What made a run's numbers, from its record and its recommender's stage record: the details that Shehzad & Jannach
//! (UMAP 2026) look for in papers on recommendation with language models. What is in neither is *not recorded*; nothing
//! is guessed.

use super::notes::ranked;
use framework::error::Result;
use framework::store::{Store, hash_bytes};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What made one run.
pub(super) struct Manifest {
    run: String,
    variant: String,
    seed: String,
    entries: Vec<(String, Option<String>)>,
    /// The texts of prompts by their hash.
    prompts: BTreeMap<String, String>,
}

impl Manifest {
    /// From a run's record; `runs` are in the same report, and the test split was opened `openings` times.
    pub(super) fn new(record: &Value, store: &Store, runs: usize, openings: usize) -> Result<Self> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (run, variant, seed) = (word(&record["run"]), word(&record["variant"]), record["seed"].to_string());
        let mut manifest = Self { run, variant, seed, entries: Vec::new(), prompts: BTreeMap::new() };
        manifest.general(record, runs, openings);
        let mut models = Vec::new();
        find(&record["plan"]["recommender"], &mut Vec::new(), &mut |path, value| {
            if path.last().is_some_and(|key| key == "language_model") && value.is_object() {
                models.push((path.to_vec(), value.clone()));
            }
        });
        if !models.is_empty() {
            let stage = record["stages"].as_array().into_iter().flatten().find(|stage| stage["stage"] == "recommender");
            let key = stage.and_then(|stage| stage["key"].as_str()).map(|key| store.stage(key)).transpose()?.flatten();
            let inputs = key.map_or(Value::Null, |stage| stage.inputs["inputs"].clone());
            for (path, model) in &models {
                manifest.model(path, model, &inputs);
            }
            manifest.asked(record, &inputs);
        }
        Ok(manifest)
    }

    fn add(&mut self, name: impl Into<String>, value: Option<String>) {
        self.entries.push((name.into(), value.filter(|value| !value.is_empty())));
    }

    fn general(&mut self, record: &Value, runs: usize, openings: usize) {
        let (plan, provenance) = (&record["plan"], &record["provenance"]);
        self.add("run", text(&record["run"]));
        self.add("seed", Some(self.seed.clone()));
        let files = text(&record["data_hash"]).map(|hash| format!(", files {hash}")).unwrap_or_default();
        self.add("data", settings(&plan["dataset"]).map(|data| data + &files));
        self.add("protocol", settings(&plan["protocol"]));
        self.add("candidate generation", Some(ranked(record)).filter(|_| record["data"]["items"].is_number()));
        self.add("recommender", settings(&plan["recommender"]));
        self.add("evaluator", settings(&plan["evaluator"]));
        self.add("trials", Some(format!("{runs} runs in this report; the test split was opened {openings} times")));
        let code = text(&provenance["git_revision"]).map(|revision| {
            let changed = if provenance["git_dirty"] == true { ", with changes" } else { "" };
            let part = |key: &str| text(&provenance[key]).unwrap_or_default();
            format!(
                "ablate {}, revision {revision}{changed}, Cargo.lock {}, {}",
                part("ablate"),
                part("cargo_lock"),
                part("rustc")
            )
        });
        self.add("code", code);
        let hardware = text(&provenance["cpu"]).map(|cpu| {
            let gpu = text(&provenance["gpu"]).map(|gpu| format!(", {gpu}")).unwrap_or_default();
            format!("{cpu}, {} cores{gpu}, {}", provenance["cores"], text(&provenance["os"]).unwrap_or_default())
        });
        self.add("hardware", hardware);
        self.add("device", text(&plan["device"]));
        let cost = super::cost::Cost::of(std::slice::from_ref(record));
        let cost: BTreeMap<_, _> = cost.iter().flat_map(super::cost::Cost::numbers).collect();
        let measured = |key: &str| cost.get(key).filter(|number| **number > 0.0);
        self.add("time", measured("seconds").map(|seconds| format!("{seconds:.1} s")));
        self.add("peak memory", measured("peak_memory_mb").map(|memory| format!("{memory:.0} MiB")));
    }

    /// One language model, which stands at `path` in the recommender's settings and, with its files, in its inputs.
    fn model(&mut self, path: &[String], model: &Value, inputs: &Value) {
        let place = path.join(".");
        let named = |what: &str| if path.len() > 1 { format!("{what} ({place})") } else { what.to_string() };
        let files = path.iter().fold(inputs, |value, key| &value[key]).as_object().cloned().unwrap_or_default();
        let name = text(&model["model"]).map(|name| format!("{name} ({})", text(&model["use"]).unwrap_or_default()));
        self.add(named("model"), name.clone().or_else(|| settings(model)));
        let after =
            text(&model["model"]).and_then(|name| name.split_once('@').map(|(_, revision)| revision.to_string()));
        self.add(named("revision"), text(&model["revision"]).or(after));
        let whole = |file: &str| file.ends_with(".gguf");
        let weights =
            |file: &str| [".gguf", ".safetensors", ".bin", ".pt", ".pth"].iter().any(|end| file.ends_with(end));
        self.add(named("weights"), hashes(&files, weights));
        self.add(named("tokenizer"), hashes(&files, |file| file == "tokenizer.json" || whole(file)));
        let template = hashes(&files, |file| file.starts_with("chat_template"));
        let beside = || hashes(&files, |file| file == "tokenizer_config.json" || whole(file));
        self.add(named("chat template"), template.or_else(beside));
        self.add(named("precision"), text(&model["precision"]));
    }

    /// What the models were asked, how they answered and how they were trained.
    fn asked(&mut self, record: &Value, inputs: &Value) {
        let (mut prompts, mut decoding, mut tuning) = (Vec::new(), Vec::new(), Vec::new());
        find(inputs, &mut Vec::new(), &mut |path, value| {
            if let (Some("prompt"), Some(text)) = (path.last().map(String::as_str), value.as_str()) {
                prompts.push((path.join("."), text.to_string()));
            }
        });
        find(
            &record["plan"]["recommender"],
            &mut Vec::new(),
            &mut |path, value| match path.last().map(String::as_str) {
                Some("decoding") => decoding.extend(settings(value)),
                Some("tuning") => tuning.push(value.clone()),
                _ => {}
            },
        );
        let name = |path: &str| {
            let place = path.split('.').fold(&record["plan"]["recommender"], |value, key| &value[key]);
            text(place).unwrap_or_default()
        };
        let shown = prompts.iter().map(|(path, text)| format!("{} {}", name(path), hash_bytes(text.as_bytes())));
        self.add("prompts", Some(shown.collect::<Vec<_>>().join(", ")));
        self.prompts = prompts.into_iter().map(|(_, text)| (hash_bytes(text.as_bytes()), text)).collect();
        // A record from before costs were kept says nothing of tokens, so nothing follows from their absence.
        let stages = record["stages"].as_array().cloned().unwrap_or_default();
        let counted = stages.iter().all(|stage| stage["cost"].is_object());
        let spent = |key: &str| stages.iter().filter_map(|stage| stage["cost"][key].as_u64()).sum::<u64>();
        let written = spent("texts_written") + spent("texts_found") + spent("tokens_written");
        self.add(
            "decoding",
            match (decoding.is_empty(), counted && written == 0) {
                (false, _) => Some(decoding.join("; ")),
                (true, true) => Some("none: no text was written".into()),
                (true, false) => None,
            },
        );
        let trained = spent("tokens_trained") > 0;
        let lora = tuning.iter().map(|tuning| match text(&tuning["method"]).as_deref() {
            Some("lora") => settings(&tuning["lora"]),
            method => Some(format!("none: fine-tuning is {}", method?)),
        });
        let lora: Option<Vec<String>> = lora.collect();
        self.add(
            "LoRA",
            match (counted && !trained, lora) {
                (true, _) => Some("none: nothing was trained".into()),
                (false, lora) => lora.map(|all| all.join("; ")),
            },
        );
        let tuning: Vec<String> = tuning.iter().filter_map(settings).collect();
        self.add("fine-tuning", if counted && !trained { Some("none".into()) } else { Some(tuning.join("; ")) });
        let tokens = ["tokens_read", "tokens_written", "tokens_trained", "texts_written", "texts_found"]
            .map(|key| format!("{} {}", spent(key), key.replace('_', " ")));
        self.add("tokens", Some(tokens.join(", ")).filter(|_| counted));
    }

    /// Its run, as a headline.
    pub(super) fn title(&self) -> String {
        let run: String = self.run.chars().take(10).collect();
        format!("{run}: {}, seed {}", self.variant, self.seed)
    }

    /// The run's id.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// What each thing is called, and what it was; `None` is not recorded.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The names of what is not recorded.
    pub(super) fn lacking(&self) -> Vec<&str> {
        self.entries().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect()
    }

    pub(super) fn json(&self) -> Value {
        let entries: Map<String, Value> =
            self.entries.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({ "run": self.run, "variant": self.variant, "entries": entries, "prompts": self.prompts, "not_recorded": self.lacking() })
    }
}

/// All prompts of some runs by hash.
pub(super) fn prompts(manifests: &[Manifest]) -> BTreeMap<&str, &str> {
    manifests.iter().flat_map(|manifest| &manifest.prompts).map(|(hash, text)| (hash.as_str(), text.as_str())).collect()
}

/// Calls `found` with each value below `value` and the keys that lead to it.
fn find(value: &Value, path: &mut Vec<String>, found: &mut impl FnMut(&[String], &Value)) {
    for (key, value) in value.as_object().into_iter().flatten() {
        path.push(key.clone());
        found(path, value);
        find(value, path, found);
        path.pop();
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(String::from)
}

/// `key = value` for each leaf.
fn settings(value: &Value) -> Option<String> {
    let leaves = framework::stage::leaves(value);
    let shown = |(key, value): (&String, &Value)| match value.as_str() {
        Some(text) => format!("{key} = {text}"),
        None => format!("{key} = {value}"),
    };
    let text = leaves.iter().map(shown).collect::<Vec<_>>().join(", ");
    value.is_object().then_some(text)
}

/// Names and hashes of the files that are wanted.
fn hashes(files: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let of = files.iter().filter(|(name, _)| wanted(name));
    let shown = of.filter_map(|(name, hash)| Some(format!("{name} {}", hash.as_str()?)));
    Some(shown.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use framework::stage::Stage;
    use framework::store::StageRecord;

    fn made(plan: &Value, inputs: Value, cost: &Value) -> Manifest {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        let stage = Stage::new("recommender", json!({ "inputs": inputs }));
        let record = StageRecord {
            format: framework::store::FORMAT,
            key: stage.key.clone(),
            stage: stage.name.into(),
            inputs: stage.inputs,
            files: Default::default(),
            seconds: 1.0,
            made: framework::store::now(),
            peak_memory_mb: 1.0,
            cost: Default::default(),
            random: None,
            upstream: Default::default(),
            replaces: None,
            notes: Value::Null,
        };
        store.commit_stage(tempfile::tempdir().expect("a folder").path(), record, false).expect("a stage");
        let trace =
            json!({ "stage": "recommender", "key": stage.key, "seconds": 2.0, "peak_memory_mb": 3.0, "cost": cost });
        let record = json!({ "run": "0123456789abcdef", "variant": "llm", "seed": 1, "plan": plan, "stages": [trace],
            "data": { "items": 10 }, "provenance": { "cpu": "one", "cores": 2, "os": "linux" } });
        Manifest::new(&record, &store, 1, 2).expect("a manifest")
    }

    fn entry<'a>(manifest: &'a Manifest, name: &str) -> Option<&'a str> {
        manifest.entries().find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no entry {name}")).1
    }

    #[test]
    fn a_language_models_files_prompts_and_training_are_named() {
        let plan = json!({ "recommender": { "use": "llm", "prompt": "terse",
            "language_model": { "use": "local", "model": "O/N", "precision": "f32" },
            "tuning": { "method": "lora", "lora": { "rank": 8 } } } });
        let inputs = json!({ "prompt": "Choose.",
            "language_model": { "model.safetensors": "aa", "tokenizer.json": "bb", "tokenizer_config.json": "cc" } });
        let manifest = made(&plan, inputs, &json!({ "tokens_trained": 7, "tokens_read": 5 }));
        assert_eq!(entry(&manifest, "model"), Some("O/N (local)"));
        assert_eq!(entry(&manifest, "weights"), Some("model.safetensors aa"));
        assert_eq!(entry(&manifest, "tokenizer"), Some("tokenizer.json bb"));
        assert_eq!(entry(&manifest, "chat template"), Some("tokenizer_config.json cc"));
        assert_eq!(entry(&manifest, "LoRA"), Some("rank = 8"));
        assert_eq!(entry(&manifest, "decoding"), Some("none: no text was written"));
        assert!(entry(&manifest, "prompts").is_some_and(|text| text.starts_with("terse ")));
        assert_eq!(prompts(std::slice::from_ref(&manifest)).values().collect::<Vec<_>>(), [&"Choose."]);
        assert_eq!(manifest.lacking(), ["data", "protocol", "evaluator", "code", "device", "revision"]);
    }

    #[test]
    fn what_is_not_recorded_is_said_and_a_plain_run_has_the_general_part() {
        let plan = json!({ "recommender": { "use": "llm", "aggregator": { "language_model": { "use": "far", "model": "m", "revision": "r" },
            "decoding": { "temperature": 0.6 } } } });
        let manifest = made(&plan, Value::Null, &Value::Null);
        assert_eq!(entry(&manifest, "revision (aggregator.language_model)"), Some("r"));
        assert_eq!(entry(&manifest, "decoding"), Some("temperature = 0.6"));
        for name in [
            "weights (aggregator.language_model)",
            "tokenizer (aggregator.language_model)",
            "prompts",
            "tokens",
            "LoRA",
        ] {
            assert_eq!(entry(&manifest, name), None, "{name}");
        }
        let plain = made(&json!({ "recommender": { "use": "popularity" } }), Value::Null, &json!({}));
        assert!(plain.entries().all(|(name, _)| name != "model" && name != "prompts"));
    }
}
