//! A decoder's parameters from a checkpoint, or drawn at random: one tensor at a time, straight to the device.

use super::architecture::Architecture;
use super::decoder::{Attention, Block, Decoder, FeedForward};
use super::linear::Linear;
use super::weights::Weights;
use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use framework::error::{Error, Result};
use framework::rng::Rng;
use half::f16;

/// The decoder of a checkpoint, in the given precision.
pub(crate) fn open(weights: &Weights, device: &Device, precision: FloatDType) -> Result<Decoder> {
    build(weights.architecture(), device, precision, &mut |name, shape| {
        let (stored, values) = weights.tensor(name)?;
        if stored != shape {
            let what = format!("`{name}` has the shape {stored:?}, not {shape:?}");
            return Err(Error::new(what).fix("a whole checkpoint"));
        }
        if precision == FloatDType::F16 && values.iter().any(|value| value.abs() > f16::MAX.to_f32()) {
            let error = Error::new(format!("the weight `{name}` has values beyond {}, the largest of f16", f16::MAX));
            return Err(error.at("language_model.precision").fix("precision = \"bf16\" or \"f32\""));
        }
        Ok(values)
    })
}

/// A decoder with random parameters: normal with deviation .02, norms one, biases zero (as GPT-2 and Llama start).
pub(crate) fn random(architecture: &Architecture, device: &Device, rng: &Rng) -> Result<Decoder> {
    let mut drawn = 0;
    build(architecture, device, FloatDType::F32, &mut |name, shape| {
        drawn += 1;
        let mut rng = rng.fork(drawn);
        let count = shape.iter().product();
        Ok(match shape.len() {
            2 => (0..count).map(|_| (0.02 * rng.normal()) as f32).collect(),
            _ if name.ends_with(".bias") => vec![0.0; count],
            _ => vec![1.0; count],
        })
    })
}

/// Gives the values of a tensor by its name and shape.
type Values<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

fn build(architecture: &Architecture, device: &Device, precision: FloatDType, values: &mut Values) -> Result<Decoder> {
    let Architecture { vocab_size, hidden_size, intermediate_size, head_dim, num_heads, num_kv_heads, .. } =
        *architecture;
    let mut maker = Maker { device, precision, values };
    let embed_tokens = maker.matrix("model.embed_tokens.weight", [vocab_size, hidden_size])?;
    let mut layers = Vec::new();
    for n in 0..architecture.num_layers {
        let name = |part: &str| format!("model.layers.{n}.{part}");
        let (wide, narrow) = (num_heads * head_dim, num_kv_heads * head_dim);
        let bias = architecture.qkv_bias;
        let mut norm = |part: &str| -> Result<_> {
            let name = name(&format!("self_attn.{part}.weight"));
            architecture.qk_norm.then(|| maker.vector(&name, head_dim)).transpose()
        };
        let (q_norm, k_norm) = (norm("q_norm")?, norm("k_norm")?);
        layers.push(Block {
            input_layernorm: maker.vector(&name("input_layernorm.weight"), hidden_size)?,
            self_attn: Attention {
                q_proj: maker.linear(&name("self_attn.q_proj"), [hidden_size, wide], bias)?,
                k_proj: maker.linear(&name("self_attn.k_proj"), [hidden_size, narrow], bias)?,
                v_proj: maker.linear(&name("self_attn.v_proj"), [hidden_size, narrow], bias)?,
                o_proj: maker.linear(&name("self_attn.o_proj"), [wide, hidden_size], false)?,
                q_norm,
                k_norm,
            },
            post_attention_layernorm: maker.vector(&name("post_attention_layernorm.weight"), hidden_size)?,
            mlp: FeedForward {
                gate_proj: maker.linear(&name("mlp.gate_proj"), [hidden_size, intermediate_size], false)?,
                up_proj: maker.linear(&name("mlp.up_proj"), [hidden_size, intermediate_size], false)?,
                down_proj: maker.linear(&name("mlp.down_proj"), [intermediate_size, hidden_size], false)?,
            },
        });
    }
    let norm = maker.vector("model.norm.weight", hidden_size)?;
    let head = (!architecture.tied).then(|| maker.matrix("lm_head.weight", [vocab_size, hidden_size]));
    let lm_head = head.transpose()?;
    Ok(Decoder { embed_tokens, layers, norm, lm_head, architecture: architecture.clone() }.no_grad())
}

/// Makes parameters of named values.
struct Maker<'a> {
    device: &'a Device,
    precision: FloatDType,
    values: &'a mut Values<'a>,
}

impl Maker<'_> {
    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Param<Tensor<2>>> {
        let data = TensorData::new((self.values)(name, &shape)?, shape);
        Ok(Param::from_tensor(Tensor::<2>::from_data(data, self.device).cast(self.precision)))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Param<Tensor<1>>> {
        let data = TensorData::new((self.values)(name, &[len])?, [len]);
        Ok(Param::from_tensor(Tensor::<1>::from_data(data, self.device).cast(self.precision)))
    }

    fn linear(&mut self, name: &str, [input, output]: [usize; 2], bias: bool) -> Result<Linear> {
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), [output, input])?,
            bias: bias.then(|| self.vector(&format!("{name}.bias"), output)).transpose()?,
            adapter: None,
        })
    }
}

/// The name in Hugging Face's checkpoints of the parameter at `path` of a decoder.
pub(crate) fn checkpoint_name(path: &str) -> String {
    match path {
        "lm_head" => "lm_head.weight".to_string(),
        _ if path.ends_with(".weight") || path.ends_with(".bias") => format!("model.{path}"),
        _ => format!("model.{path}.weight"),
    }
}

#[cfg(test)]
mod tests {
    use super::{checkpoint_name, random};
    use crate::llm::architecture::Architecture;
    use crate::llm::rope::{Rope, Scaling};
    use burn::tensor::Device;
    use framework::parameters;
    use framework::rng::Rng;

    #[test]
    fn parameters_have_their_names_in_checkpoints() {
        let architecture = Architecture {
            family: "qwen3".into(),
            vocab_size: 5,
            hidden_size: 4,
            intermediate_size: 6,
            num_layers: 1,
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 2,
            rms_norm_eps: 1e-6,
            rope: Rope { theta: 1e4, scaling: Scaling::None },
            max_positions: 16,
            sliding_window: None,
            qkv_bias: true,
            qk_norm: true,
            tied: false,
        };
        let decoder = random(&architecture, &Device::flex(), &Rng::new(1, "test")).expect("a decoder");
        let names: Vec<String> = parameters::read(&decoder).iter().map(|p| checkpoint_name(&p.path)).collect();
        for name in [
            "model.embed_tokens.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.k_norm.weight",
            "model.layers.0.mlp.down_proj.weight",
            "model.norm.weight",
            "lm_head.weight",
        ] {
            assert!(names.iter().any(|n| n == name), "no {name} in {names:?}");
        }
    }
}
