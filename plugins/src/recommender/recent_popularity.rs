//! The most popular items of late.

use crate::counts::Counts;
use framework::context::Context;
use framework::error::Result;
use framework::plugin;
use framework::protocol::{Sequence, Train};
use framework::roles::{Recommender, Scorer};
use std::path::Path;

plugin! {
    /// Ranks items by their number of interactions in the last part of the training period.
    ///
    /// Older interactions break ties, each counting for less than one recent interaction however many there are. On
    /// data whose popularity drifts it beats `popularity` (Ji et al., SIGIR 2020, "A re-visit of the popularity
    /// baseline in recommender systems").
    struct RecentPopularity: Recommender = "recent_popularity" {
        /// The share of training interactions, by time, that counts as recent.
        #[range(0.001..=1.0)]
        share: f64 = 0.1,
    }
}

impl Recommender for RecentPopularity {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let (recent, older) = divide(&train.sequences, self.share);
        let Counts(mut counts) = Counts::of(recent.iter(), train.num_items());
        let unit = 1.0 / (older.len() + 1) as f32;
        older.iter().for_each(|item| counts[*item as usize] += unit);
        Ok(Box::new(Counts(counts)))
    }

    fn load(&self, folder: &Path, _train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Counts::load(folder)?))
    }
}

/// The items of the last `share` of the interactions, and of the others.
fn divide(sequences: &[Sequence], share: f64) -> (Vec<u32>, Vec<u32>) {
    let rows = sequences.iter().flat_map(|sequence| sequence.timestamps.iter().zip(&sequence.items));
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(timestamp, _)| *timestamp);
    let recent = rows.len() - ((rows.len() as f64 * share).ceil() as usize).min(rows.len());
    let items = |rows: &[(&i64, &u32)]| rows.iter().map(|(_, item)| **item).collect();
    (items(&rows[recent..]), items(&rows[..recent]))
}

#[cfg(test)]
mod tests {
    use super::divide;
    use framework::protocol::Sequence;

    #[test]
    fn the_last_share_by_time_over_all_users() {
        let sequences = [
            Sequence { items: vec![0, 1], timestamps: vec![1, 4] },
            Sequence { items: vec![2, 3], timestamps: vec![2, 3] },
        ];
        assert_eq!(divide(&sequences, 0.5), (vec![3, 1], vec![0, 2]));
        assert_eq!(divide(&sequences, 1.0), (vec![0, 2, 3, 1], vec![]));
    }
}
