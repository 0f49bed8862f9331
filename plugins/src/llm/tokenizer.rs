//! Texts to tokens and back. Conversations become texts in `chat`; what a GGUF header means is in `vocabulary`.

use super::added;
use super::architecture::{clipped, shown};
use super::chat::{ChatTemplate, Wrong};
use super::gguf::Gguf;
use super::vocabulary;
use super::weights::read_json_if_any;
use framework::error::{Error, Explain, Result};
use framework::language::Prompt;
use framework::store::hash_bytes;
use serde_json::{Map, Value, json};
use std::path::Path;
use tokenizers::AddedToken;

/// What a tokenizer is made of, wherever it comes from.
pub(crate) struct Parts {
    /// A `tokenizer.json`.
    pub(crate) tokenizer: String,
    /// Tokens that are found in a text besides those of the `tokenizer.json`, with the ids that they shall have.
    pub(crate) added: Vec<(u32, AddedToken)>,
    /// Tokens with a role, such as ending a text, wherever the vocabulary has them.
    pub(crate) special: Vec<String>,
    /// The chat template, Jinja; an error if it is not clear which.
    pub(crate) template: std::result::Result<Option<String>, Wrong>,
    /// The token that stands before a text.
    pub(crate) bos: Option<String>,
    /// The token that stands after a text.
    pub(crate) eos: Option<String>,
    /// Whether texts outside a conversation begin with `bos`; where it is unknown, the tokenizer is asked.
    pub(crate) adds_bos: Option<bool>,
    /// More tokens that end an answer.
    pub(crate) ends: Vec<u32>,
}

/// A model's tokenizer and chat template.
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    chat: ChatTemplate,
    bos: Option<u32>,
    end_tokens: Vec<u32>,
    /// The hash of the `tokenizer.json` and of what other files add to it.
    hash: String,
}

impl Tokenizer {
    /// From a Hugging Face folder: `tokenizer.json`, and `tokenizer_config.json` and others where they are.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self> {
        let file = folder.join("tokenizer.json");
        if !file.is_file() {
            let error = Error::new("the model has no tokenizer.json").at(folder.display());
            return Err(error.fix("the one that transformers' `save_pretrained` writes for a fast tokenizer"));
        }
        let optional = |name: &str| read_json_if_any(&folder.join(name));
        let (config, special) = (optional("tokenizer_config.json")?, optional("special_tokens_map.json")?);
        let token = |key: &str| {
            let text = |value: &Value| value.as_str().or(value["content"].as_str()).map(str::to_string);
            text(&config[key]).or_else(|| text(&special[key]))
        };
        let mut ends = Vec::new();
        for file in ["generation_config.json", "config.json"] {
            let ids = optional(file)?["eos_token_id"].take();
            let list = ids.as_array().into_iter().flatten().filter_map(Value::as_u64);
            ends.extend(list.chain(ids.as_u64()).map(|id| id as u32));
        }
        let roles = added::special([&config, &special]);
        let parts = Parts {
            tokenizer: read(&file)?,
            added: added::added(folder, &config, &roles)?,
            special: roles,
            template: template(folder, &config)?,
            bos: token("bos_token"),
            eos: token("eos_token"),
            adds_bos: None,
            ends,
        };
        Self::new(parts).map_err(|error| error.at(folder.display()))
    }

    /// From a GGUF file's header.
    pub(crate) fn from_gguf(file: &Gguf) -> Result<Self> {
        vocabulary::parts(file).and_then(Self::new).map_err(|error| error.at(file.path().display()))
    }

    fn new(parts: Parts) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(&parts.tokenizer).map_err(failed)?;
        inner.with_padding(None).with_truncation(None).map_err(failed)?;
        let more = added::add(&mut inner, &parts)?;
        let id = |token: &Option<String>| token.as_deref().and_then(|token| inner.token_to_id(token));
        let (bos, eos) = (id(&parts.bos), id(&parts.eos));
        let adds_bos = match parts.adds_bos {
            Some(adds) => adds,
            None => inner.encode("", true).map_err(failed)?.get_ids().first().is_some_and(|first| Some(*first) == bos),
        };
        let mut variables = Map::new();
        // A template writes the token itself where it belongs; the plain one writes it if it is given.
        let bos_text = parts.bos.filter(|_| !matches!(parts.template, Ok(None)) || adds_bos);
        variables.extend(bos_text.map(|token| ("bos_token".to_string(), token.into())));
        variables.extend(parts.eos.map(|token| ("eos_token".to_string(), token.into())));
        let mut tokenizer = Self {
            chat: ChatTemplate::new(parts.template, variables),
            bos: bos.filter(|_| adds_bos),
            end_tokens: Vec::new(),
            hash: hash_bytes((parts.tokenizer + &more).as_bytes()),
            inner,
        };
        for end in tokenizer.chat_end()?.into_iter().chain(eos).chain(parts.ends) {
            if !tokenizer.end_tokens.contains(&end) {
                tokenizer.end_tokens.push(end);
            }
        }
        Ok(tokenizer)
    }

    /// The special token that the template puts after an answer; none if it refuses conversations that end with one.
    fn chat_end(&self) -> Result<Option<u32>> {
        let answer = "Yes, this one.";
        let Ok(text) = self.chat(&Prompt::new("", "Which one?"), Some(answer)) else { return Ok(None) };
        let end = text.rsplit_once(answer).map(|(_, end)| self.encode(end)).transpose()?;
        let special = |token: String| self.inner.get_added_vocabulary().is_special_token(&token);
        Ok(end.into_iter().flatten().find(|&id| self.token(id).is_some_and(special)))
    }

    /// The tokens of `text`. Special tokens that it spells are recognized, none is added.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The text of `tokens`, without special ones.
    pub(crate) fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(failed)
    }

    /// The text of a conversation up to where the model goes on with its answer; or with `answer` and what ends it.
    ///
    /// It holds all special tokens that belong there, a BOS token too.
    pub(crate) fn chat(&self, prompt: &Prompt, answer: Option<&str>) -> Result<String> {
        self.chat.render(prompt, answer)
    }

    /// Gives the chat template more variables, such as Qwen 3's `enable_thinking`.
    #[must_use]
    pub(crate) fn with_variables(mut self, variables: Map<String, Value>) -> Self {
        self.chat.set(variables);
        self
    }

    /// The tokens that end an answer; the first is the one that the chat template puts there.
    pub(crate) fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The token that a text outside a conversation begins with, if the model was trained so.
    pub(crate) fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// All that decides tokens and texts.
    pub(crate) fn identity(&self) -> Value {
        json!({"tokenizer": self.hash, "chat_template": self.chat.hash(), "end_tokens": self.end_tokens})
    }

    /// An error if the model's chat template can render no conversation.
    pub(crate) fn check_template(&self) -> Result<()> {
        self.chat.check().map(|_| ())
    }

    /// The highest id that a token has, plus one.
    pub(crate) fn ids(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// How many tokens there are; a model may have more rows than that.
    pub(crate) fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the model brought a chat template.
    pub(crate) fn has_template(&self) -> bool {
        !self.chat.is_plain()
    }

    /// Tokens that stand for no text, in the order of their ids.
    pub(crate) fn special_tokens(&self) -> Vec<String> {
        let added = self.inner.get_added_tokens_decoder();
        let mut special: Vec<_> = added.iter().filter(|(_, token)| token.special).collect();
        special.sort_by_key(|(id, _)| **id);
        special.into_iter().map(|(_, token)| token.content.clone()).collect()
    }

    /// A token as the vocabulary spells it: `ĠYes` for ` Yes` in byte-level ones.
    pub(crate) fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }
}

