//! Lists that other software made.

use crate::reading::columns::{Column, Format, Layout, each_row, names};
use crate::reading::{Lines, Place, short};
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::corpus::{self, column};
use framework::error::{Error, Explain, Result};
use framework::protocol::Train;
use framework::roles::{self, Query, Recommender, Scorer};
use framework::store::hash_file;
use polars::prelude::df;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

framework::choice! {
    /// What becomes of test users without a list.
    enum Missing {
        /// The file is refused.
        Refuse = "refuse",
        /// They are misses: their targets rank below all other items.
        Miss = "miss",
    }
}

framework::plugin! {
    /// Scores that other software gave to items, from a file: to be judged under the same protocol, by the same metrics
    /// and statistics, and in the same table as everything else. `ablate score SPEC FILE` makes such a row.
    ///
    /// A file whose name ends in `.csv`, `.tsv`, `.jsonl` or `.parquet` is a table with a column each of users, items and
    /// scores; any other is a TREC run, with `user Q0 item rank score name` in each line. Ids are the dataset's own. Only
    /// the order of a user's scores counts; equal scores are tied, and items that are not in a user's list are tied below
    /// all that are. A score of `-inf` is as if the item were not in the list; `inf` and NaN are errors. Ranks, in TREC or
    /// in a column of their own, must not contradict the scores (equal ranks say nothing); a table that has ranks and no
    /// scores is ordered by them. Items that the protocol masks, or that are no candidates, may be in a list and do not
    /// count. Reports say how many users have no list, and how many a shorter one than the metrics look at.
    struct Imported: Recommender = "imported" {
        /// The file, relative to where the command is given.
        file: PathBuf,
        /// The table's column of users.
        user_column: String = String::from("user_id"),
        /// The table's column of items.
        item_column: String = String::from("item_id"),
        /// The table's column of scores, higher for better.
        score_column: String = String::from("score"),
        /// The table's column of ranks, lower for better; it may be missing.
        rank_column: String = String::from("rank"),
        /// What parts the fields of a text table, where the file's ending does not say it.
        separator: Option<String> = None,
        /// What becomes of test users without a list.
        missing_users: Missing = Missing::Refuse,
    }
}

/// Each user's items, the best first; those of one level are tied.
struct Lists {
    of_user: roles::Lists,
    users: Arc<Vec<String>>,
    num_items: usize,
    missing: Missing,
}

impl Recommender for Imported {
    fn is_made_elsewhere(&self) -> bool {
        true
    }

    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        cx.proceed()?;
        let mut reading = Reading::new(train);
        match Format::of(&self.file) {
            Some(Format::Delimited(None)) | None => trec(&self.file, &mut reading)?,
            Some(_) => self.table(&mut reading)?,
        }
        Ok(Box::new(self.lists(train, reading.finish(&self.file)?)))
    }

    fn load(&self, folder: &Path, train: &Train, _: &Context) -> Result<Box<dyn Scorer>> {
        let table = corpus::read(folder, "lists")?;
        let numbers = |name: &str| column(&table, name)?.u32().explain("reading lists", "lists.parquet");
        let levels = column(&table, "score")?.f32().explain("reading lists", "lists.parquet")?;
        let mut of_user = roles::Lists::new();
        for ((user, item), level) in numbers("user")?.iter().zip(numbers("item")?.iter()).zip(levels.iter()) {
            let list = user.map(|user| of_user.entry(user).or_default());
            if let (Some(list), Some(entry)) = (list, item.zip(level)) {
                list.push(entry);
            }
        }
        Ok(Box::new(self.lists(train, of_user)))
    }

    fn inputs(&self, _: &Path) -> Result<Value> {
        Ok(json!({ "file": hash_file(&self.file)? }))
    }
}

impl Imported {
    fn lists(&self, train: &Train, of_user: roles::Lists) -> Lists {
        Lists { of_user, users: train.users.clone(), num_items: train.num_items(), missing: self.missing_users }
    }

