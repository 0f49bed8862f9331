//! A file that is one array of JSON: its objects one at a time, each as a line of its own would be.

use super::literal::FIX;
use super::source::{self, Encoding};
use super::{Line, Place};
use framework::context::is_interrupted;
use framework::error::{Error, Explain, Result};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Calls `each` for every object of an array, with the line that it begins on; one object at a time in memory.
pub(super) fn array(path: &Path, encoding: Encoding, each: &mut dyn FnMut(Line<'_>) -> Result<()>) -> Result<()> {
    let mut source = BufReader::with_capacity(1 << 18, source::open(path, encoding)?);
    let mut scan = Scan { depth: 0, quote: None, escaped: false, ended: false };
    let (mut text, mut line, mut begin) = (Vec::new(), 1, 1);
    skip_mark(&mut source).explain("reading a file of the dataset", path.display())?;
    let place = |number| Place { path, unit: "line", number };
    loop {
        let chunk = source.fill_buf().explain("reading a file of the dataset", path.display())?;
        if is_interrupted() {
            return Err(Error::interrupted());
        }
        if chunk.is_empty() {
            return match scan.ended {
                true => Ok(()),
                false => Err(place(line).broken("the file ends within its array").fix("the whole file")),
            };
        }
        let size = chunk.len();
        for byte in chunk {
            let outside = scan.depth < 2;
            let Some(complete) = scan.step(*byte) else {
                return Err(place(line).broken(format!("`{}` where an object should be", char::from(*byte))).fix(FIX));
            };
            if scan.depth > 1 || complete {
                if outside {
                    begin = line;
                }
                text.push(*byte);
            }
            line += usize::from(*byte == b'\n');
            if complete {
                let object = String::from_utf8(std::mem::take(&mut text));
                let object = object.map_err(|_| place(begin).broken("the text is not UTF-8"))?;
                each(Line { text: &object, place: place(begin) })?;
            }
            if text.len() > super::lines::LONGEST as usize {
                return Err(place(begin).broken("an object of more than 64 MiB").fix(FIX));
            }
        }
        source.consume(size);
    }
}

/// Whether a file is an array and no lines of objects.
pub(super) fn is_array(path: &Path, encoding: Encoding) -> Result<bool> {
    let mut source = BufReader::new(source::open(path, encoding)?);
    let read = skip_mark(&mut source)
        .and_then(|()| source.fill_buf().map(|text| text.trim_ascii_start().first() == Some(&b'[')));
    // What cannot be read is said with its line later.
    Ok(read.unwrap_or(false))
}

/// Goes behind the mark that some programs put before UTF-8.
fn skip_mark(source: &mut impl BufRead) -> std::io::Result<()> {
    if source.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
        source.consume(3);
    }
    Ok(())
}

/// How deep a text of JSON is at a byte.
struct Scan {
    /// 1 within the array, 2 within an object of it.
    depth: usize,
    quote: Option<u8>,
    escaped: bool,
    ended: bool,
}

impl Scan {
    /// Goes on by a byte; says whether an object ends with it. None where it cannot stand there.
    fn step(&mut self, byte: u8) -> Option<bool> {
        if let Some(quote) = self.quote {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                _ if byte == quote => self.quote = None,
                _ => {}
            }
            return Some(false);
        }
        match byte {
            b'[' if self.depth == 0 && !self.ended => self.depth = 1,
            b']' if self.depth == 1 => (self.depth, self.ended) = (0, true),
            b'{' if self.depth == 1 => self.depth = 2,
            b'"' | b'\'' if self.depth > 1 => self.quote = Some(byte),
            b'{' | b'[' | b'(' if self.depth > 1 => self.depth += 1,
            b'}' | b']' | b')' if self.depth > 1 => {
                self.depth -= 1;
                return Some(self.depth == 1);
            }
            _ if self.depth > 1 || byte.is_ascii_whitespace() => {}
            b',' if self.depth == 1 => {}
            _ => return None,
        }
        Some(false)
    }
}
