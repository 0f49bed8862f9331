//! How positions turn queries and keys: the rope's settings in a configuration, and its frequencies. Not the turning.

use super::architecture::{Keys, refused};
use framework::error::{Error, Result};
use serde_json::{Map, Value};
use std::f64::consts::TAU;

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

impl Rope {
    /// As transformers 5 reads it: `rope_scaling` stands in for all of `rope_parameters`, and either may have a table
    /// for each type of layers.
    pub(super) fn read(keys: &Keys) -> Result<Self> {
        let (scaling, parameters) = (keys.table("rope_scaling")?, keys.table("rope_parameters")?);
        let theta = |table: Option<&Map<String, Value>>| table.and_then(|table| table.get("rope_theta")).cloned();
        let counts = theta(scaling).or(keys.0.get("rope_theta").cloned());
        if let (true, None, Some(unused)) = (scaling.is_some(), counts, theta(parameters)) {
            tracing::warn!(
                rope_theta = %unused,
                "transformers does not read the rope_theta of rope_parameters beside rope_scaling: 10000 is taken"
            );
        }
        let Some(table) = scaling.or(parameters) else { return Self::one(keys, &Value::Null) };
        let nested: Vec<_> = table.iter().filter(|(_, value)| value.is_object()).collect();
        if nested.is_empty() {
            return Self::one(keys, &Value::Object(table.clone()));
        }
        let types = keys.0.get("layer_types").and_then(Value::as_array);
        let is_there = |kind: &str| types.is_none_or(|types| types.iter().any(|there| there == kind));
        let ropes = nested.iter().filter(|(kind, _)| is_there(kind)).map(|(_, value)| Self::one(keys, value));
        let ropes = ropes.collect::<Result<Vec<_>>>()?;
        match ropes.as_slice() {
            [first, others @ ..] if others.iter().all(|other| other == first) => Ok(first.clone()),
            _ => {
                let kinds: Vec<_> = nested.iter().map(|(kind, _)| kind.as_str()).collect();
                let what = format!("the rope differs between types of layers ({})", kinds.join(", "));
                Err(Error::new(what).fix("a model whose layers are all alike"))
            }
        }
    }

    /// The rope of one `table`, where what it does not say is said by `all` keys.
    fn one(all: &Keys, table: &Value) -> Result<Self> {
        let keys = Keys(table);
        for keys in [all, &keys] {
            if let Some(part) = keys.number("partial_rotary_factor")?.filter(|&part| part != 1.0) {
                return Err(refused("partial_rotary_factor", part).fix("a model with 1 there, or without it"));
            }
        }
        let need = |key: &str| {
            let missing = || Error::new(format!("`{key}` of the rope's scaling is missing")).fix("a positive number");
            keys.number(key)?.ok_or_else(missing)
        };
        let said = keys.0.get("rope_type").is_some_and(|kind| !kind.is_null());
        let key = if said { "rope_type" } else { "type" };
        // As transformers has it where the table does not say it.
        let original = || {
            let known = ["original_max_position_embeddings", "max_position_embeddings"];
            known.into_iter().map(|key| all.number(key)).find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
        };
        let scaling = match keys.one_of(key, &["default", "linear", "llama3"], "default")? {
            "linear" => Scaling::Linear { factor: need("factor")? },
            "llama3" => Scaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_max_positions: match (keys.number("original_max_position_embeddings")?, original()?) {
                    (Some(own), _) | (None, Some(own)) => own,
                    (None, None) => need("original_max_position_embeddings")?,
                },
            },
            _ => Scaling::None,
        };
        if matches!(scaling, Scaling::Llama3 { low_freq_factor, high_freq_factor, .. } if high_freq_factor <= low_freq_factor)
        {
            return Err(Error::new("`high_freq_factor` is not above `low_freq_factor`").fix("as in Llama 3.1: 4 and 1"));
        }
        let theta = keys.number("rope_theta")?.or(all.number("rope_theta")?).unwrap_or(10_000.0);
        Ok(Rope { theta, scaling })
    }

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

#[cfg(test)]
mod tests {
    use super::{Rope, Scaling};
    use crate::llm::architecture::tests::{fixture, message, read};
    use serde_json::{Value, json};

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

    /// As transformers 5.24 reads them, or refused.
    #[test]
    fn a_rope_is_read_wherever_it_stands() {
        let rope = |changes| read(changes).rope;
        let linear = json!({"rope_type": "linear", "factor": 4});
        let scaled = Rope { theta: 1e5, scaling: Scaling::Linear { factor: 4.0 } };
        assert_eq!(rope(json!({"rope_scaling": linear, "rope_parameters": {"rope_type": "default"}})), scaled);
        assert_eq!(rope(json!({"rope_scaling": {}, "rope_parameters": linear})), scaled);
        let nested = |full: &Value, sliding: &Value| json!({"full_attention": full, "sliding_attention": sliding});
        let plain = json!({"rope_type": "default", "rope_theta": 5000});
        assert_eq!(rope(json!({"rope_parameters": nested(&linear, &linear)})), scaled);
        let one = json!({"rope_parameters": nested(&plain, &linear), "layer_types": ["full_attention"]});
        assert_eq!(rope(one), Rope { theta: 5e3, scaling: Scaling::None });
        let yarn = json!({"rope_type": "yarn", "factor": 4.0});
        for (changes, what) in [
            (json!({"rope_parameters": nested(&plain, &linear)}), "differs between types of layers (full_attention,"),
            (json!({"rope_parameters": nested(&yarn, &yarn)}), "`rope_type` is `yarn`"),
            (json!({"rope_scaling": yarn, "rope_parameters": plain}), "`rope_type` is `yarn`"),
            (json!({"rope_scaling": "yarn"}), "`rope_scaling` is \"yarn\""),
            (json!({"rope_parameters": 7}), "`rope_parameters` is 7"),
            (json!({"rope_scaling": {"rope_type": 4}}), "`rope_type` is 4"),
            (json!({"rope_scaling": {"type": "linear"}}), "`factor` of the rope's scaling is missing"),
        ] {
            assert!(message(changes.clone()).contains(what), "{}", message(changes));
        }
    }
}
