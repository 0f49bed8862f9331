//! GGUF files of a few bytes, written here by the format's definition.

use super::Gguf;
use crate::llm::rope::{Rope, Scaling};
use crate::llm::weights::Weights;
use half::{bf16, f16};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

/// The bytes of a GGUF file, version 3.
#[derive(Default)]
pub(crate) struct Writer {
    entries: Vec<u8>,
    num_entries: u64,
    infos: Vec<u8>,
    num_tensors: u64,
    data: Vec<u8>,
}

impl Writer {
    fn string(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    pub(crate) fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        Self::string(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.num_entries += 1;
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        let mut value = Vec::new();
        Self::string(&mut value, text);
        self.entry(key, 8, &value);
    }

    /// A JSON value in the format's types: numbers in lists are all of 64 bits.
    pub(crate) fn value(&mut self, key: &str, value: &Value) {
        let number = |value: &Value| match value.as_u64() {
            Some(n) => (10, n.to_le_bytes()),
            None => (12, value.as_f64().expect("a number").to_le_bytes()),
        };
        match value {
            Value::String(text) => self.text(key, text),
            Value::Bool(flag) => self.entry(key, 7, &[u8::from(*flag)]),
            Value::Array(all) => {
                let floats = all.iter().any(Value::is_f64);
                let kind: u32 = if all.iter().all(Value::is_string) {
                    8
                } else if floats {
                    12
                } else {
                    10
                };
                let mut bytes = [&kind.to_le_bytes()[..], &(all.len() as u64).to_le_bytes()].concat();
                for element in all {
                    match element.as_str() {
                        Some(text) => Self::string(&mut bytes, text),
                        None if floats => bytes.extend(element.as_f64().expect("a number").to_le_bytes()),
                        None => bytes.extend(number(element).1),
                    }
                }
                self.entry(key, 9, &bytes);
            }
            _ => {
                let (kind, bytes) = number(value);
                self.entry(key, kind, &bytes);
            }
        }
    }

    /// `shape` `[rows, columns]`, `kind` GGML's number of the format.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, bytes: &[u8]) {
        Self::string(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.infos.extend(size.to_le_bytes()));
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.num_tensors += 1;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.aligned(32)
    }

    fn aligned(&self, alignment: usize) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend(self.num_tensors.to_le_bytes());
        file.extend(self.num_entries.to_le_bytes());
        file.extend(&self.entries);
        file.extend(&self.infos);
        file.resize(file.len().next_multiple_of(alignment), 0);
        file.extend(&self.data);
        file
    }
}

pub(crate) fn saved(bytes: &[u8]) -> (PathBuf, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file");
    (path, folder)
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A Llama of one layer: 8 wide, two heads of 4 that share keys, 8 tokens, 16 wide inside.
pub(crate) fn llama() -> Writer {
    let mut file = Writer::default();
    file.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 1u32),
        ("embedding_length", 8),
        ("feed_forward_length", 16),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("context_length", 64),
        ("rope.dimension_count", 4),
    ] {
        file.entry(&format!("llama.{key}"), 4, &value.to_le_bytes());
    }
    file.entry("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    file.entry("llama.rope.freq_base", 6, &10_000f32.to_le_bytes());
    let rows = |rows: u64| floats(&(0..rows * 8).map(|n| n as f32).collect::<Vec<_>>());
    for (name, shape) in [
        ("token_embd.weight", vec![8, 8]),
        ("output_norm.weight", vec![8]),
        ("blk.0.attn_norm.weight", vec![8]),
        ("blk.0.attn_q.weight", vec![8, 8]),
        ("blk.0.attn_k.weight", vec![4, 8]),
        ("blk.0.attn_v.weight", vec![4, 8]),
        ("blk.0.attn_output.weight", vec![8, 8]),
        ("blk.0.ffn_norm.weight", vec![8]),
        ("blk.0.ffn_gate.weight", vec![16, 8]),
        ("blk.0.ffn_up.weight", vec![16, 8]),
        ("blk.0.ffn_down.weight", vec![8, 16]),
    ] {
        file.tensor(name, &shape, 0, &rows(shape.iter().product::<u64>() / 8));
    }
    file
}

pub(crate) fn message(bytes: &[u8]) -> String {
    let (path, _folder) = saved(bytes);
    Weights::open(&path).err().expect("an error").to_string()
}

