//! stub
use crate::error::{Error, Result};
use crate::progress::Progress;
use std::path::{Path, PathBuf};
/// stub
pub struct Archive {
    /// n
    pub name: &'static str,
    /// t
    pub title: &'static str,
}
/// stub
pub fn fetch(_a: &Archive, _c: &Path, _f: Option<&Path>, _p: &Progress) -> Result<PathBuf> {
    Err(Error::new("stub"))
}
