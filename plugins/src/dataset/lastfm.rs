//! LLaRA's LastFM: the artists that users listened to, divided by users into training, validation and test.

use crate::reading::delimited::{Row, Rows};
use crate::reading::{Lines, Pictures, catalogue, one_line, present, push_sequence, short};
use framework::archive::{Archive, FileSum};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions, Part};
use framework::error::Result;
use framework::roles::Dataset;
use framework::{inventory, plugin};
use std::path::{Path, PathBuf};

/// The files: training, validation, test, artists.
const FILES: [&str; 4] = ["train.tsv", "valid.tsv", "test.tsv", "id2name.txt"];
/// The longest history that a line holds.
const WINDOW: usize = 10;

/// How much there must be, so that a truncated file is seen.
struct Sizes {
    users: usize,
    prefixes: usize,
    validation: usize,
    test: usize,
    artists: usize,
}

const LLARA: Sizes = Sizes { users: 976, prefixes: 50_800, validation: 122, test: 122, artists: 4606 };

plugin! {
    /// LLaRA's LastFM: which artists 1,220 users listened to, with the split by users that LLaRA is reported on.
    ///
    /// The source is `data/ref/lastfm` of LLaRA (github.com/ljy0ustc/LLaRA, its dataset `joyliao7777/LLaRA` on Hugging
    /// Face; Liao et al., SIGIR 2024), made from HetRec 2011's Last.fm data: for non-commercial research. Its pickled
    /// tables must be written as TSV, `train.tsv`, `valid.tsv` and `test.tsv`, with the columns `history` (at most 10
    /// ids parted by blanks, oldest first; the single id 4606, the number of artists, for none) and `next`; beside them
    /// its `id2name.txt` with lines `id::artist`. The book's page on data has a script for that;
    /// `ablate fetch lastfm --from FOLDER` then checks the four files and puts them into the cache.
    ///
    /// The 50,800 training lines are all prefixes of 976 users, one user after the other, so each whole sequence
    /// follows from them, up to 986 artists long. A user of validation or test is one line: the last 10 artists at
    /// most and the target, what came before is not published. HR@1 on 122 users has a standard error of about .045.
    /// There is no clock: an interaction's timestamp is its position in the sequence. Users have no ids of their own.
    struct LastFm: Dataset = "lastfm" version 2 {
        /// The folder with the four files, relative to the cache folder.
        folder: PathBuf = PathBuf::from("lastfm"),
    }
}

impl Dataset for LastFm {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        cx.proceed()?;
        let files = self.paths(&cx.cache)?;
        read(&files, &LLARA).map_err(|error| error.fix("LLaRA's file, as the plugin's page describes it"))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        Ok(self.paths(cache)?.to_vec())
    }
}

impl LastFm {
    fn paths(&self, cache: &Path) -> Result<[PathBuf; 4]> {
        let folder = cache.join(&self.folder);
        let fix = "`ablate fetch lastfm --from FOLDER` with LLaRA's files, as the book's page on data describes them";
        let [train, validation, test, names] = FILES.map(|name| present(&folder, &[name], fix));
        Ok([train?, validation?, test?, names?])
    }
}

fn read([train, validation, test, names]: &[PathBuf; 4], sizes: &Sizes) -> Result<Corpus> {
    let titles = artists(names, sizes.artists)?;
    let mut sequences = training(train, sizes)?;
    let mut part = vec![Part::Train; sequences.iter().map(Vec::len).sum()];
    for (path, wanted, target) in [(validation, sizes.validation, Part::Validation), (test, sizes.test, Part::Test)] {
        for sequence in held_out(path, wanted, sizes.artists)? {
            part.extend(std::iter::repeat_n(Part::History, sequence.len().saturating_sub(1)));
            part.push(target);
            sequences.push(sequence);
        }
    }
    let mut interactions = Interactions { part, ..Interactions::default() };
    for (user, items) in sequences.iter().enumerate() {
        push_sequence(&mut interactions, user as u32, items);
    }
    let users = (0..sequences.len()).map(|user| user.to_string()).collect();
    let ids = (0..titles.len()).map(|id| id.to_string()).collect();
    let items = catalogue(ids, titles, &Pictures::default())?;
    Ok(Corpus { users, items, interactions, untimed: true, ..Corpus::default() })
}

