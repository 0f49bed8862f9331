//! Gated recurrent units (Cho et al., EMNLP 2014), all steps of a history in one operation.
//!
//! burn's graph would keep some fifteen small tensors per step, and the gradient of each step's slice of the inputs
//! would be as large as all inputs.

use super::gradient::{self, Values};
use super::vector::{sigmoid, vectorized};
use burn::tensor::{Device, Tensor, TensorData, activation};

/// The states after each step, `[batch, length, hidden]`; before the first they are zero.
///
/// `inputs` `[batch, length, 3 * hidden]` is what each input adds to the reset gate, the update gate and the candidate,
/// `weight` `[hidden, 3 * hidden]` what a state adds to them:
///
/// ```text
/// reset     = sigmoid(input + state . weight)
/// update    = sigmoid(input + state . weight)
/// candidate = tanh(input + reset * (state . weight))
/// next      = update * state + (1 - update) * candidate
/// ```
///
/// The reset gate comes after the product, as in the paper's first version, cuDNN and PyTorch: one product per step.
pub fn gru(inputs: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    if !gradient::applies(&inputs) {
        return composed(inputs, weight);
    }
    let ([batch, length, _], [hidden, _]) = (inputs.dims(), weight.dims());
    let plan = Plan { batch, length, hidden };
    let (x, w) = (Values::of(inputs.clone()), Values::of(weight.clone()));
    let (output, kept) = plan.forward(&x, &w);
    let inputs = inputs.reshape([batch * length * 3 * hidden]);
    let weight = weight.reshape([3 * hidden * hidden]);
    gradient::node([inputs, weight], output, [batch, length, hidden], move |d| plan.backward(&kept, &w, d))
}

fn composed(inputs: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let ([batch, length, _], [hidden, _]) = (inputs.dims(), weight.dims());
    let mut state = Tensor::<2>::zeros([batch, hidden], &inputs.device());
    let mut states = Vec::with_capacity(length);
    for t in 0..length {
        let input = inputs.clone().narrow(1, t, 1).reshape([batch, 3 * hidden]);
        let product = state.clone().matmul(weight.clone());
        let part = |x: &Tensor<2>, n: usize| x.clone().narrow(1, n * hidden, hidden);
        let reset = activation::sigmoid(part(&input, 0) + part(&product, 0));
        let update = activation::sigmoid(part(&input, 1) + part(&product, 1));
        let candidate = (part(&input, 2) + reset * part(&product, 2)).tanh();
        state = candidate.clone() + update * (state - candidate);
        states.push(state.clone());
    }
    Tensor::stack::<3>(states, 1)
}

/// The sizes of one pass.
struct Plan {
    batch: usize,
    length: usize,
    hidden: usize,
}

/// What the gradient needs of each step, `[length, batch, hidden]` each: the state before it, reset gate, update gate,
/// candidate, and what the state adds to the candidate.
struct Kept([Vec<f32>; 5]);

impl Plan {
    /// The states, `[batch, length, hidden]`.
    fn forward(&self, inputs: &[f32], weight: &[f32]) -> (Vec<f32>, Kept) {
        let (batch, hidden, size) = (self.batch, self.hidden, self.batch * self.hidden);
        let weight = matrix(weight.to_vec(), [hidden, 3 * hidden]);
        let mut output = vec![0.0; self.length * size];
        let mut kept: [Vec<f32>; 5] = std::array::from_fn(|_| vec![0.0; self.length * size]);
        let mut state = vec![0.0; size];
        for t in 0..self.length {
            let product = values(matrix(state.clone(), [batch, hidden]).matmul(weight.clone()));
            let step = kept.each_mut().map(|part| &mut part[t * size..][..size]);
            forward_step(self, t, [inputs, &product], step, &mut state);
            for (row, state) in state.chunks_exact(hidden).enumerate() {
                output[(row * self.length + t) * hidden..][..hidden].copy_from_slice(state);
            }
        }
        (output, Kept(kept))
    }

    /// The gradients of inputs and weight, given the result's.
    fn backward(&self, Kept(kept): &Kept, weight: &[f32], d: &[f32]) -> [Vec<f32>; 2] {
        let (batch, hidden, size) = (self.batch, self.hidden, self.batch * self.hidden);
        let across = matrix(weight.to_vec(), [hidden, 3 * hidden]).transpose();
        let [mut d_inputs, mut d_products] = [(); 2].map(|()| vec![0.0; self.length * 3 * size]);
        let mut d_state = vec![0.0; size];
        for t in (0..self.length).rev() {
            let step = kept.each_ref().map(|part| &part[t * size..][..size]);
            let d_product = &mut d_products[t * 3 * size..][..3 * size];
            backward_step(self, t, d, step, &mut d_state, [&mut d_inputs, &mut *d_product]);
            let back = values(matrix(d_product.to_vec(), [batch, 3 * hidden]).matmul(across.clone()));
            d_state.iter_mut().zip(back).for_each(|(d_state, back)| *d_state += back);
        }
        let steps = self.length * batch;
        let before = matrix(kept[0].clone(), [steps, hidden]).transpose();
        [d_inputs, values(before.matmul(matrix(d_products, [steps, 3 * hidden])))]
    }
}

