//! Parquet's columns as cells: text, numbers, decimals, times and dates by their own types, lists of them.

use super::Place;
use super::columns::{Cell, Column, Each, named, places};
use framework::context::{expecting_panics, is_interrupted};
use framework::error::{Error, Explain, Result};
use polars::prelude::{
    AnyValue, ArrowDataType, Column as Values, DataFrame, DataType, ParquetReader, PolarsResult, SerReader, TimeUnit,
};
use std::borrow::Cow;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Rows that are made into cells at once.
const ROWS: usize = 1 << 16;

/// Calls `each` for every row of the file at `path`, with the values of `columns`.
pub(super) fn each_row(path: &Path, columns: &[Column], each: &mut Each<'_>) -> Result<()> {
    let table = open(path, columns)?;
    let (mut number, rows) = (0, table.height());
    while number < rows {
        let slice = table.slice(number as i64, ROWS);
        let plain: Vec<Plain> = columns.iter().map(|column| plain(&slice, column, path)).collect::<Result<_>>()?;
        let open = |(values, column)| cells(values).explain("reading parquet", in_column(path, column));
        let mut cells: Vec<_> = plain.iter().zip(columns).map(open).collect::<Result<_>>()?;
        for _ in 0..slice.height() {
            number += 1;
            let row: Vec<Cell<'_>> = cells.iter_mut().map(|cell| cell.next().unwrap_or(Cell::Missing)).collect();
            each(Place { path, unit: "row", number }, &row)?;
        }
        if is_interrupted() {
            return Err(Error::interrupted());
        }
    }
    Ok(())
}

fn in_column(path: &Path, column: &Column) -> String {
    format!("{}, column {}", path.display(), column.name)
}

/// The wanted columns of the file; those that cannot be read are named with their type beforehand.
fn open(path: &Path, columns: &[Column]) -> Result<DataFrame> {
    const WHAT: &str = "reading parquet";
    let file = File::open(path).explain("opening a file of the dataset", path.display())?;
    guarded(path, || {
        let mut reader = ParquetReader::new(file);
        let schema = reader.schema().explain(WHAT, path.display())?;
        let there: Vec<&str> = schema.iter_names().map(|name| name.as_str()).collect();
        places(path, columns, &there, |column| named(column, &there))?;
        for column in columns {
            let kind = schema.get(column.name).map(|field| field.dtype());
            if let Some(kind) = kind.filter(|kind| !is_readable(kind)) {
                let what = format!("the column `{}` is of the type {kind:?}, not text, numbers or times", column.name);
                let fix = format!("`{}`, a column of text, numbers or times", column.setting);
                return Err(Error::new(clip(what)).at(in_column(path, column)).fix(fix));
            }
        }
        let mut wanted: Vec<String> = columns.iter().map(|column| column.name.to_string()).collect();
        wanted.sort();
        wanted.dedup();
        reader.with_columns(Some(wanted)).finish().explain(WHAT, path.display())
    })
}

/// A type's name can be as long as its fields are many.
fn clip(text: String) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn is_readable(kind: &ArrowDataType) -> bool {
    use ArrowDataType as T;
    match kind {
        T::List(field) | T::LargeList(field) => is_readable(field.dtype()),
        T::Dictionary(_, values, _) => is_readable(values),
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Boolean => true,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => true,
        T::Float32 | T::Float64 | T::Date32 | T::Date64 | T::Timestamp(..) => true,
        T::Decimal(..) | T::Decimal32(..) | T::Decimal64(..) | T::Decimal256(..) => true,
        _ => false,
    }
}

/// A column with few types left, and whether its text is that of numbers.
struct Plain {
    values: Values,
    is_number: bool,
}

