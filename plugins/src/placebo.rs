//! What takes a part's place so that its content is gone and its form stays.

use framework::choice;
use framework::rng::Rng;

choice! {
    /// A kind of placebo.
    pub(crate) enum Kind {
        /// Another one's: each goes to somebody else.
        Shuffle = "shuffle",
        /// Noise of the same shape.
        Random = "random",
        /// Nothing.
        Blank = "blank",
    }
}

/// `values`, each in another's place where there are two or more: all along one circle in random order.
pub(crate) fn shuffle<T: Clone>(values: &[T], rng: &mut Rng) -> Vec<T> {
    let mut circle: Vec<usize> = (0..values.len()).collect();
    rng.shuffle(&mut circle);
    let mut shuffled = values.to_vec();
    for (n, place) in circle.iter().enumerate() {
        shuffled[*place] = values[circle[(n + 1) % circle.len()]].clone();
    }
    shuffled
}

/// What stands for `texts`; a random text has as many words, drawn from the words of all of them.
pub(crate) fn texts(kind: Kind, texts: &[String], rng: &mut Rng) -> Vec<String> {
    match kind {
        Kind::Shuffle => shuffle(texts, rng),
        Kind::Blank => vec![String::new(); texts.len()],
        Kind::Random => {
            let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
            let mut random = |text: &String| {
                let drawn = text.split_whitespace().map(|_| words[rng.below(words.len())]);
                drawn.collect::<Vec<_>>().join(" ")
            };
            texts.iter().map(&mut random).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, texts};
    use framework::rng::Rng;

    #[test]
    fn nobody_keeps_their_own_and_no_form_is_lost() {
        let all: Vec<String> = (0..50).map(|n| format!("a{n} b{n} c{n}")).collect();
        let shuffled = texts(Kind::Shuffle, &all, &mut Rng::new(1, "test"));
        assert!(all.iter().zip(&shuffled).all(|(a, b)| a != b));
        let (mut sorted, mut before) = (shuffled.clone(), all.clone());
        sorted.sort();
        before.sort();
        assert_eq!(sorted, before);
        let random = texts(Kind::Random, &all, &mut Rng::new(1, "test"));
        assert!(random.iter().all(|text| text.split(' ').count() == 3) && random != all);
        assert!(texts(Kind::Blank, &all, &mut Rng::new(1, "test")).iter().all(String::is_empty));
        assert!(texts(Kind::Random, &[String::new()], &mut Rng::new(1, "test"))[0].is_empty());
    }
}
