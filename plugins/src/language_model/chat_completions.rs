//! The JSON of OpenAI's chat completions, as vLLM, llama.cpp and Ollama speak it: what a request says and what an answer
//! means. Nothing here knows how either travels.

use framework::error::{Error, Result};
use framework::language::{Decoding, Finish, Generation, Prompt};
use framework::plugin::defaults;
use framework::rng::Rng;
use framework::store::hash_json;
use framework::toml::Table;
use serde_json::{Value, json};

/// How many tokens back llama.cpp looks for repetitions; it takes no word for "all", and this is as long as contexts get.
const REPETITIONS_WITHIN: usize = 1 << 17;

/// What is sent to have `prompt` answered by the model that the server calls `model`.
///
/// `seed` and the prompt give the seed of the answer, so that it does not depend on the other prompts. `extra` comes
/// last and so has the last word.
pub(crate) fn request(model: &str, prompt: &Prompt, decoding: &Decoding, seed: u64, extra: &Table) -> Value {
    let Decoding { max_tokens, temperature, top_k, top_p, repetition_penalty, stop, choices } = decoding;
    let mut body = json!({
        "model": model,
        "messages": prompt,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
    });
    if *temperature > 0.0 {
        // 31 bits are a seed to every server.
        body["seed"] = json!(Rng::new(seed, &hash_json(&json!(prompt))).bits() >> 33);
    }
    if !stop.is_empty() {
        body["stop"] = json!(stop);
    }
    // From here on vLLM's and llama.cpp's own fields, only where they are needed: OpenAI refuses what it does not know.
    if *top_k > 0 {
        body["top_k"] = json!(top_k);
    }
    if *repetition_penalty != 1.0 {
        body["repetition_penalty"] = json!(repetition_penalty);
        body["repeat_penalty"] = json!(repetition_penalty);
        body["repeat_last_n"] = json!(REPETITIONS_WITHIN);
    }
    if !choices.is_empty() {
        // A JSON string is a literal of llama.cpp's grammars, too.
        let literals: Vec<String> = choices.iter().map(|choice| json!(choice).to_string()).collect();
        body["structured_outputs"] = json!({ "choice": choices });
        body["grammar"] = json!(format!("root ::= {}", literals.join(" | ")));
    }
    for (key, value) in extra {
        body[key.as_str()] = json!(value);
    }
    body
}

/// The request for the likeliest first tokens of an answer to `prompt`, as many as servers give.
pub(crate) fn first_token_request(model: &str, prompt: &Prompt, extra: &Table) -> Value {
    let mut body = request(model, prompt, &defaults(), 0, extra);
    body["max_tokens"] = json!(1);
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(20);
    body
}

/// What a server wrote; `None` if `body` is no chat completion. Tokens that the server does not count are given as 0.
pub(crate) fn answer(body: &Value) -> Option<Generation> {
    let choice = &body["choices"][0];
    let text = match &choice["message"]["content"] {
        Value::String(text) => text.clone(),
        // Written by a model that spent all its tokens on thinking.
        Value::Null if choice["message"].is_object() => String::new(),
        _ => return None,
    };
    let finish = if choice["finish_reason"] == "length" { Finish::Length } else { Finish::Stop };
    let count = |key| body["usage"][key].as_u64().unwrap_or(0) as usize;
    Some(Generation { text, finish, prompt_tokens: count("prompt_tokens"), tokens: count("completion_tokens") })
}

/// `generation` if it is one of the decoding's choices or any text will do; white space around a choice is dropped.
pub(crate) fn chosen(generation: Generation, decoding: &Decoding) -> Result<Generation> {
    if decoding.choices.is_empty() {
        return Ok(generation);
    }
    match decoding.choices.iter().find(|choice| choice.trim() == generation.text.trim()) {
        Some(choice) => Ok(Generation { text: choice.clone(), ..generation }),
        None => {
            let (text, choices) = (shortened(&generation.text), decoding.choices.join(", "));
            Err(Error::new(format!("the answer `{text}` is none of the choices {choices}")).fix(
                "a server that keeps to `structured_outputs` (a recent vLLM) or `grammar` (llama.cpp), and \
                 `max_tokens` that hold every choice",
            ))
        }
    }
}

