//! The bottom of the store: how bytes and names get onto the disk so that neither a kill nor a race can tear them,
//! and the objects, which are such files named by their content. It knows no record's meaning.

use super::{FORMAT, Store, hash_bytes};
use crate::error::{Error, Explain, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;

const CANNOT_WRITE: &str = "cannot write to the results store";

/// A file in `objects/`.
pub(super) struct Object {
    /// What its name says that its bytes hash to.
    pub(super) hash: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When it was written or used last.
    pub(super) modified: SystemTime,
}

impl Store {
    /// Stores a copy of a file's bytes and gives their hash.
    pub fn put_file(&self, path: &Path) -> Result<String> {
        let mut source = File::open(path).map_err(failing("cannot open the file to store", path))?;
        let mut copy = self.scratch()?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 17];
        // One pass, so that the hash is of what was stored even if the source changes meanwhile.
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failing("cannot read the file to store", path)(error)),
            };
            hasher.update(&buffer[..read]);
            copy.write_all(&buffer[..read]).map_err(failing(CANNOT_WRITE, &self.root))?;
        }
        let hash = hasher.finalize().to_hex().to_string();
        let object = self.object(&hash)?;
        if !self.holds(&object, hasher.count())? {
            seal(&copy).map_err(failing(CANNOT_WRITE, &self.root))?;
            self.publish(copy, &object)?;
        }
        self.share(&object).map(|()| hash)
    }

    /// Stores bytes and gives their hash.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<String> {
        let hash = hash_bytes(bytes);
        let object = self.object(&hash)?;
        if !self.holds(&object, bytes.len() as u64)? {
            self.publish(self.sealed(bytes)?, &object)?;
        }
        self.share(&object).map(|()| hash)
    }

    /// Where an object's bytes are; they must not be changed there.
    pub fn get(&self, hash: &str) -> Result<PathBuf> {
        let path = self.object(hash)?;
        self.pull_object(&path, hash)?;
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::new(format!("the results store lacks the object {hash}"))
            .at(path.display())
            .fix("run the experiment again: a stage whose objects are gone is made again"))
    }

    pub(super) fn object(&self, hash: &str) -> Result<PathBuf> {
        match hash.split_at_checked(2) {
            Some((shard, rest)) if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(self.root.join("objects").join(shard).join(rest))
            }
            _ => Err(Error::new(format!("`{hash}` is not an object's hash")).fix("a hash has 64 hexadecimal digits")),
        }
    }

    /// Whether an object is there; one that was cut short is cleared away to be written again.
    fn holds(&self, object: &Path, length: u64) -> Result<bool> {
        match fs::metadata(object) {
            Ok(found) if found.len() == length => {
                // Before the record that will name it: the garbage collection spares what is young.
                touch(object);
                self.sync_folders(object).map(|()| true)
            }
            Ok(_) => fs::remove_file(object).map_err(failing("cannot remove a damaged object", object)).map(|()| false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failing("cannot look at an object", object)(error)),
        }
    }

    /// Every object, in the order of the hashes.
    pub(super) fn objects(&self) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        if let Some((remote, folder)) = self.remote(&self.root.join("objects")) {
            objects.extend(remote.list(&folder)?.into_iter().map(|entry| Object {
                hash: entry.name[folder.len()..].replace('/', ""),
                path: self.root.join(&entry.name),
                bytes: entry.bytes,
                modified: entry.modified,
            }));
            return Ok(objects);
        }
        for shard in entries(&self.root.join("objects"))?.iter().filter(|shard| shard.path().is_dir()) {
            for entry in entries(&shard.path())? {
                // Gone meanwhile.
                let Ok(metadata) = entry.metadata() else { continue };
                let (shard, rest) = (shard.file_name(), entry.file_name());
                let hash = format!("{}{}", shard.to_string_lossy(), rest.to_string_lossy());
                let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                objects.push(Object { hash, path: entry.path(), bytes: metadata.len(), modified });
            }
        }
        objects.sort_by(|a, b| a.hash.cmp(&b.hash));
        Ok(objects)
    }

    /// Where the record of a key is.
    pub(super) fn entry(&self, folder: &str, key: &str) -> Result<PathBuf> {
        Ok(self.root.join(folder).join(format!("{}.json", checked(key)?)))
    }

    /// The keys that have a record in a folder of the store, in no order.
    pub(super) fn names(&self, folder: &Path) -> Result<Vec<String>> {
        self.pull_folder(&self.root.join(folder))?;
        let entries = entries(&self.root.join(folder))?;
        let names = entries.iter().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json").filter(|key| checked(key).is_ok()).map(str::to_owned)
        });
        Ok(names.collect())
    }

    /// A file that disappears unless it gets a name in the store.
    pub(super) fn scratch(&self) -> Result<NamedTempFile> {
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder).map_err(failing(CANNOT_WRITE, &folder))?;
        tempfile::Builder::new().prefix("w").tempfile_in(&folder).map_err(failing(CANNOT_WRITE, &folder))
    }

    /// A file whose bytes are final and durable, and that has no name yet.
    pub(super) fn sealed(&self, bytes: &[u8]) -> Result<NamedTempFile> {
        let mut file = self.scratch()?;
        file.write_all(bytes).map_err(failing(CANNOT_WRITE, &self.root))?;
        seal(&file).map_err(failing(CANNOT_WRITE, &self.root))?;
        Ok(file)
    }

    /// Writes a record that must not be there yet; false if it is.
    pub(super) fn create(&self, path: &Path, bytes: &[u8]) -> Result<bool> {
        let Some((remote, name)) = self.remote(path) else { return self.publish(self.sealed(bytes)?, path) };
        let made = remote.create(&name, bytes)?.is_some();
        // What is here by that name may be a copy of what is gone there.
        if made {
            self.keep(path, bytes, SystemTime::now())?
        } else {
            self.pull(path)?
        }
        Ok(made)
    }

    /// Writes a record in the place of one that serves nobody any more.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        if let Some((remote, name)) = self.remote(path) {
            remote.put(&name, bytes)?;
        }
        let file = self.sealed(bytes)?;
        file.persist(path).map_err(|error| failing("cannot replace the record", path)(error.error))?;
        self.sync_folders(path)
    }

    /// A record; nothing if it is not there.
    pub(super) fn read<T: DeserializeOwned>(&self, path: &Path, remedy: &str) -> Result<Option<T>> {
        self.pull(path)?;
        read_json(path, remedy)
    }

    /// Gives a sealed file its name, if that is free, so that name and bytes outlast a power cut; false if it is taken.
    pub(super) fn publish(&self, file: NamedTempFile, path: &Path) -> Result<bool> {
        make_parent(path)?;
        let made = match fs::hard_link(file.path(), path) {
            Ok(()) => true,
            // On NFS the answer to a link that worked can be lost; the number of names tells.
            Err(_) if file.as_file().metadata().is_ok_and(|found| found.nlink() > 1) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            // A disk without hard links answers this too, as if it were about permissions.
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
                return Err(Error::new(format!("cannot link into the results store: {error}"))
                    .at(path.display())
                    .fix("let yourself write there, and use a disk that has hard links for the results store"));
            }
            Err(error) => return Err(failing("cannot link into the results store", path)(error)),
        };
        // Even if another made it: they may not have come this far, and we are about to rely on it.
        self.sync_folders(path)?;
        Ok(made)
    }

    /// Makes a name durable, in its own folder and in those above, which may be as new.
    pub(super) fn sync_folders(&self, path: &Path) -> Result<()> {
        for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
            sync(folder).map_err(failing("cannot make the results store durable", folder))?;
        }
        Ok(())
    }
}

