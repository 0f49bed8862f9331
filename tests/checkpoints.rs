//! Language models on disk: getting them, looking into them, asking them once.

use crate::program::{Program, Ran};
use serde_json::{Value, json};
use std::path::Path;

const LLAMA: &str = "tests/fixtures/language_model/llama";

/// The fixture `llama`, as if it had been fetched from the hub, with a tokenizer of as many words as it has tokens.
pub(crate) fn checkpoint(program: &Program) -> String {
    let folder = program.path("checkpoint");
    std::fs::create_dir(&folder).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(LLAMA).join(file), folder.join(file)).expect("a copy");
    }
    let special = ["<unk>", "<s>", "</s>"];
    let word = |id: usize| special.get(id).map_or(format!("w{id}"), |token| token.to_string());
    let vocab: Value = (0..320).map(|id| (word(id), json!(id))).collect::<serde_json::Map<_, _>>().into();
    let added = |id: usize| {
        json!({
            "id": id, "content": word(id), "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0), added(1), added(2)],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    let template = "{% for m in messages %}<s> {{ m.content }} </s>\n{% endfor %}";
    let revision = json!({"repository": "tiny/llama", "revision": "0123abc", "licence": "mit", "files": {}});
    for (name, content) in [
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template})),
        ("revision.json", revision),
    ] {
        std::fs::write(folder.join(name), content.to_string()).expect("a file");
    }
    folder.display().to_string()
}

fn description(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).expect("JSON")
}

fn refused(program: &Program, arguments: &[&str]) -> String {
    let ran = program.run(arguments);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "ablate {arguments:?}\n{}", ran.err);
    assert!(ran.err.contains("fix:"), "ablate {arguments:?}\n{}", ran.err);
    ran.err
}

