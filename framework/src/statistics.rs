//! The uncertainty of what a report prints: intervals, paired tests, verdicts; not how a metric is computed.
//!
//! A result is one value per user and per training seed. The users are the same, in the same order, for every seed, so
//! users and seeds are crossed factors: a resample draws seeds and users once each and takes every combination (Owen,
//! The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007). Drawing fresh users for every seed would treat
//! one user's values as independent and make intervals too narrow.
//!
//! Everything is a pure function of its values and its seed. A NaN among the values makes the mean NaN, and with it the
//! verdict [`Verdict::CannotConclude`].

use crate::resample::weighted_sums;
use crate::rng::Rng;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::erf::erfc;
use std::collections::BTreeMap;

const RESAMPLES: usize = 2_000;
const FLIPS: usize = 10_000;
const SIGNIFICANCE: f64 = 0.05;

/// A mean with its 95% interval, in the metric's unit; all three are NaN where there are no users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean over users and seeds.
    pub mean: f64,
    /// The lower bound; equals the mean with one user and one seed, which says nothing about spread.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// The number of users.
    pub n: usize,
}

/// What a comparison allows to say about the other against the base, for a metric where higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The other is better.
    Better,
    /// The other is worse.
    Worse,
    /// The difference is smaller than this margin, in the metric's unit, whichever way it points.
    Equivalent(f64),
    /// The data do not tell; this is not evidence that both are equal.
    CannotConclude,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Better => f.write_str("better"),
            Self::Worse => f.write_str("worse"),
            Self::Equivalent(margin) => write!(f, "equivalent within ±{margin}"),
            Self::CannotConclude => f.write_str("cannot conclude"),
        }
    }
}

impl Verdict {
    /// To be told apart needs both: an adjusted p below .05, which is about users with the trained models as they are,
    /// and an interval without 0, which is about other seeds too. What is not told apart is equivalent if its 95%
    /// interval lies within plus and minus `margin`: two one-sided tests at 2.5% (Schuirmann, Journal of
    /// Pharmacokinetics and Biopharmaceutics 15, 1987, has 5%). A margin of 0 makes nothing equivalent.
    pub fn new(interval: &Interval, adjusted_p: f64, margin: f64) -> Self {
        match adjusted_p < SIGNIFICANCE {
            true if interval.low > 0.0 => Self::Better,
            true if interval.high < 0.0 => Self::Worse,
            // An interval of one point says nothing about the spread of users.
            _ if interval.low < interval.high && -margin < interval.low && interval.high < margin => {
                Self::Equivalent(margin)
            }
            _ => Self::CannotConclude,
        }
    }
}

/// The mean over users with its 95% percentile bootstrap interval from 2,000 resamples of the users (Efron &
/// Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
pub fn bootstrap_mean(values: &[f64], seed: u64) -> Interval {
    bootstrap(&[&[values]], seed)[0]
}

/// [`bootstrap_mean`] of each group's `[seed][user]` values, where the seeds are resampled too, so that the interval is
/// about training again as well as about other users. One seed gives the plain interval, and few seeds one that is
/// still too narrow: it holds on average (S - 1) / S of the variance between S seeds.
///
/// Groups with as many users are resampled together, which is far faster than one after the other.
///
/// # Panics
/// Where the seeds of a group have different numbers of users.
pub fn bootstrap_seeds(groups: &[&[Vec<f64>]], seed: u64) -> Vec<Interval> {
    bootstrap(groups, seed)
}

/// Other minus base, by seed and user. A side with one seed is paired with every seed of the other.
///
/// # Panics
/// Where the sides have different numbers of users, or of seeds and neither has one.
pub fn paired(base: &[Vec<f64>], other: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let seeds = if base.is_empty() || other.is_empty() { 0 } else { base.len().max(other.len()) };
    let side = |values: &[Vec<f64>], index: usize| if values.len() == 1 { 0 } else { index };
    let difference = |index: usize| {
        let (base, other) = (&base[side(base, index)], &other[side(other, index)]);
        assert_eq!(base.len(), other.len(), "a paired comparison needs the same users on both sides");
        other.iter().zip(base).map(|(other, base)| other - base).collect()
    };
    (0..seeds).map(difference).collect()
}

