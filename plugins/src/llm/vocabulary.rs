//! The tokenizer that a GGUF header describes, as the parts that `tokenizer` is made of. Not the reading of the header.

use super::chat::Wrong;
use super::gguf::Gguf;
use super::tokenizer::Parts;
use framework::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Llama 3's words: contractions in any case, at most three digits.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Qwen 2's and 3's: as Llama 3's, but single digits.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Mistral's since 2024: words also end where capitals follow small letters.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// What llama.cpp takes where a file does not say which words it has: cut by one pattern after another.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// The kinds of tokens (`tokenizer.ggml.token_type`) that are told apart here.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The parts of the tokenizer that the header of `file` describes.
pub(crate) fn parts(file: &Gguf) -> Result<Parts> {
    let vocabulary = Vocabulary::new(file)?;
    let id = |key: &str| vocabulary.get(key).and_then(Value::as_u64);
    let token = |key: &str| vocabulary.tokens.get(id(key)? as usize).map(|token| token.to_string());
    let (tokenizer, adds_bos) = vocabulary.tokenizer()?;
    let template = file.get("tokenizer.chat_template").and_then(Value::as_str).map(str::to_string);
    Ok(Parts {
        tokenizer: tokenizer.to_string(),
        added: Vec::new(),
        special: Vec::new(),
        template: match (template, file.strings("tokenizer.chat_templates")) {
            (None, Some(names)) => Err(Wrong {
                what: format!("the model has chat templates by name only ({})", names.join(", ")),
                fix: "a file with `tokenizer.chat_template`",
            }),
            (template, _) => Ok(template),
        },
        bos: token("bos_token_id"),
        eos: token("eos_token_id"),
        adds_bos: Some(vocabulary.get("add_bos_token").and_then(Value::as_bool).unwrap_or(adds_bos)),
        ends: ["eos_token_id", "eot_token_id", "eom_token_id"].into_iter().filter_map(id).map(|id| id as u32).collect(),
    })
}

/// What the header says about tokens, `[tokens]` each.
struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: Vec<Cow<'a, str>>,
    kinds: Vec<u64>,
}

impl<'a> Vocabulary<'a> {
    fn new(file: &'a Gguf) -> Result<Self> {
        let mut vocabulary = Self { file, tokens: Vec::new(), kinds: Vec::new() };
        vocabulary.tokens = vocabulary.strings("tokens")?;
        let tokens = vocabulary.tokens.len();
        for key in ["token_type", "scores"] {
            if let Some(count) = file.count(&name(key)).filter(|count| *count != tokens) {
                let what = format!("the header has {tokens} tokens, but a list `tokenizer.ggml.{key}` of {count}");
                return Err(Error::new(what).fix("another file"));
            }
        }
        vocabulary.kinds = match file.count(&name("token_type")) {
            Some(_) => vocabulary.numbers("token_type")?.into_iter().map(|kind| kind as u64).collect(),
            None => vec![NORMAL; tokens],
        };
        Ok(vocabulary)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.file.get(&name(key))
    }

