//! The embedded default dataset: a generated, multimodal world whose every effect was planted and is known.
//!
//! Nothing is read from disk. Each item has three hidden properties, independent of one another and of popularity:
//!
//! | property | revealed by | found by |
//! |---|---|---|
//! | category | the words of the title, nothing else | a model that reads |
//! | style | the picture, nothing else | a model that sees |
//! | group | who interacts with what, nothing else | a model that learns from interactions |
//!
//! How users choose is [`Truth`], to the letter: the oracle that ranks by it cannot be beaten except by luck.

mod pictures;
mod titles;

use framework::context::Context;
use framework::corpus::{Corpus, Interactions, Items};
use framework::error::Result;
use framework::picture::Picture;
use framework::plugin;
use framework::rng::Rng;
use framework::roles::Dataset;
use framework::truth::{Factor, Truth};
use rayon::prelude::*;

/// The calendar span of the interactions: the year 2020, in seconds since 1970.
const START: i64 = 1_577_836_800;
const SECONDS: usize = 366 * 24 * 60 * 60;

plugin! {
    /// A generated world with planted effects: the embedded default, whose best possible ranking is known.
    ///
    /// A user's next item is drawn from the softmax of the item's popularity plus, for each property, its strength
    /// times how much of the user's history shares the item's value. With every strength at 0 the draw is by
    /// popularity alone, so nothing can beat it; with `popularity` at 0 too, the draw is uniform.
    struct World: Dataset = "world" {
        /// Users.
        #[range(1..=1_000_000)]
        users: usize = 1000,
        /// Items.
        #[range(10..=100_000)]
        items: usize = 300,
        /// The fewest interactions of a user; each user's number is uniform between the two bounds.
        #[range(3..=10_000)]
        min_interactions: usize = 10,
        /// The most interactions of a user; nobody meets an item twice.
        #[range(3..=10_000)]
        max_interactions: usize = 40,
        /// Values of the property that only titles reveal.
        #[range(1..=12)]
        categories: usize = 8,
        /// Values of the property that only pictures reveal.
        #[range(1..=12)]
        styles: usize = 6,
        /// Values of the property that only co-occurrence reveals.
        #[range(1..=1000)]
        groups: usize = 10,
        /// How much sharing the category of the whole history raises an item's logit.
        #[range(0.0..=20.0)]
        category_strength: f64 = 5.0,
        /// How much sharing the style of the whole history raises an item's logit.
        #[range(0.0..=20.0)]
        style_strength: f64 = 5.0,
        /// How much sharing the group of the whole history raises an item's logit.
        #[range(0.0..=20.0)]
        group_strength: f64 = 5.0,
        /// The exponent `a` of Zipf's law: before any history, the item of rank `r` is drawn in proportion to `r^-a`.
        #[range(0.0..=3.0)]
        popularity: f64 = 0.5,
        /// How fast preferences drift: an interaction `n` steps back weighs `(1 - drift)^n`. At 0 the order of a
        /// history does not matter, at 1 only its last item does.
        #[range(0.0..=1.0)]
        drift: f64 = 0.15,
        /// Width and height of the pictures in pixels.
        #[range(8..=512)]
        image_size: u32 = 32,
        /// The seed of the data, apart from the run's seed: every run sees the same world.
        seed: u64 = 1,
    }
    check |world, reader| {
        if world.min_interactions > world.max_interactions {
            let message = format!("{} is below min_interactions = {}", world.max_interactions, world.min_interactions);
            reader.conflict("max_interactions", message, "at least min_interactions");
        }
        if world.max_interactions >= world.items {
            let message = format!("{} interactions cannot be with {} items", world.max_interactions, world.items);
            reader.conflict("max_interactions", message, "fewer than items, as nobody meets an item twice");
        }
    }
}

