//! The Gaussian error linear unit (Hendrycks and Gimpel, 2016, arXiv 1606.08415).

use super::gradient::{self, Values};
use super::vector::{self, vectorized};
use burn::tensor::{Tensor, activation};
use rayon::prelude::*;

/// Elements that one thread works on at a time.
const BLOCK: usize = 16_384;

/// `x` times the probability that a standard normal number is below it; `x` of any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !gradient::applies(&x) {
        return activation::gelu(x);
    }
    let (shape, values) = (x.dims(), Values::of(x.clone()));
    let len = values.len();
    let mut output = vec![0.0; len];
    output.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(output, x)| forward(x, output));
    gradient::node([x.reshape([len])], output, shape, move |d| {
        let mut d_x = vec![0.0; len];
        let inputs = values.par_chunks(BLOCK).zip(d.par_chunks(BLOCK));
        d_x.par_chunks_mut(BLOCK).zip(inputs).for_each(|(d_x, (x, d))| backward(x, d, d_x));
        [d_x]
    })
}

/// The probability that a standard normal number is below `x`, to 3e-7, and its density at `x` (Abramowitz and Stegun,
/// 1964, 26.2.17).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let density = 0.398_942_3 * vector::exp(-0.5 * x * x);
    let t = 1.0 / x.abs().mul_add(0.231_641_9, 1.0);
    let p = t.mul_add(1.330_274_5, -1.821_255_9);
    let p = p.mul_add(t, 1.781_477_9);
    let p = p.mul_add(t, -0.356_563_78);
    let p = p.mul_add(t, 0.319_381_54);
    let tail = density * p * t;
    (if x < 0.0 { tail } else { 1.0 - tail }, density)
}

vectorized! {
    fn forward<'a>[_](x: &'a [f32], output: &'a mut [f32]) -> () {
        for (output, x) in output.iter_mut().zip(x) {
            *output = x * normal(*x).0;
        }
    }
}

vectorized! {
    fn backward<'a>[_](x: &'a [f32], d: &'a [f32], d_x: &'a mut [f32]) -> () {
        for ((d_x, x), d) in d_x.iter_mut().zip(x).zip(d) {
            let (below, density) = normal(*x);
            *d_x = d * x.mul_add(density, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gelu;
    use burn::tensor::{Device, Int, Tensor, activation};

    #[test]
    fn it_agrees_with_composed_operations() {
        let device = Device::flex().autodiff();
        let x: Tensor<2> = Tensor::<1, Int>::arange(-600..601, &device).float().div_scalar(50.0).reshape([1, 1201]);
        let x = x.detach().require_grad();
        let measured = |y: Tensor<2>| {
            let gradients = (y.clone() * x.clone().detach().sin()).sum().backward();
            let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
            [values(y.inner()), values(x.grad(&gradients).expect("a gradient"))].concat()
        };
        let (fused, composed) = (measured(gelu(x.clone())), measured(activation::gelu(x.clone())));
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-5, "they differ by {worst}");
    }
}