#[test]
fn a_header_tells_the_architecture() {
    let (path, _folder) = saved(&llama().bytes());
    let weights = Weights::open(&path).expect("a model");
    let read = weights.architecture();
    assert_eq!((read.family.as_str(), read.vocab_size, read.num_kv_heads, read.head_dim), ("llama", 8, 1, 4));
    assert_eq!((read.rms_norm_eps, read.rope.theta, read.tied), (1e-5, 1e4, true));
    assert_eq!(weights.formats().into_iter().collect::<Vec<_>>(), [("F32".to_string(), 11)]);
    assert_eq!(Weights::files(&path).expect("a file"), [path]);
    assert!(weights.has("model.layers.0.mlp.up_proj.weight") && !weights.has("lm_head.weight"));
}

#[test]
fn rows_of_queries_and_keys_are_put_in_hugging_faces_order() {
    let (path, _folder) = saved(&llama().bytes());
    let weights = Weights::open(&path).expect("a model");
    let rows = |name: &str| {
        let (shape, values) = weights.tensor(&format!("model.layers.0.self_attn.{name}.weight")).expect("a weight");
        assert_eq!(shape[0] * shape[1], values.len());
        values.chunks(8).map(|row| row[0] as usize / 8).collect::<Vec<_>>()
    };
    assert_eq!(rows("q_proj"), [0, 2, 1, 3, 4, 6, 5, 7]);
    assert_eq!(rows("k_proj"), [0, 2, 1, 3]);
    assert_eq!(rows("v_proj"), [0, 1, 2, 3]);
}

#[test]
fn llama_3s_rope_is_known_by_its_divisors() {
    let divided = |factors: [f32; 2]| {
        let mut file = llama();
        file.tensor("rope_freqs.weight", &[2], 0, &floats(&factors));
        file.bytes()
    };
    let (path, _folder) = saved(&divided([1.0, 1.0]));
    let rope = Weights::open(&path).expect("a model").architecture().rope.clone();
    assert!(matches!(rope.scaling, Scaling::Llama3 { factor: 1.0, .. }), "{rope:?}");
    assert!(message(&divided([1.0, 8.0])).contains("`rope_freqs.weight`"));
}