/// Cohen's d of paired differences: their mean in units of their standard deviation; NaN for fewer than two, and where
/// all are equal but not 0.
pub fn effect_size(differences: &[f64]) -> f64 {
    let (mean, deviation) = spread(differences);
    if mean == 0.0 && deviation == 0.0 {
        0.0
    } else if deviation > 0.0 {
        mean / deviation
    } else {
        f64::NAN
    }
}

/// The smallest mean difference that four of five studies (power .8) with as many users of this spread show at the 5%
/// level, two-sided, before correction (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988). NaN for
/// fewer than two users.
pub fn smallest_effect(differences: &[f64]) -> f64 {
    // Quantiles of the normal distribution: 1.96 for the level, .84 for the power.
    (1.959_964 + 0.841_621) * spread(differences).1 / (differences.len() as f64).sqrt()
}

/// The mean and the sample's standard deviation, which is NaN for fewer than two values.
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = if n < 2.0 { f64::NAN } else { (squares / (n - 1.0)).sqrt() };
    // Equal values differ from their mean by its rounding.
    (mean, if deviation <= 1e-12 * mean.abs() { 0.0 } else { deviation })
}

/// The two-sided p-value of Student's paired t-test (Biometrika 6(1), 1908); 1 where there is nothing to test.
pub fn t_p(differences: &[f64]) -> f64 {
    let (mean, deviation) = spread(differences);
    let t = mean / (deviation / (differences.len() as f64).sqrt());
    match StudentsT::new(0.0, 1.0, differences.len().saturating_sub(1) as f64) {
        Ok(student) if !t.is_nan() => 2.0 * student.sf(t.abs()),
        _ => 1.0,
    }
}

