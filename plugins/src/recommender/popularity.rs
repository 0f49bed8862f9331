//! The most popular items, the same for everyone.

use crate::counts::Counts;
use framework::context::Context;
use framework::error::Result;
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Recommender, Scorer};
use std::path::Path;

plugin! {
    /// Ranks items by their number of training interactions: the baseline that every table needs.
    struct Popularity: Recommender = "popularity" {}
}

impl Recommender for Popularity {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let interactions = train.sequences.iter().flat_map(|sequence| &sequence.items);
        Ok(Box::new(Counts::of(interactions, train.num_items())))
    }

    fn load(&self, folder: &Path, _train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        Ok(Box::new(Counts::load(folder)?))
    }
}

#[cfg(test)]
mod tests {
    use crate::counts::Counts;

    #[test]
    fn items_are_counted() {
        assert_eq!(Counts::of([0, 2, 2].iter(), 4).0, [1.0, 0.0, 2.0, 0.0]);
    }
}
