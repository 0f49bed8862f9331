//! The shape of a decoder as a Hugging Face `config.json` tells it; one struct for every supported family. Not the
//! reading of files; the rope is in `rope`.

use super::rope::Rope;
use framework::error::{Error, Result};
use serde_json::{Map, Value};
use std::fmt::Display;

/// The families that can be computed.
const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// Whether models of this family can be computed.
pub(crate) fn is_supported(family: &str) -> bool {
    FAMILIES.contains(&family)
}

/// A decoder's sizes and variants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Architecture {
    /// The family: `llama`, `mistral`, `qwen2`, `qwen3`.
    pub(crate) family: String,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) num_heads: usize,
    /// Heads of keys and values, each shared by `num_heads / num_kv_heads` heads of queries.
    pub(crate) num_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) rms_norm_eps: f64,
    pub(crate) rope: Rope,
    /// The longest context it was trained for, in tokens.
    pub(crate) max_positions: usize,
    /// The most recent positions a token sees, itself included.
    pub(crate) sliding_window: Option<usize>,
    /// Whether queries, keys and values have biases.
    pub(crate) qkv_bias: bool,
    /// Whether queries and keys are normalized per head.
    pub(crate) qk_norm: bool,
    /// Whether the output layer is the embedding table.
    pub(crate) tied: bool,
}

impl Architecture {
    /// Reads a `config.json`, of transformers 4 or 5; `place` names it. What is not supported is refused by name.
    pub(crate) fn from_config(config: &Value, place: impl Display) -> Result<Self> {
        Self::read(&Keys(config)).map_err(|error| error.at(place))
    }

