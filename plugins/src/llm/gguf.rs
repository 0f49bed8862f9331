//! GGUF files: the header as JSON, and tensors as f32 by Hugging Face's names. What a model's header means for its
//! tokenizer is in `vocabulary`.

use super::architecture::{Architecture, Rope, Scaling};
use super::weights::map;
use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value as Entry};
use framework::error::{Error, Result};
use memmap2::Mmap;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Keys of the header, after the architecture's name, and what `config.json` calls them.
const KEYS: [(&str, &str); 9] = [
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("context_length", "max_position_embeddings"),
    ("rope.freq_base", "rope_theta"),
];

/// Hugging Face's names of a layer's parts, and GGUF's.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

const COMPLETE: &str = "a complete file; was a download or copy cut short?";

/// An open file, mapped into memory.
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mmap,
    header: Map<String, Value>,
    tensors: HashMap<String, TensorInfo>,
    /// Where the tensors begin, in bytes.
    start: usize,
}

impl Gguf {
    /// Reads the header; an error if the file is shorter than it says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        let content = Content::read(&mut Cursor::new(&map[..])).map_err(|error| {
            let error = Error::new(format!("cannot read the header of the GGUF file: {error}")).at(path.display());
            error.fix("a complete file with tensors of F32, F16, BF16, Q4_0 to Q8_0 or Q2_K to Q6_K (not IQ, TQ, MXFP)")
        })?;
        let header = content.metadata.into_iter().map(|(key, entry)| (key, json_of(entry))).collect();
        let (tensors, start) = (content.tensor_infos, content.tensor_data_offset as usize);
        let file = Self { path: path.to_path_buf(), map, header, tensors, start };
        if file.header.get("split.count").and_then(Value::as_u64).is_some_and(|count| count > 1) {
            let error = Error::new("the GGUF file is one part of several").at(path.display());
            return Err(error.fix("one file, as `llama-gguf-split --merge` makes it"));
        }
        for (name, info) in &file.tensors {
            file.bytes(name, info)?;
        }
        Ok(file)
    }

    /// What the file says besides tensors, by key.
    pub(crate) fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The header as a `config.json`.
    pub(crate) fn config(&self) -> Result<Value> {
        let family = self.header.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
        let get = |key: &str| self.header.get(&format!("{family}.{key}"));
        let mut config = Map::new();
        config.insert("model_type".into(), family.into());
        for (key, name) in KEYS {
            config.extend(get(key).map(|value| (name.to_string(), value.clone())));
        }
        if !config.contains_key("num_key_value_heads") {
            config.insert("num_key_value_heads".into(), Value::Null);
        }
        if family == "qwen3" && !config.contains_key("head_dim") {
            config.insert("head_dim".into(), Value::Null);
        }
        config.insert("vocab_size".into(), self.shape("model.embed_tokens.weight").map_or(0, |shape| shape[0]).into());
        config.insert("tie_word_embeddings".into(), self.shape("lm_head.weight").is_none().into());
        config.insert("attention_bias".into(), (family != "qwen2" && self.has_bias()).into());
        if get("expert_count").and_then(Value::as_u64).is_some_and(|count| count > 0) {
            return Err(Error::new("mixtures of experts are not supported")
                .at(self.path.display())
                .fix("a dense model"));
        }
        if let Some(rotated) = get("rope.dimension_count").and_then(Value::as_f64) {
            let number = |key: &str| config.get(key).and_then(Value::as_f64);
            let mean = || Some(number("hidden_size")? / number("num_attention_heads")?);
            let part = number("head_dim").or_else(mean).map(|width| rotated / width);
            config.insert("partial_rotary_factor".into(), part.into());
        }
        if let Some(kind) = get("rope.scaling.type").filter(|kind| *kind != "none") {
            let factor = get("rope.scaling.factor").cloned().unwrap_or(Value::Null);
            config.insert("rope_scaling".into(), json!({"rope_type": kind, "factor": factor}));
        }
        if let Some(scaling) = self.stretched_rope(&config)? {
            config.insert("rope_scaling".into(), scaling);
        }
        Ok(Value::Object(config))
    }

    /// Llama 3.1 and later: the file holds what each frequency is divided by, not the numbers that this comes from. All
    /// published models have 1, 4 and 8192 there; an error if the divisors do not follow from these.
    fn stretched_rope(&self, config: &Map<String, Value>) -> Result<Option<Value>> {
        let Some(info) = self.tensors.get("rope_freqs.weight") else { return Ok(None) };
        let divisors = self.values("rope_freqs.weight", info)?;
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        let theta = config.get("rope_theta").and_then(Value::as_f64).unwrap_or(10_000.0);
        let (low_freq_factor, high_freq_factor, original_max_positions) = (1.0, 4.0, 8192.0);
        let scaling =
            Scaling::Llama3 { factor: f64::from(factor), low_freq_factor, high_freq_factor, original_max_positions };
        let head_dim = 2 * divisors.len();
        let plain = Rope { theta, scaling: Scaling::None }.frequencies(head_dim);
        let stretched = Rope { theta, scaling }.frequencies(head_dim);
        let agrees = |n: usize| (plain[n] / stretched[n] / divisors[n] - 1.0).abs() < 1e-3;
        if !(0..divisors.len()).all(agrees) {
            let error = Error::new("the rope's frequencies (`rope_freqs.weight`) are not stretched as in Llama 3");
            return Err(error.at(self.path.display()).fix("the model in Hugging Face's format"));
        }
        Ok(Some(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_positions,
        })))
    }

    fn has_bias(&self) -> bool {
        self.tensors.keys().any(|name| name.starts_with("blk.") && name.ends_with(".bias"))
    }

    /// The shape of a tensor by Hugging Face's name, if it is there.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.get(&gguf_name(name)?)?.shape.dims().to_vec())
    }

    /// A tensor's values by Hugging Face's name, if it is there; rows of queries and keys in Hugging Face's order.
    pub(crate) fn tensor(&self, name: &str, architecture: &Architecture) -> Option<Result<Vec<f32>>> {
        let stored = gguf_name(name)?;
        let info = self.tensors.get(&stored)?;
        let heads = match stored.rsplit('.').nth(1) {
            Some("attn_q") if architecture.family == "llama" => architecture.num_heads,
            Some("attn_k") if architecture.family == "llama" => architecture.num_kv_heads,
            _ => return Some(self.values(&stored, info)),
        };
        Some(self.values(&stored, info).map(|values| half_split(&values, heads, architecture.head_dim)))
    }

    /// The formats of all tensors.
    pub(crate) fn formats(&self) -> impl Iterator<Item = String> {
        self.tensors.values().map(|info| {
            let name = format!("{:?}", info.ggml_dtype);
            name.strip_suffix('K').map_or(name.clone(), |start| format!("{start}_K"))
        })
    }

    fn values(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        let blocks = info.ggml_dtype.from_data(Cow::Borrowed(self.bytes(name, info)?));
        match blocks.dequantize(info.shape.elem_count()) {
            Ok(CpuStorage::F32(values)) => Ok(values),
            Ok(_) => Err(self.damaged(name, "does not dequantize to f32")),
            Err(error) => Err(self.damaged(name, &error.to_string())),
        }
    }

    /// A tensor's blocks, whole ones, as they lie in the file.
    fn bytes(&self, name: &str, info: &TensorInfo) -> Result<&[u8]> {
        let kind = info.ggml_dtype;
        if matches!(kind, GgmlDType::Q8_1 | GgmlDType::Q8K) {
            return Err(self.damaged(name, &format!("is of {kind:?}, which no file should hold")));
        }
        let count = info.shape.dims().iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let row = info.shape.dims().last().copied().unwrap_or(1);
        let (Some(count), true) = (count, row % kind.block_size() == 0) else {
            return Err(self.damaged(name, &format!("has rows of {row} values, which is no multiple of its blocks'")));
        };
        let start = self.start.checked_add(info.offset as usize).filter(|start| start % 4 == 0);
        let range =
            start.and_then(|start| Some(start..start.checked_add(count / kind.block_size() * kind.type_size())?));
        let bytes = range.and_then(|range| self.map.get(range));
        bytes.ok_or_else(|| self.damaged(name, "lies beyond the end of the file"))
    }

    fn damaged(&self, name: &str, what: &str) -> Error {
        Error::new(format!("the tensor `{name}` {what}")).at(self.path.display()).fix(COMPLETE)
    }
}

