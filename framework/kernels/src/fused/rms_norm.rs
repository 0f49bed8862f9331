//! Root mean square normalization (Zhang and Sennrich, NeurIPS 2019).

use super::gradient::{self, Values};
use super::vector::{self, vectorized};
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Rows whose share of the scales' gradient is summed together; fixed, so that sums do not depend on threads.
const ROWS: usize = 64;

/// `x / sqrt(mean(x^2) + epsilon) * scale` over the last dimension of `x` `[rows, width]`; `scale` `[width]`.
pub fn rms_norm(x: Tensor<2>, scale: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if !gradient::applies(&x) {
        let size = (x.clone().square().mean_dim(1) + epsilon).sqrt();
        return x / size * scale.unsqueeze();
    }
    let (shape, width) = (x.dims(), scale.dims()[0]);
    let (values, scales) = (Values::of(x.clone()), Values::of(scale.clone()));
    let mut output = vec![0.0; values.len()];
    let blocks = output.par_chunks_mut(ROWS * width).zip(values.par_chunks(ROWS * width));
    blocks.for_each(|(output, x)| forward_rows(x, &scales, epsilon as f32, output));
    let flat = x.reshape([values.len()]);
    gradient::node([flat, scale], output, shape, move |d| backward(&values, &scales, epsilon as f32, d))
}

/// The reciprocal of the root mean square of `x`.
#[inline(always)]
fn reciprocal_size(x: &[f32], epsilon: f32) -> f32 {
    (vector::sum(x, |x| x * x) / x.len() as f32 + epsilon).sqrt().recip()
}

vectorized! {
    fn forward_rows<'a>[_](x: &'a [f32], scale: &'a [f32], epsilon: f32, output: &'a mut [f32]) -> () {
        for (output, x) in output.chunks_exact_mut(scale.len()).zip(x.chunks_exact(scale.len())) {
            let r = reciprocal_size(x, epsilon);
            for ((output, x), scale) in output.iter_mut().zip(x).zip(scale) {
                *output = x * r * scale;
            }
        }
    }
}

/// The gradients of `x` and `scale`, given the result's.
fn backward(x: &[f32], scale: &[f32], epsilon: f32, d: &[f32]) -> [Vec<f32>; 2] {
    let width = scale.len();
    let mut d_x = vec![0.0; x.len()];
    let blocks = d_x.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).zip(d.par_chunks(ROWS * width));
    let sums = blocks.map(|((d_x, x), d)| {
        let mut d_scale = vec![0.0; width];
        backward_rows(x, scale, epsilon, d, [d_x, &mut d_scale]);
        d_scale
    });
    let mut d_scale = vec![0.0; width];
    for sum in sums.collect::<Vec<_>>() {
        d_scale.iter_mut().zip(sum).for_each(|(total, x)| *total += x);
    }
    [d_x, d_scale]
}

vectorized! {
    /// With `z` a normalized row and `g = d * scale`: `(g - z * mean(g * z)) / size`.
    fn backward_rows<'a>[_](x: &'a [f32], scale: &'a [f32], epsilon: f32, d: &'a [f32], gradients: [&'a mut [f32]; 2]) -> () {
        let [d_x, d_scale] = gradients;
        let width = scale.len();
        for ((d_x, x), d) in d_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(d.chunks_exact(width)) {
            let r = reciprocal_size(x, epsilon);
            for ((g, d), (scale, (x, d_scale))) in d_x.iter_mut().zip(d).zip(scale.iter().zip(x.iter().zip(d_scale.iter_mut()))) {
                *g = d * scale;
                *d_scale = d.mul_add(x * r, *d_scale);
            }
            let mean = vector::dot(d_x, x) * r / width as f32;
            for (g, x) in d_x.iter_mut().zip(x) {
                *g = (*g - x * r * mean) * r;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rms_norm;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn it_agrees_with_composed_operations() {
        let (x, scale, weights) = (random([150, 40], 1), random([40], 2), random([150, 40], 3));
        let measured = |y: Tensor<2>| {
            let gradients = (y.clone() * weights.clone().detach()).sum().backward();
            let values = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
            let x = x.grad(&gradients).expect("a gradient").reshape([6000]);
            [values(y.inner().reshape([6000])), values(x), values(scale.grad(&gradients).expect("a gradient"))].concat()
        };
        let fused = measured(rms_norm(x.clone(), scale.clone(), 1e-5));
        let size = (x.clone().square().mean_dim(1) + 1e-5).sqrt();
        let composed = measured(x.clone() / size * scale.clone().unsqueeze());
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-4, "they differ by {worst}");
    }
}
