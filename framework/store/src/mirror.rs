//! A store in a bucket: the folder is this machine's copy of what it needed, and what is true is there. Whatever is
//! created is created there first; whatever is read is brought here. A copy that is lost costs a download.

use super::files::{checked, failing, make_parent};
use super::lease::{self, Lease, PATIENCE, Watched};
use super::remote::{Entry, Remote};
use super::{Store, hash_bytes};
use crate::error::{Error, Explain, Result};
use rayon::prelude::*;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The bucket behind a store's folder.
#[derive(Debug)]
pub(super) struct Mirrored {
    pub(super) remote: Arc<Remote>,
    watched: Watched,
    /// Names this folder among all that mirror the bucket.
    holder: String,
}

/// An object that is younger is not written again to make it young.
const YOUNG: Duration = Duration::from_secs(12 * 3600);

impl Store {
    /// Opens the store at a folder's path, or at an address `s3://BUCKET/NAME` with its copy below `cache`.
    pub fn at(place: &Path, cache: impl FnOnce() -> Result<std::path::PathBuf>) -> Result<Self> {
        let Some(url) = place.to_str().filter(|place| place.starts_with("s3://")) else { return Self::open(place) };
        let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap_or_default();
        let folder = cache()?.join("stores").join(&hash_bytes(format!("{endpoint} {url}").as_bytes())[..16]);
        let remote = Arc::new(Remote::new(url)?);
        fs::create_dir_all(&folder).map_err(failing("cannot make the bucket's copy", &folder))?;
        let holder = holder(&folder)?;
        Self { root: folder, mirrored: Some(Arc::new(Mirrored { remote, watched: Watched::default(), holder })) }
            .opened()
    }

    /// Where the store is, for messages.
    pub fn place(&self) -> String {
        self.mirrored.as_ref().map_or(self.root.display().to_string(), |bucket| bucket.remote.url().to_owned())
    }

    /// The bucket, and the name that a path of the folder has there.
    pub(super) fn remote(&self, path: &Path) -> Option<(&Remote, String)> {
        let remote = &self.mirrored.as_ref()?.remote;
        let parts = path.strip_prefix(&self.root).ok()?.iter().map(|part| part.to_string_lossy());
        Some((remote, parts.collect::<Vec<_>>().join("/")))
    }

    /// Brings a record here as it is in the bucket; one that is gone there goes here.
    pub(super) fn pull(&self, path: &Path) -> Result<()> {
        let Some((remote, name)) = self.remote(path) else { return Ok(()) };
        // Only stages are ever removed or replaced.
        if path.exists() && !name.starts_with("stages/") {
            return Ok(());
        }
        match remote.bytes(&name)? {
            Some((bytes, entry)) => self.keep(path, &bytes, entry.modified),
            None => gone(path),
        }
    }

    /// Brings all records below a folder here, as [`Store::pull`] does.
    pub(super) fn pull_folder(&self, folder: &Path) -> Result<()> {
        let Some((remote, name)) = self.remote(folder) else { return Ok(()) };
        let entries = remote.list(&name)?;
        let current = |entry: &&Entry| {
            let here = fs::metadata(self.root.join(&entry.name));
            // A record's copy bears the time of its version.
            here.is_ok_and(|here| {
                here.len() == entry.bytes && (name != "stages" || here.modified().is_ok_and(|t| t == entry.modified))
            })
        };
        let missing: Vec<&Entry> = entries.iter().filter(|entry| !current(entry)).collect();
        missing.par_iter().try_for_each(|entry| match remote.bytes(&entry.name)? {
            Some((bytes, found)) => self.keep(&self.root.join(&entry.name), &bytes, found.modified),
            None => Ok(()),
        })?;
        let there: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        for path in self.below(&name)?.iter().filter(|path| !there.contains(path.as_str())) {
            gone(&self.root.join(path))?;
        }
        Ok(())
    }

