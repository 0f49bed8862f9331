//! What `ablate fetch` knows by name: files, where they come from, what must be in them, on what terms.

use crate::error::{Error, Result};

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

/// A file at an official host that is taken as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Download {
    /// Where it is.
    pub url: &'static str,
    /// Its name in the data's folder, and its checksum.
    pub file: FileSum,
    /// Its size, where it is known.
    pub bytes: Option<u64>,
}

/// Data that `ablate fetch` knows: `framework::inventory::submit! { … }` beside the plugin that reads it.
///
/// Of data in many categories, `{category}` stands for one of them: behind the name's colon, `amazon-2023:{category}`,
/// in the title, and in the downloads' addresses and names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Archive {
    /// What `ablate fetch` calls it, and, up to a colon, its folder in the cache.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The licence terms, printed before anything is fetched.
    pub licence: &'static str,
    /// The page for people: what it is, and where a copy may be had by hand.
    pub page: &'static str,
    /// The official way to the data, where it is a zip.
    pub zip: Option<Zip>,
    /// The official way to the data, where it is files.
    pub downloads: &'static [Download],
    /// The files of data that nothing can download: they come from a local copy.
    pub by_hand: &'static [FileSum],
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

const CATEGORY: &str = "{category}";

impl Archive {
    /// An entry that says nothing, for all that another has no use for: `Archive { name, …, ..Archive::EMPTY }`.
    pub const EMPTY: Self = Self {
        name: "",
        title: "",
        licence: "",
        page: "",
        zip: None,
        downloads: &[],
        by_hand: &[],
        extras: &[],
        package: None,
    };

    /// Its folder in the cache, which categories share.
    pub fn folder(&self) -> &'static str {
        self.name.split(':').next().unwrap_or(self.name)
    }

    /// The entry of one category, or of data that has none; an error that says how it is asked for.
    pub fn of(&self, category: Option<&str>) -> Result<Self> {
        let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match (self.name.contains(CATEGORY), category) {
            (false, None) => Ok(*self),
            (false, Some(_)) => {
                let error = Error::new(format!("{} has no categories", self.title));
                Err(error.fix(format!("`ablate fetch {}`", self.name)))
            }
            (true, Some(category)) if plain(category) => Ok(self.filled(category)),
            (true, category) => {
                let what = category.map_or("a category is missing".into(), |text| format!("`{text}` is no category"));
                Err(Error::new(what).fix(format!(
                    "`ablate fetch {}` with a category as the names of the files have it, of letters, digits and `_`: \
                     `Video_Games`; {} lists them",
                    self.filled("CATEGORY").name,
                    self.page
                )))
            }
        }
    }

    /// The same with `category` in the place of `{category}`.
    pub fn filled(&self, category: &str) -> Self {
        // Leaked, like all entries' texts for as long as the program runs; a command fills in a handful.
        let fill = |text: &str| -> &'static str { text.replace(CATEGORY, category).leak() };
        let download = |download: &Download| {
            let file = FileSum { name: fill(download.file.name), ..download.file };
            Download { url: fill(download.url), file, ..*download }
        };
        let downloads = self.downloads.iter().map(download).collect::<Vec<_>>().leak();
        Self { name: fill(self.name), title: fill(self.title), downloads, ..*self }
    }

    /// The sets of files, any one of which is the data; readers prefer the first.
    pub fn sets(&self) -> impl Iterator<Item = Vec<FileSum>> {
        let zip = self.zip.map_or(Vec::new(), |zip| zip.files.to_vec());
        let downloads = self.downloads.iter().map(|download| download.file).collect();
        let package = self.package.map_or(Vec::new(), |package| package.files.to_vec());
        [zip, downloads, self.by_hand.to_vec(), package].into_iter().filter(|files| !files.is_empty())
    }
}
