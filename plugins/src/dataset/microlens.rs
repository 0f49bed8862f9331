//! MicroLens-50k: which short videos users watched, with titles, and with covers if they lie beside them.

use crate::reading::delimited::Rows;
use crate::reading::{Ids, Lines, Pictures, catalogue, one_line, present, push_sequence, short};
use framework::archive::{Archive, Download, FileSum};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions};
use framework::error::Result;
use framework::roles::Dataset;
use framework::{inventory, plugin};
use std::path::{Path, PathBuf};

const PAIRS: &str = "MicroLens-50k_pairs.tsv";
const TITLES: &str = "MicroLens-50k_titles.csv";

/// How much there must be, so that a truncated file is seen.
struct Sizes {
    users: usize,
    items: usize,
    interactions: usize,
}

const MICROLENS_50K: Sizes = Sizes { users: 50_000, items: 19_220, interactions: 359_708 };

plugin! {
    /// MicroLens-50k: 359,708 views of 19,220 short videos by 50,000 users, with titles and perhaps covers.
    ///
    /// The source is recsys.westlake.edu.cn/MicroLens-50k-Dataset (github.com/westlake-repl/MicroLens; Ni et al.,
    /// arXiv 2309.15379): for non-commercial research, not to be redistributed, nor modified and passed on. Read are
    /// `MicroLens-50k_pairs.tsv` with lines `user<TAB>item item …`, oldest first, and `MicroLens-50k_titles.csv` with
    /// the columns `item,title`, which `ablate fetch microlens-50k` gets; covers, `MicroLens-50k_covers.zip` there, are
    /// to be unpacked to `covers/` by hand. Titles are up to 6,293 characters long; line breaks in them become blanks.
    ///
    /// These files have no clock: an interaction's timestamp is its position in the user's sequence, so a split at one
    /// moment for all users is impossible. Where you have a `pairs.csv` with timestamps, `table` reads it.
    struct MicroLens: Dataset = "microlens" {
        /// The folder with both files, relative to the cache folder.
        folder: PathBuf = PathBuf::from("microlens-50k"),
        /// The folder of covers in it, `<item>.jpg`; if it is not there, items have no pictures.
        covers: PathBuf = PathBuf::from("covers"),
    }
}

impl Dataset for MicroLens {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        cx.proceed()?;
        let [pairs, titles] = self.paths(&cx.cache)?;
        let covers = self.covers(&cx.cache)?;
        read(&pairs, &titles, &covers, &MICROLENS_50K)
            .map_err(|error| error.fix("the original file, from recsys.westlake.edu.cn/MicroLens-50k-Dataset"))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let mut files = self.paths(cache)?.to_vec();
        files.extend(self.covers(cache)?.into_files());
        Ok(files)
    }
}

impl MicroLens {
    fn paths(&self, cache: &Path) -> Result<[PathBuf; 2]> {
        let folder = cache.join(&self.folder);
        let fix = "`ablate fetch microlens-50k`, or the file from recsys.westlake.edu.cn/MicroLens-50k-Dataset there";
        Ok([present(&folder, &[PAIRS], fix)?, present(&folder, &[TITLES], fix)?])
    }

    fn covers(&self, cache: &Path) -> Result<Pictures> {
        Pictures::find(&cache.join(&self.folder).join(&self.covers))
    }
}

fn read(pairs: &Path, titles: &Path, covers: &Pictures, sizes: &Sizes) -> Result<Corpus> {
    let (items, titles) = videos(titles, sizes.items)?;
    let (mut users, mut interactions) = (Ids::default(), Interactions::default());
    let (mut lines, mut sequence) = (Lines::open(pairs)?, Vec::new());
    while lines.advance()? {
        let line = lines.line();
        let Some((user, history)) = line.text.split_once('\t') else {
            return Err(line.place.broken(format!("no user, tab and videos: {}", short(line.text))));
        };
        let Some(index) = users.add(user) else {
            return Err(line.place.broken(format!("user {user:?} has two lines")));
        };
        sequence.clear();
        for item in history.split(' ') {
            let Some(item) = items.get(item) else {
                return Err(line.place.broken(format!("video {} is not in {TITLES}", short(item))));
            };
            sequence.push(item);
        }
        push_sequence(&mut interactions, index, &sequence);
    }
    lines.check_end()?;
    let found = [users.len(), interactions.user.len()];
    if found != [sizes.users, sizes.interactions] {
        let Sizes { users: all, interactions: views, .. } = sizes;
        let what = format!("{} views by {} users instead of {views} by {all}", found[1], found[0]);
        return Err(lines.place().broken(what));
    }
    let items = catalogue(items.into_names(), titles, covers)?;
    Ok(Corpus { users: users.into_names(), items, interactions, untimed: true, ..Corpus::default() })
}

/// The videos, and their titles in the same order.
fn videos(path: &Path, wanted: usize) -> Result<(Ids, Vec<String>)> {
    let mut rows = Rows::open(path, ',', true)?;
    if rows.header() != ["item", "title"] {
        let what = format!("the columns are {} instead of item, title", rows.header().join(", "));
        return Err(rows.place().broken(what));
    }
    let (mut items, mut titles) = (Ids::default(), Vec::new());
    while let Some(row) = rows.advance()? {
        if items.add(row.field(0)).is_none() {
            return Err(row.place.broken(format!("video {:?} is there twice", row.field(0))));
        }
        titles.push(one_line(row.field(1)));
    }
    rows.check_end()?;
    match titles.len() {
        found if found != wanted => Err(rows.place().broken(format!("{found} videos instead of {wanted}"))),
        _ => Ok((items, titles)),
    }
}

inventory::submit! { MICROLENS }

const MICROLENS: Archive = Archive {
    name: "microlens-50k",
    title: "MicroLens-50k",
    licence: "MicroLens is for non-commercial research; do not redistribute it, nor a modified version of it; cite \
              Ni et al., arXiv 2309.15379.",
    page: "recsys.westlake.edu.cn/MicroLens-50k-Dataset",
    // The host could not be reached where this was written: sizes and checksums are those of a copy.
    downloads: &[
        Download {
            url: "https://recsys.westlake.edu.cn/MicroLens-50k-Dataset/MicroLens-50k_pairs.tsv",
            file: FileSum {
                name: PAIRS,
                sha256: Some("46be22f478aa891b9c2a4b357c1df2ac2478793a99d58d07336e6277b6bf426d"),
            },
            bytes: Some(2_295_542),
        },
        Download {
            url: "https://recsys.westlake.edu.cn/MicroLens-50k-Dataset/MicroLens-50k_titles.csv",
            file: FileSum {
                name: TITLES,
                sha256: Some("244aad5380cbbe0fb43458cfcda5ebe820f534384602f80a64dbbcd07dd30e49"),
            },
            bytes: Some(2_392_145),
        },
    ],
    extras: &["covers"],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
