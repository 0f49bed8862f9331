//! A run's own low-rank adapter as a folder that PEFT opens, with the base model's real name in it: the store keeps it
//! in PEFT's files, but beside a hash of the base model, so that its bytes depend on nobody's folders.

use crate::ask;
use crate::trackers::new_folder;
use framework::ablation::Plan;
use framework::error::{Error, Explain, Result};
use framework::stage::leaves;
use framework::store::Store;
use framework::toml::Table;
use serde_json::Value;
use std::fs;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes the adapter that a run trained into `folder`, which must be new; gives its base model's name.
pub fn export(store: &Store, record: &Value, plan: &Plan, cache: &Path, folder: &Path) -> Result<String> {
    let id = record["run"].as_str().unwrap_or_default();
    let place = format!("run {id}");
    let files = record["outcome"]["checkpoint"].as_object();
    let of_run = |name: &str| files.and_then(|files| files.get(name)?.as_str());
    let name = files.into_iter().flatten().find_map(|(name, _)| name.strip_suffix(CONFIG));
    let Some((inside, config, weights)) = name.and_then(|inside| {
        Some((inside, of_run(&format!("{inside}{CONFIG}"))?, of_run(&format!("{inside}{WEIGHTS}"))?))
    }) else {
        let error = Error::new("the run trained no adapter").at(place);
        return Err(error.fix("a run of `llm` with fine_tuned = true and tuning.method = \"lora\""));
    };
    refuse_on_top(store, record)?;
    let base = base_name(plan, inside, cache)?;
    let (config, weights) = (store.get(config)?, store.get(weights)?);
    let text = fs::read(&config).explain("reading an adapter", config.display())?;
    let mut config: Value = serde_json::from_slice(&text).explain("reading an adapter", config.display())?;
    config["base_model_name_or_path"] = base.as_str().into();
    let text = serde_json::to_vec_pretty(&config).explain("writing an adapter", folder.display())?;
    new_folder(folder, |made| {
        fs::write(made.join(CONFIG), text).explain("writing an adapter", folder.display())?;
        fs::write(made.join("README.md"), card(&base, record)).explain("writing an adapter", folder.display())?;
        fs::copy(&weights, made.join(WEIGHTS)).explain("writing an adapter", folder.display()).map(|_| ())
    })?;
    Ok(base)
}

/// An error if the adapter was trained beside another one, of which its files say nothing.
fn refuse_on_top(store: &Store, record: &Value) -> Result<()> {
    let stages = record["stages"].as_array().into_iter().flatten();
    let key = stages.into_iter().find(|stage| stage["stage"] == "recommender").and_then(|stage| stage["key"].as_str());
    let stage = key.map(|key| store.stage_record(key)).transpose()?.flatten();
    let inputs = stage.map_or(Value::Null, |stage| stage.inputs["inputs"].clone());
    match leaves(&inputs).keys().any(|file| file.ends_with(CONFIG)) {
        false => Ok(()),
        true => Err(Error::new(
            "the run's adapter was trained on top of another adapter, without which it is worth nothing",
        )
        .at(format!("run {}", record["run"].as_str().unwrap_or_default()))
        .fix("that one merged into its base model (PEFT: `merge_and_unload`), and a run on the merged model")),
    }
}

/// What the model is called whose recommender's stage keeps the adapter in the folder `inside`.
fn base_name(plan: &Plan, inside: &str, cache: &Path) -> Result<String> {
    let whole = plan.table();
    let parts = inside.split('/').filter(|part| !part.is_empty());
    let table = ["recommender"].into_iter().chain(parts).try_fold(&whole, |table, part| table.get(part)?.as_table());
    let model = ask::first_in(table.unwrap_or(&whole))?;
    if let Ok(description) = model.describe(cache)
        && let Some(name) = description["name"].as_str()
    {
        return Ok(name.to_string());
    }
    // It is not on this machine, or no checkpoint at all: what the plan calls it.
    let settings = framework::plugin::Setting::write(&model);
    let named = settings.as_table().and_then(|table: &Table| table.get("model")?.as_str()).unwrap_or(model.name());
    let short = Path::new(named).file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(if Path::new(named).is_absolute() { short.unwrap_or_default() } else { named.to_string() })
}

/// The card that the model hub shows.
fn card(base: &str, record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let (run, name, variant, seed) = (text("run"), text("name"), text("variant"), &record["seed"]);
    format!(
        "---\nbase_model: {base}\nlibrary_name: peft\ntags:\n- lora\n---\n\nTrained with ablate: {name}, {variant}, seed \
         {seed}, run {run}.\n\n```python\nbase = transformers.AutoModelForCausalLM.from_pretrained(\"{base}\")\nmodel = \
         peft.PeftModel.from_pretrained(base, FOLDER)\n```\n"
    )
}
