//! A bias for each item in scores that are dot products: one column more, which is one in every state.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// What each item's score starts from.
#[derive(Module, Debug)]
pub(crate) struct ItemBias {
    /// `[items]`.
    bias: Param<Tensor<1>>,
}

impl ItemBias {
    pub(crate) fn new(num_items: usize, device: &Device) -> Self {
        Self { bias: Initializer::Zeros.init([num_items], device) }
    }

    /// `states` `[batch, length, hidden]` to `[batch, length, hidden + 1]`.
    pub(crate) fn states(&self, states: Tensor<3>) -> Tensor<3> {
        let [batch, length, _] = states.dims();
        let ones = Tensor::ones([batch, length, 1], &states.device());
        Tensor::cat(vec![states, ones], 2)
    }

    /// `items` `[items, hidden]` to `[items, hidden + 1]`.
    pub(crate) fn items(&self, items: Tensor<2>) -> Tensor<2> {
        Tensor::cat(vec![items, self.bias.val().unsqueeze_dim(1)], 1)
    }
}
