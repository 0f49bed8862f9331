//! What a dataset plugin gives: who interacted with what, and when; and what the items look like.

use crate::error::{Error, Explain, Result};
use crate::picture::{Album, Picture};
use crate::truth::{Factor, Truth};
use polars::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Interactions, one per row, in the order of the source; ties of the timestamp keep that order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interactions {
    /// Indices into `Corpus::users`.
    pub user: Vec<u32>,
    /// Indices into `Corpus::items`.
    pub item: Vec<u32>,
    /// Time since 1970 in `unit`; only the order within a user matters where a source has no clock.
    pub timestamp: Vec<i64>,
    /// What timestamps count.
    pub unit: Unit,
    /// What each is for, in data with a split of its own; empty in other data.
    pub part: Vec<Part>,
}

/// What timestamps count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    #[default]
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

impl Unit {
    /// How many there are in a second.
    pub fn per_second(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Milliseconds => 1_000,
            Self::Microseconds => 1_000_000,
        }
    }

    /// What the stored column of times is called.
    fn column(self) -> &'static str {
        match self {
            Self::Seconds => "timestamp",
            Self::Milliseconds => "milliseconds",
            Self::Microseconds => "microseconds",
        }
    }
}

/// What a source says of its items besides: categories, prices, brands, authors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attribute {
    /// The source's name of it.
    pub name: String,
    /// Each item's value, where it has one.
    pub values: Vec<Option<String>>,
}

impl Attribute {
    /// Only the values of these items, in this order.
    pub fn of(&self, items: &[u32]) -> Self {
        Self { name: self.name.clone(), values: items.iter().map(|n| self.values[*n as usize].clone()).collect() }
    }
}

/// The catalogue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Items {
    /// The source's own id of each item.
    pub id: Vec<String>,
    /// Its title.
    pub title: Vec<String>,
    /// Its picture, where it has one.
    pub image: Vec<Option<Picture>>,
    /// The files that should be pictures of items and are broken, and what is wrong with each: those items have none.
    pub broken: Vec<String>,
    /// What else the source says of the items, where it was asked for.
    pub attributes: Vec<Attribute>,
}

impl Items {
    /// What is known of an item in words: its title and its attributes, by their names; those it lacks are empty.
    pub fn in_words(&self, item: u32) -> BTreeMap<&str, &str> {
        let n = item as usize;
        let attributes = self.attributes.iter().map(|attribute| {
            (attribute.name.as_str(), attribute.values.get(n).and_then(Option::as_deref).unwrap_or_default())
        });
        attributes.chain([("title", self.title.get(n).map_or("", String::as_str))]).collect()
    }
}

/// Pictures that a source links and does not contain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkedPictures {
    /// The folder that they are read from once they are there, each called as its item's id.
    pub folder: PathBuf,
    /// Item ids and the web address of each one's picture.
    pub links: Vec<(String, String)>,
}

/// What an interaction is for, in data with a split of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is trained on.
    Train,
    /// It may be a validation target.
    Validation,
    /// It may be a test target.
    Test,
    /// It is only read, as history.
    History,
}

/// A dataset, loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// The source's own id of each user.
    pub users: Vec<String>,
    /// The catalogue.
    pub items: Items,
    /// Who interacted with what.
    pub interactions: Interactions,
    /// How the interactions came about, where that is known.
    pub truth: Option<Truth>,
    /// Whether timestamps are mere places in a user's sequence, because the source has no times.
    pub untimed: bool,
    /// The items that each user is to be asked about besides the target, where the source says so.
    pub candidates: Option<Vec<Vec<u32>>>,
    /// What its reader left out, took for something or doubts, with counts: for whoever reads the report.
    pub notes: Vec<String>,
}

