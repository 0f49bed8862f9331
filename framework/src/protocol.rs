//! The protocol: k-core, split, history length and masking, the same for every plugin, so that no plugin can grade
//! itself. The test split is sealed: only `Sealed::open`, which the framework alone can call, gives it out.

use crate::context::Context;
use crate::corpus::{Corpus, Items};
use crate::error::{Error, Result};
use crate::evaluation;
use crate::metrics::Metric;
use crate::plugin::defaults;
use crate::rng::Rng;
use crate::roles::{Query, Scorer};
use crate::truth::Truth;
use crate::{choice, settings};
use std::collections::HashSet;
use std::sync::Arc;

choice! {
    /// How interactions are divided into training, validation and test.
    pub enum SplitRule {
        /// Each user's last interaction is the test target, the one before it the validation target.
        LeaveOneOut = "leave_one_out",
    }
}

settings! {
    /// Which items are ranked for a case, the same for every model and seed.
    pub struct Candidates {
        /// Items besides the target, drawn uniformly from those that the user never interacted with; 0 ranks the whole
        /// catalogue. Metrics then carry the number of candidates in their name: `hr@1|c21`.
        #[range(0..=1_000_000)]
        pub negatives: usize = 0,
        /// Validation cases and test cases that are evaluated at most, the same users' in both; 0 evaluates all.
        #[range(0..=100_000_000)]
        pub cases: usize = 0,
        /// What cases and negatives are drawn with.
        pub seed: u64 = 1,
    }
}

settings! {
    /// What is kept of the data, how it is split and how it is ranked.
    pub struct Protocol {
        /// Users and items with fewer interactions are removed, again and again until none is left; 0 keeps all.
        #[range(0..=1000)]
        pub k_core: usize = 5,
        /// How interactions are divided into training, validation and test.
        pub split: SplitRule = SplitRule::LeaveOneOut,
        /// The most recent interactions of a user that a recommender may see.
        #[range(1..=100_000)]
        pub max_history: usize = 50,
        /// Whether items of the history are left out of the ranking.
        pub mask_seen: bool = true,
        /// Which items are ranked, for which users.
        pub candidates: Candidates = defaults(),
    }
}

impl Protocol {
    /// What follows a metric's name, so that metrics over few candidates are never taken for those of the catalogue.
    pub fn metric_suffix(&self) -> String {
        match self.candidates.negatives {
            0 => String::new(),
            negatives => format!("|c{}", negatives + 1),
        }
    }
}

/// What was left of the data, and what the reader of a table should know about it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// Users left by the k-core.
    pub users: usize,
    /// Items left by the k-core.
    pub items: usize,
    /// Interactions left by the k-core.
    pub interactions: usize,
    /// Test cases.
    pub test_cases: usize,
    /// Share of interactions whose user has another one at the same timestamp: their order is the source's.
    pub tie_rate: f64,
}

/// One user's training interactions, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// Item indices.
    pub items: Vec<u32>,
    /// Their timestamps.
    pub timestamps: Vec<i64>,
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
            candidates: self.candidates.get(n).map(Vec::as_slice),
        }
    }

    /// Keeps only the cases of these users, which are in order.
    fn keep(&mut self, users: &[u32]) {
        let kept: Vec<usize> = (0..self.len()).filter(|n| users.binary_search(&self.users[*n]).is_ok()).collect();
        self.users = kept.iter().map(|n| self.users[*n]).collect();
        self.targets = kept.iter().map(|n| self.targets[*n]).collect();
        self.histories = kept.iter().map(|n| std::mem::take(&mut self.histories[*n])).collect();
    }
}

/// All that a recommender may learn from.
#[derive(Clone, Debug)]
pub struct Train {
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
    let kept = k_core(corpus, protocol.k_core);
    if kept.rows.is_empty() {
        return Err(Error::new(format!("the {}-core of the dataset is empty", protocol.k_core))
            .at("protocol.k_core")
            .fix("a lower k_core, or more data"));
    }
    let mut sequences = sequences(corpus, &kept);
    let tie_rate = tie_rate(&sequences);
    let empty = || Cases { max_history: protocol.max_history, mask_seen: protocol.mask_seen, ..Cases::default() };
    let (mut validation, mut test) = (empty(), empty());
    for (user, sequence) in sequences.iter_mut().enumerate().filter(|(_, sequence)| sequence.items.len() >= 3) {
        for cases in [&mut test, &mut validation] {
            let target = sequence.items.pop().unwrap_or_default();
            sequence.timestamps.pop();
            cases.users.push(user as u32);
            cases.histories.push(sequence.items.clone());
            cases.targets.push(target);
        }
    }
    if test.is_empty() {
        return Err(Error::new("no user has the 3 interactions that leave-one-out needs").at("protocol.split"));
    }
    let num_items = kept.items.len();
    choose(&protocol.candidates, &mut validation, &mut test, num_items)?;
    let statistics = Statistics {
        users: kept.users.len(),
        items: kept.items.len(),
        interactions: kept.rows.len(),
        test_cases: test.len(),
        tie_rate,
    };
    let train = Train {
        items: Arc::new(items(corpus, &kept.items)),
        sequences,
        max_history: protocol.max_history,
        validation,
        truth: corpus.truth.as_ref().map(|truth| Arc::new(truth.of_items(&kept.items))),
        selects_by,
    };
    Ok(Split { train, test: Sealed { cases: test }, statistics })
}

