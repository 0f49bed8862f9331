//! What each user chose at least once: the binary matrix of collaborative filtering. Not a plugin.

use framework::protocol::Train;

/// The different items of each user's training interactions, by their index.
pub(crate) fn baskets(train: &Train) -> Vec<Vec<u32>> {
    train.sequences.iter().map(|sequence| distinct(&sequence.items)).collect()
}

/// The different ones of `items`, by their index.
pub(crate) fn distinct(items: &[u32]) -> Vec<u32> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    items
}
