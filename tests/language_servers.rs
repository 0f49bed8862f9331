//! Language models that are reached by network or by file: nothing is lost, asked twice or mixed up, whatever fails.
//!
//! The server stands in `server` and fails on a schedule. Where `ABLATE_PYTHON` names a Python with xllamacpp and
//! `ABLATE_GGUF` a model, it passes requests on to llama.cpp in between.

mod server;

use self::server::{Llama, Reply, Request, Server, completion, failing, question};
use framework::context::Context;
use framework::device::{self, DeviceName};
use framework::error::{Error, Result};
use framework::generations;
use framework::language::{Decoding, Example, Generation, Model, Prompt, Tuning};
use framework::plugin::{Pick, Setting, defaults};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::roles::LanguageModel;
use framework::store::hash_json;
use framework::toml::{Table, Value as Toml};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn prompts(count: usize) -> Vec<Prompt> {
    (0..count).map(|n| Prompt::new("", &format!("Say something about the number {n}"))).collect()
}

fn context(folder: &Path) -> Context {
    let device = device::open(&DeviceName("flex".into())).expect("flex is always there");
    Context::new(device, 1, folder.join("work"), folder.join("cache"), Progress::hidden())
        .with_generations(folder.join("generations"))
}

fn open(settings: &str, cx: &Context) -> Arc<dyn Model> {
    let table: Table = settings.parse().expect("TOML");
    let mut reader = Reader::default();
    let pick = Pick::<dyn LanguageModel>::read(&Toml::Table(table), &mut reader);
    let pick = pick.unwrap_or_else(|| panic!("{settings}: {:?}", reader.problems));
    pick.open(&[], cx).expect("it opens")
}

fn openai(url: &str, settings: &str, cx: &Context) -> Arc<dyn Model> {
    open(&format!("use = \"openai\"\nurl = \"{url}\"\nmodel = \"m\"\n{settings}\n"), cx)
}

/// Every line that was kept: the prompt's hash and the text.
fn kept(cx: &Context) -> Vec<(String, String)> {
    let folders = fs::read_dir(&cx.generations).into_iter().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.expect("a folder").path()).expect("a folder"));
    let files = files
        .map(|file| file.expect("a file").path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let text: String = files.map(|file| fs::read_to_string(file).expect("text")).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
    let part = |line: &Value, key: &str| line[key].as_str().expect("a text").to_string();
    lines.map(|line| (part(&line, "prompt"), part(&line, "text"))).collect()
}

/// Has `model` answer through the failures of `server`.
fn nothing_is_lost_or_mixed_up(server: &Server, model: &dyn Model, cx: &Context) {
    let (prompts, decoding) = (prompts(12), Decoding { max_tokens: 12, ..defaults() });
    let ask = || generations::generate(model, &prompts, &decoding, cx).expect("answers");
    let answers = ask();
    let said = server.said();
    assert_eq!(answers.len(), prompts.len());
    for (prompt, answer) in prompts.iter().zip(&answers) {
        assert!(!answer.text.trim().is_empty());
        assert_eq!(answer.text, said[&prompt.0[0].content]);
        assert!(answer.prompt_tokens > 0 && answer.tokens > 0);
    }
    let mut expected: Vec<(String, String)> =
        prompts.iter().zip(&answers).map(|(prompt, answer)| (hash_json(&json!(prompt)), answer.text.clone())).collect();
    let mut lines = kept(cx);
    expected.sort();
    lines.sort();
    assert_eq!(lines, expected, "each prompt is kept once");
    let count = server.count();
    assert!(count >= prompts.len() + 5, "each failure asks once more: {count}");
    assert_eq!(ask(), answers);
    assert_eq!(server.count(), count, "what is kept is not asked again");
}

#[test]
fn every_prompt_is_answered_through_every_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path());
    let server = Server::start(failing(Duration::from_millis(1500), completion));
    let model = openai(&server.url, "concurrency = 3\ntimeout = 1", &cx);
    nothing_is_lost_or_mixed_up(&server, &*model, &cx);
    let log = server.log.lock().expect("a log");
    let (refused, _) = log.iter().find(|(_, reply)| reply.status == 429).expect("a refusal");
    let again = log.iter().find(|(r, _)| question(r) == question(refused) && r.at > refused.at).expect("another try");
    assert!(again.0.at - refused.at >= Duration::from_secs(1), "Retry-After is kept to");
    assert!(log.iter().all(|(request, _)| request.head.starts_with("POST /v1/chat/completions ")));
}

/// A model whose user stops it after some answers.
struct Stopped<'a>(&'a dyn Model, usize);