/// A column as times, whole numbers, fractions, lists, or text.
fn plain(table: &DataFrame, column: &Column, path: &Path) -> Result<Plain> {
    let values = table.column(column.name).explain("reading parquet", in_column(path, column))?;
    let kind = match values.dtype() {
        DataType::Date => DataType::Datetime(TimeUnit::Microseconds, None),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int64,
        DataType::UInt32 => DataType::Int64,
        same @ (DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Datetime(..)
        | DataType::List(_)) => same.clone(),
        _ => DataType::String,
    };
    let is_number = values.dtype().is_primitive_numeric() || values.dtype().is_decimal();
    Ok(Plain { values: values.cast(&kind).explain("reading parquet", in_column(path, column))?, is_number })
}

/// The cells of some rows of a column.
fn cells(Plain { values, is_number }: &Plain) -> PolarsResult<Box<dyn Iterator<Item = Cell<'_>> + '_>> {
    let number = |text: String| Cell::Number(Cow::Owned(text));
    let text = |text| if *is_number { Cell::Number(Cow::Borrowed(text)) } else { Cell::Text(Cow::Borrowed(text)) };
    Ok(match values.dtype() {
        DataType::Datetime(unit, zone) => {
            let cell = if zone.is_some() { Cell::Moment } else { Cell::Clock };
            let microseconds = |time: i64| match unit {
                TimeUnit::Nanoseconds => Some(time.div_euclid(1000)),
                TimeUnit::Microseconds => Some(time),
                TimeUnit::Milliseconds => time.checked_mul(1000),
            };
            let times = values.datetime()?.physical();
            Box::new(times.iter().map(move |time| time.and_then(microseconds).map_or(Cell::Missing, cell)))
        }
        DataType::Int64 => {
            let whole = move |value: i64| number(value.to_string());
            Box::new(values.i64()?.iter().map(move |value| value.map_or(Cell::Missing, whole)))
        }
        DataType::Float32 => {
            let fraction = move |value: f32| if value.is_nan() { Cell::Missing } else { number(format!("{value}")) };
            Box::new(values.f32()?.iter().map(move |value| value.map_or(Cell::Missing, fraction)))
        }
        DataType::Float64 => {
            // A NaN is a missing value, as pandas writes it.
            let fraction = move |value: f64| if value.is_nan() { Cell::Missing } else { number(format!("{value}")) };
            Box::new(values.f64()?.iter().map(move |value| value.map_or(Cell::Missing, fraction)))
        }
        DataType::List(_) => Box::new((0..values.len()).map(|n| values.get(n).map_or(Cell::Missing, list))),
        _ => Box::new(values.str()?.iter().map(move |value| value.map_or(Cell::Missing, text))),
    })
}

/// The names of the file's columns.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).explain("opening a file of the dataset", path.display())?;
    let schema = guarded(path, || ParquetReader::new(file).schema().explain("reading parquet", path.display()))?;
    Ok(schema.iter_names().map(|name| name.to_string()).collect())
}

/// What `work` gives; an error where the library panics, as it does at some damaged files.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let damaged =
        || Error::new("reading parquet: the file is damaged").at(path.display()).fix("the whole file, got again");
    expecting_panics(|| catch_unwind(AssertUnwindSafe(work))).unwrap_or_else(|_| Err(damaged()))
}

/// The ids of a column.
pub(super) fn ids(table: &DataFrame, column: &Column, path: &Path) -> Result<Vec<Option<String>>> {
    let plain = plain(table, column, path)?;
    let cells = cells(&plain).explain("reading parquet", in_column(path, column))?;
    Ok(cells.map(|cell| cell.id().map(|id| id.into_owned())).collect())
}

/// A list's values, parted by `, `.
fn list<'a>(value: AnyValue<'_>) -> Cell<'a> {
    let AnyValue::List(values) = value else { return Cell::Missing };
    let texts = values.iter().filter(|value| !value.is_null()).map(|value| match value {
        AnyValue::String(text) => text.to_string(),
        AnyValue::StringOwned(text) => text.to_string(),
        other => other.to_string(),
    });
    Cell::List(texts.collect::<Vec<_>>().join(", "))
}
