//! The gate of a transformer's feed-forward layer (Shazeer, 2020, arXiv 2002.05202).

use super::gradient::{self, Values};
use super::vector::{sigmoid, vectorized};
use burn::tensor::{Tensor, activation::silu};
use rayon::prelude::*;

/// Elements that one thread works on at a time.
const BLOCK: usize = 16_384;

/// `silu(gate) * up`, where `silu(x) = x / (1 + e^-x)`; `gate` and `up` `[rows, width]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if !gradient::applies(&gate) {
        return silu(gate) * up;
    }
    let shape = gate.dims();
    let (g, u) = (Values::of(gate.clone()), Values::of(up.clone()));
    let mut output = vec![0.0; g.len()];
    let blocks = output.par_chunks_mut(BLOCK).zip(g.par_chunks(BLOCK)).zip(u.par_chunks(BLOCK));
    blocks.for_each(|((output, g), u)| forward(g, u, output));
    let len = g.len();
    gradient::node([gate.reshape([len]), up.reshape([len])], output, shape, move |d| {
        let (mut d_g, mut d_u) = (vec![0.0; len], vec![0.0; len]);
        let results = d_g.par_chunks_mut(BLOCK).zip(d_u.par_chunks_mut(BLOCK));
        let inputs = g.par_chunks(BLOCK).zip(u.par_chunks(BLOCK)).zip(d.par_chunks(BLOCK));
        results.zip(inputs).for_each(|((d_g, d_u), ((g, u), d))| backward([g, u, d], d_g, d_u));
        [d_g, d_u]
    })
}

vectorized! {
    fn forward<'a>[_](g: &'a [f32], u: &'a [f32], output: &'a mut [f32]) -> () {
        for ((output, g), u) in output.iter_mut().zip(g).zip(u) {
            *output = g * sigmoid(*g) * u;
        }
    }
}

vectorized! {
    fn backward<'a>[_](inputs: [&'a [f32]; 3], d_g: &'a mut [f32], d_u: &'a mut [f32]) -> () {
        let [g, u, d] = inputs;
        for (((d_g, d_u), (g, u)), d) in d_g.iter_mut().zip(d_u).zip(g.iter().zip(u)).zip(d) {
            let s = sigmoid(*g);
            *d_u = d * g * s;
            *d_g = d * u * s * (1.0 + g * (1.0 - s));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::swiglu;
    use burn::tensor::{Device, Tensor, activation::silu};

    #[test]
    fn it_agrees_with_composed_operations() {
        let device = Device::flex().autodiff();
        let gate = Tensor::<1, burn::tensor::Int>::arange(-300..301, &device).float().div_scalar(10.0);
        let gate: Tensor<2> = gate.reshape([1, 601]).detach().require_grad();
        let up = gate.clone().detach().cos().detach().require_grad();
        let measured = |y: Tensor<2>| {
            let gradients = (y.clone() * up.clone().detach().sin()).sum().backward();
            let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
            let [gate, up] = [&gate, &up].map(|x| values(x.grad(&gradients).expect("a gradient")));
            [values(y.inner()), gate, up].concat()
        };
        let fused = measured(swiglu(gate.clone(), up.clone()));
        let composed = measured(silu(gate.clone()) * up.clone());
        let worst = fused.iter().zip(&composed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(fused.len() == composed.len() && worst < 1e-5, "they differ by {worst}");
    }
}
