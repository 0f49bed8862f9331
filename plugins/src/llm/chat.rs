//! Conversations as the texts that a model was trained on: its chat template, in Jinja, rendered as transformers does.
//! Not tokens.

use chrono::NaiveDate;
use framework::error::{Error, Result};
use framework::language::{Message, Prompt, Speaker};
use framework::store::hash_bytes;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, context};
use regex::{Captures, Regex};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{self, Write};

/// The template of a model that has none: texts line by line, and the model's end token after an answer.
const PLAIN: &str = "{{ bos_token }}{% for message in messages %}{{ message.content }}\
    {{ eos_token if message.role == 'assistant' else '\\n' }}{% endfor %}";

/// The day that templates are told it is, so that a prompt does not depend on when it is sent: what Llama 3's template
/// assumes when it cannot ask.
const TODAY: (i32, u32, u32) = (2024, 7, 26);

/// Steps after which a template is taken to have no end; a long conversation takes some thousand.
const STEPS: u64 = 5_000_000;

/// Characters of a template's own message that are shown.
const LONGEST_MESSAGE: usize = 500;

/// Calls within calls after which a template is taken to have no end.
const DEPTH: usize = 200;

/// A chat template and what it is given besides the conversation.
pub(crate) struct ChatTemplate {
    /// The template, or what is wrong with it: a model can be looked at without one.
    templates: std::result::Result<Environment<'static>, Wrong>,
    source: String,
    variables: Map<String, Value>,
}

/// What is wrong with a template, and what would be right.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

impl ChatTemplate {
    /// `source` is Jinja, a plain template if there is none; `variables` such as `bos_token`.
    pub(crate) fn new(source: std::result::Result<Option<String>, Wrong>, variables: Map<String, Value>) -> Self {
        // As Python reads texts, and as Jinja reads what was not read so.
        let plain = |source: Option<String>| {
            source.map_or(PLAIN.to_string(), |source| source.replace("\r\n", "\n").replace('\r', "\n"))
        };
        match source.map(plain) {
            Ok(source) => Self { templates: compiled(&source), source, variables },
            Err(wrong) => Self { templates: Err(wrong), source: String::new(), variables },
        }
    }

    /// An error if no conversation can be rendered.
    pub(crate) fn check(&self) -> Result<&Environment<'static>> {
        self.templates.as_ref().map_err(|Wrong { what, fix }| Error::new(what).fix(fix))
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
        let mut text = Bounded(Vec::new());
        let template = self.check()?.get_template("chat");
        let rendered = template.and_then(|template| template.render_captured_to(given, &mut text).map(drop));
        let rendered = rendered.and_then(|()| String::from_utf8(text.0).map_err(|error| refusal(error.to_string())));
        rendered.map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => {
                let error = Error::new(format!("the model's chat template has no end after {STEPS} steps"));
                error.fix("a template without endless loops")
            }
            _ => {
                let error: String = error.to_string().chars().take(LONGEST_MESSAGE).collect();
                let error = Error::new(format!("the model's chat template does not render the conversation: {error}"));
                error.fix("a conversation as this model was trained on; some have no place for instructions")
            }
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

/// A text that ends somewhere.
struct Bounded(Vec<u8>);

/// Bytes of a prompt after which a template is taken to have no end.
const LONGEST: usize = 64 << 20;

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other(format!("it writes more than {} MiB", LONGEST >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A template that can be rendered. Its expressions may be nested deeper than a thread's stack is high, so it is read on
/// a higher one; how long it may be keeps it within that.
fn compiled(source: &str) -> std::result::Result<Environment<'static>, Wrong> {
    const LONGEST_SOURCE: usize = 256 << 10;
    const STACK: usize = 1 << 30;
    let wrong = |what: String| Wrong { what, fix: "the template that the model came with" };
    if source.len() > LONGEST_SOURCE {
        return Err(wrong(format!("the model's chat template has {} bytes, more than {LONGEST_SOURCE}", source.len())));
    }
    let source = source.to_string();
    let reader = std::thread::Builder::new().stack_size(STACK).spawn(move || read(&source));
    let reader = reader.map_err(|error| wrong(format!("cannot read the model's chat template: {error}")))?;
    reader.join().unwrap_or_else(|_| Err(wrong("the model's chat template cannot be read".into())))
}

fn read(source: &str) -> std::result::Result<Environment<'static>, Wrong> {
    let wrong = |error: &dyn std::fmt::Display| Wrong {
        what: format!("cannot read the model's chat template: {error}"),
        fix: "a template in the Jinja that minijinja understands",
    };
    // Marks what a model writes itself; transformers' own extension of Jinja.
    let marks = Regex::new(r"\{%(-?)\s*(end)?generation\s*(-?)%\}").map_err(|error| wrong(&error))?;
    let plain = marks.replace_all(source, |found: &Captures| {
        let tag = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {tag} {}%}}", &found[1], &found[3])
    });
    let mut templates = Environment::new();
    templates.set_fuel(Some(STEPS));
    templates.set_recursion_limit(DEPTH);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    templates.set_syntax(syntax.map_err(|error| wrong(&error))?);
    templates.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    templates.add_function("raise_exception", |message: String| Err::<String, _>(refusal(message)));
    templates.add_function("strftime_now", today);
    templates.add_filter("tojson", json_like_python);
    // To minijinja, none is an empty list.
    templates.add_test("iterable", |value: Jinja| !value.is_none() && value.try_iter().is_ok());
    templates.add_template_owned("chat", plain.into_owned()).map_err(|error| wrong(&error))?;
    Ok(templates)
}

