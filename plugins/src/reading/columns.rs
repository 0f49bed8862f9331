//! Columns of a table, by their names: from text of rows and fields, JSON or parquet, in one file or a folder of them.

use super::array::{array, is_array};
use super::delimited::{self, Rows};
use super::literal::{Literal, keys, literals};
use super::source::Encoding;
use super::{Line, Lines, Place, parquet};
use framework::error::{Error, Explain, Result};
use framework::problem::nearest;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The endings of names that say a format.
pub(crate) const ENDINGS: &str = "`.csv`, `.tsv`, `.txt`, `.dat`, `.inter`, `.item`, `.jsonl`, `.ndjson` or `.json`, each \
                                  perhaps with `.gz` or `.zst`; or `.parquet`; or a folder of such files; or `separator`";

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    /// Rows of fields parted by this; where the name's ending does not say by what, the first line does.
    Delimited(Option<&'static str>),
    /// A JSON object per line, or an array of them.
    Json,
    /// Parquet.
    Parquet,
}

impl Format {
    /// What the ending of the file's name says, in capitals or not. A name without one may be a folder's.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let packed = [".gz", ".zst"].into_iter().find_map(|ending| name.strip_suffix(ending));
        let unpacked = packed.unwrap_or(&name);
        let Some((_, ending)) = unpacked.rsplit_once('.') else { return Some(Self::Delimited(None)) };
        match ending {
            "csv" => Some(Self::Delimited(Some(","))),
            "tsv" | "inter" | "item" | "user" => Some(Self::Delimited(Some("\t"))),
            "txt" | "dat" | "data" => Some(Self::Delimited(None)),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "parquet" | "pq" if packed.is_none() => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The same; an error where that is no known format.
    pub(super) fn required(path: &Path) -> Result<Self> {
        let unknown = || Error::new("the name's ending is that of no known format").at(path.display()).fix(ENDINGS);
        Self::of(path).ok_or_else(unknown)
    }
}

/// What the name of a text file does not say.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// What parts the fields; `blanks` is any number of blanks and tabs. By the name's ending where it is none.
    pub(crate) separator: Option<String>,
    /// The names of the columns of files that have no header.
    pub(crate) header: Option<Vec<String>>,
    /// How characters are written.
    pub(crate) encoding: Encoding,
    /// Whether fields may stand in double quotes.
    pub(crate) quotes: bool,
    /// What stands before `separator` and `header` in the names of the settings for it, for messages.
    pub(crate) prefix: &'static str,
}

impl Default for Layout {
    fn default() -> Self {
        Self { separator: None, header: None, encoding: Encoding::UTF_8, quotes: true, prefix: "" }
    }
}

/// A column that is wanted, and the setting that names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'a> {
    /// The setting, for messages.
    pub(crate) setting: &'a str,
    /// The name.
    pub(crate) name: &'a str,
    /// Whether the setting may be `false`, for data without it.
    pub(crate) optional: bool,
    /// Whether rows may lack a value in it.
    pub(crate) sparse: bool,
}

impl<'a> Column<'a> {
    /// A column that must be there.
    pub(crate) fn new(setting: &'a str, name: &'a str) -> Self {
        Self { setting, name, optional: false, sparse: false }
    }

    /// The same of one in which rows may lack a value.
    pub(crate) fn sparse(self) -> Self {
        Self { sparse: true, ..self }
    }

    /// One that a setting may leave out.
    pub(crate) fn optional(setting: &'a str, name: &'a str) -> Self {
        Self { setting, name, optional: true, sparse: false }
    }
}

/// What a row says in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    Missing,
    /// Text as it stands.
    Text(Cow<'a, str>),
    /// A number by its type.
    Number(Cow<'a, str>),
    /// A time by its type, in microseconds since 1970.
    Moment(i64),
    /// A clock's time by its type, in microseconds since 1970 as if the clock stood in UTC.
    Clock(i64),
    /// Several values, parted by `, `.
    List(String),
    /// What is no single value: a dictionary.
    Nested,
}

/// Words that mean nothing, as pandas reads them.
const NOTHING: [&str; 14] =
    ["nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL", "Null", "None", "<NA>", "NA", "N/A", "n/a", "#N/A"];

const LONGEST_NOTHING: usize = 4;

impl Cell<'_> {
    /// An id: without blanks around it; a number that is whole without a decimal point. None where there is none.
    pub(crate) fn id(&self) -> Option<Cow<'_, str>> {
        let (text, is_number) = match self {
            Self::Text(text) => (text, false),
            Self::Number(text) => (text, true),
            _ => return self.text(),
        };
        let text = text.trim();
        if text.is_empty() || text.len() <= LONGEST_NOTHING && NOTHING.contains(&text) {
            return None;
        }
        Some(if is_number { whole(text) } else { Cow::Borrowed(text) })
    }

    /// A value in words: none where pandas reads it as missing; a number that is whole without a decimal point.
    pub(crate) fn value(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(_) | Self::Number(_) => self.id(),
            _ => self.text(),
        }
    }

    /// Its text as it stands; none where there is none.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Missing | Self::Nested => None,
            Self::Text(text) | Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::List(text) => Some(Cow::Borrowed(text)),
            Self::Moment(time) | Self::Clock(time) => Some(Cow::Owned(
                chrono::DateTime::from_timestamp_micros(*time)
                    .map_or(time.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string()),
            )),
        }
    }
}

