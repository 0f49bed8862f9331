//! What a run recommends as a file for others: parquet, CSV, TSV or a TREC run, all of which `ablate score` reads.

use framework::corpus;
use framework::error::{Error, Explain, Result};
use framework::run::Recommended;
use polars::prelude::{DataFrame, df};
use std::fs;
use std::path::Path;

/// How a file is written.
#[derive(Clone, Copy)]
pub enum Format {
    /// Rows of fields below a header, parted by a character.
    Delimited(char),
    /// Parquet.
    Parquet,
    /// `user Q0 item rank score name` in each line.
    Trec,
}

impl Format {
    /// What the ending of a new file's name says.
    pub fn of(file: &Path) -> Result<Self> {
        if file.exists() {
            return Err(Error::new("the file is there already").at(file.display()).fix("another name, or remove it"));
        }
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(Self::Delimited(',')),
            Some("tsv") => Ok(Self::Delimited('\t')),
            Some("parquet") => Ok(Self::Parquet),
            Some("trec" | "run" | "txt") => Ok(Self::Trec),
            _ => Err(Error::new("the name's ending is that of no known format")
                .at(file.display())
                .fix("`.parquet`, `.csv` or `.tsv`, with titles; or a TREC run: `.trec`, `.run` or `.txt`")),
        }
    }

    /// Writes the lists to a new file: it is there whole or not at all.
    pub fn write(self, lists: &Recommended, file: &Path) -> Result<()> {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::tempdir_in(parent).explain("making a folder", parent.display())?;
        let made = folder.path().join("lists.parquet");
        match self {
            Self::Parquet => corpus::write(folder.path(), "lists", table(lists))?,
            Self::Delimited(separator) => put(&made, &delimited(lists, separator))?,
            Self::Trec => put(&made, &trec(lists).map_err(|error| error.at(file.display()))?)?,
        }
        fs::rename(&made, file).explain("naming the file", file.display())
    }
}

fn put(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).explain("writing recommendations", file.display())
}

/// One recommended item.
struct Line<'a> {
    user: &'a str,
    item: &'a str,
    title: &'a str,
    score: f32,
    /// One more than the items that score higher: items of one score share it.
    rank: u32,
}

fn lines(lists: &Recommended) -> impl Iterator<Item = Line<'_>> {
    lists.users.iter().zip(&lists.lists).flat_map(|(user, list)| {
        list.iter().map(|(item, score)| Line {
            user,
            item: &lists.items.id[*item as usize],
            title: &lists.items.title[*item as usize],
            score: *score,
            rank: 1 + list.partition_point(|(_, other)| other > score) as u32,
        })
    })
}

fn table(lists: &Recommended) -> polars::prelude::PolarsResult<DataFrame> {
    df!(
        "user_id" => lines(lists).map(|line| line.user).collect::<Vec<_>>(),
        "item_id" => lines(lists).map(|line| line.item).collect::<Vec<_>>(),
        "title" => lines(lists).map(|line| line.title).collect::<Vec<_>>(),
        "score" => lines(lists).map(|line| line.score).collect::<Vec<_>>(),
        "rank" => lines(lists).map(|line| line.rank).collect::<Vec<_>>(),
    )
}

fn delimited(lists: &Recommended, separator: char) -> String {
    let field = |text: &str| {
        let plain = !text.contains([separator, '"', '\n', '\r']) && text.trim() == text;
        if plain { text.to_string() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    let mut text = ["user_id", "item_id", "title", "score", "rank"].join(&separator.to_string()) + "\n";
    for Line { user, item, title, score, rank } in lines(lists) {
        let fields = [field(user), field(item), field(title), score.to_string(), rank.to_string()];
        text += &fields.join(&separator.to_string());
        text.push('\n');
    }
    text
}

fn trec(lists: &Recommended) -> Result<String> {
    let mut text = String::new();
    for Line { user, item, score, rank, .. } in lines(lists) {
        for id in [user, item] {
            if id.is_empty() || id.contains(char::is_whitespace) {
                let error = Error::new(format!("the id {id:?} cannot stand in a TREC run, whose words have no blanks"));
                return Err(error.fix("a table: a name that ends in .csv, .tsv or .parquet"));
            }
        }
        text += &format!("{user} Q0 {item} {rank} {score} ablate\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use framework::corpus::Items;
    use std::sync::Arc;

    fn lists(id: &str) -> Recommended {
        let items = Items {
            id: vec!["a".into(), id.into(), "c".into()],
            title: vec!["A, \"the\" film".into(), "B".into(), "".into()],
            image: vec![None; 3],
            ..Items::default()
        };
        let list = vec![(1, 0.1f32), (0, -0.0), (2, -0.0)];
        Recommended {
            users: vec!["7".into(), "8".into()],
            lists: vec![list, vec![]],
            items: Arc::new(items),
            changed: 0,
        }
    }

    #[test]
    fn ties_share_a_rank_and_what_parts_fields_is_quoted() {
        let text = delimited(&lists("b"), ',');
        assert_eq!(
            text,
            "user_id,item_id,title,score,rank\n7,b,B,0.1,1\n7,a,\"A, \"\"the\"\" film\",-0,2\n7,c,,-0,2\n"
        );
        assert_eq!(trec(&lists("b")).expect("a run").lines().next(), Some("7 Q0 b 1 0.1 ablate"));
        assert!(trec(&lists("b 1")).expect_err("a blank").to_string().contains("\"b 1\""));
        assert_eq!(table(&lists("b")).expect("a table").shape(), (3, 5));
    }

    #[test]
    fn the_ending_says_the_format_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["l.parquet", "l.csv", "l.tsv", "l.trec", "l.run", "l.txt"] {
            let file = folder.path().join(name);
            Format::of(&file).expect("a format").write(&lists("b"), &file).expect("it is written");
            assert!(Format::of(&file).is_err_and(|error| error.to_string().contains("there already")));
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 6);
        assert!(Format::of(Path::new("l.xlsx")).is_err_and(|error| error.to_string().contains(".parquet")));
    }
}
