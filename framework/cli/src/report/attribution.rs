//! What each component adds: exact Shapley values and pairwise interactions over all subsets of the components, with
//! intervals. Only the mathematics and its words; which rows are the cells is gathered in `mod`.
//!
//! Cell `s` is the experiment with the components whose bits are set in `s`. Both measures are weighted sums of cells, so
//! their intervals are paired in the users and know the seeds, as those of differences do.

use framework::comparison::Side;
use framework::statistics::{Interval, Scores};

/// Cells with their weights.
type Weights = Vec<(usize, f64)>;

/// The most components that are attributed: 2^12 cells.
pub(super) const MOST: usize = 12;

/// The attribution of a factorial ablation.
pub(super) struct Attribution {
    /// The ablation's name.
    pub(super) name: String,
    /// How much all components together raise the metric.
    pub(super) total: Interval,
    /// Each component with its Shapley value; their sum is the total.
    pub(super) values: Vec<(String, Interval)>,
    /// Each pair with its Shapley interaction index: positive where the two do more together than apart.
    pub(super) pairs: Vec<(String, Interval)>,
    /// Whether all rows have the seeds that a statement about methods asks for.
    pub(super) is_of_methods: bool,
}

impl Attribution {
    /// Attributes the metric whose cells are given to `components`, the first of which is the lowest bit.
    ///
    /// # Panics
    /// Where there are not 2^k cells of as many users each.
    pub(super) fn new(name: &str, components: &[String], cells: &[&Side]) -> Self {
        assert_eq!(cells.len(), 1 << components.len(), "one cell for each subset of the components");
        let scores = Scores::new(&cells.iter().map(|cell| cell.sample()).collect::<Vec<_>>());
        let interval = |weights: Weights| scores.contrast(&weights).interval();
        let k = components.len();
        let pairs = (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b)));
        let pair =
            |(a, b): (usize, usize)| (format!("{} × {}", components[a], components[b]), interval(interaction(k, a, b)));
        Self {
            name: name.to_string(),
            total: interval(vec![(cells.len() - 1, 1.0), (0, -1.0)]),
            values: (0..k).map(|n| (components[n].clone(), interval(shapley(k, n)))).collect(),
            pairs: pairs.map(pair).collect(),
            is_of_methods: cells.iter().all(|cell| cell.is_method()),
        }
    }
}

/// The Shapley value of component `n` of `k`: what it adds, averaged over all orders in which the components could be
/// added (Shapley, A value for n-person games, 1953).
fn shapley(k: usize, n: usize) -> Weights {
    let bit = 1 << n;
    let with_it = (0..1usize << k).filter(|subset| subset & bit != 0);
    let terms = with_it.flat_map(|subset| {
        let weight = weight(subset.count_ones() as usize - 1, k);
        [(subset, weight), (subset & !bit, -weight)]
    });
    terms.collect()
}

/// The Shapley interaction index of two of `k` components: what both add beyond the sum of what each adds alone,
/// averaged over the subsets of the others (Grabisch & Roubens, International Journal of Game Theory 28, 1999).
fn interaction(k: usize, a: usize, b: usize) -> Weights {
    let (a, b) = (1 << a, 1 << b);
    let with_both = (0..1usize << k).filter(|subset| subset & a != 0 && subset & b != 0);
    let terms = with_both.flat_map(|subset| {
        let weight = weight(subset.count_ones() as usize - 2, k - 1);
        [(subset, weight), (subset & !a, -weight), (subset & !b, -weight), (subset & !(a | b), weight)]
    });
    terms.collect()
}

