//! The protocol: k-core, split, history length and masking, the same for every plugin, so that no plugin can grade
//! itself. The test split is sealed: only `Sealed::open`, which the framework alone can call, gives it out.

use crate::context::Context;
use crate::corpus::{Corpus, Items};
use crate::error::{Error, Result};
use crate::evaluation;
use crate::metrics::Metric;
use crate::plugin::{Pick, Setting, defaults};
use crate::roles::{Query, Scorer, Source, SplitRule};
use crate::truth::Truth;
use crate::{choice, settings};
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;

mod candidates;
mod divide;
mod filter;
mod statistics;

pub use candidates::{Avoid, Candidates, Draw};
pub use divide::Cut;
pub use filter::{KCore, KCoreTable};
pub use statistics::{GivenTargets, Statistics};

choice! {
    /// The order of interactions at the same time.
    pub enum Ties {
        /// That of the source's rows.
        File = "file",
        /// By the items' ids, so that the order of rows decides nothing.
        Item = "item",
        /// Drawn with `tie_seed`, whatever the order of rows.
        Random = "random",
    }
}

choice! {
    /// What becomes of exact copies of a row.
    pub enum Copies {
        /// They stay. One that would be a target and known at once fails the run, unless the clock is too coarse to tell
        /// a copy from an item that came again.
        Keep = "keep",
        /// One of them stays.
        Drop = "drop",
    }
}

settings! {
    /// What is kept of the data, how it is split and how it is ranked.
    pub struct Protocol {
        /// Users and items with fewer interactions are removed, again and again until none is left; 0 keeps all.
        pub k_core: KCore = KCore { users: 5, items: 5 },
        /// Of each user only so many interactions are used after that, those with the most popular items; 0 uses all. The
        /// catalogue stays, and what else the user knows is no negative. Only to reproduce the repository of MLLM-MSR,
        /// which uses 6: it makes popularity a strong guess.
        #[range(0..=1000)]
        pub most_popular: usize = 0,
        /// How interactions are divided into training, validation and test.
        pub split: Pick<dyn SplitRule>,
        /// The most recent interactions of a user that a recommender may see.
        #[range(1..=100_000)]
        pub max_history: usize = 50,
        /// Whether items of the history are left out of the ranking. Cases whose target is one of them are left out too, in
        /// validation and test: alone among the seen items, it would give itself away.
        pub mask_seen: bool = true,
        /// Which items are ranked, for which users.
        pub candidates: Candidates = defaults(),
        /// The order of a user's interactions at the same time.
        pub ties: Ties = Ties::File,
        /// What `ties = "random"` is drawn with.
        pub tie_seed: u64 = 1,
        /// What becomes of rows that are exact copies of another: same user, item and time.
        pub copies: Copies = Copies::Keep,
    }
}

impl Protocol {
    /// All that decides what it leaves: its settings, and the version of its split. Settings that came later are left
    /// out where they are as it was before, so that stored runs keep their keys.
    pub fn identity(&self) -> serde_json::Value {
        let mut settings = json!(self.write());
        if let Some(settings) = settings.as_object_mut() {
            if self.ties != Ties::Random {
                settings.remove("tie_seed");
            }
            if self.ties == Ties::File {
                settings.remove("ties");
            }
            if self.copies == Copies::Keep {
                settings.remove("copies");
            }
        }
        json!({ "settings": settings, "split": self.split.identity() })
    }

    /// What follows a metric's name, so that metrics over few candidates are never taken for those of the catalogue.
    pub fn metric_suffix(&self) -> String {
        match self.candidates.negatives {
            0 => String::new(),
            negatives => format!("|c{}", negatives + 1),
        }
    }
}

/// One user's training interactions, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// Item indices.
    pub items: Vec<u32>,
    /// Their timestamps.
    pub timestamps: Vec<i64>,
}

impl Sequence {
    /// Those at `places`, in that order.
    fn at(&self, places: &[usize]) -> Self {
        let (items, timestamps) = places.iter().map(|place| (self.items[*place], self.timestamps[*place])).unzip();
        Self { items, timestamps }
    }
}

/// Users whose next item is known to whoever holds this.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cases {
    /// User indices.
    pub users: Vec<u32>,
    /// All interactions before the target, oldest first, not shortened.
    pub histories: Vec<Vec<u32>>,
    /// The next item of each.
    pub targets: Vec<u32>,
    /// The most recent interactions that a recommender may see.
    pub max_history: usize,
    /// Whether the ranking leaves out the history.
    pub mask_seen: bool,
    /// The items ranked in each case, in random order, the target among them; empty when all are.
    pub candidates: Vec<Vec<u32>>,
}

