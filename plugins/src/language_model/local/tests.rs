use super::*;
use crate::fixture::context;
use framework::checkpoint::{self, Tensors};
use framework::language::Prompt;
use framework::plugin::Setting;
use framework::problem::Reader;
use serde_json::json;
use tempfile::TempDir;

const WEIGHTS: &str = "adapter_model.safetensors";

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cases/models").join(name)
}

/// A copy of the files of the case `coloc`: those of its base model, or those of its adapter.
fn part(adapter: bool) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(case("coloc")).expect("the case") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if name.starts_with("adapter") == adapter {
            std::fs::copy(&path, folder.path().join(name)).expect("a copy");
        }
    }
    folder
}

fn local(model: &Path, adapter: Option<&Path>) -> Local {
    let mut table = framework::toml::Table::new();
    table.insert("model".into(), model.display().to_string().into());
    adapter.map(|adapter| table.insert("adapter".into(), adapter.display().to_string().into()));
    Local::read(&framework::toml::Value::Table(table), &mut Reader::default()).expect("right settings")
}

/// What the model thinks of some answers.
fn scores(local: &Local) -> Result<Vec<f64>> {
    let (cx, _folder) = context();
    let model = local.open(&[], &cx)?;
    let prompts = ["w1 w2", "w5"].map(|text| Prompt::new("", text)).to_vec();
    let scores = model.score(&[prompts], &[" w7".into(), " w8".into(), " w9 w9".into()], &cx)?;
    Ok(scores.concat().concat())
}

fn message(local: &Local) -> String {
    scores(local).expect_err("it is wrong").to_string()
}

#[test]
fn an_adapter_in_the_models_folder_is_the_one_that_is_named() {
    let (base, adapter) = (part(false), part(true));
    let alone = scores(&local(base.path(), None)).expect("scores");
    let named = local(base.path(), Some(adapter.path()));
    let together = local(&case("coloc"), None);
    let with = scores(&named).expect("scores");
    assert!(alone.iter().zip(&with).all(|(a, b)| (a - b).abs() > 1e-6), "{alone:?} {with:?}");
    assert_eq!(with, scores(&together).expect("scores"), "it is never left out in silence");
    assert_eq!(with, scores(&local(&case("coloc"), Some(&case("coloc")))).expect("scores"));
    // Its bytes decide the model, so they are in the keys.
    let inputs = |local: &Local| local.inputs(Path::new("")).expect("hashes");
    assert_eq!(inputs(&named), inputs(&together));
    assert!(inputs(&named)[WEIGHTS].is_string() && inputs(&local(base.path(), None))[WEIGHTS].is_null());
    let (cx, _folder) = context();
    let identity = |local: &Local| local.open(&[], &cx).expect("a model").identity();
    assert_eq!(identity(&named)["base"], inputs(&named));
    let two = message(&local(&case("coloc"), Some(adapter.path())));
    assert!(two.contains("`adapter` names another one"), "{two}");
    let one = message(&local(adapter.path(), None));
    assert!(one.contains("holds an adapter and no model") && one.contains("adapter ="), "{one}");
    let none = message(&local(base.path(), Some(Path::new("nowhere"))));
    assert!(none.contains("no adapter at nowhere"), "{none}");
}

#[test]
fn an_adapter_is_described_with_its_model_and_alone() {
    let (base, adapter) = (part(false), part(true));
    let said = |local: &Local| local.describe(Path::new("")).expect("a description");
    assert_eq!(said(&local(base.path(), None))["adapter"], Value::Null);
    let with = said(&local(&case("coloc"), None));
    assert_eq!((&with["name"], &with["adapter"]["rank"]), (&json!("coloc"), &json!(8)));
    let alone = said(&local(adapter.path(), None));
    assert_eq!(alone["base"], "fe6e65c532872dac510f2dc173840acbdb1f330b730c51641888cce7bedd6cbb");
    assert_eq!(alone["target_modules"].as_array().map(Vec::len), Some(7));
    assert!(alone["use"].as_str().is_some_and(|text| text.contains("adapter = \"")), "{alone}");
}