/// The chance that in a random order of `k` players one comes after exactly `before` certain others:
/// `before! (k - before - 1)! / k!`.
fn weight(before: usize, k: usize) -> f64 {
    let choose = (0..before).fold(1.0, |product, n| product * (k - 1 - n) as f64 / (n + 1) as f64);
    1.0 / (k as f64 * choose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_user(cells: &[f64]) -> Vec<Vec<f64>> {
        cells.iter().map(|value| vec![*value]).collect()
    }

    /// What the weights make of each user's values.
    fn of_users(cells: &[Vec<f64>], weights: &Weights) -> Vec<f64> {
        let users = 0..cells[0].len();
        users.map(|user| weights.iter().map(|(cell, weight)| weight * cells[*cell][user]).sum()).collect()
    }

    fn shapley(cells: &[Vec<f64>], n: usize) -> Vec<f64> {
        of_users(cells, &super::shapley(cells.len().trailing_zeros() as usize, n))
    }

    fn interaction(cells: &[Vec<f64>], a: usize, b: usize) -> Vec<f64> {
        of_users(cells, &super::interaction(cells.len().trailing_zeros() as usize, a, b))
    }

    fn attributed(name: &str, components: &[String], cells: &[Vec<f64>]) -> Attribution {
        let sides: Vec<Side> = cells.iter().map(|cell| Side::of_seeds(vec![cell.clone()], false)).collect();
        Attribution::new(name, components, &sides.iter().collect::<Vec<_>>())
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn the_glove_game() {
        // One left glove (bit 0), two right ones (bits 1 and 2); a pair is worth 1. Shapley: 2/3, 1/6, 1/6.
        let game = one_user(&[0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        [2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0].iter().enumerate().for_each(|(n, value)| close(shapley(&game, n)[0], *value));
        // Left and a right one: 1/2 (1 - 0 - 0 + 0) without the third, 1/2 (1 - 1 - 0 + 0) with it.
        close(interaction(&game, 0, 1)[0], 0.5);
        // Two right ones: 0 without the left glove, 1/2 (1 - 1 - 1 + 0) with it.
        close(interaction(&game, 1, 2)[0], -0.5);
    }

    #[test]
    fn two_components_by_hand() {
        // Nothing .1, a alone .3, b alone .2, both .6: a adds .2 or .4, b adds .1 or .3, together .2 more than apart.
        let game = one_user(&[0.1, 0.3, 0.2, 0.6]);
        close(shapley(&game, 0)[0], 0.3);
        close(shapley(&game, 1)[0], 0.2);
        close(interaction(&game, 0, 1)[0], 0.2);
        let attribution = attributed("parts", &["a".into(), "b".into()], &game);
        close(attribution.total.mean, 0.5);
        assert_eq!(attribution.pairs[0].0, "a × b");
    }

    #[test]
    fn intervals_are_paired() {
        // Users differ much in level and not at all in what the component adds.
        let empty: Vec<f64> = (0..50).map(f64::from).collect();
        let full = empty.iter().map(|value| value + 1.0).collect();
        let attribution = attributed("one", &["a".into()], &[empty, full]);
        let Interval { mean, low, high, n } = attribution.values[0].1;
        assert_eq!((mean, low, high, n), (1.0, 1.0, 1.0, 50));
        assert!(attribution.pairs.is_empty());
    }

    #[test]
    #[should_panic(expected = "each subset")]
    fn a_missing_cell_is_refused() {
        attributed("one", &["a".into()], &one_user(&[0.0]));
    }

    /// Cells of 1 to 4 components and 3 users.
    fn games() -> impl Strategy<Value = Vec<Vec<f64>>> {
        (1usize..=4).prop_flat_map(|k| prop::collection::vec(prop::collection::vec(-1.0..1.0f64, 3), 1usize << k))
    }

    /// The same with bits `a` and `b` exchanged.
    fn swapped(subset: usize, a: usize, b: usize) -> usize {
        let (x, y) = (subset >> a & 1, subset >> b & 1);
        subset & !(1 << a | 1 << b) | x << b | y << a
    }

    proptest! {
        #[test]
        fn efficiency(cells in games()) {
            let k = cells.len().trailing_zeros() as usize;
            for user in 0..3 {
                let sum: f64 = (0..k).map(|n| shapley(&cells, n)[user]).sum();
                prop_assert!((sum - (cells[cells.len() - 1][user] - cells[0][user])).abs() < 1e-9);
            }
        }

        #[test]
        fn symmetry(cells in games(), a in 0usize..4, b in 0usize..4) {
            let k = cells.len().trailing_zeros() as usize;
            let (a, b) = (a % k, b % k);
            let mixed: Vec<Vec<f64>> = (0..cells.len()).map(|subset| {
                let other = &cells[swapped(subset, a, b)];
                cells[subset].iter().zip(other).map(|(x, y)| x + y).collect()
            }).collect();
            for (x, y) in shapley(&mixed, a).iter().zip(shapley(&mixed, b)) {
                prop_assert!((x - y).abs() < 1e-9);
            }
        }

        #[test]
        fn a_dummy_gets_what_it_adds_alone_and_interacts_with_nothing(cells in games(), own in -1.0..1.0f64) {
            let k = cells.len().trailing_zeros() as usize;
            let shifted = cells.iter().map(|cell| cell.iter().map(|value| value + own).collect());
            let with_dummy: Vec<Vec<f64>> = cells.iter().cloned().chain(shifted).collect();
            prop_assert!(shapley(&with_dummy, k).iter().all(|value| (value - own).abs() < 1e-9));
            for other in 0..k {
                prop_assert!(interaction(&with_dummy, other, k).iter().all(|value| value.abs() < 1e-9));
                let alone = shapley(&cells, other);
                prop_assert!(shapley(&with_dummy, other).iter().zip(alone).all(|(x, y)| (x - y).abs() < 1e-9));
            }
        }
    }
}
