//! Vectors of a table with their ids: each number in a column of its own, or all of them in one column.

use super::columns::{Column, Format, Layout, named, places};
use super::delimited::Rows;
use super::parquet;
use super::{Lines, Place, short};
use framework::error::{Error, Explain, Result};
use polars::prelude::{ArrowDataType, DataFrame, DataType, ParquetReader, SerReader};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// Where vectors are in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    /// The column of ids.
    pub(crate) id: &'a str,
    /// The column of vectors; without one, every other column holds one number of them.
    pub(crate) list: Option<&'a str>,
}

impl Columns<'_> {
    /// An error that lists the columns there are, where a wanted one is none of them.
    fn check(&self, path: &Path, there: &[&str]) -> Result<()> {
        let list = self.list.map(|name| Column::optional("vector_column", name));
        let wanted: Vec<Column<'_>> = [Column::new("id_column", self.id)].into_iter().chain(list).collect();
        places(path, &wanted, there, |column| named(column, there)).map(drop)
    }
}

/// What a row says: its id, which may be missing, and its vector.
type Each<'a> = dyn FnMut(Place<'_>, Option<&str>, Vec<f32>) -> Result<()> + 'a;

/// Calls `each` for every row of the table at `path` with its id and its vector.
///
/// An error where an id is missing, where vectors are empty or differ in length, and where a number is none, or not
/// finite in 32 bits.
pub(crate) fn each_vector(
    path: &Path,
    columns: Columns<'_>,
    mut each: impl FnMut(Place<'_>, &str, Vec<f32>) -> Result<()>,
) -> Result<()> {
    let mut width = None;
    let mut checked = |place: Place<'_>, id: Option<&str>, vector: Vec<f32>| -> Result<()> {
        let missing = || place.broken(format!("`{}` is missing", columns.id));
        let id = id.filter(|id| !id.is_empty()).ok_or_else(missing)?;
        if let Some(number) = vector.iter().find(|number| !number.is_finite()) {
            return Err(place.broken(format!("the vector has {number} in it")));
        }
        match (vector.len(), *width.get_or_insert(vector.len())) {
            (0, _) => Err(place.broken("the vector has no numbers")),
            (found, wanted) if found != wanted => Err(place.broken(format!("{found} numbers instead of {wanted}"))),
            _ => each(place, id, vector),
        }
    };
    match Format::required(path)? {
        Format::Delimited(separator) => delimited(path, separator.unwrap_or(","), columns, &mut checked),
        Format::Json => json(path, columns, &mut checked),
        Format::Parquet => from_parquet(path, columns, &mut checked),
    }
}

fn delimited(path: &Path, separator: &str, columns: Columns<'_>, each: &mut Each<'_>) -> Result<()> {
    let mut rows = Rows::open_as(path, separator, &Layout::default())?;
    let header = rows.header().to_vec();
    let place = |name: &str| header.iter().position(|column| column == name);
    columns.check(path, &header.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (id, list) = (place(columns.id), columns.list.and_then(place));
    while let Some(row) = rows.advance()? {
        let number = |n: usize, text: &str| {
            let wrong = || row.place.broken(format!("`{}` is {}, not a number", header[n], short(text)));
            text.trim().parse::<f32>().map_err(|_| wrong())
        };
        let is_separator = |c: char| matches!(c, ',' | '[' | ']') || c.is_whitespace();
        let vector: Result<Vec<f32>> = match list {
            Some(n) => {
                let parts = row.field(n).split(is_separator).filter(|text| !text.is_empty());
                parts.map(|text| number(n, text)).collect()
            }
            None => (0..header.len()).filter(|n| Some(*n) != id).map(|n| number(n, row.field(n))).collect(),
        };
        each(row.place, id.map(|n| row.field(n)), vector?)?;
    }
    Ok(())
}

fn json(path: &Path, columns: Columns<'_>, each: &mut Each<'_>) -> Result<()> {
    let (mut lines, mut others) = (Lines::open(path)?, None);
    while lines.advance()? {
        let line = lines.line();
        if line.text.trim().is_empty() {
            continue;
        }
        let object = serde_json::from_str::<Map<String, Value>>(line.text);
        let object = object.map_err(|error| line.place.broken(format!("no object in JSON: {error}")))?;
        if others.is_none() {
            columns.check(path, &object.keys().map(String::as_str).collect::<Vec<_>>())?;
        }
        let others: &Vec<String> =
            others.get_or_insert_with(|| object.keys().filter(|key| *key != columns.id).cloned().collect());
        let vector = match columns.list {
            Some(list) => object.get(list).and_then(Value::as_array).and_then(|list| floats(list.iter().map(Some))),
            None if object.len() != others.len() + 1 => None,
            None => floats(others.iter().map(|key| object.get(key))),
        };
        let wrong = || match columns.list {
            Some(list) => line.place.broken(format!("`{list}` is no list of numbers")),
            None => line.place.broken(format!("it has no number for each of {}, or more keys", others.join(", "))),
        };
        let vector = vector.ok_or_else(wrong)?;
        let id = match object.get(columns.id) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        each(line.place, id.as_deref(), vector)?;
    }
    Ok(())
}

/// The numbers, if all of them are there and are numbers.
fn floats<'a>(values: impl Iterator<Item = Option<&'a Value>>) -> Option<Vec<f32>> {
    values.map(|value| value?.as_f64().map(|number| number as f32)).collect()
}

