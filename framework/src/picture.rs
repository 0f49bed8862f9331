//! Pictures of items: where each one is, so that only who looks at a picture has it in memory; which files are pictures,
//! and whether one is whole. It knows nothing of pixels.

use crate::error::{Error, Explain, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod whole;

pub use whole::whole;

/// A picture in PNG, JPEG or WebP, whose bytes are read when somebody asks for them.
#[derive(Clone, Debug)]
pub struct Picture(Place);

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<[u8]>),
    File(Arc<Path>),
    /// Part of an open file, which can be read even after its name is gone.
    Stretch {
        of: Arc<File>,
        start: u64,
        bytes: u64,
    },
}

impl Picture {
    /// One that was drawn, not read.
    pub fn drawn(bytes: Vec<u8>) -> Self {
        Self(Place::Memory(bytes.into()))
    }

    /// One in a file of its own.
    pub fn of_file(path: &Path) -> Self {
        Self(Place::File(path.into()))
    }

    /// Its bytes, encoded.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match &self.0 {
            Place::Memory(bytes) => Ok(Cow::Borrowed(bytes)),
            Place::File(path) => fs::read(path).map(Cow::Owned).explain("reading a picture", path.display()),
            Place::Stretch { of, start, bytes } => {
                let mut found = vec![0; *bytes as usize];
                of.read_exact_at(&mut found, *start).explain("reading a picture", "the stored data set")?;
                Ok(Cow::Owned(found))
            }
        }
    }
}

/// Pictures are the same if their bytes are, wherever they lie.
impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        matches!((self.bytes(), other.bytes()), (Ok(own), Ok(others)) if own == others)
    }
}

/// Pictures one after the other in one file.
pub struct Album {
    file: Arc<File>,
    end: u64,
}

impl Album {
    /// An album in a new file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path);
        Ok(Self { file: Arc::new(file.explain("creating a file of pictures", path.display())?), end: 0 })
    }

    /// One in a file in `folder` that has no name, and is gone with the last of its pictures.
    pub fn temporary(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).explain("making a folder", folder.display())?;
        let file = tempfile::tempfile_in(folder).explain("creating a file of pictures", folder.display())?;
        Ok(Self { file: Arc::new(file), end: 0 })
    }

    /// Adds a picture.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Picture> {
        self.file.write_all_at(bytes, self.end).explain("writing a picture", "a file of pictures")?;
        Ok(self.next(bytes.len() as u64))
    }

    /// The pictures in the album at `path` by the size of each.
    pub fn read(path: &Path, sizes: impl Iterator<Item = Option<u64>>) -> Result<Vec<Option<Picture>>> {
        let file = File::open(path).explain("opening a file of pictures", path.display())?;
        let length = file.metadata().explain("opening a file of pictures", path.display())?.len();
        let mut album = Self { file: Arc::new(file), end: 0 };
        let pictures: Vec<_> = sizes.map(|size| size.map(|bytes| album.next(bytes))).collect();
        match album.end == length {
            true => Ok(pictures),
            false => {
                Err(Error::new(format!("pictures of {} bytes in a file of {length}", album.end)).at(path.display()))
            }
        }
    }

    fn next(&mut self, bytes: u64) -> Picture {
        let start = self.end;
        self.end = start.saturating_add(bytes);
        Picture(Place::Stretch { of: self.file.clone(), start, bytes })
    }
}

/// Whether a file is a picture, by its name.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ["png", "jpg", "jpeg", "webp"].contains(&ending.as_str()))
}

/// How the name of a picture with these bytes should end: PNG, JPEG or WebP. None for other bytes.
pub fn ending(bytes: &[u8]) -> Option<&'static str> {
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP".as_slice());
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpg"),
        _ => is_webp.then_some("webp"),
    }
}

/// The pictures in a folder and in the folders in it, by their names, in the order of these; without what is hidden.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut HashSet::new(), &mut found)?;
    Ok(found)
}

/// `seen` are folders by their real paths: a link may lead to one that was looked at, or round in a circle.
fn walk(folder: &Path, seen: &mut HashSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let what = "listing pictures";
    if !seen.insert(folder.canonicalize().explain(what, folder.display())?) {
        return Ok(());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).explain(what, folder.display())? {
        let entry = entry.explain(what, folder.display())?;
        let name = entry.file_name();
        // macOS leaves a hidden companion of each picture, and a folder of them in an archive.
        if !name.as_encoded_bytes().starts_with(b".") && name != "__MACOSX" {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, seen, found)?;
        } else if is_picture(&path) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
