//! What is kept of the data before it is split.

use super::{GivenTargets, Protocol, Sequence, Ties};
use crate::corpus::{Corpus, Part};
use crate::plugin::Setting;
use crate::problem::Reader;
use crate::rng::Rng;
use crate::settings;
use toml::Value;

/// The fewest interactions of a user and of an item that stay; one number in TOML where both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KCore {
    /// Of a user.
    pub users: usize,
    /// Of an item.
    pub items: usize,
}

settings! {
    /// [`KCore`] as a table.
    pub struct KCoreTable {
        /// The fewest interactions of a user.
        #[range(0..=1000)]
        pub users: usize,
        /// The fewest interactions of an item.
        #[range(0..=1000)]
        pub items: usize,
    }
}

impl Setting for KCore {
    fn kind() -> String {
        "integer from 0 to 1000, or table with `users` and `items`".into()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        match value {
            Value::Table(_) => KCoreTable::read(value, reader).map(|KCoreTable { users, items }| Self { users, items }),
            Value::Integer(0..=1000) => usize::read(value, reader).map(|k| Self { users: k, items: k }),
            Value::Integer(_) => reader.out_of_range(value, "0..=1000"),
            _ => reader.wrong_type(value, &Self::kind()),
        }
    }
    fn write(&self) -> Value {
        match *self {
            Self { users, items } if users == items => users.write(),
            Self { users, items } => KCoreTable { users, items }.write(),
        }
    }
}

/// Old indices of users and items in order, and the rows of the interactions.
pub(super) struct Kept {
    pub(super) users: Vec<u32>,
    pub(super) items: Vec<u32>,
    rows: Vec<usize>,
}

impl Kept {
    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows in the order of time.
    fn in_time(&self, corpus: &Corpus, order: &Order) -> impl Iterator<Item = usize> {
        let mut rows = self.rows.clone();
        rows.sort_by_cached_key(|row| (corpus.interactions.timestamp[*row], order.of(corpus, *row)));
        rows.into_iter()
    }

    /// Each kept user's list of items, under their new indices; items that are gone are left out.
    pub(super) fn lists(&self, lists: &[Vec<u32>], num_items: usize) -> Vec<Vec<u32>> {
        let mut place = vec![None; num_items];
        self.items.iter().zip(0u32..).for_each(|(item, new)| place[*item as usize] = Some(new));
        let renamed = |user: &u32| lists[*user as usize].iter().filter_map(|item| place[*item as usize]).collect();
        self.users.iter().map(renamed).collect()
    }

    /// How many interactions are held out for `part`, and how many of them are left.
    fn held_out(&self, corpus: &Corpus, part: Part) -> GivenTargets {
        let is_held_out = |row: &usize| corpus.interactions.part[*row] == part;
        GivenTargets {
            given: (0..corpus.interactions.part.len()).filter(is_held_out).count(),
            left: self.rows.iter().copied().filter(is_held_out).count(),
        }
    }

    /// The users and items of these rows.
    fn of(corpus: &Corpus, rows: Vec<usize>) -> Self {
        let present = |column: &[u32], size: usize| {
            let mut there = vec![false; size];
            rows.iter().for_each(|row| there[column[*row] as usize] = true);
            (0..size as u32).filter(|n| there[*n as usize]).collect()
        };
        let data = &corpus.interactions;
        let (users, items) = (present(&data.user, corpus.users.len()), present(&data.item, corpus.items.id.len()));
        Self { users, items, rows }
    }
}

/// The order of what shares a time; rows that share this too keep that of the source.
pub(super) enum Order {
    File,
    /// The place of each item's id among all.
    Item(Vec<u64>),
    Random(Rng),
}

impl Order {
    pub(super) fn new(corpus: &Corpus, protocol: &Protocol) -> Self {
        match protocol.ties {
            _ if corpus.untimed => Self::File,
            Ties::File => Self::File,
            Ties::Item => {
                let mut items: Vec<usize> = (0..corpus.items.id.len()).collect();
                items.sort_by(|a, b| corpus.items.id[*a].cmp(&corpus.items.id[*b]));
                let mut place = vec![0; items.len()];
                items.into_iter().zip(0..).for_each(|(item, n)| place[item] = n);
                Self::Item(place)
            }
            Ties::Random => Self::Random(Rng::new(protocol.tie_seed, "ties")),
        }
    }

