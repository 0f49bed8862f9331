//! Text files line by line, and places in them for messages.

use super::source::{self, Encoding};
use framework::context::is_interrupted;
use framework::error::{Error, Result};
use std::fmt::Display;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A place in a file, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// What it is divided into: a line, a row.
    pub(crate) unit: &'static str,
    /// Which of them, from 1.
    pub(crate) number: usize,
}

impl Place<'_> {
    /// It with the file's name alone: what is kept names no folder of this machine.
    pub(crate) fn in_file(self) -> String {
        let file = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{file}, {} {}", self.unit, self.number)
    }

    /// An error that says what is wrong here.
    pub(crate) fn broken(self, what: impl Display) -> Error {
        Error::new(what).at(format!("{}, {} {}", self.path.display(), self.unit, self.number))
    }
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// What it says.
    pub(crate) text: &'a str,
    /// Where it is.
    pub(crate) place: Place<'a>,
}

/// What a line may be long: what is longer is no text.
pub(super) const LONGEST: u64 = 64 << 20;

/// `text` in quotes for a message; only its beginning where it is long.
pub(crate) fn short(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text file, one line at a time and never whole in memory; unpacked and decoded on the way.
pub(crate) struct Lines {
    path: PathBuf,
    source: BufReader<Box<dyn Read>>,
    text: String,
    number: usize,
    has_end: bool,
}

impl Lines {
    /// Opens the file at `path`, which is in UTF-8; `advance` comes before the first line.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_in(path, Encoding::UTF_8)
    }

    /// The same in another encoding.
    pub(crate) fn open_in(path: &Path, encoding: Encoding) -> Result<Self> {
        let source = BufReader::with_capacity(1 << 20, source::open(path, encoding)?);
        Ok(Self { path: path.to_path_buf(), source, text: String::new(), number: 0, has_end: true })
    }

    /// Moves on to the next line; false at the end of the file.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.number.is_multiple_of(1 << 16) && is_interrupted() {
            return Err(Error::interrupted());
        }
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        let read = (&mut self.source).take(LONGEST).read_until(b'\n', &mut bytes);
        self.number += 1;
        match read.map_err(|error| (error.kind(), error)) {
            Ok(0) => {
                self.number -= 1;
                return Ok(false);
            }
            Ok(_) if bytes.len() as u64 == LONGEST => {
                let what = format!("a line of more than {} MiB: this is no table of text", LONGEST >> 20);
                return Err(self.place().broken(what).fix("a text file with line breaks"));
            }
            Ok(_) => {}
            Err((ErrorKind::UnexpectedEof, _)) => {
                return Err(self.place().broken("the packed file is truncated").fix("the whole file, got again"));
            }
            Err((_, error)) => {
                let fix = "the whole file, got or packed again";
                return Err(self.place().broken(format!("the file cannot be read: {error}")).fix(fix));
            }
        }
        self.has_end = bytes.pop_if(|last| *last == b'\n').is_some();
        bytes.pop_if(|last| *last == b'\r');
        if self.number == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        self.text = String::from_utf8(bytes).map_err(|error| self.not_utf8(error.as_bytes()))?;
        if self.number == 1 && self.text.contains('\r') {
            let what = "the line breaks are carriage returns alone, as old Macs wrote them";
            return Err(self.place().broken(what).fix("the file with line feeds, as `tr '\\r' '\\n'` makes it"));
        }
        Ok(true)
    }

    fn not_utf8(&self, bytes: &[u8]) -> Error {
        let (what, encoding) = match bytes {
            [0xff, 0xfe, ..] => ("the file is UTF-16 and not UTF-8", "utf-16le"),
            [0xfe, 0xff, ..] => ("the file is UTF-16 and not UTF-8", "utf-16be"),
            [b'P', b'K', ..] => return self.no_text("a zip archive or a workbook"),
            [b'B', b'Z', b'h', ..] | [0xfd, b'7', b'z', ..] => return self.no_text("packed by bzip2 or xz"),
            [b'P', b'A', b'R', b'1', ..] => return self.no_text("parquet; its name should end in `.parquet`"),
            _ if bytes.contains(&0) => return self.no_text("no text: it has zeros in it"),
            _ => ("the line is not UTF-8", "windows-1252"),
        };
        let fix = format!(
            "`encoding = \"{encoding}\"`, gbk, shift_jis or what it is in, where the dataset has that setting; or the file in UTF-8"
        );
        self.place().broken(what).fix(fix)
    }

    fn no_text(&self, what: &str) -> Error {
        self.place()
            .broken(format!("the file is {what}"))
            .fix("the table itself, unpacked; or packed as `.gz` or `.zst`")
    }

    /// The line that `advance` moved to.
    pub(crate) fn line(&self) -> Line<'_> {
        Line { text: &self.text, place: self.place() }
    }

    /// Where that is.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { path: &self.path, unit: "line", number: self.number }
    }

    /// Whether the last line read ends with a line break, as the last line of a whole file mostly does.
    pub(crate) fn has_end(&self) -> bool {
        self.has_end
    }

    /// An error where the last line is cut off; for sources whose files all end with a line break.
    pub(crate) fn check_end(&self) -> Result<()> {
        match self.has_end {
            true => Ok(()),
            false => Err(self.place().broken("the file is truncated: its last line has no line break")),
        }
    }
}