    fn table(&self, reading: &mut Reading) -> Result<()> {
        let layout = Layout { separator: self.separator.clone(), ..Layout::default() };
        let there = names(&self.file, &layout)?;
        let is_there = |name: &String| there.contains(name);
        let rank = is_there(&self.rank_column).then(|| Column::new("rank_column", &self.rank_column).sparse());
        // Without scores, ranks say the order.
        let scored = rank.is_none() || is_there(&self.score_column);
        let score = scored.then(|| Column::new("score_column", &self.score_column));
        let ids = [Column::new("user_column", &self.user_column), Column::new("item_column", &self.item_column)];
        let columns: Vec<Column<'_>> = ids.into_iter().chain(score).chain(rank).collect();
        each_row(&self.file, &layout, &columns, &mut |place, cells| {
            let (Some(user), Some(item)) = (cells[0].id(), cells[1].id()) else {
                return Err(place.broken("a user or an item is missing").fix("both in each row"));
            };
            // NaN is no missing value here: it has no place in an order.
            let value = |n: usize| cells.get(n).and_then(|cell| cell.text());
            let (score, rank) = if scored { (value(2), value(3)) } else { (None, value(2)) };
            match (score, rank) {
                (Some(score), rank) => {
                    reading.add(place, [&user, &item, score.trim()])?;
                    rank.map_or(Ok(()), |rank| reading.rank(place, [&user, &item, rank.trim()]))
                }
                (None, Some(rank)) if !scored => {
                    let rank = number(place, "rank", &rank)?;
                    reading.add(place, [&user, &item, &(-rank).to_string()])
                }
                _ => Err(place.broken("the score is missing").fix("a score in each row")),
            }
        })
        .map(drop)
    }
}

/// A number that has a place in an order.
fn number(place: Place<'_>, what: &str, text: &str) -> Result<f64> {
    match text.trim().parse::<f64>() {
        Ok(number) if number < f64::INFINITY => Ok(number),
        Ok(_) => {
            let error = place.broken(format!("the {what} is {}, which has no place in an order", short(text)));
            Err(error.fix("a finite number; or -inf, which is as if the item were not in the list"))
        }
        Err(_) => Err(place.broken(format!("the {what} is {}, not a number", short(text)))),
    }
}

/// Lists while they are read.
struct Reading {
    users: HashMap<String, u32>,
    items: HashMap<String, u32>,
    of_user: HashMap<u32, Vec<Entry>>,
    /// The place of each user's items in their lists.
    places: HashMap<(u32, u32), usize>,
    /// What the file is divided into.
    unit: &'static str,
}

/// An item in a list.
struct Entry {
    item: u32,
    score: f64,
    rank: Option<f64>,
    /// The line or row.
    number: usize,
}

impl Reading {
    fn new(train: &Train) -> Self {
        let index = |names: &[String]| names.iter().cloned().zip(0..).collect();
        let (users, items) = (index(&train.users), index(&train.items.id));
        Self { users, items, of_user: HashMap::new(), places: HashMap::new(), unit: "line" }
    }

    fn add(&mut self, place: Place<'_>, [user, item, score]: [&str; 3]) -> Result<()> {
        let kept = "the protocol's k-core may have removed it: leave it out of the file, or lower protocol.k_core";
        let unknown = |what: &str, id: &str, known: &HashMap<String, u32>| {
            let error = place.broken(format!("{what} {} is not in the data", short(id)));
            match id.strip_suffix(".0").filter(|whole| known.contains_key(*whole)) {
                Some(whole) => error.fix(format!("{whole:?}: the file's ids were made numbers with a fraction")),
                None => error.fix(kept),
            }
        };
        let index = *self.users.get(user).ok_or_else(|| unknown("user", user, &self.users))?;
        let item_index = *self.items.get(item).ok_or_else(|| unknown("item", item, &self.items))?;
        let score = number(place, "score", score)?;
        let list = self.of_user.entry(index).or_default();
        if self.places.insert((index, item_index), list.len()).is_some() {
            let what = format!("user {} has item {} twice", short(user), short(item));
            return Err(place.broken(what).fix("one row of each item of a user"));
        }
        list.push(Entry { item: item_index, score, rank: None, number: place.number });
        self.unit = place.unit;
        Ok(())
    }

    /// Keeps the rank of an item that was added.
    fn rank(&mut self, place: Place<'_>, [user, item, rank]: [&str; 3]) -> Result<()> {
        let rank = number(place, "rank", rank)?;
        let known = self.users.get(user).zip(self.items.get(item)).map(|(user, item)| (*user, *item));
        let list = known.and_then(|(user, item)| self.of_user.get_mut(&user).zip(self.places.get(&(user, item))));
        if let Some(entry) = list.and_then(|(list, place)| list.get_mut(*place)) {
            entry.rank = Some(rank);
        }
        Ok(())
    }

