//! Anybody's own interactions and items, from tables.

use crate::reading::columns::{Column, ENDINGS, Format, Layout, each_row, files_of};
use crate::reading::interactions::{Collected, Finished, Rules, Unknown, Wanted};
use crate::reading::source::Encoding;
use crate::reading::tally::{Lacking, Tally};
use crate::reading::times::{Count, Times, Written, Zone};
use crate::reading::{Ids, Pictures, Place, catalogue, one_line, short};
use framework::context::Context;
use framework::corpus::{Attribute, Corpus, Items, Part};
use framework::error::{Error, Result};
use framework::plugin;
use framework::roles::Dataset;
use std::path::{Path, PathBuf};

mod titles;

plugin! {
    /// Your own interactions and items: a table of each, as text, JSON or parquet.
    ///
    /// The format is that of the file's ending, in capitals or not: `.csv` (commas), `.tsv`, `.inter`, `.item` (tabs), `.txt`
    /// and `.dat` (what parts the first line into the columns), `.jsonl`, `.ndjson`, `.json` (an object per line, or an array
    /// of them), each also packed as `.gz` or `.zst`; or `.parquet`. A folder is a table of the files in it, in the order of
    /// their names. A table of interactions has a row each, of a user, an item and a time; every row is taken, in the order
    /// of the file, also where a user met an item twice. A table of items has a row each.
    ///
    /// Ids are text or numbers. Blanks around them do not count, a typed number that is whole has no decimal point (`1.0` of
    /// JSON or parquet is `1`), and what pandas reads as missing (`nan`, `null`, `None`, `NA`, nothing) is no id. What is left
    /// out, taken for something or doubtful is counted and shown by `ablate data SPEC` and in every report; `ablate data SPEC
    /// --rows 5` shows rows and items as they were understood.
    ///
    /// Times are kept to the microsecond where they are so fine. Times of parquet and of MongoDB (`{"$date": …}`) have a unit
    /// of their own; others are written as `time` says. Rows of the same time are ordered by `protocol.ties`. Nothing says how
    /// many rows there must be, so a table that was cut between two rows looks whole: compare what `ablate run` reports.
    ///
    /// Files of your own split: `interactions` is what is trained on, `validation` and `test` are two more tables with the
    /// same columns; or one table has a column that says what each row is for. `protocol.split = { use = "given" }` takes
    /// those rows as the targets.
    struct Table: Dataset = "table" version 3 {
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
        /// What parts the fields of text, where the files' endings do not say it: `;`, `|`, `::`, `blanks` for any number of
        /// blanks and tabs.
        separator: Option<String> = None,
        /// The same of the table of items, where it is another than that of the interactions.
        items_separator: Option<String> = None,
        /// The names of the columns, in their order, of tables of interactions that have no header.
        header: Option<Vec<String>> = None,
        /// The same of the table of items.
        items_header: Option<Vec<String>> = None,
        /// How the characters of text are written: `utf-8`, `windows-1252`, `utf-16le`, `gbk`.
        encoding: Encoding = Encoding::UTF_8,
        /// Whether fields of text may stand in double quotes.
        quotes: bool = true,
        /// The interactions' column of users.
        user_column: String = String::from("user_id"),
        /// The interactions' column of items.
        item_column: String = String::from("item_id"),
        /// What parts several items in one cell, oldest first, for a row per sequence.
        item_separator: Option<String> = None,
        /// The interactions' column of times; without one, rows are in the order of time, and there is no clock.
        timestamp_column: Option<String> = Some(String::from("timestamp")),
        /// How times are written: numbers of a unit since 1970; `iso8601`, which is dates too, with or without a clock, with
        /// or without an offset; or a pattern of `strftime`, such as `%m/%d/%Y %I:%M:%S %p`.
        time: Written = Written::Since(Count::Seconds),
        /// The zone of written times without an offset: `UTC`, `Europe/Berlin`, `+05:30`.
        time_zone: Zone = Zone::UTC,
        /// The interactions' column of ratings, read where `min_rating` is set.
        rating_column: String = String::from("rating"),
        /// Interactions rated below this are left out and counted.
        min_rating: Option<f64> = None,
        /// The interactions' column that says what each is for: train, valid or test, or 0, 1 or 2.
        split_column: Option<String> = None,
        /// What becomes of interactions without a user, an item, a time or what else is read of them.
        missing: Lacking = Lacking::Refuse,
        /// What becomes of interactions with an item that is not in the table of items.
        unknown_items: Unknown = Unknown::Refuse,
        /// The items' column of ids.
        id_column: String = String::from("item_id"),
        /// The items' column of titles; without one, or where it is empty, an item is called as its id.
        title_column: Option<String> = Some(String::from("title")),
        /// What an item is called instead, of the title and its attributes: `{title} by {author} ({year})`.
        title_format: Option<String> = None,
        /// More columns of the items that are kept: for titles, for prompts, and as features (`attributes`).
        attributes: Vec<String> = Vec::new(),
        /// The items' column of paths of pictures in PNG, JPEG or WebP, relative to the folder; empty for none.
        image_column: Option<String> = None,
        /// Instead, the folder of pictures in the folder: `<id>.png`, or jpg, jpeg, webp, also in folders within it.
        images: Option<PathBuf> = None,
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
        if table.split_column.is_some() && table.test.is_some() {
            reader.conflict("split_column", "files and a column both say what rows are for", "one of them");
        }
        if table.items.is_none() && !table.attributes.is_empty() {
            reader.conflict("attributes", "there is no table of items that has them", "`items`; or no attributes");
        }
        if let Some(name) = table.title_format.as_deref().and_then(|format| titles::unknown(format, &table.attributes)) {
            let expected = "parts that are `title` or among `attributes`, in braces: `{title} ({year})`";
            reader.conflict("title_format", format!("`{{{name}}}` is no attribute"), expected);
        }
        let separators = [
            ("separator", &table.separator),
            ("items_separator", &table.items_separator),
            ("item_separator", &table.item_separator),
        ];
        for (key, separator) in separators {
            if separator.as_deref() == Some("") {
                reader.conflict(key, "it is empty", "a character or more; or false");
            }
        }
        let tables = [
            ("interactions", Some(&table.interactions)),
            ("validation", table.validation.as_ref()),
            ("test", table.test.as_ref()),
            ("items", table.items.as_ref()),
            ("candidates", table.candidates.as_ref()),
        ];
        for (key, path) in tables {
            if path.is_some_and(|path| Format::of(path).is_none() && table.separator.is_none() && table.items_separator.is_none()) {
                reader.conflict(key, "the name's ending is that of no known format", ENDINGS);
            }
        }
    }
}