/// The two-sided p-value of Wilcoxon's signed-rank test (Biometrics Bulletin 1(6), 1945) by the normal approximation:
/// zeros are left out, ties share their mean rank, no correction for continuity. 1 where fewer than ten differences are
/// left, for which the approximation finds too much.
pub fn wilcoxon_p(differences: &[f64]) -> f64 {
    let mut terms: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    terms.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    if terms.len() < 10 || terms.iter().any(|term| term.is_nan()) {
        return 1.0;
    }
    let n = terms.len() as f64;
    let (mut positive, mut ties, mut first) = (0.0, 0.0, 0);
    for equal in terms.chunk_by(|a, b| a.abs() == b.abs()) {
        let count = equal.len() as f64;
        let rank = first as f64 + (count + 1.0) / 2.0;
        positive += rank * equal.iter().filter(|term| **term > 0.0).count() as f64;
        ties += count.powi(3) - count;
        first += equal.len();
    }
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (positive - n * (n + 1.0) / 4.0) / variance.sqrt();
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Holm's step-down adjustment, in the order given: calling those below .05 significant keeps the chance of any false
/// positive among all of them at 5% or less (Holm, Scandinavian Journal of Statistics 6(2), 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut largest) = (vec![0.0; p.len()], 0.0_f64);
    for (smaller, &index) in order.iter().enumerate() {
        largest = largest.max(((p.len() - smaller) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment, in the order given: of those below .05 that are called different, at
/// most 5% are not, on average (Journal of the Royal Statistical Society B 57(1), 1995).
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let (mut adjusted, mut smallest) = (vec![0.0; p.len()], 1.0_f64);
    for (larger, &index) in order.iter().enumerate() {
        smallest = smallest.min(p[index] * p.len() as f64 / (p.len() - larger) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

fn bootstrap<V: AsRef<[f64]> + Sync>(groups: &[&[V]], seed: u64) -> Vec<Interval> {
    let nobody = Interval { mean: f64::NAN, low: f64::NAN, high: f64::NAN, n: 0 };
    let mut intervals = vec![nobody; groups.len()];
    let users = |seeds: &[V]| {
        let users = seeds.first().map_or(0, |users| users.as_ref().len());
        assert!(seeds.iter().all(|values| values.as_ref().len() == users), "every seed needs a value of every user");
        users
    };
    for (users, members) in by_users(groups.iter().map(|seeds| users(seeds))) {
        let columns: Vec<&[f64]> = members.iter().flat_map(|n| groups[*n]).map(AsRef::as_ref).collect();
        let draws = Rng::new(seed, "bootstrap users");
        let sums = weighted_sums(&columns, users, RESAMPLES, |resample, weights| {
            let mut draws = draws.ahead((resample * users) as u64);
            (0..users).for_each(|_| weights[draws.below(users)] += 1.0);
        });
        let mut sums = sums.as_slice();
        let of_group = members.into_iter().map(|n| {
            let (own, others) = sums.split_at(groups[n].len());
            sums = others;
            (n, own)
        });
        let of_group: Vec<_> = of_group.collect();
        let made: Vec<_> = of_group.into_par_iter().map(|(n, sums)| (n, interval(groups[n], sums, seed))).collect();
        made.into_iter().for_each(|(n, interval)| intervals[n] = interval);
    }
    intervals
}

/// The interval of a group from the sums over each resample's users, by seed.
fn interval<V: AsRef<[f64]>>(values: &[V], sums: &[Vec<f64>], seed: u64) -> Interval {
    let observed = user_means(values);
    let (n, seeds) = (observed.len(), sums.len());
    // A generator of its own, so that the users drawn are the same however many seeds there are.
    let mut draws = Rng::new(seed, "bootstrap seeds");
    let cases = (seeds * n) as f64;
    let mean = |resample| (0..seeds).map(|_| sums[draws.below(seeds)][resample]).sum::<f64>() / cases;
    let mut means: Vec<f64> = (0..RESAMPLES).map(mean).collect();
    let tail = RESAMPLES / 40; // 2.5% on either side
    let low = *means.select_nth_unstable_by(tail - 1, f64::total_cmp).1;
    let high = *means.select_nth_unstable_by(RESAMPLES - tail, f64::total_cmp).1;
    Interval { mean: observed.iter().sum::<f64>() / n as f64, low, high, n }
}

/// The places of those with the same number of users, by that number; those without users are left out.
fn by_users(counts: impl Iterator<Item = usize>) -> BTreeMap<usize, Vec<usize>> {
    let mut places = BTreeMap::<usize, Vec<usize>>::new();
    counts.enumerate().filter(|(_, users)| *users > 0).for_each(|(n, users)| places.entry(users).or_default().push(n));
    places
}

/// Every user's mean over the seeds.
pub fn user_means<V: AsRef<[f64]>>(values: &[V]) -> Vec<f64> {
    let mut means = vec![0.0; values.first().map_or(0, |users| users.as_ref().len())];
    for users in values.iter().map(AsRef::as_ref) {
        means.iter_mut().zip(users).for_each(|(mean, value)| *mean += value);
    }
    means.iter_mut().for_each(|mean| *mean /= values.len() as f64);
    means
}

/// The two-sided p-value of each list of users' differences from a paired randomization test: under the null hypothesis
/// a difference is as likely to have the other sign, so p = (1 + flips at least as extreme) / (1 + 10,000 flips)
/// (Smucker, Allan & Carterette, A comparison of statistical significance tests for information retrieval evaluation,
/// CIKM 2007). 1 where there are no users. Lists of as many users are flipped together.
pub fn randomization_p(differences: &[Vec<f64>], seed: u64) -> Vec<f64> {
    let mut p = vec![1.0; differences.len()];
    for (users, members) in by_users(differences.iter().map(Vec::len)) {
        let columns: Vec<&[f64]> = members.iter().map(|n| differences[*n].as_slice()).collect();
        let words = users.div_ceil(64);
        let random = Rng::new(seed, "sign flips");
        let sums = weighted_sums(&columns, users, FLIPS, |flip, signs| {
            let mut random = random.ahead((flip * words) as u64);
            for signs in signs.chunks_mut(64) {
                let bits = random.bits();
                signs.iter_mut().enumerate().for_each(|(n, sign)| *sign = 1.0 - 2.0 * (bits >> n & 1) as f64);
            }
        });
        for ((n, terms), sums) in members.into_iter().zip(columns).zip(sums) {
            // Sums that are equal on paper differ by rounding when their terms have other signs; they count as extreme.
            let rounding = 1e-12 * terms.iter().map(|term| term.abs()).sum::<f64>();
            let observed = terms.iter().sum::<f64>().abs() - rounding;
            // NaN is below nothing, so it counts as extreme: no evidence.
            let milder = sums.iter().filter(|sum| sum.abs() < observed).count();
            p[n] = 1.0 - milder as f64 / (1.0 + FLIPS as f64);
        }
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Comparison, Difference};
    use crate::rng::Rng; // by name, for proptest's prelude has another
    use proptest::prelude::*;

    fn normals(random: &mut Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| random.normal()).collect()
    }

    fn seeds(values: &[Vec<f64>], seed: u64) -> Interval {
        bootstrap_seeds(&[values], seed)[0]
    }

    fn difference(base: &[Vec<f64>], other: &[Vec<f64>], seed: u64) -> Difference {
        crate::plugin::defaults::<Comparison>().compare(base, &[other], seed)[0]
    }

    fn flipped(differences: Vec<f64>, seed: u64) -> f64 {
        randomization_p(&[differences], seed)[0]
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn holm_golden() {
        // Sorted .005, .01, .03, .04 times 4, 3, 2, 1 = .02, .03, .06, .04; the last may not fall below the third.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]).for_each(|(&found, expected)| close(found, expected));
        assert_eq!(holm(&[]), [0.0; 0]);
        assert_eq!(holm(&[0.7, 0.6]), [1.0, 1.0]);
    }

    #[test]
    fn intervals_cover_the_truth() {
        let mut random = Rng::new(1, "test");
        let covered = (0..200)
            .filter(|&study| {
                let interval = bootstrap_mean(&normals(&mut random, 100), study);
                interval.low <= 0.0 && 0.0 <= interval.high
            })
            .count();
        assert!((180..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn intervals_over_seeds_cover_the_truth() {
        // Users, seeds and their combinations vary; an interval that redraws users for every seed covers far less.
        let mut random = Rng::new(2, "test");
        let covered = (0..200)
            .filter(|&study| {
                let users = normals(&mut random, 60);
                let study_values: Vec<Vec<f64>> = (0..8)
                    .map(|_| {
                        let shift = 0.1 * random.normal();
                        users.iter().map(|user| user + shift + 0.5 * random.normal()).collect()
                    })
                    .collect();
                let interval = seeds(&study_values, study);
                interval.low <= 0.0 && 0.0 <= interval.high
            })
            .count();
        assert!((180..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn equal_seeds_add_nothing() {
        let values = normals(&mut Rng::new(3, "test"), 50);
        let plain = bootstrap_mean(&values, 7);
        assert_eq!(seeds(std::slice::from_ref(&values), 7), plain);
        let copies = seeds(&[values.clone(), values.clone(), values], 7);
        close(copies.mean, plain.mean);
        close(copies.low, plain.low);
        close(copies.high, plain.high);
    }

    #[test]
    fn seeds_that_disagree_widen_the_interval() {
        let values = normals(&mut Rng::new(4, "test"), 500);
        let shifted = |shift: f64| values.iter().map(|value| value + shift).collect::<Vec<_>>();
        let (plain, several) = (bootstrap_mean(&values, 7), seeds(&[shifted(-1.0), shifted(0.0), shifted(1.0)], 7));
        assert!(several.high - several.low > 3.0 * (plain.high - plain.low), "{several:?} against {plain:?}");
    }

    #[test]
    fn p_is_uniform_under_the_null() {
        let mut random = Rng::new(5, "test");
        let mut p: Vec<f64> = (0..400).map(|study| flipped(normals(&mut random, 40), study)).collect();
        p.sort_by(f64::total_cmp);
        // Kolmogorov-Smirnov at the 1% level: 1.63 / sqrt(400).
        let distance =
            p.iter().enumerate().map(|(rank, p)| (p - (rank as f64 + 0.5) / 400.0).abs()).fold(0.0, f64::max);
        assert!(distance < 1.63 / 20.0, "{distance}");
    }

    #[test]
    fn p_approaches_the_exact_test() {
        // Of the 2^4 signs of 1, 2, 3, 4 only all + and all - sum to 10 or more in size: 2 / 16.
        let p = flipped(vec![1.0, 2.0, 3.0, 4.0, 0.0], 1);
        assert!((p - 0.125).abs() < 0.015, "{p}");
        // 60 times 1 and 40 times -1: twice the binomial chance of 60 heads or more in 100 throws.
        let p = flipped([vec![1.0; 60], vec![-1.0; 40]].concat(), 1);
        assert!((p - 0.056_888).abs() < 0.01, "{p}");
    }

    #[test]
    fn a_clear_difference_is_found_in_its_direction() {
        let mut random = Rng::new(6, "test");
        let base = vec![normals(&mut random, 200)];
        let other: Vec<Vec<f64>> =
            (0..3).map(|_| base[0].iter().map(|v| v + 1.0 + random.normal()).collect()).collect();
        let (up, down) = (difference(&base, &other, 1), difference(&other, &base, 1));
        close(up.interval.mean, -down.interval.mean);
        assert!((0.7..1.3).contains(&up.interval.mean) && up.p < 0.001 && up.p == down.p, "{up:?}, {down:?}");
        assert_eq!(up.verdict, Verdict::Better);
        assert_eq!(down.verdict, Verdict::Worse);
        assert_eq!(Verdict::new(&up.interval, 0.05, 0.0), Verdict::CannotConclude);
        let wide = Interval { low: -0.1, ..up.interval };
        assert_eq!(Verdict::new(&wide, 0.001, 0.0), Verdict::CannotConclude);
    }

    #[test]
    fn many_at_once_are_as_one_by_one() {
        let mut random = Rng::new(8, "test");
        let base = vec![normals(&mut random, 70), normals(&mut random, 70)];
        let others: Vec<Vec<Vec<f64>>> =
            [2, 1, 2].map(|seeds| (0..seeds).map(|_| normals(&mut random, 70)).collect()).into();
        let others: Vec<&[Vec<f64>]> = others.iter().map(Vec::as_slice).collect();
        let short = [vec![0.25; 9]];
        let groups = [others[0], &short, &[], others[1]];
        for (group, together) in groups.iter().zip(bootstrap_seeds(&groups, 3)) {
            let alone = seeds(group, 3);
            assert_eq!(together.n, alone.n);
            if alone.n > 0 {
                close(together.low, alone.low);
                close(together.high, alone.high);
            }
        }
        let flipped_alone: Vec<f64> = others.iter().map(|other| difference(&base, other, 3).p).collect();
        let differences: Vec<Vec<f64>> = others.iter().map(|other| user_means(&paired(&base, other))).collect();
        assert_eq!(randomization_p(&differences, 3), flipped_alone);
    }

    #[test]
    fn equivalence_needs_a_margin_and_an_interval_within_it() {
        let interval = Interval { mean: 0.0, low: -0.002, high: 0.003, n: 9 };
        assert_eq!(Verdict::new(&interval, 0.7, 0.0), Verdict::CannotConclude);
        assert_eq!(Verdict::new(&interval, 0.7, 0.003), Verdict::CannotConclude);
        let point = Interval { low: 0.0, high: 0.0, ..interval };
        assert_eq!(Verdict::new(&point, 1.0, 0.005), Verdict::CannotConclude);
        let verdict = Verdict::new(&interval, 0.7, 0.005);
        assert_eq!(verdict, Verdict::Equivalent(0.005));
        assert_eq!(verdict.to_string(), "equivalent within ±0.005");
        assert_eq!(Verdict::new(&Interval { low: 0.001, ..interval }, 0.01, 0.005), Verdict::Better);
    }

    /// What scipy and statsmodels say: `python3 tests/peers/significance.py`.
    #[test]
    fn tests_and_corrections_are_those_of_scipy_and_statsmodels() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/statistics.json")).expect("JSON");
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number")).collect()
        };
        let same = |what: &str, found: f64, expected: f64| {
            assert!((found - expected).abs() <= 1e-9 * expected.max(1e-3), "{what}: {found}, not {expected}");
        };
        for case in vectors["samples"].as_array().expect("cases") {
            let differences = numbers(&case["differences"]);
            same("t", t_p(&differences), case["t"].as_f64().expect("a number"));
            same("Wilcoxon", wilcoxon_p(&differences), case["wilcoxon"].as_f64().expect("a number"));
            let effect = effect_size(&differences);
            assert!((effect - case["effect"].as_f64().expect("a number")).abs() < 1e-12);
            // 9,999 random flips, as many as scipy's: the two differ by chance.
            let expected = case["randomization"].as_f64().expect("a number");
            let found = flipped(differences, 1);
            assert!((found - expected).abs() < 0.02, "randomization: {found}, not {expected}");
        }
        for case in vectors["families"].as_array().expect("cases") {
            let p = numbers(&case["p"]);
            for (adjusted, key) in [(holm(&p), "holm"), (benjamini_hochberg(&p), "benjamini_hochberg")] {
                adjusted.iter().zip(numbers(&case[key])).for_each(|(found, expected)| same(key, *found, expected));
            }
        }
    }

    #[test]
    fn degenerate_inputs() {
        for nobody in [bootstrap_mean(&[], 1), seeds(&[], 1), seeds(&[vec![], vec![]], 1)] {
            assert!(nobody.n == 0 && nobody.mean.is_nan() && nobody.low.is_nan() && nobody.high.is_nan());
        }
        assert_eq!(bootstrap_mean(&[0.3], 1), Interval { mean: 0.3, low: 0.3, high: 0.3, n: 1 });
        for (base, other) in [(vec![], vec![]), (vec![], vec![vec![1.0]]), (vec![vec![0.0]], vec![vec![1.0]])] {
            let difference = difference(&base, &other, 1);
            assert_eq!(difference.p, 1.0);
            assert_eq!(difference.verdict, Verdict::CannotConclude);
        }
        for nothing in [&[][..], &[0.0, 0.0], &[f64::NAN, 1.0]] {
            assert_eq!((t_p(nothing), wilcoxon_p(nothing)), (1.0, 1.0), "{nothing:?}");
        }
        assert_eq!((t_p(&[0.5, 0.5]), effect_size(&[0.0, 0.0])), (0.0, 0.0));
        assert!(wilcoxon_p(&[1.0; 9]) == 1.0 && wilcoxon_p(&[1.0; 10]) < 0.01);
        assert!(effect_size(&[0.5, 0.5]).is_nan() && effect_size(&[0.1; 3]).is_nan() && effect_size(&[0.5]).is_nan());
        let (same, not_a_number) = (vec![vec![0.1, 0.7]], vec![vec![0.1, f64::NAN]]);
        assert_eq!(difference(&same, &same, 1).p, 1.0);
        let difference = difference(&same, &not_a_number, 1);
        assert!(difference.interval.mean.is_nan());
        assert_eq!(difference.verdict, Verdict::CannotConclude);
    }

    #[test]
    #[should_panic(expected = "the same users")]
    fn other_users_are_refused() {
        difference(&[vec![1.0]], &[vec![1.0, 2.0]], 1);
    }

    #[test]
    #[should_panic(expected = "every seed")]
    fn a_seed_without_a_user_is_refused() {
        seeds(&[vec![], vec![1.0]], 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn intervals_are_ordered_and_repeatable(values in prop::collection::vec(0.0..1.0f64, 1..40), seed: u64) {
            let interval = bootstrap_mean(&values, seed);
            prop_assert_eq!(interval, bootstrap_mean(&values, seed));
            prop_assert!(interval.low <= interval.high && (0.0..=1.0).contains(&interval.low) && interval.high <= 1.0);
        }

        #[test]
        fn holm_never_lowers_and_keeps_the_order(p in prop::collection::vec(0.0..=1.0f64, 0..20)) {
            let (adjusted, tests) = (holm(&p), p.len() as f64);
            for (&raw, &own) in p.iter().zip(&adjusted) {
                prop_assert!(raw <= own && own <= (raw * tests).min(1.0), "{raw} became {own}, beyond Bonferroni's");
                prop_assert!(p.iter().zip(&adjusted).all(|(&other, &its)| raw > other || own <= its));
            }
        }
    }
}
