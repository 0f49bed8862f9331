//! `ablate data`: what a spec's data set is made of, before and after the protocol.

use super::rows;
use crate::{BuiltIn, Cli};
use framework::ablation::Plan;
use framework::corpus::Corpus;
use framework::error::Result;
use framework::progress::Progress;
use framework::protocol::{self, GivenTargets, Statistics};
use framework::run::Runner;
use serde::Serialize;
use std::collections::HashSet;

/// A data set in numbers.
#[derive(Serialize)]
struct Profile {
    dataset: String,
    users: usize,
    items: usize,
    interactions: usize,
    /// Share of all pairs of a user and an item that interacted.
    density: f64,
    /// Interactions of a user: smallest, quartiles, largest; and the mean.
    user_lengths: Spread,
    /// Interactions of an item.
    item_lengths: Spread,
    /// First and last moment in UTC; none where the data has no times.
    times: Option<[String; 2]>,
    /// Interactions whose user had the item before.
    repeats: usize,
    /// Items that are called as their ids.
    items_without_title: usize,
    /// Titles that another item has too.
    items_with_shared_title: usize,
    items_without_picture: usize,
    /// Files that should be pictures of items, and what each is instead.
    broken_pictures: Vec<String>,
    /// Users by their number of interactions: from, to, how many.
    histogram: Vec<(usize, usize, usize)>,
    /// What the reader left out, took for something or doubts.
    notes: Vec<String>,
    /// What the protocol leaves, and how it divides it; none where it refuses the data.
    protocol: Option<Statistics>,
}

/// The smallest, the quartiles, the largest and the mean.
#[derive(Serialize)]
struct Spread {
    quartiles: [usize; 5],
    mean: f64,
}

impl Spread {
    fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let at = |quarter: usize| values.get(quarter * values.len().saturating_sub(1) / 4).copied().unwrap_or(0);
        let mean = values.iter().sum::<usize>() as f64 / values.len().max(1) as f64;
        Self { quartiles: [0, 1, 2, 3, 4].map(at), mean }
    }

    fn in_words(&self) -> String {
        let [low, first, median, third, high] = self.quartiles;
        format!("{low} to {high}, quartiles {first}, {median}, {third}, mean {:.1}", self.mean)
    }
}

impl Cli {
    /// Prints the profile of a plan's data set.
    pub(crate) fn data(&self, plan: &Plan, built_in: BuiltIn, rows: usize, json: bool) -> Result<()> {
        let progress = Progress::default();
        let mut runner = Runner::new(self.store()?, self.cache()?, progress, built_in.code, Vec::new());
        let corpus = runner.corpus(plan)?;
        let split = protocol::split(&corpus, &plan.spec.protocol, plan.spec.evaluator.selects_by());
        let profile = Profile::new(plan, &corpus, split.as_ref().ok().map(|split| split.statistics.clone()));
        let mut shown = serde_json::json!(profile);
        if rows > 0 {
            shown["first"] = rows::first(&corpus, rows);
        }
        match json {
            true => println!("{shown:#}"),
            false => print!(
                "{}{}",
                profile.in_words(),
                if rows > 0 { rows::in_words(&shown["first"]) } else { String::new() }
            ),
        }
        split.map(drop)
    }
}

