//! Users and seeds as crossed random factors: what a mean, a difference or any weighted sum of rows may have been with
//! other users and with other seeds.
//!
//! Every seed of a row scores the same users, so a row is a table of replicates by users. What varies between the means
//! of seeds, beyond what the users in them explain, is variance of the method that no number of users takes away. Few
//! seeds show it badly, so each row's is moderated by that of the other trained rows (after Smyth, Statistical
//! Applications in Genetics and Molecular Biology 3(1), 2004), and the degrees of freedom are Satterthwaite's (Biometrics
//! Bulletin 2(6), 1946). Further factors, such as prompts or folds, are crossed with users and seeds in the same way:
//! each has levels, and a replicate is one combination of them.
//!
//! How often this calls equal methods different is simulated by `ablate bench --verdicts`; the book has the table.

use super::Interval;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The most that the other rows' seeds count for, in degrees of freedom; chosen by simulation, as is [`HELD_BACK`].
const PRIOR: f64 = 4.0;
/// Degrees of freedom of the other rows' seeds that their own spread costs.
const HELD_BACK: f64 = 2.0;

/// What one row scored by one metric.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// By replicate and user; NaN where the metric has no value for a user.
    pub values: &'a [Vec<f64>],
    /// For each random factor the level of every replicate. The seeds come first; no factor for what is not random.
    pub factors: &'a [Vec<usize>],
}

/// What a random factor does to a row's mean.
#[derive(Clone, Copy, Debug)]
struct Component {
    levels: f64,
    /// Of the levels' means.
    freedom: f64,
    /// The mean square of level by user.
    residual: f64,
    /// The part of the variance between the levels' means that the users alone explain.
    noise: f64,
    /// The variance between the levels' means.
    between: f64,
    /// After moderation: the same, and what it is worth in degrees of freedom.
    moderated: f64,
    moderated_freedom: f64,
}

struct Row {
    /// Each user's mean over the replicates; NaN where there is none.
    by_user: Vec<f64>,
    /// Whether all values are from 0 to 1.
    is_share: bool,
    components: Vec<Component>,
}

/// The rows of a table in one metric, of the same users in the same order.
pub struct Scores {
    rows: Vec<Row>,
    /// The degrees of freedom of all rows' levels, by factor.
    freedom: Vec<f64>,
}

/// A weighted sum of rows' means, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The sum.
    pub value: f64,
    /// Its standard error over users and seeds.
    pub error: f64,
    /// The degrees of freedom of that error.
    pub freedom: f64,
    /// The standard deviation over users of one replicate, which does not depend on how many there are.
    pub deviation: f64,
    /// The users that have a value in every row.
    pub n: usize,
}

impl Scores {
    /// Takes the rows' means and variances apart.
    ///
    /// # Panics
    /// Where the replicates of a row have different numbers of users, or a factor does not name a level for each.
    pub fn new(samples: &[Sample]) -> Self {
        let mut rows: Vec<Row> = samples.iter().map(Row::new).collect();
        let factors = rows.iter().map(|row| row.components.len()).max().unwrap_or(0);
        let mut freedom = vec![0.0; factors];
        for (factor, total) in freedom.iter_mut().enumerate() {
            let parts: Vec<Option<Component>> = rows.iter().map(|row| row.components.get(factor).copied()).collect();
            *total = parts.iter().flatten().map(|part| part.freedom).sum();
            for (n, row) in rows.iter_mut().enumerate() {
                let others = parts.iter().enumerate().filter(|(other, _)| *other != n).filter_map(|(_, part)| *part);
                if let Some(own) = row.components.get_mut(factor) {
                    own.moderate(others);
                }
            }
        }
        Self { rows, freedom }
    }

    /// The mean of a row with its 95 % interval; of shares an interval that stays between 0 and 1.
    pub fn interval(&self, row: usize) -> Interval {
        let estimate = self.contrast(&[(row, 1.0)]);
        if self.rows[row].is_share { estimate.interval_of_share() } else { estimate.interval() }
    }

    /// One row minus another.
    pub fn difference(&self, row: usize, base: usize) -> Estimate {
        self.contrast(&[(row, 1.0), (base, -1.0)])
    }

    /// The variance of a row's means of seeds, and the mean square of seed by user; 0 where nothing is random.
    pub fn variances(&self, row: usize) -> [f64; 2] {
        self.rows[row].components.first().map_or([0.0; 2], |part| [part.between, part.residual])
    }