impl Corpus {
    /// Checks that columns agree in length and that indices are in range.
    pub fn check(&self) -> Result<()> {
        let Interactions { user, item, timestamp, part, .. } = &self.interactions;
        let (users, items) = (self.users.len(), self.items.id.len());
        let problem = if user.is_empty() {
            Some("it has no interactions".to_string())
        } else if user.len() != item.len() || user.len() != timestamp.len() {
            Some(format!("columns of {}, {} and {} interactions", user.len(), item.len(), timestamp.len()))
        } else if !part.is_empty() && part.len() != user.len() {
            Some("its own split does not say of each interaction what it is for".to_string())
        } else if self.candidates.as_ref().is_some_and(|lists| lists.len() != users) {
            Some("there is not a list of candidates for each user".to_string())
        } else if let Some(worst) = self.candidates.iter().flatten().flatten().find(|n| **n as usize >= items) {
            Some(format!("candidate {worst} of {items} items"))
        } else if self.items.title.len() != items
            || self.items.image.len() != items
            || self.items.attributes.iter().any(|attribute| attribute.values.len() != items)
        {
            Some("the items' columns differ in length".to_string())
        } else if let Some(worst) = user.iter().find(|n| **n as usize >= users) {
            Some(format!("user index {worst} of {users} users"))
        } else {
            item.iter().find(|n| **n as usize >= items).map(|worst| format!("item index {worst} of {items} items"))
        };
        problem.map_or(Ok(()), |problem| Err(Error::new(format!("the dataset is not whole: {problem}"))))
    }

    /// Writes it as parquet files into `folder`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let Interactions { user, item, timestamp, part, unit } = &self.interactions;
        let mut users = df!("user_id" => &self.users).explain("building the users table", folder.display())?;
        if let Some(candidates) = &self.candidates {
            let lists: Vec<Series> = candidates.iter().map(|list| Series::new("".into(), list)).collect();
            add(&mut users, Series::new("candidates".into(), lists))?;
        }
        write(folder, "users", Ok(users))?;
        let time = if self.untimed { POSITION } else { unit.column() };
        let mut interactions = df!("user" => user, "item" => item, time => timestamp)
            .explain("building the interactions table", folder.display())?;
        if !part.is_empty() {
            let parts: Vec<u32> = part.iter().map(|part| *part as u32).collect();
            add(&mut interactions, Series::new("part".into(), parts))?;
        }
        write(folder, "interactions", Ok(interactions))?;
        let mut items = df!("item_id" => &self.items.id, "title" => &self.items.title)
            .explain("building the items table", folder.display())?;
        add(&mut items, self.items.save_pictures(folder)?)?;
        for Attribute { name, values } in &self.items.attributes {
            add(&mut items, Series::new(format!("{ATTRIBUTE}{name}").into(), values))?;
        }
        if !self.notes.is_empty() {
            write(folder, NOTES, df!("note" => &self.notes))?;
        }
        if let Some(truth) = &self.truth {
            add(&mut items, Series::new("truth.popularity".into(), &truth.popularity))?;
            for factor in &truth.factors {
                add(&mut items, Series::new(format!("truth.{}", factor.name).into(), &factor.of_item))?;
            }
            let strengths: Vec<f64> = truth.factors.iter().map(|f| f.strength).chain([truth.drift]).collect();
            let names: Vec<&str> = truth.factors.iter().map(|f| f.name.as_str()).chain(["drift"]).collect();
            write(folder, "truth", df!("name" => names, "strength" => strengths))?;
        }
        write(folder, "items", Ok(items))
    }

    /// Reads what `save` wrote.
    pub fn load(folder: &Path) -> Result<Self> {
        let users = read(folder, "users")?;
        let interactions = read(folder, "interactions")?;
        let items = read(folder, "items")?;
        let units = [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds];
        let unit = units.into_iter().find(|unit| interactions.column(unit.column()).is_ok());
        let part = interactions.column("part").is_ok().then(|| parts(&interactions)).transpose()?;
        let candidates = users.column("candidates").is_ok().then(|| lists(&users, "candidates")).transpose()?;
        let corpus = Self {
            users: strings(&users, "user_id")?,
            interactions: Interactions {
                user: numbers(&interactions, "user")?,
                item: numbers(&interactions, "item")?,
                timestamp: integers(&interactions, unit.map_or(POSITION, Unit::column))?,
                unit: unit.unwrap_or_default(),
                part: part.unwrap_or_default(),
            },
            untimed: unit.is_none(),
            candidates,
            notes: match folder.join(format!("{NOTES}.parquet")).exists() {
                true => strings(&read(folder, NOTES)?, "note")?,
                false => Vec::new(),
            },
            truth: folder.join("truth.parquet").exists().then(|| load_truth(folder, &items)).transpose()?,
            items: Items {
                id: strings(&items, "item_id")?,
                title: strings(&items, "title")?,
                image: load_pictures(folder, &items)?,
                broken: match folder.join("broken_pictures.parquet").exists() {
                    true => strings(&read(folder, "broken_pictures")?, "picture")?,
                    false => Vec::new(),
                },
                attributes: attributes(&items)?,
            },
        };
        corpus.check()?;
        Ok(corpus)
    }
}

