//! What language models have written, kept per prompt: nothing is generated twice, whoever asks and however often the
//! program is killed.
//!
//! One folder per model, decoding and seed; in it a file of JSON lines for each process that wrote there, so that
//! processes never wait for one another. A line that a kill cut off is skipped, and its prompt asked again.

use crate::context::Context;
use crate::error::{Error, Explain, Result};
use crate::language::{Decoding, Generation, Model, Prompt};
use crate::plugin::Setting;
use crate::store::hash_json;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

#[derive(Serialize, Deserialize)]
struct Line {
    prompt: String,
    #[serde(flatten)]
    generation: Generation,
}

/// The answer of `model` to each of `prompts`, in order: those that were ever written are read, the others asked for.
pub fn generate(model: &dyn Model, prompts: &[Prompt], decoding: &Decoding, cx: &Context) -> Result<Vec<Generation>> {
    let drawn = (decoding.temperature > 0.0).then(|| cx.seed());
    let maker = json!({ "model": model.identity(), "decoding": decoding.write(), "seed": drawn });
    let folder = cx.generations.join(hash_json(&maker));
    let mut known = read(&folder)?;
    let keys: Vec<String> = prompts.iter().map(|prompt| hash_json(&json!(prompt))).collect();
    let mut missing: HashMap<&str, &Prompt> = HashMap::new();
    let mut asked = Vec::new();
    for (key, prompt) in keys.iter().zip(prompts) {
        if !known.contains_key(key) && missing.insert(key, prompt).is_none() {
            asked.push((key.clone(), prompt.clone()));
        }
    }
    tracing::info!(prompts = prompts.len(), asked = asked.len(), "generating");
    let found = keys.iter().collect::<HashSet<_>>().len() - asked.len();
    cx.spend(|cost| cost.texts_found += found as u64);
    if !asked.is_empty() {
        fs::create_dir_all(&folder).explain("making a folder for generated texts", folder.display())?;
        let described = serde_json::to_vec_pretty(&maker).explain("describing a model", folder.display())?;
        fs::write(folder.join("made_by.json"), described).explain("describing a model", folder.display())?;
        let mut file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile_in(&folder)
            .and_then(|file| file.keep().map(|(file, _)| file).map_err(Into::into))
            .explain("keeping generated texts", folder.display())?;
        let (keys, asked): (Vec<String>, Vec<Prompt>) = asked.into_iter().unzip();
        model.generate(&asked, decoding, drawn.unwrap_or(0), cx, &mut |place, generation| {
            let line = Line { prompt: keys[place].clone(), generation };
            cx.spend(|cost| {
                cost.texts_written += 1;
                cost.tokens_read += line.generation.prompt_tokens as u64;
                cost.tokens_written += line.generation.tokens as u64;
            });
            keep(&mut file, &line).explain("keeping a generated text", folder.display())?;
            known.insert(line.prompt, line.generation);
            cx.proceed()
        })?;
    }
    let answer = |key: &String| known.get(key).cloned().ok_or_else(|| Error::new("a prompt was left unanswered"));
    keys.iter().map(answer).collect()
}

/// Writes a line whole and waits until it is on the disk.
fn keep(file: &mut File, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

/// All that is whole in the files of `folder`.
fn read(folder: &Path) -> Result<HashMap<String, Generation>> {
    let mut known = HashMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(known) };
    for entry in entries {
        let path = entry.explain("reading generated texts", folder.display())?.path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let file = File::open(&path).explain("reading generated texts", path.display())?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.explain("reading generated texts", path.display())?;
            if let Ok(Line { prompt, generation }) = serde_json::from_slice(&line) {
                known.insert(prompt, generation);
            }
        }
    }
    Ok(known)
}
