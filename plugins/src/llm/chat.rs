//! Conversations as the texts that a model was trained on: its chat template, in Jinja, rendered as transformers does.
//! Not tokens.

use framework::error::{Error, Explain, Result};
use framework::language::{Message, Prompt, Speaker};
use framework::store::hash_bytes;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, context};
use regex::{Captures, Regex};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use std::io::{self, Write};

/// The template of a model that has none: texts line by line, and the model's end token after an answer.
const PLAIN: &str = "{{ bos_token }}{% for message in messages %}{{ message.content }}\
    {{ eos_token if message.role == 'assistant' else '\\n' }}{% endfor %}";

/// The day that templates are told it is, so that a prompt does not depend on when it is sent: what Llama 3's template
/// assumes when it cannot ask.
const TODAY: [(&str, &str); 8] = [
    ("%d", "26"),
    ("%m", "07"),
    ("%b", "Jul"),
    ("%B", "July"),
    ("%Y", "2024"),
    ("%y", "24"),
    ("%a", "Fri"),
    ("%A", "Friday"),
];

/// A chat template and what it is given besides the conversation.
pub(crate) struct ChatTemplate {
    templates: Environment<'static>,
    source: String,
    variables: Map<String, Value>,
}

impl ChatTemplate {
    /// `source` is Jinja, a plain template if there is none; `variables` such as `bos_token`.
    pub(crate) fn new(source: Option<&str>, variables: Map<String, Value>) -> Result<Self> {
        let source = source.unwrap_or(PLAIN).to_string();
        let wrong = "cannot read the model's chat template";
        // Marks what a model writes itself; transformers' own extension of Jinja.
        let marks = Regex::new(r"\{%(-?)\s*(end)?generation\s*(-?)%\}").explain(wrong, "a pattern")?;
        let plain = marks.replace_all(&source, |found: &Captures| {
            let tag = if found.get(2).is_some() { "endif" } else { "if true" };
            format!("{{%{} {tag} {}%}}", &found[1], &found[3])
        });
        let mut templates = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(syntax.explain(wrong, "its syntax")?);
        templates.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        templates.add_function("raise_exception", |message: String| Err::<String, _>(refusal(message)));
        templates.add_function("strftime_now", today);
        templates.add_filter("tojson", json_like_python);
        templates.add_template_owned("chat", plain.into_owned()).map_err(|error| {
            Error::new(format!("{wrong}: {error}")).fix("a template in the Jinja that minijinja understands")
        })?;
        Ok(Self { templates, source, variables })
    }

    /// Gives the template more variables, such as Qwen 3's `enable_thinking`.
    pub(crate) fn set(&mut self, variables: Map<String, Value>) {
        self.variables.extend(variables);
    }

    /// The text up to where the model goes on with its answer, or with `answer` and what ends it.
    pub(crate) fn render(&self, prompt: &Prompt, answer: Option<&str>) -> Result<String> {
        let answer = answer.map(|text| Message { role: Speaker::Assistant, content: text.to_string() });
        let messages = Jinja::from(Serde(prompt.0.iter().chain(&answer).collect::<Vec<_>>()));
        let variables = Jinja::from(Serde(&self.variables));
        let add_generation_prompt = answer.is_none();
        let given = context! { messages, add_generation_prompt, tools => (), documents => (), ..variables };
        let rendered = self.templates.get_template("chat").and_then(|template| template.render(given));
        rendered.map_err(|error| {
            let error = Error::new(format!("the model's chat template does not render the conversation: {error}"));
            error.fix("a conversation as this model was trained on; some have no place for instructions")
        })
    }

    /// Whether the model brought none of its own.
    pub(crate) fn is_plain(&self) -> bool {
        self.source == PLAIN
    }

    /// The hash of all that decides a text besides the conversation.
    pub(crate) fn hash(&self) -> String {
        let mut variables = Value::Object(self.variables.clone());
        variables.sort_all_objects();
        hash_bytes(format!("{variables}\n{}", self.source).as_bytes())
    }
}