#[test]
fn half_precision_is_read_and_pissa_is_refused() {
    let base = part(false);
    let alone = scores(&local(base.path(), None)).expect("scores");
    let half = scores(&local(base.path(), Some(&case("ad_bf16")))).expect("scores");
    assert!(half.iter().all(|score| score.is_finite()) && half != alone);
    let refused = message(&local(base.path(), Some(&case("ad_pissa"))));
    assert!(refused.contains("init_lora_weights = \"pissa\"") && refused.contains("fix:"), "{refused}");
}

/// `coloc`'s adapter with other tensors and other settings.
fn changed(settings: &Value, change: impl FnOnce(&mut Tensors)) -> TempDir {
    let folder = part(true);
    let (mut tensors, _) = checkpoint::read(&folder.path().join(WEIGHTS)).expect("tensors");
    change(&mut tensors);
    checkpoint::write(&folder.path().join(WEIGHTS), &tensors, "").expect("it is written");
    let file = folder.path().join(peft::CONFIG);
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    for (key, value) in settings.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    std::fs::write(file, config.to_string()).expect("a file");
    folder
}

#[test]
fn the_names_of_other_programs_are_read() {
    let base = part(false);
    let expected = scores(&local(&case("coloc"), None)).expect("scores");
    let renamed = |name: &dyn Fn(&str) -> String| {
        let adapter = changed(&Value::Null, |tensors| {
            *tensors = std::mem::take(tensors).into_iter().map(|(old, tensor)| (name(&old), tensor)).collect();
        });
        scores(&local(base.path(), Some(adapter.path())))
    };
    let others: [&dyn Fn(&str) -> String; 4] = [
        &|name| name.replace("base_model.model.model.", "base_model.model."),
        &|name| name.replace("base_model.model.", ""),
        &|name| name.replace(".weight", ".default.weight"),
        &|name| name.to_string(),
    ];
    for name in others {
        assert_eq!(renamed(name).expect("scores"), expected);
    }
    let message = renamed(&|name| name.replace("base_model.model.model.", "vision.")).expect_err("refused").to_string();
    assert!(message.contains("lacks the weights of `model.layers.0"), "{message}");
}

#[test]
fn what_is_wrong_with_an_adapter_is_said_once() {
    let base = part(false);
    let name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight";
    let says = |folder: &TempDir, parts: &[&str]| {
        let said = message(&local(base.path(), Some(folder.path())));
        parts.iter().for_each(|part| assert!(said.contains(part), "{part} is not in\n{said}"));
        assert!(said.contains("fix:"), "{said}");
    };
    says(&changed(&json!({ "r": 1_000_000_000_000u64 }), |_| {}), &["[8, 48]", "[1000000000000, 48]"]);
    says(&changed(&json!({ "use_dora": true }), |_| {}), &["use_dora = true", peft::CONFIG]);
    let only = json!({ "target_modules": ["q_proj"] });
    says(&changed(&only, |_| {}), &["has weights for", "target_modules does not name it"]);
    says(&changed(&Value::Null, |tensors| drop(tensors.remove(name))), &["shapes [] and"]);
    let nan = |tensors: &mut Tensors| {
        if let Some((_, values)) = tensors.get_mut(name) {
            values[3] = f32::NAN;
        }
    };
    says(&changed(&Value::Null, nan), &["layers.1.mlp.up_proj.lora_A.weight", "NaN"]);
    let head = "base_model.model.lm_head.lora_A.weight".to_string();
    says(
        &changed(&Value::Null, |tensors| drop(tensors.insert(head, (vec![1], vec![1.0])))),
        &["lm_head.lora_A", "no layer"],
    );
    let cut = part(true);
    let bytes = std::fs::read(cut.path().join(WEIGHTS)).expect("a file");
    for len in [0, 4, 100, bytes.len() - 1] {
        std::fs::write(cut.path().join(WEIGHTS), &bytes[..len]).expect("a file");
        says(&cut, &["cannot read the adapter's weights"]);
    }
    std::fs::remove_file(cut.path().join(WEIGHTS)).expect("a file");
    says(&cut, &["no adapter_model.safetensors"]);
    std::fs::write(cut.path().join("adapter_model.bin"), "").expect("a file");
    says(&cut, &["pickled"]);
    std::fs::write(cut.path().join(peft::CONFIG), "[]").expect("a file");
    says(&cut, &["no JSON object"]);
}
