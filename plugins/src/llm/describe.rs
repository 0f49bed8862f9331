//! What a checkpoint or an adapter is, for people who choose one. Of a checkpoint it reads no weights, only what the
//! files say of them.

use super::lora;
use super::peft::Config;
use super::tokenizer::Tokenizer;
use super::weights::{Weights, read_json_if_any};
use framework::error::Result;
use framework::language::Prompt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// Sizes, memory, tokenizer and source of the checkpoint at `path`, a folder or a `.gguf` file; and what its adapter is.
pub(crate) fn describe(path: &Path, adapter: Option<&Path>) -> Result<Value> {
    let weights = Weights::open(path)?;
    let of = weights.architecture();
    let (parameters, cached) = (of.parameters(), 2 * of.num_layers * of.num_kv_heads * of.head_dim);
    let at = |width: usize| json!({"weights": width * parameters, "cache_per_token": width * cached});
    // A model without a tokenizer cannot be used, but looked at.
    let tokenizer = match weights.tokenizer() {
        Ok(tokenizer) => describe_tokenizer(&tokenizer)?,
        Err(error) => json!({"error": error.to_string()}),
    };
    let source = weights.source()?;
    Ok(json!({
        "path": path.display().to_string(),
        "name": name(path, &source)?,
        "adapter": adapter.map(self::adapter).transpose()?,
        "source": source,
        "family": of.family,
        "parameters": parameters,
        "layers": of.num_layers,
        "hidden_size": of.hidden_size,
        "intermediate_size": of.intermediate_size,
        "heads": of.num_heads,
        "kv_heads": of.num_kv_heads,
        "head_dim": of.head_dim,
        "vocab_size": of.vocab_size,
        "tied": of.tied,
        "context_length": of.max_positions,
        "sliding_window": of.sliding_window,
        "tensors": weights.formats(),
        "unused": weights.unused(),
        "bytes": {"f32": at(4), "bf16_or_f16": at(2)},
        "tokenizer": tokenizer,
    }))
}

/// What a model is called: by its source, by its configuration, or else as its folder or file.
fn name(path: &Path, source: &Value) -> Result<String> {
    let configuration = if path.is_dir() { read_json_if_any(&path.join("config.json"))? } else { Value::Null };
    // transformers writes there where it loaded a model from, which may be a folder of somebody's machine.
    let is_name = |name: &&str| !name.is_empty() && !name.starts_with(['/', '.', '~']) && name.split('/').count() <= 2;
    if let Some(name) = source["name"].as_str().or(configuration["_name_or_path"].as_str().filter(is_name)) {
        return Ok(name.to_string());
    }
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let names = whole.ancestors().filter_map(|folder| folder.file_name()?.to_str());
    // The cache of Hugging Face's own programs: models--OWNER--NAME/snapshots/REVISION.
    if let Some(hub) = names.filter_map(|name| name.strip_prefix("models--")).next() {
        return Ok(hub.replace("--", "/"));
    }
    let own = if path.is_dir() { whole.file_name() } else { whole.file_stem() };
    Ok(own.unwrap_or_default().to_string_lossy().into_owned())
}

/// What the LoRA adapter in `folder` is, and how it is used.
pub(crate) fn adapter(folder: &Path) -> Result<Value> {
    let (config, tensors) = (Config::read(folder)?, lora::read(folder)?);
    let targets: BTreeSet<&str> = tensors.keys().filter_map(|name| name.rsplit('.').nth(1)).collect();
    let (path, base) = (folder.display().to_string(), config.base.clone().unwrap_or_else(|| "BASE".into()));
    Ok(json!({
        "path": path,
        "method": "LoRA, in PEFT's files",
        "base": config.base,
        "rank": config.lora.rank,
        "alpha": config.lora.alpha,
        "rank_stabilized": config.lora.rank_stabilized,
        "target_modules": targets,
        "parameters": tensors.values().map(|(_, values)| values.len()).sum::<usize>(),
        "use": match folder.join("config.json").is_file() {
            true => format!("language_model = {{ use = \"local\", model = \"{path}\" }}"),
            false => format!("language_model = {{ use = \"local\", model = \"{base}\", adapter = \"{path}\" }}"),
        },
    }))
}

fn describe_tokenizer(tokenizer: &Tokenizer) -> Result<Value> {
    let spelled = |id: &u32| tokenizer.token(*id);
    // Some templates have no place for instructions.
    let (question, instructions) = ("Which film shall I see?", "You recommend films.");
    let example = tokenizer.chat(&Prompt::new(instructions, question), None);
    let example = example.or_else(|_| tokenizer.chat(&Prompt::new("", question), None));
    let mut description = json!({
        "tokens": tokenizer.vocab_size(),
        "bos": tokenizer.bos().as_ref().and_then(spelled),
        "ends": tokenizer.end_tokens().iter().filter_map(spelled).collect::<Vec<_>>(),
        "special_tokens": tokenizer.special_tokens(),
        "chat_template": tokenizer.has_template(),
    });
    // A model whose template fails cannot be asked, but looked at.
    match example {
        Ok(example) => {
            description["example_tokens"] = tokenizer.encode(&example)?.len().into();
            description["example"] = example.into();
        }
        Err(error) => description["chat_template_error"] = error.to_string().into(),
    }
    Ok(description)
}
