//! Which files are the pictures of which items, and which of them are broken.

use framework::context::is_interrupted;
use framework::error::{Error, Result};
use framework::picture::{Picture, files, whole};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where the picture of each item is, by the item's id.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    paths: BTreeMap<String, PathBuf>,
}

/// Each item's picture; and the files that should be one, with what each is instead.
pub(crate) type Looked = (Vec<Option<Picture>>, Vec<String>);

impl Pictures {
    /// Those in `folder` and the folders in it, `<id>.png`, `.jpg`, `.jpeg` or `.webp`; none where there is no folder.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let mut paths = BTreeMap::new();
        let found = if folder.exists() { files(folder)? } else { Vec::new() };
        for path in found {
            let Some(id) = path.file_stem().and_then(OsStr::to_str) else { continue };
            match paths.entry(id.to_string()) {
                Entry::Vacant(free) => drop(free.insert(path)),
                Entry::Occupied(first) => {
                    let inside = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
                    let (first, second) = (inside(first.get()), inside(&path));
                    return Err(Error::new(format!("item {id} has two pictures, {first} and {second}"))
                        .at(folder.display())
                        .fix("one of them"));
                }
            }
        }
        Ok(Self { paths })
    }

    /// Says where an item's picture is.
    pub(crate) fn add(&mut self, id: &str, path: PathBuf) {
        self.paths.insert(id.to_string(), path);
    }

    /// Their paths, in the order of the ids.
    pub(crate) fn into_files(self) -> impl Iterator<Item = PathBuf> {
        self.paths.into_values()
    }

    /// The pictures of items. An item whose picture is broken has none; that all are broken is an error.
    pub(crate) fn of(&self, ids: &[String]) -> Result<Looked> {
        let look = |id: &String| -> Result<Option<std::result::Result<Picture, String>>> {
            let Some(path) = self.paths.get(id) else { return Ok(None) };
            if is_interrupted() {
                return Err(Error::interrupted());
            }
            let picture = Picture::of_file(path);
            let found = whole(&picture.bytes()?);
            // The path would differ from machine to machine.
            let name = path.file_name().unwrap_or_default().display();
            Ok(Some(found.map(|()| picture).map_err(|what| format!("{name} is {what}"))))
        };
        let looked: Vec<_> = ids.par_iter().map(look).collect::<Result<_>>()?;
        let (mut pictures, mut broken) = (Vec::with_capacity(ids.len()), Vec::new());
        for found in looked {
            pictures.push(found.and_then(|found| found.map_err(|what| broken.push(what)).ok()));
        }
        let Some(first) = broken.first() else { return Ok((pictures, broken)) };
        let good = pictures.iter().flatten().count();
        if good == 0 {
            let folder = self.paths.values().next().and_then(|path| path.parent()).unwrap_or(Path::new(""));
            return Err(Error::new(format!("none of {} pictures can be used: {first}", broken.len()))
                .at(folder.display())
                .fix("pictures in PNG, JPEG or WebP that are whole; or no files"));
        }
        let named = broken[..broken.len().min(3)].join(", ");
        tracing::warn!(
            "{} of {} pictures are broken, and their items have none: {named}{}",
            broken.len(),
            broken.len() + good,
            if broken.len() > 3 { ", …" } else { "" }
        );
        Ok((pictures, broken))
    }
}
