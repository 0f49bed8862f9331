//! From files, environment and command line to one table, remembering where each value came from.
//!
//! Layers, each over the one before: the built-in base, what the spec `extends`, the spec, `ABLATE_…` variables, `--set`.

use crate::ablation::{Plan, plans};
use crate::error::{Error, Explain, Result};
use crate::problem::Problem;
use crate::spec::Spec;
use figment::providers::Env;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Table;
use toml::de::{DeTable, DeValue};

/// Variables that are not keys of a spec.
const RESERVED: [&str; 9] = ["data", "store", "cache", "log", "gguf", "minilm", "python", "chromium", "screenshots"];

/// The command line's part of a spec.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The spec's file.
    pub path: PathBuf,
    /// `--set` arguments: TOML, `key = value`.
    pub set: Vec<String>,
    /// The text of the built-in `base.toml`.
    pub base: &'static str,
}

/// One layer and where it came from.
#[derive(Clone, Debug)]
struct Layer {
    label: String,
    text: Option<String>,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.label.clone())
    }
    fn data(&self) -> std::result::Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// A spec as read, with its plans.
#[derive(Debug)]
pub struct Loaded {
    /// The spec, every default filled in.
    pub spec: Spec,
    /// One plan per variant and seed, the base first.
    pub plans: Vec<Plan>,
    layers: Layers,
}

impl Loaded {
    /// Where the value at `path` came from: a file with its line, a variable, `--set`, or `default`.
    pub fn origin(&self, path: &[String]) -> String {
        match self.layers.find(path) {
            Some((layer, depth)) if depth == path.len() => {
                let place =
                    layer.text.as_deref().and_then(|text| span(text, path, false).map(|at| line(text, at.start).0));
                place.map_or(layer.label.clone(), |line| format!("{}:{line}", layer.label))
            }
            _ => "default".into(),
        }
    }
}

/// A mistake with the place it was made at.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The mistake.
    pub problem: Problem,
    /// The file, variable or argument.
    pub label: String,
    /// The text it stands in and where, where it is a file.
    pub place: Option<Place>,
}

/// A stretch of one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The length in characters, at least 1.
    pub length: usize,
    /// The whole line.
    pub text: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { path, message, expected, nearest, .. } = &self.problem;
        writeln!(f, "error: {message}")?;
        match &self.place {
            Some(Place { line, column, length, text }) => {
                let margin = " ".repeat(line.to_string().len());
                writeln!(f, "{margin}--> {}:{line}:{column}", self.label)?;
                writeln!(f, "{margin} |\n{line} | {text}")?;
                writeln!(f, "{margin} | {}{}", " ".repeat(column - 1), "^".repeat(*length))?;
            }
            None => writeln!(f, " --> {}", self.label)?,
        }
        if !path.is_empty() {
            writeln!(f, "  = key: {}", path.join("."))?;
        }
        if !expected.is_empty() {
            writeln!(f, "  = expected: {expected}")?;
        }
        nearest.as_ref().map_or(Ok(()), |name| writeln!(f, "  = did you mean `{name}`?"))
    }
}

/// Everything wrong with a spec, or that it could not be read at all.
#[derive(Debug)]
pub enum Rejected {
    /// Mistakes in it.
    Wrong(Vec<Located>),
    /// It could not be read.
    Unreadable(Error),
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Unreadable(error) => error,
            Rejected::Wrong(all) => {
                let text: Vec<_> = all.iter().map(|located| located.to_string()).collect();
                let count = if all.len() == 1 { "1 mistake".into() } else { format!("{} mistakes", all.len()) };
                Self::new(format!("{} in the spec\n\n{}", count, text.join("\n").trim_end()))
            }
        }
    }
}

