//! MovieLens: who rated which film, and when. Every rating kept is an interaction, in the order of the source.
//!
//! 100K is read from the GroupLens originals or from the atomic files of the Python package `recbole`, 1M from its
//! `::` files; posters from `posters/<item id>.jpg` beside them. Titles keep the year: `Toy Story (1995)`. What is
//! truncated or edited is an error with its file and line: a result on half a dataset looks like any other result.

use crate::reading::{Pictures, catalogue};
use framework::archive::{Archive, FileSum, PythonPackage, Zip};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions, Items};
use framework::error::{Error, Explain, Result};
use framework::roles::Dataset;
use framework::{choice, inventory, plugin};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

choice! {
    /// A release of MovieLens.
    enum Release {
        /// 100,000 ratings of 1,682 films by 943 users, 1997 to 1998.
        Ml100k = "100k",
        /// 1,000,209 ratings of 3,883 films by 6,040 users, 2000 to 2003.
        Ml1m = "1m",
    }
}

plugin! {
    /// MovieLens film ratings as interactions, with titles, and with posters if they lie beside them.
    struct MovieLens: Dataset = "movielens" {
        /// Which release.
        release: Release = Release::Ml100k,
        /// Ratings below this are left out; 0 keeps all.
        #[range(0.0..=5.0)]
        min_rating: f64 = 0.0,
    }
}

impl Dataset for MovieLens {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        cx.proceed()?;
        let source = Source::find(self.release, &cx.cache)?;
        let (items, index) = source.items()?;
        let (users, interactions) = source.ratings(&index, self.min_rating)?;
        Ok(Corpus { users, items, interactions, ..Corpus::default() })
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let source = Source::find(self.release, cache)?;
        let files = [source.layout.ratings, source.layout.items].map(|name| source.folder.join(name));
        Ok(files.into_iter().chain(source.posters()?.into_files()).collect())
    }
}

/// How a release's files are written.
#[derive(Debug, PartialEq)]
struct Layout {
    /// The file of user, item, rating and timestamp.
    ratings: &'static str,
    /// The file of item and title.
    items: &'static str,
    /// What parts the fields of each.
    separators: [&'static str; 2],
    /// The first line of each, where it is not data.
    headers: Option<[&'static str; 2]>,
    /// The fields of an item's line.
    item_fields: usize,
    /// Whether the year is a field of its own behind the title, and not a part of it.
    year_apart: bool,
}

const ORIGINAL_100K: Layout = Layout {
    ratings: "u.data",
    items: "u.item",
    separators: ["\t", "|"],
    headers: None,
    item_fields: 24,
    year_apart: false,
};
const ATOMIC_100K: Layout = Layout {
    ratings: "ml-100k.inter",
    items: "ml-100k.item",
    separators: ["\t", "\t"],
    headers: Some([
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
    ]),
    item_fields: 4,
    year_apart: true,
};
const ORIGINAL_1M: Layout = Layout {
    ratings: "ratings.dat",
    items: "movies.dat",
    separators: ["::", "::"],
    headers: None,
    item_fields: 3,
    year_apart: false,
};

impl Release {
    fn archive(self) -> Archive {
        match self {
            Self::Ml100k => ML_100K,
            Self::Ml1m => ML_1M,
        }
    }

    /// The layouts it comes in, the preferred one first.
    fn layouts(self) -> &'static [Layout] {
        match self {
            Self::Ml100k => &[ORIGINAL_100K, ATOMIC_100K],
            Self::Ml1m => &[ORIGINAL_1M],
        }
    }

    fn ratings(self) -> usize {
        match self {
            Self::Ml100k => 100_000,
            Self::Ml1m => 1_000_209,
        }
    }
}

/// A release on disk.
struct Source {
    release: Release,
    folder: PathBuf,
    layout: &'static Layout,
}

impl Source {
    fn find(release: Release, cache: &Path) -> Result<Self> {
        let name = release.archive().name;
        let folder = cache.join(name);
        let there = |layout: &&Layout| folder.join(layout.ratings).exists();
        let layout = release.layouts().iter().find(there).unwrap_or(&release.layouts()[0]);
        for file in [layout.ratings, layout.items] {
            if !folder.join(file).is_file() {
                return Err(Error::new(format!("MovieLens' file {file} is missing"))
                    .at(folder.join(file).display())
                    .fix(format!(
                        "`ablate fetch {name}` (or `ablate fetch {name} --from FOLDER` for a copy you have)"
                    )));
            }
        }
        Ok(Self { release, folder, layout })
    }

    /// The catalogue, in the order of the source, and where each id is in it.
    fn items(&self) -> Result<(Items, HashMap<u32, u32>)> {
        let (mut ids, mut titles, mut index) = (Vec::new(), Vec::new(), HashMap::new());
        let lines = self.lines(1)?;
        for (line, fields) in lines.rows(self.layout.separators[1], self.layout.item_fields) {
            let fields = fields?;
            let id: u32 = lines.number(line, "item id", fields[0])?;
            if index.insert(id, ids.len() as u32).is_some() {
                return Err(lines.broken(line, format!("item {id} is there twice")));
            }
            ids.push(id.to_string());
            titles.push(match fields[2] {
                year if self.layout.year_apart => format!("{} ({year})", fields[1].trim()),
                _ => fields[1].trim().to_string(),
            });
        }
        Ok((catalogue(ids, titles, &self.posters()?)?, index))
    }

    /// The posters beside the ratings, if there is a folder of them.
    fn posters(&self) -> Result<Pictures> {
        Pictures::find(&self.folder.join("posters"))
    }

