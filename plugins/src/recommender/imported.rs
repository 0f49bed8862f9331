//! Lists that other software made.

use crate::reading::columns::{Column, Format, Layout, each_row};
use crate::reading::{Lines, Place};
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::corpus::{self, column};
use framework::error::{Error, Explain, Result};
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use framework::store::hash_file;
use polars::prelude::df;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

framework::plugin! {
    /// Scores that other software gave to items, from a file: to be judged under the same protocol, by the same metrics
    /// and statistics, and in the same table as everything else. `ablate score SPEC FILE` makes such a row.
    ///
    /// A file whose name ends in `.csv`, `.tsv`, `.jsonl` or `.parquet` has the columns `user_id`, `item_id` and `score`;
    /// any other is a TREC run, with `user Q0 item rank score name` in each line. Ids are the dataset's own. Only the
    /// order of a user's scores counts; equal scores are tied, and items that are not in a user's list are tied below all
    /// that are. Items that the protocol masks, or that are no candidates, may be in a list and do not count.
    struct Imported: Recommender = "imported" {
        /// The file, relative to where the command is given.
        file: PathBuf,
    }
}

/// Each user's items, the best first; those of one level are tied.
struct Lists {
    of_user: HashMap<u32, Vec<(u32, f32)>>,
    users: usize,
    num_items: usize,
}

impl Recommender for Imported {
    fn is_made_elsewhere(&self) -> bool {
        true
    }

    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        cx.proceed()?;
        Ok(Box::new(self.lists(train)?))
    }

    fn load(&self, folder: &Path, train: &Train, _: &Context) -> Result<Box<dyn Scorer>> {
        let table = corpus::read(folder, "lists")?;
        let numbers = |name: &str| -> Result<Vec<u32>> {
            let numbers = column(&table, name)?.u32().explain("reading lists", "lists.parquet")?;
            Ok(numbers.iter().flatten().collect())
        };
        let levels = column(&table, "score")?.f32().explain("reading lists", "lists.parquet")?;
        let mut lists = Lists::new(train);
        let rows = numbers("user")?.into_iter().zip(numbers("item")?).zip(levels.iter().flatten());
        rows.for_each(|((user, item), level)| lists.of_user.entry(user).or_default().push((item, level)));
        Ok(Box::new(lists))
    }

    fn inputs(&self, _: &Path) -> Result<Value> {
        Ok(json!({ "file": hash_file(&self.file)? }))
    }
}

impl Imported {
    fn lists(&self, train: &Train) -> Result<Lists> {
        let index = |names: &[String]| -> HashMap<String, u32> {
            names.iter().enumerate().map(|(n, name)| (name.clone(), n as u32)).collect()
        };
        let (users, items) = (index(&train.users), index(&train.items.id));
        let mut scores: HashMap<u32, Vec<(u32, f64)>> = HashMap::new();
        let mut seen = HashSet::new();
        let mut add = |place: Place<'_>, [user, item, score]: [&str; 3]| {
            let kept = "the protocol's k-core may have removed it: leave it out of the file, or lower protocol.k_core";
            let unknown = |what: &str, id: &str| place.broken(format!("{what} {id:?} is not in the data")).fix(kept);
            let user = *users.get(user).ok_or_else(|| unknown("user", user))?;
            let item = *items.get(item).ok_or_else(|| unknown("item", item))?;
            let value = score.parse::<f64>().ok().filter(|score| score.is_finite());
            let value = value.ok_or_else(|| place.broken(format!("the score is {score:?}, not a number")))?;
            if !seen.insert((user, item)) {
                return Err(place.broken("the user has this item twice"));
            }
            scores.entry(user).or_default().push((item, value));
            Ok(())
        };
        if Format::of(&self.file).is_some() {
            let columns = ["user_id", "item_id", "score"].map(|name| Column::new("the file", name));
            each_row(&self.file, &Layout::default(), &columns, &mut |place, cells| match (
                cells[0].id(),
                cells[1].id(),
                cells[2].text(),
            ) {
                (Some(user), Some(item), Some(score)) => add(place, [&user, &item, &score]),
                _ => Err(place.broken("a value is missing")),
            })?;
        } else {
            trec(&self.file, &mut add)?;
        }
        let mut lists = Lists::new(train);
        lists.of_user = scores.into_iter().map(|(user, scores)| (user, levels(scores))).collect();
        Ok(lists)
    }
}

