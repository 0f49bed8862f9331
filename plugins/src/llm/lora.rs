//! Low-rank adapters: attaching them, and their files in PEFT's layout and names, so that either program reads them.

use super::decoder::Decoder;
use super::linear::Adapter;
use super::peft::{CONFIG, Config};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::error::{Error, Explain, Result};
use framework::language::Lora;
use framework::parameters;
use framework::rng::Rng;
use half::{bf16, f16};
use regex::Regex;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const WEIGHTS: &str = "adapter_model.safetensors";

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
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilized,
        "target_modules": targets(decoder),
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
    });
    let text = serde_json::to_vec_pretty(&config).explain("writing an adapter", folder.display())?;
    let file = folder.join(CONFIG);
    std::fs::write(&file, text).explain("writing an adapter", file.display())?;
    checkpoint::write(&folder.join(WEIGHTS), &tensors(decoder), "")
}

/// The layers with adapters by the ends of their names, as in `q_proj`; by whole names where some of one end have none.
fn targets(decoder: &Decoder) -> BTreeSet<String> {
    let mut decoder = decoder.clone();
    let end = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
    let layers = decoder.linears();
    let (with, without): (Vec<_>, Vec<_>) = layers.into_iter().partition(|(_, linear)| linear.adapter.is_some());
    let ends: BTreeSet<String> = with.iter().map(|(name, _)| end(name)).collect();
    match without.iter().any(|(name, _)| ends.contains(&end(name))) {
        true => with.into_iter().map(|(name, _)| name).collect(),
        false => ends,
    }
}

/// The files of an adapter in `folder`, whose bytes decide it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    [CONFIG, WEIGHTS].map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()).collect()
}

/// `decoder` with the adapters that `save`, or PEFT, wrote to `folder`; and their settings.
pub(crate) fn load(decoder: Decoder, folder: &Path) -> Result<(Decoder, Lora)> {
    let config = Config::read(folder)?;
    let decoder = with(decoder, &config, read(folder)?).map_err(|error| error.at(folder.display()))?;
    Ok((decoder, config.lora))
}

/// An adapter's tensors in single precision, by their layers and factors: `layers.0.self_attn.q_proj.lora_A`.
pub(crate) fn read(folder: &Path) -> Result<Tensors> {
    let file = folder.join(WEIGHTS);
    if !file.is_file() {
        let pickled = folder.join("adapter_model.bin").is_file();
        let what =
            if pickled { "the adapter's weights are pickled" } else { "the adapter has no adapter_model.safetensors" };
        let fix = "an adapter saved in safetensors (PEFT: `save_pretrained`)";
        return Err(Error::new(what).at(folder.display()).fix(fix));
    }
    let bytes = std::fs::read(&file).explain("reading an adapter", file.display())?;
    let stored = SafeTensors::deserialize(&bytes).map_err(|error| {
        let error = Error::new(format!("cannot read the adapter's weights: {error}")).at(file.display());
        error.fix("a complete safetensors file; was a download or copy cut short?")
    })?;
    let mut tensors = Tensors::new();
    for (name, view) in stored.tensors() {
        let broken = |what: String| Error::new(format!("the adapter's `{name}` {what}")).at(file.display());
        let values = floats(&view).ok_or_else(|| {
            broken(format!("is stored as {:?}, which is not supported", view.dtype())).fix("F32, F16 or BF16")
        })?;
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(
                broken(format!("holds {bad}, which is no finite number")).fix("an adapter that did not diverge")
            );
        }
        if tensors.insert(layer_and_factor(&name), (view.shape().to_vec(), values)).is_some() {
            return Err(broken("is there twice, under two prefixes".into()).fix("one of them"));
        }
    }
    Ok(tensors)
}

fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
        Dtype::F16 => Some(bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()),
        Dtype::BF16 => Some(bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()),
        _ => None,
    }
}

/// A tensor's name without what programs put around it: PEFT `base_model.model.` and the model's own `model.`, others
/// only one of these, and the adapter's name `default` where they write what they have in memory.
fn layer_and_factor(name: &str) -> String {
    let mut rest = name;
    for prefix in ["base_model.", "model.", "model."] {
        rest = rest.strip_prefix(prefix).unwrap_or(rest);
    }
    for suffix in [".weight", ".default"] {
        rest = rest.strip_suffix(suffix).unwrap_or(rest);
    }
    rest.to_string()
}

/// `decoder` with the adapters of `tensors`, by their layers and factors.
fn with(decoder: Decoder, config: &Config, mut tensors: Tensors) -> Result<Decoder> {
    let mut decoder = decoder.no_grad();
    let (lora, mut attached) = (&config.lora, 0);
    let matrix = |(shape, values): (Vec<usize>, Vec<f32>), device: &Device| {
        Param::<Tensor<2>>::from_data(TensorData::new(values, shape), device)
    };
    for (name, linear) in decoder.linears() {
        let layer = layer_and_factor(&name);
        let [a, b] = ["lora_A", "lora_B"].map(|factor| tensors.remove(&format!("{layer}.{factor}")));
        let there = a.is_some() || b.is_some();
        if config.adapts(&name).is_some_and(|adapted| adapted != there) {
            let what = if there { "has weights for" } else { "lacks the weights of" };
            let said = if there { "does not name it" } else { "names it" };
            return Err(Error::new(format!("the adapter {what} `{name}`, and its target_modules {said}"))
                .fix("a whole adapter, as PEFT saved it"));
        }
        linear.adapter = None;
        if !there {
            continue;
        }
        attached += 1;
        let ([input, output], device) = (linear.sizes(), linear.weight.val().device());
        let shapes = [&a, &b].map(|factor| factor.as_ref().map(|(shape, _)| shape.clone()).unwrap_or_default());
        let (Some(a), Some(b), true) = (a, b, shapes == [vec![lora.rank, input], vec![output, lora.rank]]) else {
            return Err(Error::new(format!(
                "the adapter of `{name}` has the shapes {:?} and {:?}",
                shapes[0], shapes[1]
            ))
            .fix(format!("[{}, {input}] and [{output}, {}], from the same base model", lora.rank, lora.rank)));
        };
        linear.adapter = Some(Adapter {
            a: matrix(a, &device),
            b: matrix(b, &device),
            scale: scale(lora.rank, lora.alpha, lora.rank_stabilized),
            dropout: lora.dropout,
        });
    }
    match tensors.keys().next() {
        None if attached == 0 => {
            Err(Error::new("the adapter has weights for no layer").fix("a whole adapter, as PEFT saved it"))
        }
        None => Ok(decoder),
        Some(name) => {
            let what = format!("`{name}`, one of {} such tensors of the adapter, belongs to no layer", tensors.len());
            Err(Error::new(what).fix("an adapter made for this base model, of the linear layers of its blocks only"))
        }
    }
}
