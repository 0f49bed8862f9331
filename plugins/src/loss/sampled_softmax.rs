//! Cross-entropy over a sample of the catalogue.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use framework::fused;
use framework::rng::Rng;
use framework::roles::Loss;

framework::plugin! {
    /// `-log softmax(scores)[target]` over the target and uniformly drawn negatives, for catalogues too large for
    /// `cross_entropy`.
    ///
    /// Jean et al., ACL 2015 (arXiv 1412.2007); in recommendation Klenitskiy and Vasilev, RecSys 2023. Uniform draws
    /// need no correction of the logits: it would be the same for all negatives.
    pub struct SampledSoftmax: Loss = "sampled_softmax" {
        /// Negatives per position.
        #[range(1..=100_000)]
        negatives: usize = 256,
    }
}

impl Loss for SampledSoftmax {
    fn loss(&self, states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>, rng: &mut Rng) -> Tensor<1> {
        let candidates = fused::with_negatives(targets, items.dims()[0], self.negatives, rng);
        fused::candidates_loss(states, items, candidates, |scores| {
            let [n, _] = scores.dims();
            log_softmax(scores, 1).slice([0..n, 0..1]).mean().neg()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SampledSoftmax;
    use crate::fixture::loss;

    #[test]
    fn it_is_the_log_of_the_target_s_share_among_the_drawn() {
        // Target score ln 5; the only other items score 0 and ln 2, and each draw is one of them.
        let one = loss(&SampledSoftmax { negatives: 1 });
        let possible = [5.0 / 6.0, 5.0 / 7.0].map(|share: f64| -share.ln());
        assert!(possible.iter().any(|value| (one - value).abs() < 1e-5), "{one}");
    }
}
