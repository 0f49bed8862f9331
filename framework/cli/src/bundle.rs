//! Archives of tags: a zip with the files of the store that a tag needs and `manifest.json`, which has their hashes.
//!
//! An archive is unpacked into an empty store first, checked there as `ablate verify` checks one, and only then merged:
//! so a damaged or forged one adds nothing.

use framework::error::{Error, Explain, Result};
use framework::store::{FORMAT, Merged, Store, Tag, belongs, hash_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const MANIFEST: &str = "manifest.json";

/// What an archive says of itself.
#[derive(Serialize, Deserialize)]
struct Manifest {
    /// The layout of the store that the files are from.
    format: u64,
    tag: String,
    /// The tag's hash.
    hash: String,
    /// Whether data, checkpoints and logs were left out.
    lean: bool,
    files: BTreeMap<String, Sum>,
}

#[derive(Serialize, Deserialize)]
struct Sum {
    blake3: String,
    bytes: u64,
}

/// Packs what `tag` needs into a new file; says how many files, and their bytes.
pub fn export(store: &Store, tag: &Tag, lean: bool, file: &Path) -> Result<(usize, u64)> {
    if file.exists() {
        return Err(Error::new("the file is there already").at(file.display()).fix("another name, or remove it"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = || file.display();
    let scratch = tempfile::NamedTempFile::new_in(folder).explain("making the archive", place())?;
    let mut zip = ZipWriter::new(scratch);
    let mut files = BTreeMap::new();
    for path in store.bundle(&tag.tag, lean)? {
        let from = store.root().join(&path);
        let blake3 = hash_file(&from)?;
        if path.strip_prefix("objects/").is_some_and(|name| name.replace('/', "") != blake3) {
            return Err(Error::new("the object is damaged").at(from.display()).fix("`ablate verify` says what to do"));
        }
        let bytes = fs::metadata(&from).explain("reading the store", from.display())?.len();
        zip.start_file(&path, options(bytes)).explain("writing the archive", place())?;
        let mut source = File::open(&from).explain("reading the store", from.display())?;
        io::copy(&mut source, &mut zip).explain("writing the archive", place())?;
        files.insert(path, Sum { blake3, bytes });
    }
    let summary = (files.len(), files.values().map(|sum| sum.bytes).sum());
    let manifest = Manifest { format: FORMAT, tag: tag.tag.clone(), hash: tag.hash.clone(), lean, files };
    let text = serde_json::to_vec_pretty(&manifest).explain("writing the archive", place())?;
    zip.start_file(MANIFEST, options(text.len() as u64)).explain("writing the archive", place())?;
    zip.write_all(&text).explain("writing the archive", place())?;
    let scratch = zip.finish().explain("writing the archive", place())?;
    scratch.as_file().sync_all().explain("writing the archive", place())?;
    scratch.persist_noclobber(file).map_err(|error| error.error).explain("writing the archive", place())?;
    Ok(summary)
}

/// Adds the files of an archive to the store once all of them are known to be sound. Gives its tag.
pub fn import(store: &Store, file: &Path) -> Result<(Tag, Merged)> {
    let scratch = store.temporary()?;
    let unpacked = Store::open(scratch.path())?;
    let refused = |error: Error| {
        let (text, place) = (error.to_string(), file.display());
        Error::new(format!("the archive is refused, nothing was added: {text}")).at(place).fix("get the archive again")
    };
    let manifest = unpack(file, &unpacked).map_err(refused)?;
    let mut problems = unpacked.verify().map_err(refused)?.problems;
    if !problems.is_empty() {
        return Err(refused(problems.swap_remove(0)));
    }
    let tag = unpacked.tag(&manifest.tag).map_err(refused)?.filter(|tag| tag.hash == manifest.hash);
    let tag = tag.ok_or_else(|| refused(Error::new("it lacks the tag that it is named for")))?;
    Ok((tag, store.merge(&unpacked)?))
}

/// Unpacks what the manifest names, no more and no less, each with its hash.
fn unpack(file: &Path, into: &Store) -> Result<Manifest> {
    let archive = File::open(file).explain("opening the archive", file.display())?;
    let mut zip = ZipArchive::new(archive).explain("reading the archive", file.display())?;
    let mut text = Vec::new();
    let entry = zip.by_name(MANIFEST).explain("reading the archive's list", MANIFEST)?;
    entry.take(1 << 30).read_to_end(&mut text).explain("reading the archive's list", MANIFEST)?;
    let manifest: Manifest = serde_json::from_slice(&text).explain("reading the archive's list", MANIFEST)?;
    if manifest.format > FORMAT {
        return Err(Error::new(format!(
            "the archive has format {}, this program reads up to {FORMAT}",
            manifest.format
        ))
        .at(file.display())
        .fix("use the newer ablate that wrote it"));
    }
    if zip.len() != manifest.files.len() + 1 {
        let (has, listed) = (zip.len() - 1, manifest.files.len());
        return Err(Error::new(format!("the archive has {has} files, and its list {listed}")).at(MANIFEST));
    }
    for (path, sum) in &manifest.files {
        if !belongs(path) {
            return Err(Error::new(format!("`{path}` is not a place for a file of a results store")).at(MANIFEST));
        }
        let target = into.root().join(path);
        let entry = zip.by_name(path).explain("reading the archive", path)?;
        fs::create_dir_all(target.parent().unwrap_or(into.root())).explain("unpacking", target.display())?;
        let mut out = File::create_new(&target).explain("unpacking", target.display())?;
        // No further than its length: what unpacks to more is not what was packed.
        io::copy(&mut entry.take(sum.bytes + 1), &mut out).explain("unpacking", path)?;
        if hash_file(&target)? != sum.blake3 {
            return Err(Error::new("the file does not have the hash in the archive's list").at(path));
        }
    }
    Ok(manifest)
}

/// The time is fixed, so that the same tag makes the same archive.
fn options(bytes: u64) -> SimpleFileOptions {
    SimpleFileOptions::DEFAULT.compression_method(CompressionMethod::Deflated).large_file(bytes > u32::MAX.into())
}
