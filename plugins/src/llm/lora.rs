//! Low-rank adapters: attaching them, and their files in PEFT's layout and names, so that either program reads them.

use super::decoder::Decoder;
use super::linear::Adapter;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::error::{Error, Explain, Result};
use framework::language::Lora;
use framework::parameters;
use framework::rng::Rng;
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const WEIGHTS: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// `decoder` with a fresh adapter beside each layer that `lora` names, everything else frozen.
///
/// As in PEFT, `a` is uniform within `1 / sqrt(input)` and `b` is zero, so that nothing changes yet.
pub(crate) fn attach(decoder: Decoder, lora: &Lora, rng: &Rng) -> Result<Decoder> {
    let pattern = Regex::new(&format!("(^|\\.)({})$", lora.target_modules));
    let pattern = pattern.explain("reading target_modules", "lora.target_modules")?;
    let mut decoder = decoder.no_grad();
    let scale = scale(lora.rank, lora.alpha, lora.rank_stabilized);
    let mut attached = 0;
    for (n, (name, linear)) in decoder.linears().into_iter().enumerate() {
        if !pattern.is_match(&name) {
            continue;
        }
        let ([input, output], device) = (linear.sizes(), linear.weight.val().device());
        let (mut rng, bound) = (rng.fork(n as u64), (input as f64).powf(-0.5));
        let a: Vec<f32> = (0..lora.rank * input).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
        linear.adapter = Some(Adapter {
            a: Param::from_data(TensorData::new(a, [lora.rank, input]), &device),
            b: Param::from_tensor(Tensor::zeros([output, lora.rank], &device)),
            scale,
            dropout: lora.dropout,
        });
        attached += 1;
    }
    match attached {
        0 => Err(Error::new(format!("no layer is called `{}`", lora.target_modules))
            .at("lora.target_modules")
            .fix("names such as q_proj, v_proj, gate_proj, joined by |")),
        _ => Ok(decoder),
    }
}

fn scale(rank: usize, alpha: f64, rank_stabilized: bool) -> f64 {
    alpha / if rank_stabilized { (rank as f64).sqrt() } else { rank as f64 }
}

/// `decoder` with every adapter added to its layer's weight.
pub(crate) fn merged(mut decoder: Decoder) -> Decoder {
    for (_, linear) in decoder.linears() {
        *linear = linear.clone().merged();
    }
    decoder
}

/// PEFT's name of the adapter's parameter at `path` of a decoder.
pub(crate) fn peft_name(path: &str) -> Option<String> {
    let (layer, factor) = path.split_once(".adapter.")?;
    let factor = match factor {
        "a" => "lora_A",
        _ => "lora_B",
    };
    Some(format!("base_model.model.model.{layer}.{factor}.weight"))
}

/// The adapters' parameters by PEFT's names.
pub(crate) fn tensors(decoder: &Decoder) -> Tensors {
    let mut tensors = Tensors::new();
    for parameter in parameters::read(decoder) {
        if let Some(name) = peft_name(&parameter.path) {
            let values = parameter.values.into_data().convert::<f32>().iter().collect();
            tensors.insert(name, (parameter.shape, values));
        }
    }
    tensors
}

/// Writes the adapters to `folder`; `base` says what they belong to.
pub(crate) fn save(decoder: &Decoder, lora: &Lora, base: &str, folder: &Path) -> Result<()> {
    let tensors = tensors(decoder);
    let target = |name: &String| name.rsplit('.').nth(2).map(str::to_string);
    let targets: BTreeSet<String> = tensors.keys().filter_map(target).collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilized,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    let text = serde_json::to_vec_pretty(&config).explain("writing an adapter", folder.display())?;
    let file = folder.join(CONFIG);
    std::fs::write(&file, text).explain("writing an adapter", file.display())?;
    checkpoint::write(&folder.join(WEIGHTS), &tensors, "")
}

/// Whether `folder` holds adapters.
pub(crate) fn is_in(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// `decoder` with the adapters that `save`, or PEFT, wrote to `folder`; and their settings.
pub(crate) fn load(decoder: Decoder, folder: &Path) -> Result<(Decoder, Lora)> {
    let file = folder.join(CONFIG);
    let text = std::fs::read(&file).explain("reading an adapter", file.display())?;
    let config: Value = serde_json::from_slice(&text).explain("reading an adapter", file.display())?;
    let refuse = |what: &str| Error::new(format!("an adapter with {what} is not supported")).at(file.display());
    for (key, harmless) in [("use_dora", json!(false)), ("bias", json!("none")), ("fan_in_fan_out", json!(false))] {
        if config.get(key).is_some_and(|value| *value != harmless) {
            return Err(refuse(&format!("{key} = {}", config[key])));
        }
    }
    for key in ["rank_pattern", "alpha_pattern"] {
        if config.get(key).and_then(Value::as_object).is_some_and(|map| !map.is_empty()) {
            return Err(refuse(key));
        }
    }
    let lora = Lora {
        rank: config["r"].as_u64().ok_or_else(|| refuse("no r"))? as usize,
        alpha: config["lora_alpha"].as_f64().ok_or_else(|| refuse("no lora_alpha"))?,
        dropout: config["lora_dropout"].as_f64().unwrap_or(0.0),
        target_modules: String::new(),
        rank_stabilized: config["use_rslora"].as_bool().unwrap_or(false),
    };
    let (tensors, _) = checkpoint::read(&folder.join(WEIGHTS))?;
    Ok((with(decoder, &lora, &tensors)?, lora))
}

/// `decoder` with the adapters of `tensors`, by PEFT's names.
pub(crate) fn with(decoder: Decoder, lora: &Lora, tensors: &Tensors) -> Result<Decoder> {
    let mut decoder = decoder.no_grad();
    let mut used = 0;
    let matrix = |(shape, values): &(Vec<usize>, Vec<f32>), device: &Device| {
        Param::<Tensor<2>>::from_data(TensorData::new(values.clone(), shape.clone()), device)
    };
    for (name, linear) in decoder.linears() {
        let factor = |factor: &str| tensors.get(&format!("base_model.model.{name}.{factor}.weight"));
        let (Some(a), Some(b)) = (factor("lora_A"), factor("lora_B")) else {
            linear.adapter = None;
            continue;
        };
        let ([input, output], device) = (linear.sizes(), linear.weight.val().device());
        if a.0 != [lora.rank, input] || b.0 != [output, lora.rank] {
            return Err(Error::new(format!("the adapter of `{name}` has the shapes {:?} and {:?}", a.0, b.0))
                .fix(format!("[{}, {input}] and [{output}, {}], from the same base model", lora.rank, lora.rank)));
        }
        linear.adapter = Some(Adapter {
            a: matrix(a, &device),
            b: matrix(b, &device),
            scale: scale(lora.rank, lora.alpha, lora.rank_stabilized),
            dropout: lora.dropout,
        });
        used += 2;
    }
    match used == tensors.len() {
        true => Ok(decoder),
        false => Err(Error::new(format!(
            "{} of an adapter's {} tensors belong to no layer",
            tensors.len() - used,
            tensors.len()
        ))
        .fix("an adapter made for this base model, of linear layers only")),
    }
}
