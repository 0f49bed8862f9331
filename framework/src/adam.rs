//! The optimizer: Adam with decoupled weight decay, its state by the order of the parameters.

use crate::parameters;
use burn::module::Module;
use burn::tensor::Tensor;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam (Kingma and Ba, ICLR 2015) with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).
#[derive(Clone, Debug, Default)]
pub struct Adam {
    /// Updates made so far.
    pub steps: usize,
    /// First and second moment of each parameter's gradient, flat, in the parameters' order.
    pub moments: Vec<Option<(Tensor<1>, Tensor<1>)>>,
}

impl Adam {
    /// Moves the parameters of `model` against their `gradients`.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: Vec<Option<Tensor<1>>>,
        learning_rate: f64,
        weight_decay: f64,
    ) -> M {
        self.steps += 1;
        self.moments.resize(gradients.len(), None);
        let bias_1 = 1.0 - BETA_1.powf(self.steps as f64);
        let bias_2 = (1.0 - BETA_2.powf(self.steps as f64)).sqrt();
        let mut state = self.moments.iter_mut().zip(gradients);
        parameters::replace(model, |_, _, values| {
            let Some((moments, Some(gradient))) = state.next() else { return values };
            let (first, second) = match moments.take() {
                Some((first, second)) => (
                    first * BETA_1 + gradient.clone() * (1.0 - BETA_1),
                    second * BETA_2 + gradient.square() * (1.0 - BETA_2),
                ),
                None => (gradient.clone() * (1.0 - BETA_1), gradient.square() * (1.0 - BETA_2)),
            };
            *moments = Some((first.clone(), second.clone()));
            let update = first / (second.sqrt() / bias_2 + EPSILON) * (learning_rate / bias_1);
            match weight_decay > 0.0 {
                true => values * (1.0 - learning_rate * weight_decay) - update,
                false => values - update,
            }
        })
    }
}

/// The sums of two passes' gradients, parameter by parameter.
pub fn add(a: Vec<Option<Tensor<1>>>, b: Vec<Option<Tensor<1>>>) -> Vec<Option<Tensor<1>>> {
    let sum = |(a, b): (Option<Tensor<1>>, Option<Tensor<1>>)| match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    a.into_iter().zip(b).map(sum).collect()
}

/// Scales all gradients together so that their norm is at most `limit` (Pascanu, Mikolov and Bengio, ICML 2013).
pub fn clip(gradients: Vec<Option<Tensor<1>>>, limit: f64) -> Vec<Option<Tensor<1>>> {
    let squares = gradients.iter().flatten().map(|gradient| gradient.clone().square().sum());
    let Some(total) = squares.reduce(|a, b| a + b) else { return gradients };
    let scale = (total.sqrt() + 1e-6).recip().mul_scalar(limit).clamp_max(1.0);
    gradients.into_iter().map(|gradient| gradient.map(|gradient| gradient * scale.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::{Adam, clip};
    use burn::module::Param;
    use burn::tensor::{Device, Tensor};

    fn vector(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("floats")
    }

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let mut adam = Adam::default();
        let param = Param::from_tensor(vector(&[1.0, 1.0]));
        let param = adam.step(param, vec![Some(vector(&[10.0, -0.1]))], 0.5, 0.0);
        for (value, expected) in values(param.val()).iter().zip([0.5, 1.5]) {
            assert!((value - expected).abs() < 1e-5);
        }
        // Second step, first element: m = .9 * 1 + .1 * 0 = .9, v = .999 * .1 = .0999; m / .19 / sqrt(v / .001999).
        let param = adam.step(param, vec![Some(vector(&[0.0, 0.0]))], 0.5, 0.0);
        let expected = 0.5 - 0.5 * (0.9 / 0.19) / (0.0999f64 / 0.001999).sqrt();
        assert!((f64::from(values(param.val())[0]) - expected).abs() < 1e-5);
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let clipped = clip(vec![Some(vector(&[3.0])), None, Some(vector(&[4.0]))], 1.0);
        let clipped: Vec<f32> = clipped.into_iter().flatten().flat_map(values).collect();
        assert!((clipped[0] - 0.6).abs() < 1e-5 && (clipped[1] - 0.8).abs() < 1e-5);
    }
}
