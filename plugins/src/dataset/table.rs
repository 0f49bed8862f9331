//! Anybody's own interactions and items, from tables.

use crate::reading::columns::{ENDINGS, Format, each_row};
use crate::reading::{Ids, Pictures, Place, catalogue, in_seconds, milliseconds, one_line, present, push};
use chrono::DateTime;
use framework::context::Context;
use framework::corpus::{Corpus, Interactions, Part};
use framework::error::{Error, Result};
use framework::roles::Dataset;
use framework::{choice, plugin};
use std::path::{Path, PathBuf};

choice! {
    /// How timestamps are written.
    enum Time {
        /// Seconds since 1970, whole or not.
        Seconds = "seconds",
        /// Milliseconds since 1970.
        Milliseconds = "milliseconds",
        /// `2020-02-29T23:59:59Z`, or with an offset: `2020-02-29T23:59:59.5+01:00`.
        Rfc3339 = "rfc3339",
    }
}

plugin! {
    /// Your own interactions and items: a table of each, CSV, TSV, JSON lines or parquet.
    ///
    /// The format is that of the file's ending: `.csv`, `.tsv`, `.jsonl` (also `.ndjson`, `.json`), each also packed as
    /// `.gz`, or `.parquet`. A table of interactions has a row each, of a user, an item and a time; every row is taken,
    /// in the order of the file, also where a user met an item twice. A table of items has a row each; an interaction
    /// with an item that is not in it is an error. Ids are text or numbers. CSV and TSV have a header, JSON lines one
    /// object per line. Parquet's own types for times are not read, only numbers and text.
    ///
    /// Times are kept to the millisecond. Rows of the same time are ordered by `protocol.ties`. Nothing says how many
    /// rows there must be, so a table that was cut between two rows looks whole: compare what `ablate run` reports.
    /// Files of your own split: `interactions` is what is trained on, `validation` and `test` are two more tables with the
    /// same columns, and `protocol.split = { use = "given" }` takes their rows as the targets.
    struct Table: Dataset = "table" version 2 {
        /// The folder with the files, relative to the cache folder.
        folder: PathBuf,
        /// The table of interactions in it.
        interactions: PathBuf = PathBuf::from("interactions.csv"),
        /// Interactions in a table of their own that are held out for validation.
        validation: Option<PathBuf> = None,
        /// Interactions in a table of their own that are held out for testing.
        test: Option<PathBuf> = None,
        /// The table of items in it; without one, the items are those interacted with, called as their ids.
        items: Option<PathBuf> = Some(PathBuf::from("items.csv")),
        /// A table with a row for each candidate of a user, in columns called as in the interactions: the lists of
        /// `protocol.candidates.draw = "given"`.
        candidates: Option<PathBuf> = None,
        /// The interactions' column of users.
        user_column: String = String::from("user_id"),
        /// The interactions' column of items.
        item_column: String = String::from("item_id"),
        /// The interactions' column of times; without one, rows are in the order of time, and there is no clock.
        timestamp_column: Option<String> = Some(String::from("timestamp")),
        /// How times are written.
        time: Time = Time::Seconds,
        /// The items' column of ids.
        id_column: String = String::from("item_id"),
        /// The items' column of titles; without one, or where it is empty, an item is called as its id.
        title_column: Option<String> = Some(String::from("title")),
        /// The items' column of paths of pictures in PNG, JPEG or WebP, relative to the folder; empty for none.
        image_column: Option<String> = None,
        /// Instead, the folder of pictures in the folder: `<id>.png`, or jpg, jpeg, webp.
        images: Option<PathBuf> = None,
        /// Whether fields of CSV and TSV may stand in double quotes.
        quotes: bool = true,
    }
    check |table, reader| {
        if table.images.is_some() && table.image_column.is_some() {
            reader.conflict("images", "both a folder and a column say where pictures are", "one of them");
        }
        if table.items.is_none() && table.image_column.is_some() {
            reader.conflict("image_column", "there is no table of items that has it", "`items`; or `images`");
        }
        if table.validation.is_some() != table.test.is_some() {
            reader.conflict("test", "one of `validation` and `test` is there alone", "both; or neither");
        }
        let tables = [
            ("interactions", Some(&table.interactions)),
            ("validation", table.validation.as_ref()),
            ("test", table.test.as_ref()),
            ("items", table.items.as_ref()),
            ("candidates", table.candidates.as_ref()),
        ];
        for (key, path) in tables {
            if path.is_some_and(|path| Format::of(path).is_none()) {
                reader.conflict(key, "the name's ending is that of no known format", ENDINGS);
            }
        }
    }
}

