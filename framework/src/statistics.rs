//! The uncertainty of what a report prints: intervals, tests, verdicts; not how a metric is computed.
//!
//! The mathematics of users and seeds is in [`crossed`], the correction for many rows in [`corrections`]. Everything is
//! a pure function of its values. Nothing is drawn, so a number has the same interval wherever it is printed.

pub mod corrections;
pub mod crossed;

pub use crossed::{Estimate, Sample, Scores};

/// What a difference may show by chance, after correction.
pub const SIGNIFICANCE: f64 = 0.05;

/// The fewest seeds of a trained recommender that stand for its method and not for one trained model.
pub const SEEDS: usize = 3;

/// A mean with its 95 % interval, in the metric's unit; all three are NaN where there are no users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean over users and seeds.
    pub mean: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// The number of users.
    pub n: usize,
}

impl Interval {
    /// A number of the test set as a whole, which has no interval.
    pub fn alone(mean: f64) -> Self {
        Self { mean, low: f64::NAN, high: f64::NAN, n: 0 }
    }
}

/// What a difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Two methods: every side that is random was trained with [`SEEDS`] seeds or more.
    Methods,
    /// The models as they are trained: the same methods trained again may come out the other way round.
    Models,
}

/// What a comparison allows to say about the other against the base, for a metric where higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The other method is better.
    Better,
    /// The other method is worse.
    Worse,
    /// The difference of the methods is smaller than this margin, in the metric's unit, whichever way it points.
    Equivalent(f64),
    /// The data do not tell; this is not evidence that both are equal.
    CannotConclude,
    /// The trained models differ, and the other is above; the methods may not.
    Higher,
    /// The trained models differ, and the other is below; the methods may not.
    Lower,
    /// Not even the trained models can be told apart.
    NotToldApart,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Better => f.write_str("better"),
            Self::Worse => f.write_str("worse"),
            Self::Equivalent(margin) => write!(f, "equivalent within ±{margin}"),
            Self::CannotConclude => f.write_str("cannot conclude"),
            Self::Higher => f.write_str("higher as trained"),
            Self::Lower => f.write_str("lower as trained"),
            Self::NotToldApart => f.write_str("not told apart as trained"),
        }
    }
}

impl Verdict {
    /// To be told apart needs an adjusted p below .05. What is not told apart is equivalent if its 95 % interval lies
    /// within plus and minus `margin`: two one-sided tests at 2.5 % (Schuirmann, Journal of Pharmacokinetics and
    /// Biopharmaceutics 15, 1987, has 5 %). A margin of 0 makes nothing equivalent.
    pub fn new(scope: Scope, interval: &Interval, adjusted_p: f64, margin: f64) -> Self {
        let told = adjusted_p < SIGNIFICANCE;
        match scope {
            Scope::Methods if told && interval.mean > 0.0 => Self::Better,
            Scope::Methods if told && interval.mean < 0.0 => Self::Worse,
            // An interval of one point says nothing about the spread of users.
            Scope::Methods if interval.low < interval.high && -margin < interval.low && interval.high < margin => {
                Self::Equivalent(margin)
            }
            Scope::Methods => Self::CannotConclude,
            Scope::Models if told && interval.mean > 0.0 => Self::Higher,
            Scope::Models if told && interval.mean < 0.0 => Self::Lower,
            Scope::Models => Self::NotToldApart,
        }
    }

    /// Which way it points: above 0 for the other's favour, 0 where nothing is told apart.
    pub fn sign(self) -> i8 {
        match self {
            Self::Better | Self::Higher => 1,
            Self::Worse | Self::Lower => -1,
            Self::Equivalent(_) | Self::CannotConclude | Self::NotToldApart => 0,
        }
    }
}

#[cfg(test)]
mod tests;
