//! How the rows of a report are compared with the base, as a spec declares it; the mathematics is in [`statistics`].

use crate::statistics::{
    Interval, Verdict, benjamini_hochberg, bootstrap_seeds, effect_size, holm, paired, randomization_p,
    smallest_effect, t_p, user_means, wilcoxon_p,
};
use crate::{choice, settings};

choice! {
    /// What the p-value of a difference is from; the users are the sample.
    pub enum Test {
        /// Signs are flipped at random: nothing is assumed of how differences are spread.
        Randomization = "randomization",
        /// Student's: the mean of the differences is taken for normal.
        T = "t",
        /// Signed ranks. It is about another thing than the mean, and finds too much in metrics with many ties.
        Wilcoxon = "wilcoxon",
    }
}

choice! {
    /// How p-values are corrected for the number of rows.
    pub enum Correction {
        /// The chance of any false positive stays at 5 %.
        Holm = "holm",
        /// Of what is called different, 5 % is not, on average.
        BenjaminiHochberg = "benjamini_hochberg",
    }
}

settings! {
    /// How rows are compared with the base. Nothing here changes a run, only what the report says of it.
    pub struct Comparison {
        /// The test of a difference.
        pub test: Test = Test::Randomization,
        /// The correction for the number of rows.
        pub correction: Correction = Correction::Holm,
        /// The smallest difference that matters, in the metric's unit, chosen beforehand: a row that is
        /// neither better nor worse, and whose interval lies within plus and minus the margin, is called equivalent;
        /// that is not corrected for the number of rows. At 0 no row is.
        #[range(0.0..=1.0)]
        pub margin: f64 = 0.0,
    }
}

/// What a comparison with the base found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Other minus base, with its 95 % bootstrap interval over users and seeds.
    pub interval: Interval,
    /// The two-sided p-value, corrected.
    pub p: f64,
    /// How many standard deviations of the users' differences the mean difference is (Cohen's d of pairs).
    pub effect: f64,
    /// The smallest difference that these users could show, in the metric's unit.
    pub smallest: f64,
    /// What may be said.
    pub verdict: Verdict,
}

impl Comparison {
    /// Compares the `[seed][user]` values of each of `others` with those of the base, of the same users in the same
    /// order. A side with one seed, such as a scorer that is not trained, is compared with every seed of the other.
    ///
    /// # Panics
    /// Where the sides have different numbers of users, or of seeds and neither has one.
    pub fn compare(&self, base: &[Vec<f64>], others: &[&[Vec<f64>]], seed: u64) -> Vec<Difference> {
        let differences: Vec<Vec<Vec<f64>>> = others.iter().map(|other| paired(base, other)).collect();
        let groups: Vec<&[Vec<f64>]> = differences.iter().map(Vec::as_slice).collect();
        let of_users: Vec<Vec<f64>> = differences.iter().map(|seeds| user_means(seeds)).collect();
        let p: Vec<f64> = match self.test {
            Test::Randomization => randomization_p(&of_users, seed),
            Test::T => of_users.iter().map(|users| t_p(users)).collect(),
            Test::Wilcoxon => of_users.iter().map(|users| wilcoxon_p(users)).collect(),
        };
        let p = match self.correction {
            Correction::Holm => holm(&p),
            Correction::BenjaminiHochberg => benjamini_hochberg(&p),
        };
        let difference = |((interval, p), users): ((Interval, f64), &Vec<f64>)| Difference {
            interval,
            p,
            effect: effect_size(users),
            smallest: smallest_effect(users),
            verdict: Verdict::new(&interval, p, self.margin),
        };
        bootstrap_seeds(&groups, seed).into_iter().zip(p).zip(&of_users).map(difference).collect()
    }

    /// The test and the correction, for the notes of a report.
    pub fn in_words(&self) -> String {
        let test = match self.test {
            Test::Randomization => "paired randomization test",
            Test::T => "paired t-test",
            Test::Wilcoxon => "Wilcoxon's signed-rank test",
        };
        let correction = match self.correction {
            Correction::Holm => "corrected after Holm",
            Correction::BenjaminiHochberg => "corrected after Benjamini and Hochberg",
        };
        let margin = self.margin;
        let equivalent = format!("; equivalent: not told apart, interval within ±{margin}, not corrected");
        format!("{test}, {correction}{}", if margin > 0.0 { equivalent } else { String::new() })
    }
}
