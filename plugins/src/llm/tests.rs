//! The decoder against outputs of other people's software: transformers, PEFT and llama.cpp.

use super::composed;
use super::decoder::Decoder;
use super::layout::Row;
use super::weights::Weights;
use super::{attention, load, lora};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use framework::language::{Learned, Lora};
use framework::parameters;
use framework::rng::Rng;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/language_model").join(name)
}

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(name)).expect("the fixture");
    serde_json::from_str(&text).expect("JSON")
}

fn decoder(name: &str) -> Decoder {
    decoder_on(name, &Device::flex())
}

fn decoder_on(name: &str, device: &Device) -> Decoder {
    let weights = Weights::open(&fixture(name)).expect("a checkpoint");
    load::open(&weights, device, FloatDType::F32).expect("a decoder")
}

/// A device of each backend that is compiled in and that this machine has: `cargo test --workspace --features wgpu`.
fn devices() -> Vec<(String, Device)> {
    let open = |name: framework::device::DeviceName| match framework::device::open(&name) {
        Ok(device) => Some((name.0, device)),
        Err(why) => {
            assert!(name.0 != "flex", "{why}");
            eprintln!("skipped on {}: {why}", name.0);
            None
        }
    };
    framework::device::built().into_iter().filter_map(open).collect()
}

/// Every family on every device.
fn families_on_devices() -> impl Iterator<Item = (String, &'static str, Device)> {
    let on = |(device_name, device): (String, Device)| {
        FAMILIES.map(|name| (format!("{name} on {device_name}"), name, device.clone()))
    };
    devices().into_iter().flat_map(on)
}

fn tokens(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_i64().expect("an id") as u32).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

fn logits(decoder: &Decoder, rows: &[Row]) -> Vec<f32> {
    let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.clone()).collect();
    values(decoder.logits(decoder.states(decoder.embed(&tokens), &decoder.layout(rows), None)))
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (n, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((f64::from(*a) - b).abs() <= tolerance, "{what}, number {n}: {a}, not {b}");
    }
}

const FAMILIES: [&str; 6] = ["llama", "mistral", "llama3", "qwen2", "qwen3", "mistral_window"];

#[test]
fn logits_agree_with_transformers() {
    for (what, name, device) in families_on_devices() {
        let (decoder, reference) = (decoder_on(name, &device), json(&format!("{name}/reference.json")));
        let ids = tokens(&reference["input_ids"]);
        let all = logits(&decoder, &[Row::plain(ids.clone())]);
        let rows: Vec<&[f32]> = all.chunks(decoder.architecture.vocab_size).collect();
        assert_close(&what, rows[ids.len() - 1], &floats(&reference["logits_last"]), 1e-4);
        let sums = rows.iter().map(|row| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln() as f32);
        assert_close(&what, &sums.collect::<Vec<_>>(), &floats(&reference["logsumexp"]), 1e-4);
    }
}

#[test]
fn greedy_tokens_agree_with_transformers() {
    for (what, name, device) in families_on_devices() {
        let (decoder, reference) = (decoder_on(name, &device), json(&format!("{name}/reference.json")));
        let mut row = tokens(&reference["input_ids"]);
        let mut cache = super::cache::Cache::new(decoder.layers.len(), &device);
        // Beside another row, so that rows are kept apart.
        let other = Row::plain(row[..7].to_vec());
        let mut states = decoder.read(&[other, Row::plain(row.clone())], &mut cache);
        for _ in 0..12 {
            let logits = values(decoder.logits(states));
            let best: Vec<u32> = logits.chunks(decoder.architecture.vocab_size).map(super::sampling::best).collect();
            row.push(best[1]);
            states = decoder.read_on(&best, &mut cache);
        }
        assert_eq!(row, tokens(&reference["greedy"]), "{what}");
    }
}

#[test]
fn branches_score_like_sequences_of_their_own() {
    for name in ["llama", "mistral_window"] {
        let decoder = decoder(name);
        let ids = tokens(&json(&format!("{name}/reference.json"))["input_ids"]);
        let sequences = [[&ids[..12], &[5, 6, 7]].concat(), [&ids[..12], &[8, 9]].concat(), ids[..14].to_vec()];
        let tree = Row::tree(&sequences);
        let together = logits(&decoder, &[Row::plain(vec![3, 4]), tree.clone()]);
        let vocabulary = decoder.architecture.vocab_size;
        for (n, sequence) in sequences.iter().enumerate() {
            let alone = logits(&decoder, &[Row::plain(sequence.clone())]);
            let (alone, branch) = (&alone[tree.prefix * vocabulary..], tree.branch(n));
            let branch = &together[(2 + branch.start) * vocabulary..(2 + branch.end) * vocabulary];
            let alone: Vec<f64> = alone.iter().map(|x| f64::from(*x)).collect();
            assert_close(name, branch, &alone, 1e-4);
        }
    }
}

