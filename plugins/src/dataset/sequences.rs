//! Text files of sequences, as S3-Rec and the models after it publish them: one user per line.

use crate::reading::tally::Tally;
use crate::reading::{Ids, Lines, Pictures, catalogue, present, push_sequence, short};
use framework::archive::{Archive, Download, FileSum};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions};
use framework::error::{Error, Result};
use framework::roles::Dataset;
use framework::{inventory, plugin};
use std::path::{Path, PathBuf};

/// The file that the default names, with its users, items and interactions.
const BEAUTY: (&str, [usize; 3]) = ("amazon-beauty/Beauty.txt", [22_363, 12_101, 198_502]);

plugin! {
    /// Sequences of items, one user per line: `user item item …`, oldest first, parted by blanks or tabs.
    ///
    /// Any number of blanks and tabs parts ids, also at a line's end; empty lines are passed over and counted.
    /// The default is S3-Rec's 5-core of Amazon's Beauty reviews of 2014 (github.com/RUCAIBox/CIKM2020-S3Rec, `data/`;
    /// Zhou et al., CIKM 2020), for academic use, not to be redistributed: 22,363 users, 12,101 items, 198,502
    /// interactions, which are counted. `ablate fetch amazon-beauty` gets it. Other files of the format are taken as
    /// they are.
    ///
    /// There is no clock: an interaction's timestamp is its position in the user's sequence, so a split at one moment
    /// for all users is impossible, and what was popular recently is unknown. There are no titles: an item is called
    /// as its id. At least two files are called Beauty in the literature, and results on them differ twofold.
    struct Sequences: Dataset = "sequences" {
        /// The file, relative to the cache folder.
        file: PathBuf = PathBuf::from(BEAUTY.0),
    }
}

impl Dataset for Sequences {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let path = self.path(&cx.cache)?;
        let corpus = read(&path).map_err(|error| error.fix("lines of `user item item …`, parted by blanks or tabs"))?;
        let found = [corpus.users.len(), corpus.items.id.len(), corpus.interactions.user.len()];
        if self.file == Path::new(BEAUTY.0) && found != BEAUTY.1 {
            let [[users, items, interactions], [all_users, all_items, all]] = [found, BEAUTY.1];
            return Err(Error::new(format!(
                "{users} users, {items} items and {interactions} interactions instead of {all_users}, {all_items} and \
                 {all}: the file is truncated or not S3-Rec's"
            ))
            .at(path.display())
            .fix("the original; or a file of your own by another name"));
        }
        Ok(corpus)
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        Ok(vec![self.path(cache)?])
    }
}

impl Sequences {
    fn path(&self, cache: &Path) -> Result<PathBuf> {
        let fix = "`ablate fetch amazon-beauty` for the default, which is github.com/RUCAIBox/CIKM2020-S3Rec's; or \
                   `file`, the path of yours";
        present(cache, &[&*self.file.to_string_lossy()], fix)
    }
}

fn read(path: &Path) -> Result<Corpus> {
    let (mut users, mut items, mut interactions) = (Ids::default(), Ids::default(), Interactions::default());
    let (mut lines, mut sequence, mut tally) = (Lines::open(path)?, Vec::new(), Tally::default());
    while lines.advance()? {
        let line = lines.line();
        let mut ids = line.text.split([' ', '\t']).filter(|id| !id.is_empty());
        let Some(user) = ids.next() else {
            tally.count(line.place, "are empty and passed over");
            continue;
        };
        sequence.clear();
        sequence.extend(ids.map(|item| items.intern(item)));
        if sequence.is_empty() {
            return Err(line.place.broken(format!("a user without items: {}", short(line.text))));
        }
        let Some(index) = users.add(user) else {
            let fix = "a line for each user; `user item` pairs are a `table` with `separator = \"blanks\"`, `header` and \
                       `timestamp_column = false`";
            return Err(line.place.broken(format!("user {} has two lines", short(user))).fix(fix));
        };
        push_sequence(&mut interactions, index, &sequence);
    }
    if !lines.has_end() {
        let last = lines.place().in_file();
        tally.note(format!("{last} is the last and has no line break: if the file was cut there, its end is lost"));
    }
    let items = catalogue(items.into_names(), Vec::new(), &Pictures::default())?;
    let (users, notes) = (users.into_names(), tally.into_notes());
    Ok(Corpus { users, items, interactions, untimed: true, notes, ..Corpus::default() })
}

inventory::submit! { AMAZON_BEAUTY }

const AMAZON_BEAUTY: Archive = Archive {
    name: "amazon-beauty",
    title: "S3-Rec's Beauty",
    licence: "S3-Rec's Beauty, made from McAuley's Amazon reviews of 2014, is for academic use; do not redistribute \
              it; cite Zhou et al., CIKM 2020, and McAuley et al., SIGIR 2015.",
    page: "github.com/RUCAIBox/CIKM2020-S3Rec",
    // The host could not be reached where this was written: size and checksum are those of a copy.
    downloads: &[Download {
        url: "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/Beauty.txt",
        file: FileSum {
            name: "Beauty.txt",
            sha256: Some("226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8"),
        },
        bytes: Some(1_090_094),
    }],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
