//! Text of rows and fields below a header: CSV, TSV. A field may stand in double quotes, and hold separators, line
//! breaks and doubled quotes there. Blank lines are skipped.

use super::columns::{Column, Layout, named};
use super::{Lines, Place};
use framework::error::{Error, Result};
use std::path::Path;

/// The word for any number of blanks and tabs.
pub(crate) const BLANKS: &str = "blanks";

/// What fields are parted by in files whose names do not say it.
const SEPARATORS: [&str; 6] = ["\t", ",", ";", "|", "::", BLANKS];

/// A file's rows, one at a time.
pub(crate) struct Rows {
    lines: Lines,
    separator: Separator,
    quotes: bool,
    header: Vec<String>,
    /// Whether the line at hand is a row already: in a file without a header, the first is.
    is_ahead: bool,
    /// The fields of the current row behind one another, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// The line that it starts on.
    number: usize,
    /// Rows that go over several lines, and the first of them.
    folded: (usize, usize),
}

/// What parts fields.
#[derive(Clone, Debug)]
enum Separator {
    Byte(u8),
    Text(String),
    Blanks,
}

impl Separator {
    fn new(text: &str) -> Self {
        match text.as_bytes() {
            _ if text == BLANKS => Self::Blanks,
            [byte] => Self::Byte(*byte),
            _ => Self::Text(text.to_string()),
        }
    }

    /// Where the first field of `text` ends, and where the next begins.
    fn find(&self, text: &str) -> Option<(usize, usize)> {
        match self {
            // Fields are short: looking at each byte is faster than what finds one far away.
            Self::Byte(byte) => text.bytes().position(|other| other == *byte).map(|at| (at, at + 1)),
            Self::Text(separator) => text.find(separator.as_str()).map(|at| (at, at + separator.len())),
            Self::Blanks => {
                let is_blank = |character: char| character == ' ' || character == '\t';
                let at = text.find(is_blank)?;
                Some((at, text.len() - text[at..].trim_start_matches(is_blank).len()))
            }
        }
    }

    /// How many fields `text` has, whatever is quoted.
    fn fields(&self, mut text: &str) -> usize {
        let mut fields = 1;
        while let Some((_, next)) = self.find(text) {
            (text, fields) = (&text[next..], fields + 1);
        }
        fields
    }
}

/// One row, with as many fields as the header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    text: &'a str,
    ends: &'a [usize],
    /// Where it starts.
    pub(crate) place: Place<'a>,
}

impl Rows {
    /// Opens the file at `path` and reads its header; `quotes` is whether fields may stand in double quotes.
    pub(crate) fn open(path: &Path, separator: char, quotes: bool) -> Result<Self> {
        Self::open_as(path, separator.encode_utf8(&mut [0; 4]), &Layout { quotes, ..Layout::default() })
    }

    /// The same of a file as `layout` says, whose fields `separator` parts.
    pub(crate) fn open_as(path: &Path, separator: &str, layout: &Layout) -> Result<Self> {
        let mut rows = Self {
            lines: Lines::open_in(path, layout.encoding)?,
            separator: Separator::new(separator),
            quotes: layout.quotes,
            header: Vec::new(),
            is_ahead: false,
            text: String::new(),
            ends: Vec::new(),
            number: 0,
            folded: (0, 0),
        };
        let is_empty = !rows.split()?;
        match &layout.header {
            Some(header) => {
                let fields: Vec<&str> = (0..rows.ends.len()).map(|n| rows.row().field(n).trim()).collect();
                if header.len() > 1 && fields == header.iter().map(String::as_str).collect::<Vec<_>>() {
                    let fix = format!("no `{}header`, since the file has one", layout.prefix);
                    return Err(rows.place().broken("the first line is the header that the settings give").fix(fix));
                }
                (rows.header, rows.is_ahead) = (header.clone(), !is_empty);
            }
            None if is_empty => {
                return Err(Error::new("the file is empty").at(path.display()).fix("a file with a header and rows"));
            }
            None => {
                rows.header = (0..rows.ends.len()).map(|n| rows.row().field(n).trim().to_string()).collect();
                // Whoever ends each row with a separator ends the header with one too.
                while rows.header.last().is_some_and(String::is_empty) {
                    rows.header.pop();
                }
            }
        }
        Ok(rows)
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row; `None` at the end of the file.
    pub(crate) fn advance(&mut self) -> Result<Option<Row<'_>>> {
        if !std::mem::take(&mut self.is_ahead) && !self.split()? {
            return Ok(None);
        }
        let (row, wanted) = (self.row(), self.header.len());
        let found = row.ends.len();
        let rest_is_empty = (wanted..found).all(|n| row.field(n).is_empty());
        if found < wanted || !rest_is_empty {
            let fix = match row.text.contains('"') || self.lines.line().text.contains('"') {
                true => {
                    "quotes around a field that holds the separator or a quote, doubled; or `quotes = false` if nothing is quoted"
                }
                false => "as many fields as the header; quotes around a field that holds the separator",
            };
            return Err(row.place.broken(format!("{found} fields instead of {wanted}")).fix(fix));
        }
        Ok(Some(row))
    }