#[test]
fn both_attentions_agree() {
    let heads = attention::Heads { queries: 4, keys: 2, width: 12 };
    let rope = super::rope::Rope { theta: 1e4, scaling: super::rope::Scaling::None };
    let device = Device::flex().autodiff();
    let sequence = |n: u32, len: u32| (0..len).map(|t| if t < 70 { t } else { t + n }).collect::<Vec<u32>>();
    for window in [None, Some(9)] {
        let rows = [Row::plain(vec![1; 5]), Row::tree(&[sequence(1, 90), sequence(100, 75), sequence(200, 150)])];
        let layout = Arc::new(super::layout::Layout::new(&rows, &rope, heads.width, window));
        let random = |wide: usize, seed: u64| {
            let mut rng = Rng::new(seed, "test");
            let values: Vec<f32> = (0..layout.tokens() * wide).map(|_| rng.normal() as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [layout.tokens(), wide]), &device).require_grad()
        };
        let measured = |attention: &dyn Fn([Tensor<2>; 3]) -> Tensor<2>| {
            let inputs = [random(48, 1), random(24, 2), random(24, 3)];
            let output = attention(inputs.clone());
            let gradients = (output.clone() * random(48, 4).detach()).sum().backward();
            let gradients = inputs.map(|input| values(input.grad(&gradients).expect("a gradient")));
            [vec![values(output.inner())], gradients.to_vec()].concat()
        };
        let ours = measured(&|inputs| attention::attention(inputs, heads, &layout));
        let composed = measured(&|inputs| composed::attention(inputs, heads, &layout));
        for (what, (a, b)) in ["result", "query", "key", "value"].iter().zip(ours.iter().zip(&composed)) {
            assert_close(what, a, &b.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), 2e-5);
        }
    }
}

/// The batch of a LoRA fixture as lessons, with the decoder and its adapter.
fn lora_case(case: &str) -> (Decoder, Lora, Value, Vec<super::tune::Lesson>) {
    lora_case_on(case, &Device::flex())
}

fn lora_case_on(case: &str, device: &Device) -> (Decoder, Lora, Value, Vec<super::tune::Lesson>) {
    let (decoder, lora) =
        lora::load(decoder_on("llama", device), &fixture(&format!("lora/{case}"))).expect("an adapter");
    let reference = json(&format!("lora/{case}/reference.json"));
    let rows =
        reference["input_ids"].as_array().expect("rows").iter().zip(reference["labels"].as_array().expect("rows"));
    let lesson = |(ids, labels): (&Value, &Value)| {
        let context = labels.as_array().expect("labels").iter().take_while(|label| **label == -100).count();
        super::tune::packed(&[(tokens(ids), context)], Learned::Answer)
    };
    let lessons = rows.map(lesson).collect();
    (decoder, lora, reference, lessons)
}

fn count(lessons: &[super::tune::Lesson]) -> f32 {
    lessons.iter().flat_map(|lesson| &lesson.targets).map(|(_, _, count)| count).sum()
}

#[test]
fn lora_gradients_agree_with_peft() {
    let on = |(_, device): (String, Device)| [("qv", device.clone()), ("all_rslora", device)];
    for (case, device) in devices().into_iter().flat_map(on) {
        let (decoder, _, reference, lessons) = lora_case_on(case, &device);
        let first = tokens(&reference["input_ids"][0]);
        let last = logits(&decoder, &[Row::plain(first.clone())]);
        let last = &last[(first.len() - 1) * decoder.architecture.vocab_size..];
        assert_close(case, last, &floats(&reference["logits_last"]), 1e-4);
        let (theirs, _) =
            framework::checkpoint::read(&fixture(&format!("lora/{case}/gradients.safetensors"))).expect("gradients");
        let lessons: Vec<&super::tune::Lesson> = lessons.iter().collect();
        let share = 1.0 / lessons.iter().flat_map(|l| &l.targets).map(|(_, _, n)| n).sum::<f32>();
        for checkpointing in [false, true] {
            let pass = super::tune::Pass { lessons: &lessons, share, checkpointing };
            let (loss, gradients) = pass.gradients(&decoder, &Rng::new(1, "test"));
            assert!((loss - reference["loss"].as_f64().expect("a loss")).abs() < 1e-4, "{case}: {loss}");
            let mut compared = 0;
            for (parameter, gradient) in parameters::read(&decoder).iter().zip(gradients) {
                match lora::peft_name(&parameter.path) {
                    None => assert!(gradient.is_none(), "{} is frozen", parameter.path),
                    Some(name) => {
                        let gradient = values(gradient.expect("a gradient"));
                        let theirs: Vec<f64> = theirs[&name].1.iter().map(|x| f64::from(*x)).collect();
                        assert_close(&name, &gradient, &theirs, 1e-4);
                        compared += 1;
                    }
                }
            }
            assert_eq!(compared, theirs.len());
        }
    }
}