    fn read(keys: &Keys) -> Result<Self> {
        let family = keys.one_of("model_type", &FAMILIES, "unnamed")?;
        keys.one_of("hidden_act", &["silu"], "silu")?;
        for key in ["attention_bias", "mlp_bias"] {
            if keys.flag(key)? {
                return Err(refused(key, "true").fix("a model with false there: biases are supported in qwen2 only"));
            }
        }
        if let Some(method) = keys.0.get("quantization_config").filter(|value| !value.is_null()) {
            let method = method.get("quant_method").and_then(Value::as_str).unwrap_or("of an unnamed kind");
            let error =
                Error::new(format!("the weights are quantized ({}), which is not supported", clipped(method.into())));
            return Err(error.fix("the unquantized model, or a GGUF file"));
        }
        let (hidden_size, num_heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        // What transformers takes where a key is missing.
        let (kv_heads, head_dim, max_positions) = match family {
            "mistral" => (8, hidden_size / num_heads, 131_072),
            "qwen2" => (32, hidden_size / num_heads, 32_768),
            "qwen3" => (32, 128, 32_768),
            _ => (num_heads, hidden_size / num_heads, 2048),
        };
        let num_layers = keys.size("num_hidden_layers")?;
        let architecture = Self {
            family: family.to_string(),
            vocab_size: keys.size("vocab_size")?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_layers,
            num_heads,
            num_kv_heads: keys.size_or("num_key_value_heads", Some(kv_heads))?.unwrap_or(num_heads),
            head_dim: keys.size_or("head_dim", Some(head_dim))?.unwrap_or(hidden_size / num_heads),
            rms_norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
            rope: Rope::read(keys)?,
            max_positions: keys.size_or("max_position_embeddings", None)?.unwrap_or(max_positions),
            sliding_window: keys.sliding_window(family, num_layers)?,
            qkv_bias: family == "qwen2",
            qk_norm: family == "qwen3",
            tied: keys.flag("tie_word_embeddings")?,
        };
        let Self { num_kv_heads, head_dim, .. } = architecture;
        if num_heads % num_kv_heads != 0 || head_dim % 2 != 0 || head_dim == 0 {
            let what = format!("{num_heads} heads share {num_kv_heads} heads of keys, each {head_dim} wide");
            return Err(Error::new(what).fix("a divisor of the heads, and an even width"));
        }
        Ok(architecture)
    }

    /// Every weight's name, as Hugging Face gives it, and shape (`[out, in]` for matrices).
    pub(crate) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner, width) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (queries, keys) = (self.num_heads * width, self.num_kv_heads * width);
        let mut all = vec![("model.embed_tokens.weight".to_string(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_layers {
            let mut add = |name: &str, shape: &[usize]| {
                all.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            add("input_layernorm.weight", &[hidden]);
            for (part, rows) in [("q", queries), ("k", keys), ("v", keys)] {
                add(&format!("self_attn.{part}_proj.weight"), &[rows, hidden]);
                if self.qkv_bias {
                    add(&format!("self_attn.{part}_proj.bias"), &[rows]);
                }
            }
            if self.qk_norm {
                add("self_attn.q_norm.weight", &[width]);
                add("self_attn.k_norm.weight", &[width]);
            }
            add("self_attn.o_proj.weight", &[hidden, queries]);
            add("post_attention_layernorm.weight", &[hidden]);
            add("mlp.gate_proj.weight", &[inner, hidden]);
            add("mlp.up_proj.weight", &[inner, hidden]);
            add("mlp.down_proj.weight", &[hidden, inner]);
        }
        all.push(("model.norm.weight".to_string(), vec![hidden]));
        if !self.tied {
            all.push(("lm_head.weight".to_string(), vec![self.vocab_size, hidden]));
        }
        all
    }

    /// How many parameters it has; a shared embedding table counts once.
    pub(crate) fn parameters(&self) -> usize {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// The keys of a configuration. `null` reads as `None`; where a key is missing, transformers' default counts.
pub(super) struct Keys<'a>(pub(super) &'a Value);

impl<'a> Keys<'a> {
    /// A positive whole number that must be there.
    fn size(&self, key: &str) -> Result<usize> {
        self.size_or(key, None)?.ok_or_else(|| Error::new(format!("`{key}` is missing")).fix("a positive whole number"))
    }

    fn size_or(&self, key: &str, missing: Option<usize>) -> Result<Option<usize>> {
        match self.0.get(key) {
            None => Ok(missing),
            Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size @ 1..=0xffff_ffff) => Ok(Some(size as usize)),
                _ => Err(Error::new(format!("`{key}` is {}", shown(value))).fix("a positive whole number")),
            },
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 => Ok(Some(number)),
                _ => Err(Error::new(format!("`{key}` is {}", shown(value))).fix("a positive number")),
            },
        }
    }

    /// False where it is missing.
    fn flag(&self, key: &str) -> Result<bool> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(Error::new(format!("`{key}` is {}", shown(value))).fix("true or false")),
        }
    }

    pub(super) fn one_of(&self, key: &str, supported: &[&str], missing: &'a str) -> Result<&'a str> {
        let value = match self.0.get(key) {
            None | Some(Value::Null) => missing,
            Some(Value::String(value)) => value,
            Some(other) => return Err(Error::new(format!("`{key}` is {}", shown(other))).fix("a text")),
        };
        if supported.contains(&value) {
            return Ok(value);
        }
        Err(refused(key, value).fix(format!("a model with one of: {}", supported.join(", "))))
    }

    /// A table that is neither missing, `null` nor empty.
    pub(super) fn table(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(table)) => Ok(Some(table).filter(|table| !table.is_empty())),
            Some(value) => {
                Err(Error::new(format!("`{key}` is {}", shown(value))).fix("a table, as {\"rope_type\": \"default\"}"))
            }
        }
    }

    /// Mistral has one unless it is `null`, Qwen only with `use_sliding_window`, from layer `max_window_layers` on.
    fn sliding_window(&self, family: &str, num_layers: usize) -> Result<Option<usize>> {
        let is_qwen = family.starts_with("qwen");
        if family == "llama" || is_qwen && !self.flag("use_sliding_window")? {
            return Ok(None);
        }
        let Some(window) = self.size_or("sliding_window", Some(4096))? else { return Ok(None) };
        let full = match self.0.get("layer_types").and_then(Value::as_array) {
            Some(types) => types.iter().filter(|kind| *kind == "full_attention").count(),
            None if is_qwen => self.0.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28) as usize,
            None => 0,
        };
        if 0 < full && full < num_layers {
            let what = format!("{full} of {num_layers} layers have no sliding window (`max_window_layers`)");
            return Err(Error::new(what).fix("a model whose layers are all alike, or `use_sliding_window` false"));
        }
        Ok((full == 0).then_some(window))
    }
}

/// A value for a message, which prints no file.
pub(super) fn shown(value: &Value) -> String {
    clipped(value.to_string())
}