    /// An error where the last line is cut off; for sources whose files all end with a line break.
    pub(crate) fn check_end(&self) -> Result<()> {
        self.lines.check_end()
    }

    /// What a reader should know of the file, once it is read.
    pub(crate) fn remark(&self) -> Vec<String> {
        let file = |number| Place { number, ..self.lines.place() }.in_file();
        let mut remarks = Vec::new();
        if !self.lines.has_end() {
            remarks.push(format!(
                "{} is the last and has no line break: if the file was cut there, its end is lost",
                file(self.number)
            ));
        }
        if let (folded @ 1.., first) = self.folded {
            remarks.push(format!("{folded} rows have line breaks within quotes, the first: {}", file(first)));
        }
        remarks
    }

    /// Where the current row starts.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { number: self.number, ..self.lines.place() }
    }

    fn row(&self) -> Row<'_> {
        Row { text: &self.text, ends: &self.ends, place: self.place() }
    }

    /// Goes to the next line that is not blank; false at the end of the file.
    fn advance_to_text(&mut self) -> Result<bool> {
        while self.lines.advance()? {
            // A line of tabs is a row without values where tabs part fields.
            let line = self.lines.line().text;
            let is_blank = match self.separator {
                Separator::Blanks => line.trim().is_empty(),
                _ => line.trim_matches(' ').is_empty(),
            };
            if !is_blank {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Splits the next row into its fields; false at the end of the file.
    fn split(&mut self) -> Result<bool> {
        self.text.clear();
        self.ends.clear();
        if !self.advance_to_text()? {
            return Ok(false);
        }
        self.number = self.lines.place().number;
        let mut rest = self.lines.line().text;
        if matches!(self.separator, Separator::Blanks) {
            rest = rest.trim();
        }
        loop {
            match rest.strip_prefix('"') {
                Some(quoted) if self.quotes => {
                    rest = quoted;
                    let mut is_whole = false;
                    while let Some(broken) = unquote(&mut rest, &mut self.text) {
                        self.text.push_str(broken);
                        self.text.push('\n');
                        // A line that is all within the quotes and has the fields of a row.
                        if is_whole && self.looks_like_a_row() || !self.lines.advance()? {
                            return Err(self.unclosed());
                        }
                        (rest, is_whole) = (self.lines.line().text, true);
                    }
                    // Blanks behind a closing quote say nothing, unless they part fields.
                    if !matches!(self.separator, Separator::Byte(b' ') | Separator::Blanks) {
                        rest = rest.trim_start_matches(' ');
                    }
                }
                _ => {
                    let end = self.separator.find(rest).map_or(rest.len(), |(end, _)| end);
                    self.text.push_str(&rest[..end]);
                    rest = &rest[end..];
                }
            }
            self.ends.push(self.text.len());
            match self.separator.find(rest) {
                Some((0, next)) => rest = &rest[next..],
                _ if rest.is_empty() => break,
                _ => {
                    let fix = "a quote within quotes doubled: `\"\"`; or `quotes = false` if nothing is quoted";
                    return Err(self.place().broken("text follows the closing quote of a field").fix(fix));
                }
            }
        }
        if self.lines.place().number > self.number {
            let (rows, first) = self.folded;
            self.folded = (rows + 1, if rows == 0 { self.number } else { first });
        }
        Ok(true)
    }

    /// Whether this line, which is within quotes, has the fields of a row: then the quote was to end before it. Of two
    /// fields this says little, since text may hold a separator.
    fn looks_like_a_row(&self) -> bool {
        self.header.len() > 2 && self.separator.fields(self.lines.line().text) == self.header.len()
    }

    fn unclosed(&self) -> Error {
        let fix = "the quote closed, or doubled where it is a character; or `quotes = false` if nothing is quoted";
        self.place().broken("a field's closing quote is missing").fix(fix)
    }
}

/// What parts the fields of a file whose name does not say it: that with which the first line has all columns.
pub(super) fn guess(path: &Path, layout: &Layout, columns: &[Column]) -> Result<&'static str> {
    let fits = |separator: &&str| -> Result<bool> {
        let rows = Rows::open_as(path, separator, &Layout { header: None, ..layout.clone() })?;
        Ok(match &layout.header {
            Some(header) => rows.ends.len() == header.len() && header.len() > 1,
            None => columns.iter().all(|column| rows.header().iter().any(|name| name == column.name)),
        })
    };
    for separator in SEPARATORS {
        // What is quoted under one separator is broken under another.
        if fits(&separator).unwrap_or(false) {
            return Ok(separator);
        }
    }
    // The errors of the one that parts the most say what is missing.
    Ok(SEPARATORS.into_iter().rev().max_by_key(|separator| width(path, separator, layout)).unwrap_or(","))
}

/// How many fields the first line has with a separator.
fn width(path: &Path, separator: &str, layout: &Layout) -> usize {
    Rows::open_as(path, separator, &Layout { header: None, ..layout.clone() }).map_or(0, |rows| rows.ends.len())
}

/// The setting with which the columns would be there, where it is another than their names.
pub(super) fn remedy(path: &Path, layout: &Layout, columns: &[Column], header: &[&str]) -> Option<String> {
    let has_all = |separator: &&&str| {
        let rows = Rows::open_as(path, separator, layout).ok();
        rows.is_some_and(|rows| columns.iter().all(|column| rows.header().iter().any(|name| name == column.name)))
    };
    if let Some(separator) = SEPARATORS.iter().find(has_all) {
        let shown = if *separator == "\t" { "\\t" } else { separator };
        return Some(format!("`{}separator = \"{shown}\"`", layout.prefix));
    }
    let best = SEPARATORS.into_iter().rev().max_by_key(|separator| width(path, separator, layout));
    if let Some(separator) = best.filter(|separator| header.len() == 1 && width(path, separator, layout) > 1) {
        let shown = if separator == "\t" { "\\t" } else { separator };
        let prefix = layout.prefix;
        return Some(format!(
            "`{prefix}separator = \"{shown}\"`; and `{prefix}header`, the names of the columns, if the file has none"
        ));
    }
    let is_named = |name: &&str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let is_value = |name: &&str| name.parse::<f64>().is_ok() || name.is_empty();
    if header.iter().any(is_value) && !header.iter().any(is_named) {
        let wanted: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let more = if header.len() > wanted.len() { ", …" } else { "" };
        let list = format!("[{}{more}]", wanted.join(", "));
        let other = columns.first().map_or(String::new(), |column| named(column, header));
        let (count, prefix) = (header.len(), layout.prefix);
        return Some(format!(
            "`{prefix}header = {list}`, the names of its {count} columns, if the file has no header; else {other}"
        ));
    }
    None
}

/// Moves what stands before the closing quote from `rest` to `text`, doubled quotes as one, and `rest` behind the
/// quote. Where none closes, what is left of the line, which is not moved.
fn unquote<'a>(rest: &mut &'a str, text: &mut String) -> Option<&'a str> {
    loop {
        let Some((inside, behind)) = rest.split_once('"') else { return Some(*rest) };
        text.push_str(inside);
        *rest = behind;
        let behind = rest.strip_prefix('"')?;
        text.push('"');
        *rest = behind;
    }
}

impl<'a> Row<'a> {
    /// The field of column `n`.
    pub(crate) fn field(&self, n: usize) -> &'a str {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.text[start..self.ends[n]]
    }
}

#[cfg(test)]
mod tests;