    /// What is held out comes after what is trained on, where the data says which is which.
    fn of(&self, corpus: &Corpus, row: usize) -> (u8, u64) {
        let held_out = match corpus.interactions.part.get(row) {
            Some(Part::Validation) => 1,
            Some(Part::Test) => 2,
            _ => 0,
        };
        if matches!(self, Self::File) { (0, 0) } else { (held_out, self.within(corpus, row)) }
    }

    fn within(&self, corpus: &Corpus, row: usize) -> u64 {
        let (user, item) = (corpus.interactions.user[row] as usize, corpus.interactions.item[row] as usize);
        let word =
            |name: &str| u64::from_le_bytes(std::array::from_fn(|n| blake3::hash(name.as_bytes()).as_bytes()[n]));
        match self {
            Self::File => 0,
            Self::Item(place) => place[item],
            // By names, since indices follow the order of rows.
            Self::Random(rng) => rng.fork(word(&corpus.users[user])).fork(word(&corpus.items.id[item])).bits(),
        }
    }
}

/// Rows that are exact copies of an earlier one.
pub(super) struct Duplicates {
    /// In order.
    pub(super) rows: Vec<usize>,
    /// Whether the clock is so coarse that users have different items at one time more often than one item twice:
    /// then the same item twice may be one that came again.
    pub(super) coarse: bool,
}

/// Finds exact copies; there are none where there is no clock.
pub(super) fn copies(corpus: &Corpus) -> Duplicates {
    let mut found = Duplicates { rows: Vec::new(), coarse: false };
    if corpus.untimed {
        return found;
    }
    let data = &corpus.interactions;
    let mut order: Vec<usize> = (0..data.user.len()).collect();
    order.sort_unstable_by_key(|row| (data.user[*row], data.timestamp[*row], data.item[*row], *row));
    let (mut mixed, mut copied) = (0, 0);
    for moment in order.chunk_by(|a, b| (data.user[*a], data.timestamp[*a]) == (data.user[*b], data.timestamp[*b])) {
        let same = moment.windows(2).filter(|pair| data.item[pair[0]] == data.item[pair[1]]);
        let before = found.rows.len();
        found.rows.extend(same.map(|pair| pair[1]));
        let copies = found.rows.len() - before;
        copied += usize::from(copies > 0);
        mixed += usize::from(moment.len() - copies > 1);
    }
    found.rows.sort_unstable();
    found.coarse = mixed > copied;
    found
}

/// What the data's own split holds out, and what is left of it.
pub(super) fn given_targets(corpus: &Corpus, kept: &Kept) -> [GivenTargets; 2] {
    match corpus.interactions.part.is_empty() {
        true => Default::default(),
        false => [Part::Validation, Part::Test].map(|part| kept.held_out(corpus, part)),
    }
}

/// Removes users and items with too few interactions until every one left has enough.
///
/// Items and users that never interacted go too, whatever the k. The `dropped` rows, which are in order, do not count.
pub(super) fn k_core(corpus: &Corpus, k: KCore, dropped: &[usize]) -> Kept {
    let data = &corpus.interactions;
    let mut rows: Vec<usize> = (0..data.user.len()).filter(|row| dropped.binary_search(row).is_err()).collect();
    loop {
        let of_user = counts(&data.user, &rows, corpus.users.len());
        let of_item = counts(&data.item, &rows, corpus.items.id.len());
        let before = rows.len();
        rows.retain(|row| of_user[data.user[*row] as usize] >= k.users && of_item[data.item[*row] as usize] >= k.items);
        if rows.len() == before {
            return Kept::of(corpus, rows);
        }
    }
}

/// Of each sequence the places of the `n` interactions whose items have the most of them, of equals the earlier ones;
/// still in time.
pub(super) fn most_popular(whole: &[Sequence], num_items: usize, n: usize) -> Vec<Vec<usize>> {
    let mut counts = vec![0usize; num_items];
    whole.iter().flat_map(|sequence| &sequence.items).for_each(|item| counts[*item as usize] += 1);
    let chosen = |sequence: &Sequence| {
        let mut places: Vec<usize> = (0..sequence.items.len()).collect();
        places.sort_by_key(|place| std::cmp::Reverse(counts[sequence.items[*place] as usize]));
        places.truncate(n);
        places.sort_unstable();
        places
    };
    whole.iter().map(chosen).collect()
}

fn counts(column: &[u32], rows: &[usize], size: usize) -> Vec<usize> {
    let mut counts = vec![0; size];
    rows.iter().for_each(|row| counts[column[*row] as usize] += 1);
    counts
}

