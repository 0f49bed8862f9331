//! The target should score above another item.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor};
use framework::fused;
use framework::rng::Rng;
use framework::roles::Loss;

framework::plugin! {
    /// Bayesian personalized ranking: `-log sigmoid(target - negative)` (Rendle et al., UAI 2009).
    pub struct Bpr: Loss = "bpr" {
        /// Negatives per position, drawn uniformly; the loss is the mean over them.
        #[range(1..=100_000)]
        negatives: usize = 1,
    }
}

impl Loss for Bpr {
    fn loss(&self, states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>, rng: &mut Rng) -> Tensor<1> {
        let candidates = fused::with_negatives(targets, items.dims()[0], self.negatives, rng);
        fused::candidates_loss(states, items, candidates, |scores| {
            let [n, m] = scores.dims();
            let target = scores.clone().slice([0..n, 0..1]);
            log_sigmoid(target - scores.slice([0..n, 1..m])).mean().neg()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bpr;
    use crate::fixture::loss;

    #[test]
    fn it_compares_target_and_negative() {
        // sigmoid(ln 5 - 0) = 5/6 and sigmoid(ln 5 - ln 2) = 5/7.
        let value = loss(&Bpr { negatives: 1 });
        let possible = [5.0 / 6.0, 5.0 / 7.0].map(|share: f64| -share.ln());
        assert!(possible.iter().any(|expected| (value - expected).abs() < 1e-5), "{value}");
    }
}
