//! Checkpoints as people have them, made here from the fixtures by one change each: what is right for them is what
//! transformers 5.24 or llama.cpp makes of them, or a refusal that names what is wrong.

use super::decoder::Decoder;
use super::gguf::tests::{floats, llama, message, saved};
use super::layout::Row;
use super::model::Local;
use super::weights::Weights;
use super::{describe, load};
use burn::tensor::{Device, FloatDType};
use framework::error::Result;
use framework::language::{Decoding, Generation, Model, Prompt};
use framework::plugin::defaults;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

/// Tensors in single precision, by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A fixture's tensors.
fn tensors(name: &str) -> Tensors {
    let bytes = std::fs::read(format!("{FIXTURES}/{name}/model.safetensors")).expect("the fixture");
    let all = SafeTensors::deserialize(&bytes).expect("tensors");
    let values = |view: TensorView| view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    all.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), values(view)))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<_> = tensors.values().map(|(_, values)| floats(values)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("bytes")).expect("a file");
}

/// A folder with a fixture's model, changed, and a tokenizer of `words` words.
fn folder(name: &str, change: impl FnOnce(&mut Value, &mut Tensors), words: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = std::fs::read_to_string(format!("{FIXTURES}/{name}/config.json")).expect("the fixture");
    let (mut config, mut tensors) = (config.parse().expect("JSON"), tensors(name));
    change(&mut config, &mut tensors);
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
    write(&folder.path().join("model.safetensors"), &tensors);
    let vocab: Value = (0..words).map(|n| (format!("w{n}"), n)).collect::<Vec<_>>().into_iter().collect();
    let tokenizer = json!({
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"},
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    std::fs::write(folder.path().join("chat_template.jinja"), "{{ messages[-1]['content'] }}").expect("a file");
    folder
}

fn decoder(path: &Path) -> Result<Decoder> {
    load::open(&Weights::open(path)?, &Device::flex(), FloatDType::F32)
}

fn logits(path: &Path) -> Vec<f32> {
    let decoder = decoder(path).expect("a decoder");
    let row = [Row::plain(vec![5, 6, 7, 8])];
    let states = decoder.states(decoder.embed(&row[0].tokens), &decoder.layout(&row), None);
    decoder.logits(states).into_data().iter().collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

fn refusal(folder: &TempDir) -> String {
    Weights::open(folder.path()).err().expect("a refusal").to_string()
}

/// The answers of the model at `path`.
fn answers(path: &Path, prompt: &str, decoding: &Decoding) -> Result<Vec<Generation>> {
    let weights = Weights::open(path)?;
    let tokenizer = Arc::new(weights.tokenizer()?);
    let decoder = load::open(&weights, &Device::flex(), FloatDType::F32)?;
    let model = Local { decoder, tokenizer, base: Value::Null, batch_size: 2, tuned: None };
    let (cx, _folder) = crate::fixture::context();
    let mut all = Vec::new();
    model.generate(&[Prompt::new("", prompt)], decoding, 1, &cx, &mut |_, answer| {
        all.push(answer);
        Ok(())
    })?;
    Ok(all)
}

/// `tied_but_head_differs_llama`, for safetensors; equal ones stay tied.
#[test]
fn a_files_own_output_layer_counts_where_the_configuration_says_tied() {
    let plain = logits(&fixture("llama"));
    let with_head = |factor: f32| {
        folder(
            "llama",
            |_, tensors| {
                let (shape, table) = tensors["model.embed_tokens.weight"].clone();
                tensors.insert("lm_head.weight".into(), (shape, table.iter().map(|x| x * factor).collect()));
            },
            320,
        )
    };
    let same = with_head(1.0);
    assert_eq!(logits(same.path()), plain);
    let weights = Weights::open(same.path()).expect("a model");
    assert!(weights.architecture().tied && weights.unused().is_empty());
    let other = with_head(-2.0);
    let expected: Vec<f32> = plain.iter().map(|x| -2.0 * x).collect();
    assert_eq!(logits(other.path()), expected);
    assert!(!Weights::open(other.path()).expect("a model").architecture().tied);
}

/// A shared table that stands in the file as the output layer only.
#[test]
fn a_shared_table_may_be_called_the_output_layer() {
    let only_head = folder(
        "llama",
        |_, tensors| {
            let table = tensors.remove("model.embed_tokens.weight").expect("a table");
            tensors.insert("lm_head.weight".into(), table);
        },
        320,
    );
    assert_eq!(logits(only_head.path()), logits(&fixture("llama")));
    let untied = folder(
        "llama",
        |config, tensors| {
            config["tie_word_embeddings"] = false.into();
            let table = tensors.remove("model.embed_tokens.weight").expect("a table");
            tensors.insert("lm_head.weight".into(), table);
        },
        320,
    );
    assert!(refusal(&untied).contains("`model.embed_tokens.weight` is missing"));
}

/// `prefix_none`.
#[test]
fn weights_of_a_base_model_have_no_prefix() {
    for name in ["llama", "qwen3"] {
        let bare = folder(
            name,
            |_, tensors| {
                let all = std::mem::take(tensors).into_iter();
                *tensors = all.map(|(name, one)| (name.trim_start_matches("model.").to_string(), one)).collect();
            },
            320,
        );
        assert_eq!(logits(bare.path()), logits(&fixture(name)), "{name}");
        assert!(Weights::open(bare.path()).expect("a model").unused().is_empty());
    }
}

/// `sharded_stale_duplicate`: a shard holds a tensor that the index places in another one.
#[test]
fn the_index_says_which_shard_counts() {
    let folder = folder("llama", |_, _| {}, 320);
    let path = folder.path();
    std::fs::remove_file(path.join("model.safetensors")).expect("a file");
    let all = tensors("llama");
    let name = |n: usize| format!("model-0000{n}-of-00002.safetensors");
    let map: BTreeMap<_, _> = all.keys().enumerate().map(|(n, key)| (key.clone(), name(1 + n % 2))).collect();
    let index = json!({"weight_map": map});
    std::fs::write(path.join("model.safetensors.index.json"), index.to_string()).expect("a file");
    for n in [1, 2] {
        // What belongs to the other shard is here with other values.
        let stale = |key: &String, values: &[f32]| {
            values.iter().map(|x| if map[key] == name(n) { *x } else { x + 1.0 }).collect::<Vec<_>>()
        };
        let shard = all.iter().map(|(key, (shape, values))| (key.clone(), (shape.clone(), stale(key, values))));
        write(&path.join(name(n)), &shard.collect());
    }
    assert_eq!(logits(path), logits(&fixture("llama")));
}

/// `nan_weight`, and what is infinite.
#[test]
fn a_weight_that_is_no_number_is_named() {
    for (value, says) in [(f32::NAN, "holds NaN (value 5 of 48)"), (f32::INFINITY, "holds inf")] {
        let folder = folder(
            "llama",
            |_, tensors| {
                tensors.get_mut("model.norm.weight").expect("a weight").1[5] = value;
            },
            320,
        );
        let decoding = Decoding { choices: vec!["w7".into(), "w8".into()], ..defaults() };
        let error = answers(folder.path(), "w1 w2 ", &decoding).expect_err("a refusal").to_string();
        assert!(error.contains("`model.norm.weight`") && error.contains(says), "{error}");
    }
}

/// Finite weights whose results are not.
#[test]
fn a_model_that_gives_no_numbers_does_not_answer() {
    let folder = folder(
        "llama",
        |_, tensors| {
            tensors.get_mut("model.norm.weight").expect("a weight").1.fill(f32::MAX);
        },
        320,
    );
    let decoding = Decoding { choices: vec!["w7".into(), "w8".into()], ..defaults() };
    let error = answers(folder.path(), "w1 w2 ", &decoding).expect_err("a refusal").to_string();
    assert!(error.contains("not a number"), "{error}");
    let half = load::open(&Weights::open(folder.path()).expect("a model"), &Device::flex(), FloatDType::F16);
    let error = half.map(drop).expect_err("a refusal").to_string();
    assert!(error.contains("`model.norm.weight` has values beyond 65504"), "{error}");
}

/// `k_big`.
#[test]
fn a_tokenizer_larger_than_the_embedding_is_said_when_it_is_opened() {
    let big = folder("llama", |_, _| {}, 400);
    let weights = Weights::open(big.path()).expect("a model");
    let error = weights.tokenizer().err().expect("a refusal").to_string();
    assert!(error.contains("the tokenizer has 400 tokens, but the embedding table has 320 rows"), "{error}");
    let described = describe::describe(big.path(), None).expect("it can be looked at");
    assert!(described["tokenizer"]["error"].as_str().expect("an error").contains("400 tokens"));
    let mut file = llama();
    file.text("tokenizer.ggml.model", "gpt2");
    file.value("tokenizer.ggml.tokens", &json!(vec!["a"; 9]));
    let (path, _folder) = saved(&file.bytes());
    let error = Weights::open(&path).and_then(|weights| weights.tokenizer()).err().expect("a refusal").to_string();
    assert!(error.contains("the tokenizer has 9 tokens, but the embedding table has 8 rows"), "{error}");
}

/// `huge_layers` and its kin: no list is made as long as a configuration says.
#[test]
fn sizes_are_checked_against_the_files() {
    for (key, value, says) in [
        ("num_hidden_layers", 4_000_000_000u64, "4000000000 layers, but there are 20 weights in all"),
        ("vocab_size", 4_000_000_000, "the configuration says [4000000000, 48]"),
        ("hidden_size", 4_000_000_000, "the configuration says [320, 4000000000]"),
        ("intermediate_size", 4_000_000_000, "the configuration says [4000000000, 48]"),
        ("head_dim", 4_000_000_000, "the configuration says [24000000000, 48]"),
        ("num_attention_heads", 4_000_000_000, "the configuration says [32000000000, 48]"),
        ("num_key_value_heads", 4_000_000_000, "heads share"),
    ] {
        let folder = folder("llama", |config, _| config[key] = value.into(), 320);
        assert!(refusal(&folder).contains(says), "{}", refusal(&folder));
    }
}

/// `block_count_huge.gguf`, `cr_nd0.gguf`.
#[test]
fn a_gguf_that_counts_wrong_is_refused() {
    let whole = llama().bytes();
    let at = |text: &[u8]| whole.windows(text.len()).position(|window| window == text).expect("a place") + text.len();
    let mut deep = whole.clone();
    let place = at(b"llama.block_count") + 4;
    deep[place..place + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(message(&deep).contains("4294967295 layers, but there are 11 weights in all"), "{}", message(&deep));
    let mut file = llama();
    file.tensor("extra.weight", &[], 0, &floats(&[1.0]));
    assert!(
        message(&file.bytes()).contains("the tensor `extra.weight` has 0 dimensions"),
        "{}",
        message(&file.bytes())
    );
    let mut twice = llama();
    twice.tensor("output_norm.weight", &[8], 0, &floats(&[1.0; 8]));
    assert!(message(&twice.bytes()).contains("`output_norm.weight` stands there twice"));
}

/// `llama_qk_norm.gguf`: what nothing uses is named; what follows from the configuration is not.
#[test]
fn tensors_that_are_not_used_are_named() {
    let mut file = llama();
    file.tensor("blk.0.attn_q_norm.weight", &[4], 0, &floats(&[1.0; 4]));
    let (path, _folder) = saved(&file.bytes());
    assert_eq!(Weights::open(&path).expect("a model").unused(), ["blk.0.attn_q_norm.weight"]);
    let more = folder(
        "llama",
        |_, tensors| {
            for name in ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.rotary_emb.inv_freq"] {
                tensors.insert(name.into(), (vec![2], vec![1.0, 2.0]));
            }
        },
        320,
    );
    assert_eq!(Weights::open(more.path()).expect("a model").unused(), ["model.layers.0.self_attn.q_proj.bias"]);
    let described = describe::describe(more.path(), None).expect("a description");
    assert_eq!(described["unused"], json!(["model.layers.0.self_attn.q_proj.bias"]));
}

/// `v5_readme_yarn` and `no_max_positions`.
#[test]
fn what_a_configuration_says_is_read_or_refused() {
    let yarn = folder(
        "qwen3",
        |config, _| {
            config["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 1e6});
            config["rope_scaling"] =
                json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
        },
        320,
    );
    assert!(refusal(&yarn).contains("`rope_type` is `yarn`"), "{}", refusal(&yarn));
    let short = folder(
        "llama",
        |config, _| {
            config.as_object_mut().expect("a table").remove("max_position_embeddings");
        },
        320,
    );
    assert_eq!(Weights::open(short.path()).expect("a model").architecture().max_positions, 2048);
}

/// A byte-level model of a few letters that answers what it is asked.
fn letters(template: &str) -> (PathBuf, TempDir) {
    let mut file = llama();
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "gpt-2");
    file.value("tokenizer.ggml.tokens", &json!(["a", "b", "ab", "c", "d", "e", "Ġ", "Ġa"]));
    file.value("tokenizer.ggml.merges", &json!(["a b", "Ġ a"]));
    file.text("tokenizer.chat_template", template);
    saved(&file.bytes())
}

/// The prompt's last token may merge with an answer's first letters, which then are cut off together.
#[test]
fn choices_are_kept_where_they_merge_with_the_prompt() {
    let (path, _folder) = letters("{{ messages[-1]['content'] }}");
    for (prompt, choices) in [("ca", ["b", "d"]), ("c ", ["a", "b"]), ("c", ["ab", "a"]), ("c", ["dd", "de"])] {
        for max_tokens in [1, 5] {
            let decoding = Decoding { choices: choices.map(String::from).to_vec(), max_tokens, ..defaults() };
            let all = answers(&path, prompt, &decoding).expect("an answer");
            assert!(choices.contains(&all[0].text.as_str()), "{prompt:?}: {all:?} is none of {choices:?}");
        }
    }
    let decoding = Decoding { choices: vec!["d".into(), "de".into()], ..defaults() };
    let error = answers(&path, "c", &decoding).expect_err("a refusal").to_string();
    assert!(error.contains("`de` begins with `d`, and the model has no token that ends an answer"), "{error}");
}

/// `hi there`, of which a vocabulary has nothing, and a text without letters.
#[test]
fn a_prompt_without_tokens_is_refused_for_what_it_is() {
    let (path, _folder) = letters("{{ messages[-1]['content'] }}");
    for (prompt, says) in [("zz", "nothing in the prompt is in the model's vocabulary"), ("", "the prompt is empty")] {
        let error = answers(&path, prompt, &defaults()).expect_err("a refusal").to_string();
        assert!(error.contains(says) && error.contains("prompt 0"), "{error}");
    }
}

/// A model can be looked at where its template fails, and what is shown is what `generate` would send.
#[test]
fn a_description_shows_what_is_sent_or_why_nothing_is() {
    let sent = "{{ 'at once: ' if enable_thinking is false }}{{ messages[-1]['content'] }}";
    let (path, _folder) = letters(sent);
    let tokenizer = describe::describe(&path, None).expect("a description")["tokenizer"].take();
    assert_eq!(tokenizer["example"], "at once: Which film shall I see?");
    for (template, says) in [
        ("{% if %}", "cannot read the model's chat template"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}", "has no end after"),
    ] {
        let (path, _folder) = letters(template);
        let described = describe::describe(&path, None).expect("a description");
        let error = described["tokenizer"]["chat_template_error"].as_str().expect("an error");
        assert!(error.contains(says), "{error}");
        assert_eq!((&described["layers"], &described["tokenizer"]["tokens"]), (&json!(1), &json!(8)));
    }
}
