//! Rows of any table as interactions: who, with what, when, how much it was liked, and what the row is for.

use super::columns::{Cell, Column};
use super::tally::{Lacking, Tally};
use super::times::{Times, in_coarsest_unit};
use super::{Ids, Place, push, short};
use framework::choice;
use framework::corpus::{Interactions, Part};
use framework::error::Result;
use std::borrow::Cow;

choice! {
    /// What becomes of an interaction with an item that the table of items does not have.
    pub(crate) enum Unknown {
        /// The first is an error.
        Refuse = "refuse",
        /// It is left out and counted.
        Drop = "drop",
        /// It stays; its item is called as its id.
        Keep = "keep",
    }
}

/// The columns of a table of interactions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) user: Column<'a>,
    pub(crate) item: Column<'a>,
    pub(crate) time: Option<Column<'a>>,
    pub(crate) rating: Option<Column<'a>>,
    pub(crate) split: Option<Column<'a>>,
}

/// What becomes of rows.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) missing: Lacking,
    pub(crate) unknown: Unknown,
    /// Rows rated below it are left out.
    pub(crate) min_rating: f64,
    /// What parts several items in one cell, oldest first.
    pub(crate) item_separator: Option<String>,
}

/// Interactions so far, and what they were made of.
pub(crate) struct Collected<'a> {
    wanted: Wanted<'a>,
    rules: Rules,
    times: Times,
    /// Whether items that are not known yet are none of the catalogue.
    closed: bool,
    users: Ids,
    pub(crate) items: Ids,
    table: Interactions,
    pub(crate) tally: Tally,
}

/// Users, items, and interactions in their unit.
pub(crate) struct Finished {
    pub(crate) users: Ids,
    pub(crate) items: Ids,
    pub(crate) interactions: Interactions,
    pub(crate) notes: Vec<String>,
}

impl<'a> Wanted<'a> {
    /// Those that are there, in the order in which `Collected::row` takes their cells.
    pub(crate) fn columns(&self) -> Vec<Column<'a>> {
        [self.user, self.item].into_iter().chain(self.time).chain(self.rating).chain(self.split).collect()
    }
}

impl<'a> Collected<'a> {
    /// None yet; `items` are the catalogue where a table says what is in it.
    pub(crate) fn new(wanted: Wanted<'a>, rules: Rules, times: Times, items: Option<Ids>) -> Self {
        let (closed, items) = (items.is_some(), items.unwrap_or_default());
        let (users, table, tally) = Default::default();
        Self { wanted, rules, times, closed, users, items, table, tally }
    }

    /// None yet; `items` are known and come first, and others may follow.
    pub(crate) fn open(wanted: Wanted<'a>, rules: Rules, times: Times, items: Ids) -> Self {
        Self { closed: false, ..Self::new(wanted, rules, times, Some(items)) }
    }

