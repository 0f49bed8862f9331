//! The rule by which a generated dataset made its interactions: the world draws from it, the oracle ranks by it.

/// One planted effect: a hidden property of the items that users come to like.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Its name: `category`, `style`, `group`.
    pub name: String,
    /// How strongly a user's liking for a value raises an item's logit.
    pub strength: f64,
    /// The value of each item.
    pub of_item: Vec<u32>,
}

/// Next-item probabilities given a history, known exactly.
///
/// `P(item | history) ~ exp(popularity[item] + sum over factors of strength * liking(factor value of item))` over the
/// items not yet in the history, where `liking(v)` is the share of the history with value `v`, the interaction `n`
/// steps back weighing `(1 - drift)^n`.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// The logit of each item before any history.
    pub popularity: Vec<f64>,
    /// The planted effects.
    pub factors: Vec<Factor>,
    /// How fast liking forgets, from 0 (never) to 1 (only the last interaction counts).
    pub drift: f64,
}

impl Truth {
    /// Logits of all items after `history` (item indices, oldest first). Items of the history are not excluded here.
    pub fn logits(&self, history: &[u32]) -> Vec<f64> {
        let mut logits = self.popularity.clone();
        for factor in &self.factors {
            let liking = self.liking(factor, history);
            for (logit, value) in logits.iter_mut().zip(&factor.of_item) {
                *logit += factor.strength * liking[*value as usize];
            }
        }
        logits
    }

    /// The truth about a part of the items, in the order given (item indices).
    #[must_use]
    pub fn of_items(&self, kept: &[u32]) -> Self {
        let pick = |n: &u32| *n as usize;
        let factors = self
            .factors
            .iter()
            .map(|factor| Factor { of_item: kept.iter().map(|n| factor.of_item[pick(n)]).collect(), ..factor.clone() });
        Self {
            popularity: kept.iter().map(|n| self.popularity[pick(n)]).collect(),
            factors: factors.collect(),
            drift: self.drift,
        }
    }

    fn liking(&self, factor: &Factor, history: &[u32]) -> Vec<f64> {
        let values = factor.of_item.iter().max().map_or(0, |max| *max as usize + 1);
        let mut liking = vec![0.0; values];
        let (mut weight, mut total) = (1.0, 0.0);
        for item in history.iter().rev() {
            liking[factor.of_item[*item as usize] as usize] += weight;
            total += weight;
            weight *= 1.0 - self.drift;
        }
        liking.iter_mut().for_each(|share| *share /= f64::max(total, f64::MIN_POSITIVE));
        liking
    }
}

#[cfg(test)]
mod tests {
    use super::{Factor, Truth};

    #[test]
    fn liking_is_the_weighted_share_of_the_history() {
        let factor = Factor { name: "style".into(), strength: 2.0, of_item: vec![0, 0, 1] };
        let truth = Truth { popularity: vec![0.0, 1.0, 0.0], factors: vec![factor], drift: 0.5 };
        // Item 2 (style 1) one step back weighs 1, item 0 (style 0) two steps back weighs 1/2: shares 1/3 and 2/3.
        let expected = [2.0 / 3.0, 1.0 + 2.0 / 3.0, 4.0 / 3.0];
        for (logit, expected) in truth.logits(&[0, 2]).iter().zip(expected) {
            assert!((logit - expected).abs() < 1e-12);
        }
        assert_eq!(truth.logits(&[]), truth.popularity);
        assert_eq!(truth.of_items(&[2, 0]).factors[0].of_item, [1, 0]);
    }
}