/// GGUF's name for a weight that Hugging Face calls `name`.
fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => Some("token_embd.weight".into()),
        "model.norm.weight" => Some("output_norm.weight".into()),
        "lm_head.weight" => Some("output.weight".into()),
        _ => {
            let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
            let (part, kind) = rest.rsplit_once('.')?;
            let (_, part) = PARTS.iter().find(|(known, _)| *known == part)?;
            Some(format!("blk.{layer}.{part}.{kind}"))
        }
    }
}

/// Rows of `heads` heads, in each the two rows of a rotated pair side by side (as GGUF's arch `llama` has them), with
/// all first rows of a head before its second rows (as Hugging Face has them).
fn half_split(values: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let width = values.len() / (heads * head_dim);
    let mut sorted = Vec::with_capacity(values.len());
    for head in 0..heads {
        for half in 0..2 {
            for pair in 0..head_dim / 2 {
                let row = head * head_dim + 2 * pair + half;
                sorted.extend_from_slice(&values[row * width..][..width]);
            }
        }
    }
    sorted
}

fn json_of(entry: Entry) -> Value {
    match entry {
        Entry::U8(n) => n.into(),
        Entry::I8(n) => n.into(),
        Entry::U16(n) => n.into(),
        Entry::I16(n) => n.into(),
        Entry::U32(n) => n.into(),
        Entry::I32(n) => n.into(),
        Entry::U64(n) => n.into(),
        Entry::I64(n) => n.into(),
        // By way of its shortest decimal form, so that 1e-5 stays 1e-5.
        Entry::F32(x) => x.to_string().parse::<f64>().unwrap_or_default().into(),
        Entry::F64(x) => x.into(),
        Entry::Bool(flag) => flag.into(),
        Entry::String(text) => text.into(),
        Entry::Array(entries) => entries.into_iter().map(json_of).collect(),
    }
}

#[cfg(test)]
mod tests;