impl Dataset for World {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let truth = self.truth();
        let users: Vec<usize> = (0..self.users).collect();
        let histories: Vec<Vec<u32>> = users
            .par_iter()
            .map(|user| cx.proceed().map(|()| self.history(&truth, &mut self.rng("histories").fork(*user as u64))))
            .collect::<Result<_>>()?;
        let items = self.catalogue(&truth)?;
        let ids = users.iter().map(|user| format!("user-{user}")).collect();
        Ok(Corpus {
            users: ids,
            items,
            interactions: self.interactions(&histories),
            truth: Some(truth),
            ..Corpus::default()
        })
    }

    fn knows_truth(&self) -> bool {
        true
    }
}

impl World {
    fn rng(&self, purpose: &str) -> Rng {
        Rng::new(self.seed, &format!("world: {purpose}"))
    }

    /// Hands out the properties. Each is shuffled by its own random numbers, hence independent of the others.
    fn truth(&self) -> Truth {
        let factor = |name: &str, values: usize, strength: f64| {
            // Dealt evenly before the shuffle, so that no value is rare by chance.
            let mut of_item: Vec<u32> = (0..self.items).map(|n| (n % values) as u32).collect();
            self.rng(name).shuffle(&mut of_item);
            Factor { name: name.into(), strength, of_item }
        };
        let mut popularity: Vec<f64> = (1..=self.items).map(|rank| -self.popularity * (rank as f64).ln()).collect();
        self.rng("popularity").shuffle(&mut popularity);
        let factors = vec![
            factor("category", self.categories, self.category_strength),
            factor("style", self.styles, self.style_strength),
            factor("group", self.groups, self.group_strength),
        ];
        Truth { popularity, factors, drift: self.drift }
    }

    /// What one user does, step by step.
    fn history(&self, truth: &Truth, rng: &mut Rng) -> Vec<u32> {
        let length = self.min_interactions + rng.below(self.max_interactions - self.min_interactions + 1);
        let mut history = Vec::with_capacity(length);
        for _ in 0..length {
            let next = draw(&truth.logits(&history), &history, rng);
            history.push(next);
        }
        history
    }

    /// Puts every user's history somewhere in the same year, at strictly increasing times.
    fn interactions(&self, histories: &[Vec<u32>]) -> Interactions {
        let mut table = Interactions::default();
        for (user, history) in histories.iter().enumerate() {
            let mut rng = self.rng("times").fork(user as u64);
            let mut times: Vec<i64> = history.iter().map(|_| START + rng.below(SECONDS) as i64).collect();
            times.sort_unstable();
            for n in 1..times.len() {
                times[n] = times[n].max(times[n - 1] + 1);
            }
            table.user.extend(history.iter().map(|_| user as u32));
            table.item.extend(history);
            table.timestamp.extend(times);
        }
        table
    }

    /// What can be seen of the items: the title depends on the category alone, the picture on the style alone.
    fn catalogue(&self, truth: &Truth) -> Result<Items> {
        let (category, style) = (&truth.factors[0].of_item, &truth.factors[1].of_item);
        let draw = |(n, style): (usize, &u32)| {
            let mut rng = self.rng("pictures").fork(n as u64);
            pictures::png(*style as usize, self.styles, self.image_size, &mut rng).map(Picture::drawn).map(Some)
        };
        Ok(Items {
            id: (0..self.items).map(|n| format!("item-{n}")).collect(),
            title: titles::titles(category, &mut self.rng("titles")),
            image: style.par_iter().enumerate().map(draw).collect::<Result<_>>()?,
            ..Items::default()
        })
    }
}

/// Draws from the softmax of `logits` over the items that are not in `history`, which must leave at least one.
fn draw(logits: &[f64], history: &[u32], rng: &mut Rng) -> u32 {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut weights: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    history.iter().for_each(|seen| weights[*seen as usize] = 0.0);
    let mut left = rng.uniform() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding can leave a trace behind the last weight.
    drawn.or_else(|| weights.iter().rposition(|weight| *weight > 0.0)).unwrap_or_default() as u32
}

#[cfg(test)]
mod tests;