impl Model for Stopped<'_> {
    fn identity(&self) -> Value {
        self.0.identity()
    }
    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        seed: u64,
        cx: &Context,
        done: &mut dyn FnMut(usize, Generation) -> Result<()>,
    ) -> Result<()> {
        let mut count = 0;
        self.0.generate(prompts, decoding, seed, cx, &mut |place, answer| {
            done(place, answer)?;
            count += 1;
            if count < self.1 { Ok(()) } else { Err(Error::new("stopped by the test")) }
        })
    }
    fn score(&self, groups: &[Vec<Prompt>], answers: &[String], cx: &Context) -> Result<Vec<Vec<Vec<f64>>>> {
        self.0.score(groups, answers, cx)
    }
    fn tune(
        &self,
        groups: &[Vec<Example>],
        tuning: &Tuning,
        validate: &dyn Fn(Arc<dyn Model>) -> Result<f64>,
        cx: &Context,
    ) -> Result<Arc<dyn Model>> {
        self.0.tune(groups, tuning, validate, cx)
    }
    fn save(&self, folder: &Path) -> Result<()> {
        self.0.save(folder)
    }
    fn load(&self, folder: &Path, cx: &Context) -> Result<Arc<dyn Model>> {
        self.0.load(folder, cx)
    }
}

#[test]
fn a_stopped_run_keeps_what_was_answered_and_asks_for_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path());
    let server = Server::start(|_, request| Reply { late: Duration::from_millis(20), ..completion(request) });
    let model = openai(&server.url, "concurrency = 4", &cx);
    let (prompts, decoding) = (prompts(40), defaults());
    let message = generations::generate(&Stopped(&*model, 10), &prompts, &decoding, &cx).expect_err("stopped");
    assert_eq!(message.to_string(), "stopped by the test");
    let before = kept(&cx).len();
    assert!((10..40).contains(&before), "{before} answers");
    assert_eq!(server.count(), before, "what the server answered is kept");
    let answers = generations::generate(&*model, &prompts, &decoding, &cx).expect("answers");
    assert_eq!(answers[39].text, "answer to Say something about the number 39");
    assert!(server.asked().values().all(|count| *count == 1), "{:?}", server.asked());
    assert_eq!(kept(&cx).len(), 40);
}

fn refusal(url: &str, settings: &str, decoding: &Decoding) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path());
    let model = openai(url, settings, &cx);
    generations::generate(&*model, &prompts(3), decoding, &cx).expect_err("a refusal").to_string()
}

#[test]
fn refusals_say_what_to_do_and_keep_the_key() {
    let server = Server::start(|_, request| Reply::new(401, json!({"error": {"message": request.head}})));
    // Set everywhere, and long enough not to stand in a message by chance.
    let key = std::env::var("PATH").expect("a path");
    let message = refusal(&server.url, "api_key_env = \"PATH\"\nconcurrency = 1", &defaults());
    assert!(server.log.lock().expect("a log")[0].0.head.contains(&format!("Bearer {key}")));
    assert!(!message.contains(&key), "{message}");
    assert!(message.contains("HTTP status 401") && message.contains("environment variable PATH"), "{message}");
    assert_eq!(server.count(), 1, "a wrong key does not become right");

    let server = Server::start(|_, _| Reply::new(404, json!({"message": "no model `m`"})));
    let message = refusal(&server.url, "api_key_env = \"UNSET\"\nconcurrency = 1", &defaults());
    assert!(message.contains("HTTP status 404: no model `m`") && message.contains(&server.url), "{message}");
    assert!(!server.log.lock().expect("a log")[0].0.head.to_lowercase().contains("authorization"));

    let server = Server::start(|_, request| completion(request));
    let message = refusal(&server.url, "", &Decoding { choices: vec!["yes".into()], ..defaults() });
    assert!(message.contains("is none of the choices yes"), "{message}");

    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let message = refusal(&format!("http://{nowhere}/v1"), "retries = 1", &defaults());
    for part in ["cannot be reached", "refused", "after 2 tries", &nowhere.to_string(), "\n  fix: a running server,"] {
        assert!(message.contains(part), "{message}");
    }

    let table: Table = "use = \"openai\"\nurl = \"localhost:8080\"\nmodel = \"m\"".parse().expect("TOML");
    let mut reader = Reader::default();
    Pick::<dyn LanguageModel>::read(&Toml::Table(table), &mut reader);
    assert_eq!(reader.problems[0].message, "`localhost:8080` is not a server's address");
}

#[test]
fn requests_keep_to_their_rate_and_likelihoods_to_their_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path());
    let server = Server::start(|_, request| completion(request));
    let model = openai(&server.url, "requests_per_minute = 600", &cx);
    let start = Instant::now();
    let groups = [prompts(4), prompts(1), vec![], prompts(2)];
    let scores = model.score(&groups, &["Yes".into(), "No".into()], &cx).expect("likelihoods");
    assert!(start.elapsed() >= Duration::from_millis(600), "seven requests, a tenth of a second apart");
    let expected: Vec<Vec<Vec<f64>>> =
        groups.iter().map(|group| (0..group.len()).map(|n| vec![-(n as f64), -99.0]).collect()).collect();
    assert_eq!(scores, expected);
    let message = model.tune(&[], &defaults(), &|_| Ok(0.0), &cx).err().expect("not here").to_string();
    assert!(message.contains("cannot be trained here") && message.contains("\"local\""), "{message}");
}

