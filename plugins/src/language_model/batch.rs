//! A model that is asked by file: requests are written for others to answer, and answers read where they left them.
//! Nothing is sent from here; what requests and answers say is in `chat_completions`.

use super::chat_completions::{answer, chosen, request, said, shortened, untrainable};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::language::{Decoding, Example, Generation, Model, Prompt, Tuning};
use framework::roles::LanguageModel;
use framework::store::hash_json;
use framework::toml::Table;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

framework::plugin! {
    /// A model that answers in batches: `vllm run-batch`, or any service that takes OpenAI's batch files.
    ///
    /// A run that finds prompts without an answer writes them to `requests.jsonl` in `folder` and ends with the command
    /// that has them answered. The same run, begun again, goes on with the answers. Requests that came back as errors
    /// are written again. It gives texts only: no likelihoods, no training.
    pub struct Batch: LanguageModel = "batch" {
        /// Where `requests.jsonl` is written.
        folder: PathBuf,
        /// The folder below it that answers are read from, all that lies in `*.jsonl`; or a path of its own.
        answers: PathBuf = "answers".into(),
        /// The name of the model, as in each request.
        model: String,
        /// A word for the weights that answer. It is part of the model's identity, which the folder is not.
        revision: String = String::new(),
        /// Fields added to each request, as in `{ min_p = 0.0, chat_template_kwargs = { enable_thinking = false } }`.
        extra: Table = Table::new(),
    }
}

impl LanguageModel for Batch {
    fn open(&self, _texts: &[String], _cx: &Context) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(self.clone()))
    }
}

/// What the files of answers hold for those who asked.
#[derive(Default)]
struct Answers {
    texts: HashMap<String, Generation>,
    /// Why a request came back without a text.
    refused: HashMap<String, String>,
    /// Lines that are not JSON, such as the last one of a killed program.
    unreadable: usize,
}

impl Batch {
    /// What identifies a request: all that decides its answer.
    fn id(&self, body: &Value) -> String {
        hash_json(&json!({ "body": body, "revision": self.revision }))
    }
}

impl Answers {
    fn add(&mut self, line: &[u8], asked: &HashSet<&str>, decoding: &Decoding) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            self.unreadable += 1;
            return;
        };
        let Some(id) = line["custom_id"].as_str().filter(|id| asked.contains(id)) else { return };
        let (response, error) = (&line["response"], &line["error"]);
        let good = error.is_null() && response["status_code"].as_u64().is_none_or(|status| status == 200);
        let outcome = match answer(&response["body"]).filter(|_| good) {
            Some(answer) => chosen(answer, decoding).map_err(|error| shortened(&error.to_string())),
            None if error.is_null() => Err(said(&response["body"].to_string())),
            None => Err(said(&error.to_string())),
        };
        match outcome {
            Ok(text) => {
                self.texts.entry(id.into()).or_insert(text);
            }
            Err(reason) => {
                self.refused.insert(id.into(), reason);
            }
        }
    }
}

/// Reads the answers to the requests in `asked`; of several to one, the first in the order of file names counts.
fn read_answers(folder: &Path, asked: &HashSet<&str>, decoding: &Decoding) -> Result<Answers> {
    let mut answers = Answers::default();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(answers) };
    let files: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = files.explain("looking for answers", folder.display())?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    for path in files {
        let file = File::open(&path).explain("reading answers", path.display())?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.explain("reading answers", path.display())?;
            if !line.trim_ascii().is_empty() {
                answers.add(&line, asked, decoding);
            }
        }
    }
    let Answers { texts, refused, .. } = &mut answers;
    refused.retain(|id, _| !texts.contains_key(id));
    Ok(answers)
}

/// Replaces the file of requests by one with these prompts, whole or not at all.
fn write_requests<'a>(path: &Path, lines: impl Iterator<Item = (&'a String, Value)>) -> io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = BufWriter::new(File::create(&part)?);
    for (id, body) in lines {
        let line = json!({ "custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body });
        writeln!(file, "{line}")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(part, path)
}

impl Model for Batch {
    fn identity(&self) -> Value {
        json!({ "plugin": "batch", "model": self.model, "revision": self.revision, "extra": self.extra })
    }

    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        seed: u64,
        _cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let body = |prompt| request(&self.model, prompt, decoding, seed, &self.extra);
        let ids: Vec<String> = prompts.iter().map(|prompt| self.id(&body(prompt))).collect();
        let mut missing: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let folder = self.folder.join(&self.answers);
        let answers = read_answers(&folder, &missing, decoding)?;
        for (place, id) in ids.iter().enumerate() {
            if let Some(text) = answers.texts.get(id) {
                done(place, text.clone())?;
                missing.remove(id.as_str());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut what = format!("no answer yet to {} of {} prompts", missing.len(), prompts.len());
        if let Some(reason) = ids.iter().find_map(|id| answers.refused.get(id)) {
            what += &format!("; errors came back for {}, the first: {reason}", answers.refused.len());
        }
        if answers.unreadable > 0 {
            what += &format!("; lines of answers that cannot be read: {}", answers.unreadable);
        }
        let requests = self.folder.join("requests.jsonl");
        fs::create_dir_all(&folder).explain("making a folder for answers", folder.display())?;
        let lines = ids.iter().zip(prompts).filter(|(id, _)| missing.remove(id.as_str()));
        let written = write_requests(&requests, lines.map(|(id, prompt)| (id, body(prompt))));
        written.explain("writing requests", requests.display())?;
        let free = (1..).map(|n| folder.join(format!("{n}.jsonl"))).find(|path| !path.exists());
        let output = free.unwrap_or(folder);
        Err(Error::new(what).at(requests.display()).fix(format!(
            "`vllm run-batch -i {} -o {} --model {}`, then run the same command again",
            requests.display(),
            output.display(),
            self.model
        )))
    }

    fn score(&self, _groups: &[Vec<Prompt>], _answers: &[String], _cx: &Context) -> Result<Vec<Vec<Vec<f64>>>> {
        Err(Error::new("batches give texts, no likelihoods").fix("language_model = { use = \"local\", … }"))
    }

    fn tune(
        &self,
        _groups: &[Vec<Example>],
        _tuning: &Tuning,
        _validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        _cx: &Context,
    ) -> Result<Arc<dyn Model>> {
        Err(untrainable())
    }

    fn save(&self, _folder: &Path) -> Result<()> {
        Err(untrainable())
    }

    fn load(&self, _folder: &Path, _cx: &Context) -> Result<Arc<dyn Model>> {
        Err(untrainable())
    }
}
