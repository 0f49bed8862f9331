//! Anybody's own vectors, from a table.

use crate::reading::columns::{ENDINGS, Format};
use crate::reading::vectors::{Columns, each_vector};
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::protocol::Train;
use framework::roles::Embeddings;
use framework::store::hash_file;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

framework::plugin! {
    /// Your own vectors, from a table: what other software made of the items, such as a CNN's or CLIP's features of
    /// their pictures.
    ///
    /// The format is that of the file's ending: `.csv`, `.tsv`, `.jsonl` (also `.ndjson`, `.json`), each also packed as
    /// `.gz`, or `.parquet`. A row has an item's id, which is the dataset's own, and its vector: either each number in
    /// a column of its own, and no other columns, or all in one column, `vector_column`. There, JSON lines have a list,
    /// parquet has one of no fixed length, CSV and TSV have numbers parted by blanks or commas, perhaps in brackets:
    /// `"[0.1, 0.2]"`. Parquet's numbers have 32 or 64 bits.
    ///
    /// All vectors have the same length, and are taken as they are. Rows of other items are passed over; an item
    /// without a row is zeros, and how many have one is logged.
    struct Table: Embeddings = "table" {
        /// The file: a path, or one within the cache folder.
        file: PathBuf,
        /// The column of the items' ids.
        id_column: String = String::from("item_id"),
        /// The column of vectors; without one, every other column holds one number of them.
        vector_column: Option<String> = None,
    }
    check |table, reader| {
        if Format::of(&table.file).is_none() {
            reader.conflict("file", "the name's ending is that of no known format", ENDINGS);
        }
        if table.vector_column.as_ref() == Some(&table.id_column) {
            reader.conflict("vector_column", "it is the column of ids", "another one, or false");
        }
    }
}

impl Embeddings for Table {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let path = self.path(&cx.cache)?;
        let items: HashMap<&str, usize> = train.items.id.iter().map(String::as_str).zip(0..).collect();
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; train.num_items()];
        let mut stranger = None;
        let columns = Columns { id: &self.id_column, list: self.vector_column.as_deref() };
        let taken = each_vector(&path, columns, |place, id, vector| {
            let Some(item) = items.get(id) else {
                stranger.get_or_insert_with(|| id.to_string());
                return Ok(());
            };
            match vectors[*item].replace(vector) {
                Some(_) => Err(place.broken(format!("item {id:?} is there twice"))),
                None => Ok(()),
            }
        });
        let fix =
            "a table as the settings say: ids and nothing but numbers, or `vector_column` for those in one column";
        taken.map_err(|error| error.fix(fix))?;
        let found: Vec<&Vec<f32>> = vectors.iter().flatten().collect();
        let Some(width) = found.first().map(|vector| vector.len()) else {
            return Err(self.nobody(stranger, train).at(path.display()));
        };
        tracing::info!(found = found.len(), items = vectors.len(), "items that have a vector; others are zeros");
        let row = |vector: &Option<Vec<f32>>| vector.clone().unwrap_or_else(|| vec![0.0; width]);
        let all: Vec<f32> = vectors.iter().flat_map(row).collect();
        Ok(Tensor::from_data(TensorData::new(all, [vectors.len(), width]), &cx.device))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(json!({ "file": hash_file(&self.path(cache)?)? }))
    }
}

impl Table {
    /// The file: as given, or in the cache.
    fn path(&self, cache: &Path) -> Result<PathBuf> {
        let found = [self.file.clone(), cache.join(&self.file)].into_iter().find(|path| path.is_file());
        found.ok_or_else(|| {
            Error::new(format!("there is no file {}", self.file.display()))
                .at("embeddings.file")
                .fix(format!("the path of your table, from here or from {}", cache.display()))
        })
    }

    /// What is wrong where no row is an item's; `stranger` is one of the ids that are there.
    fn nobody(&self, stranger: Option<String>, train: &Train) -> Error {
        let what = match (stranger, train.items.id.first()) {
            (Some(there), Some(known)) => {
                format!("no row is an item's: `{}` has ids such as {there:?}, the dataset {known:?}", self.id_column)
            }
            _ => "the table has no rows".to_string(),
        };
        Error::new(what).fix("`id_column`, where the dataset's own ids are")
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::fixture::{context, rows, train};
    use crate::reading::fixture::{says, write};
    use framework::error::Result;
    use framework::plugin::Setting;
    use framework::problem::Reader;
    use framework::roles::Embeddings;
    use framework::toml::{self, Value};

    /// The plugin for this file with these settings, and the number of mistakes in them.
    fn plugin(file: &str, settings: &str) -> (Table, usize) {
        let table: toml::Table = format!("file = \"{file}\"\n{settings}").parse().expect("TOML");
        let mut reader = Reader::default();
        let table = Table::read(&Value::Table(table), &mut reader).expect("settings");
        (table, reader.problems.len())
    }

    /// The vectors of items 0, 1 and 2 from a file of the cache.
    fn vectors(name: &str, text: &str, settings: &str) -> Result<Vec<Vec<f32>>> {
        let (cx, folder) = context();
        write(folder.path(), name, text.as_bytes());
        let (table, _) = plugin(name, settings);
        table.inputs(&cx.cache)?;
        table.embed(&train(3, &[&[0, 1]]), &cx).map(rows)
    }

    #[test]
    fn items_get_their_rows_or_zeros() {
        let expected: [[f32; 2]; 3] = [[3.0, -4.0], [0.0, 0.0], [0.5, 1.0]];
        assert_eq!(vectors("a/x.csv", "x,item_id,y\n.5,2,1\n7,9,7\n3,0,-4\n", "").expect("vectors"), expected);
        let lists = "{\"id\": 0, \"clip\": [3, -4], \"note\": \"\"}\n{\"id\": \"2\", \"clip\": [0.5, 1]}\n";
        let settings = "id_column = \"id\"\nvector_column = \"clip\"";
        assert_eq!(vectors("x.jsonl", lists, settings).expect("vectors"), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let table = |text: &str| vectors("x.csv", text, "");
        says(table("item_id,x\na,1\nb,2\n"), &["such as \"a\", the dataset \"0\"", "x.csv", "fix: `id_column`"]);
        says(table("item_id,x\n"), &["the table has no rows"]);
        says(table("item_id,x\n1,1\n1,2\n"), &["item \"1\" is there twice", "x.csv, line 3"]);
        says(table("item_id,title\n1,Heat\n"), &["\"Heat\"", "line 2", "fix: a table as the settings say"]);
        let (cx, _folder) = context();
        says(plugin("none.csv", "").0.inputs(&cx.cache), &["no file none.csv", "embeddings.file"]);
        assert_eq!(plugin("x.npy", "vector_column = \"item_id\"").1, 2);
    }
}
