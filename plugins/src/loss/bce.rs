//! Binary cross-entropy: each item is right or wrong by itself.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor};
use framework::fused;
use framework::rng::Rng;
use framework::roles::Loss;

framework::plugin! {
    /// `-log sigmoid(target) - sum of log(1 - sigmoid(negative))`, divided by the number of terms.
    ///
    /// The loss of SASRec (Kang and McAuley, ICDM 2018) with one negative per position.
    pub struct BinaryCrossEntropy: Loss = "bce" {
        /// Negatives per position, drawn uniformly.
        #[range(1..=100_000)]
        negatives: usize = 1,
    }
}

impl Loss for BinaryCrossEntropy {
    fn loss(&self, states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>, rng: &mut Rng) -> Tensor<1> {
        let candidates = fused::with_negatives(targets, items.dims()[0], self.negatives, rng);
        fused::candidates_loss(states, items, candidates, |scores| {
            let [n, m] = scores.dims();
            let target = log_sigmoid(scores.clone().slice([0..n, 0..1])).sum();
            // log(1 - sigmoid(x)) = log sigmoid(-x)
            let negatives = log_sigmoid(scores.slice([0..n, 1..m]).neg()).sum();
            (target + negatives) / -((n * m) as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::BinaryCrossEntropy;
    use crate::fixture::loss;

    #[test]
    fn target_and_negative_count_alike() {
        // sigmoid(ln 5) = 5/6; 1 - sigmoid(0) = 1/2, 1 - sigmoid(ln 2) = 1/3.
        let value = loss(&BinaryCrossEntropy { negatives: 1 });
        let possible = [0.5, 1.0 / 3.0].map(|negative: f64| -((5.0f64 / 6.0).ln() + negative.ln()) / 2.0);
        assert!(possible.iter().any(|expected| (value - expected).abs() < 1e-5), "{value}");
    }
}