/// Tables of interactions, and what the rows of each are for.
type Parts = Vec<(PathBuf, Part)>;

impl Dataset for Table {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let folder = cx.cache.join(&self.folder);
        let fix = "tables as the settings say; or settings as the tables are, `quotes = false` if nothing is quoted";
        self.corpus(&folder).map_err(|error| error.fix(fix))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let folder = cache.join(&self.folder);
        let (parts, items) = self.paths(&folder)?;
        let (_, _, pictures) = match self.image_column {
            Some(_) => self.items(&folder, items.as_deref())?,
            None => self.items(&folder, None)?,
        };
        let lists = self.candidates.as_ref().map(|path| self.lists_path(&folder, path)).transpose()?;
        Ok(parts.into_iter().map(|(path, _)| path).chain(items).chain(lists).chain(pictures.into_files()).collect())
    }
}

impl Time {
    /// Milliseconds since 1970; those beyond the year 5138 were meant in another unit.
    fn parse(self, text: &str) -> Option<i64> {
        let time = match self {
            Self::Seconds => milliseconds(text),
            Self::Milliseconds => text.parse().ok().or_else(|| {
                let time = text.parse::<f64>().ok()?;
                (time.abs() < 1e15).then(|| time.round() as i64)
            }),
            Self::Rfc3339 => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis()),
        };
        time.filter(|time| time.unsigned_abs() < 100_000_000_000_000)
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Seconds => "seconds since 1970",
            Self::Milliseconds => "milliseconds since 1970",
            Self::Rfc3339 => "a time such as 2020-02-29T23:59:59Z",
        }
    }
}

impl Table {
    /// The tables of interactions with what they are for and, if there is one, the table of items.
    fn paths(&self, folder: &Path) -> Result<(Parts, Option<PathBuf>)> {
        let find = |path: &PathBuf, fix: &str| present(folder, &[&*path.to_string_lossy()], fix);
        let mut parts =
            vec![(find(&self.interactions, "`folder` and `interactions`, where your table is")?, Part::Train)];
        for (path, part) in [(&self.validation, Part::Validation), (&self.test, Part::Test)] {
            if let Some(path) = path {
                parts.push((find(path, "`validation` and `test`, where your tables are; or neither")?, part));
            }
        }
        let items = self.items.as_ref().map(|path| find(path, "`items`, where your table is; or items = false"));
        Ok((parts, items.transpose()?))
    }

    fn corpus(&self, folder: &Path) -> Result<Corpus> {
        let (parts, items) = self.paths(folder)?;
        let (mut ids, titles, pictures) = self.items(folder, items.as_deref())?;
        let (mut users, mut table, mut position) = (Ids::default(), Interactions::default(), 0);
        let columns = [Some(&*self.user_column), Some(&*self.item_column), self.timestamp_column.as_deref()];
        let mut row = |part: Option<Part>, place: Place, [user, item, timestamp]: [Option<&str>; 3]| {
            let user = filled(place, user, &self.user_column)?;
            let item = filled(place, item, &self.item_column)?;
            let index = match items {
                Some(_) => {
                    ids.get(item).ok_or_else(|| place.broken(format!("item {item:?} is not among the items")))?
                }
                None => ids.intern(item),
            };
            let time = match &self.timestamp_column {
                Some(column) => {
                    let text = filled(place, timestamp, column)?;
                    let wrong = || place.broken(format!("the time is {text:?}, not {}", self.time.in_words()));
                    self.time.parse(text).ok_or_else(wrong)?
                }
                None => position * 1000,
            };
            push(&mut table, users.intern(user), index, time);
            table.part.extend(part);
            position += 1;
            Ok(())
        };
        for (path, part) in &parts {
            let part = (parts.len() > 1).then_some(*part);
            each_row(path, columns, self.quotes, |place, cells| row(part, place, cells))?;
        }
        let candidates = self.candidates.as_ref().map(|path| self.lists(&self.lists_path(folder, path)?, &users, &ids));
        let candidates = candidates.transpose()?;
        let items = catalogue(ids.into_names(), titles, &pictures)?;
        let (users, untimed) = (users.into_names(), self.timestamp_column.is_none());
        Ok(Corpus { users, items, interactions: in_seconds(table), untimed, candidates, ..Corpus::default() })
    }

