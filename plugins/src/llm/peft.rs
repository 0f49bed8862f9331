//! What PEFT's `adapter_config.json` says of an adapter: how it is scaled, and which layers it belongs to, by PEFT's own
//! rules. What would change its numbers and is not done here is refused by its name. Not the adapter's weights.

use super::architecture::shown;
use super::weights::read_json;
use framework::error::{Error, Explain, Result};
use framework::language::Lora;
use regex::Regex;
use serde_json::Value;
use std::path::Path;

/// The file that makes a folder an adapter's.
pub(crate) const CONFIG: &str = "adapter_config.json";

/// Keys that are read here, or that change no number of an adapter that is trained. Any other must say nothing.
const KNOWN: [&str; 18] = [
    "peft_type",
    "peft_version",
    "task_type",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "init_lora_weights",
    "eva_config",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "megatron_core",
    "qalora_group_size",
];

/// First values that leave the base model's weights as they are.
const HARMLESS_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// An adapter's settings.
pub(crate) struct Config {
    /// Its form.
    pub(crate) lora: Lora,
    /// What it says its base model is called.
    pub(crate) base: Option<String>,
    targets: Option<Layers>,
    excluded: Option<Layers>,
    blocks: Option<Vec<u64>>,
}

/// Some of a model's layers.
enum Layers {
    All,
    Named(Vec<String>),
    Matching(Regex),
}

/// Whether `folder` holds an adapter.
pub(crate) fn is_in(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

impl Config {
    /// Reads the settings of the adapter in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(CONFIG);
        let config = read_json(&file)?;
        let at = |error: Error| error.at(file.display());
        check(&config).map_err(at)?;
        let missing =
            |key: &str| at(Error::new(format!("the adapter has no `{key}` above 0")).fix("a folder that PEFT saved"));
        let rank = config["r"].as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| *rank > 0);
        let lora = Lora {
            rank: rank.ok_or_else(|| missing("r"))?,
            alpha: config["lora_alpha"].as_f64().filter(|alpha| *alpha > 0.0).ok_or_else(|| missing("lora_alpha"))?,
            dropout: match &config["lora_dropout"] {
                Value::Null => 0.0,
                given => given.as_f64().filter(|share| (0.0..1.0).contains(share)).ok_or_else(|| {
                    at(Error::new(format!("lora_dropout = {}", shown(given))).fix("a number from 0, below 1"))
                })?,
            },
            target_modules: String::new(),
            rank_stabilized: match &config["use_rslora"] {
                Value::Null => false,
                given => given
                    .as_bool()
                    .ok_or_else(|| at(Error::new(format!("use_rslora = {}", shown(given))).fix("true or false")))?,
            },
        };
        let layers = |key: &str| Layers::read(key, &config[key]).map_err(at);
        Ok(Self {
            lora,
            base: config["base_model_name_or_path"].as_str().filter(|name| !name.is_empty()).map(String::from),
            targets: layers("target_modules")?,
            excluded: layers("exclude_modules")?,
            blocks: blocks(&config["layers_to_transform"]).map_err(at)?,
        })
    }

    /// Whether the layer of that name, as in `model.layers.0.self_attn.q_proj`, has an adapter; `None` if it is not said.
    pub(crate) fn adapts(&self, layer: &str) -> Option<bool> {
        let targets = self.targets.as_ref()?;
        let excluded = self.excluded.as_ref().is_some_and(|excluded| excluded.holds(layer));
        let block = layer.split('.').nth(2).and_then(|block| block.parse().ok());
        let in_block = self.blocks.as_ref().is_none_or(|blocks| block.is_some_and(|block| blocks.contains(&block)));
        Some(targets.holds(layer) && in_block && !excluded)
    }
}

/// An error that names what of an adapter is not done here.
fn check(config: &Value) -> Result<()> {
    let Some(keys) = config.as_object() else {
        return Err(Error::new("the adapter's configuration is no JSON object").fix("a folder that PEFT saved"));
    };
    let plain = "a plain LoRA of linear layers; or the adapter merged into its base model (PEFT: `merge_and_unload`)";
    if config["peft_type"] != "LORA" {
        return Err(Error::new(format!(
            "an adapter with peft_type = {} is not supported",
            shown(&config["peft_type"])
        ))
        .fix(plain));
    }
    let start = &config["init_lora_weights"];
    if !(start.is_null() || start.is_boolean() || start.as_str().is_some_and(|name| HARMLESS_STARTS.contains(&name))) {
        let what = format!(
            "the adapter began with init_lora_weights = {}, which changes the base model's weights",
            shown(start)
        );
        return Err(Error::new(format!("{what}: beside the base model as it is, its numbers would be wrong")).fix(
            "the adapter converted to plain LoRA (PEFT: `save_pretrained` with `path_initial_model_for_weight_conversion`)",
        ));
    }
    match keys.iter().find(|(key, value)| !KNOWN.contains(&key.as_str()) && says_something(value)) {
        None => Ok(()),
        Some((key, value)) => {
            let value: String = value.to_string().chars().take(80).collect();
            Err(Error::new(format!("an adapter with {key} = {value} is not supported")).fix(plain))
        }
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) | Value::Number(_) => true,
        Value::String(text) => !["", "none"].contains(&text.as_str()),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
    }
}

