//! What readers of files share: ids as indices, sequences as interactions, titles and pictures as a catalogue; lines,
//! tables and times are in files of their own. It knows no source's format.

mod array;
pub(crate) mod columns;
pub(crate) mod delimited;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod interactions;
mod lines;
pub(crate) mod literal;
mod parquet;
mod pictures;
pub(crate) mod source;
pub(crate) mod tally;
pub(crate) mod times;
pub(crate) mod vectors;
mod zone;

pub(crate) use lines::{Line, Lines, Place, short};

use framework::corpus::{Interactions, Items};
use framework::error::{Error, Result};
use std::collections::HashMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

pub(crate) use pictures::Pictures;

/// The first of `names` that is a file in `folder`; or what is missing, and `fix`.
pub(crate) fn present(folder: &Path, names: &[&str], fix: impl Display) -> Result<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    let missing = || Error::new(format!("the file {} is missing", names.join(" or "))).at(folder.display()).fix(fix);
    found.ok_or_else(missing)
}

/// Ids, and the index of each by its first appearance.
#[derive(Default)]
pub(crate) struct Ids {
    index: HashMap<Box<str>, u32>,
}

impl Ids {
    /// The index of `id`, if it is known.
    pub(crate) fn get(&self, id: &str) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// The index of `id`, a new one if it is not known yet.
    pub(crate) fn intern(&mut self, id: &str) -> u32 {
        if let Some(known) = self.get(id) {
            return known;
        }
        let new = self.index.len() as u32;
        self.index.insert(id.into(), new);
        new
    }

    /// The index of an id that must be new.
    pub(crate) fn add(&mut self, id: &str) -> Option<u32> {
        let known = self.index.len();
        Some(self.intern(id)).filter(|_| self.index.len() > known)
    }

    /// Two ids that may be meant for one: `1` and `1.0`.
    fn twins(&self) -> Option<(&str, &str)> {
        let all = || self.index.iter().map(|(id, index)| (&**id, *index));
        let pair = |(id, index): (&str, u32)| {
            let whole = id.strip_suffix(".0").filter(|whole| self.index.contains_key(*whole))?;
            Some((index, whole.len()))
        };
        let (first, length) = all().filter_map(pair).min()?;
        let (id, _) = all().find(|(_, index)| *index == first)?;
        Some((&id[..length], id))
    }

    /// Whether each is several numbers or words without a capital: `1 2 3`.
    fn are_lists(&self) -> bool {
        self.index.keys().all(|id| id.contains(' ') && !id.chars().any(|c| c.is_uppercase()))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The ids in the order of their indices.
    pub(crate) fn into_names(self) -> Vec<String> {
        let mut names = vec![String::new(); self.index.len()];
        for (name, index) in self.index {
            names[index as usize] = name.into_string();
        }
        names
    }
}

/// Adds one interaction.
pub(crate) fn push(interactions: &mut Interactions, user: u32, item: u32, timestamp: i64) {
    interactions.user.push(user);
    interactions.item.push(item);
    interactions.timestamp.push(timestamp);
}

/// Adds a user's items, oldest first, at the times 0, 1, 2 …: the source has no clock.
pub(crate) fn push_sequence(interactions: &mut Interactions, user: u32, items: &[u32]) {
    items.iter().zip(0..).for_each(|(item, position)| push(interactions, user, *item, position));
}

/// The catalogue of `ids`. An item whose title is missing or empty is called as its id.
pub(crate) fn catalogue(ids: Vec<String>, mut titles: Vec<String>, pictures: &Pictures) -> Result<Items> {
    titles.resize(ids.len(), String::new());
    let mut untitled = 0;
    for (title, id) in titles.iter_mut().zip(&ids).filter(|(title, _)| title.is_empty()) {
        title.clone_from(id);
        untitled += 1;
    }
    if untitled > 0 {
        tracing::info!(untitled, items = ids.len(), "items without a title are called as their ids");
    }
    let (image, broken) = pictures.of(&ids)?;
    Ok(Items { id: ids, title: titles, image, broken, ..Items::default() })
}

/// A title on one line, with single blanks: prompts list one item per line.
pub(crate) fn one_line(title: &str) -> String {
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