fn requests(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("requests.jsonl")).expect("requests");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What `vllm run-batch` writes for a request.
fn batch_answer(request: &Value) -> String {
    let text = format!("answer to {}", request["body"]["messages"][0]["content"].as_str().expect("a question"));
    let body = json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]});
    let response = json!({"status_code": 200, "request_id": "r", "body": body});
    format!("{}\n", json!({"id": "x", "custom_id": request["custom_id"], "response": response, "error": null}))
}

#[test]
fn a_batch_comes_back_in_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cx, batch) = (context(folder.path()), folder.path().join("batch"));
    let settings = format!("use = \"batch\"\nmodel = \"m\"\nfolder = \"{}\"\n", batch.display());
    let (model, prompts, decoding) = (open(&settings, &cx), prompts(6), defaults());
    let ask = || generations::generate(&*model, &prompts, &decoding, &cx);
    let message = ask().expect_err("unanswered").to_string();
    let command = format!(
        "`vllm run-batch -i {0}/requests.jsonl -o {0}/answers/1.jsonl --model m`, then run the same command again",
        batch.display()
    );
    assert!(message.contains("no answer yet to 6 of 6 prompts") && message.contains(&command), "{message}");
    let all = requests(&batch);
    assert_eq!(all.iter().map(|request| request["custom_id"].to_string()).collect::<BTreeSet<_>>().len(), 6);
    assert_eq!((&all[0]["method"], &all[0]["url"]), (&json!("POST"), &json!("/v1/chat/completions")));
    assert_eq!((&all[5]["body"]["model"], &all[5]["body"]["max_tokens"]), (&json!("m"), &json!(256)));

    let error = json!({"custom_id": all[4]["custom_id"], "response": {"status_code": 400, "body": null},
        "error": {"message": "the prompt is too long"}});
    let half: String = all[..3].iter().map(batch_answer).collect();
    fs::write(batch.join("answers/1.jsonl"), format!("{half}{error}\n{}", &half[..100])).expect("written");
    let message = ask().expect_err("half").to_string();
    let what = "no answer yet to 3 of 6 prompts; errors came back for 1, the first: the prompt is too long; \
                lines of answers that cannot be read: 1";
    assert!(message.contains(what) && message.contains("answers/2.jsonl"), "{message}");
    assert_eq!(requests(&batch), all[3..]);
    assert_eq!(kept(&cx).len(), 3);
    assert!(ask().expect_err("half").to_string().contains("3 of 3 prompts"));
    // Another revision's answers are others.
    let other = open(&format!("{settings}revision = \"b\"\n"), &cx);
    let message = generations::generate(&*other, &prompts, &decoding, &cx).expect_err("unanswered").to_string();
    assert!(message.contains("6 of 6"), "{message}");

    fs::write(batch.join("answers/2.jsonl"), all[3..].iter().map(batch_answer).collect::<String>()).expect("written");
    let texts: Vec<String> = ask().expect("answers").into_iter().map(|answer| answer.text).collect();
    let expected: Vec<_> = prompts.iter().map(|prompt| format!("answer to {}", prompt.0[0].content)).collect();
    assert_eq!(texts, expected);
    fs::remove_dir_all(&batch).expect("removed");
    assert_eq!(ask().expect("kept").len(), 6);
}

#[test]
fn llama_cpp_answers_through_every_failure() {
    let Some(llama) = Llama::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path());
    let address = llama.address.clone();
    let pass = move |request: &Request| Llama::answer(&address, request);
    let server = Server::start(failing(Duration::from_secs(21), pass));
    let model = openai(&server.url, "concurrency = 3\ntimeout = 20", &cx);
    nothing_is_lost_or_mixed_up(&server, &*model, &cx);

    let choices = vec!["Yes".to_string(), "No, \"never\"".to_string()];
    let prompts = [Prompt::new("Answer yes or no.", "Is the sky blue?"), Prompt::new("", "Is fire cold?")];
    let decoding = Decoding { choices: choices.clone(), repetition_penalty: 1.1, top_k: 5, ..defaults() };
    for answer in generations::generate(&*model, &prompts, &decoding, &cx).expect("choices") {
        assert!(choices.contains(&answer.text), "{}", answer.text);
    }
    let drawn = Decoding { temperature: 1.0, max_tokens: 12, ..defaults() };
    generations::generate(&*model, &prompts, &drawn, &cx).expect("texts");
    let scores = model.score(&[prompts.to_vec()], &choices, &cx).expect("likelihoods");
    assert!(scores[0].iter().flatten().all(|score| *score < 0.0 && *score > -100.0), "{scores:?}");
    assert_ne!(scores[0][0], scores[0][1]);
}
