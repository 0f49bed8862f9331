//! What readers of files share: files line by line, ids as indices, sequences and times as interactions, titles and
//! pictures as a catalogue. It knows no source's format.

pub(crate) mod columns;
pub(crate) mod delimited;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod literal;
pub(crate) mod vectors;

use flate2::read::MultiGzDecoder;
use framework::context::is_interrupted;
use framework::corpus::{Interactions, Items, is_picture, picture_ending};
use framework::error::{Error, Explain, Result};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The first of `names` that is a file in `folder`; or what is missing, and `fix`.
pub(crate) fn present(folder: &Path, names: &[&str], fix: impl Display) -> Result<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let missing = || Error::new(format!("the file {} is missing", names.join(" or "))).at(folder.display()).fix(fix);
    found.ok_or_else(missing)
}

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

/// A text file, one line at a time and never whole in memory; unpacked on the way if its name ends in `.gz`.
pub(crate) struct Lines {
    path: PathBuf,
    source: BufReader<Box<dyn Read>>,
    text: String,
    number: usize,
    has_end: bool,
}

impl Lines {
    /// Opens the file at `path`; `advance` comes before the first line.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).explain("opening a file of the dataset", path.display())?;
        let source: Box<dyn Read> = match path.extension().is_some_and(|extension| extension == "gz") {
            true => Box::new(MultiGzDecoder::new(file)),
            false => Box::new(file),
        };
        let source = BufReader::with_capacity(1 << 20, source);
        Ok(Self { path: path.to_path_buf(), source, text: String::new(), number: 0, has_end: true })
    }

    /// Moves on to the next line; false at the end of the file.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        if self.number.is_multiple_of(1 << 16) && is_interrupted() {
            return Err(Error::interrupted());
        }
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        let read = self.source.read_until(b'\n', &mut bytes);
        self.number += 1;
        match read.map_err(|error| (error.kind(), error)) {
            Ok(0) => {
                self.number -= 1;
                return Ok(false);
            }
            Ok(_) => {}
            Err((ErrorKind::UnexpectedEof, _)) => return Err(self.place().broken("the packed file is truncated")),
            Err((_, error)) => return Err(self.place().broken(format!("the file cannot be read: {error}"))),
        }
        self.has_end = bytes.pop_if(|last| *last == b'\n').is_some();
        bytes.pop_if(|last| *last == b'\r');
        if self.number == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        self.text = String::from_utf8(bytes).map_err(|_| self.place().broken("the line is not UTF-8"))?;
        Ok(true)
    }

    /// The line that `advance` moved to.
    pub(crate) fn line(&self) -> Line<'_> {
        Line { text: &self.text, place: self.place() }
    }

    /// Where that is.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { path: &self.path, unit: "line", number: self.number }
    }

    /// An error where the last line is cut off; for sources whose files all end with a line break.
    pub(crate) fn check_end(&self) -> Result<()> {
        match self.has_end {
            true => Ok(()),
            false => Err(self.place().broken("the file is truncated: its last line has no line break")),
        }
    }
}

/// Ids, and the index of each by its first appearance.
#[derive(Default)]
pub(crate) struct Ids {
    index: HashMap<Box<str>, u32>,
}