impl Items {
    /// Writes the pictures into `folder`, one in memory at a time; the column that says where each is.
    fn save_pictures(&self, folder: &Path) -> Result<Series> {
        if !self.broken.is_empty() {
            write(folder, "broken_pictures", df!("picture" => &self.broken))?;
        }
        if self.image.iter().all(Option::is_none) {
            // As it was before pictures had a file of their own: such data leaves the bytes that it always left.
            let none: BinaryChunked = self.image.iter().map(|_| None::<&[u8]>).collect();
            return Ok(none.with_name("image".into()).into_series());
        }
        let mut album = Album::create(&folder.join(PICTURES))?;
        let mut size = |picture: &Picture| {
            let bytes = picture.bytes()?;
            album.add(&bytes).map(|_| bytes.len() as u64)
        };
        let sizes = self.image.iter().map(|picture| picture.as_ref().map(&mut size).transpose());
        Ok(Series::new(PICTURE_BYTES.into(), sizes.collect::<Result<Vec<Option<u64>>>>()?))
    }
}

/// Where each item's picture is; none is read.
fn load_pictures(folder: &Path, items: &DataFrame) -> Result<Vec<Option<Picture>>> {
    let place = || folder.display();
    if let Ok(sizes) = items.column(PICTURE_BYTES) {
        let sizes = sizes.u64().explain("reading the sizes of pictures", place())?;
        return Album::read(&folder.join(PICTURES), sizes.iter());
    }
    let image = column(items, "image")?.binary().explain("reading pictures", place())?;
    if image.null_count() == image.len() {
        return Ok(vec![None; image.len()]);
    }
    // Of before pictures had a file of their own: they get one, so that they do not stay in memory.
    let mut album = Album::temporary(folder)?;
    image.iter().map(|bytes| bytes.map(|bytes| album.add(bytes)).transpose()).collect()
}

/// The file of all pictures, and the column with the size of each.
const PICTURES: &str = "pictures";
const PICTURE_BYTES: &str = "picture_bytes";

/// What the column of times is called where there is no clock.
const POSITION: &str = "position";
/// What stands before an attribute's name in the items' columns.
const ATTRIBUTE: &str = "attribute.";
/// The table of the reader's notes.
const NOTES: &str = "notes";

fn attributes(items: &DataFrame) -> Result<Vec<Attribute>> {
    let attribute = |column: &PlSmallStr| {
        let name = column.strip_prefix(ATTRIBUTE)?.to_string();
        let values = items.column(column).and_then(|column| column.str()).explain("reading text", column);
        let values = values.map(|text| text.iter().map(|value| value.map(str::to_string)).collect());
        Some(values.map(|values| Attribute { name, values }))
    };
    items.get_column_names().into_iter().filter_map(attribute).collect()
}