#[test]
fn training_follows_pefts_curve() {
    for case in ["qv", "all_rslora"] {
        let (mut decoder, _, reference, lessons) = lora_case(case);
        let share = 1.0 / count(&lessons);
        let lessons: Vec<&super::tune::Lesson> = lessons.iter().collect();
        let mut adam = framework::adam::Adam::default();
        let mut losses = Vec::new();
        for _ in 0..50 {
            let pass = super::tune::Pass { lessons: &lessons, share, checkpointing: false };
            let (loss, gradients) = pass.gradients(&decoder, &Rng::new(1, "test"));
            losses.push(loss as f32);
            let rate = reference["optimizer"]["lr"].as_f64().expect("a step size");
            decoder = adam.step(decoder, gradients, rate, 0.01);
        }
        assert_close(case, &losses, &floats(&reference["losses"]), 1e-3);
    }
}

#[test]
fn an_adapter_is_saved_as_peft_saves_it() {
    let (decoder, lora, ..) = lora_case("all_rslora");
    let folder = tempfile::tempdir().expect("a folder");
    lora::save(&decoder, &lora, "base", folder.path()).expect("it is saved");
    let read = |path: PathBuf| framework::checkpoint::read(&path).expect("tensors").0;
    let name = "adapter_model.safetensors";
    assert_eq!(read(folder.path().join(name)), read(fixture("lora/all_rslora").join(name)));
    let (again, _) = lora::load(decoder.clone(), folder.path()).expect("it is read");
    let row = [Row::plain(vec![1, 2, 3])];
    assert_eq!(logits(&again, &row), logits(&decoder, &row));
    let (cut, _) = {
        // Not every layer of one name has an adapter: PEFT must be told which.
        let lora = Lora { target_modules: r"layers\.1\.self_attn\.q_proj".into(), ..framework::plugin::defaults() };
        let decoder = lora::attach(lora::merged(decoder.clone()), &lora, &Rng::new(1, "test")).expect("an adapter");
        let folder = tempfile::tempdir().expect("a folder");
        lora::save(&decoder, &lora, "base", folder.path()).expect("it is saved");
        lora::load(decoder, folder.path()).expect("it is read")
    };
    assert_eq!(lora::tensors(&cut).len(), 2);
    // Merged, it gives the same numbers.
    let merged: Vec<f64> = logits(&lora::merged(decoder.clone()), &row).iter().map(|x| f64::from(*x)).collect();
    assert_close("merged", &logits(&decoder, &row), &merged, 1e-4);
}

/// By PEFT 0.21.2 and transformers 5.24, which loads the adapter in `coloc` with the model.
#[test]
fn an_adapter_gives_the_logits_that_peft_gives() {
    let model = fixture("../cases/models/coloc");
    let base = load::open(&Weights::open(&model).expect("a checkpoint"), &Device::flex(), FloatDType::F32);
    let base = base.expect("a decoder");
    for (case, theirs) in [
        ("coloc", [0.279_810_43, -0.124_147_77, -0.961_137_06, 0.355_100_48, -1.115_726_83]),
        ("ad_bf16", [-0.002_159_87, 0.004_128_78, -0.321_358_86, -0.359_890_58, -0.471_410_1]),
    ] {
        let (decoder, _) = lora::load(base.clone(), &fixture(&format!("../cases/models/{case}"))).expect("an adapter");
        for decoder in [decoder.clone(), lora::merged(decoder)] {
            let ours = logits(&decoder, &[Row::plain(vec![5, 6, 7, 8])]);
            assert_close(case, &ours[3 * 320..][..5], &theirs, 1e-4);
        }
    }
}

