//! One dictionary on one line, as JSON or as Python prints it: `{"a": 1}`, `{u'a': "it's", 'b': None}`. Values that
//! nobody asks for are passed over without a copy.

use super::Line;
use super::columns::Cell;
use super::times::iso_moment;
use framework::error::Result;
use serde_json::Value;
use std::borrow::Cow;
use std::result;

/// A value that is there.
#[derive(Debug, PartialEq)]
pub(crate) enum Literal<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number, or true or false, as it stands.
    Number(&'a str),
    /// A list, as it stands.
    List(&'a str),
    /// A dictionary, as it stands.
    Dictionary(&'a str),
}

pub(super) const FIX: &str = "an object per line, as JSON or as Python prints a dictionary; or one array of them";

/// The value of each of `keys`: a text without its quotes, a number as it stands. `None` where a key is missing, and
/// where the value is none, a list or a dictionary.
pub(crate) fn fields<'a, const N: usize>(line: Line<'a>, keys: [Option<&str>; N]) -> Result<[Option<Cow<'a, str>>; N]> {
    let mut values: [Option<Literal<'a>>; N] = std::array::from_fn(|_| None);
    read(line.text, &mut |key| keys.iter().position(|wanted| *wanted == Some(key)), &mut values)
        .map_err(|what| line.place.broken(what).fix(FIX))?;
    Ok(values.map(|value| match value {
        Some(Literal::Text(text)) => Some(text),
        Some(Literal::Number(text)) => Some(Cow::Borrowed(text)),
        _ => None,
    }))
}

/// The value of each of `keys`, which must all be there.
pub(crate) fn required<'a, const N: usize>(line: Line<'a>, keys: [&str; N]) -> Result<[Cow<'a, str>; N]> {
    let values = fields(line, keys.map(Some))?;
    match values.iter().position(Option::is_none) {
        Some(n) => Err(line.place.broken(format!("`{}` is missing", keys[n]))),
        None => Ok(values.map(Option::unwrap_or_default)),
    }
}

/// The value of each of `keys`, of any kind; `None` where it is missing or none.
pub(crate) fn literals<'a>(line: Line<'a>, keys: &[&str]) -> Result<Vec<Option<Literal<'a>>>> {
    let mut values: Vec<Option<Literal<'a>>> = keys.iter().map(|_| None).collect();
    read(line.text, &mut |key| keys.iter().position(|wanted| *wanted == key), &mut values)
        .map_err(|what| line.place.broken(what).fix(FIX))?;
    Ok(values)
}

/// The keys of an object.
pub(crate) fn keys(line: Line<'_>) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    let mut add = |key: &str| {
        keys.push(key.to_string());
        None
    };
    read(line.text, &mut add, &mut []).map_err(|what| line.place.broken(what).fix(FIX))?;
    Ok(keys)
}

/// Reads an object; `place_of` says where among `values` that of a key goes, if it is wanted.
fn read<'a>(
    text: &'a str,
    place_of: &mut dyn FnMut(&str) -> Option<usize>,
    values: &mut [Option<Literal<'a>>],
) -> result::Result<(), String> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.expect(b'{')?;
    while !cursor.takes(b'}') {
        let Some(key) = cursor.quoted()? else { return Err(cursor.unexpected("a key")) };
        cursor.expect(b':')?;
        let value = cursor.value()?;
        if let Some(n) = place_of(&key.decode()) {
            values[n] = value.map(|(kind, raw)| match kind {
                Kind::Text => Literal::Text(raw.decode()),
                Kind::Number => Literal::Number(raw.text),
                Kind::List => Literal::List(raw.text),
                Kind::Dictionary => Literal::Dictionary(raw.text),
            });
        }
        if !cursor.takes(b',') {
            cursor.expect(b'}')?;
            break;
        }
    }
    cursor.skip_blanks();
    if cursor.peek().is_some() {
        return Err(cursor.unexpected("the end of the line"));
    }
    Ok(())
}

