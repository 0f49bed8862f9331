//! Layer normalization (Ba, Kiros and Hinton, 2016).

use super::gradient::{self, Values};
use super::vector::{self, vectorized};
use burn::tensor::Tensor;
use rayon::prelude::*;

/// Rows whose share of the parameters' gradients is summed together; fixed, so that sums do not depend on threads.
const ROWS: usize = 512;

/// `(x - mean) / sqrt(variance + epsilon) * scale + shift` over the last dimension of `x` `[batch, length, hidden]`;
/// `scale` and `shift` `[hidden]`.
pub fn layer_norm(x: Tensor<3>, scale: Tensor<1>, shift: Tensor<1>, epsilon: f64) -> Tensor<3> {
    if !gradient::applies(&x) {
        return burn::tensor::module::layer_norm(x, scale, Some(shift), epsilon);
    }
    let (shape, hidden) = (x.dims(), scale.dims()[0]);
    let (values, a, b) = (Values::of(x.clone()), Values::of(scale.clone()), Values::of(shift.clone()));
    let (scales, shifts): (&[f32], &[f32]) = (&a, &b);
    let mut output = vec![0.0; values.len()];
    output.par_chunks_mut(ROWS * hidden).zip(values.par_chunks(ROWS * hidden)).for_each(|(output, x)| {
        forward_rows(x, [scales, shifts], epsilon as f32, output);
    });
    let flat = x.reshape([values.len()]);
    gradient::node([flat, scale, shift], output, shape, move |d| backward(&values, &a, epsilon as f32, d))
}

vectorized! {
    fn forward_rows<'a>[_](x: &'a [f32], parameters: [&'a [f32]; 2], epsilon: f32, output: &'a mut [f32]) -> () {
        let [scale, shift] = parameters;
        let hidden = scale.len();
        for (output, x) in output.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)) {
            let (mean, deviation) = moments(x, epsilon);
            for (((output, x), scale), shift) in output.iter_mut().zip(x).zip(scale).zip(shift) {
                *output = ((x - mean) * deviation).mul_add(*scale, *shift);
            }
        }
    }
}

/// Mean and the reciprocal of the deviation of `x`.
#[inline(always)]
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = vector::sum(x, |x| x) / x.len() as f32;
    let variance = vector::sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    (mean, (variance + epsilon).sqrt().recip())
}

/// The gradients of `x`, `scale` and `shift`, given the result's.
fn backward(x: &[f32], scale: &[f32], epsilon: f32, d: &[f32]) -> [Vec<f32>; 3] {
    let hidden = scale.len();
    let mut d_x = vec![0.0; x.len()];
    let blocks = d_x.par_chunks_mut(ROWS * hidden).zip(x.par_chunks(ROWS * hidden)).zip(d.par_chunks(ROWS * hidden));
    let sums = blocks.map(|((d_x, x), d)| {
        let [mut d_scale, mut d_shift] = [vec![0.0; hidden], vec![0.0; hidden]];
        backward_rows(x, scale, epsilon, d, [d_x, &mut d_scale, &mut d_shift]);
        [d_scale, d_shift]
    });
    let sums: Vec<[Vec<f32>; 2]> = sums.collect();
    let total = |part: usize| {
        let mut total = vec![0.0; hidden];
        sums.iter().for_each(|sum| total.iter_mut().zip(&sum[part]).for_each(|(total, x)| *total += x));
        total
    };
    [d_x, total(0), total(1)]
}

vectorized! {
    /// With `z` a normalized row and `g = d * scale`: `(g - mean(g) - z * mean(g * z)) / deviation`.
    fn backward_rows<'a>[_](x: &'a [f32], scale: &'a [f32], epsilon: f32, d: &'a [f32], gradients: [&'a mut [f32]; 3]) -> () {
        let [d_x, d_scale, d_shift] = gradients;
        let hidden = scale.len();
        let mut g = vec![0.0; hidden];
        for ((d_x, x), d) in d_x.chunks_exact_mut(hidden).zip(x.chunks_exact(hidden)).zip(d.chunks_exact(hidden)) {
            let (mean, deviation) = moments(x, epsilon);
            for ((z, x), (d_scale, d)) in d_x.iter_mut().zip(x).zip(d_scale.iter_mut().zip(d)) {
                *z = (x - mean) * deviation;
                *d_scale = d.mul_add(*z, *d_scale);
            }
            for ((g, scale), (d_shift, d)) in g.iter_mut().zip(scale).zip(d_shift.iter_mut().zip(d)) {
                *g = d * scale;
                *d_shift += d;
            }
            let mean_g = vector::sum(&g, |x| x) / hidden as f32;
            let mean_gz = vector::dot(&g, d_x) / hidden as f32;
            for (d_x, g) in d_x.iter_mut().zip(&g) {
                *d_x = (g - mean_g - *d_x * mean_gz) * deviation;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::layer_norm;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let mut rng = Rng::new(seed, "test");
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn it_agrees_with_composed_operations() {
        let (x, scale, shift, weights) =
            (random([3, 400, 40], 1), random([40], 2), random([40], 3), random([3, 400, 40], 4));
        let measured = |y: Tensor<3>| {
            let gradients = (y.clone() * weights.clone().detach()).mean().backward();
            let values = |gradient: Tensor<1>| gradient.into_data().iter::<f32>().collect::<Vec<_>>();
            let x = x.grad(&gradients).expect("a gradient").reshape([48_000]);
            let [scale, shift] = [&scale, &shift].map(|p| p.grad(&gradients).expect("a gradient"));
            [values(y.inner().reshape([48_000])), values(x), values(scale), values(shift)].concat()
        };
        let fused = measured(layer_norm(x.clone(), scale.clone(), shift.clone(), 1e-5));
        let composed = measured(burn::tensor::module::layer_norm(x.clone(), scale.clone(), Some(shift.clone()), 1e-5));
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-5, "they differ by {worst}");
    }
}
