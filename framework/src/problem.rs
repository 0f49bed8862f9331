//! Mistakes in a spec: collected while it is read, all of them, each with its key path.

use crate::plugin::{Field, Setting, contains};
use std::ops::RangeBounds;
use toml::{Table, Value};

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The keys from the top of the spec down to the mistake; a list's element is its number.
    pub path: Vec<String>,
    /// Whether the key itself is wrong (else its value).
    pub on_key: bool,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
    /// The valid name nearest to the one given.
    pub nearest: Option<String>,
}

/// Walks a spec and collects its mistakes.
#[derive(Default)]
pub struct Reader {
    path: Vec<String>,
    /// What was found wrong so far.
    pub problems: Vec<Problem>,
}

impl Reader {
    /// Reads something below `key`.
    pub fn inside<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_string());
        let result = read(self);
        self.path.pop();
        result
    }

    /// Reports a mistake in the value at the current place. Always `None`, to be returned.
    pub fn report<T>(&mut self, message: impl Into<String>, expected: impl Into<String>) -> Option<T> {
        self.push(false, message.into(), expected.into(), None)
    }

    /// Reports a conflict between settings that are each right by themselves, at `key`.
    pub fn conflict(&mut self, key: &str, message: impl Into<String>, expected: impl Into<String>) {
        self.inside(key, |reader| reader.report::<()>(message, expected));
    }

    /// Reports a value of another type than `expected`.
    pub fn wrong_type<T>(&mut self, value: &Value, expected: &str) -> Option<T> {
        self.report(format!("{} is {}", shown(value), article(value.type_str())), article(expected))
    }

    /// Reports a value outside what is `expected`.
    pub fn out_of_range<T>(&mut self, value: &Value, expected: &str) -> Option<T> {
        self.report(format!("{} is out of range", shown(value)), expected)
    }

    pub(crate) fn missing<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.report(format!("the key `{key}` is missing"), format!("`{key}`: {expected}"))
    }

    /// Reports a word that is none of `names`.
    pub fn unknown_name<T>(&mut self, name: &str, names: &[&str], what: &str) -> Option<T> {
        let nearest = nearest(name, names.iter().copied());
        self.unknown(name, what, &format!("one of {}", names.join(", ")), nearest)
    }

    pub(crate) fn unknown<T>(&mut self, name: &str, what: &str, expected: &str, nearest: Option<String>) -> Option<T> {
        self.push(false, format!("no {what} is called `{name}`"), expected.to_string(), nearest)
    }

    /// The table itself, after its unknown keys were reported.
    pub fn table<'a>(&mut self, value: &'a Value, fields: &[Field]) -> Option<&'a Table> {
        let Some(table) = value.as_table() else {
            return self.wrong_type(value, "table");
        };
        for key in table.keys().filter(|key| fields.iter().all(|field| field.name != key.as_str())) {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            let nearest = nearest(key, names.iter().copied());
            let expected = match names.is_empty() {
                true => "no key here".to_string(),
                false => format!("one of {}", names.join(", ")),
            };
            self.inside(key, |reader| reader.push::<()>(true, format!("unknown key `{key}`"), expected, nearest));
        }
        Some(table)
    }

    /// A field's value, its default, or `None` and a report.
    pub fn field<T: Setting>(&mut self, table: &Table, name: &str, default: Option<fn() -> T>) -> Option<T> {
        match (table.get(name), default) {
            (Some(value), _) => self.inside(name, |reader| T::read(value, reader)),
            (None, Some(default)) => Some(default()),
            (None, None) => self.missing(name, &T::kind()),
        }
    }

    /// Reports a value outside its range.
    pub fn in_range<T: Setting + PartialOrd>(
        &mut self,
        name: &str,
        value: Option<T>,
        range: &impl RangeBounds<T>,
        spelled: &str,
    ) -> Option<T> {
        match value {
            Some(value) if !contains(range, &value) => self.inside(name, |reader| {
                let written = value.write();
                reader.out_of_range(&written, &range_in_words(&T::kind(), spelled))
            }),
            other => other,
        }
    }

    fn push<T>(&mut self, on_key: bool, message: String, expected: String, nearest: Option<String>) -> Option<T> {
        self.problems.push(Problem { path: self.path.clone(), on_key, message, expected, nearest });
        None
    }
}

/// A range as a reader of TOML would say it: `1..=8` becomes "from 1 to 8".
pub fn range_in_words(kind: &str, range: &str) -> String {
    let clean = range.replace(' ', "");
    let bounds = match clean.split_once("..") {
        Some((low, "")) => format!("of at least {low}"),
        Some((low, high)) => match high.strip_prefix('=') {
            Some(high) => format!("from {low} to {high}"),
            None => format!("of at least {low} and below {high}"),
        },
        None => clean,
    };
    format!("{} {bounds}", article(kind))
}

/// A kind of value with its article; a choice of words needs none.
fn article(kind: &str) -> String {
    match kind.chars().next() {
        Some('"') | None => kind.to_string(),
        _ if kind == "true or false" => kind.to_string(),
        Some('a' | 'e' | 'i' | 'o' | 'u') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// The valid name that the given one was most likely meant to be.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().max(name.len()) / 4)
        .min()
        .map(|(_, known)| known.to_string())
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