/// The blocks that have adapters, where not all have.
fn blocks(value: &Value) -> Result<Option<Vec<u64>>> {
    let numbers = match value {
        Value::Null => return Ok(None),
        Value::Array(all) if all.is_empty() => return Ok(None),
        Value::Array(all) => all.iter().map(Value::as_u64).collect(),
        one => one.as_u64().map(|one| vec![one]),
    };
    let wrong =
        || Error::new(format!("layers_to_transform = {} is no list of layers", shown(value))).fix("numbers from 0");
    numbers.map(Some).ok_or_else(wrong)
}

impl Layers {
    fn read(key: &str, value: &Value) -> Result<Option<Self>> {
        let names =
            |all: &Vec<Value>| all.iter().map(|name| name.as_str().map(String::from)).collect::<Option<Vec<_>>>();
        match value {
            Value::Null => Ok(None),
            Value::String(all) if all.eq_ignore_ascii_case("all-linear") => Ok(Some(Self::All)),
            Value::String(pattern) => {
                let pattern = Regex::new(&format!("^(?:{pattern})$"));
                let pattern = pattern.explain(&format!("reading the adapter's {key}"), key);
                let fix = "a pattern without looks ahead and behind; or the list of layers' names";
                Ok(Some(Self::Matching(pattern.map_err(|error| error.fix(fix))?)))
            }
            Value::Array(all) if all.is_empty() => Ok(None),
            Value::Array(all) => {
                let wrong = || {
                    Error::new(format!("{key} = {} is no list of layers' names", shown(value)))
                        .fix("names, or a pattern")
                };
                names(all).map(|all| Some(Self::Named(all))).ok_or_else(wrong)
            }
            _ => {
                Err(Error::new(format!("{key} = {} is no list of layers' names", shown(value)))
                    .fix("names, or a pattern"))
            }
        }
    }

    fn holds(&self, layer: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(pattern) => pattern.is_match(layer),
            Self::Named(all) => all.iter().any(|name| {
                layer.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(changes: Value) -> Result<Config> {
        let mut config =
            json!({ "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"] });
        for (key, value) in changes.as_object().expect("keys") {
            config[key] = value.clone();
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(CONFIG), config.to_string()).expect("a file");
        Config::read(folder.path())
    }

    #[test]
    fn what_would_change_numbers_is_refused_by_its_name() {
        for (key, value) in [
            ("peft_type", json!("VERA")),
            ("init_lora_weights", json!("pissa")),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("init_lora_weights", json!("olora")),
            ("init_lora_weights", json!("loftq")),
            ("init_lora_weights", json!("corda")),
            ("use_dora", json!(true)),
            ("bias", json!("lora_only")),
            ("fan_in_fan_out", json!(true)),
            ("lora_bias", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({ "q_proj": 2 })),
            ("alpha_pattern", json!({ "q_proj": 2 })),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["experts"])),
            ("layer_replication", json!([[0, 1]])),
            ("alora_invocation_tokens", json!([1, 2])),
            ("megatron_config", json!({ "a": 1 })),
            ("loftq_config", json!({ "bits": 4 })),
            ("a_key_of_the_future", json!(0.5)),
        ] {
            let message = read(json!({ key: value })).err().expect(key).to_string();
            let named = message.lines().next().is_some_and(|what| what.contains(key));
            assert!(named && message.contains(CONFIG) && message.contains("fix:"), "{message}");
        }
        for changes in [json!({ "r": 0 }), json!({ "r": "8" }), json!({ "lora_alpha": null })] {
            assert!(read(changes).is_err());
        }
    }

    #[test]
    fn what_says_nothing_is_read_over() {
        for start in [json!(true), json!(false), json!("gaussian"), json!("orthogonal"), json!("eva")] {
            assert!(read(json!({ "init_lora_weights": start, "modules_to_save": null, "bias": "none" })).is_ok());
        }
        let lora = read(json!({ "use_rslora": true })).expect("an adapter").lora;
        assert_eq!((lora.rank, lora.alpha, lora.rank_stabilized), (8, 16.0, true));
    }

    #[test]
    fn layers_are_chosen_as_peft_chooses_them() {
        let adapted = |changes: Value| -> Vec<&str> {
            let config = read(changes).expect("an adapter");
            let all =
                ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.up_proj"];
            all.into_iter().filter(|layer| config.adapts(layer) == Some(true)).map(|layer| &layer[13..]).collect()
        };
        assert_eq!(adapted(json!({})), ["0.self_attn.q_proj", "1.self_attn.v_proj"]);
        assert_eq!(adapted(json!({ "target_modules": "all-linear" })).len(), 3);
        assert_eq!(adapted(json!({ "target_modules": r".*\.mlp\.\w+" })), ["1.mlp.up_proj"]);
        assert_eq!(adapted(json!({ "target_modules": ["proj"] })).len(), 0, "a name is a whole one");
        assert_eq!(adapted(json!({ "layers_to_transform": [0] })), ["0.self_attn.q_proj"]);
        assert_eq!(adapted(json!({ "layers_to_transform": 1 })), ["1.self_attn.v_proj"]);
        assert_eq!(adapted(json!({ "exclude_modules": ["v_proj"] })), ["0.self_attn.q_proj"]);
        assert_eq!(read(json!({ "target_modules": null })).expect("an adapter").adapts("model.layers.0.x"), None);
    }
}
