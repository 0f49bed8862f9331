//! The book's reference pages, written from the code: spec keys, plugins of each role, metrics.

use framework::ablation::Ablation;
use framework::comparison::Comparison;
use framework::error::{Error, Explain, Result};
use framework::metrics::{self, Definition};
use framework::plugin::{Field, Role};
use framework::problem::range_in_words;
use framework::protocol::{Candidates, Protocol};
use framework::roles::{Aggregator, Dataset, Embeddings, Evaluator, LanguageModel, Loss, Recommender, SplitRule};
use framework::spec::Spec;
use std::fmt::Write;
use std::path::Path;

/// Every generated page: its path in the book's source and its text.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("spec.md".to_string(), spec()), ("metrics.md".into(), metric_definitions())];
    pages.push(role::<dyn Dataset>("Where interactions and items come from."));
    pages.push(role::<dyn Recommender>("What ranks the items for a user."));
    pages.push(role::<dyn SplitRule>("How interactions are divided into training, validation and test: `[protocol.split]`. The framework refuses a division by which a target would be trained on."));
    pages.push(role::<dyn Loss>("What a sequence model is trained against."));
    pages.push(role::<dyn Embeddings>(
        "What turns items into vectors: by what is said or shown of them, or by who chose them.",
    ));
    pages.push(role::<dyn Evaluator>("What the ranks of the test targets are turned into."));
    pages.push(role::<dyn LanguageModel>("What writes texts and judges answers."));
    pages.push(role::<dyn Aggregator>("What turns a user's history into a text about their preferences."));
    pages
}

/// Writes the pages below `folder`, or with `check` only says which are stale.
pub fn write(folder: &Path, check: bool) -> Result<()> {
    let stale = |(path, text): &(String, String)| {
        std::fs::read_to_string(folder.join(path)).map_or(true, |there| there != *text)
    };
    let stale: Vec<_> = pages().into_iter().filter(stale).collect();
    if check {
        let names: Vec<&str> = stale.iter().map(|(path, _)| path.as_str()).collect();
        return if names.is_empty() {
            Ok(())
        } else {
            Err(Error::new(format!("stale pages: {}", names.join(", "))).at(folder.display()).fix("`ablate docs`"))
        };
    }
    for (path, text) in stale {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).explain("making a folder", parent.display())?;
        std::fs::write(&path, text).explain("writing a page", path.display())?;
    }
    Ok(())
}

const GENERATED: &str = "<!-- Written by `ablate docs` from the code; a test fails when it is stale. -->\n\n";

fn spec() -> String {
    let mut text = format!("# Spec reference\n\n{GENERATED}");
    text += "A spec is one TOML file. Layers, each over the one before: the built-in `experiments/base.toml`, the files \
             that `extends = [\"…\"]` names, the spec, environment variables (`ABLATE_RECOMMENDER__DROPOUT=0.1`), and \
             `--set key=value`. A table with another `use` replaces the old table whole. Variables and `--set` that \
             name a plugin with `use` come before all others of them, so that none of their settings is lost.\n\n\
             ## Top level\n\n";
    text += &fields(Spec::FIELDS);
    text += "\n## `[protocol]`\n\n";
    text += &fields(Protocol::FIELDS);
    text += "\n## `[protocol.candidates]`\n\n";
    text += &fields(Candidates::FIELDS);
    text += "\n## `[comparison]`\n\n";
    text += &fields(Comparison::FIELDS);
    text += "\n## `[[ablation]]`\n\n";
    text + &fields(Ablation::FIELDS)
}

fn metric_definitions() -> String {
    let mut text = format!("# Metrics\n\n{GENERATED}");
    text += "Each case has one relevant item. A metric is its exact expectation over a random order of the items tied \
             with it. The version changes with the definition and is part of the protocol's fingerprint.\n\n";
    text += &definitions(metrics::definitions());
    text += "\n## As other frameworks define them\n\n`map@10 as elliot` is what the code of Elliot gives where there \
             is one relevant item. A definition that is equal to ours has a name of its own all the same, so that a \
             table says which one was asked for. `tests/peers/metrics.py` runs their own code on random rankings, and \
             a test compares.\n\nTies are the exception. RecBole and Elliot take the order that `torch.topk`, \
             `tf.nn.top_k` or `numpy.argpartition` gave. That is one order, and no random one: the second puts the \
             lower item number first, the other two specify nothing. Here it is the expectation over all orders. \
             RecBole's GAUC alone gives tied items the mean of their ranks, which is the same as the \
             expectation.\n\nElliot's AUC, GAUC and LAUC count the items that a user did not train on; here it is the \
             items that were ranked, the target included. Missing is RecBole's AUC: it is of all pairs of users and \
             items together, not of a case.\n\n";
    text + &definitions(metrics::others())
}

fn definitions(definitions: &[Definition]) -> String {
    let mut text = String::from("| name | version | definition | source |\n|---|---|---|---|\n");
    for Definition { name, version, formula, source, .. } in definitions {
        let _ = writeln!(text, "| `{name}` | {version} | {} | {source} |", cell(formula));
    }
    text
}

fn role<R: ?Sized + Role>(what: &str) -> (String, String) {
    let mut text = format!("# {}\n\n{GENERATED}{what}\n", title(R::ROLE));
    for plugin in R::plugins() {
        let _ = write!(text, "\n## `{}`\n\n{}\n", plugin.name, paragraphs(plugin.doc));
        if !plugin.fields.is_empty() {
            text += &fields(plugin.fields);
            text.push('\n');
        }
        let _ = writeln!(text, "Version {}; source `{}`.", plugin.version, plugin.file);
    }
    (format!("plugins/{}.md", R::ROLE), text)
}

fn fields(fields: &[Field]) -> String {
    let mut text = String::from("| key | holds | default | meaning |\n|---|---|---|---|\n");
    for field in fields {
        let kind = (field.kind)();
        let holds = if field.range.is_empty() { kind } else { range_in_words(&kind, field.range) };
        let default = field.default.map_or("must be given".into(), |default| match default() {
            toml::Value::Table(table) if table.is_empty() => "empty".to_string(),
            toml::Value::Table(_) => "the table's own defaults".to_string(),
            value => format!("`{value}`"),
        });
        let _ =
            writeln!(text, "| `{}` | {holds} | {} | {} |", field.name, cell(&default), cell(&paragraphs(field.doc)));
    }
    text
}

/// Doc comments come with a space before each line.
fn paragraphs(doc: &str) -> String {
    doc.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('\n', " ")
}

fn title(word: &str) -> String {
    let mut letters = word.chars();
    let plural = if word.ends_with('s') { "" } else { "s" };
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str()) + plural
}
