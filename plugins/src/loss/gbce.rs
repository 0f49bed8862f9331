//! Binary cross-entropy that many negatives do not make overconfident.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor};
use framework::fused;
use framework::rng::Rng;
use framework::roles::Loss;

framework::plugin! {
    /// Generalised binary cross-entropy, the loss of gSASRec (Petrov and Macdonald, RecSys 2023, arXiv 2308.07192):
    /// `bce` with the target's probability to the power of `beta`.
    ///
    /// `beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)`, where `alpha = negatives / (items - 1)` is the rate
    /// of negative sampling (equation 21).
    pub struct GeneralizedBce: Loss = "gbce" {
        /// Negatives per position, drawn uniformly (`k` in the paper).
        #[range(1..=100_000)]
        negatives: usize = 256,
        /// From 0, which is `bce`, to 1, whose scores become probabilities (`t` in the paper).
        #[range(0.0..=1.0)]
        calibration: f64 = 0.75,
    }
}

impl GeneralizedBce {
    /// The power of the target's probability.
    fn beta(&self, num_items: usize) -> f64 {
        let alpha = self.negatives as f64 / (num_items.max(2) - 1) as f64;
        alpha * (self.calibration * (1.0 - 1.0 / alpha) + 1.0 / alpha)
    }
}

impl Loss for GeneralizedBce {
    fn loss(&self, states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>, rng: &mut Rng) -> Tensor<1> {
        let num_items = items.dims()[0];
        let candidates = fused::with_negatives(targets, num_items, self.negatives, rng);
        fused::candidates_loss(states, items, candidates, |scores| {
            let [n, m] = scores.dims();
            // log(sigmoid(x)^beta) = beta * log sigmoid(x)
            let target = log_sigmoid(scores.clone().slice([0..n, 0..1])).sum() * self.beta(num_items);
            let negatives = log_sigmoid(scores.slice([0..n, 1..m]).neg()).sum();
            (target + negatives) / -((n * m) as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::GeneralizedBce;
    use crate::fixture::loss;

    #[test]
    fn beta_goes_from_one_to_the_sampling_rate() {
        let beta = |calibration| GeneralizedBce { negatives: 256, calibration }.beta(1025);
        assert!((beta(0.0) - 1.0).abs() < 1e-12 && (beta(1.0) - 0.25).abs() < 1e-12);
        assert!((beta(0.75) - 0.4375).abs() < 1e-12);
    }

    #[test]
    fn the_target_counts_beta_times() {
        // Of 3 items one of two negatives: alpha 1/2, so beta 0.625. sigmoid(ln 5) = 5/6.
        let value = loss(&GeneralizedBce { negatives: 1, calibration: 0.75 });
        let possible = [0.5, 1.0 / 3.0].map(|negative: f64| -(0.625 * (5.0f64 / 6.0).ln() + negative.ln()) / 2.0);
        assert!(possible.iter().any(|expected| (value - expected).abs() < 1e-5), "{value}");
    }
}