/// Tables of interactions, and what the rows of each are for.
type Parts = Vec<(PathBuf, Part)>;

/// What the table of items says.
#[derive(Default)]
struct Catalogue {
    ids: Ids,
    titles: Vec<String>,
    attributes: Vec<Attribute>,
    pictures: Pictures,
}

impl Dataset for Table {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        self.corpus(&cx.cache.join(&self.folder)).map_err(|error| error.fix("tables as the settings say"))
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let folder = cache.join(&self.folder);
        let (parts, items) = self.paths(&folder)?;
        let named = items.as_deref().filter(|_| self.image_column.is_some());
        let pictures = self.items(&folder, named, &mut Tally::default())?.pictures;
        let lists = self.candidates.as_ref().map(|path| self.lists_path(&folder, path)).transpose()?;
        let tables = parts.into_iter().map(|(path, _)| path).chain(items).chain(lists);
        let mut files = Vec::new();
        for table in tables {
            files.extend(files_of(&table)?);
        }
        files.extend(pictures.into_files());
        Ok(files)
    }
}

impl Table {
    /// The tables of interactions with what they are for and, if there is one, the table of items.
    fn paths(&self, folder: &Path) -> Result<(Parts, Option<PathBuf>)> {
        let mut parts =
            vec![(find(folder, &self.interactions, "`folder` and `interactions`, where your table is")?, Part::Train)];
        for (path, part) in [(&self.validation, Part::Validation), (&self.test, Part::Test)] {
            if let Some(path) = path {
                let fix = "`validation` and `test`, where your tables are; or neither";
                parts.push((find(folder, path, fix)?, part));
            }
        }
        let fix = "`items`, where your table is; or items = false";
        Ok((parts, self.items.as_ref().map(|path| find(folder, path, fix)).transpose()?))
    }

    /// How the text of tables of interactions is written.
    fn layout(&self) -> Layout {
        let (separator, header) = (self.separator.clone(), self.header.clone());
        Layout { separator, header, encoding: self.encoding, quotes: self.quotes, prefix: "" }
    }

    /// The same of the table of items.
    fn items_layout(&self) -> Layout {
        let separator = self.items_separator.clone().or(self.separator.clone());
        Layout { separator, header: self.items_header.clone(), prefix: "items_", ..self.layout() }
    }

