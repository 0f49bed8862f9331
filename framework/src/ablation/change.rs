//! What the words of an ablation do to the table of a spec.

use super::{Ablation, Design};
use crate::plugin::Setting;
use crate::problem::{Problem, Reader, nearest};
use crate::spec::Spec;
use toml::{Table, Value};

/// The most components of a factorial: all of their subsets are run.
const MOST_COMPONENTS: usize = 8;

/// A row of the report before it is read: its name, its place in the design, and the table of its spec.
pub(super) type Row = (String, Design, Table);

/// The rows that `ablation` stands for, on top of `base`; a mistake's path begins inside the ablation.
pub(super) fn rows(ablation: &Ablation, base: &Table) -> Result<Vec<Row>, Problem> {
    if !ablation.grid.is_empty() {
        return grid(ablation, base);
    }
    if !ablation.factorial.is_empty() {
        return factorial(ablation, base);
    }
    Ok(vec![(ablation.name.clone(), Design::Variant, apply(&[ablation], None, base)?)])
}

fn grid(ablation: &Ablation, base: &Table) -> Result<Vec<Row>, Problem> {
    let leaves = leaves(&ablation.grid);
    let [(path, Value::Array(values))] = &leaves[..] else {
        let message = "a grid is one key with a list of values";
        return Err(problem("grid", message, "as in grid.recommender.dropout = [0.1, 0.2]"));
    };
    if values.is_empty() {
        return Err(problem("grid", "the grid has no values", "at least one value"));
    }
    let row = |value: &Value| {
        let table = apply(&[ablation], Some((path.clone(), value.clone())), base)?;
        let key = path.join(".");
        let shown = value.as_str().map_or(value.to_string(), String::from);
        let design = Design::Grid { name: ablation.name.clone(), key, value: value.clone() };
        Ok((format!("{} = {shown}", ablation.name), design, table))
    };
    values.iter().map(row).collect()
}

fn factorial(ablation: &Ablation, base: &Table) -> Result<Vec<Row>, Problem> {
    let parts = &ablation.factorial;
    if parts.len() > MOST_COMPONENTS {
        let message = format!("{} components have {} subsets", parts.len(), 1u64 << parts.len().min(63));
        return Err(problem("factorial", message, format!("at most {MOST_COMPONENTS} components")));
    }
    let components: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
    if let Some(n) = (0..parts.len()).find(|n| components[..*n].contains(&components[*n])) {
        return Err(problem("factorial", format!("two components are called `{}`", components[n]), "a name each"));
    }
    let mut rows = Vec::new();
    for subset in 1..1usize << parts.len() {
        let gone: Vec<&Ablation> =
            parts.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1).map(|(_, part)| part).collect();
        if gone.iter().any(|part| !part.grid.is_empty() || !part.factorial.is_empty()) {
            return Err(problem("factorial", "a component is one change", "set, use, remove, freeze or placebo"));
        }
        let table = apply(&gone, None, base).map_err(|mut problem| {
            problem.path.insert(0, "factorial".into());
            problem
        })?;
        let without: Vec<String> = gone.iter().map(|part| part.name.clone()).collect();
        let name = format!("without {}", without.join(", "));
        let design = Design::Factorial { name: ablation.name.clone(), components: components.clone(), without };
        rows.push((name, design, table));
    }
    rows.sort_by_key(|(_, design, _)| match design {
        Design::Factorial { without, .. } => without.len(),
        _ => 0,
    });
    Ok(rows)
}

