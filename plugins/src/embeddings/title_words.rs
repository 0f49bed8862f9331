//! Titles as vectors of their words, without a model.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::Result;
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::Embeddings;
use std::collections::{HashMap, HashSet};

framework::plugin! {
    /// The words of the titles, weighted by how rare they are: needs no model, and is what a sentence encoder has to
    /// beat.
    ///
    /// In a title, a word weighs how often it is there times `1 + ln((1 + items) / (1 + titles with the word))`: TF-IDF
    /// as scikit-learn has it. Words are what stands between characters that are neither letters nor digits, in lower
    /// case. Each word has a direction of its own, `width` independent Gaussian numbers; a title is the weighted sum of
    /// its words' directions, scaled to length 1. An item without words is zeros.
    ///
    /// Such a random projection keeps angles roughly (Johnson and Lindenstrauss, 1984; Dasgupta and Gupta, Random
    /// Structures & Algorithms 22, 2003; with independent Gaussian numbers Indyk and Motwani, STOC 1998): titles
    /// without a common word have a cosine of 0 on average with a deviation of `1 / sqrt(width)`, 0.125 by default.
    ///
    /// A word's direction comes from its letters and the seed alone, so it is the same in every catalogue; the weights
    /// are the catalogue's. What words mean is not known: synonyms, and forms of one word, are as far from each other
    /// as any two words. In a script without blanks a title is one word.
    struct TitleWords: Embeddings = "title_words" {
        /// Numbers per item.
        #[range(1..=65_536)]
        width: usize = 64,
        /// What the directions come from, the same for all seeds of an experiment.
        seed: u64 = 1,
    }
}

impl Embeddings for TitleWords {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let titles: Vec<Vec<String>> = train.items.title.iter().map(|title| words(title)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for title in &titles {
            let distinct: HashSet<&str> = title.iter().map(String::as_str).collect();
            distinct.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
        }
        cx.proceed()?;
        let weight = |count: usize| 1.0 + ((1 + titles.len()) as f64 / (1 + count) as f64).ln();
        let weighted = |word: &str, count: usize| -> Vec<f64> {
            self.direction(word).into_iter().map(|value| weight(count) * value).collect()
        };
        let vectors: HashMap<&str, Vec<f64>> =
            counts.iter().map(|(word, count)| (*word, weighted(word, *count))).collect();
        let mut all = Vec::with_capacity(titles.len() * self.width);
        for title in &titles {
            let mut row = vec![0.0; self.width];
            for vector in title.iter().filter_map(|word| vectors.get(word.as_str())) {
                row.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            }
            let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            // Without words the length is 0, and so are the numbers.
            all.extend(row.iter().map(|value| (value / length.max(f64::MIN_POSITIVE)) as f32));
        }
        Ok(Tensor::from_data(TensorData::new(all, [titles.len(), self.width]), &cx.device))
    }
}

impl TitleWords {
    /// A word's row of the projection, `width` numbers.
    fn direction(&self, word: &str) -> Vec<f64> {
        // A stream of random numbers is found by the hash of its name.
        let mut rng = Rng::new(self.seed, &format!("title word: {word}"));
        (0..self.width).map(|_| rng.normal()).collect()
    }
}

/// The words of a title in lower case, in order.
fn words(title: &str) -> Vec<String> {
    let title = title.to_lowercase();
    let words = title.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::TitleWords;
    use crate::fixture::{context, rows, titled};
    use framework::roles::Embeddings;

    fn vectors(model: &TitleWords, titles: &[&str]) -> Vec<Vec<f32>> {
        let (cx, _folder) = context();
        rows(model.embed(&titled(titles), &cx).expect("vectors"))
    }

    fn near(a: &[f32], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6)
    }

    fn unit(vector: &[f64]) -> Vec<f64> {
        let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vector.iter().map(|value| value / length).collect()
    }

    #[test]
    fn four_titles_by_hand() {
        let model = TitleWords { width: 8, seed: 1 };
        let found = vectors(&model, &["Alpha: beta", "beta", "BETA, beta!", " -- "]);
        let (alpha, beta) = (model.direction("alpha"), model.direction("beta"));
        // Of four titles one has alpha and three have beta.
        let (rare, common) = (1.0 + 2.5f64.ln(), 1.0 + 1.25f64.ln());
        let both: Vec<f64> = alpha.iter().zip(&beta).map(|(a, b)| rare * a + common * b).collect();
        assert!(near(&found[0], &unit(&both)), "{found:?}");
        assert!(near(&found[1], &unit(&beta)) && near(&found[2], &unit(&beta)), "{found:?}");
        assert_eq!(found[3], [0.0; 8]);
    }

    #[test]
    fn titles_are_near_that_share_words_and_most_so_where_these_are_rare() {
        let model = TitleWords { width: 4096, seed: 1 };
        let titles = ["the red harbour", "the blue harbour", "the blue mountain", "the end", "one", "the sea"];
        let found = vectors(&model, &titles);
        let cosine = |a: usize, b: usize| found[a].iter().zip(&found[b]).map(|(a, b)| a * b).sum::<f32>();
        assert!(cosine(0, 1) > 0.2 + cosine(0, 3) && cosine(0, 3) > 0.1, "{} {}", cosine(0, 1), cosine(0, 3));
        assert!(cosine(4, 5).abs() < 0.1, "{}", cosine(4, 5));
    }

    #[test]
    fn a_word_keeps_its_direction_in_another_catalogue_and_loses_it_with_another_seed() {
        let model = TitleWords { width: 16, seed: 1 };
        let alone = vectors(&model, &["Harbour"]);
        assert_eq!(alone[0], vectors(&model, &["a", "b harbour", "harbour"])[2]);
        assert_ne!(alone, vectors(&TitleWords { seed: 2, ..model }, &["Harbour"]));
    }
}
