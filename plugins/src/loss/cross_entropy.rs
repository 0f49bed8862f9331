//! Cross-entropy over the whole catalogue.

use burn::tensor::{Int, Tensor};
use framework::fused;
use framework::rng::Rng;
use framework::roles::Loss;

framework::plugin! {
    /// `-log softmax(scores)[target]` over all items.
    ///
    /// The loss of language models and of GRU4Rec (Hidasi et al., ICLR 2016). With it SASRec surpasses BERT4Rec
    /// (Klenitskiy and Vasilev, RecSys 2023, arXiv 2309.07602).
    pub struct CrossEntropy: Loss = "cross_entropy" {}
}

impl Loss for CrossEntropy {
    fn loss(&self, states: Tensor<2>, items: Tensor<2>, targets: Tensor<1, Int>, _: &mut Rng) -> Tensor<1> {
        fused::cross_entropy(states, items, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::CrossEntropy;
    use crate::fixture::loss;

    #[test]
    fn it_is_the_log_of_the_target_s_share() {
        // Scores 0, ln 2, ln 5 with the last as target: 5 / 8.
        assert!((loss(&CrossEntropy {}) - -(5f64 / 8.0).ln()).abs() < 1e-5);
    }
}