    fn strings(&self, key: &str) -> Result<Vec<Cow<'a, str>>> {
        self.file.strings(&name(key)).ok_or_else(|| no_list(key))
    }

    fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        self.file.numbers(&name(key)).ok_or_else(|| no_list(key))
    }

    /// The tokenizer as a `tokenizer.json`, and whether it puts a BOS token before texts where the header does not say.
    fn tokenizer(&self) -> Result<(Value, bool)> {
        match self.get("model").and_then(Value::as_str).unwrap_or("missing") {
            "gpt2" => self.bytes(),
            "llama" => Ok((self.sentencepiece()?, true)),
            other => Err(refused("model", other, "gpt2, llama")),
        }
    }

    /// Byte-level pairs, as in GPT-2, Llama 3, Qwen, SmolLM.
    fn bytes(&self) -> Result<(Value, bool)> {
        let name = self.get("pre").and_then(Value::as_str).unwrap_or_else(|| {
            tracing::warn!(
                "the file does not say how its tokenizer cuts texts into words (`tokenizer.ggml.pre`): they are cut as \
                 llama.cpp does then, which may not be how the model was trained"
            );
            "default"
        });
        let regex = |regex: &str| {
            let pattern = json!({"Regex": regex});
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
        };
        let (words, whole_words, adds_bos) = match name {
            "default" => (DEFAULT.map(regex).to_vec(), false, false),
            "gpt-2" => (vec![], false, false),
            "smollm" => (vec![json!({"type": "Digits", "individual_digits": true})], false, false),
            "llama-bpe" | "llama3" | "llama-v3" => (vec![regex(LLAMA3)], true, true),
            "qwen2" | "deepseek-r1-qwen" => (vec![regex(QWEN2)], false, false),
            "tekken" => (vec![regex(TEKKEN)], true, true),
            other => return Err(refused("pre", other, "gpt-2, smollm, llama-bpe, qwen2, deepseek-r1-qwen, tekken")),
        };
        let (no, yes) = (false, true);
        let bytes =
            |cut: bool| json!({"type": "ByteLevel", "add_prefix_space": no, "trim_offsets": yes, "use_regex": cut});
        // GPT-2 cuts a text into words by a pattern that is part of `ByteLevel`.
        let split = words.into_iter().chain([bytes(matches!(name, "gpt-2" | "smollm"))]);
        let merges = self.strings("merges")?;
        let vocabulary = self.ids();
        if let Some(merge) = merges.iter().find(|merge| !vocabulary.contains_key(&merge.replacen(' ', "", 1))) {
            return Err(Error::new(format!("the header merges `{merge}` to what is no token")).fix("another file"));
        }
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": self.added(),
            "normalizer": name.contains("qwen").then(|| json!({"type": "NFC"})),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": split.collect::<Vec<_>>()},
            "decoder": bytes(true),
            "model": {"type": "BPE", "ignore_merges": whole_words, "vocab": vocabulary, "merges": merges},
        });
        Ok((tokenizer, adds_bos))
    }

    /// SentencePiece's pairs, as in Llama 2 and Mistral: what transformers makes of them. Pieces merge in the order of
    /// their scores, unknown characters become bytes, and spaces `▁`.
    fn sentencepiece(&self) -> Result<Value> {
        let scores = self.numbers("scores")?;
        let vocabulary = self.ids();
        let mut merges = Vec::new();
        for (token, (kind, score)) in self.tokens.iter().zip(self.kinds.iter().zip(&scores)) {
            for (cut, _) in token.char_indices().skip(1).filter(|_| *kind == NORMAL) {
                let (left, right) = token.split_at(cut);
                if let (Some(a), Some(b)) = (vocabulary.get(left), vocabulary.get(right)) {
                    merges.push((*score, a.as_u64(), b.as_u64(), (left, right)));
                }
            }
        }
        let lengths = |(left, right): (&str, &str)| (left.chars().count(), right.chars().count());
        merges.sort_by(|(x, a, b, pair), (y, c, d, other)| {
            y.total_cmp(x).then_with(|| lengths(*other).cmp(&lengths(*pair))).then_with(|| (a, b).cmp(&(c, d)))
        });
        let merges: Vec<_> = merges.into_iter().map(|(.., pair)| pair).collect();
        let prefix = self.get("add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
        let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let mut normalizers = vec![replace(" ", "▁")];
        let mut decoders = vec![replace("▁", " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.kinds.iter().position(|kind| *kind == UNKNOWN).map(|id| &self.tokens[id]);
        Ok(json!({
            "version": "1.0",
            "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": true,
                "vocab": vocabulary, "merges": merges,
            },
        }))
    }

    fn ids(&self) -> Map<String, Value> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.to_string(), id.into())).collect()
    }

    /// Tokens that are found in a text before it is cut into words.
    fn added(&self) -> Vec<Value> {
        let added = |(id, (token, kind)): (usize, (&Cow<str>, &u64))| {
            let special = matches!(*kind, UNKNOWN | CONTROL);
            (special || *kind == USER_DEFINED).then(|| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special,
                })
            })
        };
        self.tokens.iter().zip(&self.kinds).enumerate().filter_map(added).collect()
    }
}

fn name(key: &str) -> String {
    format!("tokenizer.ggml.{key}")
}

fn no_list(key: &str) -> Error {
    let error = Error::new(format!("the header has no list `tokenizer.ggml.{key}`"));
    error.fix("a GGUF file with a tokenizer, or the model in Hugging Face's format")
}

fn refused(key: &str, value: &str, supported: &str) -> Error {
    let error = Error::new(format!("`tokenizer.ggml.{key}` is `{value}`, which is not supported"));
    error.fix(format!("a file with one of: {supported}; or the model in Hugging Face's format"))
}

#[cfg(test)]
mod tests {
    use super::super::gguf::Gguf;
    use super::super::gguf::tests::{Writer, saved};
    use super::super::tokenizer::Tokenizer;
    use serde_json::{Value, json};