fn parts(interactions: &DataFrame) -> Result<Vec<Part>> {
    let all = [Part::Train, Part::Validation, Part::Test, Part::History];
    let part = |number| all.into_iter().find(|part| *part as u32 == number);
    let parts: Option<Vec<Part>> = numbers(interactions, "part")?.into_iter().map(part).collect();
    parts.ok_or_else(|| Error::new("an interaction's part is none of 0 to 3").at("interactions.parquet"))
}

fn lists(table: &DataFrame, name: &str) -> Result<Vec<Vec<u32>>> {
    let lists = column(table, name)?.list().explain("reading lists", format!("column {name}"))?;
    let numbers = |list: Option<Series>| match list {
        None => Ok(Vec::new()),
        Some(list) => {
            let list = list.u32().explain("reading lists", format!("column {name}"))?;
            Ok(list.iter().flatten().collect())
        }
    };
    (0..lists.len()).map(|n| numbers(lists.get_as_series(n))).collect()
}

fn load_truth(folder: &Path, items: &DataFrame) -> Result<Truth> {
    let table = read(folder, "truth")?;
    let mut strengths = strings(&table, "name")?.into_iter().zip(reals(&table, "strength")?).collect::<Vec<_>>();
    let drift = strengths.pop().map_or(0.0, |(_, drift)| drift);
    let factors = strengths
        .into_iter()
        .map(|(name, strength)| Ok(Factor { of_item: numbers(items, &format!("truth.{name}"))?, name, strength }));
    Ok(Truth { popularity: reals(items, "truth.popularity")?, factors: factors.collect::<Result<_>>()?, drift })
}

/// Writes a table to `folder/name.parquet`.
pub fn write(folder: &Path, name: &str, table: PolarsResult<DataFrame>) -> Result<()> {
    let path = folder.join(format!("{name}.parquet"));
    let mut table = table.explain("building a table", path.display())?;
    let file = File::create(&path).explain("creating a table", path.display())?;
    ParquetWriter::new(file).finish(&mut table).explain("writing a table", path.display()).map(|_| ())
}

/// Reads the table `folder/name.parquet`.
pub fn read(folder: &Path, name: &str) -> Result<DataFrame> {
    let path = folder.join(format!("{name}.parquet"));
    let file = File::open(&path).explain("opening a table", path.display())?;
    ParquetReader::new(file).finish().explain("reading a table", path.display())
}

fn add(table: &mut DataFrame, series: Series) -> Result<()> {
    table.with_column(series.into()).explain("building the items table", "a column").map(|_| ())
}

/// A column by name.
pub fn column<'a>(table: &'a DataFrame, name: &str) -> Result<&'a Column> {
    table.column(name).explain("reading a table", format!("column {name}"))
}

/// A column of text; a missing value is empty.
pub fn strings(table: &DataFrame, name: &str) -> Result<Vec<String>> {
    let text = column(table, name)?.str().explain("reading text", format!("column {name}"))?;
    Ok(text.iter().map(|value| value.unwrap_or_default().to_string()).collect())
}

fn numbers(table: &DataFrame, name: &str) -> Result<Vec<u32>> {
    let numbers = column(table, name)?.u32().explain("reading indices", format!("column {name}"))?;
    Ok(numbers.iter().flatten().collect())
}

/// A column of 64-bit integers; missing values are left out.
pub fn integers(table: &DataFrame, name: &str) -> Result<Vec<i64>> {
    let numbers = column(table, name)?.i64().explain("reading integers", format!("column {name}"))?;
    Ok(numbers.iter().flatten().collect())
}

fn reals(table: &DataFrame, name: &str) -> Result<Vec<f64>> {
    let numbers = column(table, name)?.f64().explain("reading numbers", format!("column {name}"))?;
    Ok(numbers.iter().flatten().collect())
}