    /// The columns of the interactions.
    fn wanted(&self) -> Wanted<'_> {
        let time = self.timestamp_column.as_deref();
        Wanted {
            user: Column::new("user_column", &self.user_column),
            item: Column::new("item_column", &self.item_column),
            time: time.map(|name| Column::optional("timestamp_column", name)),
            rating: self.min_rating.map(|_| Column::new("rating_column", &self.rating_column)),
            split: self.split_column.as_deref().map(|name| Column::optional("split_column", name)),
        }
    }

    fn corpus(&self, folder: &Path) -> Result<Corpus> {
        let (parts, items) = self.paths(folder)?;
        let mut tally = Tally::default();
        let Catalogue { ids, mut titles, mut attributes, pictures } =
            self.items(folder, items.as_deref(), &mut tally)?;
        let (missing, unknown, min_rating) = (self.missing, self.unknown_items, self.min_rating.unwrap_or(0.0));
        let rules = Rules { missing, unknown, min_rating, item_separator: self.item_separator.clone() };
        let (wanted, times) = (self.wanted(), Times::new(self.time.clone(), self.time_zone));
        let mut collected = Collected::new(wanted, rules, times, items.map(|_| ids));
        let (columns, layout) = (wanted.columns(), self.layout());
        for (path, part) in &parts {
            let part = (parts.len() > 1).then_some(*part);
            let remarks = each_row(path, &layout, &columns, &mut |place, cells| collected.row(part, place, cells))?;
            remarks.into_iter().for_each(|remark| tally.note(remark));
        }
        let lists = self.candidates.as_ref().map(|path| self.lists(&self.lists_path(folder, path)?, collected.ids()));
        let candidates = lists.transpose()?;
        let Finished { users, items: ids, interactions, notes } = collected.finish();
        titles.resize(ids.len(), String::new());
        attributes.iter_mut().for_each(|attribute| attribute.values.resize(ids.len(), None));
        if let Some(format) = &self.title_format {
            titles = titles::filled(format, &titles, &attributes);
        }
        let items = Items { attributes, ..catalogue(ids.into_names(), titles, &pictures)? };
        Ok(Corpus {
            users: users.into_names(),
            items,
            interactions,
            untimed: self.timestamp_column.is_none(),
            candidates,
            notes: tally.into_notes().into_iter().chain(notes).collect(),
            ..Corpus::default()
        })
    }

    fn lists_path(&self, folder: &Path, path: &Path) -> Result<PathBuf> {
        find(folder, path, "`candidates`, where your table is; or candidates = false")
    }

    /// Each user's candidates, in the order of the file.
    fn lists(&self, path: &Path, (users, items): (&Ids, &Ids)) -> Result<Vec<Vec<u32>>> {
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); users.len()];
        let Wanted { user, item, .. } = self.wanted();
        each_row(path, &self.layout(), &[user, item], &mut |place, cells| {
            let (Some(user), Some(item)) = (cells[0].id(), cells[1].id()) else {
                return Err(place.broken("a candidate's user or item is missing").fix("both in each row"));
            };
            let unknown = |what, id| {
                let fix = "candidates of users and items of the interactions, or of the table of items";
                place.broken(format!("{what} {} is not in the data", short(id))).fix(fix)
            };
            let user = users.get(&user).ok_or_else(|| unknown("user", &user))? as usize;
            let item = items.get(&item).ok_or_else(|| unknown("item", &item))?;
            lists[user].push(item);
            Ok(())
        })?;
        Ok(lists)
    }

    /// What the table of items says, where there is one.
    fn items(&self, folder: &Path, path: Option<&Path>, tally: &mut Tally) -> Result<Catalogue> {
        let mut known = Catalogue {
            pictures: self.images.as_ref().map_or(Ok(Pictures::default()), |images| pictures(folder, images))?,
            attributes: self
                .attributes
                .iter()
                .map(|name| Attribute { name: name.clone(), values: Vec::new() })
                .collect(),
            ..Catalogue::default()
        };
        let Some(path) = path else { return Ok(known) };
        let image = self.image_column.as_deref().map(|name| Column::optional("image_column", name).sparse());
        let title = self.title_column.as_deref().map(|name| Column::optional("title_column", name).sparse());
        let attributes = self.attributes.iter().map(|name| Column::new("attributes", name).sparse());
        let columns: Vec<Column<'_>> = [Column::new("id_column", &self.id_column)]
            .into_iter()
            .chain(title)
            .chain(image)
            .chain(attributes)
            .collect();
        let layout = self.items_layout();
        let remarks = each_row(path, &layout, &columns, &mut |place, cells| {
            let Some(id) = cells[0].id() else {
                return tally.lacks(place, &self.id_column, self.missing);
            };
            if known.ids.add(&id).is_none() {
                let fix = "a row for each item";
                return Err(place.broken(format!("item {} is there twice", short(&id))).fix(fix));
            }
            let mut rest = cells[1..].iter();
            let mut text = |is_there: bool| if is_there { rest.next().and_then(|cell| cell.value()) } else { None };
            known.titles.push(one_line(&text(title.is_some()).unwrap_or_default()));
            if let Some(image) = text(image.is_some()).filter(|image| !image.trim().is_empty()) {
                known.pictures.add(&id, picture(place, folder, image.trim())?);
            }
            for attribute in &mut known.attributes {
                attribute.values.push(text(true).map(|text| one_line(&text)).filter(|text| !text.is_empty()));
            }
            Ok(())
        })?;
        remarks.into_iter().for_each(|remark| tally.note(remark));
        if let Some(column) = &self.title_column
            && known.titles.iter().all(String::is_empty)
        {
            let fix = "`title_column`, where the titles are; or title_column = false";
            return Err(Error::new(format!("no item has a title in `{column}`")).at(path.display()).fix(fix));
        }
        Ok(known)
    }
}

/// A table, or a folder that is one, in `folder`.
fn find(folder: &Path, name: &Path, fix: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let missing = || Error::new(format!("the file {} is missing", name.display())).at(folder.display()).fix(fix);
    if path.exists() { Ok(path) } else { Err(missing()) }
}

/// The picture that a row names.
fn picture(place: Place<'_>, folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let fix = "the picture there; or an empty field for an item without one";
    if path.is_file() {
        Ok(path)
    } else {
        Err(place.broken(format!("the picture {} is missing", path.display())).fix(fix))
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

#[cfg(test)]
mod tests;
