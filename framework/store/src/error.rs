//! The one error type: what went wrong, where, and what would be right.

use std::fmt;

/// A message that a person can act on.
#[derive(Debug)]
pub struct Error {
    what: String,
    place: Option<String>,
    remedy: Option<String>,
    interrupted: bool,
}

/// What every fallible function of the framework gives back.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says what went wrong.
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), place: None, remedy: None, interrupted: false }
    }

    /// The user pressed Ctrl-C; nothing that was stored is lost.
    pub fn interrupted() -> Self {
        let mut error = Self::new("interrupted").fix("the same command resumes where this one stopped");
        error.interrupted = true;
        error
    }

    /// Says where it went wrong: a file, a key, a stage. The first place given, the innermost, stays.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place.get_or_insert_with(|| place.to_string());
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn fix(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy.get_or_insert_with(|| remedy.to_string());
        self
    }

    /// Whether the user asked for the stop.
    pub fn is_interrupt(&self) -> bool {
        self.interrupted
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at: {place}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  fix: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns any library's error into ours, with the place it happened at.
pub trait Explain<T> {
    /// `what` says what was being done, `place` names the file or key.
    fn explain(self, what: &str, place: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Explain<T> for std::result::Result<T, E> {
    fn explain(self, what: &str, place: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::new(format!("{what}: {error}")).at(place))
    }
}