/// Each user's interactions in time, by new indices.
pub(super) fn sequences(corpus: &Corpus, kept: &Kept, order: &Order) -> Vec<Sequence> {
    let position = |kept: &[u32], size: usize| {
        let mut position = vec![0u32; size];
        kept.iter().enumerate().for_each(|(new, old)| position[*old as usize] = new as u32);
        position
    };
    let new_user = position(&kept.users, corpus.users.len());
    let new_item = position(&kept.items, corpus.items.id.len());
    let data = &corpus.interactions;
    let mut sequences = vec![Sequence::default(); kept.users.len()];
    for row in kept.in_time(corpus, order) {
        let sequence = &mut sequences[new_user[data.user[row] as usize] as usize];
        sequence.items.push(new_item[data.item[row] as usize]);
        sequence.timestamps.push(data.timestamp[row]);
    }
    sequences
}

/// What the interactions of `sequences` are for, where the data has a split of its own.
pub(super) fn parts(corpus: &Corpus, kept: &Kept, order: &Order) -> Option<Vec<Vec<Part>>> {
    let data = &corpus.interactions;
    if data.part.is_empty() {
        return None;
    }
    let mut parts = vec![Vec::new(); corpus.users.len()];
    kept.in_time(corpus, order).for_each(|row| parts[data.user[row] as usize].extend(data.part.get(row)));
    let of_user = |user: &u32| std::mem::take(&mut parts[*user as usize]);
    Some(kept.users.iter().map(of_user).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Interactions, Items};

    fn corpus(rows: &[(u32, u32, i64)]) -> Corpus {
        let names = |n: u32| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        let (users, items) = (rows.iter().map(|row| row.0 + 1).max(), rows.iter().map(|row| row.1 + 1).max());
        let (users, items) = (names(users.unwrap_or(0)), names(items.unwrap_or(0)));
        let (user, item) = (rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect());
        Corpus {
            users,
            items: Items { title: items.clone(), image: vec![None; items.len()], id: items, ..Items::default() },
            interactions: Interactions {
                user,
                item,
                timestamp: rows.iter().map(|row| row.2).collect(),
                ..Interactions::default()
            },
            ..Corpus::default()
        }
    }

    #[test]
    fn users_and_items_have_a_k_each() {
        // Item 2 has one interaction; without it user 1 has one.
        let corpus = corpus(&[(0, 0, 1), (0, 1, 2), (1, 0, 1), (1, 2, 2), (2, 0, 5), (2, 1, 6)]);
        let kept = |users, items| {
            let kept = k_core(&corpus, KCore { users, items }, &[]);
            (kept.users.clone(), kept.items.clone())
        };
        assert_eq!(kept(2, 2), (vec![0, 2], vec![0, 1]));
        assert_eq!(kept(1, 2), (vec![0, 1, 2], vec![0, 1]));
        assert!(k_core(&corpus, KCore { users: 3, items: 1 }, &[]).is_empty());
    }

    #[test]
    fn the_most_popular_are_kept_in_time() {
        let sequence =
            |items: &[u32]| Sequence { items: items.to_vec(), timestamps: (0..items.len() as i64).collect() };
        // Item 1 has three interactions, items 0 and 2 one each.
        let chosen = most_popular(&[sequence(&[2, 1, 0]), sequence(&[1]), sequence(&[1])], 3, 2);
        assert_eq!(chosen, [vec![0, 1], vec![0], vec![0]]);
        assert_eq!(sequence(&[2, 1, 0]).at(&chosen[0]), sequence(&[2, 1]));
    }

    #[test]
    fn parts_stay_with_their_interactions() {
        use Part::{Test, Train, Validation};
        // Item 2 goes with the k-core, and with it a row of user 0; user 1's rows are not in the order of time.
        let mut corpus = corpus(&[(0, 0, 1), (0, 2, 2), (0, 1, 3), (1, 1, 9), (1, 0, 8)]);
        corpus.interactions.part = vec![Train, Validation, Test, Test, Train];
        let kept = k_core(&corpus, KCore { users: 1, items: 2 }, &[]);
        assert_eq!(parts(&corpus, &kept, &Order::File), Some(vec![vec![Train, Test], vec![Train, Test]]));
        corpus.interactions.part.clear();
        assert_eq!(parts(&corpus, &kept, &Order::File), None);
    }
}
