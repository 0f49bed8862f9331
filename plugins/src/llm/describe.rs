//! What a checkpoint is, for people who choose one. Reads no weights, only what the files say of them.

use super::tokenizer::Tokenizer;
use super::weights::Weights;
use framework::error::Result;
use framework::language::Prompt;
use serde_json::{Value, json};
use std::path::Path;

/// Sizes, memory, tokenizer and source of the checkpoint at `path`, a folder or a `.gguf` file.
pub(crate) fn describe(path: &Path) -> Result<Value> {
    let weights = Weights::open(path)?;
    let of = weights.architecture();
    let (parameters, cached) = (of.parameters(), 2 * of.num_layers * of.num_kv_heads * of.head_dim);
    let at = |width: usize| json!({"weights": width * parameters, "cache_per_token": width * cached});
    // A model without a tokenizer cannot be used, but looked at.
    let tokenizer = match weights.tokenizer() {
        Ok(tokenizer) => describe_tokenizer(&tokenizer)?,
        Err(error) => json!({"error": error.to_string()}),
    };
    Ok(json!({
        "path": path.display().to_string(),
        "source": weights.source()?,
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