/// Reads a spec and everything it builds on.
pub fn load(source: &Source) -> std::result::Result<Loaded, Rejected> {
    let mut layers = vec![file_layer("experiments/base.toml (built in)", source.base.to_string())?];
    extend(&source.path, &mut layers, &mut Vec::new())?;
    let set = source.set.iter().map(|argument| {
        let table: Table = toml::from_str(argument).map_err(|error| {
            Error::new(format!("`--set {argument}` is not TOML: {}", error.message()))
                .fix("--set 'key=value' with strings in quotes, as in --set 'recommender.use=\"sasrec\"'")
        })?;
        Ok(Layer { label: format!("--set {argument}"), text: None, values: dict(&table)? })
    });
    let mut single: Vec<Layer> = environment()?.into_iter().chain(set.collect::<Result<Vec<_>>>()?).collect();
    // A plugin takes away the settings before it, and neither of two variables or arguments should be lost.
    single.sort_by_key(|layer| plugin_depth(&layer.values).unwrap_or(usize::MAX));
    layers.extend(single);
    let layers = Layers::new(layers);
    let table: Table = layers.figment.extract().explain("merging the spec", source.path.display())?;
    match plans(&table) {
        Ok((spec, plans)) => Ok(Loaded { spec, plans, layers }),
        Err(problems) => Err(Rejected::Wrong(problems.into_iter().map(|problem| layers.locate(problem)).collect())),
    }
}

/// How deep the `use` lies that is all of a layer.
fn plugin_depth(values: &Dict) -> Option<usize> {
    match values.iter().next() {
        Some((key, value)) if values.len() == 1 => match value.as_dict() {
            Some(inner) => plugin_depth(inner).map(|depth| depth + 1),
            None => (key == "use").then_some(0),
        },
        _ => None,
    }
}

/// Adds the layers that `path` extends, then its own.
fn extend(path: &Path, layers: &mut Vec<Layer>, above: &mut Vec<PathBuf>) -> std::result::Result<(), Rejected> {
    let fix = "a path of a TOML file";
    let text = std::fs::read_to_string(path).explain("reading the spec", path.display()).map_err(|e| e.fix(fix))?;
    let mut layer = file_layer(&path.display().to_string(), text)?;
    let extends = layer.values.remove("extends");
    let files: Vec<PathBuf> = match extends.map(|value| value.deserialize::<Vec<PathBuf>>().map_err(|_| ())) {
        None => Vec::new(),
        Some(Ok(files)) => files,
        Some(Err(_)) => {
            let key = Problem {
                path: vec!["extends".into()],
                on_key: false,
                message: "`extends` is not a list of files".into(),
                expected: "a list of paths, relative to this file".into(),
                nearest: None,
            };
            return Err(Rejected::Wrong(vec![layer.locate(key)]));
        }
    };
    above.push(path.to_path_buf());
    for file in files {
        let file = path.parent().unwrap_or(Path::new(".")).join(file);
        if above.contains(&file) {
            return Err(Error::new("a spec extends itself").at(file.display()).fix("no circle of `extends`").into());
        }
        extend(&file, layers, above)?;
    }
    above.pop();
    layers.push(layer);
    Ok(())
}

fn file_layer(label: &str, text: String) -> std::result::Result<Layer, Rejected> {
    let table: std::result::Result<Table, toml::de::Error> = toml::from_str(&text);
    match table {
        Ok(table) => Ok(Layer { label: label.into(), values: dict(&table)?, text: Some(text) }),
        Err(error) => {
            let message = error.message().lines().next().unwrap_or_default().to_string();
            let problem = Problem { path: vec![], on_key: false, message, expected: "TOML".into(), nearest: None };
            let place = error.span().map(|span| place(&text, span));
            Err(Rejected::Wrong(vec![Located { problem, label: label.into(), place }]))
        }
    }
}

