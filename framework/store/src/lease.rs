//! The right to work on a key across machines that share a bucket: an object that its holder writes anew every few
//! seconds. One that nobody writes any more is taken over, by whoever saw it unchanged for long enough: no clock of
//! another machine is trusted. A holder that was paused for longer loses it without harm: records are created once,
//! whoever comes first.

use super::naming::now;
use super::remote::{Remote, Version};
use crate::error::Result;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a holder says that it lives.
const BEAT: Duration = Duration::from_secs(8);

/// How long a lease must stay as it is until it counts as left behind.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// Leases that others hold: the version seen last, and since when.
pub(super) type Watched = Mutex<HashMap<String, (Version, Instant)>>;

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lease {
    stop: Option<Sender<()>>,
    beating: Option<JoinHandle<()>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
    }
}

/// The lease `name`, unless somebody living has it. `holder` tells this machine's processes from others': whoever asks
/// holds this machine's own lock on the key, so that a lease of its name is one of a process that died.
pub(super) fn acquire(remote: &Arc<Remote>, watched: &Watched, holder: &str, name: &str) -> Result<Option<Lease>> {
    let mut version = remote.create(name, &sign_of_life(holder))?;
    if version.is_none() {
        let Some((text, entry)) = remote.bytes(name)? else { return Ok(None) };
        let orphan = text.starts_with(format!("{holder} ").as_bytes());
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = watched.entry(name.to_owned()).or_insert_with(|| (entry.version.clone(), Instant::now()));
        if seen.0 != entry.version {
            *seen = (entry.version.clone(), Instant::now());
        }
        if !orphan && seen.1.elapsed() < PATIENCE {
            return Ok(None);
        }
        watched.remove(name);
        version = remote.replace(name, &sign_of_life(holder), entry.version)?;
    }
    let Some(mut version) = version else { return Ok(None) };
    let (stop, stopped) = channel();
    let (remote, name, holder) = (remote.clone(), name.to_owned(), holder.to_owned());
    let beating = std::thread::spawn(move || {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            match remote.replace(&name, &sign_of_life(&holder), version.clone()) {
                Ok(Some(new)) => version = new,
                // Somebody took it over: it is theirs to remove.
                Ok(None) => return,
                // Unreachable for now; if that lasts, whoever needs the key takes it over.
                Err(_) => {}
            }
        }
        if remote.head(&name).is_ok_and(|entry| entry.is_some_and(|entry| entry.version == version)) {
            let _ = remote.delete(&name);
        }
    });
    Ok(Some(Lease { stop: Some(stop), beating: Some(beating) }))
}

/// No two are the same, for equal bytes would be one version.
fn sign_of_life(holder: &str) -> Vec<u8> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{holder} {} {} {count}\n", std::process::id(), now()).into_bytes()
}