    /// The users, in the order of their first rating, and the ratings.
    fn ratings(&self, item_index: &HashMap<u32, u32>, min_rating: f64) -> Result<(Vec<String>, Interactions)> {
        let lines = self.lines(0)?;
        let mut user_index: HashMap<u32, u32> = HashMap::new();
        let (mut users, mut table, mut found) = (Vec::new(), Interactions::default(), 0);
        for (line, fields) in lines.rows(self.layout.separators[0], 4) {
            let fields = fields?;
            found += 1;
            let user: u32 = lines.number(line, "user id", fields[0])?;
            let item: u32 = lines.number(line, "item id", fields[1])?;
            let rating: f64 = lines.number(line, "rating", fields[2])?;
            let timestamp: i64 = lines.number(line, "timestamp", fields[3])?;
            let Some(item) = item_index.get(&item) else {
                return Err(lines.broken(line, format!("item {item} is not in {}", self.layout.items)));
            };
            let user = *user_index.entry(user).or_insert_with(|| {
                users.push(user.to_string());
                users.len() as u32 - 1
            });
            if rating >= min_rating {
                table.user.push(user);
                table.item.push(*item);
                table.timestamp.push(timestamp);
            }
        }
        let expected = self.release.ratings();
        if found != expected {
            let what = if found < expected { "truncated" } else { "not the original" };
            let last = lines.text.lines().count();
            return Err(lines.broken(last, format!("{found} ratings instead of {expected}: the file is {what}")));
        }
        Ok((users, table))
    }

    /// The lines of the ratings' (0) or the items' (1) file.
    fn lines(&self, which: usize) -> Result<Lines> {
        let path = self.folder.join([self.layout.ratings, self.layout.items][which]);
        let bytes = std::fs::read(&path).explain("reading MovieLens", path.display())?;
        // The originals are latin-1, in which each byte is the code point of its character; the atomic files, and
        // copies that were converted, are UTF-8, which real latin-1 titles never happen to be.
        let text =
            String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().map(|b| char::from(*b)).collect());
        let header = self.layout.headers.map(|headers| headers[which]);
        let lines = Lines { text, path, header: header.is_some(), name: self.release.archive().name };
        match (header, lines.text.lines().next().unwrap_or_default()) {
            (Some(expected), found) if found != expected => {
                Err(lines.broken(1, format!("the header is {found:?} instead of {expected:?}")))
            }
            _ => Ok(lines),
        }
    }
}

/// A text file that knows where its lines are.
struct Lines {
    text: String,
    path: PathBuf,
    header: bool,
    name: &'static str,
}

impl Lines {
    /// The fields of each line of data and the line's number; an error where there are not `count` of them.
    fn rows<'a>(&'a self, separator: &'a str, count: usize) -> impl Iterator<Item = (usize, Result<Vec<&'a str>>)> {
        self.text.lines().zip(1..).skip(usize::from(self.header)).map(move |(text, line)| {
            let fields: Vec<&str> = text.split(separator).collect();
            let whole = fields.len() == count;
            let error = || self.broken(line, format!("{} fields instead of {count}", fields.len()));
            (line, if whole { Ok(fields) } else { Err(error()) })
        })
    }

    fn number<T: FromStr>(&self, line: usize, what: &str, text: &str) -> Result<T> {
        text.parse().map_err(|_| self.broken(line, format!("the {what} is {text:?}, not a number")))
    }

    fn broken(&self, line: usize, what: String) -> Error {
        Error::new(format!("MovieLens is damaged: {what}"))
            .at(format!("{}, line {line}", self.path.display()))
            .fix(format!("`ablate fetch {}` replaces what is not the original", self.name))
    }
}

const LICENCE: &str = "\
MovieLens is licensed by GroupLens Research, University of Minnesota, for research:
 - do not state or imply an endorsement by the University of Minnesota or GroupLens;
 - acknowledge it in publications: F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and
   Context, ACM TiiS 5(4), article 19, 2015, doi.org/10.1145/2827872;
 - do not redistribute it without separate permission;
 - do not use it for commercial or revenue-bearing purposes without permission of a GroupLens faculty member.
The full terms are in the README that comes with the data and at grouplens.org/datasets/movielens.";

inventory::submit! { ML_100K }
inventory::submit! { ML_1M }

const ML_100K: Archive = Archive {
    name: "ml-100k",
    title: "MovieLens 100K",
    licence: LICENCE,
    page: "grouplens.org/datasets/movielens/100k",
    zip: Some(Zip {
        url: "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        // Size and checksum of both zips are from public dataset catalogues; those of the files inside were computed.
        bytes: 4_924_376,
        sha256: "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        files: &[
            FileSum {
                name: "u.data",
                sha256: Some("06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"),
            },
            FileSum {
                name: "u.item",
                sha256: Some("553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
            },
        ],
    }),
    extras: &["README", "posters"],
    package: Some(PythonPackage {
        name: "recbole",
        version: "1.2.1",
        folder: "recbole/dataset_example/ml-100k",
        files: &[
            FileSum {
                name: ATOMIC_100K.ratings,
                sha256: Some("4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
            },
            FileSum {
                name: ATOMIC_100K.items,
                sha256: Some("51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
            },
        ],
    }),
    ..Archive::EMPTY
};

const ML_1M: Archive = Archive {
    name: "ml-1m",
    title: "MovieLens 1M",
    licence: LICENCE,
    page: "grouplens.org/datasets/movielens/1m",
    zip: Some(Zip {
        url: "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        bytes: 5_917_549,
        sha256: "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        // The zip could not be downloaded where this was written, so its files are not known by their sums.
        files: &[FileSum { name: "ratings.dat", sha256: None }, FileSum { name: "movies.dat", sha256: None }],
    }),
    extras: &["README", "posters"],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
