//! How the rows of a report are compared, as a spec declares it; the mathematics is in [`statistics`](crate::statistics).

use crate::statistics::corrections::{benjamini_hochberg, holm};
use crate::statistics::{Estimate, Interval, SEEDS, Sample, Scope, Verdict};
use crate::{choice, settings};

choice! {
    /// How p-values are corrected for the number of comparisons.
    pub enum Correction {
        /// The chance of any false positive stays at 5 %.
        Holm = "holm",
        /// Of what is called different, 5 % is not, on average.
        BenjaminiHochberg = "benjamini_hochberg",
    }
}

settings! {
    /// What is compared and how. Nothing here changes a run, only what the report says of it. All declared comparisons are
    /// corrected together, also while some of their runs are missing.
    pub struct Comparison {
        /// The correction for the number of comparisons.
        pub correction: Correction = Correction::Holm,
        /// The smallest difference that matters, in the metric's unit, chosen beforehand: a row that is
        /// neither better nor worse, and whose interval lies within plus and minus the margin, is called equivalent;
        /// that is not corrected for the number of rows. At 0 no row is.
        #[range(0.0..=1.0)]
        pub margin: f64 = 0.0,
        /// Further pairs of rows beside each row and the base, as in `[["titles", "titles of other items"]]`: the second is
        /// judged against the first.
        pub pairs: Vec<Vec<String>> = Vec::new(),
        /// Parts of the test cases in which every comparison is made once more.
        pub strata: Vec<Stratum> = Vec::new(),
    }
    check |comparison, report| {
        for (n, pair) in comparison.pairs.iter().enumerate() {
            let at = |report: &mut crate::problem::Reader, message: &str| {
                report.inside("pairs", |r| r.conflict(&n.to_string(), message, "two rows, as in [\"titles\", \"titles of other items\"]"));
            };
            match pair.as_slice() {
                [a, b] if a == b => at(report, "a row is compared with itself"),
                [a, b] if comparison.pairs[..n].iter().any(|other| other.contains(a) && other.contains(b)) => at(report, "the pair stands there twice"),
                [_, _] => {}
                _ => at(report, "this is no pair of rows"),
            }
        }
        for (n, stratum) in comparison.strata.iter().enumerate() {
            if comparison.strata[..n].iter().any(|other| other.name == stratum.name) {
                let message = format!("two strata are called `{}`", stratum.name);
                report.inside("strata", |r| r.inside(&n.to_string(), |r| r.conflict("name", message, "a name of its own")));
            }
        }
    }
}

settings! {
    /// A part of the test cases: those within all of its bounds. Cold targets are `popularity_at_most = 0`.
    pub struct Stratum {
        /// What the report calls it.
        pub name: String,
        /// The fewest interactions before the target.
        #[range(0..=1_000_000_000)]
        pub history_at_least: usize = 0,
        /// The most interactions before the target.
        #[range(0..=1_000_000_000)]
        pub history_at_most: usize = 1_000_000_000,
        /// How often the target occurs in training, at least.
        #[range(0..=1_000_000_000)]
        pub popularity_at_least: usize = 0,
        /// How often the target occurs in training, at most.
        #[range(0..=1_000_000_000)]
        pub popularity_at_most: usize = 1_000_000_000,
    }
    check |stratum, report| {
        for (key, low, high) in [
            ("history_at_most", stratum.history_at_least, stratum.history_at_most),
            ("popularity_at_most", stratum.popularity_at_least, stratum.popularity_at_most),
        ] {
            if low > high {
                report.conflict(key, format!("no case has at least {low} and at most {high}"), "the upper bound above the lower one");
            }
        }
    }
}

impl Stratum {
    /// Whether a case with a history of that length and a target of that popularity belongs to it.
    pub fn holds(&self, history: u32, popularity: u32) -> bool {
        (self.history_at_least..=self.history_at_most).contains(&(history as usize))
            && (self.popularity_at_least..=self.popularity_at_most).contains(&(popularity as usize))
    }
}

