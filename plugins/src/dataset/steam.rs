//! Steam: who reviewed which game, and on which day.

use crate::reading::literal::{fields, required};
use crate::reading::{Ids, Lines, Pictures, catalogue, one_line, present, push};
use chrono::{NaiveDate, NaiveTime};
use framework::archive::{Archive, Download, FileSum};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions};
use framework::error::Result;
use framework::roles::Dataset;
use framework::{inventory, plugin};
use std::path::{Path, PathBuf};

plugin! {
    /// Reviews of games on Steam, October 2010 to January 2018, with the games' titles.
    ///
    /// The source is version 2 at cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data (Kang and McAuley, ICDM 2018):
    /// `steam_reviews.json.gz` and `steam_games.json.gz`, packed or not, which `ablate fetch steam` gets; no licence is
    /// stated, the page asks for citations. It says 7,793,069 reviews of 15,474 games by 2,567,538 users. The lines are
    /// Python's dictionaries (`{u'username': u'…'}`) and no JSON. Every review is an interaction, in the order of the
    /// file, also where a user reviewed a game twice.
    ///
    /// Traps: users are known by `username` only, a name that two people can have. A timestamp is the start of a day
    /// (UTC), so ties are common, and are put in the order of the file. A game that is not in `steam_games.json.gz`,
    /// or not with an `app_name`, is called as its id. Papers filter differently: SASRec's is the 5-core, LLaRA's has
    /// users of 20 reviews and then a random third of users and games.
    struct Steam: Dataset = "steam" {
        /// The folder with both files, relative to the cache folder.
        folder: PathBuf = PathBuf::from("steam"),
        /// The folder of pictures in it, `<product id>.jpg` or png, jpeg, webp; if it is not there, games have none.
        images: PathBuf = PathBuf::from("images"),
    }
}

impl Dataset for Steam {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let [reviews, games] = self.paths(&cx.cache)?;
        let pictures = self.pictures(&cx.cache)?;
        read(&reviews, &games, &pictures)
            .map_err(|error| error.fix("the original file, from cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data"))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let mut files = self.paths(cache)?.to_vec();
        files.extend(self.pictures(cache)?.into_files());
        Ok(files)
    }
}

impl Steam {
    fn paths(&self, cache: &Path) -> Result<[PathBuf; 2]> {
        let folder = cache.join(&self.folder);
        let fix = "`ablate fetch steam`, or the file from cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data there";
        let reviews = present(&folder, &["steam_reviews.json.gz", "steam_reviews.json"], fix)?;
        Ok([reviews, present(&folder, &["steam_games.json.gz", "steam_games.json"], fix)?])
    }

    fn pictures(&self, cache: &Path) -> Result<Pictures> {
        Pictures::find(&cache.join(&self.folder).join(&self.images))
    }
}

fn read(reviews: &Path, games: &Path, pictures: &Pictures) -> Result<Corpus> {
    let (mut users, mut items, mut interactions) = (Ids::default(), Ids::default(), Interactions::default());
    let mut lines = Lines::open(reviews)?;
    while lines.advance()? {
        let line = lines.line();
        let [user, item, date] = required(line, ["username", "product_id", "date"])?;
        let Ok(day) = date.parse::<NaiveDate>() else {
            return Err(line.place.broken(format!("the date is {date:?}, not a day such as 2017-12-31")));
        };
        let timestamp = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        push(&mut interactions, users.intern(&user), items.intern(&item), timestamp);
    }
    let titles = titles(games, &items)?;
    let items = catalogue(items.into_names(), titles, pictures)?;
    Ok(Corpus { users: users.into_names(), items, interactions, ..Corpus::default() })
}

/// The titles of the games that were reviewed; the first where there are two.
fn titles(path: &Path, items: &Ids) -> Result<Vec<String>> {
    let (mut lines, mut titles) = (Lines::open(path)?, vec![String::new(); items.len()]);
    while lines.advance()? {
        let [id, title] = fields(lines.line(), [Some("id"), Some("app_name")])?;
        if let (Some(id), Some(title)) = (id, title)
            && let Some(item) = items.get(&id)
            && titles[item as usize].is_empty()
        {
            titles[item as usize] = one_line(&title);
        }
    }
    Ok(titles)
}

inventory::submit! { STEAM }

const STEAM: Archive = Archive {
    name: "steam",
    title: "Steam's reviews and games",
    licence: "Steam's reviews: no licence is stated; cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data asks for \
              citations: Kang and McAuley, ICDM 2018, and others; the texts are Valve's and their authors'.",
    page: "cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    // The host could not be reached where this was written, so sizes and checksums are not known.
    downloads: &[
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/steam/steam_reviews.json.gz",
            file: FileSum { name: "steam_reviews.json.gz", sha256: None },
            bytes: None,
        },
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/steam/steam_games.json.gz",
            file: FileSum { name: "steam_games.json.gz", sha256: None },
            bytes: None,
        },
    ],
    extras: &["images"],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
