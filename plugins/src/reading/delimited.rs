//! Text of rows and columns below a header: CSV, TSV. A field may stand in double quotes, and hold separators, line
//! breaks and doubled quotes there. Blank lines are skipped.

use super::{Lines, Place};
use framework::error::{Error, Result};
use std::path::Path;

/// A file's rows, one at a time.
pub(crate) struct Rows {
    lines: Lines,
    separator: char,
    quotes: bool,
    header: Vec<String>,
    /// The fields of the current row behind one another, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// The line that it starts on.
    number: usize,
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
        let lines = Lines::open(path)?;
        let (header, text, ends) = (Vec::new(), String::new(), Vec::new());
        let mut rows = Self { lines, separator, quotes, header, text, ends, number: 0 };
        if !rows.split()? {
            return Err(Error::new("the file is empty").at(path.display()));
        }
        rows.header = (0..rows.ends.len()).map(|n| rows.row().field(n).to_string()).collect();
        Ok(rows)
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The next row; `None` at the end of the file.
    pub(crate) fn advance(&mut self) -> Result<Option<Row<'_>>> {
        if !self.split()? {
            return Ok(None);
        }
        let row = self.row();
        match (row.ends.len(), self.header.len()) {
            (found, wanted) if found != wanted => Err(row.place.broken(format!("{found} fields instead of {wanted}"))),
            _ => Ok(Some(row)),
        }
    }

    /// An error where the last line is cut off; for sources whose files all end with a line break.
    pub(crate) fn check_end(&self) -> Result<()> {
        self.lines.check_end()
    }

    /// Where the current row starts.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { number: self.number, ..self.lines.place() }
    }

    fn row(&self) -> Row<'_> {
        Row { text: &self.text, ends: &self.ends, place: self.place() }
    }

    /// Splits the next row into its fields; false at the end of the file.
    fn split(&mut self) -> Result<bool> {
        self.text.clear();
        self.ends.clear();
        loop {
            if !self.lines.advance()? {
                return Ok(false);
            }
            if !self.lines.line().text.is_empty() {
                break;
            }
        }
        self.number = self.lines.place().number;
        let mut rest = self.lines.line().text;
        loop {
            match rest.strip_prefix('"') {
                Some(quoted) if self.quotes => {
                    rest = quoted;
                    while let Some(broken) = unquote(&mut rest, &mut self.text) {
                        self.text.push_str(broken);
                        self.text.push('\n');
                        if !self.lines.advance()? {
                            return Err(self.place().broken("a field's closing quote is missing"));
                        }
                        rest = self.lines.line().text;
                    }
                }
                _ => {
                    let (field, behind) = rest.split_at(rest.find(self.separator).unwrap_or(rest.len()));
                    self.text.push_str(field);
                    rest = behind;
                }
            }
            self.ends.push(self.text.len());
            match rest.strip_prefix(self.separator) {
                Some(next) => rest = next,
                None if rest.is_empty() => return Ok(true),
                None => return Err(self.place().broken("text follows the closing quote of a field")),
            }
        }
    }
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
