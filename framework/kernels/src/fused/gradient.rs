//! Operations with a hand-written gradient, for tensors in main memory: the only file that knows burn's graph.

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use std::fmt;
use std::sync::Arc;

/// Whether `tensor` lies in main memory, where loops of our own are faster than burn's operations.
pub fn applies<const D: usize>(tensor: &Tensor<D>) -> bool {
    crate::host::holds(&tensor.device())
}

/// Whether a gradient of `tensor` is wanted.
pub fn is_tracked<const D: usize>(tensor: &Tensor<D>) -> bool {
    let primitive = tensor.is_autodiff().then(|| tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok()).flatten();
    primitive.is_some_and(|primitive| primitive.is_tracked())
}

/// A tensor without a graph, read where it lies.
#[derive(Clone)]
pub struct Values(<Flex as burn::backend::BackendTypes>::FloatTensorPrimitive);

impl Values {
    /// The values of `tensor`, of any shape.
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        let primitive = tensor.without_autodiff().try_into_primitive::<Flex>();
        Self(primitive.expect("`applies` was asked first").to_contiguous())
    }
}

impl std::ops::Deref for Values {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0.as_slice().expect("it was made contiguous, and parameters are f32")
    }
}

/// The tensor of `values`; where its `inputs`, any shape each, flattened, are in a graph, so is it.
///
/// `backward` gets the gradient of the result, flat, and gives the gradient of each input, flat.
pub fn node<const N: usize, const D: usize>(
    inputs: [Tensor<1>; N],
    values: Vec<f32>,
    shape: [usize; D],
    backward: impl Fn(&[f32]) -> [Vec<f32>; N] + Send + Sync + 'static,
) -> Tensor<D> {
    let output = Tensor::<D>::from_data(TensorData::new(values, shape), &burn::tensor::Device::flex());
    if !inputs.iter().any(Tensor::is_autodiff) {
        return output;
    }
    let inputs = inputs.map(|input| {
        input.try_into_primitive::<Autodiff<Flex>>().expect("`applies` was asked first, and checkpointing is off")
    });
    let output = output.try_into_primitive::<Flex>().expect("it was just made there");
    let prepared = Written
        .prepare::<burn_autodiff::checkpoint::strategy::NoCheckpointing>(inputs.each_ref().map(|input| input.node()));
    let output = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(node) => node.finish(Rule(Arc::new(backward)), output),
        OpsKind::UnTracked(node) => node.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

#[derive(Debug)]
struct Written;

/// From the gradient of a result to those of its inputs.
type Derivative<const N: usize> = dyn Fn(&[f32]) -> [Vec<f32>; N] + Send + Sync;

#[derive(Clone)]
struct Rule<const N: usize>(Arc<Derivative<N>>);

impl<const N: usize> fmt::Debug for Rule<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rule")
    }
}

impl<const N: usize> Backward<Flex, N> for Written {
    type State = Rule<N>;

    fn backward(self, ops: Ops<Rule<N>, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let inputs = (ops.state.0)(gradient.as_slice().expect("it was made contiguous, and parameters are f32"));
        for (parent, values) in ops.parents.iter().zip(inputs) {
            if let Some(parent) = parent {
                let shape = [values.len()];
                let gradient = Tensor::<1>::from_data(TensorData::new(values, shape), &burn::tensor::Device::flex());
                let gradient = gradient.try_into_primitive::<Flex>().expect("it was just made there");
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