fn matrix(values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values(matrix: Tensor<2>) -> Vec<f32> {
    matrix.into_data().try_into_vec().expect("parameters are f32")
}

/// The `n`th stretch of `width` values.
#[inline(always)]
fn part(values: &[f32], n: usize, width: usize) -> &[f32] {
    &values[n * width..][..width]
}

vectorized! {
    /// Step `t`: `state` `[batch, hidden]` becomes the next. `sources` are all inputs and the step's products.
    fn forward_step<'a>[_](
        plan: &'a Plan,
        t: usize,
        sources: [&'a [f32]; 2],
        kept: [&'a mut [f32]; 5],
        state: &'a mut [f32],
    ) -> () {
        let ([inputs, products], hidden) = (sources, plan.hidden);
        let [before, reset, update, candidate, added] = kept;
        before.copy_from_slice(state);
        for row in 0..plan.batch {
            let input = part(inputs, row * plan.length + t, 3 * hidden);
            let product = part(products, row, 3 * hidden);
            let here = row * hidden..(row + 1) * hidden;
            let (reset, update) = (&mut reset[here.clone()], &mut update[here.clone()]);
            let (candidate, added) = (&mut candidate[here.clone()], &mut added[here.clone()]);
            added.copy_from_slice(part(product, 2, hidden));
            gate(part(input, 0, hidden), part(product, 0, hidden), reset);
            gate(part(input, 1, hidden), part(product, 1, hidden), update);
            for ((candidate, input), (reset, added)) in
                candidate.iter_mut().zip(part(input, 2, hidden)).zip(reset.iter().zip(added.iter()))
            {
                // tanh(x) = 2 sigmoid(2 x) - 1
                *candidate = sigmoid(2.0 * reset.mul_add(*added, *input)).mul_add(2.0, -1.0);
            }
            for ((state, candidate), update) in state[here].iter_mut().zip(candidate.iter()).zip(update.iter()) {
                *state = update.mul_add(*state - candidate, *candidate);
            }
        }
    }
}

#[inline(always)]
fn gate(input: &[f32], product: &[f32], gate: &mut [f32]) {
    for ((gate, input), product) in gate.iter_mut().zip(input).zip(product) {
        *gate = sigmoid(input + product);
    }
}

vectorized! {
    /// Step `t` backwards: `d_state`, the gradient of the state after it but for the result's `d`, becomes that of the
    /// state before it but for what comes through the step's products, whose gradient is one of the `outputs`.
    fn backward_step<'a>[_](
        plan: &'a Plan,
        t: usize,
        d: &'a [f32],
        kept: [&'a [f32]; 5],
        d_state: &'a mut [f32],
        outputs: [&'a mut [f32]; 2],
    ) -> () {
        let ([d_inputs, d_products], hidden) = (outputs, plan.hidden);
        let rows = d_state.chunks_exact_mut(hidden).zip(d_products.chunks_exact_mut(3 * hidden));
        for (row, (d_state, d_product)) in rows.enumerate() {
            let place = row * plan.length + t;
            let d_input = &mut d_inputs[place * 3 * hidden..][..3 * hidden];
            backward_row(part(d, place, hidden), kept.map(|values| part(values, row, hidden)), d_state, d_input);
            d_product.copy_from_slice(d_input);
            for (d, reset) in d_product[2 * hidden..].iter_mut().zip(part(kept[1], row, hidden)) {
                *d *= reset;
            }
        }
    }
}

/// The gradients of one row's inputs, `[3, hidden]`; `d_state` is that of the state, before and after.
#[inline(always)]
fn backward_row(d: &[f32], kept: [&[f32]; 5], d_state: &mut [f32], d_input: &mut [f32]) {
    let [before, reset, update, candidate, added] = kept;
    let (d_reset, rest) = d_input.split_at_mut(d_state.len());
    let (d_update, d_candidate) = rest.split_at_mut(d_state.len());
    for (d_state, d) in d_state.iter_mut().zip(d) {
        *d_state += d;
    }
    for ((d_update, d), ((before, update), candidate)) in
        d_update.iter_mut().zip(d_state.iter()).zip(before.iter().zip(update).zip(candidate))
    {
        *d_update = d * (before - candidate) * update * (1.0 - update);
    }
    for ((d_candidate, d), (update, candidate)) in
        d_candidate.iter_mut().zip(d_state.iter()).zip(update.iter().zip(candidate))
    {
        *d_candidate = d * (1.0 - update) * (1.0 - candidate * candidate);
    }
    for ((d_reset, d), (reset, added)) in d_reset.iter_mut().zip(d_candidate.iter()).zip(reset.iter().zip(added)) {
        *d_reset = d * added * reset * (1.0 - reset);
    }
    for (d_state, update) in d_state.iter_mut().zip(update) {
        *d_state *= update;
    }
}

#[cfg(test)]
mod tests {
    use super::{composed, gru};
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn it_agrees_with_composed_operations() {
        let (inputs, weight) = (random([3, 6, 54], 1), random([18, 54], 2));
        let weights = random([3, 6, 18], 3).detach();
        let measured = |y: Tensor<3>| {
            let gradients = (y.clone() * weights.clone()).sum().backward();
            let values = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
            let d_inputs = values(inputs.grad(&gradients).expect("a gradient").reshape([972]));
            let d_weight = values(weight.grad(&gradients).expect("a gradient").reshape([972]));
            [values(y.inner().reshape([324])), d_inputs, d_weight].concat()
        };
        let fused = measured(gru(inputs.clone(), weight.clone()));
        let composed = measured(composed(inputs.clone(), weight.clone()));
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-4, "they differ by {worst}");
    }
}
