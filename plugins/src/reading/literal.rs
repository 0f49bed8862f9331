//! One dictionary on one line, as JSON or as Python prints it: `{"a": 1}`, `{u'a': "it's", 'b': None}`. Values that
//! nobody asks for are passed over without a copy.

use super::Line;
use framework::error::Result;
use std::borrow::Cow;
use std::result;

/// The value of each of `keys`: a text without its quotes, a number as it stands. `None` where a key is missing, and
/// where the value is none, a list or a dictionary.
pub(crate) fn fields<'a, const N: usize>(line: Line<'a>, keys: [Option<&str>; N]) -> Result<[Option<Cow<'a, str>>; N]> {
    read(line.text, keys).map_err(|what| line.place.broken(what))
}

/// The value of each of `keys`, which must all be there.
pub(crate) fn required<'a, const N: usize>(line: Line<'a>, keys: [&str; N]) -> Result<[Cow<'a, str>; N]> {
    let values = fields(line, keys.map(Some))?;
    match values.iter().position(Option::is_none) {
        Some(n) => Err(line.place.broken(format!("`{}` is missing", keys[n]))),
        None => Ok(values.map(Option::unwrap_or_default)),
    }
}

fn read<'a, const N: usize>(
    text: &'a str,
    keys: [Option<&str>; N],
) -> result::Result<[Option<Cow<'a, str>>; N], String> {
    let mut cursor = Cursor { text, at: 0 };
    let mut values: [Option<Cow<'a, str>>; N] = std::array::from_fn(|_| None);
    cursor.expect(b'{')?;
    while !cursor.takes(b'}') {
        let Some(key) = cursor.quoted()? else { return Err(cursor.unexpected("a key")) };
        cursor.expect(b':')?;
        let value = cursor.value()?;
        let key = key.decode();
        if let Some(n) = keys.iter().position(|wanted| *wanted == Some(&*key)) {
            values[n] = value.map(Raw::decode);
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
    Ok(values)
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

    /// The value that comes next; `None` for none, lists and dictionaries.
    fn value(&mut self) -> result::Result<Option<Raw<'a>>, String> {
        if let Some(text) = self.quoted()? {
            return Ok(Some(text));
        }
        if matches!(self.peek(), Some(b'[' | b'{' | b'(')) {
            self.skip_nested()?;
            return Ok(None);
        }
        let rest = &self.text[self.at..];
        let is_end = |byte: u8| matches!(byte, b',' | b'}' | b']' | b')') || byte.is_ascii_whitespace();
        let text = &rest[..rest.bytes().position(is_end).unwrap_or(rest.len())];
        let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let value = match text {
            "null" | "None" | "NaN" | "nan" => None,
            "true" | "True" | "false" | "False" => Some(text),
            _ if is_number => Some(text),
            _ => return Err(self.unexpected("a value")),
        };
        self.at += text.len();
        Ok(value.map(|text| Raw { text, escaped: false, unicode: true }))
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