/// A typed number as text: without a fraction of zeros, without an exponent where it is whole.
fn whole(number: &str) -> Cow<'_, str> {
    if number.contains(['e', 'E'])
        && let Some(value) = number.parse::<f64>().ok().filter(|value| value.fract() == 0.0 && value.abs() < 1e15)
    {
        return Cow::Owned(format!("{value:.0}"));
    }
    let parts = number.split_once('.').filter(|(_, fraction)| fraction.bytes().all(|digit| digit == b'0'));
    Cow::Borrowed(parts.map_or(number, |(whole, _)| whole))
}

/// What is done with each row: where it stands, and its cells in the order of the columns that were asked for.
pub(crate) type Each<'e> = dyn FnMut(Place<'_>, &[Cell<'_>]) -> Result<()> + 'e;

/// The files of a table: itself, or those of a folder, by their names.
pub(crate) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).explain("listing a table's folder", path.display())? {
        let file = entry.explain("listing a table's folder", path.display())?.path();
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        // Spark and pandas leave marks, checksums and empty parts beside the others.
        let is_empty = file.metadata().is_ok_and(|data| data.is_file() && data.len() == 0);
        if !name.starts_with(['.', '_']) && !name.ends_with(".crc") && !is_empty {
            files.push(file);
        }
    }
    files.sort();
    if let Some(other) = files.iter().find(|file| file.is_dir() || Format::of(file).is_none()) {
        return Err(Error::new("a folder of a table holds something that is no table")
            .at(other.display())
            .fix(ENDINGS));
    }
    match files.is_empty() {
        true => {
            Err(Error::new("the folder of the table is empty").at(path.display()).fix("the folder that has its files"))
        }
        false => Ok(files),
    }
}

/// Calls `each` for every row of the table at `path`, a file or a folder of files, with the values of `columns`. Gives
/// what a reader should know of the files.
pub(crate) fn each_row(path: &Path, layout: &Layout, columns: &[Column], each: &mut Each<'_>) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for file in files_of(path)? {
        match (Format::of(&file), &layout.separator) {
            (Some(Format::Parquet), _) => parquet::each_row(&file, columns, each)?,
            (Some(Format::Json), _) => json(&file, layout.encoding, columns, each)?,
            (_, Some(separator)) => notes.extend(delimited(&file, separator, layout, columns, each)?),
            (Some(Format::Delimited(Some(separator))), None) => {
                notes.extend(delimited(&file, separator, layout, columns, each)?);
            }
            (Some(Format::Delimited(None)), None) => {
                let separator = delimited::guess(&file, layout, columns)?;
                notes.extend(delimited(&file, separator, layout, columns, each)?);
            }
            (None, None) => return Format::required(&file).map(|_| notes),
        }
    }
    Ok(notes)
}

/// The names of all columns of the table at `path`; of JSON, the keys of its first object.
pub(crate) fn names(path: &Path, layout: &Layout) -> Result<Vec<String>> {
    let first = files_of(path)?.remove(0);
    match Format::required(&first)? {
        Format::Parquet => parquet::names(&first),
        Format::Delimited(separator) => {
            let separator = layout.separator.as_deref().or(separator).unwrap_or(",");
            Ok(Rows::open_as(&first, separator, layout)?.header().to_vec())
        }
        Format::Json => {
            let mut found = None;
            if is_array(&first, layout.encoding)? {
                array(&first, layout.encoding, &mut |line| {
                    if found.is_none() {
                        found = Some(keys(line)?);
                    }
                    Ok(())
                })?;
            }
            let mut lines = Lines::open_in(&first, layout.encoding)?;
            while found.is_none() && lines.advance()? {
                if !lines.line().text.trim_ascii().is_empty() {
                    found = Some(keys(lines.line())?);
                }
            }
            Ok(found.unwrap_or_default())
        }
    }
}

