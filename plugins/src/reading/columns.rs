//! Three columns of a table, by their names: from CSV, TSV, JSON lines or parquet.

use super::delimited::Rows;
use super::literal::fields;
use super::{Lines, Place};
use framework::error::{Error, Explain, Result};
use polars::prelude::{DataFrame, DataType, ParquetReader, SerReader, StringChunked};
use std::fs::File;
use std::path::Path;

/// The endings of names that say a format.
pub(crate) const ENDINGS: &str =
    "`.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.json`, each perhaps with `.gz`; or `.parquet`";

/// How a table is written.
pub(crate) enum Format {
    /// Rows of fields parted by a character.
    Delimited(char),
    /// A JSON object per line.
    Json,
    /// Parquet.
    Parquet,
}

impl Format {
    /// What the ending of the file's name says.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name.strip_suffix(".gz").unwrap_or(name).rsplit_once('.')?.1 {
            "csv" => Some(Self::Delimited(',')),
            "tsv" => Some(Self::Delimited('\t')),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "parquet" if !name.ends_with(".gz") => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The same; an error where that is no known format.
    pub(super) fn required(path: &Path) -> Result<Self> {
        let unknown = || Error::new("the name's ending is that of no known format").at(path.display()).fix(ENDINGS);
        Self::of(path).ok_or_else(unknown)
    }
}

/// The cells of a row: `None` where a column is not wanted or has no value.
type Cells<'a> = [Option<&'a str>; 3];

/// Calls `each` for every row of the table at `path`, with the values of `columns`.
pub(crate) fn each_row(
    path: &Path,
    columns: [Option<&str>; 3],
    quotes: bool,
    mut each: impl FnMut(Place<'_>, Cells<'_>) -> Result<()>,
) -> Result<()> {
    match Format::required(path)? {
        Format::Delimited(separator) => {
            let mut rows = Rows::open(path, separator, quotes)?;
            let header = rows.header();
            let place = |name: &str| header.iter().position(|column| column == name);
            check(path, columns, |name| place(name).is_some(), header.iter().map(String::as_str))?;
            let places = columns.map(|name| name.and_then(place));
            while let Some(row) = rows.advance()? {
                each(row.place, places.map(|place| place.map(|n| row.field(n))))?;
            }
        }
        Format::Json => {
            let mut lines = Lines::open(path)?;
            while lines.advance()? {
                let line = lines.line();
                if line.text.is_empty() {
                    continue;
                }
                let values = fields(line, columns)?;
                each(line.place, values.each_ref().map(|value| value.as_deref()))?;
            }
        }
        Format::Parquet => {
            let texts = parquet(path, columns)?;
            let rows = texts.iter().flatten().map(|text| text.len()).max().unwrap_or(0);
            let mut cells = texts.each_ref().map(|text| text.as_ref().map(|text| text.iter()));
            for number in 1..=rows {
                let row = cells.each_mut().map(|cell| cell.as_mut().and_then(|cell| cell.next().flatten()));
                each(Place { path, unit: "row", number }, row)?;
            }
        }
    }
    Ok(())
}

/// Columns of a parquet file as text.
fn parquet(path: &Path, columns: [Option<&str>; 3]) -> Result<[Option<StringChunked>; 3]> {
    let file = File::open(path).explain("opening a file of the dataset", path.display())?;
    let mut reader = ParquetReader::new(file);
    let schema = reader.schema().explain("reading parquet", path.display())?;
    check(path, columns, |name| schema.contains(name), schema.iter_names().map(|name| name.as_str()))?;
    let mut wanted: Vec<String> = columns.iter().flatten().map(|name| (*name).to_string()).collect();
    wanted.sort();
    wanted.dedup();
    let table = reader.with_columns(Some(wanted)).finish().explain("reading parquet", path.display())?;
    let [first, second, third] = columns.map(|name| name.map(|name| texts(&table, name, path)).transpose());
    Ok([first?, second?, third?])
}

/// A column of text or numbers, as text.
pub(super) fn texts(table: &DataFrame, name: &str, path: &Path) -> Result<StringChunked> {
    let place = || format!("{}, column {name}", path.display());
    let column = table.column(name).explain("reading parquet", place())?;
    let kind = column.dtype();
    if !kind.is_string() && !kind.is_primitive_numeric() {
        return Err(Error::new(format!("the column is of the type {kind}, not text or numbers")).at(place()));
    }
    let column = column.cast(&DataType::String).explain("reading parquet", place())?;
    column.str().cloned().explain("reading parquet", place())
}

/// An error that lists the columns there are, where a wanted one is none of them.
pub(super) fn check<'a>(
    path: &Path,
    columns: [Option<&str>; 3],
    is_there: impl Fn(&str) -> bool,
    there: impl Iterator<Item = &'a str>,
) -> Result<()> {
    match columns.into_iter().flatten().find(|name| !is_there(name)) {
        Some(name) => {
            let there = there.collect::<Vec<_>>().join(", ");
            Err(Error::new(format!("no column is called `{name}`; there are {there}")).at(path.display()))
        }
        None => Ok(()),
    }
}