impl Profile {
    fn new(plan: &Plan, corpus: &Corpus, protocol: Option<Statistics>) -> Self {
        let data = &corpus.interactions;
        let count = |column: &[u32], size: usize| {
            let mut counts = vec![0usize; size];
            column.iter().for_each(|n| counts[*n as usize] += 1);
            counts
        };
        let (users, items) = (corpus.users.len(), corpus.items.id.len());
        let (of_user, of_item) = (count(&data.user, users), count(&data.item, items));
        let pairs: HashSet<(u32, u32)> = data.user.iter().copied().zip(data.item.iter().copied()).collect();
        // Readers call an item without a title as its id.
        let titled = corpus.items.title.iter().zip(&corpus.items.id).filter(|(title, id)| title != id);
        let mut titles: Vec<&String> = titled.map(|(title, _)| title).filter(|title| !title.is_empty()).collect();
        titles.sort_unstable();
        let shared = titles.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).map(<[_]>::len).sum();
        let unit = data.unit.per_second();
        let moment = |time: Option<&i64>| time.map(|time| rows::moment(*time, unit)).unwrap_or_default();
        Self {
            dataset: plan.spec.dataset.name().to_owned(),
            users,
            items,
            interactions: data.user.len(),
            density: pairs.len() as f64 / (users * items).max(1) as f64,
            histogram: histogram(&of_user),
            user_lengths: Spread::of(of_user),
            item_lengths: Spread::of(of_item),
            times: (!corpus.untimed)
                .then(|| [moment(data.timestamp.iter().min()), moment(data.timestamp.iter().max())]),
            repeats: data.user.len() - pairs.len(),
            items_without_title: items - titles.len(),
            items_with_shared_title: shared,
            items_without_picture: corpus.items.image.iter().filter(|image| image.is_none()).count(),
            notes: corpus.notes.clone(),
            broken_pictures: corpus.items.broken.clone(),
            protocol,
        }
    }

    fn in_words(&self) -> String {
        let share = |part: usize, whole: usize| {
            format!("{part} of {whole} ({:.1} %)", 100.0 * part as f64 / whole.max(1) as f64)
        };
        let mut lines = vec![
            ("dataset", self.dataset.clone()),
            ("users", self.users.to_string()),
            ("items", self.items.to_string()),
            ("interactions", self.interactions.to_string()),
            ("density", format!("{:.4} %", self.density * 100.0)),
            ("of a user", self.user_lengths.in_words()),
            ("of an item", self.item_lengths.in_words()),
            (
                "times",
                match &self.times {
                    Some([first, last]) => format!("{first} to {last}"),
                    None => "none: only an order within each user".to_owned(),
                },
            ),
            ("repeated", share(self.repeats, self.interactions)),
            ("without title", share(self.items_without_title, self.items)),
            ("shared title", share(self.items_with_shared_title, self.items)),
            ("without picture", share(self.items_without_picture, self.items)),
        ];
        if !self.broken_pictures.is_empty() {
            lines.push(("broken pictures", first_of(&self.broken_pictures)));
        }
        lines.extend(self.protocol.iter().flat_map(|kept| {
            [
                ("kept users", share(kept.users, self.users)),
                ("kept items", share(kept.items, self.items)),
                ("kept", share(kept.interactions, self.interactions)),
                ("tied times", format!("{:.1} %", kept.tie_rate * 100.0)),
                ("training", share(kept.training, kept.interactions)),
                ("test cases", kept.test_cases.to_string()),
                ("cold targets", share(kept.cold_targets, kept.test_cases)),
                ("repeated targets", share(kept.repeated_targets, kept.test_cases)),
                (
                    "leak",
                    match kept.leak_rate {
                        Some(rate) => {
                            format!("{:.1} % of training is later than the average test target", rate * 100.0)
                        }
                        None => "unknown: the data has no times".to_owned(),
                    },
                ),
            ]
        }));
        let mut text: String = lines.iter().map(|(name, value)| format!("{name:<16} {value}\n")).collect();
        if let Some([validation, test]) = self.protocol.as_ref().and_then(|kept| kept.given_targets) {
            let of = |part: GivenTargets, name| format!("{} of {} of {name}", part.left, part.given);
            let left = [of(validation, "validation"), of(test, "test")].join(" and ");
            text.push_str(&format!("{:<16} {left} are left\n", "given targets"));
        }
        self.notes.iter().for_each(|note| text.push_str(&format!("{:<16} {note}\n", "note")));
        text + &self.drawn()
    }

    /// The histogram.
    fn drawn(&self) -> String {
        let mut text = String::new();
        let most = self.histogram.iter().map(|(_, _, users)| *users).max().unwrap_or(1).max(1);
        text.push_str("\ninteractions     users\n");
        for (from, to, users) in &self.histogram {
            let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
            text.push_str(&format!("{range:<16} {users:<8} {}\n", "#".repeat((users * 40).div_ceil(most))));
        }
        text
    }
}

/// How many there are, and the first few.
fn first_of(all: &[String]) -> String {
    let more = if all.len() > 3 { ", …" } else { "" };
    format!("{}: {}{more}", all.len(), all[..all.len().min(3)].join(", "))
}

/// Users by their number of interactions, in ranges that double: 1, 2-3, 4-7, …
fn histogram(lengths: &[usize]) -> Vec<(usize, usize, usize)> {
    let mut bins: Vec<(usize, usize, usize)> = Vec::new();
    let most = lengths.iter().max().copied().unwrap_or(0);
    let mut from = 1;
    while from <= most {
        let to = 2 * from - 1;
        bins.push((from, to, lengths.iter().filter(|length| (from..=to).contains(*length)).count()));
        from = to + 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_named() {
        let names = |n: usize| (0..n).map(|n| format!("{n}.jpg")).collect::<Vec<_>>();
        assert_eq!(first_of(&names(3)), "3: 0.jpg, 1.jpg, 2.jpg");
        assert_eq!(first_of(&names(40)), "40: 0.jpg, 1.jpg, 2.jpg, …");
    }

    #[test]
    fn lengths_fall_into_ranges_that_double() {
        assert_eq!(histogram(&[1, 1, 3, 9]), [(1, 1, 2), (2, 3, 1), (4, 7, 0), (8, 15, 1)]);
        assert!(histogram(&[]).is_empty());
        let spread = Spread::of(vec![5, 1, 3, 2, 4]);
        assert_eq!(spread.quartiles, [1, 2, 3, 4, 5]);
    }
}
