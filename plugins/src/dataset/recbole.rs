//! RecBole's atomic files: tab-separated, with the type of each column in the header.

use crate::reading::delimited::Rows;
use crate::reading::{Ids, Pictures, catalogue, in_seconds, milliseconds, one_line, present, push};
use framework::context::Context;
use framework::corpus::{Corpus, Interactions};
use framework::error::Result;
use framework::plugin;
use framework::roles::Dataset;
use std::path::{Path, PathBuf};

plugin! {
    /// RecBole's atomic files, `<name>.inter` and perhaps `<name>.item`: a dataset prepared for RecBole, from the same
    /// bytes.
    ///
    /// The source of those that RecBole prepared is recbole.io/dataset_list.html; each keeps its own licence. Columns
    /// are parted by tabs, and the header names and types them: `user_id:token`, `timestamp:float`, `title:token_seq`.
    /// All interactions are taken, in the order of the file; RecBole's filters by value (`val_interval`) are not
    /// applied, and its benchmark files with `item_id_list` are not read. Items that are not in `<name>.item` follow
    /// those that are; without a title, an item is called as its id. MovieLens-100K and -1M are better read by
    /// `movielens`, which knows how much there must be.
    struct RecBole: Dataset = "recbole" version 2 {
        /// The name of the dataset.
        name: String,
        /// The folder with the files, relative to the cache folder; one called `name` when not given.
        folder: Option<PathBuf> = None,
        /// The column of users, without its type.
        user_column: String = String::from("user_id"),
        /// The column of items, in both files.
        item_column: String = String::from("item_id"),
        /// The column of timestamps in seconds; without one, rows are in the order of time, and there is no clock.
        timestamp_column: Option<String> = Some(String::from("timestamp")),
        /// The column of titles in `<name>.item`.
        title_column: Option<String> = Some(String::from("title")),
        /// The folder of pictures, `<item>.jpg` or png, jpeg, webp, in the folder of the files; if it is not there,
        /// items have no pictures.
        images: PathBuf = PathBuf::from("images"),
    }
}

impl Dataset for RecBole {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let (interactions, items) = self.paths(&cx.cache)?;
        let pictures = Pictures::find(&self.folder(&cx.cache).join(&self.images))?;
        self.corpus(&interactions, items.as_deref(), &pictures)
            .map_err(|error| error.fix("RecBole's file; or a setting that names the right column"))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let (interactions, items) = self.paths(cache)?;
        let pictures = Pictures::find(&self.folder(cache).join(&self.images))?;
        Ok([interactions].into_iter().chain(items).chain(pictures.into_files()).collect())
    }
}

impl RecBole {
    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder.as_deref().unwrap_or(Path::new(&self.name)))
    }

    /// The file of interactions, and that of items if there is one.
    fn paths(&self, cache: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
        let folder = self.folder(cache);
        let fix = "the unpacked files from recbole.io/dataset_list.html there";
        let interactions = present(&folder, &[format!("{}.inter", self.name).as_str()], fix)?;
        let items = folder.join(format!("{}.item", self.name));
        Ok((interactions, Some(items).filter(|path| path.is_file())))
    }

    fn corpus(&self, interactions: &Path, items: Option<&Path>, pictures: &Pictures) -> Result<Corpus> {
        let (mut ids, titles) = match items {
            Some(path) => self.items(path)?,
            None => Default::default(),
        };
        let mut rows = Rows::open(interactions, '\t', false)?;
        let (user, item) = (column(&rows, &self.user_column)?, column(&rows, &self.item_column)?);
        let timestamp = self.timestamp_column.as_ref().map(|name| column(&rows, name)).transpose()?;
        let (mut users, mut table, mut position) = (Ids::default(), Interactions::default(), 0);
        while let Some(row) = rows.advance()? {
            let time = match timestamp.map(|n| row.field(n)) {
                Some(text) => milliseconds(text)
                    .ok_or_else(|| row.place.broken(format!("the timestamp is {text:?}, not a number of seconds")))?,
                None => position * 1000,
            };
            if row.field(user).is_empty() || row.field(item).is_empty() {
                return Err(row.place.broken("the user or the item is empty"));
            }
            push(&mut table, users.intern(row.field(user)), ids.intern(row.field(item)), time);
            position += 1;
        }
        rows.check_end()?;
        let items = catalogue(ids.into_names(), titles, pictures)?;
        let (users, untimed) = (users.into_names(), self.timestamp_column.is_none());
        Ok(Corpus { users, items, interactions: in_seconds(table), untimed, ..Corpus::default() })
    }

    /// The items of `<name>.item`, and their titles in the same order.
    fn items(&self, path: &Path) -> Result<(Ids, Vec<String>)> {
        let mut rows = Rows::open(path, '\t', false)?;
        let item = column(&rows, &self.item_column)?;
        let title = self.title_column.as_ref().map(|name| column(&rows, name)).transpose()?;
        let (mut items, mut titles) = (Ids::default(), Vec::new());
        while let Some(row) = rows.advance()? {
            if items.add(row.field(item)).is_none() {
                return Err(row.place.broken(format!("item {:?} is there twice", row.field(item))));
            }
            titles.push(title.map_or(String::new(), |n| one_line(row.field(n))));
        }
        rows.check_end()?;
        Ok((items, titles))
    }
}

/// Where the column called `name` is; its type does not matter, but there must be one.
fn column(rows: &Rows, name: &str) -> Result<usize> {
    let header = rows.header();
    if let Some(untyped) = header.iter().find(|column| !column.contains(':')) {
        return Err(rows.place().broken(format!("the column {untyped:?} has no type, as in `user_id:token`")));
    }
    let found = header.iter().position(|column| column.split(':').next() == Some(name));
    let what = || format!("no column is called `{name}`; there are {}", header.join(", "));
    found.ok_or_else(|| rows.place().broken(what()))
}

#[cfg(test)]
mod tests;