/// `base` with the changes that `ablations` name and one `cell` of a grid, in the order use, grid, set, remove, freeze,
/// placebo: plugins come before their settings, outer ones first. It is a mistake if a word is undone by another, and a
/// key with a value of the row's own is not tuned in it.
fn apply(ablations: &[&Ablation], cell: Option<(Vec<String>, Value)>, base: &Table) -> Result<Table, Problem> {
    let used = ablations.iter().flat_map(|ablation| leaves(&ablation.r#use));
    let used = used.map(|(path, name)| ([path, vec!["use".to_string()]].concat(), name));
    let mut said: Vec<Said> = used.map(|leaf| ("use", leaf)).chain(cell.map(|leaf| ("grid", leaf))).collect();
    said.sort_by_key(|(_, (path, _))| path.len());
    let mut table = base.clone();
    said.iter().for_each(|(_, (path, value))| overlay(&mut table, &nested(path, value.clone())));
    for ablation in ablations {
        overlay(&mut table, &ablation.set);
        said.extend(leaves(&ablation.set).into_iter().map(|leaf| ("set", leaf)));
    }
    if let Some((word, (path, _))) = said.iter().find(|(_, (path, _))| OF_ALL_ROWS.contains(&path[0].as_str())) {
        let message = format!("`{}` is of the whole table and not of a row", path[0]);
        return Err(problem(word, message, "it above the ablations, once"));
    }
    undone(&said, |path, value| find(&table, path) == Some(value))?;
    let is_done = |a: &&Ablation| a.remove.is_empty() && a.freeze.is_empty() && a.placebo.is_empty();
    if !ablations.iter().all(is_done) {
        // These words speak of parts that may be there by default only. Mistakes that hinder it are reported elsewhere.
        table = written_out(&table).unwrap_or(table);
    }
    let whole = table.clone();
    let mut frozen = Vec::new();
    for ablation in ablations {
        ablation.remove.iter().try_for_each(|key| remove(key, &mut table))?;
        for key in &ablation.freeze {
            frozen.push(freeze(key, &mut table)?);
        }
    }
    for path in said.iter().map(|(_, (path, _))| path).chain(&frozen) {
        not_tuned(path, &mut table);
    }
    undone(&said, |path, _| find(&table, path) == find(&whole, path))?;
    for ablation in ablations {
        leaves(&ablation.placebo).into_iter().try_for_each(|(path, kind)| placebo(&path, kind, &mut table))?;
    }
    Ok(table)
}

/// Keys that rows cannot have of their own: reports read them once.
const OF_ALL_ROWS: [&str; 3] = ["comparison", "ablation", "base"];

/// What a word says: the value of a key.
type Said = (&'static str, (Vec<String>, Value));

/// The first of `said` that no longer `stands`, as a mistake.
fn undone(said: &[Said], stands: impl Fn(&[String], &Value) -> bool) -> Result<(), Problem> {
    let Some((word, (path, _))) = said.iter().find(|(_, (path, value))| !stands(path, value)) else { return Ok(()) };
    let message = format!("what `{word}` says of `{}` is undone by another word of the row", path.join("."));
    Err(problem(word, message, "one value for each key, and one plugin for each part"))
}

/// Takes a key that has a value of its own out of what the row's search tunes.
fn not_tuned(path: &[String], table: &mut Table) {
    let Some(Value::Table(search)) = table.get_mut("search") else { return };
    let Some(Value::Table(space)) = search.get_mut("space") else { return };
    take_out(path, space);
    if space.is_empty() {
        table.insert("search".into(), Value::Boolean(false));
    }
}

/// Takes the list or range at or above `path` out of a search's space, and the tables that it leaves empty.
fn take_out(path: &[String], space: &mut Table) {
    let Some((first, rest)) = path.split_first() else { return };
    let is_done_with = match space.get_mut(first) {
        Some(Value::Table(inner)) if !inner.contains_key("low") => {
            take_out(rest, inner);
            inner.is_empty()
        }
        found => found.is_some(),
    };
    if is_done_with {
        space.remove(first);
    }
}

/// The spec of `table` with every default, unless there are mistakes in it.
pub(super) fn written_out(table: &Table) -> Option<Table> {
    let spec = Spec::read(&Value::Table(table.clone()), &mut Reader::default())?;
    match spec.write() {
        Value::Table(mut table) => {
            table.remove("ablation");
            Some(table)
        }
        _ => None,
    }
}

fn remove(key: &str, table: &mut Table) -> Result<(), Problem> {
    let path = split(key);
    let is_part = |value: &Value| matches!(value, Value::Table(_) | Value::Array(_));
    let without = |path: &[String]| {
        let mut without = table.clone();
        overlay(&mut without, &nested(path, Value::Boolean(false)));
        Spec::read(&Value::Table(without.clone()), &mut Reader::default()).map(|_| without)
    };
    if find(table, &path).is_some_and(is_part)
        && let Some(without) = without(&path)
    {
        *table = without;
        return Ok(());
    }
    let removable: Vec<String> = tables(table).into_iter().filter(|path| without(path).is_some()).map(joined).collect();
    let message = match find(table, &path) {
        Some(Value::Boolean(false)) => format!("there is no `{key}` that could be removed"),
        Some(_) => format!("`{key}` cannot be removed: nothing takes its place"),
        None => format!("there is no `{key}`"),
    };
    Err(one_of("remove", key, message, &removable))
}

/// Freezes the part at `key`; gives the path of the key that did it.
fn freeze(key: &str, table: &mut Table) -> Result<Vec<String>, Problem> {
    let path = split(key);
    let still = |table: &Table, path: &[String]| {
        let inside = find(table, path)?.as_table()?;
        let (key, value) = match () {
            () if inside.contains_key("fine_tuned") => ("fine_tuned", Value::Boolean(false)),
            () if inside.contains_key("max_epochs") => ("max_epochs", Value::Integer(0)),
            () => return None,
        };
        Some(([path, &[key.to_string()]].concat(), value))
    };
    let below = tables(table).into_iter().filter(|found| found.starts_with(&path));
    match below.into_iter().find_map(|path| still(table, &path)) {
        Some((path, value)) => {
            overlay(table, &nested(&path, value));
            Ok(path)
        }
        None => {
            let trained: Vec<String> =
                tables(table).into_iter().filter(|path| still(table, path).is_some()).map(joined).collect();
            Err(one_of("freeze", key, format!("`{key}` is not trained, so it cannot be frozen"), &trained))
        }
    }
}

fn placebo(path: &[String], kind: Value, table: &mut Table) -> Result<(), Problem> {
    let is_plugin =
        |path: &[String]| find(table, path).and_then(Value::as_table).is_some_and(|t| t.contains_key("use"));
    let (path, key) = match path.split_last() {
        _ if is_plugin(path) => (path, "kind"),
        Some((last, above)) if is_plugin(above) => (above, last.as_str()),
        _ => {
            let plugins: Vec<String> = tables(table).into_iter().filter(|path| is_plugin(path)).map(joined).collect();
            let key = path.join(".");
            return Err(one_of(
                "placebo",
                &key,
                format!("`{key}` is no part that a placebo could stand for"),
                &plugins,
            ));
        }
    };
    let old = find(table, path).cloned().unwrap_or(Value::Boolean(false));
    let mut new = match old.get("use").and_then(Value::as_str) {
        Some("placebo") => old.as_table().cloned().unwrap_or_default(),
        _ => Table::from_iter([("use".to_string(), Value::from("placebo")), ("of".to_string(), old)]),
    };
    new.insert(key.to_string(), kind);
    overlay(table, &nested(path, Value::Table(new)));
    Ok(())
}

/// Lays `changes` over `table`: tables merge, but one with another `use` replaces the old one.
pub fn overlay(table: &mut Table, changes: &Table) {
    if let (Some(old), Some(new)) = (table.get("use"), changes.get("use"))
        && old != new
    {
        table.clear();
    }
    for (key, value) in changes {
        match (table.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

fn problem(key: &str, message: impl Into<String>, expected: impl Into<String>) -> Problem {
    let (message, expected) = (message.into(), expected.into());
    Problem { path: vec![key.into()], on_key: false, message, expected, nearest: None }
}

fn one_of(word: &str, key: &str, message: String, names: &[String]) -> Problem {
    let expected = match names.is_empty() {
        true => "such a part; this spec has none".to_string(),
        false => format!("one of {}", names.join(", ")),
    };
    Problem { nearest: nearest(key, names.iter().map(String::as_str)), ..problem(word, message, expected) }
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(String::from).collect()
}

fn joined(path: Vec<String>) -> String {
    path.join(".")
}

/// The value at `path`.
fn find<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(table.get(first)?, |value, key| value.get(key))
}

/// A table that holds nothing but `value` at `path`.
pub(crate) fn nested(path: &[String], value: Value) -> Table {
    let Some((first, rest)) = path.split_first() else { return Table::new() };
    let value = if rest.is_empty() { value } else { Value::Table(nested(rest, value)) };
    Table::from_iter([(first.clone(), value)])
}

/// The paths of all tables inside `table`, outer ones first.
fn tables(table: &Table) -> Vec<Vec<String>> {
    let inside = table.iter().filter_map(|(key, value)| Some((key, value.as_table()?)));
    let paths = inside.flat_map(|(key, inner)| {
        let below = tables(inner).into_iter().map(|path| [vec![key.clone()], path].concat());
        std::iter::once(vec![key.clone()]).chain(below).collect::<Vec<_>>()
    });
    let mut paths: Vec<Vec<String>> = paths.collect();
    paths.sort_by_key(Vec::len);
    paths
}

/// Every value that is no table, with its path.
fn leaves(table: &Table) -> Vec<(Vec<String>, Value)> {
    let leaf = |(key, value): (&String, &Value)| match value {
        Value::Table(inner) => {
            leaves(inner).into_iter().map(|(path, value)| ([vec![key.clone()], path].concat(), value)).collect()
        }
        value => vec![(vec![key.clone()], value.clone())],
    };
    table.iter().flat_map(leaf).collect()
}
