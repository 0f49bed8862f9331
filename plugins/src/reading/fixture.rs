//! Small files for the tests of readers.

use flate2::{Compression, write::GzEncoder};
use framework::archive::Archive;
use framework::context::Context;
use framework::corpus::{Corpus, Interactions, Items};
use framework::error::Result;
use framework::picture::Picture;
use framework::progress::Progress;
use framework::roles::Dataset;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A PNG of one grey pixel.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\x9cch\0\0\0\x82\0\x81w\xcdr\xb6\0\0\0\0IEND\xaeB`\x82";

/// That picture.
pub(crate) fn png() -> Option<Picture> {
    Some(Picture::drawn(PNG.to_vec()))
}

/// A temporary folder with these files.
pub(crate) fn cache(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    files.iter().for_each(|(name, text)| write(folder.path(), name, text.as_bytes()));
    folder
}

/// Writes a file, its folder too.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// `text` packed by gzip.
pub(crate) fn pack(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("packed");
    encoder.finish().expect("packed")
}

/// Loads after the dataset named its files, as a run does.
pub(crate) fn load(dataset: &dyn Dataset, cache: &Path) -> Result<Corpus> {
    dataset.files(cache)?;
    dataset.load(&Context::new(Default::default(), 0, "".into(), cache.into(), Progress::hidden()))
}

/// Checks that `dataset` looks for its files where `ablate fetch` puts those of `archive`.
pub(crate) fn finds(dataset: &dyn Dataset, archive: &Archive) {
    let cache = cache(&[]);
    for file in archive.sets().flatten() {
        write(cache.path(), &format!("{}/{}", archive.folder(), file.name), b"");
    }
    dataset.files(cache.path()).expect("all files are found");
}

/// Checks that there is an error, and that its message has these words.
pub(crate) fn says<T>(result: Result<T>, words: &[&str]) {
    let message = result.err().expect("an error").to_string();
    words.iter().for_each(|word| assert!(message.contains(word), "expected {word:?} in {message}"));
}

/// A corpus of items with title, without pictures, and of interactions: user, item, time.
pub(crate) fn corpus(users: &[&str], items: &[(&str, &str)], interactions: &[(u32, u32, i64)]) -> Corpus {
    let items = Items {
        id: items.iter().map(|(id, _)| (*id).to_string()).collect(),
        title: items.iter().map(|(_, title)| (*title).to_string()).collect(),
        image: vec![None; items.len()],
        ..Items::default()
    };
    let interactions = Interactions {
        user: interactions.iter().map(|row| row.0).collect(),
        item: interactions.iter().map(|row| row.1).collect(),
        timestamp: interactions.iter().map(|row| row.2).collect(),
        ..Interactions::default()
    };
    let users = users.iter().map(|user| (*user).to_string()).collect();
    Corpus { users, items, interactions, ..Corpus::default() }
}

/// The same from a source that only has an order.
pub(crate) fn untimed(users: &[&str], items: &[(&str, &str)], interactions: &[(u32, u32, i64)]) -> Corpus {
    Corpus { untimed: true, ..corpus(users, items, interactions) }
}

/// The folder with real data that has a folder `name`, where the tester has one.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ABLATE_DATA").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join(name).is_dir());
    if found.is_none() {
        println!("skipped: ABLATE_DATA names no folder with {name}");
    }
    found
}