    fn read(header: Value) -> framework::error::Result<Tokenizer> {
        let mut file = Writer::default();
        for (key, value) in header.as_object().expect("a table") {
            file.value(&format!("tokenizer.ggml.{key}"), value);
        }
        let (path, _folder) = saved(&file.bytes());
        Tokenizer::from_gguf(&Gguf::open(&path)?)
    }

    /// The smallest SentencePiece vocabulary that spells `ab ab` and any byte.
    fn sentencepiece() -> Value {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let pieces = ["ab", "▁ab", "▁", "a", "b"].map(str::to_string);
        let tokens: Vec<String> =
            ["<unk>", "<s>", "</s>"].map(str::to_string).into_iter().chain(bytes).chain(pieces).collect();
        let kind = |id: usize| match id {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        };
        let kinds: Vec<u32> = (0..tokens.len()).map(kind).collect();
        let scores: Vec<f64> = (0..tokens.len()).map(|id| if id < 259 { 0.0 } else { 259.0 - id as f64 }).collect();
        json!({
            "model": "llama", "tokens": tokens, "token_type": kinds, "scores": scores,
            "bos_token_id": 1, "eos_token_id": 2,
        })
    }

    #[test]
    fn sentencepiece_merges_by_score_and_falls_back_to_bytes() {
        let tokenizer = read(sentencepiece()).expect("a tokenizer");
        let ids = tokenizer.encode("ab ab<s>é").expect("ids");
        // After a special token a space is put before the text, as transformers does.
        assert_eq!(ids, [260, 260, 1, 261, 3 + 0xC3, 3 + 0xA9]);
        assert_eq!(tokenizer.decode(&ids).expect("text"), "ab ab é");
        assert_eq!((tokenizer.bos(), tokenizer.end_tokens()), (Some(1), &[2][..]));
    }

    /// Pairs merge within words only, and each family has its own words.
    #[test]
    fn every_family_cuts_texts_into_its_words() {
        let tokens = ["a", "B", "1", "2", "3", "4", "Ġ", "12", "123", "aB", "<|im_end|>"];
        for (pre, words) in [
            ("default", "aB Ġ 123 4"),
            ("gpt-2", "aB Ġ 123 4"),
            ("smollm", "aB Ġ 1 2 3 4"),
            ("llama-bpe", "aB Ġ 123 4"),
            ("qwen2", "aB Ġ 1 2 3 4"),
            ("tekken", "a B Ġ 1 2 3 4"),
        ] {
            let kinds = [&[1; 10][..], &[3]].concat();
            let merges = ["1 2", "12 3", "a B"];
            let header = json!({"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": kinds, "merges": merges});
            let tokenizer = read(header).expect("a tokenizer");
            let ids = tokenizer.encode("aB 1234<|im_end|>").expect("ids");
            let (end, found) = ids.split_last().expect("ids");
            let found: Vec<_> = found.iter().map(|&id| tokens[id as usize]).collect();
            assert_eq!((found.join(" ").as_str(), *end), (words, 10), "{pre}");
            assert_eq!(tokenizer.decode(&ids).expect("text"), "aB 1234");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let message = |key: &str, value: &str| {
            let mut header = sentencepiece();
            header[key] = value.into();
            read(header).err().expect("it is refused").to_string()
        };
        let unknown = message("model", "t5");
        assert!(unknown.contains("`tokenizer.ggml.model` is `t5`") && unknown.contains("gpt2, llama"), "{unknown}");
        assert!(message("tokens", "none").contains("no list `tokenizer.ggml.tokens`"));
        let mut header = sentencepiece();
        header["model"] = "gpt2".into();
        header["pre"] = "bloom".into();
        assert!(read(header).err().expect("another").to_string().contains("`tokenizer.ggml.pre` is `bloom`"));
    }

    /// By llama.cpp's `regex_exprs` of a missing pre-tokenizer: signs and every three digits are words of their own.
    #[test]
    fn without_a_pre_tokenizer_texts_are_cut_as_by_llama_cpp() {
        let tokens = ["a", "!", "1", "2", "3", "4", "Ġ", "a!", "!!", "Ġa", "12", "123", "1234", "34"];
        let merges = ["a !", "! !", "Ġ a", "1 2", "12 3", "3 4", "123 4"];
        let tokenizer = read(json!({"model": "gpt2", "tokens": tokens, "merges": merges})).expect("a tokenizer");
        let ids = tokenizer.encode("a!! a 1234").expect("ids");
        let found: Vec<_> = ids.iter().map(|&id| tokens[id as usize]).collect();
        assert_eq!(found, ["a", "!!", "Ġa", "Ġ", "123", "4"]);
    }
}