impl<'a> Literal<'a> {
    /// It as a table's cell. A dictionary is a value where it is one of MongoDB's: `{"$date": …}`, `{"$oid": …}`.
    pub(crate) fn into_cell(self) -> Cell<'a> {
        match self {
            Self::Text(text) => Cell::Text(text),
            Self::Number(text) => Cell::Number(Cow::Borrowed(text)),
            Self::List(text) => Cell::List(values_in(text)),
            Self::Dictionary(text) => mongo(text).unwrap_or(Cell::Nested),
        }
    }
}

/// The values in a list, whatever stands in what, parted by `, `.
fn values_in(text: &str) -> String {
    let (mut cursor, mut values) = (Cursor { text, at: 0 }, Vec::new());
    loop {
        cursor.skip_blanks();
        match cursor.peek() {
            None => return values.join(", "),
            Some(b'[' | b']' | b'(' | b')' | b'{' | b'}' | b',' | b':') => cursor.at += 1,
            Some(_) => match cursor.value() {
                Ok(Some((_, raw))) => values.push(raw.decode().into_owned()),
                Ok(None) => {}
                // It was passed over once, so this is a value that only lists have.
                Err(_) => return values.join(", "),
            },
        }
    }
}

/// What MongoDB's extended JSON writes as a dictionary.
fn mongo<'a>(text: &str) -> Option<Cell<'a>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (key, value) = value.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    let number = |value: &Value| {
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
        let long = || value["$numberLong"].as_str()?.parse().ok();
        value.as_i64().or_else(long).or(whole.map(|number| number as i64))
    };
    match (key.as_str(), value) {
        ("$date", Value::String(text)) => iso_moment(text).map(Cell::Moment),
        ("$date", value) => Some(Cell::Moment(number(value)?.checked_mul(1000)?)),
        ("$timestamp", value) => Some(Cell::Moment(number(&value["t"])?.checked_mul(1_000_000)?)),
        ("$oid" | "$uuid", Value::String(text)) => Some(Cell::Text(Cow::Owned(text.clone()))),
        ("$numberLong" | "$numberInt" | "$numberDouble" | "$numberDecimal", Value::String(text)) => {
            Some(Cell::Number(Cow::Owned(text.clone())))
        }
        _ => None,
    }
}

/// What a value is.
enum Kind {
    Text,
    Number,
    List,
    Dictionary,
}

/// A value as it stands.
struct Raw<'a> {
    /// What stands between the quotes.
    text: &'a str,
    /// Whether a backslash is in it.
    escaped: bool,
    /// Whether it is marked as Unicode: `u'…'`.
    unicode: bool,
}