fn from_parquet(path: &Path, columns: Columns<'_>, each: &mut Each<'_>) -> Result<()> {
    let file = File::open(path).explain("opening a table of vectors", path.display())?;
    let mut reader = ParquetReader::new(file);
    let schema = reader.schema().explain("reading parquet", path.display())?;
    let there = || schema.iter_names().map(|name| name.as_str());
    columns.check(path, &there().collect::<Vec<_>>())?;
    let names: Vec<&str> = match columns.list {
        Some(list) => vec![list],
        None => there().filter(|name| *name != columns.id).collect(),
    };
    let is_right = |name: &str| schema.get(name).is_some_and(|field| holds(&field.dtype, columns.list.is_some()));
    if let Some(name) = names.iter().find(|name| !is_right(name)) {
        let what = if columns.list.is_some() { "lists of no fixed length of numbers" } else { "numbers" };
        return Err(Error::new(format!("the column `{name}` does not hold {what} of 32 or 64 bits")).at(path.display()));
    }
    let wanted: Vec<String> = names.iter().chain([&columns.id]).map(|name| (*name).to_string()).collect();
    let table = reader.with_columns(Some(wanted)).finish().explain("reading parquet", path.display())?;
    let ids = parquet::ids(&table, &Column::new("id_column", columns.id), path)?;
    let vectors = match columns.list {
        Some(list) => lists(&table, list, path)?,
        None => side_by_side(&table, &names, path)?,
    };
    for ((id, vector), number) in ids.iter().zip(vectors).zip(1..) {
        let place = Place { path, unit: "row", number };
        each(place, id.as_deref(), vector.ok_or_else(|| place.broken("a number is missing"))?)?;
    }
    Ok(())
}

/// Whether a column of this type holds numbers, or lists of them.
fn holds(kind: &ArrowDataType, in_lists: bool) -> bool {
    use ArrowDataType::{Float32, Float64, Int32, Int64, LargeList, List, UInt32, UInt64};
    match kind {
        List(inner) | LargeList(inner) => in_lists && holds(&inner.dtype, false),
        Float32 | Float64 | Int32 | Int64 | UInt32 | UInt64 => !in_lists,
        _ => false,
    }
}

/// The vectors of a column of lists; none where a list or one of its numbers is missing.
fn lists(table: &DataFrame, name: &str, path: &Path) -> Result<Vec<Option<Vec<f32>>>> {
    let place = || format!("{}, column {name}", path.display());
    let column = table.column(name).explain("reading parquet", place())?;
    let lists = column.list().explain("reading parquet", place())?;
    let vector = |row: usize| -> Result<Option<Vec<f32>>> {
        let Some(list) = lists.get_as_series(row) else { return Ok(None) };
        let list = list.cast(&DataType::Float32).explain("reading parquet", place())?;
        let numbers = list.f32().explain("reading parquet", place())?;
        Ok(numbers.iter().collect())
    };
    (0..table.height()).map(vector).collect()
}