impl Cases {
    /// The number of cases.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// What a recommender is asked in case `n`.
    pub fn query(&self, n: usize) -> Query<'_> {
        let history = &self.histories[n];
        Query {
            user: self.users[n],
            history: &history[history.len().saturating_sub(self.max_history)..],
            seen: history,
            candidates: self.candidates.get(n).map(Vec::as_slice),
        }
    }

    /// The items that are ranked in case `n`, in order.
    pub(crate) fn ranked(&self, n: usize, num_items: usize) -> Vec<u32> {
        let mut ranked: Vec<u32> = match self.candidates.get(n) {
            Some(candidates) => candidates.clone(),
            None if self.mask_seen => {
                let mut there = vec![true; num_items];
                self.histories[n].iter().for_each(|item| there[*item as usize] = false);
                there[self.targets[n] as usize] = true;
                (0..num_items as u32).filter(|item| there[*item as usize]).collect()
            }
            None => (0..num_items as u32).collect(),
        };
        ranked.sort_unstable();
        ranked
    }

    /// The cases whose target is in their history.
    fn repeats(&self) -> Vec<usize> {
        (0..self.len()).filter(|n| self.histories[*n].contains(&self.targets[*n])).collect()
    }

    /// Keeps only the cases of these users, which are in order.
    fn keep(&mut self, users: &[u32]) {
        let kept: Vec<usize> = (0..self.len()).filter(|n| users.binary_search(&self.users[*n]).is_ok()).collect();
        self.take(&kept);
    }

    /// Keeps only these cases.
    fn take(&mut self, kept: &[usize]) {
        self.users = kept.iter().map(|n| self.users[*n]).collect();
        self.targets = kept.iter().map(|n| self.targets[*n]).collect();
        self.histories = kept.iter().map(|n| std::mem::take(&mut self.histories[*n])).collect();
    }
}

/// All that a recommender may learn from.
#[derive(Clone, Debug)]
pub struct Train {
    /// The source's own id of each user.
    pub users: Arc<Vec<String>>,
    /// The catalogue.
    pub items: Arc<Items>,
    /// One sequence per user, by user index.
    pub sequences: Vec<Sequence>,
    /// The most recent interactions that a recommender may see.
    pub max_history: usize,
    /// Each user's validation target.
    pub validation: Cases,
    /// The dataset's own rule, where it has one.
    pub truth: Option<Arc<Truth>>,
    /// The metric that models are selected by.
    pub selects_by: Metric,
}

impl Train {
    /// The size of the catalogue.
    pub fn num_items(&self) -> usize {
        self.items.id.len()
    }

    /// The mean of the selection metric over the validation cases.
    pub fn validate(&self, scorer: &dyn Scorer, cx: &Context) -> Result<f64> {
        let outcomes = evaluation::rank(scorer, &self.validation, self.num_items(), 0, cx)?;
        let values: Vec<f64> = outcomes.ranks.iter().filter_map(|rank| self.selects_by.value(*rank)).collect();
        Ok(values.iter().sum::<f64>() / values.len().max(1) as f64)
    }
}

/// The test cases, which nothing can read before they are opened.
pub struct Sealed {
    cases: Cases,
}

impl Sealed {
    /// Opens the test split. The caller logs the opening in the store.
    pub(crate) fn open(&self) -> &Cases {
        &self.cases
    }
}

/// A corpus, divided.
pub struct Split {
    /// For recommenders.
    pub train: Train,
    /// For the framework's final evaluation.
    pub test: Sealed,
    /// What was left of the data.
    pub statistics: Statistics,
}