/// The log-likelihood of the first token of each of `answers`, from the answer to a `first_token_request`.
///
/// A server tells tokens by their text, and only the likeliest: an answer's token is the longest that the answer begins
/// with, white space before either aside. Where there is none, the least likelihood told is taken, which is an upper
/// bound. An error if the server told no likelihoods, or if two answers begin with the same token.
pub(crate) fn first_tokens(body: &Value, answers: &[String]) -> Result<Vec<f64>> {
    let told = body["choices"][0]["logprobs"]["content"][0]["top_logprobs"].as_array();
    let tokens: Vec<(&str, f64)> = told
        .into_iter()
        .flatten()
        .filter_map(|token| Some((token["token"].as_str()?.trim_start(), token["logprob"].as_f64()?)))
        .collect();
    let Some(least) = tokens.iter().map(|(_, logprob)| *logprob).min_by(f64::total_cmp) else {
        return Err(Error::new("the server tells no likelihoods (`top_logprobs`)")
            .fix("a server that does, such as vLLM or llama.cpp; or language_model = { use = \"local\", … }"));
    };
    let found: Vec<Option<(&str, f64)>> = answers
        .iter()
        .map(|answer| {
            let begins = tokens.iter().filter(|(token, _)| !token.is_empty() && answer.trim_start().starts_with(token));
            begins.copied().max_by(|a, b| a.0.len().cmp(&b.0.len()).then(a.1.total_cmp(&b.1)))
        })
        .collect();
    for (n, (answer, token)) in answers.iter().zip(&found).enumerate() {
        let same = |earlier: &Option<(&str, f64)>| earlier.zip(*token).is_some_and(|(a, b)| a.0 == b.0);
        if let Some(earlier) = found[..n].iter().position(same) {
            return Err(Error::new(format!(
                "a server tells only the first token's likelihood, and `{}` and `{answer}` begin with the same one",
                answers[earlier]
            ))
            .fix("answers that begin differently; or language_model = { use = \"local\", … }"));
        }
    }
    Ok(found.iter().map(|token| token.map_or(least, |(_, logprob)| logprob)).collect())
}

/// Why a model that is only spoken to has nothing to train, save or load.
pub(crate) fn untrainable() -> Error {
    Error::new("a served model cannot be trained here").fix("language_model = { use = \"local\", … }")
}

/// The message in a server's error, in any of the forms that are in use, or else the text itself.
pub(crate) fn said(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let message = [&parsed["error"]["message"], &parsed["error"], &parsed["message"], &parsed["detail"]];
    shortened(message.into_iter().find_map(Value::as_str).unwrap_or(body))
}