/// The beginning of a text for a message.
pub(super) fn clipped(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(super) fn refused(key: &str, value: impl Display) -> Error {
    Error::new(format!("`{key}` is `{}`, which is not supported", clipped(value.to_string())))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Architecture;
    use crate::llm::rope::{Rope, Scaling};
    use serde_json::{Value, json};

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

    pub(crate) fn fixture(file: &str) -> Architecture {
        let text = std::fs::read_to_string(format!("{FIXTURES}/{file}")).expect("the fixture");
        Architecture::from_config(&text.parse().expect("JSON"), file).expect("a supported model")
    }

    /// SmolLM2-135M's configuration with `changes`.
    fn config(changes: Value) -> Value {
        let mut config = json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
            "rope_theta": 100000, "max_position_embeddings": 8192, "tie_word_embeddings": true, "rope_scaling": null,
        });
        let table = config.as_object_mut().expect("a table");
        table.extend(changes.as_object().expect("a table").clone());
        config
    }

    pub(crate) fn read(changes: Value) -> Architecture {
        Architecture::from_config(&config(changes), "config.json").expect("a supported model")
    }

    pub(crate) fn message(changes: Value) -> String {
        Architecture::from_config(&config(changes), "config.json").expect_err("it is refused").to_string()
    }

    #[test]
    fn every_family_is_read() {
        let llama = fixture("llama/config.json");
        assert_eq!((llama.num_heads, llama.num_kv_heads, llama.head_dim, llama.tied), (6, 2, 8, true));
        assert_eq!(llama.rope, Rope { theta: 1e5, scaling: Scaling::None });
        assert_eq!(fixture("mistral/config.json").sliding_window, None);
        assert_eq!(fixture("mistral_window/config.json").sliding_window, Some(5));
        let (qwen2, qwen3) = (fixture("qwen2/config.json"), fixture("qwen3/config.json"));
        assert_eq!((qwen2.qkv_bias, qwen2.qk_norm, qwen2.head_dim), (true, false, 8));
        assert_eq!((qwen3.qkv_bias, qwen3.qk_norm, qwen3.head_dim), (false, true, 12));
    }

    #[test]
    fn both_spellings_of_a_configuration_mean_the_same() {
        let new = fixture("llama3/config.json");
        assert_eq!(new, fixture("llama3/config_v4.json"));
        assert!(matches!(new.rope.scaling, Scaling::Llama3 { factor: 8.0, .. }));
    }

    #[test]
    fn parameters_are_counted() {
        assert_eq!(read(json!({})).parameters(), 134_515_008);
        assert_eq!(read(json!({"tie_word_embeddings": false})).parameters(), 134_515_008 + 49152 * 576);
    }

    /// The defaults of transformers.
    #[test]
    fn a_missing_context_length_is_the_familys() {
        for (family, length) in [("llama", 2048), ("mistral", 131_072), ("qwen2", 32_768), ("qwen3", 32_768)] {
            let changes = json!({"model_type": family, "max_position_embeddings": null, "num_key_value_heads": 9});
            assert_eq!(read(changes).max_positions, length, "{family}");
        }
    }

    #[test]
    fn a_window_counts_only_where_the_family_uses_it() {
        let window = |changes| read(changes).sliding_window;
        assert_eq!(window(json!({"sliding_window": 7})), None);
        assert_eq!(window(json!({"model_type": "mistral"})), Some(4096));
        assert_eq!(window(json!({"model_type": "qwen2", "sliding_window": 7})), None);
        let qwen = |full: u64| {
            let mut changes = json!({"model_type": "qwen2", "sliding_window": 7, "use_sliding_window": true});
            changes["max_window_layers"] = full.into();
            changes
        };
        assert_eq!((window(qwen(0)), window(qwen(30))), (Some(7), None));
        assert!(message(qwen(4)).contains("4 of 30 layers have no sliding window"));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (changes, what) in [
            (json!({"model_type": "gemma2"}), "`model_type` is `gemma2`"),
            (json!({"hidden_act": "gelu"}), "`hidden_act` is `gelu`"),
            (json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), "`type` is `yarn`"),
            (json!({"rope_parameters": {"rope_type": "longrope"}}), "`rope_type` is `longrope`"),
            (json!({"attention_bias": true}), "`attention_bias` is `true`"),
            (json!({"quantization_config": {"quant_method": "gptq"}}), "quantized (gptq)"),
            (json!({"num_attention_heads": 0}), "`num_attention_heads` is 0"),
            (json!({"vocab_size": null}), "`vocab_size` is missing"),
            (json!({"num_key_value_heads": 2}), "9 heads share 2"),
        ] {
            let message = message(changes);
            assert!(
                message.contains(what) && message.contains("at: config.json") && message.contains("fix:"),
                "{message}"
            );
        }
        assert!(message(json!({"model_type": "gemma2"})).contains("llama, mistral, qwen2, qwen3"));
    }
}