/// One layer per variable, so that each value's origin has a name.
fn environment() -> Result<Vec<Layer>> {
    let names = std::env::vars().map(|(name, _)| name).filter(|name| {
        name.strip_prefix("ABLATE_").is_some_and(|key| !RESERVED.contains(&key.to_lowercase().as_str()))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    let layer = |name: String| {
        let data = Env::raw().only(&[&name]).map(|key| key.as_str()[7..].into()).split("__").data();
        let mut data = data.explain("reading the environment", &name)?;
        Ok(Layer {
            label: format!("environment variable {name}"),
            text: None,
            values: data.remove(&Profile::Default).unwrap_or_default(),
        })
    };
    names.into_iter().map(layer).collect()
}

fn dict(table: &Table) -> Result<Dict> {
    match Value::serialize(table).explain("reading the spec", "a value")? {
        Value::Dict(_, dict) => Ok(dict),
        _ => Ok(Dict::new()),
    }
}

/// Layers laid over each other by figment.
#[derive(Debug)]
struct Layers {
    all: Vec<Layer>,
    figment: Figment,
}

impl Layers {
    fn new(mut all: Vec<Layer>) -> Self {
        for n in 1..all.len() {
            let (earlier, rest) = all.split_at_mut(n);
            forget_replaced(earlier.iter_mut().map(|layer| &mut layer.values).collect(), &rest[0].values);
        }
        let figment = all.iter().fold(Figment::new(), |figment, layer| figment.merge(layer.clone()));
        Self { all, figment }
    }

    /// The last layer that sets `path` or, failing that, its nearest ancestor; and how much of the path it sets.
    fn find(&self, path: &[String]) -> Option<(&Layer, usize)> {
        (1..=path.len()).rev().find_map(|depth| {
            let layer = self.all.iter().rev().find(|layer| reaches(&layer.values, &path[..depth]));
            layer.map(|layer| (layer, depth))
        })
    }

    fn locate(&self, problem: Problem) -> Located {
        // A missing key stands nowhere: its table does, or else the spec itself, which is the last file.
        let spec = || self.all.iter().rev().find(|layer| layer.text.is_some());
        match self.find(&problem.path).map(|(layer, _)| layer).or_else(spec) {
            Some(layer) => layer.locate(problem),
            None => Located { problem, label: "the spec".into(), place: None },
        }
    }
}

impl Layer {
    fn locate(&self, problem: Problem) -> Located {
        let place = self.text.as_deref().and_then(|text| {
            let depths = (1..=problem.path.len()).rev();
            let mut spans = depths.filter_map(|depth| {
                let whole = depth == problem.path.len();
                span(text, &problem.path[..depth], problem.on_key || !whole)
            });
            spans.next().map(|span| crate::load::place(text, span))
        });
        Located { problem, label: self.label.clone(), place }
    }
}

/// figment merges deeply, so a new `use` would inherit the old plugin's keys: they are taken out of earlier layers.
fn forget_replaced(mut earlier: Vec<&mut Dict>, new: &Dict) {
    let old = earlier.iter().rev().find_map(|dict| dict.get("use").and_then(Value::as_str));
    if let (Some(old), Some(new)) = (old, new.get("use").and_then(Value::as_str))
        && old != new
    {
        earlier.iter_mut().for_each(|dict| dict.clear());
        return;
    }
    for (key, value) in new {
        if let Value::Dict(_, inner) = value {
            let below = earlier.iter_mut().filter_map(|dict| match dict.get_mut(key) {
                Some(Value::Dict(_, dict)) => Some(dict),
                _ => None,
            });
            forget_replaced(below.collect(), inner);
        }
    }
}

fn reaches(dict: &Dict, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else { return true };
    let mut value = dict.get(key);
    for key in rest {
        value = match value {
            Some(Value::Dict(_, dict)) => dict.get(key),
            Some(Value::Array(_, values)) => key.parse::<usize>().ok().and_then(|n| values.get(n)),
            _ => None,
        };
    }
    value.is_some()
}

/// Where a key (or its value) stands in a TOML text.
fn span(text: &str, path: &[String], on_key: bool) -> Option<std::ops::Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let (mut key, mut value) = document.get_ref().get_key_value(first.as_str()).map(|(k, v)| (k.span(), v))?;
    for name in rest {
        (key, value) = match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(name.as_str()).map(|(k, v)| (k.span(), v))?,
            DeValue::Array(values) => values.get(name.parse::<usize>().ok()?).map(|v| (v.span(), v))?,
            _ => return None,
        };
    }
    // A table's own span is its header or its first line: its key reads better under a caret.
    let tabular = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
    Some(if on_key || (tabular && !key.is_empty()) { key } else { value.span() })
}

/// Line and column of a byte, counted from 1.
fn line(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn place(text: &str, span: std::ops::Range<usize>) -> Place {
    let (number, column) = line(text, span.start);
    let whole = text.lines().nth(number - 1).unwrap_or_default();
    let room = whole.chars().count().saturating_sub(column - 1);
    let length = text.get(span).map_or(1, |part| part.chars().count()).clamp(1, room.max(1));
    Place { line: number, column, length, text: whole.to_string() }
}

impl Located {
    /// For editors: the mistake and its place.
    pub fn json(&self) -> serde_json::Value {
        let Problem { path, message, expected, nearest, .. } = &self.problem;
        let place = self.place.as_ref();
        serde_json::json!({
            "file": self.label,
            "line": place.map(|p| p.line),
            "column": place.map(|p| p.column),
            "length": place.map(|p| p.length),
            "key": path.join("."),
            "message": message,
            "expected": expected,
            "nearest": nearest,
        })
    }
}
