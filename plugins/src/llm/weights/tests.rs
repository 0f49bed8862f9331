//! Folders and files as they are, and damaged ones. Kinds of checkpoints that people have are in `cases`.

use super::Weights;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

/// A copy of the fixture `llama` with its configuration and weights, to be changed.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture("llama").join(file), folder.path().join(file)).expect("a copy");
    }
    folder
}

fn message(folder: &TempDir) -> String {
    Weights::open(folder.path()).err().expect("an error").to_string()
}

/// Writes tensors of one dtype, `(name, shape)`, whose bytes are all `byte`.
fn write(path: &Path, dtype: &str, size: usize, byte: u8, tensors: &[(String, Vec<usize>)]) {
    let mut end = 0;
    let mut header = json!({});
    for (name, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * size;
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
    }
    let header = header.to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![byte; end]].concat();
    std::fs::write(path, file).expect("a file");
}

#[test]
fn every_fixture_opens_with_all_its_weights() {
    for name in ["llama", "llama3", "mistral", "mistral_window", "qwen2", "qwen3"] {
        let weights = Weights::open(&fixture(name)).expect(name);
        let mut count = 0;
        for (tensor, shape) in weights.architecture().tensors() {
            let (stored, values) = weights.tensor(&tensor).expect("a weight");
            assert_eq!(stored, shape, "{name} {tensor}");
            count += values.len();
        }
        assert_eq!(count, weights.architecture().parameters());
        assert_eq!(weights.formats().into_keys().collect::<Vec<_>>(), ["F32"]);
        assert!(weights.tokenizer().err().expect("no tokenizer").to_string().contains("no tokenizer.json"));
    }
}

#[test]
fn shards_and_half_precision_are_read() {
    let folder = copy();
    let path = folder.path();
    std::fs::remove_file(path.join("model.safetensors")).expect("a file");
    let config: Value = std::fs::read_to_string(path.join("config.json")).expect("it").parse().expect("JSON");
    let tensors = super::Architecture::from_config(&config, "it").expect("an architecture").tensors();
    let (first, second) = tensors.split_at(4);
    let map: Value =
        tensors.iter().enumerate().map(|(n, (name, _))| (name.clone(), format!("{}.safetensors", n / 4 > 0))).collect();
    std::fs::write(path.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).expect("a file");
    // 0x3F3F is 0.747 in bf16 and 1.811 in f16.
    write(&path.join("false.safetensors"), "BF16", 2, 0x3F, first);
    assert!(message(&folder).contains("`true.safetensors`, one of 2 files with weights, is missing"));
    write(&path.join("true.safetensors"), "F16", 2, 0x3F, second);
    let weights = Weights::open(path).expect("a model");
    assert_eq!(weights.tensor(&first[0].0).expect("a weight").1[0], f32::from_bits(0x3F3F << 16));
    assert_eq!(weights.tensor(&second[0].0).expect("a weight").1[0], 1.8115234);
    let names = Weights::files(path).expect("files");
    let names: Vec<_> = names.iter().map(|file| file.file_name().expect("a name")).collect();
    assert_eq!(names, ["false.safetensors", "true.safetensors", "config.json"]);
    write(&path.join("true.safetensors"), "I8", 1, 0, second);
    let weights = Weights::open(path).expect("a model");
    assert!(weights.tensor(&second[0].0).expect_err("an error").to_string().contains("is stored as I8"));
}

#[test]
fn pickled_weights_are_read_by_a_reader_that_runs_nothing() {
    // Written by torch.save of PyTorch 2.9: tests/peers/fixtures.py.
    let weights = Weights::open(&fixture("pickled")).expect("a model");
    let safe = Weights::open(&fixture("llama")).expect("a model");
    for (name, _) in safe.architecture().tensors() {
        assert_eq!(weights.tensor(&name).expect("a weight"), safe.tensor(&name).expect("a weight"), "{name}");
    }
    assert_eq!(weights.formats().into_keys().collect::<Vec<_>>(), ["F32"]);
    let folder = copy();
    let file = folder.path().join("pytorch_model.bin");
    std::fs::rename(folder.path().join("model.safetensors"), &file).expect("renamed");
    assert!(message(&folder).contains("cannot read the pickled weights"), "{}", message(&folder));
    // A pickle that would create a file, as `os.system` in its reduce, is refused without running it.
    let made = folder.path().join("made");
    std::fs::copy(fixture("malicious.bin"), &file).expect("a copy");
    let refused = message(&folder);
    assert!(refused.contains("there are 0 weights in all") || refused.contains("cannot read"), "{refused}");
    assert!(!made.exists() && !Path::new("ablate-was-here").exists());
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let folder = copy();
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).expect("bytes");
    std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("a file");
    assert!(message(&folder).contains("cut short"), "{}", message(&folder));
    std::fs::write(&file, bytes).expect("a file");
    let config = std::fs::read_to_string(folder.path().join("config.json")).expect("text");
    let change = |from: &str, to: &str| {
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).expect("a file");
        message(&folder)
    };
    let wide = change("\"intermediate_size\": 96", "\"intermediate_size\": 97");
    assert!(wide.contains("gate_proj.weight` has shape [96, 48], but the configuration says [97, 48]"), "{wide}");
    let deep = change("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    assert!(deep.contains("`model.layers.2.input_layernorm.weight` is missing"), "{deep}");
    std::fs::remove_file(&file).expect("a file");
    assert!(change("", "").contains("there is no model.safetensors"));
    assert!(change("{", "").contains("the file is not JSON"));
    let nowhere = Weights::open(&folder.path().join("nowhere")).err().expect("an error").to_string();
    assert!(nowhere.contains("there is no language model") && nowhere.contains(".gguf"), "{nowhere}");
}

#[test]
fn smollm2_is_read_from_its_gguf() {
    let Some(path) = std::env::var_os("ABLATE_GGUF") else {
        eprintln!("skipped: ABLATE_GGUF names no file of SmolLM2-135M-Instruct");
        return;
    };
    let start = std::time::Instant::now();
    let weights = Weights::open(path.as_ref()).expect("a model");
    let opened = start.elapsed();
    let count = |(name, _): &(String, _)| weights.tensor(name).expect("a weight").1.len();
    let total: usize = weights.architecture().tensors().iter().map(count).sum();
    eprintln!("opened after {opened:?}, all {total} values as f32 after {:?}", start.elapsed());
    assert_eq!((total, weights.architecture().parameters()), (134_515_008, 134_515_008));
    let formats = weights.formats();
    assert_eq!(json!(formats), json!({"F32": 61, "Q4_1": 210, "Q8_0": 1}));
    // Sums of values times their place modulo 1009, by a reader of a few lines of Python: the order of rows counts.
    for (name, expected) in [
        ("model.embed_tokens.weight", -7804811.753322601),
        ("model.layers.3.self_attn.q_proj.weight", -54388.93724822998),
        ("model.layers.29.self_attn.k_proj.weight", 42832.04042816162),
        ("model.layers.7.mlp.down_proj.weight", -98460.48640441895),
    ] {
        let (_, values) = weights.tensor(name).expect("a weight");
        let sum: f64 = values.iter().zip((0..1009).cycle()).map(|(&x, n)| f64::from(x) * f64::from(n)).sum();
        assert!((sum - expected).abs() < 1e-6, "{name}: {sum}");
    }
}
