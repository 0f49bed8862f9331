//! GGUF files: what the header means for the model, and tensors as f32 by Hugging Face's names. Reading the header is in
//! `header`; what it means for the tokenizer is in `vocabulary`.

mod header;

use super::architecture::{Architecture, is_supported};
use super::rope::{Rope, Scaling};
use super::weights::map;
use candle_core::CpuStorage;
use framework::error::{Error, Result};
use header::{Header, TensorInfo};
use memmap2::Mmap;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;
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

/// What the rope's frequencies are divided by, in Llama 3.1 and later.
const ROPE_FREQS: &str = "rope_freqs.weight";

const COMPLETE: &str = "a complete file; was a download or copy cut short?";

/// Keys that every model has, after the architecture's name.
const NEEDED: [&str; 6] = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.layer_norm_rms_epsilon",
];

/// An open file, mapped into memory.
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl Gguf {
    /// Reads the header; an error if the file is shorter than it says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        let header = Header::read(&map).map_err(|error| error.at(path.display()))?;
        let file = Self { path: path.to_path_buf(), map, header };
        if file.get("split.count").and_then(Value::as_u64).is_some_and(|count| count > 1) {
            let error = Error::new("the GGUF file is one part of several").at(path.display());
            return Err(error.fix("one file, as `llama-gguf-split --merge` makes it"));
        }
        file.check_places()?;
        Ok(file)
    }

    /// Whether each tensor is in the file, where one may begin, and none in another.
    fn check_places(&self) -> Result<()> {
        let alignment = self.get("general.alignment").and_then(Value::as_u64).unwrap_or(32).max(1);
        let mut places = Vec::new();
        for (name, info) in &self.header.tensors {
            places.push((info.offset, self.bytes(name, info)?.len() as u64, name));
        }
        places.sort();
        let wrong =
            |what: String| Err(Error::new(what).at(self.path.display()).fix("a file as its converter wrote it"));
        if let Some((offset, _, name)) = places.iter().find(|(offset, ..)| offset % alignment != 0) {
            return wrong(format!("the tensor `{name}` begins at {offset}, which is no multiple of {alignment}"));
        }
        match places.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            Some(pair) => wrong(format!("the tensors `{}` and `{}` lie on each other", pair[0].2, pair[1].2)),
            None => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A single value of the header.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.header.entries.get(key)
    }

    /// How many elements a list of the header has.
    pub(crate) fn count(&self, key: &str) -> Option<usize> {
        self.header.count(key)
    }

    /// A list of texts of the header.
    pub(crate) fn strings(&self, key: &str) -> Option<Vec<Cow<'_, str>>> {
        self.header.strings(key, &self.map)
    }

    /// A list of numbers of the header.
    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        self.header.numbers(key, &self.map)
    }

    /// The header as a `config.json`.
    pub(crate) fn config(&self) -> Result<Value> {
        self.read_config().map_err(|error| error.at(self.path.display()))
    }

    fn read_config(&self) -> Result<Value> {
        let family = self.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
        let get = |key: &str| self.get(&format!("{family}.{key}"));
        let mut config = Map::new();
        config.insert("model_type".into(), family.into());
        for (key, name) in KEYS {
            config.extend(self.of_all_layers(family, key)?.map(|value| (name.to_string(), value)));
        }
        for key in NEEDED {
            let there = KEYS.iter().any(|(known, name)| *known == key && config.contains_key(*name));
            if !there && is_supported(family) {
                return Err(Error::new(format!("`{family}.{key}` is missing in the header")).fix(COMPLETE));
            }
        }
        if !config.contains_key("num_key_value_heads") {
            config.insert("num_key_value_heads".into(), Value::Null);
        }
        if family == "qwen3" && !config.contains_key("head_dim") {
            config.insert("head_dim".into(), Value::Null);
        }
        let rows = self.shape("token_embd.weight").map(|shape| shape[0]);
        if rows.is_none() && is_supported(family) {
            return Err(Error::new("the tensor `token_embd.weight` is missing").fix(COMPLETE));
        }
        config.insert("vocab_size".into(), rows.into());
        config.insert("tie_word_embeddings".into(), self.shape("output.weight").is_none().into());
        config.insert("attention_bias".into(), (family != "qwen2" && self.has_bias()).into());
        if get("expert_count").and_then(Value::as_u64).is_some_and(|count| count > 0) {
            return Err(Error::new("mixtures of experts are not supported").fix("a dense model"));
        }
        if let Some(rotated) = get("rope.dimension_count").and_then(Value::as_f64) {
            let number = |key: &str| config.get(key).and_then(Value::as_f64);
            let mean = || Some(number("hidden_size")? / number("num_attention_heads")?);
            let part = number("head_dim").or_else(mean).map(|width| rotated / width);
            config.insert("partial_rotary_factor".into(), part.into());
        }
        let scaling = (self.scaled_rope(family), self.stretched_rope(&config)?);
        let scaling = match scaling {
            (Some(_), Some(_)) => {
                let error = Error::new("the rope is both scaled (`rope.scaling`) and stretched (`rope_freqs.weight`)");
                return Err(error.fix("a model with one of them"));
            }
            (one, other) => one.or(other),
        };
        config.extend(scaling.map(|scaling| ("rope_scaling".to_string(), scaling)));
        Ok(Value::Object(config))
    }

    /// The value of a key that may have one for each layer, where all are the same.
    fn of_all_layers(&self, family: &str, key: &str) -> Result<Option<Value>> {
        let full = format!("{family}.{key}");
        if self.count(&full).is_none() {
            return Ok(self.get(&full).cloned());
        }
        let values = self.numbers(&full).unwrap_or_default();
        let layers = self.get(&format!("{family}.block_count")).and_then(Value::as_u64);
        match values.first() {
            Some(first) if layers == Some(values.len() as u64) && values.iter().all(|value| value == first) => {
                Ok(Some(if first.fract() == 0.0 { (*first as u64).into() } else { (*first).into() }))
            }
            _ => {
                let error = Error::new(format!("`{full}` is a list whose values differ, or not one for each layer"));
                Err(error.fix("a model whose layers are all alike"))
            }
        }
    }

    /// The scaling of the rope, as llama.cpp reads it: a factor without a type is linear, and old files name it
    /// differently.
    fn scaled_rope(&self, family: &str) -> Option<Value> {
        let get = |key: &str| self.get(&format!("{family}.rope.{key}"));
        let kind = get("scaling.type").and_then(Value::as_str).unwrap_or("linear");
        let factor = get("scaling.factor").or(get("scale_linear"));
        let scales = factor.and_then(Value::as_f64).is_some_and(|factor| factor != 0.0 && factor != 1.0);
        let counts = kind != "none" && (scales || kind != "linear");
        counts.then(|| json!({"rope_type": kind, "factor": factor}))
    }

    /// Llama 3.1 and later: the file holds what each frequency is divided by, not the numbers that this comes from. All
    /// published models have 1, 4 and 8192 there; an error if the divisors do not follow from these.
    fn stretched_rope(&self, config: &Map<String, Value>) -> Result<Option<Value>> {
        let Some(info) = self.header.tensors.get(ROPE_FREQS) else { return Ok(None) };
        let divisors = self.values(ROPE_FREQS, info)?;
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
            return Err(error.fix("the model in Hugging Face's format"));
        }
        Ok(Some(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_max_positions,
        })))
    }

    fn has_bias(&self) -> bool {
        self.header.tensors.keys().any(|name| name.starts_with("blk.") && name.ends_with(".bias"))
    }

    /// The file's name of a tensor by Hugging Face's, if it is there.
    pub(crate) fn stored(&self, name: &str) -> Option<String> {
        gguf_name(name).filter(|stored| self.header.tensors.contains_key(stored))
    }

    /// The shape of a tensor by the file's name, if it is there.
    pub(crate) fn shape(&self, stored: &str) -> Option<Vec<usize>> {
        Some(self.header.tensors.get(stored)?.shape.clone())
    }

    /// A tensor's values by Hugging Face's name, if it is there; rows of queries and keys in Hugging Face's order.
    pub(crate) fn tensor(&self, name: &str, architecture: &Architecture) -> Option<Result<Vec<f32>>> {
        let stored = gguf_name(name)?;
        let info = self.header.tensors.get(&stored)?;
        let heads = match stored.rsplit('.').nth(1) {
            Some("attn_q") if architecture.family == "llama" => architecture.num_heads,
            Some("attn_k") if architecture.family == "llama" => architecture.num_kv_heads,
            _ => return Some(self.values(&stored, info)),
        };
        Some(self.values(&stored, info).map(|values| half_split(&values, heads, architecture.head_dim)))
    }

    /// The names of all tensors, as the file has them, but of those that are part of the configuration.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.header.tensors.keys().filter(|name| *name != ROPE_FREQS).cloned().collect()
    }

    /// The formats of all tensors.
    pub(crate) fn formats(&self) -> impl Iterator<Item = String> {
        self.header.tensors.values().map(|info| {
            let name = format!("{:?}", info.kind);
            name.strip_suffix('K').map_or(name.clone(), |start| format!("{start}_K"))
        })
    }

    fn values(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        // Blocks are read in place where they lie on whole words; the allocator lays copies so.
        let bytes = self.bytes(name, info)?;
        let bytes = if is_whole(bytes) { Cow::Borrowed(bytes) } else { Cow::Owned(bytes.to_vec()) };
        if !is_whole(&bytes) {
            return Err(self.damaged(name, "does not lie on whole words"));
        }
        let blocks = info.kind.from_data(bytes);
        match blocks.dequantize(info.shape.iter().product()) {
            Ok(CpuStorage::F32(values)) => Ok(values),
            Ok(_) => Err(self.damaged(name, "does not dequantize to f32")),
            Err(error) => Err(self.damaged(name, &error.to_string())),
        }
    }

    /// A tensor's blocks, whole ones, as they lie in the file.
    fn bytes(&self, name: &str, info: &TensorInfo) -> Result<&[u8]> {
        let kind = info.kind;
        let count = info.shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let row = info.shape.last().copied().unwrap_or(1);
        let (Some(count), true) = (count, row % kind.block_size() == 0) else {
            return Err(self.damaged(name, &format!("has rows of {row} values, which is no multiple of its blocks'")));
        };
        let start = usize::try_from(info.offset).ok().and_then(|offset| self.header.start.checked_add(offset));
        let length = (count / kind.block_size()).checked_mul(kind.type_size());
        let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
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

/// Whether `bytes` can be taken for 32-bit words.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(4)
}

#[cfg(test)]
pub(crate) mod tests;