/// The vectors whose numbers are in columns of their own; none where one is missing.
fn side_by_side(table: &DataFrame, names: &[&str], path: &Path) -> Result<Vec<Option<Vec<f32>>>> {
    let mut vectors = vec![Some(Vec::new()); table.height()];
    for name in names {
        let place = || format!("{}, column {name}", path.display());
        let column = table.column(name).explain("reading parquet", place())?;
        let column = column.cast(&DataType::Float32).explain("reading parquet", place())?;
        let numbers = column.f32().explain("reading parquet", place())?;
        for (vector, number) in vectors.iter_mut().zip(numbers.iter()) {
            *vector = vector.take().zip(number).map(|(mut vector, number)| {
                vector.push(number);
                vector
            });
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::{Columns, each_vector};
    use crate::reading::fixture::{cache, pack, says, write};
    use framework::corpus;
    use framework::error::Result;
    use polars::prelude::{NamedFrom, Series, df};
    use std::path::Path;

    fn read(path: &Path, list: Option<&str>) -> Result<Vec<(String, Vec<f32>)>> {
        let mut rows = Vec::new();
        each_vector(path, Columns { id: "item_id", list }, |_, id, vector| {
            rows.push((id.to_string(), vector));
            Ok(())
        })?;
        Ok(rows)
    }

    fn expected() -> Vec<(String, Vec<f32>)> {
        vec![("b".to_string(), vec![0.5, -1.0]), ("a".to_string(), vec![0.25, 3.0])]
    }

    #[test]
    fn every_format_gives_the_same_vectors() {
        let folder = cache(&[
            ("beside.csv", "x,item_id,y\n0.5,b,-1\n25e-2,a,3\n"),
            ("lists.tsv", "item_id\tvector\tnote\nb\t[0.5, -1]\tx\na\t0.25 3\t\n"),
            (
                "beside.jsonl",
                "{\"x\": 0.5, \"item_id\": \"b\", \"y\": -1}\n\n{\"y\": 3, \"x\": 0.25, \"item_id\": \"a\"}",
            ),
            (
                "lists.json",
                "{\"item_id\": \"b\", \"vector\": [0.5, -1]}\n{\"item_id\": \"a\", \"vector\": [0.25, 3]}\n",
            ),
        ]);
        let folder = folder.path();
        write(folder, "lists.csv.gz", &pack("vector,item_id\n\"[0.5,-1]\",b\n\"0.25, 3\",a\n"));
        let beside = df!("x" => [0.5f64, 0.25], "item_id" => ["b", "a"], "y" => [-1i32, 3]);
        corpus::write(folder, "beside", beside).expect("written");
        let vectors = [[0.5f32, -1.0], [0.25, 3.0]].map(|vector| Series::new("".into(), vector));
        corpus::write(folder, "lists", df!("item_id" => ["b", "a"], "vector" => vectors)).expect("written");
        for name in
            ["beside.csv", "lists.tsv", "beside.jsonl", "lists.json", "lists.csv.gz", "beside.parquet", "lists.parquet"]
        {
            let list = name.starts_with("lists").then_some("vector");
            assert_eq!(read(&folder.join(name), list).expect(name), expected(), "{name}");
        }
    }

    #[test]
    fn what_is_no_vector_is_said_with_its_place() {
        let check = |name: &str, text: &str, list: Option<&str>, words: &[&str]| {
            let folder = cache(&[(name, text)]);
            says(read(&folder.path().join(name), list), words);
        };
        check("x.csv", "item_id,x\n1,abc\n", None, &["`x` is \"abc\", not a number", "x.csv, line 2"]);
        check("x.csv", "item_id,x\n1,1e99\n", None, &["the vector has inf in it", "line 2"]);
        check("x.csv", "item_id,x\n,1\n", None, &["`item_id` is missing"]);
        check("x.csv", "item_id\n1\n", None, &["the vector has no numbers"]);
        check("x.csv", "id,x\n1,1\n", None, &["no column is called `item_id`; there are id, x"]);
        check("x.csv", "item_id,v\n1,1 2\n2,1\n", Some("v"), &["1 numbers instead of 2", "line 3"]);
        check("x.json", "{\"item_id\": 1, \"v\": [1, null]}", Some("v"), &["`v` is no list of numbers", "line 1"]);
        check("x.json", "{\"item_id\": 1, \"a\": 1}\n{\"item_id\": 2}", None, &["no number for each of a", "line 2"]);
        check("x.json", "[1]", None, &["no object in JSON", "line 1"]);
        check("x.npy", "", None, &["ending is that of no known format"]);
        let folder = cache(&[]);
        let words = df!("item_id" => [1i64, 2], "v" => ["a", "b"]);
        corpus::write(folder.path(), "words", words).expect("written");
        let path = folder.path().join("words.parquet");
        says(read(&path, None), &["the column `v` does not hold numbers of 32 or 64 bits", "words.parquet"]);
        says(read(&path, Some("v")), &["`v` does not hold lists of no fixed length"]);
    }
}
