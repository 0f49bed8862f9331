//! Cuts every user's interactions into training and targets, and measures what the cut leaks.

use super::{Cases, Protocol, Sequence};
use crate::error::{Error, Result};
use std::collections::HashSet;

/// Where one user's interactions are divided; places count from the oldest interaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// So many interactions are trained on.
    pub train: usize,
    /// The place of the validation target; what is before it is its history.
    pub validation: Option<usize>,
    /// The place of the test target; what is before it is its history.
    pub test: Option<usize>,
}

impl Cut {
    /// All for training.
    pub fn train(interactions: usize) -> Self {
        Self { train: interactions, validation: None, test: None }
    }

    /// Whether nothing is predicted that was trained on, or from nothing, or that is in an earlier target's history.
    fn is_sound(&self, interactions: usize) -> bool {
        let after = |place: Option<usize>| place.is_none_or(|place| place >= self.train.max(1) && place < interactions);
        let order = self.validation.zip(self.test).is_none_or(|(validation, test)| validation < test);
        self.train <= interactions && after(self.validation) && after(self.test) && order
    }
}

/// Sequences to train on, and what is predicted.
pub(super) struct Divided {
    pub(super) sequences: Vec<Sequence>,
    pub(super) validation: Cases,
    pub(super) test: Cases,
}

/// Cuts every user's interactions, once it is sure that no cut lets a target be trained on.
pub(super) fn divide(whole: &[Sequence], cuts: &[Cut], protocol: &Protocol, users: &[String]) -> Result<Divided> {
    let place = || format!("protocol.split `{}`", protocol.split.name());
    let unsound = whole.iter().zip(cuts).position(|(sequence, cut)| !cut.is_sound(sequence.items.len()));
    if cuts.len() != whole.len() || unsound.is_some() {
        return Err(Error::new(match unsound {
            Some(user) => {
                format!("leak: user {} has a target in training or history: {:?}", users[user], cuts[user])
            }
            None => format!("{} cuts for {} users", cuts.len(), whole.len()),
        })
        .at(place())
        .fix("this is a bug of the plugin: please report it"));
    }
    let empty = || Cases { max_history: protocol.max_history, mask_seen: protocol.mask_seen, ..Cases::default() };
    let (mut validation, mut test) = (empty(), empty());
    let mut sequences = Vec::with_capacity(whole.len());
    for (user, (sequence, cut)) in whole.iter().zip(cuts).enumerate() {
        for (cases, target) in [(&mut validation, cut.validation), (&mut test, cut.test)] {
            if let Some(target) = target {
                cases.users.push(user as u32);
                cases.histories.push(sequence.items[..target].to_vec());
                cases.targets.push(sequence.items[target]);
            }
        }
        let (items, timestamps) = (sequence.items[..cut.train].to_vec(), sequence.timestamps[..cut.train].to_vec());
        sequences.push(Sequence { items, timestamps });
    }
    for (cases, what) in [(&validation, "validation"), (&test, "test")] {
        if cases.is_empty() {
            return Err(Error::new(format!("no user has the interactions that a {what} case needs"))
                .at(place())
                .fix("a lower k_core, larger shares, or more data"));
        }
    }
    Ok(Divided { sequences, validation, test })
}

/// A user and an item of one interaction that the data has twice: as a target, and before that in training, history or
/// as an earlier target.
pub(super) fn known_twice(whole: &[Sequence], cuts: &[Cut]) -> Option<(usize, usize)> {
    let twice = |(user, (sequence, cut)): (usize, (&Sequence, &Cut))| {
        let at = |place: usize| (sequence.items[place], sequence.timestamps[place]);
        // Places are in time, so what is at the same time stands right before.
        let same_time = |target: usize| {
            (0..target).rev().take_while(move |place| sequence.timestamps[*place] == sequence.timestamps[target])
        };
        let known = |target: usize| same_time(target).any(|place| at(place) == at(target));
        let target = [cut.validation, cut.test].into_iter().flatten().find(|target| known(*target))?;
        Some((user, sequence.items[target] as usize))
    };
    whole.iter().zip(cuts).enumerate().find_map(twice)
}

