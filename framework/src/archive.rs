//! What `ablate fetch` knows by name: files, where they come from, what must be in them, on what terms.

/// A file and what must be in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileSum {
    /// Its path within the folder.
    pub name: &'static str,
    /// The SHA-256 of its bytes in lower-case hexadecimal, where it is known.
    pub sha256: Option<&'static str>,
}

/// A package of the Python package registry that ships the data, for where there is no official host
/// or it cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PythonPackage {
    /// Its name in the registry.
    pub name: &'static str,
    /// The one version whose files are known.
    pub version: &'static str,
    /// The folder inside the wheel.
    pub folder: &'static str,
    /// The files taken from that folder.
    pub files: &'static [FileSum],
}

/// A zip file at an official host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zip {
    /// Where it is.
    pub url: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The files taken from its top folder, which is called as the archive is.
    pub files: &'static [FileSum],
}

/// Data that `ablate fetch` knows: `framework::inventory::submit! { … }` beside the plugin that reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Archive {
    /// What `ablate fetch` calls it, and its folder in the cache.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The licence terms, printed before anything is fetched.
    pub licence: &'static str,
    /// The official way to the data, where it is a zip.
    pub zip: Option<Zip>,
    /// Files and folders that are taken along from a zip or a local copy that has them.
    pub extras: &'static [&'static str],
    /// Another way to the data, or the only one.
    pub package: Option<PythonPackage>,
}

crate::inventory::collect!(Archive);

/// All that `ablate fetch` knows by name, in the order of names.
pub fn archives() -> Vec<&'static Archive> {
    let mut all: Vec<_> = crate::inventory::iter::<Archive>.into_iter().collect();
    all.sort_by_key(|archive| archive.name);
    all
}

impl Archive {
    /// The sets of files, any one of which is the data; readers prefer the first.
    pub fn sets(&self) -> impl Iterator<Item = &'static [FileSum]> {
        self.zip.map(|zip| zip.files).into_iter().chain(self.package.map(|package| package.files))
    }
}