fn refusal(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `strftime_now`: the date in Python's format.
fn today(format: String) -> std::result::Result<String, minijinja::Error> {
    let text = TODAY.iter().fold(format.clone(), |text, (code, value)| text.replace(code, value));
    if text.contains('%') { Err(refusal(format!("the date format `{format}` is not supported"))) } else { Ok(text) }
}

/// `tojson` as transformers has it: Python's spaces, and nothing escaped for HTML as Jinja would.
fn json_like_python(value: Jinja, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let mut text = Vec::new();
    let written = match options.get::<Option<usize>>("indent")? {
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
        Some(width) => {
            let indent = " ".repeat(width);
            let pretty = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut text, pretty))
        }
    };
    let text = written.map_err(|error| refusal(error.to_string())).map(|()| String::from_utf8(text))?;
    text.map_err(|error| refusal(error.to_string()))
}

/// `{"a": 1, "b": [1, 2]}`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::ChatTemplate;
    use framework::language::{Message, Prompt, Speaker};
    use serde_json::{Map, Value, json};

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

    fn template(source: Option<&str>, variables: Value) -> ChatTemplate {
        let variables: Map<_, _> = variables.as_object().expect("a table").clone();
        ChatTemplate::new(source, variables).expect("a template")
    }

    fn render(source: &str, question: &str) -> String {
        template(Some(source), json!({})).render(&Prompt::new("", question), None).expect("a text")
    }

    /// What transformers rendered, its refusal included.
    #[test]
    fn conversations_are_rendered_as_by_transformers() {
        let file = std::fs::read_to_string(format!("{FIXTURES}/chat_templates.json")).expect("the fixture");
        let file: Value = file.parse().expect("JSON");
        let cases = file["cases"].as_array().expect("a list");
        for case in cases {
            let source = format!("{FIXTURES}/chat_templates/{}.jinja", case["template"].as_str().expect("a name"));
            let source = std::fs::read_to_string(source).expect("the template");
            let mut variables = json!({"bos_token": case["bos_token"], "eos_token": case["eos_token"]});
            variables.as_object_mut().expect("a table").retain(|_, token| !token.is_null());
            let mut messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).expect("messages");
            let answer = (case["add_generation_prompt"] == false).then(|| messages.pop().expect("an answer").content);
            let rendered = template(Some(&source), variables).render(&Prompt(messages), answer.as_deref());
            match case["error"].as_str() {
                None => assert_eq!(rendered.expect("a text"), case["text"].as_str().expect("a text"), "{case}"),
                Some(error) => assert!(rendered.expect_err("a refusal").to_string().contains(error), "{case}"),
            }
        }
        assert_eq!(cases.len(), 30);
    }

    #[test]
    fn without_a_template_the_texts_stand_line_by_line() {
        let plain = template(None, json!({"eos_token": "</s>"}));
        let prompt = Prompt::new("Rank.", "Which?");
        assert_eq!(plain.render(&prompt, None).expect("a text"), "Rank.\nWhich?\n");
        assert_eq!(plain.render(&prompt, Some("This.")).expect("a text"), "Rank.\nWhich?\nThis.</s>");
    }

    #[test]
    fn templates_find_what_transformers_gives_them() {
        assert_eq!(render("{{ strftime_now('%d %b %Y') }}", "?"), "26 Jul 2024");
        assert_eq!(render("{{ messages[0] | tojson }}", "<\"é\">"), r#"{"role": "user", "content": "<\"é\">"}"#);
        assert_eq!(render("{{ [1, {}] | tojson(indent=2) }}", "?"), "[\n  1,\n  {}\n]");
        assert_eq!(render("a\n{%- generation %}\nb{% endgeneration -%}\nc", "?"), "abc");
        assert_eq!(
            render("{% for m in messages %}{% if tools is none %}{% continue %}{% endif %}x{% endfor %}y", "?"),
            "y"
        );
    }

    #[test]
    fn variables_count_for_the_text_and_the_hash() {
        let source = "{{ 'no thinking' if enable_thinking is false else 'thinking' }}";
        let mut template = template(Some(source), json!({}));
        let prompt = Prompt(vec![Message { role: Speaker::User, content: "?".into() }]);
        let before = (template.render(&prompt, None).expect("a text"), template.hash());
        template.set(json!({"enable_thinking": false}).as_object().expect("a table").clone());
        let after = (template.render(&prompt, None).expect("a text"), template.hash());
        assert_eq!((before.0.as_str(), after.0.as_str()), ("thinking", "no thinking"));
        assert_ne!(before.1, after.1);
    }

    #[test]
    fn a_wrong_template_is_refused() {
        let error = ChatTemplate::new(Some("{% if %}"), Map::new()).err().expect("an error").to_string();
        assert!(error.contains("chat template: syntax error") && error.contains("fix:"), "{error}");
    }
}
