//! A linear layer in the layout of its checkpoint, with an optional low-rank adapter beside it.
//!
//! burn's own LoRA adds the product of the adapter's factors to the weight before it is used, so that the backward pass
//! computes a gradient as large as the weight. Here inputs go through the factors one after another.

use super::few;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use framework::noise::Noise;

/// `x . weight^T + bias`, plus what the adapter adds.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[output, input]`.
    pub(crate) weight: Param<Tensor<2>>,
    /// `[output]`.
    pub(crate) bias: Option<Param<Tensor<1>>>,
    pub(crate) adapter: Option<Adapter>,
}

/// `scale * b . a` beside a frozen weight (Hu et al., ICLR 2022).
#[derive(Module, Debug)]
pub(crate) struct Adapter {
    /// `[rank, input]`.
    pub(crate) a: Param<Tensor<2>>,
    /// `[output, rank]`.
    pub(crate) b: Param<Tensor<2>>,
    pub(crate) scale: f64,
    pub(crate) dropout: f64,
}

impl Linear {
    /// `x` `[tokens, input]` to `[tokens, output]`; `few` is for tokens of one row each, without gradients.
    pub(crate) fn forward(&self, x: Tensor<2>, few: bool, noise: &mut Noise) -> Tensor<2> {
        let product = if few { few::product } else { |x: Tensor<2>, w: Tensor<2>| x.matmul(w.transpose()) };
        let mut y = product(x.clone(), self.weight.val());
        if let Some(bias) = &self.bias {
            y = y + bias.val().unsqueeze();
        }
        match &self.adapter {
            None => y,
            Some(adapter) => {
                let x = product(noise.dropout(x, adapter.dropout), adapter.a.val());
                y + product(x * adapter.scale, adapter.b.val())
            }
        }
    }

    /// The same with the adapter added to the weight.
    pub(crate) fn merged(mut self) -> Self {
        if let Some(Adapter { a, b, scale, .. }) = self.adapter.take() {
            let change = b.val().matmul(a.val()) * scale;
            self.weight = self.weight.map(|weight| {
                let dtype = weight.dtype();
                weight + change.cast(dtype)
            });
        }
        self
    }

    /// Its inputs and outputs.
    pub(crate) fn sizes(&self) -> [usize; 2] {
        let [output, input] = self.weight.dims();
        [input, output]
    }
}