    /// The sum of the rows' means, each times its weight; a row may stand there once.
    ///
    /// # Panics
    /// Where the rows have different numbers of users.
    pub fn contrast(&self, weights: &[(usize, f64)]) -> Estimate {
        let sums = self.by_user(weights);
        let sums: Vec<f64> = sums.into_iter().filter(|sum| !sum.is_nan()).collect();
        let users = sums.len() as f64;
        let (value, of_users) = moments(&sums);
        let (mut extra, mut deviation, mut inverse) = (0.0, of_users, 0.0);
        for (factor, freedom) in self.freedom.iter().enumerate() {
            let (mut sum, mut terms) = (0.0, 0.0);
            for (row, weight) in weights {
                let Some(part) = self.rows[*row].components.get(factor) else { continue };
                let of_mean = weight * weight * part.moderated / part.levels;
                sum += of_mean;
                terms += if part.moderated_freedom > 0.0 { of_mean * of_mean / part.moderated_freedom } else { 0.0 };
                // The users' part of it is in the users' own variance already.
                extra += of_mean - weight * weight * part.noise / part.levels;
                deviation += weight * weight * (1.0 - 1.0 / part.levels) * part.residual;
            }
            inverse += if sum > 0.0 { f64::max(terms, sum * sum / freedom) } else { 0.0 };
        }
        let variance = of_users / users + extra.max(0.0);
        inverse += (of_users / users).powi(2) / (users - 1.0);
        let freedom = (variance * variance / inverse).clamp(1.0, (users - 1.0).max(1.0));
        // Without any variance every user says the same.
        let freedom = if freedom.is_nan() { (users - 1.0).max(1.0) } else { freedom };
        Estimate { value, error: variance.sqrt(), freedom, deviation: deviation.sqrt(), n: sums.len() }
    }

    /// Each user's own sum; NaN where a row has no value of theirs.
    pub fn by_user(&self, weights: &[(usize, f64)]) -> Vec<f64> {
        let users = weights.first().map_or(0, |(row, _)| self.rows[*row].by_user.len());
        let mut sums = vec![0.0; users];
        for (row, weight) in weights {
            let row = &self.rows[*row].by_user;
            assert_eq!(row.len(), users, "a comparison needs the same users on both sides");
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        sums
    }
}

impl Row {
    fn new(sample: &Sample) -> Self {
        let users = sample.values.first().map_or(0, Vec::len);
        assert!(
            sample.values.iter().all(|values| values.len() == users),
            "every replicate needs a value of every user"
        );
        let all: Vec<&[f64]> = sample.values.iter().map(Vec::as_slice).collect();
        let by_user = mean_of(&all, users);
        let kept: Vec<usize> = (0..users).filter(|user| !by_user[*user].is_nan()).collect();
        let component = |levels: &Vec<usize>| {
            assert_eq!(levels.len(), all.len(), "every replicate needs its level");
            let mut names = levels.clone();
            names.sort_unstable();
            names.dedup();
            let of_level = |name: &usize| {
                let own: Vec<&[f64]> =
                    levels.iter().zip(&all).filter(|(level, _)| *level == name).map(|(_, values)| *values).collect();
                let means = mean_of(&own, users);
                kept.iter().map(|user| means[*user]).collect::<Vec<f64>>()
            };
            Component::new(&names.iter().map(of_level).collect::<Vec<_>>())
        };
        let is_share = by_user.iter().all(|value| value.is_nan() || (0.0..=1.0).contains(value));
        Self { components: sample.factors.iter().map(component).collect(), is_share, by_user }
    }
}

impl Component {
    /// Of the values by level and user.
    fn new(values: &[Vec<f64>]) -> Self {
        let (levels, users) = (values.len() as f64, values.first().map_or(0, Vec::len) as f64);
        let of_user: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let of_user = mean_of(&of_user, users as usize);
        let (mean, _) = moments(&of_user);
        let means: Vec<f64> = values.iter().map(|level| moments(level).0).collect();
        let off = |level: &Vec<f64>, own: f64| -> f64 {
            level.iter().zip(&of_user).map(|(value, user)| (value - own - user + mean).powi(2)).sum()
        };
        let squares: f64 = values.iter().zip(&means).map(|(level, own)| off(level, *own)).sum();
        let (residual, between) = match levels > 1.0 && users > 1.0 {
            true => (squares / ((levels - 1.0) * (users - 1.0)), moments(&means).1),
            false => (0.0, 0.0),
        };
        let freedom = if users > 1.0 { levels - 1.0 } else { 0.0 };
        let noise = if users > 0.0 { residual / users } else { 0.0 };
        Self { levels, freedom, residual, noise, between, moderated: 0.0, moderated_freedom: 0.0 }
    }

    /// How many times the levels' means vary as much as the users in them explain; 1 where that is nothing.
    fn ratio(&self) -> f64 {
        if self.noise > 0.0 { self.between / self.noise } else { 1.0 }
    }