/// The sequences of the training users, each from its prefixes.
fn training(path: &Path, sizes: &Sizes) -> Result<Vec<Vec<u32>>> {
    let mut rows = open(path)?;
    let (mut sequences, mut prefixes) = (Vec::<Vec<u32>>::new(), 0);
    while let Some(row) = rows.advance()? {
        let (history, next) = case(&row, sizes.artists)?;
        prefixes += 1;
        if history.is_empty() {
            sequences.push(vec![next]);
            continue;
        }
        match sequences.last_mut() {
            Some(sequence) if sequence.ends_with(&history) && history.len() == sequence.len().min(WINDOW) => {
                sequence.push(next);
            }
            _ => return Err(row.place.broken("the history is not what the lines before lead to")),
        }
    }
    rows.check_end()?;
    let (users, found) = (sequences.len(), [sequences.len(), prefixes]);
    if found != [sizes.users, sizes.prefixes] {
        let Sizes { users: all, prefixes: lines, .. } = sizes;
        let what = format!("{prefixes} prefixes of {users} users instead of {lines} of {all}");
        return Err(rows.place().broken(what));
    }
    Ok(sequences)
}

/// The sequences of users that are one line each: the history and its target.
fn held_out(path: &Path, wanted: usize, artists: usize) -> Result<Vec<Vec<u32>>> {
    let (mut rows, mut sequences) = (open(path)?, Vec::new());
    while let Some(row) = rows.advance()? {
        let (mut history, next) = case(&row, artists)?;
        history.push(next);
        sequences.push(history);
    }
    rows.check_end()?;
    match sequences.len() {
        found if found != wanted => Err(rows.place().broken(format!("{found} users instead of {wanted}"))),
        _ => Ok(sequences),
    }
}

fn open(path: &Path) -> Result<Rows> {
    let rows = Rows::open(path, '\t', false)?;
    if rows.header() != ["history", "next"] {
        let what = format!("the columns are {} instead of history, next", rows.header().join(", "));
        return Err(rows.place().broken(what));
    }
    Ok(rows)
}

/// A line's history and what came next.
fn case(row: &Row, artists: usize) -> Result<(Vec<u32>, u32)> {
    let id = |text: &str, most: usize| match text.parse::<u32>() {
        Ok(id) if id as usize <= most => Ok(id),
        _ => Err(row.place.broken(format!("the artist {text:?} is no number from 0 to {most}"))),
    };
    let next = id(row.field(1), artists - 1)?;
    let history = row.field(0);
    if id(history.split(' ').next().unwrap_or_default(), artists)? as usize == artists && !history.contains(' ') {
        return Ok((Vec::new(), next));
    }
    let history = history.split(' ').map(|text| id(text, artists - 1)).collect::<Result<Vec<u32>>>()?;
    match history.len() {
        1..=WINDOW => Ok((history, next)),
        length => Err(row.place.broken(format!("a history of {length} artists instead of at most {WINDOW}"))),
    }
}

/// The names of the artists, by their ids.
fn artists(path: &Path, wanted: usize) -> Result<Vec<String>> {
    let (mut lines, mut names) = (Lines::open(path)?, Vec::new());
    while lines.advance()? {
        let line = lines.line();
        match line.text.split_once("::") {
            Some((id, name)) if id.parse::<usize>() == Ok(names.len()) => names.push(one_line(name)),
            _ => {
                let next = names.len();
                return Err(line.place.broken(format!("{} instead of `{next}::` and the artist", short(line.text))));
            }
        }
    }
    lines.check_end()?;
    match names.len() {
        found if found != wanted => Err(lines.place().broken(format!("{found} artists instead of {wanted}"))),
        _ => Ok(names),
    }
}

inventory::submit! { LASTFM }

const LASTFM: Archive = Archive {
    name: "lastfm",
    title: "LLaRA's LastFM",
    licence: "LLaRA's LastFM, HetRec 2011's Last.fm data as LLaRA divided it, is for non-commercial research; cite \
              Cantador et al., RecSys 2011, and Liao et al., SIGIR 2024.",
    page: "huggingface.co/datasets/joyliao7777/LLaRA",
    // Of a copy that was written from LLaRA's tables.
    by_hand: &[
        FileSum { name: FILES[0], sha256: Some("7462f91463c7169e7e8485503750032d54e9eabc9b261b39beb97ee9de3f2acc") },
        FileSum { name: FILES[1], sha256: Some("33690d2a2dedf29b0905be9f3ac980a6dbb0698e120d4626768a173306a157ca") },
        FileSum { name: FILES[2], sha256: Some("3d86ef23ce99034d31bfa568a03baf7cc9194d412ef3c528edbecdbdfd3055fa") },
        FileSum { name: FILES[3], sha256: Some("b2fb5e6ea624c1d162b80ff2fb09df71c131c9b19549981eeaa4535c89cdb5bb") },
    ],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