impl Ids {
    /// The index of `id`, if it is known.
    pub(crate) fn get(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The index of `id`, a new one if it is not known yet.
    pub(crate) fn intern(&mut self, id: &str) -> u32 {
        if let Some(known) = self.get(id) {
            return known;
        }
        let new = self.index.len() as u32;
        self.index.insert(id.into(), new);
        new
    }

    /// The index of an id that must be new.
    pub(crate) fn add(&mut self, id: &str) -> Option<u32> {
        let known = self.index.len();
        Some(self.intern(id)).filter(|_| self.index.len() > known)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The ids in the order of their indices.
    pub(crate) fn into_names(self) -> Vec<String> {
        let mut names = vec![String::new(); self.index.len()];
        for (name, index) in self.index {
            names[index as usize] = name.into_string();
        }
        names
    }
}

/// Adds one interaction.
pub(crate) fn push(interactions: &mut Interactions, user: u32, item: u32, timestamp: i64) {
    interactions.user.push(user);
    interactions.item.push(item);
    interactions.timestamp.push(timestamp);
}

/// Adds a user's items, oldest first, at the times 0, 1, 2 …: the source has no clock.
pub(crate) fn push_sequence(interactions: &mut Interactions, user: u32, items: &[u32]) {
    items.iter().zip(0..).for_each(|(item, position)| push(interactions, user, *item, position));
}

/// Milliseconds from a number of seconds: `881250949`, `1.5e9`.
pub(crate) fn milliseconds(seconds: &str) -> Option<i64> {
    if let Ok(whole) = seconds.parse::<i64>() {
        return whole.checked_mul(1000);
    }
    let seconds = seconds.parse::<f64>().ok()?;
    (seconds.abs() < 1e12).then(|| (seconds * 1000.0).round() as i64)
}

/// `interactions` with their milliseconds made seconds, where all of them are whole ones.
pub(crate) fn in_seconds(mut interactions: Interactions) -> Interactions {
    interactions.milliseconds = interactions.timestamp.iter().any(|time| time % 1000 != 0);
    if !interactions.milliseconds {
        interactions.timestamp.iter_mut().for_each(|time| *time /= 1000);
    }
    interactions
}

/// The catalogue of `ids`. An item whose title is missing or empty is called as its id.
pub(crate) fn catalogue(ids: Vec<String>, mut titles: Vec<String>, pictures: &Pictures) -> Result<Items> {
    titles.resize(ids.len(), String::new());
    let mut untitled = 0;
    for (title, id) in titles.iter_mut().zip(&ids).filter(|(title, _)| title.is_empty()) {
        title.clone_from(id);
        untitled += 1;
    }
    if untitled > 0 {
        tracing::info!(untitled, items = ids.len(), "items without a title are called as their ids");
    }
    let image = ids.iter().map(|id| pictures.of(id)).collect::<Result<_>>()?;
    Ok(Items { id: ids, title: titles, image })
}

/// A title on one line, with single blanks: prompts list one item per line.
pub(crate) fn one_line(title: &str) -> String {
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where the picture of each item is, by the item's id.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    paths: BTreeMap<String, PathBuf>,
}

impl Pictures {
    /// Those in `folder`, `<id>.png`, `.jpg`, `.jpeg` or `.webp`; none where there is no folder.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let mut paths = BTreeMap::new();
        if !folder.exists() {
            return Ok(Self { paths });
        }
        for entry in std::fs::read_dir(folder).explain("listing pictures", folder.display())? {
            let path = entry.explain("listing pictures", folder.display())?.path();
            let id = path.file_stem().and_then(OsStr::to_str).map(String::from);
            let Some(id) = id.filter(|_| is_picture(&path)) else { continue };
            if paths.insert(id.clone(), path).is_some() {
                return Err(Error::new(format!("item {id} has two pictures")).at(folder.display()).fix("one of them"));
            }
        }
        Ok(Self { paths })
    }

    /// Says where an item's picture is.
    pub(crate) fn add(&mut self, id: &str, path: PathBuf) {
        self.paths.insert(id.to_string(), path);
    }

    /// Their paths, in the order of the ids.
    pub(crate) fn into_files(self) -> impl Iterator<Item = PathBuf> {
        self.paths.into_values()
    }

    /// The bytes of an item's picture, if it has one.
    fn of(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.paths.get(id) else { return Ok(None) };
        let bytes = std::fs::read(path).explain("reading a picture", path.display())?;
        match picture_ending(&bytes) {
            Some(_) => Ok(Some(bytes)),
            None => {
                let error = Error::new("the file is no picture in PNG, JPEG or WebP");
                Err(error.at(path.display()).fix("a picture, or no file"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
