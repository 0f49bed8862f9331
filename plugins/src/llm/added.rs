//! Tokens that are found in a text though the `tokenizer.json` does not say so: what other files of a folder add to it.

use super::tokenizer::{self, Parts};
use super::weights::read_json_if_any;
use framework::error::{Error, Result};
use serde_json::Value;
use std::path::Path;
use tokenizers::{AddedToken, Tokenizer};

/// Tokens that only the files beside a `tokenizer.json` declare: `added_tokens_decoder` of `config`, or else
/// `added_tokens.json`, of which those are `special` that have a role.
pub(super) fn added(folder: &Path, config: &Value, special: &[String]) -> Result<Vec<(u32, AddedToken)>> {
    let mut added = Vec::new();
    let wrong = |what: &str| Error::new(format!("cannot read {what}")).at(folder.display()).fix("an id for each token");
    if let Some(decoder) = config["added_tokens_decoder"].as_object() {
        for (id, token) in decoder {
            let content = token["content"].as_str().ok_or_else(|| wrong("`added_tokens_decoder`"))?;
            let flag = |key: &str| token[key].as_bool().unwrap_or(false);
            let token = AddedToken::from(content, flag("special"))
                .single_word(flag("single_word"))
                .lstrip(flag("lstrip"))
                .rstrip(flag("rstrip"))
                .normalized(token["normalized"].as_bool().unwrap_or(!flag("special")));
            added.push((id.parse().map_err(|_| wrong("`added_tokens_decoder`"))?, token));
        }
    } else if let Some(encoder) = read_json_if_any(&folder.join("added_tokens.json"))?.as_object() {
        for (content, id) in encoder {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong("added_tokens.json"))?;
            added.push((id, AddedToken::from(content.as_str(), special.contains(content))));
        }
    }
    added.sort_by_key(|(id, _)| *id);
    Ok(added)
}

/// The tokens that have a role in one of `files`: they stand for no text, whatever the vocabulary says of them.
pub(super) fn special(files: [&Value; 2]) -> Vec<String> {
    let keys = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let one = |value: &Value| value.as_str().or(value["content"].as_str()).map(str::to_string);
    let roles = files.into_iter().flat_map(|file| keys.map(|key| one(&file[key])));
    let more = files.into_iter().flat_map(|file| {
        ["additional_special_tokens", "extra_special_tokens"].map(|key| match &file[key] {
            Value::Array(list) => list.iter().map(one).collect(),
            Value::Object(table) => table.values().map(one).collect(),
            _ => Vec::new(),
        })
    });
    roles.chain(more.flatten()).flatten().collect()
}

/// Adds the tokens that are not there yet; what says which, for a hash.
pub(super) fn add(inner: &mut Tokenizer, parts: &Parts) -> Result<String> {
    let known = inner.get_added_vocabulary().get_vocab();
    let mut missing: Vec<AddedToken> = parts.added.iter().map(|(_, token)| token.clone()).collect();
    let special = parts.special.iter().filter(|token| inner.token_to_id(token).is_some());
    missing.extend(special.map(|token| AddedToken::from(token.as_str(), true)));
    missing.retain(|token| !known.contains_key(&token.content));
    let names = missing.iter().map(|token| format!("\n{token:?}")).collect();
    inner.add_tokens(missing).map_err(tokenizer::failed)?;
    for (id, token) in &parts.added {
        let got = inner.token_to_id(&token.content);
        if got != Some(*id) {
            let got = got.map_or("none".to_string(), |id| id.to_string());
            let what = format!("the token `{}` shall have the id {id}, but the tokenizer gives {got}", token.content);
            return Err(Error::new(what).fix("a tokenizer whose files agree"));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use crate::llm::tokenizer::Tokenizer;
    use crate::llm::tokenizer::tests::folder;
    use serde_json::{Value, json};

    /// As transformers 5.24 has it: one token each, wherever it is declared.
    #[test]
    fn tokens_that_only_other_files_declare_are_one_token_each() {
        let ids = |files: &[(&str, Value)]| {
            let folder = folder(files);
            Tokenizer::from_folder(folder.path()).and_then(|tokenizer| tokenizer.encode("red<a><b>blue blue?"))
        };
        let unknown = ids(&[]).expect("ids");
        assert_eq!(unknown.len(), 9, "`<`, `a` and `><` are no words: {unknown:?}");
        let token = |content: &str| json!({"content": content, "special": true, "normalized": false});
        let decoder = json!({"added_tokens_decoder": {"8": token("<b>"), "7": token("<a>"), "0": token("<s>")}});
        assert_eq!(ids(&[("tokenizer_config.json", decoder.clone())]).expect("ids"), [4, 7, 8, 5, 5, 3]);
        let encoder = json!({"<a>": 7, "<b>": 8});
        assert_eq!(ids(&[("added_tokens.json", encoder)]).expect("ids"), [4, 7, 8, 5, 5, 3]);
        let roles = json!({"additional_special_tokens": ["blue"], "pad_token": "<a>"});
        let folder = folder(&[("tokenizer_config.json", roles)]);
        let tokenizer = Tokenizer::from_folder(folder.path()).expect("a tokenizer");
        // A word of the vocabulary with a role is found within words, and one that the vocabulary lacks is not.
        assert_eq!(tokenizer.encode("redblue").expect("ids"), [4, 5]);
        assert_eq!(tokenizer.ids(), 7);
        let wrong = json!({"added_tokens_decoder": {"9": token("<a>")}});
        let error = ids(&[("tokenizer_config.json", wrong)]).expect_err("a gap").to_string();
        assert!(error.contains("`<a>` shall have the id 9, but the tokenizer gives 7"), "{error}");
    }
}