/// Draws the cases that are evaluated and what is ranked in each. `test` still has whole histories.
fn choose(settings: &Candidates, validation: &mut Cases, test: &mut Cases, num_items: usize) -> Result<()> {
    let rng = Rng::new(settings.seed, "candidates");
    if settings.cases > 0 && settings.cases < test.len() {
        let mut users = test.users.clone();
        rng.fork(0).shuffle(&mut users);
        users.truncate(settings.cases);
        users.sort_unstable();
        validation.keep(&users);
        test.keep(&users);
    }
    if settings.negatives == 0 {
        return Ok(());
    }
    for n in 0..test.len() {
        // A user's history before the test target and the target are all interactions there are.
        let seen: HashSet<u32> = test.histories[n].iter().copied().chain([test.targets[n]]).collect();
        if seen.len() + settings.negatives > num_items {
            return Err(Error::new(format!(
                "user {} knows {} of {num_items} items, too many for {} negatives",
                test.users[n],
                seen.len(),
                settings.negatives
            ))
            .at("protocol.candidates.negatives")
            .fix("fewer negatives"));
        }
        for (part, cases) in [&mut *validation, &mut *test].into_iter().enumerate() {
            let mut rng = rng.fork(1 + part as u64).fork(u64::from(cases.users[n]));
            let mut drawn = vec![cases.targets[n]];
            while drawn.len() <= settings.negatives {
                let item = rng.below(num_items) as u32;
                if !seen.contains(&item) && !drawn.contains(&item) {
                    drawn.push(item);
                }
            }
            rng.shuffle(&mut drawn);
            cases.candidates.push(drawn);
        }
    }
    Ok(())
}

/// What the k-core leaves: old indices of users and items in order, and the rows of the interactions.
struct Kept {
    users: Vec<u32>,
    items: Vec<u32>,
    rows: Vec<usize>,
}

/// Removes users and items with fewer than `k` interactions until every one left has at least `k`.
///
/// Items and users that never interacted go too, whatever `k`.
fn k_core(corpus: &Corpus, k: usize) -> Kept {
    let (user, item) = (&corpus.interactions.user, &corpus.interactions.item);
    let mut rows: Vec<usize> = (0..user.len()).collect();
    loop {
        let count = |column: &[u32], size: usize| {
            let mut counts = vec![0usize; size];
            rows.iter().for_each(|row| counts[column[*row] as usize] += 1);
            counts
        };
        let (of_user, of_item) = (count(user, corpus.users.len()), count(item, corpus.items.id.len()));
        let before = rows.len();
        rows.retain(|row| of_user[user[*row] as usize] >= k && of_item[item[*row] as usize] >= k);
        if rows.len() == before {
            let present = |counts: &[usize]| (0..counts.len() as u32).filter(|n| counts[*n as usize] > 0).collect();
            return Kept { users: present(&of_user), items: present(&of_item), rows };
        }
    }
}

/// Each user's interactions in time order; equal timestamps keep the order of the source.
fn sequences(corpus: &Corpus, kept: &Kept) -> Vec<Sequence> {
    let position = |kept: &[u32], size: usize| {
        let mut position = vec![0u32; size];
        kept.iter().enumerate().for_each(|(new, old)| position[*old as usize] = new as u32);
        position
    };
    let new_user = position(&kept.users, corpus.users.len());
    let new_item = position(&kept.items, corpus.items.id.len());
    let data = &corpus.interactions;
    let mut rows = kept.rows.clone();
    rows.sort_by_key(|row| data.timestamp[*row]);
    let mut sequences = vec![Sequence::default(); kept.users.len()];
    for row in rows {
        let sequence = &mut sequences[new_user[data.user[row] as usize] as usize];
        sequence.items.push(new_item[data.item[row] as usize]);
        sequence.timestamps.push(data.timestamp[row]);
    }
    sequences
}

fn tie_rate(sequences: &[Sequence]) -> f64 {
    let total: usize = sequences.iter().map(|sequence| sequence.items.len()).sum();
    let tied = sequences.iter().flat_map(|sequence| sequence.timestamps.chunk_by(|a, b| a == b));
    tied.map(<[i64]>::len).filter(|len| *len > 1).sum::<usize>() as f64 / total.max(1) as f64
}

fn items(corpus: &Corpus, kept: &[u32]) -> Items {
    let all = &corpus.items;
    let pick = |n: &u32| *n as usize;
    Items {
        id: kept.iter().map(|n| all.id[pick(n)].clone()).collect(),
        title: kept.iter().map(|n| all.title[pick(n)].clone()).collect(),
        image: kept.iter().map(|n| all.image[pick(n)].clone()).collect(),
    }
}