/// Makes a file young. Another user's file cannot be; it keeps its age.
pub(super) fn touch(path: &Path) {
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Durable, and read-only for everyone, because many names may lead to these bytes.
pub(super) fn seal(file: &NamedTempFile) -> io::Result<()> {
    file.as_file().set_permissions(Permissions::from_mode(0o444))?;
    file.as_file().sync_all()
}

/// Folders are made when needed, because git keeps no empty ones.
pub(super) fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| {
        fs::create_dir_all(parent).map_err(failing("cannot make a folder of the results store", parent))
    })
}

/// What is in a folder; nothing if the folder is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(failing("cannot list the folder", folder)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failing("cannot list the folder", folder)(error)),
    }
}

/// A key becomes a file's name, so it may not hold a path.
pub(super) fn checked(key: &str) -> Result<&str> {
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if plain && (1..=128).contains(&key.len()) {
        return Ok(key);
    }
    Err(Error::new(format!("`{key}` cannot name anything in the results store"))
        .fix("a name has 1 to 128 of the letters a-z and A-Z, digits, `-` and `_`"))
}

/// An error of the operating system, with the remedy that its kind suggests.
pub(super) fn failing<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |error| {
        let explained = Error::new(format!("{what}: {error}")).at(path.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                explained.fix("free space on this disk and give the same command again; nothing stored is lost")
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                explained.fix("let yourself read and write there, or choose another folder for the results store")
            }
            _ => explained,
        }
    }
}

pub(super) fn newer(version: u64, path: &Path) -> Error {
    Error::new(format!("this results store has format {version}, and this program reads formats up to {FORMAT}"))
        .at(path.display())
        .fix("use the newer ablate that wrote it, or another folder for the results store")
}

/// Reads a JSON file; nothing if it is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, remedy: &str) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::new(format!("the file is damaged: {error}")).at(path.display()).fix(remedy)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failing("cannot read the file", path)(error)),
    }
}

pub(super) fn pretty(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).explain("cannot write as JSON", path.display())?;
    bytes.push(b'\n');
    Ok(bytes)
}