/// The beginning of a text, on one line.
pub(crate) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, chosen, first_tokens, request, said};
    use framework::language::{Decoding, Finish, Prompt};
    use framework::plugin::defaults;
    use framework::toml::Table;
    use serde_json::json;

    #[test]
    fn only_what_differs_from_the_defaults_goes_beyond_openai() {
        let prompt = Prompt::new("Be brief.", "Who?");
        let decoding: Decoding = defaults();
        let plain = request("m", &prompt, &decoding, 1, &Table::new());
        let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]);
        let expected = json!({"model": "m", "messages": messages, "max_tokens": 256, "temperature": 0.0, "top_p": 1.0});
        assert_eq!(plain, expected);
        let extra: Table = "top_p = 0.5\nchat_template_kwargs = { enable_thinking = false }".parse().expect("TOML");
        let choices = vec!["yes".to_string(), "a \"no\"".to_string()];
        let decoding = Decoding { temperature: 1.0, top_k: 3, repetition_penalty: 1.1, choices, ..decoding };
        let full = request("m", &prompt, &decoding, 1, &extra);
        assert_eq!(full["grammar"], r#"root ::= "yes" | "a \"no\"""#);
        assert_eq!(full["structured_outputs"]["choice"][1], "a \"no\"");
        assert_eq!((&full["top_k"], &full["repeat_penalty"]), (&json!(3), &json!(1.1)));
        assert_eq!((&full["top_p"], &full["chat_template_kwargs"]["enable_thinking"]), (&json!(0.5), &json!(false)));
        let seed = |prompt: &Prompt, seed| request("m", prompt, &decoding, seed, &Table::new())["seed"].as_u64();
        assert!(seed(&prompt, 1).is_some_and(|seed| seed < 1 << 31));
        assert_eq!(seed(&prompt, 1), seed(&prompt, 1));
        assert_ne!(seed(&prompt, 1), seed(&prompt, 2));
        assert_ne!(seed(&prompt, 1), seed(&Prompt::new("", "Who?"), 1));
    }

    #[test]
    fn an_answer_is_a_text_a_reason_and_two_counts() {
        let choice = json!({"message": {"content": "It was "}, "finish_reason": "length"});
        let whole = json!({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}});
        let whole = answer(&whole).expect("an answer");
        assert_eq!((whole.text.as_str(), whole.finish), ("It was ", Finish::Length));
        assert_eq!((whole.prompt_tokens, whole.tokens), (7, 2));
        let silent = json!({"choices": [{"message": {"content": null}, "finish_reason": "stop"}]});
        let silent = answer(&silent).expect("an answer");
        assert_eq!((silent.text.as_str(), silent.finish, silent.tokens), ("", Finish::Stop, 0));
        for wrong in [json!({"error": "busy"}), json!([]), json!("text"), json!({"choices": []}), json!(null)] {
            assert_eq!(answer(&wrong), None);
        }
    }

    #[test]
    fn a_choice_is_one_of_the_choices() {
        let decoding = Decoding { choices: vec!["yes".into(), "no".into()], ..defaults() };
        let said = |text: &str| answer(&json!({"choices": [{"message": {"content": text}}]})).expect("an answer");
        assert_eq!(chosen(said(" yes\n"), &decoding).expect("a choice").text, "yes");
        let message = chosen(said("yes, I think"), &decoding).expect_err("no choice").to_string();
        assert!(message.contains("`yes, I think` is none of the choices yes, no"), "{message}");
        assert_eq!(chosen(said(" any"), &defaults()).expect("any text").text, " any");
    }

    #[test]
    fn first_tokens_are_known_by_their_text() {
        let token = |text: &str, logprob: f64| json!({"token": text, "logprob": logprob});
        let top = [token("Y", -3.0), token(" Yes", -0.5), token("Yes", -0.9), token("", -1.0), token("For", -7.0)];
        let body = json!({"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]});
        let of = |answers: &[&str]| {
            let answers: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
            first_tokens(&body, &answers)
        };
        assert_eq!(of(&["No", "Yes", "Forrest Gump"]).expect("likelihoods"), [-7.0, -0.5, -7.0]);
        let message = of(&["Yes", "Yes, surely"]).expect_err("alike").to_string();
        assert!(message.contains("`Yes` and `Yes, surely` begin with the same"), "{message}");
        let message = first_tokens(&json!({"choices": [{}]}), &[]).expect_err("nothing").to_string();
        assert!(message.contains("tells no likelihoods"), "{message}");
    }

    #[test]
    fn a_server_s_error_is_found_in_any_form() {
        for body in [
            r#"{"error": {"message": "no such model"}}"#,
            r#"{"error": "no such model"}"#,
            r#"{"object": "error", "message": "no such model"}"#,
            "no such\nmodel",
        ] {
            assert_eq!(said(body), "no such model");
        }
        assert_eq!(said(&"long ".repeat(1000)).chars().count(), 301);
    }
}
