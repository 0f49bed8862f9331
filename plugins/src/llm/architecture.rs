//! The shape of a decoder as a Hugging Face `config.json` tells it; one struct for every supported family. Not the
//! reading of files.

use framework::error::{Error, Result};
use serde_json::Value;
use std::f64::consts::TAU;
use std::fmt::Display;

/// The families that can be computed.
const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// How positions turn queries and keys (RoPE; Su et al., 2021).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// The base of the wavelengths.
    pub(crate) theta: f64,
    /// How wavelengths are stretched for longer contexts.
    pub(crate) scaling: Scaling,
}

/// How wavelengths are stretched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// All by `factor`.
    Linear { factor: f64 },
    /// Long ones by `factor`, short ones not, those between in part (Llama 3.1).
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_positions: f64 },
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

impl Rope {
    /// How far one position turns each pair of a head's dimensions, in radians, `[head_dim / 2]`, fastest first; in
    /// single precision, as transformers computes it.
    pub(crate) fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |pair: usize| (1.0 / self.theta.powf(2.0 * pair as f64 / head_dim as f64)) as f32;
        (0..head_dim / 2).map(|pair| self.scaling.stretch(plain(pair))).collect()
    }
}

impl Scaling {
    fn stretch(&self, frequency: f32) -> f32 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let turns = original_max_positions * f64::from(frequency) / TAU;
                let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                (f64::from(frequency) * (kept + (1.0 - kept) / factor)) as f32
            }
        }
    }
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
            let error = Error::new(format!("the weights are quantized ({method}), which is not supported"));
            return Err(error.fix("the unquantized model, or a GGUF file"));
        }
        let (hidden_size, num_heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let (kv_heads, head_dim) = match family {
            "mistral" => (8, hidden_size / num_heads),
            "qwen2" => (32, hidden_size / num_heads),
            "qwen3" => (32, 128),
            _ => (num_heads, hidden_size / num_heads),
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
            rope: keys.rope()?,
            max_positions: keys.size("max_position_embeddings")?,
            sliding_window: keys.sliding_window(family, num_layers)?,
            qkv_bias: family == "qwen2",
            qk_norm: family == "qwen3",
            tied: keys.flag("tie_word_embeddings")?,
        };
        let Self { num_kv_heads, head_dim, .. } = architecture;
        if num_heads % num_kv_heads != 0 || head_dim % 2 != 0 {
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
struct Keys<'a>(&'a Value);

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
                _ => Err(Error::new(format!("`{key}` is {value}")).fix("a positive whole number")),
            },
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number > 0.0 => Ok(Some(number)),
                _ => Err(Error::new(format!("`{key}` is {value}")).fix("a positive number")),
            },
        }
    }

    /// False where it is missing.
    fn flag(&self, key: &str) -> Result<bool> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(Error::new(format!("`{key}` is {value}")).fix("true or false")),
        }
    }

    fn one_of(&self, key: &str, supported: &[&str], missing: &'a str) -> Result<&'a str> {
        let value = self.0.get(key).and_then(Value::as_str).unwrap_or(missing);
        if supported.contains(&value) {
            return Ok(value);
        }
        Err(refused(key, value).fix(format!("a model with one of: {}", supported.join(", "))))
    }

    fn rope(&self) -> Result<Rope> {
        let object = |key: &str| self.0.get(key).filter(|value| value.is_object());
        let keys = Keys(object("rope_parameters").or(object("rope_scaling")).unwrap_or(&Value::Null));
        for keys in [self, &keys] {
            if let Some(part) = keys.number("partial_rotary_factor")?.filter(|&part| part != 1.0) {
                return Err(refused("partial_rotary_factor", part).fix("a model with 1 there, or without it"));
            }
        }
        let need = |key: &str| {
            let missing = || Error::new(format!("`{key}` of the rope's scaling is missing")).fix("a positive number");
            keys.number(key)?.ok_or_else(missing)
        };
        let key = if keys.0.get("rope_type").is_some() { "rope_type" } else { "type" };
        let scaling = match keys.one_of(key, &["default", "linear", "llama3"], "default")? {
            "linear" => Scaling::Linear { factor: need("factor")? },
            "llama3" => Scaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_positions: need("original_max_position_embeddings")?,
            },
            _ => Scaling::None,
        };
        let theta = keys.number("rope_theta")?.or(self.number("rope_theta")?).unwrap_or(10_000.0);
        Ok(Rope { theta, scaling })
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

fn refused(key: &str, value: impl Display) -> Error {
    Error::new(format!("`{key}` is `{value}`, which is not supported"))
}

#[cfg(test)]
mod tests {
    use super::{Architecture, Rope, Scaling};
    use serde_json::{Value, json};

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

    fn fixture(file: &str) -> Architecture {
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

    fn read(changes: Value) -> Architecture {
        Architecture::from_config(&config(changes), "config.json").expect("a supported model")
    }

    fn message(changes: Value) -> String {
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

    #[test]
    fn a_llama3_rope_keeps_short_waves_and_stretches_long_ones() {
        let llama3 = fixture("llama3/config.json").rope;
        let plain = Rope { theta: llama3.theta, scaling: Scaling::None }.frequencies(16);
        let ratios: Vec<f32> = llama3.frequencies(16).iter().zip(&plain).map(|(a, b)| a / b).collect();
        assert_eq!((plain[0], ratios[0], ratios[1]), (1.0, 1.0, 1.0));
        // 64 positions turn the third pair 64 / (2 pi) * 1000^(-1/4) = 1.811 times: (1.811 - 1) / (4 - 1) is kept.
        let kept = (64.0 / std::f32::consts::TAU * 1000f32.powf(-0.25) - 1.0) / 3.0;
        assert!((ratios[2] - (kept + (1.0 - kept) / 8.0)).abs() < 1e-6, "{ratios:?}");
        assert_eq!(ratios[7], 0.125);
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
