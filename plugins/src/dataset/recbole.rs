//! RecBole's atomic files: tab-separated, with the type of each column in the header.

use crate::reading::columns::{Column, Layout, each_row};
use crate::reading::delimited::Rows;
use crate::reading::interactions::{Collected, Finished, Rules, Unknown, Wanted};
use crate::reading::tally::{Lacking, Tally};
use crate::reading::times::{Count, Times, Written, Zone};
use crate::reading::{Ids, Pictures, catalogue, one_line, present, short};
use framework::context::Context;
use framework::corpus::{Attribute, Corpus, Items};
use framework::error::{Error, Result};
use framework::plugin;
use framework::roles::Dataset;
use std::path::{Path, PathBuf};

plugin! {
    /// RecBole's atomic files, `<name>.inter` and perhaps `<name>.item`: a dataset prepared for RecBole, from the same
    /// bytes.
    ///
    /// The source of those that RecBole prepared is recbole.io/dataset_list.html; each keeps its own licence. Columns
    /// are parted by tabs, and the header names and mostly types them: `user_id:token`, `timestamp:float`,
    /// `title:token_seq`; MMRec's have no types. All interactions are taken, in the order of the file, but those that
    /// `min_rating` leaves out; RecBole's other filters by value (`val_interval`) are not applied. Files that RecBole
    /// augmented, with `item_id_list`, have a row for each prefix of a sequence and are refused. Items that are not in
    /// `<name>.item` follow those that are; without a title, an item is called as its id. Where a file lacks
    /// `timestamp` or `title`, the report says so and goes on. MovieLens-100K and -1M are better read by `movielens`,
    /// which knows how much there must be.
    struct RecBole: Dataset = "recbole" version 3 {
        /// The name of the dataset.
        name: String,
        /// The folder with the files, relative to the cache folder; one called `name` when not given.
        folder: Option<PathBuf> = None,
        /// The column of users, without its type.
        user_column: String = String::from("user_id"),
        /// The column of items, in both files.
        item_column: String = String::from("item_id"),
        /// The column of timestamps; without one, rows are in the order of time, and there is no clock.
        timestamp_column: Option<String> = Some(String::from(TIMESTAMP)),
        /// How times are written, as in `table`: RecBole's are seconds.
        time: Written = Written::Since(Count::Seconds),
        /// The zone of written times without an offset.
        time_zone: Zone = Zone::UTC,
        /// The column of ratings, read where `min_rating` is set.
        rating_column: String = String::from("rating"),
        /// Interactions rated below this are left out and counted.
        min_rating: Option<f64> = None,
        /// The column that says what each interaction is for, as MMRec's `x_label` does: train, valid or test, or 0, 1, 2.
        split_column: Option<String> = None,
        /// What becomes of interactions without a user, an item, or what else is read of them.
        missing: Lacking = Lacking::Refuse,
        /// The column of titles in `<name>.item`.
        title_column: Option<String> = Some(String::from(TITLE)),
        /// More columns of `<name>.item` that are kept: for prompts, and as features (`attributes`).
        attributes: Vec<String> = Vec::new(),
        /// The folder of pictures, `<item>.jpg` or png, jpeg, webp, in the folder of the files; if it is not there,
        /// items have no pictures.
        images: PathBuf = PathBuf::from("images"),
    }
}

const TIMESTAMP: &str = "timestamp";
const TITLE: &str = "title";
/// MMRec's column of the split.
const SPLIT: &str = "x_label";

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

/// How the files are written.
fn layout() -> Layout {
    Layout { separator: Some("\t".into()), quotes: false, ..Layout::default() }
}

/// The columns of a file, with their types.
struct Header {
    path: PathBuf,
    names: Vec<String>,
}

impl Header {
    fn of(path: &Path) -> Result<Self> {
        let names = Rows::open(path, '\t', false)?.header().to_vec();
        if let Some(list) = names.iter().find(|name| untyped(name) == "item_id_list") {
            let what = format!("`{list}`: the file has a row for each prefix of a sequence, as RecBole augments it");
            let fix = "the plain file, which has a row for each interaction";
            return Err(Error::new(what).at(path.display()).fix(fix));
        }
        Ok(Self { path: path.to_path_buf(), names })
    }

    /// The whole name of the column that is called `name`, whatever its type.
    fn find(&self, name: &str) -> Option<&str> {
        self.names.iter().map(String::as_str).find(|column| untyped(column) == name)
    }