    fn lists_path(&self, folder: &Path, path: &Path) -> Result<PathBuf> {
        present(folder, &[&*path.to_string_lossy()], "`candidates`, where your table is; or candidates = false")
    }

    /// Each user's candidates, in the order of the file.
    fn lists(&self, path: &Path, users: &Ids, items: &Ids) -> Result<Vec<Vec<u32>>> {
        let mut lists: Vec<Vec<u32>> = Vec::new();
        let columns = [Some(&*self.user_column), Some(&*self.item_column), None];
        each_row(path, columns, self.quotes, |place, [user, item, _]| {
            let user = filled(place, user, &self.user_column)?;
            let item = filled(place, item, &self.item_column)?;
            let unknown = |what, id| place.broken(format!("{what} {id:?} is not in the data"));
            let user = users.get(user).ok_or_else(|| unknown("user", user))? as usize;
            let item = items.get(item).ok_or_else(|| unknown("item", item))?;
            lists.resize(lists.len().max(user + 1), Vec::new());
            lists[user].push(item);
            Ok(())
        })?;
        lists.resize(lists.len().max(users.len()), Vec::new());
        Ok(lists)
    }

    /// What the table of items says: ids, their titles in the same order, and where pictures are.
    fn items(&self, folder: &Path, path: Option<&Path>) -> Result<(Ids, Vec<String>, Pictures)> {
        let (mut ids, mut titles) = (Ids::default(), Vec::new());
        let mut pictures = self.images.as_ref().map_or(Ok(Pictures::default()), |images| pictures(folder, images))?;
        let Some(path) = path else { return Ok((ids, titles, pictures)) };
        let columns = [Some(&*self.id_column), self.title_column.as_deref(), self.image_column.as_deref()];
        each_row(path, columns, self.quotes, |place, [id, title, image]| {
            let id = filled(place, id, &self.id_column)?;
            if ids.add(id).is_none() {
                return Err(place.broken(format!("item {id:?} is there twice")));
            }
            titles.push(one_line(title.unwrap_or_default()));
            if let Some(image) = image.filter(|image| !image.is_empty()) {
                let image = folder.join(image);
                if !image.is_file() {
                    return Err(place.broken(format!("the picture {} is missing", image.display())));
                }
                pictures.add(id, image);
            }
            Ok(())
        })?;
        if let Some(column) = &self.title_column
            && titles.iter().all(String::is_empty)
        {
            return Err(Error::new(format!("no item has a title in `{column}`")).at(path.display()));
        }
        Ok((ids, titles, pictures))
    }
}

/// The pictures in a folder that must be there.
fn pictures(folder: &Path, images: &Path) -> Result<Pictures> {
    let images = folder.join(images);
    match images.is_dir() {
        true => Pictures::find(&images),
        false => Err(Error::new("the folder of pictures is missing").at(images.display()).fix("`images`, where it is")),
    }
}

/// What a cell says, which must not be empty.
fn filled<'a>(place: Place, cell: Option<&'a str>, column: &str) -> Result<&'a str> {
    let cell = cell.filter(|text| !text.is_empty());
    cell.ok_or_else(|| place.broken(format!("`{column}` is missing")))
}

#[cfg(test)]
mod tests;
