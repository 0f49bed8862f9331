//! Layers of gated recurrent units (Cho et al., EMNLP 2014).

use super::linear::{linear, projection};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use framework::fused;

/// What holds an update gate shut, whatever else is added to it.
const SHUT: f32 = 1e4;

/// Several layers, each reading the states of the one below.
#[derive(Module, Debug)]
pub(crate) struct Gru {
    layers: Vec<Layer>,
}

/// One layer.
#[derive(Module, Debug)]
struct Layer {
    /// `[input, 3 * hidden]`: to the reset gate, the update gate and the candidate.
    input: Linear,
    /// `[hidden, 3 * hidden]`.
    state: Linear,
}

impl Gru {
    pub(crate) fn new(input_size: usize, hidden_size: usize, num_layers: usize, device: &Device) -> Self {
        let layer = |n: usize| Layer {
            input: linear(if n == 0 { input_size } else { hidden_size }, 3 * hidden_size, device),
            state: projection(hidden_size, 3 * hidden_size, device),
        };
        Self { layers: (0..num_layers).map(layer).collect() }
    }

    /// The last layer's states after each step, `[batch, length, hidden]`, from `x` `[batch, length, input]`.
    ///
    /// Before the first step they are zero, and they stay so where `padding` `[batch, length]`, at the left, is true.
    pub(crate) fn forward(&self, x: Tensor<3>, padding: Tensor<2, Bool>) -> Tensor<3> {
        let shut = padding.float().unsqueeze_dim::<3>(2);
        self.layers.iter().fold(x, |x, layer| layer.forward(x, shut.clone()))
    }
}

impl Layer {
    /// `shut` `[batch, length, 1]` is one where the state must not change.
    fn forward(&self, x: Tensor<3>, shut: Tensor<3>) -> Tensor<3> {
        let [hidden, width] = self.state.weight.dims();
        let update = (0..width).map(|n| if n / hidden == 1 { SHUT } else { 0.0 }).collect();
        let update = Tensor::<3>::from_data(TensorData::new(update, [1, 1, width]), &shut.device());
        fused::gru(self.input.forward(x) + shut * update, self.state.weight.val())
    }
}

#[cfg(test)]
mod tests {
    use super::Gru;
    use burn::tensor::{Bool, Device, Tensor, TensorData};
    use framework::parameters;
    use framework::rng::Rng;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("floats")
    }

    /// A network with random weights and biases.
    fn gru(num_layers: usize) -> Gru {
        let mut rng = Rng::new(1, "test");
        parameters::replace(Gru::new(2, 3, num_layers, &Device::flex()), |_, _, values| {
            let draws: Vec<f32> = (0..values.dims()[0]).map(|_| rng.normal() as f32).collect();
            Tensor::from_data(TensorData::new(draws, values.shape()), &values.device())
        })
    }

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn a_step_is_what_the_equations_say() {
        let gru = gru(1);
        let layer = &gru.layers[0];
        let (w, u) = (values(layer.input.weight.val()), values(layer.state.weight.val()));
        let bias = values(layer.input.bias.as_ref().expect("it has one").val());
        let inputs: [[f32; 2]; 2] = [[0.5, -1.0], [2.0, 0.3]];
        let mut state = [0.0f32; 3];
        for x in inputs {
            // What input and state add to unit `n` of gate `gate`.
            let input = |gate: usize, n: usize| {
                let column = gate * 3 + n;
                x[0] * w[column] + x[1] * w[9 + column] + bias[column]
            };
            let product = |gate: usize, n: usize| (0..3).map(|k| state[k] * u[k * 9 + gate * 3 + n]).sum::<f32>();
            state = std::array::from_fn(|n| {
                let reset = sigmoid(input(0, n) + product(0, n));
                let update = sigmoid(input(1, n) + product(1, n));
                let candidate = (input(2, n) + reset * product(2, n)).tanh();
                (1.0 - update) * candidate + update * state[n]
            });
        }
        let device = Device::flex();
        let padding = Tensor::<2, Bool>::from_bool([[false, false]], &device);
        let states = values(gru.forward(Tensor::<2>::from_floats(inputs, &device).unsqueeze(), padding));
        for (a, b) in states[3..].iter().zip(state) {
            assert!((a - b).abs() < 1e-5, "{a} but {b}");
        }
    }

    #[test]
    fn padding_leaves_the_state_at_zero() {
        let (gru, device) = (gru(2), Device::flex());
        let run = |inputs: &[[f32; 2]], padding: &[bool]| {
            let x = Tensor::<1>::from_floats(inputs.as_flattened(), &device).reshape([1, inputs.len(), 2]);
            let padding = TensorData::new(padding.to_vec(), [1, padding.len()]);
            values(gru.forward(x, Tensor::<2, Bool>::from_bool(padding, &device)))
        };
        let alone = run(&[[1.0, 2.0], [-1.0, 0.5]], &[false, false]);
        let padded = run(&[[7.0, 7.0], [9.0, -9.0], [1.0, 2.0], [-1.0, 0.5]], &[true, true, false, false]);
        assert_eq!(padded[..6], [0.0; 6]);
        assert_eq!(alone.len(), 6);
        for (a, b) in padded[6..].iter().zip(alone) {
            assert!((a - b).abs() < 1e-6, "{a} but {b}");
        }
    }
}