/// The chat template of a folder: a file of its own, or in `config`, there also as a list of named ones.
fn template(folder: &Path, config: &Value) -> Result<std::result::Result<Option<String>, Wrong>> {
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        return read(&file).map(|text| Ok(Some(text)));
    }
    let list = |named: &serde_json::Map<String, Value>| {
        named.iter().map(|(name, template)| json!({ "name": name, "template": template })).collect()
    };
    let named: Vec<Value> = match &config["chat_template"] {
        Value::Null => return Ok(Ok(None)),
        Value::String(template) => return Ok(Ok(Some(template.clone()))),
        Value::Array(named) => named.clone(),
        Value::Object(named) => list(named),
        other => {
            let what = format!("the model's chat_template is {}, no template", shown(other));
            return Ok(Err(Wrong { what, fix: "a text, or texts by names" }));
        }
    };
    match named.iter().find(|one| one["name"] == "default").and_then(|one| one["template"].as_str()) {
        Some(template) => Ok(Ok(Some(template.to_string()))),
        None => {
            let names: Vec<_> = named.iter().map(|one| one["name"].as_str().unwrap_or_default()).collect();
            let what = format!("the model has several chat templates ({}), none of them `default`", names.join(", "));
            Ok(Err(Wrong { what, fix: "one of them in a file chat_template.jinja beside the tokenizer" }))
        }
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).explain("cannot read the file", path.display())
}