/// Every format, by its definition in ggml (ggml-quants.c).
#[test]
fn formats_mean_what_ggml_says() {
    let half = |x: f32| f16::from_f32(x).to_le_bytes().to_vec();
    // Nibbles n and 15 - n: values 0 to 15 of the block, then 15 to 0.
    let nibbles: Vec<u8> = (0..16).map(|n| n | (15 - n) << 4).collect();
    let numbers: Vec<f32> = (0..16).chain((0..16).rev()).map(|n| n as f32).collect();
    let of = |value: &dyn Fn(f32) -> f32| numbers.iter().map(|n| value(*n)).collect::<Vec<f32>>();
    let mut cases: Vec<(&str, u32, Vec<u8>, Vec<f32>)> = vec![
        ("F32", 0, floats(&numbers), numbers.clone()),
        ("F16", 1, numbers.iter().flat_map(|n| f16::from_f32(*n).to_le_bytes()).collect(), numbers.clone()),
        ("BF16", 30, numbers.iter().flat_map(|n| bf16::from_f32(*n).to_le_bytes()).collect(), numbers.clone()),
        ("Q4_0", 2, [half(0.5), nibbles.clone()].concat(), of(&|n| 0.5 * (n - 8.0))),
        ("Q4_1", 3, [half(0.5), half(3.0), nibbles.clone()].concat(), of(&|n| 0.5 * n + 3.0)),
    ];
    // The fifth bit of all values but the first.
    let fifth = (!1u32).to_le_bytes().to_vec();
    let mut q5_0 = of(&|n| 0.5 * n);
    q5_0[0] = 0.5 * -16.0;
    cases.push(("Q5_0", 6, [half(0.5), fifth, nibbles].concat(), q5_0));
    let bytes: Vec<u8> = (0..32u8).map(|n| n.wrapping_sub(16)).collect();
    cases.push(("Q8_0", 8, [half(0.25), bytes].concat(), (0..32).map(|n| 0.25 * (n as f32 - 16.0)).collect()));
    // Q4_K and Q5_K: 8 blocks of 32 with 6-bit scales and minima. Those of the first four are the low bits of bytes
    // 0-3 and 4-7: scales 1 to 4, minima 0. Those of the others have their low 4 bits in bytes 8-11: scales 5 to 8,
    // minima 1 to 4. Each 32 bytes hold two blocks, one in the low and one in the high nibbles.
    let scales = [1, 2, 3, 4, 0, 0, 0, 0, 5 | 1 << 4, 6 | 2 << 4, 7 | 3 << 4, 8 | 4 << 4];
    let quants = [2 | 9 << 4; 128];
    let block = |n: usize, extra: f32| {
        let (scale, min) = (n as f32 + 1.0, (n as f32 - 3.0).max(0.0));
        0.5 * scale * ([2.0, 9.0][n % 2] + extra) - 0.25 * min
    };
    let head = [half(0.5), half(0.25), scales.to_vec()].concat();
    let expected = |extra: f32| (0..256).map(|n| block(n / 32, extra)).collect::<Vec<_>>();
    cases.push(("Q4_K", 12, [head.clone(), quants.to_vec()].concat(), expected(0.0)));
    cases.push(("Q5_K", 13, [head, vec![0xFF; 32], quants.to_vec()].concat(), expected(16.0)));
    // Q6_K: low 4 bits, high 2 bits, 16 scales of one byte, the factor last. High bits of 2 everywhere: they
    // add the 32 that the format takes away.
    let scales: Vec<u8> = (1..=16).collect();
    let q6_k = [vec![3 | 5 << 4; 128], vec![0b1010_1010; 64], scales, half(0.5)].concat();
    // Of each 128 values the first 64 are low nibbles, the others high ones.
    let low = |n: usize| if n % 128 < 64 { 3.0 } else { 5.0 };
    cases.push(("Q6_K", 14, q6_k, (0..256).map(|n| 0.5 * (n / 16 + 1) as f32 * low(n)).collect()));
    for (name, kind, bytes, expected) in cases {
        let mut file = Writer::default();
        file.text("general.architecture", "llama");
        file.tensor("token_embd.weight", &[2, expected.len() as u64], kind, &[&bytes[..], &bytes].concat());
        let (path, _folder) = saved(&file.bytes());
        let file = Gguf::open(&path).expect("a file");
        let values = file.values("token_embd.weight", &file.header.tensors["token_embd.weight"]).expect("values");
        assert_eq!(values, [&expected[..], &expected].concat(), "{name}");
        assert_eq!(file.formats().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn damaged_and_unsupported_files_are_refused() {
    let whole = llama().bytes();
    let cut = message(&whole[..whole.len() - 100]);
    assert!(
        cut.contains("`blk.0.ffn_down.weight` lies beyond the end of the file") && cut.contains("cut short"),
        "{cut}"
    );
    assert!(message(&whole[..200]).contains("cannot read the header"), "{}", message(&whole[..200]));
    assert!(message(b"PK").contains("the file ends within it"));
    assert!(message(b"GGML1234").contains("does not begin with `GGUF`"));
    let mut iq = llama();
    iq.tensor("output.weight", &[8, 8], 20, &[0; 64]);
    let unsupported = message(&iq.bytes());
    assert!(unsupported.contains("the tensor `output.weight` is of type 20 (IQ4_NL)"), "{unsupported}");
    let mut wide = llama();
    wide.tensor("output.weight", &[8, 7], 0, &[0; 224]);
    let shape = message(&wide.bytes());
    assert!(shape.contains("`lm_head.weight` has shape [8, 7], but the configuration says [8, 8]"), "{shape}");
    let mut expert = llama();
    expert.entry("llama.expert_count", 4, &8u32.to_le_bytes());
    assert!(message(&expert.bytes()).contains("mixtures of experts"));
}

/// Counts and lengths that are larger than the file are refused before anything is made of them.
#[test]
fn what_a_header_counts_is_checked_against_the_file() {
    let huge = u64::MAX.to_le_bytes();
    let mut file = llama().bytes();
    file[8..16].copy_from_slice(&huge);
    assert!(message(&file).contains("counts 18446744073709551615 parts"), "{}", message(&file));
    let mut file = llama().bytes();
    file[16..24].copy_from_slice(&(1u64 << 40).to_le_bytes());
    assert!(message(&file).contains("counts 1099511627776 parts"), "{}", message(&file));
    for (what, kind, value) in [
        ("parts where", 8u32, huge.to_vec()),
        ("parts where", 9, [&6u32.to_le_bytes()[..], &huge].concat()),
        ("the file ends within it", 9, [&12u32.to_le_bytes()[..], &3000u64.to_le_bytes()].concat()),
        ("`list` is a list of lists", 9, [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()),
        ("`list` is a list of the unknown type 99", 9, [&99u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()),
        ("`list` is of the unknown type 13", 13, vec![0]),
    ] {
        let mut file = Writer::default();
        file.entry("list", kind, &value);
        let file = [file.bytes(), vec![0; 3000]].concat();
        assert!(message(&file).contains(what), "{}", message(&file));
    }
    let mut file = llama();
    file.tensor("output.weight", &[1 << 40, 1 << 40], 0, &[]);
    assert!(message(&file.bytes()).contains("`output.weight`"), "{}", message(&file.bytes()));
}

/// A list that nobody asks for stays in the file.
#[test]
fn long_lists_are_read_when_they_are_asked_for() {
    let mut file = llama();
    file.entry("general.bytes", 9, &[&0u32.to_le_bytes()[..], &1000u64.to_le_bytes(), &[7; 1000]].concat());
    let (path, _folder) = saved(&file.bytes());
    let file = Gguf::open(&path).expect("a file");
    assert_eq!(file.count("general.bytes"), Some(1000));
    assert_eq!(file.numbers("general.bytes").expect("numbers"), [7.0; 1000]);
    assert_eq!((file.strings("general.bytes"), file.get("general.bytes")), (None, None));
}

#[test]
fn tensors_are_found_at_any_alignment() {
    for (alignment, what) in [(0u32, Some("is 0")), (24, Some("is 24")), (8, None), (1, None)] {
        let mut file = Writer::default();
        file.entry("general.alignment", 4, &alignment.to_le_bytes());
        // One byte more or less, so that tensors begin on any byte where they may.
        for pad in ["a", "ab", "abc", "abcd"] {
            let mut file = Writer { entries: file.entries.clone(), num_entries: 1, ..Writer::default() };
            file.text("general.architecture", "llama");
            file.text("pad", pad);
            file.tensor("token_embd.weight", &[1, 2], 0, &floats(&[1.5, -2.0]));
            let (path, _folder) = saved(&file.aligned(alignment.max(1) as usize));
            match (Gguf::open(&path), what) {
                (Ok(file), None) => {
                    let values = file.values("token_embd.weight", &file.header.tensors["token_embd.weight"]);
                    assert_eq!(values.expect("values"), [1.5, -2.0]);
                }
                (Err(error), Some(what)) => {
                    assert!(error.to_string().contains(&format!("`general.alignment` {what}")), "{error}");
                }
                (other, _) => panic!("alignment {alignment}: {:?}", other.err()),
            }
        }
    }
}

/// As llama.cpp reads them: what is not said to be of a type is linear, and files of 2023 call it `scale_linear`.
#[test]
fn a_scaled_rope_is_read_by_all_its_names() {
    let scaling = |entries: &[(&str, Value)]| {
        let mut file = llama();
        entries.iter().for_each(|(key, value)| file.value(&format!("llama.rope.{key}"), value));
        let (path, _folder) = saved(&file.bytes());
        Weights::open(&path).map(|weights| weights.architecture().rope.clone())
    };
    let of = |scaling: Scaling| Rope { theta: 1e4, scaling };
    let linear = of(Scaling::Linear { factor: 4.0 });
    let (plain, factor) = (of(Scaling::None), ("scaling.factor", json!(4.0)));
    let kind = |kind: &str| ("scaling.type", json!(kind));
    assert_eq!(scaling(std::slice::from_ref(&factor)).expect("a rope"), linear);
    assert_eq!(scaling(&[kind("linear"), factor.clone()]).expect("a rope"), linear);
    assert_eq!(scaling(&[("scale_linear", json!(4.0))]).expect("a rope"), linear);
    assert_eq!(scaling(&[factor.clone(), ("scale_linear", json!(8.0))]).expect("a rope"), linear);
    assert_eq!(scaling(&[kind("none"), factor.clone()]).expect("a rope"), plain);
    assert_eq!(scaling(&[kind("linear")]).expect("a rope"), plain);
    assert_eq!(scaling(&[("scaling.factor", json!(0.0))]).expect("a rope"), plain);
    let yarn = scaling(&[kind("yarn"), factor]).expect_err("refused").to_string();
    assert!(yarn.contains("`rope_type` is `yarn`"), "{yarn}");
}

/// A list has a value for each layer; what is not the same for all is refused by its name.
#[test]
fn values_of_each_layer_count_where_they_are_the_same() {
    let with = |heads: Value| {
        let mut file = Writer::default();
        let whole = llama();
        // The same entries but the heads of keys, which are written once more as a list.
        file.text("general.architecture", "llama");
        for (key, value) in [
            ("block_count", json!(1)),
            ("embedding_length", json!(8)),
            ("feed_forward_length", json!(16)),
            ("attention.head_count", json!(2)),
            ("attention.head_count_kv", heads),
            ("context_length", json!(64)),
            ("attention.layer_norm_rms_epsilon", json!(1e-5)),
        ] {
            file.value(&format!("llama.{key}"), &value);
        }
        let file = Writer { infos: whole.infos, num_tensors: whole.num_tensors, data: whole.data, ..file };
        let (path, _folder) = saved(&file.bytes());
        Weights::open(&path).map(|weights| weights.architecture().num_kv_heads)
    };
    assert_eq!(with(json!([1])).expect("a model"), 1);
    for heads in [json!([1, 1]), json!([]), json!([1, 2])] {
        let error = with(heads).expect_err("refused").to_string();
        assert!(error.contains("`llama.attention.head_count_kv` is a list"), "{error}");
    }
}