/// Applies the protocol to a corpus.
pub fn split(corpus: &Corpus, protocol: &Protocol, selects_by: Metric) -> Result<Split> {
    let copies = filter::copies(corpus);
    let dropped = if protocol.copies == Copies::Drop { copies.rows.as_slice() } else { &[] };
    let kept = filter::k_core(corpus, protocol.k_core, dropped);
    if kept.is_empty() {
        let what = format!("the {}-core of the dataset is empty", protocol.k_core.write());
        return Err(Error::new(what).at("protocol.k_core").fix("a lower k_core, or more data"));
    }
    let order = filter::Order::new(corpus, protocol);
    let whole = filter::sequences(corpus, &kept, &order);
    let mut given = filter::parts(corpus, &kept, &order);
    let chosen = match protocol.most_popular {
        0 => Cow::Borrowed(&whole),
        n => {
            let places = filter::most_popular(&whole, kept.items.len(), n);
            for (parts, places) in given.iter_mut().flatten().zip(&places) {
                *parts = places.iter().map(|place| parts[*place]).collect();
            }
            Cow::Owned(whole.iter().zip(&places).map(|(sequence, places)| sequence.at(places)).collect())
        }
    };
    let users: Vec<String> = kept.users.iter().map(|user| corpus.users[*user as usize].clone()).collect();
    let source = Source { untimed: corpus.untimed, users: &users, given: given.as_deref() };
    let cuts = protocol.split.cut(&chosen, source)?;
    let divide::Divided { sequences, mut validation, mut test } = divide::divide(&chosen, &cuts, protocol, &users)?;
    refuse_copies(corpus, &kept, &users, (&chosen, &cuts), &copies)?;
    let repeated_targets = test.repeats().len();
    let same_users = validation.users == test.users;
    let left_out = match protocol.mask_seen {
        true => divide::leave_out_seen([&mut validation, &mut test])?,
        false => [0, 0],
    };
    let trained = divide::trained(&sequences, kept.items.len());
    let lists = corpus.candidates.as_ref().map(|lists| kept.lists(lists, corpus.items.id.len()));
    let given_lists = lists.as_deref();
    let drawing =
        candidates::Drawing { whole: &whole, trained: &trained, given: given_lists, same_users, users: &users };
    candidates::choose(&protocol.candidates, [&mut validation, &mut test], &drawing)?;
    let statistics = Statistics {
        users: kept.users.len(),
        items: kept.items.len(),
        interactions: chosen.iter().map(|sequence| sequence.items.len()).sum(),
        test_cases: test.len(),
        tie_rate: if corpus.untimed { 0.0 } else { divide::tie_rate(&chosen) },
        tied_targets: (!corpus.untimed).then(|| divide::tied_targets(&chosen, &cuts, &test)),
        copies: (!corpus.untimed).then_some(copies.rows.len()),
        left_out: Some(left_out[1]),
        left_out_of_validation: Some(left_out[0]),
        training: sequences.iter().map(|sequence| sequence.items.len()).sum(),
        leak_rate: (!corpus.untimed).then(|| divide::leak_rate(&chosen, &cuts, &sequences, &test)),
        copied_targets: divide::copied(&sequences, &test),
        repeated_targets,
        own_split_unused: given.is_some() && !protocol.split.takes_given(),
        given_targets: protocol.split.takes_given().then(|| filter::given_targets(corpus, &kept)),
        notes: statistics::notes(corpus),
        cold_targets: test.targets.iter().filter(|target| trained[**target as usize] == 0).count(),
    };
    let train = train(corpus, (&kept, users), protocol, (sequences, validation), selects_by);
    Ok(Split { train, test: Sealed { cases: test }, statistics })
}

/// An error where a target is known beforehand because its row is there twice.
fn refuse_copies(
    corpus: &Corpus,
    kept: &filter::Kept,
    users: &[String],
    (sequences, cuts): (&[Sequence], &[Cut]),
    copies: &filter::Duplicates,
) -> Result<()> {
    let twice = divide::known_twice(sequences, cuts).filter(|_| !corpus.untimed && !copies.coarse);
    let Some((user, item)) = twice else { return Ok(()) };
    let (user, item) = (&users[user], &corpus.items.id[kept.items[item] as usize]);
    let what = format!("leak: user {user} has item {item} as a target and, at the same time, once more before it");
    let error = Error::new(format!("{what}; {} rows are exact copies of another", copies.rows.len()));
    Err(error.at("dataset").fix("protocol.copies = \"drop\", which keeps each row once; or data without copies"))
}

/// What recommenders are given.
fn train(
    corpus: &Corpus,
    (kept, users): (&filter::Kept, Vec<String>),
    protocol: &Protocol,
    (sequences, validation): (Vec<Sequence>, Cases),
    selects_by: Metric,
) -> Train {
    Train {
        users: Arc::new(users),
        items: Arc::new(items(corpus, &kept.items)),
        sequences,
        max_history: protocol.max_history,
        validation,
        truth: corpus.truth.as_ref().map(|truth| Arc::new(truth.of_items(&kept.items))),
        selects_by,
    }
}

fn items(corpus: &Corpus, kept: &[u32]) -> Items {
    let all = &corpus.items;
    let pick = |n: &u32| *n as usize;
    Items {
        id: kept.iter().map(|n| all.id[pick(n)].clone()).collect(),
        title: kept.iter().map(|n| all.title[pick(n)].clone()).collect(),
        image: kept.iter().map(|n| all.image[pick(n)].clone()).collect(),
        attributes: all.attributes.iter().map(|attribute| attribute.of(kept)).collect(),
        ..Items::default()
    }
}