    /// Takes a row; `part` is what all rows of its file are for, where the file says that.
    pub(crate) fn row(&mut self, part: Option<Part>, place: Place<'_>, cells: &[Cell<'_>]) -> Result<()> {
        let Wanted { user: user_column, item: item_column, time, rating, split } = self.wanted;
        let mut rest = cells[2..].iter();
        let mut next = |column: Option<Column<'a>>| column.and_then(|column| Some((column, rest.next()?)));
        let (time, rating, split) = (next(time), next(rating), next(split));
        let Some(user) = self.id(place, &cells[0], user_column)? else { return Ok(()) };
        let Some(item) = self.id(place, &cells[1], item_column)? else { return Ok(()) };
        if let Some((column, cell)) = rating
            && !self.is_liked(place, column, cell)?
        {
            return Ok(());
        }
        let moment = match time {
            Some((_, Cell::Moment(time))) => self.times.saw(*time),
            Some((_, Cell::Clock(time))) => self.times.clock(*time),
            Some((column, Cell::Nested | Cell::List(_))) => {
                let what = format!("`{}` is a list or a dictionary and no time", column.name);
                return Err(place.broken(what).fix(format!("`{}`, a column of times", column.setting)));
            }
            Some((column, cell)) => match cell.id() {
                Some(text) => self.times.read(place, &text)?,
                None => return self.tally.lacks(place, column.name, self.rules.missing),
            },
            None => self.table.user.len() as i64 * 1_000_000,
        };
        let part = match split {
            Some((column, cell)) => match cell.id() {
                Some(text) => Some(named_part(place, column, &text)?),
                None => return self.tally.lacks(place, column.name, self.rules.missing),
            },
            None => part,
        };
        match self.rules.item_separator.clone() {
            None => self.interaction(place, &user, &item, moment, part),
            Some(separator) => {
                let items = self.listed(place, &item, &separator)?;
                items.iter().try_for_each(|item| self.interaction(place, &user, item, moment, part))
            }
        }
    }

    /// Whether a row's rating is high enough; one that is lower, or lacks, is counted.
    fn is_liked(&mut self, place: Place<'_>, column: Column<'_>, cell: &Cell<'_>) -> Result<bool> {
        let Column { name, setting, .. } = column;
        let Some(text) = cell.id() else {
            return self.tally.lacks(place, name, self.rules.missing).map(|()| false);
        };
        let rating = text.replace(',', ".").parse::<f64>().ok().filter(|rating| rating.is_finite());
        let wrong = || {
            let fix = format!("`{setting}`, a column of numbers; or no `min_rating`");
            place.broken(format!("`{name}` is {}, not a number", short(&text))).fix(fix)
        };
        let is_liked = rating.ok_or_else(wrong)? >= self.rules.min_rating;
        if !is_liked {
            let what = format!("have a `{name}` below {} and are left out", self.rules.min_rating);
            self.tally.count(place, &what);
        }
        Ok(is_liked)
    }

    /// The items in a cell that holds several, as `1 2 3`, or as Python prints a list: `[1, 2]`, `['a', 'b']`.
    fn listed(&mut self, place: Place<'_>, cell: &str, separator: &str) -> Result<Vec<String>> {
        let name = self.wanted.item.name;
        let listed = cell.strip_prefix('[').and_then(|cell| cell.strip_suffix(']')).unwrap_or(cell);
        let parts = listed.split(separator).map(|part| part.trim().trim_matches(['\'', '"']));
        let mut items = Vec::new();
        // Several separators in a row are one.
        for part in parts.filter(|part| !part.is_empty()) {
            match Cell::Text(Cow::Borrowed(part)).id() {
                Some(item) => items.push(item.into_owned()),
                None => self.tally.lacks(place, name, self.rules.missing)?,
            }
        }
        if items.is_empty() {
            self.tally.lacks(place, name, self.rules.missing)?;
        }
        Ok(items)
    }

    /// The id in a cell; none where the row is left out since it has none.
    fn id<'c>(&mut self, place: Place<'_>, cell: &'c Cell<'_>, column: Column<'_>) -> Result<Option<Cow<'c, str>>> {
        let Column { name, setting, .. } = column;
        match cell {
            Cell::Nested => {
                let what = format!("`{name}` is a dictionary and no id");
                return Err(place.broken(what).fix(format!("`{setting}`, a column of text or numbers")));
            }
            Cell::List(_) => {
                let what = format!("`{name}` is a list and no id");
                return Err(place
                    .broken(what)
                    .fix(format!("`{setting}`, a column of text or numbers; a row for each item")));
            }
            _ => {}
        }
        let Some(id) = cell.id() else {
            return self.tally.lacks(place, name, self.rules.missing).map(|()| None);
        };
        if let Cell::Text(text) | Cell::Number(text) = cell
            && text.len() != id.len()
        {
            let what = match cell {
                Cell::Number(_) => {
                    format!("have a `{name}` that is written as a fraction, as in 1.0, and taken as whole")
                }
                _ => format!("have blanks around `{name}`, which do not count"),
            };
            self.tally.count(place, &what);
        }
        if id.contains('\n') {
            let what = format!("`{name}` goes over several lines: {}", short(&id));
            return Err(place
                .broken(what)
                .fix("the closing quote that is missing; or `quotes = false` if nothing is quoted"));
        }
        Ok(Some(id))
    }

    fn interaction(&mut self, place: Place<'_>, user: &str, item: &str, time: i64, part: Option<Part>) -> Result<()> {
        let known = self.items.get(item);
        let item = match (known, self.rules.unknown) {
            (Some(known), _) => known,
            (None, Unknown::Refuse) if self.closed => {
                let what = format!("item {} is not among the items", short(item));
                let fix = "it in the table of items; or `unknown_items = \"drop\"`, or \"keep\"";
                return Err(match self.twin(item) {
                    Some(twin) => place.broken(format!("{what}, though {twin:?} is")).fix("ids written alike in both"),
                    None => place.broken(what).fix(fix),
                });
            }
            (None, Unknown::Drop) if self.closed => {
                if self.twin(item).is_some() {
                    self.tally
                        .count(place, "WARNING: have an item with `.0` behind its id, or without, unlike the items");
                }
                self.tally.count(place, "are of an item that is not among the items and are left out");
                return Ok(());
            }
            (None, _) => {
                if self.closed {
                    self.tally
                        .count(place, "are the first of an item that is not among the items and called as its id");
                }
                self.items.intern(item)
            }
        };
        push(&mut self.table, self.users.intern(user), item, time);
        self.table.part.extend(part);
        Ok(())
    }

    /// An item of the catalogue that may be meant: `1` for `1.0`, or the reverse.
    fn twin(&self, item: &str) -> Option<String> {
        let twin = item.strip_suffix(".0").map_or_else(|| format!("{item}.0"), str::to_string);
        self.items.get(&twin).map(|_| twin)
    }

    /// Ids that are known by now, for lists of candidates.
    pub(crate) fn ids(&self) -> (&Ids, &Ids) {
        (&self.users, &self.items)
    }

    /// What was collected.
    pub(crate) fn finish(mut self) -> Finished {
        for (ids, what) in [(&self.users, "users"), (&self.items, "items")] {
            if let Some((whole, fraction)) = ids.twins() {
                self.tally.note(format!(
                    "WARNING: {what} {whole:?} and {fraction:?} are taken for two: perhaps ids that were once made numbers with a fraction"
                ));
            }
        }
        if self.rules.item_separator.is_none() && self.items.len() > 1 && self.items.are_lists() {
            self.tally.note(
                "WARNING: every item's id is several numbers or words: perhaps a sequence per row, which `item_separator = \" \"` divides",
            );
        }
        let mut notes = self.tally.into_notes();
        notes.extend(self.times.notes());
        Finished { users: self.users, items: self.items, interactions: in_coarsest_unit(self.table), notes }
    }
}

/// What a word in a column of a split means.
fn named_part(place: Place<'_>, column: Column<'_>, text: &str) -> Result<Part> {
    match text.strip_suffix(".0").unwrap_or(text).to_lowercase().as_str() {
        "train" | "training" | "0" => Ok(Part::Train),
        "valid" | "validation" | "val" | "eval" | "dev" | "1" => Ok(Part::Validation),
        "test" | "testing" | "2" => Ok(Part::Test),
        "history" => Ok(Part::History),
        _ => {
            let known = "train, training or 0; valid, validation, val, eval, dev or 1; test, testing or 2; history";
            Err(place.broken(format!("`{}` is {}, which names no part", column.name, short(text))).fix(known))
        }
    }
}