/// A place in the line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Whether `byte` comes next; if so, goes behind it.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> result::Result<(), String> {
        if self.takes(byte) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", char::from(byte)))) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let (before, rest) = self.text.split_at(self.at);
        match rest.chars().next() {
            Some(found) => format!("`{found}` in column {} where {wanted} should be", 1 + before.chars().count()),
            None => format!("the line ends where {wanted} should be"),
        }
    }

    /// The text that comes next, if one does.
    fn quoted(&mut self) -> result::Result<Option<Raw<'a>>, String> {
        self.skip_blanks();
        let bytes = self.text.as_bytes();
        let is_quote = |at: usize| matches!(bytes.get(at), Some(b'"' | b'\''));
        let unicode = matches!(bytes.get(self.at), Some(b'u' | b'U')) && is_quote(self.at + 1);
        let start = self.at + usize::from(unicode) + 1;
        if !is_quote(start - 1) {
            return Ok(None);
        }
        let (quote, mut at, mut escaped) = (bytes[start - 1], start, false);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(next) = rest.iter().position(|byte| *byte == quote || *byte == b'\\') else {
                return Err("the line ends within a text".to_string());
            };
            at += next;
            if bytes[at] == quote {
                break;
            }
            escaped = true;
            at += 2;
        }
        self.at = at + 1;
        Ok(Some(Raw { text: &self.text[start..at], escaped, unicode }))
    }

    /// The value that comes next; `None` for none and for what is no number.
    fn value(&mut self) -> result::Result<Option<(Kind, Raw<'a>)>, String> {
        if let Some(text) = self.quoted()? {
            return Ok(Some((Kind::Text, text)));
        }
        let start = self.at;
        let plain = |text| Raw { text, escaped: false, unicode: true };
        if let Some(open @ (b'[' | b'{' | b'(')) = self.peek() {
            self.skip_nested()?;
            let kind = if open == b'{' { Kind::Dictionary } else { Kind::List };
            return Ok(Some((kind, plain(&self.text[start..self.at]))));
        }
        let rest = &self.text[self.at..];
        let is_end = |byte: u8| matches!(byte, b',' | b'}' | b']' | b')') || byte.is_ascii_whitespace();
        let text = &rest[..rest.bytes().position(is_end).unwrap_or(rest.len())];
        let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let value = match text {
            "null" | "None" | "NaN" | "nan" | "Infinity" | "-Infinity" | "inf" | "-inf" | "-NaN" | "-nan" => None,
            "true" | "True" | "false" | "False" => Some(text),
            _ if is_number => Some(text),
            _ => return Err(self.unexpected("a value")),
        };
        self.at += text.len();
        Ok(value.map(|text| (Kind::Number, plain(text))))
    }

    fn skip_nested(&mut self) -> result::Result<(), String> {
        let mut depth = 0_usize;
        loop {
            if self.quoted()?.is_some() {
                continue;
            }
            match self.peek() {
                Some(b'[' | b'{' | b'(') => depth += 1,
                Some(b']' | b'}' | b')') => depth -= 1,
                Some(_) => {}
                None => return Err("the line ends within a list or a dictionary".to_string()),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

impl<'a> Raw<'a> {
    fn decode(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.text);
        }
        // In Python 2, `'\xc3\xa9'` are bytes of UTF-8, in Python 3 and in `u'…'` they are characters.
        let as_bytes = if self.unicode { None } else { String::from_utf8(unescape(self.text, true)).ok() };
        Cow::Owned(as_bytes.unwrap_or_else(|| String::from_utf8_lossy(&unescape(self.text, false)).into_owned()))
    }
}

/// UTF-8 of a text with backslashes; with `bytes`, what `\xNN` writes is a byte and no character.
fn unescape(mut text: &str, bytes: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut buffer = [0; 4];
    while let Some((before, escape)) = text.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        match number(escape) {
            Some((byte, end)) if bytes && escape.starts_with('x') => {
                out.push(byte as u8);
                text = &escape[end..];
            }
            Some((code, end)) => {
                let (code, end) = joined(code, end, escape);
                let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                text = &escape[end..];
            }
            None => {
                let mut rest = escape.chars();
                let character = match rest.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some(itself) => itself,
                    None => '\\',
                };
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                text = rest.as_str();
            }
        }
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// The number that `x41`, `u0041` or `U00000041` writes, and the length of that.
fn number(escape: &str) -> Option<(u32, usize)> {
    let end = match escape.as_bytes().first()? {
        b'x' => 3,
        b'u' => 5,
        b'U' => 9,
        _ => return None,
    };
    Some((u32::from_str_radix(escape.get(1..end)?, 16).ok()?, end))
}

/// `code`, or what it writes together with the second half of its surrogate pair, if that follows; and where it ends.
fn joined(code: u32, end: usize, escape: &str) -> (u32, usize) {
    let second = escape[end..].strip_prefix('\\').and_then(number);
    match (code, second) {
        (0xd800..=0xdbff, Some((low @ 0xdc00..=0xdfff, length))) => {
            (0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00), end + 1 + length)
        }
        _ => (code, end),
    }
}

#[cfg(test)]
mod tests;