    fn moderate(&mut self, others: impl Iterator<Item = Self>) {
        if self.freedom == 0.0 {
            return;
        }
        // Where users explain nothing there is no ratio to moderate.
        if self.noise == 0.0 {
            (self.moderated, self.moderated_freedom) = (self.between, self.freedom);
            return;
        }
        let (mut total, mut weighted) = (0.0, 0.0);
        others.filter(|other| other.freedom > 0.0).for_each(|other| {
            total += other.freedom;
            weighted += other.freedom * other.ratio();
        });
        let spare = (total - HELD_BACK).max(0.0);
        let weight = PRIOR * spare / (PRIOR + spare);
        let prior = if total > 0.0 { weighted / total } else { 1.0 };
        self.moderated_freedom = weight + self.freedom;
        let own = self.freedom / self.moderated_freedom * self.between;
        let pooled = weight / self.moderated_freedom * prior * self.noise;
        self.moderated = (own + pooled).max(self.noise);
    }
}

impl Estimate {
    /// The two-sided p-value of the value being 0; 1 where there is nothing to test.
    pub fn p(&self) -> f64 {
        let t = (self.value / self.error).abs();
        match StudentsT::new(0.0, 1.0, self.freedom) {
            Ok(student) if self.n > 1 && !t.is_nan() => (2.0 * student.sf(t)).min(1.0),
            _ => 1.0,
        }
    }

    /// Student's 95 % interval.
    pub fn interval(&self) -> Interval {
        let reach = self.quantile(0.975) * self.error;
        let reach = if self.n > 1 { reach } else { 0.0 };
        Interval { mean: self.value, low: self.value - reach, high: self.value + reach, n: self.n }
    }

    /// The 95 % interval of a mean of values from 0 to 1: Wilson's (Journal of the American Statistical Association 22,
    /// 1927) with as many users as would give a share of that size this error. It stays inside, and it has a width where
    /// nobody or everybody is hit.
    pub fn interval_of_share(&self) -> Interval {
        let spread = self.value * (1.0 - self.value);
        let n = match spread > 0.0 {
            true if self.n > 1 => spread / (self.error * self.error),
            _ => self.n as f64,
        };
        if self.n == 0 {
            return Interval { mean: f64::NAN, low: f64::NAN, high: f64::NAN, n: 0 };
        }
        if n.is_infinite() {
            return Interval { mean: self.value, low: self.value, high: self.value, n: self.n };
        }
        let square = self.quantile(0.975).powi(2) / n;
        let middle = (self.value + square / 2.0) / (1.0 + square);
        let reach = (square * spread + square * square / 4.0).sqrt() / (1.0 + square);
        let (low, high) = ((middle - reach).clamp(0.0, self.value), (middle + reach).clamp(self.value, 1.0));
        Interval { mean: self.value, low, high, n: self.n }
    }

    /// The value in standard deviations of one replicate's users (Cohen's d of pairs); 0 where all are 0, NaN where they
    /// are equal but not 0.
    pub fn effect(&self) -> f64 {
        match (self.value, self.deviation) {
            _ if self.n < 2 => f64::NAN,
            (0.0, 0.0) => 0.0,
            (_, 0.0) => f64::NAN,
            (value, deviation) => value / deviation,
        }
    }

    /// The smallest value that four of five studies (power .8) with as many users and seeds show at the 5 % level,
    /// two-sided, where it is one of `family` comparisons (after Cohen, Statistical Power Analysis for the Behavioral
    /// Sciences, 1988). NaN for fewer than two users, and where they do not differ.
    pub fn smallest(&self, family: usize) -> f64 {
        let level = super::SIGNIFICANCE / (2.0 * family.max(1) as f64);
        if self.n > 1 && self.error > 0.0 {
            (self.quantile(1.0 - level) + self.quantile(0.8)) * self.error
        } else {
            f64::NAN
        }
    }

    fn quantile(&self, p: f64) -> f64 {
        StudentsT::new(0.0, 1.0, self.freedom.max(1.0)).map_or(f64::NAN, |student| student.inverse_cdf(p))
    }
}

/// The mean and the sample's variance, which is 0 for fewer than two values; equal values differ by rounding alone.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let variance = if n < 2.0 { 0.0 } else { squares / (n - 1.0) };
    (mean, if variance <= (1e-12 * mean).powi(2) { 0.0 } else { variance })
}

/// Each user's mean over some replicates.
fn mean_of(replicates: &[&[f64]], users: usize) -> Vec<f64> {
    let mut means = vec![0.0; users];
    replicates.iter().for_each(|values| means.iter_mut().zip(*values).for_each(|(mean, value)| *mean += value));
    means.iter_mut().for_each(|mean| *mean /= replicates.len() as f64);
    means
}