/// Takes out the cases whose target was seen before. Says how many that were of each part.
pub(super) fn leave_out_seen(parts: [&mut Cases; 2]) -> Result<[usize; 2]> {
    let mut left_out = [0; 2];
    for ((cases, what), left_out) in parts.into_iter().zip(["validation", "test"]).zip(&mut left_out) {
        let repeats = cases.repeats();
        let kept: Vec<usize> = (0..cases.len()).filter(|n| repeats.binary_search(n).is_err()).collect();
        if kept.is_empty() {
            return Err(Error::new(format!("all {} {what} targets were seen before by their users", cases.len()))
                .at("protocol.mask_seen")
                .fix("mask_seen = false: with true, seen items are not ranked, and these cases are left out"));
        }
        *left_out = repeats.len();
        if *left_out > 0 {
            cases.take(&kept);
        }
    }
    Ok(left_out)
}

/// How many cases have a target at whose time their user met another item too.
pub(super) fn tied_targets(whole: &[Sequence], cuts: &[Cut], test: &Cases) -> usize {
    let tied = |user: &&u32| {
        let (sequence, cut) = (&whole[**user as usize], &cuts[**user as usize]);
        let Some(target) = cut.test else { return false };
        let time = sequence.timestamps[target];
        let from = sequence.timestamps.partition_point(|other| *other < time);
        let to = sequence.timestamps.partition_point(|other| *other <= time);
        sequence.items[from..to].iter().any(|item| *item != sequence.items[target])
    };
    test.users.iter().filter(tied).count()
}

/// How often each item is trained on.
pub(super) fn trained(sequences: &[Sequence], num_items: usize) -> Vec<u32> {
    let mut counts = vec![0; num_items];
    sequences.iter().flat_map(|sequence| &sequence.items).for_each(|item| counts[*item as usize] += 1);
    counts
}

/// The mean share of all training interactions that are later than a case's target.
pub(super) fn leak_rate(whole: &[Sequence], cuts: &[Cut], sequences: &[Sequence], test: &Cases) -> f64 {
    let mut times: Vec<i64> = sequences.iter().flat_map(|sequence| &sequence.timestamps).copied().collect();
    times.sort_unstable();
    let later = |user: &u32| {
        let (sequence, cut) = (&whole[*user as usize], &cuts[*user as usize]);
        let time = cut.test.map_or(i64::MAX, |place| sequence.timestamps[place]);
        times.len() - times.partition_point(|other| *other <= time)
    };
    test.users.iter().map(later).sum::<usize>() as f64 / (times.len() * test.len()).max(1) as f64
}

/// How many cases end in what stands in training: their last three items and the target in one row. Where users are
/// different people this is chance; where one person's sequences are several users, it is what was to be predicted.
pub(super) fn copied(sequences: &[Sequence], test: &Cases) -> usize {
    const RUN: usize = 4;
    let run = |(history, target): (&Vec<u32>, &u32)| {
        let start = history.len().checked_sub(RUN - 1)?;
        Some([&history[start..], &[*target]].concat())
    };
    let runs: Vec<Vec<u32>> = test.histories.iter().zip(&test.targets).filter_map(run).collect();
    let wanted: HashSet<&[u32]> = runs.iter().map(Vec::as_slice).collect();
    let windows = sequences.iter().flat_map(|sequence| sequence.items.windows(RUN));
    let found: HashSet<&[u32]> = windows.filter(|window| wanted.contains(window)).collect();
    runs.iter().filter(|run| found.contains(&run[..])).count()
}

/// The share of interactions whose user has another one at the same time.
pub(super) fn tie_rate(sequences: &[Sequence]) -> f64 {
    let total: usize = sequences.iter().map(|sequence| sequence.items.len()).sum();
    let tied = sequences.iter().flat_map(|sequence| sequence.timestamps.chunk_by(|a, b| a == b));
    tied.map(<[i64]>::len).filter(|len| *len > 1).sum::<usize>() as f64 / total.max(1) as f64
}