#[test]
fn inspect_says_what_a_checkpoint_is() {
    let program = Program::new();
    let folder = checkpoint(&program);
    let is = description(&program.ok(&["inspect", &folder, "--json"]));
    // Embeddings once, since they are tied; two layers; the last norm.
    let layer = 48 * 48 * 2 + 2 * 16 * 48 + 3 * 96 * 48 + 2 * 48;
    let parameters = 320 * 48 + 2 * layer + 48;
    assert_eq!((&is["family"], &is["parameters"]), (&json!("llama"), &json!(parameters)));
    assert_eq!(is["bytes"]["f32"], json!({"weights": 4 * parameters, "cache_per_token": 4 * 2 * 2 * 16}));
    assert_eq!(is["bytes"]["bf16_or_f16"]["weights"], 2 * parameters);
    assert_eq!((&is["context_length"], &is["tensors"]), (&json!(256), &json!({"F32": 20})));
    assert_eq!(is["source"], json!({"name": "tiny/llama", "revision": "0123abc", "licence": "mit"}));
    let tokenizer = &is["tokenizer"];
    assert_eq!((&tokenizer["tokens"], &tokenizer["chat_template"]), (&json!(320), &json!(true)));
    assert_eq!(tokenizer["special_tokens"], json!(["<unk>", "<s>", "</s>"]));
    assert_eq!(tokenizer["ends"], json!(["</s>"]));
    assert_eq!(tokenizer["example"], "<s> You recommend films. </s>\n<s> Which film shall I see? </s>\n");
    let text = program.ok(&["inspect", &folder]).out;
    for line in ["family = \"llama\"", "source.licence = \"mit\"", "bytes.f32.cache_per_token = 256 (256 B)"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // A model without a tokenizer cannot be asked, but looked at.
    let bare = description(&program.ok(&["inspect", LLAMA, "--json"]));
    assert!(bare["tokenizer"]["error"].as_str().expect("an error").contains("no tokenizer.json"), "{bare:#}");
    assert!(refused(&program, &["generate", LLAMA, "--prompt", "w7"]).contains("no tokenizer.json"));
}

#[test]
fn generate_asks_a_checkpoint_or_the_model_of_a_spec() {
    let program = Program::new();
    let folder = checkpoint(&program);
    let ask = |more: &[&str]| {
        let all = [&["generate", folder.as_str(), "--prompt", "w7 w8", "--set", "max_tokens = 6"], more].concat();
        program.ok(&all)
    };
    let (greedy, again) = (ask(&[]), ask(&["--system", ""]));
    assert_eq!(greedy.out, again.out);
    // Special tokens of the two messages' texts are read, too.
    assert!(greedy.err.contains("4 tokens read, "), "{}", greedy.err);
    assert!(greedy.err.contains("tokens per second"), "{}", greedy.err);
    assert!(ask(&["--system", "w9"]).err.contains("7 tokens read, "));
    let drawn = |seed: &str| ask(&["--set", "temperature = 5", "--seed", seed]).out;
    assert_eq!(drawn("1"), drawn("1"));
    assert_ne!(drawn("1"), drawn("2"));
    let spec = "name = \"tiny\"\n[dataset]\nuse = \"world\"\nusers = 80\nitems = 40\nmax_interactions = 20\n[recommender]\nuse = \"llm\"\n";
    let spec = program.file("tiny.toml", spec);
    let choices = ["--set", "choices = [\"Yes\", \"No\"]"];
    let arguments = [&["generate", spec.as_str(), "--prompt", "Which?"], &choices[..]].concat();
    let answer = program.ok(&arguments).out;
    assert!(["Yes\n", "No\n"].contains(&answer.as_str()), "{answer}");
}

#[test]
fn what_is_wrong_with_a_model_or_a_question_is_said() {
    let program = Program::new();
    let folder = checkpoint(&program);
    let says = |arguments: &[&str], parts: &[&str]| {
        let message = refused(&program, arguments);
        parts.iter().for_each(|part| assert!(message.contains(part), "{part} is not in\n{message}"));
    };
    says(&["inspect", "smolm2-135m"], &["no model at smolm2-135m", "`ablate fetch smollm2-135m`"]);
    says(&["inspect", "smollm2-135m"], &["`ablate fetch smollm2-135m` first"]);
    says(&["generate", "owner/name", "--prompt", "?"], &["`ablate fetch owner/name` first"]);
    says(&["inspect", "zzz"], &["a checkpoint's path", "smollm2-135m", "OWNER/NAME"]);
    says(&["inspect", "tests"], &["the folder has no config.json", "model.safetensors"]);
    let damaged = Path::new(&folder).join("model.safetensors");
    std::fs::write(&damaged, "no tensors").expect("a file");
    says(&["inspect", &folder], &["cut short"]);
    let two = program.path("two");
    std::fs::create_dir(&two).expect("a folder");
    ["a.gguf", "b.gguf"].iter().for_each(|name| std::fs::write(two.join(name), "").expect("a file"));
    says(&["inspect", &two.display().to_string()], &["holds 2 .gguf files"]);
    std::fs::remove_file(two.join("b.gguf")).expect("a file");
    says(&["inspect", &two.display().to_string()], &["cannot read the header", "a.gguf"]);
    says(&["fetch", "smolm2-135m"], &["no dataset or model", "did you mean `smollm2-135m`?", "ml-100k", "OWNER/NAME"]);
    says(&["fetch", "a/b/c"], &["no name of a model"]);
    says(&["fetch", "amazon-2032:Toys"], &["did you mean `amazon-2023`?", "amazon-2023:CATEGORY"]);
    says(&["fetch", "amazon-2023"], &["a category is missing", "`ablate fetch amazon-2023:CATEGORY`", "github.io"]);
    says(&["fetch", "steam:x"], &["no categories", "`ablate fetch steam`"]);
    let copy = ["LLaRA's LastFM cannot be downloaded", "joyliao7777/LLaRA", "`ablate fetch lastfm --from FOLDER`"];
    says(&["fetch", "lastfm"], &copy);
    let asks = |more: [&str; 2], parts: &[&str]| {
        says(&[&["generate", &folder, "--prompt", "w7"], &more[..]].concat(), parts);
    };
    asks(["--set", "max_token = 1"], &["unknown key `max_token`", "did you mean `max_tokens`?"]);
    asks(["--set", "max_tokens = 0"], &["0 is out of range", "max_tokens"]);
    asks(["--device", "gpu"], &["no device is called `gpu`"]);
    let spec = program.file("small.toml", crate::program::SMALL);
    says(&["generate", &spec, "--prompt", "?"], &["the spec names no language model"]);
}

/// SmolLM2 as users get it: by name, from a copy of its only file.
#[test]
fn a_fetched_gguf_is_known_by_name() {
    let Some(file) = std::env::var_os("ABLATE_GGUF") else {
        eprintln!("skipped: ABLATE_GGUF names no file of SmolLM2-135M-Instruct");
        return;
    };
    let program = Program::new();
    program.ok(&["fetch", "smollm2-135m", "--from", &file.to_string_lossy()]);
    let is = description(&program.ok(&["inspect", "smollm2-135m", "--json"]));
    assert_eq!((&is["parameters"], &is["source"]["licence"]), (&json!(134_515_008), &json!("apache-2.0")));
    assert_eq!(is["tensors"], json!({"F32": 61, "Q4_1": 210, "Q8_0": 1}));
    assert!(is["tokenizer"]["example"].as_str().expect("a text").starts_with("<|im_start|>system\nYou recommend"));
    let question =
        ["generate", "smollm2-135m", "--prompt", "What is the capital of France?", "--set", "max_tokens = 8"];
    assert!(program.ok(&question).out.contains("Paris"));
}