    /// The order of each user's items; an error where ranks contradict it.
    fn finish(self, path: &Path) -> Result<roles::Lists> {
        for list in self.of_user.values() {
            if let Some(entry) = contradiction(list) {
                let place = Place { path, unit: self.unit, number: entry.number };
                let rank = entry.rank.unwrap_or_default();
                let what = format!(
                    "the rank is {rank} and the score {}, but an item of a better rank has a lower score",
                    entry.score
                );
                return Err(place.broken(what).fix("ranks that follow the scores, higher for better; or no ranks"));
            }
        }
        let order = |list: Vec<Entry>| {
            let listed = list.into_iter().filter(|entry| entry.score > f64::NEG_INFINITY);
            levels(listed.map(|entry| (entry.item, entry.score)).collect())
        };
        Ok(self.of_user.into_iter().map(|(user, list)| (user, order(list))).collect())
    }
}

/// The first entry of the file that scores higher than one of a better rank.
fn contradiction(list: &[Entry]) -> Option<&Entry> {
    let mut ranked: Vec<(f64, &Entry)> = list.iter().filter_map(|entry| Some((entry.rank?, entry))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut lowest, mut wrong) = (f64::INFINITY, None::<&Entry>);
    for alike in ranked.chunk_by(|a, b| a.0 == b.0) {
        let above = alike.iter().map(|(_, entry)| *entry).filter(|entry| entry.score > lowest);
        wrong = wrong.into_iter().chain(above).min_by_key(|entry| entry.number);
        lowest = alike.iter().map(|(_, entry)| entry.score).fold(lowest, f64::min);
    }
    wrong
}

/// Reads a TREC run.
fn trec(path: &Path, reading: &mut Reading) -> Result<()> {
    let mut lines = Lines::open(path)?;
    while lines.advance()? {
        let line = lines.line();
        let words: Vec<&str> = line.text.split_whitespace().collect();
        match words[..] {
            [] => {}
            [user, _, item, rank, score, _] => {
                reading.add(line.place, [user, item, score])?;
                reading.rank(line.place, [user, item, rank])?;
            }
            _ => {
                return Err(line
                    .place
                    .broken(format!("{} words instead of `user Q0 item rank score name`", words.len()))
                    .fix("a TREC run; or a table, whose name ends in .csv, .tsv, .jsonl or .parquet"));
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

impl Scorer for Lists {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let missing = queries.iter().map(|query| query.user).filter(|user| !self.of_user.contains_key(user));
        let missing: Vec<&str> = missing.filter_map(|user| Some(self.users.get(user as usize)?.as_str())).collect();
        if let (Missing::Refuse, [first, others @ ..]) = (self.missing, &missing[..]) {
            let more = if others.is_empty() { String::new() } else { format!(", nor for {} others", others.len()) };
            return Err(Error::new(format!("there is no list for user {first}, who is a test user{more}"))
                .at("recommender.file")
                .fix("a list for every test user; or `missing_users = \"miss\"`, `--missing-users miss`, which counts them as misses"));
        }
        let mut scores = vec![-(self.num_items as f32) - 1.0; queries.len() * self.num_items];
        for (query, row) in queries.iter().zip(scores.chunks_exact_mut(self.num_items)) {
            match self.of_user.get(&query.user) {
                Some(list) => list.iter().for_each(|(item, level)| row[*item as usize] = *level),
                None => row.fill(f32::NEG_INFINITY),
            }
        }
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.num_items]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        // A list that names nothing is there, too: a row without an item.
        let rows = || {
            self.of_user.iter().flat_map(|(user, list)| {
                let none = list.is_empty().then_some((*user, None));
                list.iter().map(|entry| (*user, Some(*entry))).chain(none)
            })
        };
        let user: Vec<u32> = rows().map(|(user, _)| user).collect();
        let item: Vec<Option<u32>> = rows().map(|(_, entry)| entry.map(|(item, _)| item)).collect();
        let score: Vec<Option<f32>> = rows().map(|(_, entry)| entry.map(|(_, level)| level)).collect();
        corpus::write(folder, "lists", df!("user" => user, "item" => item, "score" => score))
    }

    fn lists(&self) -> Option<&roles::Lists> {
        Some(&self.of_user)
    }
}

#[cfg(test)]
mod tests;
