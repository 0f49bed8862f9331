//! The log of the run that this process is busy with, as JSON lines, and what a person sees of it.

use crate::error::{Explain, Result};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct RunLog;

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging: `level` (as in `info` or `framework=debug`) to standard error, `info` and above to the run's log.
pub fn install(level: &str) -> Result<()> {
    let shown = EnvFilter::try_new(level).explain("reading --log", level)?;
    let kept = EnvFilter::new("warn,framework=info,plugins=info,ablate=info");
    let people = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .without_time()
        .with_target(false)
        .with_filter(shown);
    let record = fmt::layer().json().with_writer(|| RunLog).with_filter(kept);
    tracing_subscriber::registry().with(people).with(record).try_init().explain("starting the log", "--log")
}

/// Forgets the log of the run before.
pub fn start() {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The log since the run started.
pub fn text() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}