/// What stands on one side of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// By seed and user.
    pub values: Vec<Vec<f64>>,
    /// For each random factor the level of every run; none where nothing is random.
    pub factors: Vec<Vec<usize>>,
}

impl Side {
    /// The runs of as many seeds; `random` says whether other seeds may give other values.
    pub fn of_seeds(values: Vec<Vec<f64>>, random: bool) -> Self {
        let levels = (0..values.len()).collect();
        Self { factors: if random { vec![levels] } else { Vec::new() }, values }
    }

    /// Runs that all stand for one draw of something random, such as lists that were made elsewhere: no seed of ours is
    /// another replicate of them.
    pub fn of_one_draw(values: Vec<Vec<f64>>) -> Self {
        Self { factors: vec![vec![0; values.len()]], values }
    }

    /// For the statistics.
    pub fn sample(&self) -> Sample<'_> {
        Sample { values: &self.values, factors: &self.factors }
    }

    /// The same of some users alone.
    #[must_use]
    pub fn of_users(&self, users: &[usize]) -> Self {
        let values = self.values.iter().map(|values| users.iter().map(|user| values[*user]).collect()).collect();
        Self { values, factors: self.factors.clone() }
    }

    /// Whether it stands for its method and not only for the models that were trained.
    pub fn is_method(&self) -> bool {
        let levels = |levels: &Vec<usize>| levels.iter().collect::<std::collections::BTreeSet<_>>().len();
        self.factors.first().is_none_or(|seeds| levels(seeds) >= SEEDS)
    }

    /// What a comparison of both is about.
    pub fn scope(&self, other: &Self) -> Scope {
        if self.is_method() && other.is_method() { Scope::Methods } else { Scope::Models }
    }
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Other minus base, with its 95 % interval over users and seeds, not corrected.
    pub interval: Interval,
    /// The two-sided p-value, corrected.
    pub p: f64,
    /// How many standard deviations of the users' differences the mean difference is (Cohen's d of pairs).
    pub effect: f64,
    /// The smallest difference that these users and seeds could show as one of all declared, in the metric's unit.
    pub smallest: f64,
    /// What it is about.
    pub scope: Scope,
    /// What may be said.
    pub verdict: Verdict,
}

impl Comparison {
    /// How many comparisons a table of these rows, the base first, has.
    pub fn declared(&self, rows: &[&str]) -> usize {
        let base = rows.first().copied().unwrap_or_default();
        let further = self.pairs.iter().filter(|pair| pair.iter().all(|row| row != base)).count();
        (rows.len().saturating_sub(1) + further) * (1 + self.strata.len())
    }

    /// Judges all comparisons of a table together. `declared` is how many were announced, with those whose runs are
    /// missing.
    pub fn judge(&self, found: &[(Estimate, Scope)], declared: usize) -> Vec<Difference> {
        let p: Vec<f64> = found.iter().map(|(estimate, _)| estimate.p()).collect();
        let p = match self.correction {
            Correction::Holm => holm(&p, declared),
            Correction::BenjaminiHochberg => benjamini_hochberg(&p, declared),
        };
        let family = declared.max(found.len());
        let difference = |((estimate, scope), p): (&(Estimate, Scope), f64)| {
            let interval = estimate.interval();
            Difference {
                interval,
                p,
                effect: estimate.effect(),
                smallest: estimate.smallest(family),
                scope: *scope,
                verdict: Verdict::new(*scope, &interval, p, self.margin),
            }
        };
        found.iter().zip(p).map(difference).collect()
    }

    /// The test and the correction, for the notes of a report.
    pub fn in_words(&self) -> String {
        let correction = match self.correction {
            Correction::Holm => "corrected after Holm",
            Correction::BenjaminiHochberg => "corrected after Benjamini and Hochberg",
        };
        let margin = self.margin;
        let equivalent = format!("; equivalent: not told apart, interval within ±{margin}, not corrected");
        format!(
            "t-test over users and seeds as crossed factors, {correction}{}",
            if margin > 0.0 { equivalent } else { String::new() }
        )
    }
}