    /// The same, as a column of `each_row`; where it is not there, the name as given, which that will report.
    fn column<'a>(&'a self, setting: &'a str, name: &'a str) -> Column<'a> {
        Column::new(setting, self.find(name).unwrap_or(name))
    }

    /// The same of a column that a setting names; none where that is the default and it is not there, which is noted.
    fn if_there<'a>(
        &'a self,
        setting: &'a str,
        name: Option<&'a str>,
        usual: &str,
        tally: &mut Tally,
    ) -> Option<Column<'a>> {
        let name = name?;
        if name == usual && self.find(name).is_none() {
            let file = self.path.file_name().unwrap_or_default().to_string_lossy();
            tally.note(format!("{file} has no column `{name}`, so there is none"));
            return None;
        }
        Some(Column { optional: true, ..self.column(setting, name) })
    }
}

/// A column's name without its type.
fn untyped(column: &str) -> &str {
    column.split(':').next().unwrap_or_default()
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
        let mut tally = Tally::default();
        let (ids, mut titles, mut attributes) = match items {
            Some(path) => self.items(path, &mut tally)?,
            None => Default::default(),
        };
        let header = Header::of(interactions)?;
        let wanted = Wanted {
            user: header.column("user_column", &self.user_column),
            item: header.column("item_column", &self.item_column),
            time: header.if_there("timestamp_column", self.timestamp_column.as_deref(), TIMESTAMP, &mut tally),
            rating: self.min_rating.map(|_| header.column("rating_column", &self.rating_column)),
            split: self.split_column.as_deref().map(|name| header.column("split_column", name)),
        };
        if wanted.split.is_none() && header.find(SPLIT).is_some() {
            tally.note(format!(
                "the column `{SPLIT}`, perhaps a split, is not used: `split_column = \"{SPLIT}\"` takes it"
            ));
        }
        let min_rating = self.min_rating.unwrap_or(0.0);
        let rules = Rules { missing: self.missing, unknown: Unknown::Keep, min_rating, item_separator: None };
        let times = Times::new(self.time.clone(), self.time_zone);
        let mut collected = Collected::open(wanted, rules, times, ids);
        let remarks = each_row(interactions, &layout(), &wanted.columns(), &mut |place, cells| {
            collected.row(None, place, cells)
        })?;
        remarks.into_iter().for_each(|remark| tally.note(remark));
        let Finished { users, items: ids, interactions, notes } = collected.finish();
        titles.resize(ids.len(), String::new());
        attributes.iter_mut().for_each(|attribute| attribute.values.resize(ids.len(), None));
        Ok(Corpus {
            users: users.into_names(),
            items: Items { attributes, ..catalogue(ids.into_names(), titles, pictures)? },
            interactions,
            untimed: wanted.time.is_none(),
            notes: tally.into_notes().into_iter().chain(notes).collect(),
            ..Corpus::default()
        })
    }

    /// The items of `<name>.item`, and their titles and attributes in the same order.
    fn items(&self, path: &Path, tally: &mut Tally) -> Result<(Ids, Vec<String>, Vec<Attribute>)> {
        let header = Header::of(path)?;
        let title = header.if_there("title_column", self.title_column.as_deref(), TITLE, tally);
        let mut attributes: Vec<Attribute> =
            self.attributes.iter().map(|name| Attribute { name: name.clone(), values: Vec::new() }).collect();
        let others = self.attributes.iter().map(|name| header.column("attributes", name));
        let columns: Vec<Column<'_>> =
            [header.column("item_column", &self.item_column)].into_iter().chain(title).chain(others).collect();
        let (mut items, mut titles) = (Ids::default(), Vec::new());
        let remarks = each_row(path, &layout(), &columns, &mut |place, cells| {
            // RecBole reads such a row as an item called NaN that nobody met.
            let Some(id) = cells[0].id() else {
                tally.count(place, "have no id of an item and are left out");
                return Ok(());
            };
            if items.add(&id).is_none() {
                return Err(place.broken(format!("item {} is there twice", short(&id))).fix("a row for each item"));
            }
            let mut rest = cells[1..].iter();
            let mut text = |is_there: bool| if is_there { rest.next().and_then(|cell| cell.value()) } else { None };
            titles.push(one_line(&text(title.is_some()).unwrap_or_default()));
            for attribute in &mut attributes {
                attribute.values.push(text(true).map(|text| one_line(&text)).filter(|text| !text.is_empty()));
            }
            Ok(())
        })?;
        remarks.into_iter().for_each(|remark| tally.note(remark));
        Ok((items, titles, attributes))
    }
}

#[cfg(test)]
mod tests;
