//! Prompts as template files: Jinja, the part above a line `---` being the system message.

use framework::error::{Error, Explain, Result};
use framework::language::Prompt;
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde::Serialize;
use std::path::Path;

/// The templates that come with the program, by name.
const BUILT_IN: [(&str, &str); 3] = [
    ("tallrec", include_str!("../../experiments/prompts/tallrec.jinja")),
    ("recurrent", include_str!("../../experiments/prompts/recurrent.jinja")),
    ("terse", include_str!("../../experiments/prompts/terse.jinja")),
];

/// A prompt's template.
pub(crate) struct Template {
    /// Its text, which belongs into cache keys.
    pub(crate) text: String,
    name: String,
    parsed: Environment<'static>,
}

impl Template {
    /// The built-in template of this name, or the file at this path.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let built_in = BUILT_IN.iter().find(|(built_in, _)| *built_in == name).map(|(_, text)| (*text).to_string());
        let text = match built_in {
            Some(text) => text,
            None if Path::new(name).exists() => {
                std::fs::read_to_string(name).explain("reading a prompt's template", name)?
            }
            None => {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                return Err(Error::new(format!("there is no prompt template `{name}`"))
                    .fix(format!("the path of a file, or one of {}", names.join(", "))));
            }
        };
        Self::new(name, text)
    }

    fn new(name: &str, text: String) -> Result<Self> {
        let mut parsed = Environment::new();
        parsed.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        parsed.set_syntax(syntax.explain("reading a prompt's template", name)?);
        parsed.add_template_owned("prompt", text.clone()).explain("reading a prompt's template", name)?;
        Ok(Self { text, name: name.to_string(), parsed })
    }

    /// The prompt with `values` filled in; a name that the template asks for and nobody gives is an error.
    pub(crate) fn fill(&self, values: impl Serialize) -> Result<Prompt> {
        let template = self.parsed.get_template("prompt");
        let text = template.and_then(|template| template.render(minijinja::Value::from(Serde(values))));
        let text =
            text.map_err(|error| Error::new(format!("the prompt cannot be filled in: {error}")).at(&self.name))?;
        let (instructions, question) = text.split_once("\n---\n").unwrap_or(("", &text));
        Ok(Prompt::new(instructions.trim(), question.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, Template};
    use framework::language::{Prompt, Speaker};
    use serde_json::json;

    #[test]
    fn a_template_gives_both_messages() {
        let template = Template::new("t", "Be {{ how }}.\n---\n{% for x in of %}\n- {{ x }}\n{% endfor %}".into());
        let template = template.expect("a template");
        let prompt = template.fill(json!({ "how": "brief", "of": ["a", "b"] })).expect("a prompt");
        assert_eq!(prompt, Prompt::new("Be brief.", "- a\n- b"));
        assert_eq!(prompt.0[0].role, Speaker::System);
        let message = template.fill(json!({ "how": "brief" })).expect_err("`of` is missing").to_string();
        assert!(message.contains("undefined") && message.contains("at: t"), "{message}");
    }

    #[test]
    fn built_in_templates_are_found_and_others_refused() {
        assert!(BUILT_IN.iter().all(|(name, _)| Template::open(name).is_ok()));
        let message = Template::open("no-such").err().expect("no template").to_string();
        assert!(message.contains("tallrec, recurrent, terse"), "{message}");
    }
}