    /// Brings an object here.
    pub(super) fn pull_object(&self, path: &Path, hash: &str) -> Result<()> {
        let Some((remote, name)) = self.remote(path).filter(|_| !path.exists()) else { return Ok(()) };
        let mut copy = self.scratch()?;
        let mut hashing = Hashing { hasher: blake3::Hasher::new(), out: &mut copy };
        if remote.read(&name, &mut hashing)?.is_none() {
            return Ok(());
        }
        if hashing.hasher.finalize().to_hex().as_str() != hash {
            return Err(Error::new("the object is damaged: its bytes have another hash")
                .at(format!("{}/{name}", remote.url()))
                .fix("delete it and give the run's command again, which makes it"));
        }
        super::files::seal(&copy).map_err(failing("cannot keep what was downloaded", path))?;
        self.publish(copy, path).map(|_| ())
    }

    /// Sees that an object is in the bucket too, and young, before a record names it.
    pub(super) fn share(&self, path: &Path) -> Result<()> {
        let Some((remote, name)) = self.remote(path) else { return Ok(()) };
        let length = fs::metadata(path).map_err(failing("cannot look at an object", path))?.len();
        let young = |entry: Entry| entry.bytes == length && entry.modified.elapsed().is_ok_and(|age| age < YOUNG);
        if remote.head(&name)?.is_some_and(young) { Ok(()) } else { remote.upload(&name, path) }
    }

    /// Whether the store has an object, wherever its bytes are.
    pub(super) fn has(&self, hash: &str) -> Result<bool> {
        let Ok(path) = self.object(hash) else { return Ok(false) };
        match self.remote(&path) {
            Some((remote, name)) if !path.is_file() => Ok(remote.head(&name)?.is_some()),
            _ => Ok(path.is_file()),
        }
    }

    /// Makes a copy of what is in the bucket, under the time that it has there.
    pub(super) fn keep(&self, path: &Path, bytes: &[u8], modified: SystemTime) -> Result<()> {
        make_parent(path)?;
        let file = self.sealed(bytes)?;
        let dated = file.as_file().set_modified(modified);
        dated
            .and_then(|()| file.persist(path).map(|_| ()).map_err(|error| error.error))
            .map_err(failing("cannot keep what was downloaded", path))
    }

    /// The right to a key among all machines; `Some(None)` for a store in a folder, where the kernel's lock is enough.
    pub(super) fn lease(&self, key: &str) -> Result<Option<Option<Lease>>> {
        let Some(bucket) = &self.mirrored else { return Ok(Some(None)) };
        let lease =
            lease::acquire(&bucket.remote, &bucket.watched, &bucket.holder, &format!("work/{}.lock", checked(key)?))?;
        Ok(lease.map(Some))
    }

    /// The keys that somebody, on whichever machine, works on.
    pub(super) fn leased(&self) -> Result<Vec<String>> {
        let Some(bucket) = &self.mirrored else { return Ok(Vec::new()) };
        let alive = |entry: &Entry| entry.modified.elapsed().map_or(true, |age| age < 2 * PATIENCE);
        let key = |entry: Entry| Some(entry.name.strip_prefix("work/")?.strip_suffix(".lock")?.to_owned());
        Ok(bucket.remote.list("work")?.into_iter().filter(alive).filter_map(key).collect())
    }
}

/// A name for this folder that no other folder has.
fn holder(folder: &Path) -> Result<String> {
    let path = folder.join("holder");
    if !path.exists() {
        let drawn = tempfile::Builder::new().prefix("m").rand_bytes(20).tempfile_in(folder);
        let mut drawn = drawn.map_err(failing("cannot name the bucket's copy", folder))?;
        let name = drawn.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        drawn.write_all(name.as_bytes()).map_err(failing("cannot name the bucket's copy", folder))?;
        // Another process may have been first; then its name is the name.
        let _ = drawn.persist_noclobber(&path);
    }
    fs::read_to_string(&path).explain("cannot read the name of the bucket's copy", path.display())
}

fn gone(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failing("cannot remove a stale copy", path)(error))
        }
        _ => Ok(()),
    }
}

/// Hashes what passes through.
pub(super) struct Hashing<'a, W: Write> {
    pub(super) hasher: blake3::Hasher,
    pub(super) out: &'a mut W,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