#[test]
fn peft_gives_the_logits_of_an_adapter_trained_here() {
    let Some(python) = std::env::var_os("ABLATE_PYTHON") else {
        eprintln!("skipped: ABLATE_PYTHON names no Python");
        return;
    };
    let run = |arguments: &[&std::ffi::OsStr]| std::process::Command::new(&python).args(arguments).output();
    let has_peft = run(&["-c".as_ref(), "import torch, transformers, peft".as_ref()]);
    if !has_peft.expect("ABLATE_PYTHON starts").status.success() {
        eprintln!("skipped: the Python of ABLATE_PYTHON has no torch, transformers and peft");
        return;
    }
    for rank_stabilized in [false, true] {
        let lora = Lora { rank: 4, rank_stabilized, dropout: 0.0, ..framework::plugin::defaults() };
        let mut decoder = lora::attach(decoder("llama"), &lora, &Rng::new(1, "test")).expect("adapters");
        let lessons = lora_case("qv").3;
        let (share, lessons) = (1.0 / count(&lessons), lessons.iter().collect::<Vec<_>>());
        let mut adam = framework::adam::Adam::default();
        for _ in 0..10 {
            let pass = super::tune::Pass { lessons: &lessons, share, checkpointing: false };
            decoder = adam.step(decoder.clone(), pass.gradients(&decoder, &Rng::new(1, "test")).1, 1e-2, 0.0);
        }
        let folder = tempfile::tempdir().expect("a folder");
        lora::save(&decoder, &lora, "llama", folder.path()).expect("it is saved");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/adapter.py");
        let model = fixture("llama");
        let output = run(&[script.as_ref(), model.as_ref(), folder.path().as_ref(), "[5, 6, 7, 8]".as_ref()]);
        let output = output.expect("Python starts");
        let theirs = String::from_utf8_lossy(&output.stdout).trim().to_string();
        let theirs: Vec<Vec<f64>> = serde_json::from_str(theirs.lines().last().unwrap_or_default())
            .unwrap_or_else(|_| panic!("no logits: {}", String::from_utf8_lossy(&output.stderr)));
        let row = [Row::plain(vec![5, 6, 7, 8])];
        assert_close("PEFT's logits", &logits(&decoder, &row), &theirs.concat(), 1e-4);
    }
}

#[test]
fn a_resumed_tuning_ends_with_the_same_numbers() {
    use framework::error::Error;
    use framework::language::Tuning;
    let (decoder, _, _, lessons) = lora_case("qv");
    let tuning = Tuning { epochs: 3, batch_size: 2, learning_rate: 1e-2, ..framework::plugin::defaults() };
    let prepared = || super::tune::prepare(decoder.clone(), &tuning, &Rng::new(1, "test")).expect("adapters");
    let tune = |cx: &framework::context::Context, stop_at: usize| {
        let asked = std::cell::Cell::new(0);
        let validate = |_: &Decoder| {
            asked.set(asked.get() + 1);
            if asked.get() == stop_at { Err(Error::new("stopped")) } else { Ok(asked.get() as f64) }
        };
        super::tune::Tuner { lessons: lessons.clone(), tuning: &tuning, cx }.tune(prepared(), &validate)
    };
    let ((straight, _a), (stopped, _b)) = (crate::fixture::context(), crate::fixture::context());
    let expected = lora::tensors(&tune(&straight, 0).expect("it trains"));
    assert_ne!(expected, lora::tensors(&prepared()), "nothing was learned");
    assert!(tune(&stopped, 2).is_err());
    assert_eq!(stopped.epochs().len(), 1);
    let resumed = lora::tensors(&tune(&stopped, 0).expect("it goes on"));
    assert_eq!(resumed, expected);
}

/// The SmolLM2 of the environment, if there is one.
fn smollm2() -> Option<(Decoder, super::tokenizer::Tokenizer)> {
    let Some(path) = std::env::var_os("ABLATE_GGUF") else {
        eprintln!("skipped: ABLATE_GGUF does not name SmolLM2's GGUF");
        return None;
    };
    let weights = Weights::open(path.as_ref()).expect("a checkpoint");
    let decoder = load::open(&weights, &Device::flex(), FloatDType::F32).expect("a decoder");
    Some((decoder, weights.tokenizer().expect("a tokenizer")))
}

#[test]
fn smollm2_agrees_with_transformers() {
    let Some((decoder, tokenizer)) = smollm2() else { return };
    for prompt in json("smollm2_reference_logits.json")["prompts"].as_array().expect("prompts") {
        let text = prompt["text"].as_str().expect("a text");
        let ids = tokens(&prompt["token_ids"]);
        assert_eq!(tokenizer.encode(text).expect("tokens"), ids);
        let all = logits(&decoder, &[Row::plain(ids.clone())]);
        let rows: Vec<&[f32]> = all.chunks(decoder.architecture.vocab_size).collect();
        let best: Vec<u32> = rows.iter().map(|row| super::sampling::best(row)).collect();
        let argmax = |position: &Value| position["argmax"].as_u64().expect("an id") as u32;
        let theirs: Vec<u32> = prompt["per_position"].as_array().expect("positions").iter().map(argmax).collect();
        assert_eq!(best, theirs, "{text}");
        for top in prompt["last_pos_top20"].as_array().expect("logits") {
            let ours = rows[ids.len() - 1][top["id"].as_u64().expect("an id") as usize];
            let theirs = top["logit"].as_f64().expect("a logit");
            assert!((f64::from(ours) - theirs).abs() < 1e-3, "{text}: {ours}, not {theirs}");
        }
    }
}