fn delimited(
    path: &Path,
    separator: &str,
    layout: &Layout,
    columns: &[Column],
    each: &mut Each<'_>,
) -> Result<Vec<String>> {
    let mut rows = Rows::open_as(path, separator, layout)?;
    let header: Vec<&str> = rows.header().iter().map(String::as_str).collect();
    let remedy = |column: &Column<'_>| {
        delimited::remedy(path, layout, columns, &header).unwrap_or_else(|| named(column, &header))
    };
    let places = places(path, columns, &header, remedy)?;
    while let Some(row) = rows.advance()? {
        let cell = |n: &usize| match row.field(*n) {
            "" => Cell::Missing,
            text => Cell::Text(Cow::Borrowed(text)),
        };
        let cells: Vec<Cell<'_>> = places.iter().map(cell).collect();
        each(row.place, &cells)?;
    }
    Ok(rows.remark())
}

fn json(path: &Path, encoding: Encoding, columns: &[Column], each: &mut Each<'_>) -> Result<()> {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let mut there: Option<Vec<String>> = None;
    let mut found = vec![false; names.len()];
    let mut row = |line: Line<'_>| {
        let values = literals(line, &names)?;
        found.iter_mut().zip(&values).for_each(|(found, value)| *found |= value.is_some());
        // Columns show in the first object; of those that may lack a value, a later one may be the first to have it.
        if there.is_none() {
            let keys = keys(line)?;
            let named_there: Vec<&str> = keys.iter().map(String::as_str).collect();
            let needed: Vec<Column<'_>> = columns.iter().filter(|column| !column.sparse).copied().collect();
            places(path, &needed, &named_there, |column| named(column, &named_there))?;
            there = Some(keys);
        }
        let cells: Vec<Cell<'_>> =
            values.into_iter().map(|value| value.map_or(Cell::Missing, Literal::into_cell)).collect();
        each(line.place, &cells)
    };
    if is_array(path, encoding)? {
        array(path, encoding, &mut row)?;
    } else {
        let mut lines = Lines::open_in(path, encoding)?;
        while lines.advance()? {
            if !lines.line().text.trim_ascii().is_empty() {
                row(lines.line())?;
            }
        }
    }
    let there: Vec<&str> = there.iter().flatten().map(String::as_str).collect();
    let never: Vec<Column<'_>> =
        (0..names.len()).filter(|n| !found[*n] && !there.contains(&names[*n])).map(|n| columns[n]).collect();
    match there.is_empty() {
        true => Ok(()),
        false => places(path, &never, &there, |column| named(column, &there)).map(drop),
    }
}

/// Where the columns are among those there; an error that lists them where a wanted one is none of them, with `remedy`.
pub(super) fn places(
    path: &Path,
    columns: &[Column<'_>],
    there: &[&str],
    remedy: impl Fn(&Column<'_>) -> String,
) -> Result<Vec<usize>> {
    const SHOWN: usize = 20;
    let place = |column: &Column<'_>| {
        let mut places = (0..there.len()).filter(|n| there[*n] == column.name);
        match (places.next(), places.next()) {
            (Some(place), None) => return Ok(place),
            (Some(_), Some(_)) => {
                let what = format!("two columns are called `{}`", column.name);
                return Err(Error::new(what).at(path.display()).fix("a name of its own for each"));
            }
            _ => {}
        }
        let mut shown = there.iter().take(SHOWN).map(|name| clipped(name)).collect::<Vec<_>>().join(", ");
        if there.len() > SHOWN {
            shown += &format!(" and {} more", there.len() - SHOWN);
        }
        let what = format!("no column is called `{}`; there are {shown}", clipped(column.name));
        Err(Error::new(what).at(path.display()).fix(remedy(column)))
    };
    columns.iter().map(place).collect()
}

/// The setting that would name a column that is there.
pub(super) fn named(column: &Column, there: &[&str]) -> String {
    let near = alike(column.name, there).map_or(String::new(), |name| format!(" = \"{}\"", clipped(&name)));
    let none =
        if column.optional { format!("; or `{} = false` where there is none", column.setting) } else { String::new() };
    format!("`{}{near}`, the name of that column{none}", column.setting)
}

/// The column that was probably meant.
fn alike(name: &str, there: &[&str]) -> Option<String> {
    let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
    let stem = |name: &str| plain(name).trim_end_matches("id").trim_end_matches("column").to_string();
    let same = there.iter().find(|other| plain(other) == plain(name) || stem(other) == stem(name));
    let part =
        |other: &&&str| other.len() > 3 && (plain(name).contains(&plain(other)) || plain(other).contains(&plain(name)));
    same.or_else(|| there.iter().find(part))
        .map(|name| (*name).to_string())
        .or_else(|| nearest(name, there.iter().copied()))
}

/// A name for a message, which prints no file.
fn clipped(name: &str) -> String {
    match name.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}