pub(super) fn failed(error: tokenizers::Error) -> Error {
    let what = format!("the tokenizer fails: {}", clipped(error.to_string()));
    Error::new(what).fix("the tokenizer's files as the model's makers publish them")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::weights::Weights;
    use super::Tokenizer;
    use framework::language::Prompt;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    /// A folder with a tokenizer of whole words that puts `<s>` before a text, and the given files.
    pub(crate) fn folder(files: &[(&str, Value)]) -> TempDir {
        let words = ["<s>", "</s>", "<end>", "?", "red", "blue", "[UNK]"];
        let vocab: Value = words.iter().zip(0..).map(|(word, id): (_, u32)| (*word, id)).collect();
        let added = |id: usize| {
            json!({
                "id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        };
        let tokenizer = json!({
            "version": "1.0",
            "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
            "padding": {
                "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "<s>",
            },
            "added_tokens": [added(0), added(1), added(2)],
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing", "pair": [],
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
            },
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
        });
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files.iter().chain(&[("tokenizer.json", tokenizer)]) {
            std::fs::write(folder.path().join(name), content.to_string()).expect("a file");
        }
        folder
    }

    const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.content }} <end>\n{% endfor %}";

    #[test]
    fn a_folder_gives_tokens_template_and_ends() {
        let config = json!({
            "bos_token": {"content": "<s>"}, "eos_token": "</s>",
            "chat_template": [{"name": "rag", "template": "!"}, {"name": "default", "template": TEMPLATE}],
        });
        let folder =
            folder(&[("tokenizer_config.json", config), ("generation_config.json", json!({"eos_token_id": [5]}))]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("a tokenizer");
        let text = tokenizer.chat(&Prompt::new("", "red ?"), Some("blue")).expect("a text");
        assert_eq!(text, "<s>red ? <end>\nblue <end>\n");
        // One BOS, neither padded nor cut.
        assert_eq!(tokenizer.encode(&text).expect("ids"), [0, 4, 3, 2, 5, 2]);
        assert_eq!(tokenizer.decode(&[0, 4, 3, 2]).expect("text"), "red ?");
        assert_eq!((tokenizer.bos(), tokenizer.vocab_size()), (Some(0), 7));
        assert_eq!(tokenizer.end_tokens(), [2, 1, 5]);
        assert_eq!((tokenizer.token(4).as_deref(), tokenizer.token(99)), (Some("red"), None));
    }

    #[test]
    fn a_template_in_a_file_of_its_own_comes_first() {
        let folder = folder(&[("tokenizer_config.json", json!({"chat_template": "no"}))]);
        let other = Tokenizer::from_folder(folder.path()).expect("a tokenizer").identity();
        std::fs::write(folder.path().join("chat_template.jinja"), "{{ messages[0].content }}!").expect("a file");
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("a tokenizer");
        assert_eq!(tokenizer.chat(&Prompt::new("", "red"), None).expect("a text"), "red!");
        assert_eq!(tokenizer.identity()["tokenizer"], other["tokenizer"]);
        assert_ne!(tokenizer.identity()["chat_template"], other["chat_template"]);
    }

    #[test]
    fn a_model_without_a_template_gets_a_plain_one() {
        let folder = folder(&[("special_tokens_map.json", json!({"bos_token": "<s>", "eos_token": "</s>"}))]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("a tokenizer");
        assert_eq!(tokenizer.chat(&Prompt::new("red", "?"), None).expect("a text"), "<s>red\n?\n");
        assert_eq!(tokenizer.end_tokens(), [1]);
    }

    /// What llama.cpp makes of 14 texts, Unicode and special tokens among them.
    #[test]
    fn smollm2_gets_the_tokens_that_llama_cpp_gives() {
        let Some(path) = std::env::var_os("ABLATE_GGUF") else {
            eprintln!("skipped: ABLATE_GGUF names no file of SmolLM2-135M-Instruct");
            return;
        };
        let tokenizer = Weights::open(path.as_ref()).and_then(|weights| weights.tokenizer()).expect("a tokenizer");
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model/smollm2_tokenizer_cases.json");
        let cases: Value = std::fs::read_to_string(file).expect("the fixture").parse().expect("JSON");
        let cases = cases["cases"].as_array().expect("a list");
        for case in cases {
            let text = case["text"].as_str().expect("a text");
            let ids = tokenizer.encode(text).expect("ids");
            assert_eq!(json!(ids), case["ids"], "{text}");
            assert_eq!(
                tokenizer.decode(&ids).expect("text"),
                text.replace("<|im_start|>", "").replace("<|im_end|>", "")
            );
        }
        assert_eq!(cases.len(), 14);
        assert_eq!((tokenizer.bos(), tokenizer.end_tokens(), tokenizer.vocab_size()), (None, &[2][..], 49152));
        let text = tokenizer.chat(&Prompt::new("Rank.", "Which?"), Some("This.")).expect("a text");
        let whole = "<|im_start|>system\nRank.<|im_end|>\n<|im_start|>user\nWhich?<|im_end|>\n\
            <|im_start|>assistant\nThis.<|im_end|>\n";
        assert_eq!(text, whole);
    }

    #[test]
    fn of_several_templates_one_is_the_default_or_none_can_be_rendered() {
        let config =
            json!({"chat_template": [{"name": "rag", "template": "!"}, {"name": "tool_use", "template": "?"}]});
        let folder = folder(&[("tokenizer_config.json", config)]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("a tokenizer");
        let error = tokenizer.chat(&Prompt::new("", "red"), None).expect_err("no default").to_string();
        assert!(error.contains("several chat templates (rag, tool_use), none of them `default`"), "{error}");
        assert_eq!(tokenizer.check_template().expect_err("no default").to_string(), error);
    }

    #[test]
    fn a_missing_tokenizer_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Tokenizer::from_folder(folder.path()).err().expect("an error").to_string();
        assert!(error.contains("has no tokenizer.json") && error.contains("fix:"), "{error}");
    }
}
