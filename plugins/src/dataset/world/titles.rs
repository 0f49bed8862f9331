//! Titles whose words reveal an item's category and nothing else.

use framework::rng::Rng;

/// The words of each category; no word belongs to two.
const CATEGORIES: [[&str; 8]; 12] = [
    ["Harbor", "Lighthouse", "Anchor", "Tide", "Sailor", "Lagoon", "Coral", "Mermaid"],
    ["Galaxy", "Comet", "Orbit", "Rocket", "Nebula", "Astronaut", "Meteor", "Eclipse"],
    ["Forest", "Badger", "Acorn", "Moss", "Fern", "Owl", "Thicket", "Hedgehog"],
    ["Bakery", "Cinnamon", "Recipe", "Oven", "Pastry", "Chef", "Honey", "Supper"],
    ["Detective", "Alibi", "Verdict", "Fingerprint", "Informant", "Ransom", "Suspect", "Warrant"],
    ["Violin", "Melody", "Orchestra", "Drummer", "Chorus", "Ballad", "Encore", "Piano"],
    ["Castle", "Knight", "Dragon", "Crown", "Wizard", "Goblet", "Squire", "Dungeon"],
    ["Glacier", "Blizzard", "Sledge", "Icicle", "Husky", "Igloo", "Avalanche", "Snowman"],
    ["Robot", "Circuit", "Android", "Turbine", "Algorithm", "Laser", "Piston", "Hologram"],
    ["Desert", "Caravan", "Oasis", "Dune", "Camel", "Mirage", "Scorpion", "Cactus"],
    ["Stadium", "Goalkeeper", "Marathon", "Referee", "Trophy", "Sprinter", "Boxer", "Umpire"],
    ["Wedding", "Valentine", "Bouquet", "Sweetheart", "Bride", "Kiss", "Engagement", "Honeymoon"],
];

/// Words that say nothing.
const NEUTRAL: [&str; 24] = [
    "Last",
    "Silent",
    "Golden",
    "Hidden",
    "Little",
    "Endless",
    "Broken",
    "Secret",
    "Second",
    "Distant",
    "Restless",
    "Curious",
    "Faithful",
    "Lonely",
    "Midnight",
    "Crimson",
    "Forgotten",
    "Gentle",
    "Hollow",
    "Lucky",
    "Patient",
    "Quiet",
    "Stolen",
    "Velvet",
];

/// A title for each item, all different: a neutral word and two words of its category, in no order that tells more.
pub(super) fn titles(category: &[u32], rng: &mut Rng) -> Vec<String> {
    let mut shelves: Vec<Vec<String>> = CATEGORIES.iter().map(|words| shelf(words, rng)).collect();
    let mut volumes = vec![0usize; shelves.len()];
    let title = |category: &u32| {
        let (shelf, taken) = (&mut shelves[*category as usize], &mut volumes[*category as usize]);
        let (volume, place) = (*taken / shelf.len() + 1, *taken % shelf.len());
        *taken += 1;
        if volume == 1 { shelf[place].clone() } else { format!("{} {volume}", shelf[place]) }
    };
    category.iter().map(title).collect()
}

/// All titles that a category's words can make, shuffled.
fn shelf(words: &[&str], rng: &mut Rng) -> Vec<String> {
    let pairs = words.iter().flat_map(|one| words.iter().map(move |other| (one, other)));
    let pairs = pairs.filter(|(one, other)| one != other);
    let mut shelf: Vec<String> =
        pairs.flat_map(|(one, other)| NEUTRAL.iter().map(move |word| format!("{word} {one} {other}"))).collect();
    rng.shuffle(&mut shelf);
    shelf
}

/// The category that a title's words reveal, by every word of the vocabulary that it holds.
#[cfg(test)]
pub(super) fn revealed(title: &str) -> std::collections::BTreeSet<usize> {
    let category = |word: &str| CATEGORIES.iter().position(|words| words.contains(&word));
    title.split(' ').filter_map(category).collect()
}

#[cfg(test)]
mod tests {
    use super::{CATEGORIES, NEUTRAL, revealed, titles};
    use framework::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn no_word_is_in_two_vocabularies() {
        let words: Vec<&str> = CATEGORIES.iter().flatten().chain(&NEUTRAL).copied().collect();
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
    }

    #[test]
    fn titles_are_unique_and_reveal_their_category() {
        // 3,000 items of one category need more titles than its words can make.
        let category: Vec<u32> = (0..3000).map(|n| if n % 2 == 0 { 3 } else { n % 12 }).collect();
        let titles = titles(&category, &mut Rng::new(1, "titles"));
        assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len());
        for (title, category) in titles.iter().zip(&category) {
            assert_eq!(revealed(title), BTreeSet::from([*category as usize]), "{title}");
        }
    }
}
