//! Work in progress: folders that survive a kill, locks that do not, and the sweep of what killed processes left.
//! Nothing here is a result, and losing all of it costs time only.

use super::Store;
use super::files::{checked, entries, failing, make_parent};
use super::lease::Lease;
use crate::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// The right to work on one key, held until dropped; the kernel takes it back when the process dies.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Only held, never read: given back before the file's lock, which says whose it is.
    lease: Option<Lease>,
    /// Only held, never read: closing it gives the lock back.
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.lease.take();
        // While still held, so that nobody's lock but ours loses its file; one left behind does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// A folder for work on a key, which survives a kill: checkpoints from which training resumes.
    pub fn work(&self, key: &str) -> Result<PathBuf> {
        let path = self.root.join("work").join(checked(key)?);
        fs::create_dir_all(&path).map_err(failing("cannot make the work folder", &path))?;
        Ok(path)
    }

    /// Removes the folder of work that is done.
    pub fn finish_work(&self, key: &str) -> Result<()> {
        let path = self.root.join("work").join(checked(key)?);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failing("cannot remove the work folder", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Waits until nobody else works on a key. `interrupted` is asked only while waiting.
    pub fn lock(&self, key: &str, interrupted: &dyn Fn() -> bool) -> Result<Lock> {
        loop {
            if let Some(lock) = self.try_lock(key)? {
                return Ok(lock);
            }
            if interrupted() {
                return Err(Error::interrupted());
            }
            std::thread::sleep(self.patience());
        }
    }

    /// How long to wait before asking again for what somebody else works on; each asking of a bucket is paid for.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(if self.mirrored.is_some() { 1000 } else { 100 })
    }

    /// The right to work on a key, unless another thread or process has it.
    pub fn try_lock(&self, key: &str) -> Result<Option<Lock>> {
        let path = self.root.join("work").join(format!("{}.lock", checked(key)?));
        let cannot = "cannot lock a key in the results store";
        make_parent(&path)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failing(cannot, &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => {
                return Err(failing(cannot, &path)(error).fix("use a disk that has file locks for the results store"));
            }
        }
        // The one who had it before may have removed the file between our open and our lock; then it guards nothing.
        let ours = file.metadata().map_err(failing(cannot, &path))?.ino();
        let current = fs::metadata(&path).is_ok_and(|named| named.ino() == ours);
        // Only now may there be a Lock: dropping one removes the file, which would be the next holder's.
        if !current {
            return Ok(None);
        }
        let mut lock = Lock { path, lease: None, _file: file };
        let Some(lease) = self.lease(key)? else { return Ok(None) };
        lock.lease = lease;
        Ok(Some(lock))
    }

    /// Removes what killed processes left half-written longer ago than this, and says how many there were.
    pub fn sweep_tmp(&self, older_than: Duration) -> Result<usize> {
        let folder = self.root.join("tmp");
        let mut swept = 0;
        for entry in entries(&folder)? {
            let path = entry.path();
            // Gone meanwhile: its owner, or another sweep, removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            if age.is_none_or(|age| age < older_than) {
                continue;
            }
            let removed = if metadata.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Ok(()) => swept += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failing("cannot sweep the results store", &path)(error)),
            }
        }
        Ok(swept)
    }
}