/// Calls `add` with user, item and score of each line.
fn trec(path: &Path, add: &mut dyn FnMut(Place<'_>, [&str; 3]) -> Result<()>) -> Result<()> {
    let mut lines = Lines::open(path)?;
    while lines.advance()? {
        let line = lines.line();
        let words: Vec<&str> = line.text.split_whitespace().collect();
        match words[..] {
            [] => {}
            [user, _, item, _, score, _] => add(line.place, [user, item, score])?,
            _ => {
                return Err(line
                    .place
                    .broken(format!("{} words instead of `user Q0 item rank score name`", words.len())));
            }
        }
    }
    Ok(())
}

/// The scores' order as numbers that 32 bits hold: 0 for the best, -1 for the next, the same for equals.
fn levels(mut scores: Vec<(u32, f64)>) -> Vec<(u32, f32)> {
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut level = 0;
    let mut levels = Vec::with_capacity(scores.len());
    for (n, (item, score)) in scores.iter().enumerate() {
        level += i32::from(n > 0 && *score != scores[n - 1].1);
        levels.push((*item, -level as f32));
    }
    levels
}

impl Lists {
    fn new(train: &Train) -> Self {
        Self { of_user: HashMap::new(), users: train.users.len(), num_items: train.num_items() }
    }
}

impl Scorer for Lists {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let mut scores = vec![-(self.num_items as f32) - 1.0; queries.len() * self.num_items];
        for (query, row) in queries.iter().zip(scores.chunks_exact_mut(self.num_items)) {
            let list = self.of_user.get(&query.user).ok_or_else(|| {
                Error::new(format!("no list for user number {} of {}, who is asked about", query.user, self.users))
                    .at("recommender.file")
                    .fix("a list for every test user; `ablate data SPEC` says how many there are")
            })?;
            list.iter().for_each(|(item, level)| row[*item as usize] = *level);
        }
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.num_items]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let mut users: Vec<&u32> = self.of_user.keys().collect();
        users.sort_unstable();
        let rows = || users.iter().flat_map(|user| self.of_user[user].iter().map(move |row| (**user, row)));
        let user: Vec<u32> = rows().map(|(user, _)| user).collect();
        let item: Vec<u32> = rows().map(|(_, (item, _))| *item).collect();
        let score: Vec<f32> = rows().map(|(_, (_, level))| *level).collect();
        corpus::write(folder, "lists", df!("user" => user, "item" => item, "score" => score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, train};

    fn lists(name: &str, text: &str) -> Result<Vec<f32>> {
        let (cx, folder) = context();
        let train = train(4, &[&[0, 1, 2], &[1, 2, 3]]);
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        let model = Imported { file };
        model.fit(&train, &cx)?.save(folder.path())?;
        let scorer = model.load(folder.path(), &train, &cx)?;
        let query = Query { user: 1, history: &[1], ..Query::default() };
        Ok(scorer.score(&[query], &cx)?.into_data().iter::<f32>().collect())
    }

    #[test]
    fn every_format_gives_the_same_order() {
        let expected = [-5.0, -1.0, 0.0, 0.0];
        let trec = "0 Q0 1 1 0.5 x\n1 Q0 2 1 7.5 x\n1 Q0 3 2 7.5 x\n1 Q0 1 3 -1e-300 x\n";
        assert_eq!(lists("run.trec", trec).expect("lists"), expected);
        let tsv = "score\tuser_id\titem_id\n7.5\t1\t2\n7.5\t1\t3\n-3\t1\t1\n";
        assert_eq!(lists("run.tsv", tsv).expect("lists"), expected);
        let json = "{\"user_id\": \"1\", \"item_id\": \"2\", \"score\": 2}\n{\"user_id\": \"1\", \"item_id\": \"3\", \"score\": 2}\n{\"user_id\": \"1\", \"item_id\": \"1\", \"score\": 1}\n";
        assert_eq!(lists("run.jsonl", json).expect("lists"), expected);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, said) in [
            ("0 Q0 1 1 0.5\n", "5 words instead of"),
            ("0 Q0 9 1 0.5 x\n", "item \"9\" is not in the data"),
            ("7 Q0 1 1 0.5 x\n", "user \"7\" is not in the data"),
            ("0 Q0 1 1 nan x\n", "the score is \"nan\""),
            ("1 Q0 1 1 1 x\n1 Q0 1 2 0 x\n", "line 2"),
            ("0 Q0 1 1 0.5 x\n", "no list for user number 1 of 2"),
        ] {
            let message = lists("run", text).expect_err("it is wrong").to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