/// `strftime_now`: the date in Python's format, at midnight without a time zone.
fn today(format: String) -> std::result::Result<String, minijinja::Error> {
    let (year, month, day) = TODAY;
    let midnight = NaiveDate::from_ymd_opt(year, month, day).and_then(|day| day.and_hms_opt(0, 0, 0));
    // What chrono spells differently than Python: microseconds, and zones where there are none.
    let pieces: Vec<String> =
        format.split("%%").map(|piece| piece.replace("%f", "000000").replace("%Z", "").replace("%z", "")).collect();
    let mut text = String::new();
    match midnight.map(|midnight| write!(text, "{}", midnight.format(&pieces.join("%%")))) {
        Some(Ok(())) => Ok(text),
        _ => Err(refusal(format!("the date format `{format}` is not supported"))),
    }
}

/// `tojson` as transformers has it: Python's spaces, and nothing escaped for HTML as Jinja would.
fn json_like_python(value: Jinja, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let mut text = Vec::new();
    let written = match options.get::<Option<usize>>("indent")? {
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Spaced)),
        Some(width) => {
            let indent = " ".repeat(width.min(100));
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
        ChatTemplate::new(Ok(source.map(str::to_string)), variables)
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

    fn failure(source: &str) -> String {
        template(Some(source), json!({})).render(&Prompt::new("", "?"), None).expect_err("an error").to_string()
    }

    #[test]
    fn a_wrong_template_is_refused() {
        let error = failure("{% if %}");
        assert!(error.contains("chat template: syntax error") && error.contains("fix:"), "{error}");
    }

    #[test]
    fn a_template_without_an_end_is_stopped() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
        assert!(failure(loops).contains("has no end after 5000000 steps"), "{}", failure(loops));
        let calls = "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}";
        // On a thread with as little room as a worker has.
        let error = std::thread::spawn(move || failure(calls)).join().expect("no overflow of the stack");
        assert!(error.contains("recursion limit"), "{error}");
    }

    /// By Jinja2 3.1 and Python's `strftime`.
    #[test]
    fn templates_mean_what_they_mean_in_python() {
        for (test, expected) in [
            ("none is iterable", "false"),
            ("tools is iterable and tools | length > 0", "false"),
            ("undefined_name is iterable", "true"),
            ("[] is iterable", "true"),
            ("'a' is iterable", "true"),
            ("4 is iterable", "false"),
        ] {
            assert_eq!(render(&format!("{{{{ {test} }}}}"), "?").to_lowercase(), expected, "{test}");
        }
        for (format, expected) in [
            ("%Y-%m-%dT%H:%M:%S", "2024-07-26T00:00:00"),
            ("%A, %B %-d, %Y", "Friday, July 26, 2024"),
            ("%I:%M %p %Z%z", "12:00 AM "),
            ("%j %U %w %y %% %%f %f", "208 29 5 24 % %f 000000"),
            ("%c", "Fri Jul 26 00:00:00 2024"),
            ("%x", "07/26/24"),
        ] {
            assert_eq!(render(&format!("{{{{ strftime_now('{format}') }}}}"), "?"), expected);
        }
        assert!(failure("{{ strftime_now('%Q') }}").contains("the date format `%Q` is not supported"));
        assert_eq!(render("{% if true %}\r\na\r\n{% endif %}\r\nb\r\n", "?"), "a\nb");
    }
}
