//! Matrix products with few rows, as in writing token by token: bound by reading the weights, which is done once.
//!
//! A row's numbers do not depend on the other rows, so a text does not depend on the batch it is written in.

use burn::tensor::{Tensor, TensorData};
use framework::fused::gradient::{Values, applies};
use framework::pulp::Simd;
use framework::vectorized;
use rayon::prelude::*;

/// Output columns that one thread works on at a time.
const COLUMNS: usize = 64;

/// `x . weight^T`; `x` `[rows, input]`, `weight` `[output, input]`, without gradients.
pub(crate) fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    if !applies(&x) || x.is_autodiff() {
        return x.matmul(weight.transpose());
    }
    let ([rows, input], [output, _]) = (x.dims(), weight.dims());
    let device = x.device();
    let (x, w) = (Values::of(x), Values::of(weight));
    // Columns first, so that each thread writes a stretch of its own.
    let mut across = vec![0.0; rows * output];
    let parts = across.par_chunks_mut(COLUMNS * rows).zip(w.par_chunks(COLUMNS * input));
    parts.for_each(|(across, w)| columns(&x, w, input, across));
    let mut y = vec![0.0; rows * output];
    for (column, values) in across.chunks_exact(rows).enumerate() {
        for (row, value) in values.iter().enumerate() {
            y[row * output + column] = *value;
        }
    }
    Tensor::from_data(TensorData::new(y, [rows, output]), &device)
}

vectorized! {
    /// Some output columns: `across` `[columns, rows]` of `x` `[rows, input]` and `w` `[columns, input]`.
    fn columns<'a>[simd](x: &'a [f32], w: &'a [f32], input: usize, across: &'a mut [f32]) -> () {
        let rows = x.len() / input;
        for (w, across) in w.chunks_exact(input).zip(across.chunks_exact_mut(rows)) {
            let (mut quads, x_quads) = (across.chunks_exact_mut(8), x.chunks_exact(8 * input));
            let rest = x_quads.remainder();
            for (across, x) in (&mut quads).zip(x_quads) {
                dots::<_, 8>(simd, x, w, across);
            }
            for (across, x) in quads.into_remainder().iter_mut().zip(rest.chunks_exact(input)) {
                dots::<_, 1>(simd, x, w, std::slice::from_mut(across));
            }
        }
    }
}

/// The dot products of `N` rows of `x` with `w`; each one's sum is in the same order whatever `N`.
#[inline(always)]
fn dots<S: Simd, const N: usize>(simd: S, x: &[f32], w: &[f32], to: &mut [f32]) {
    let (blocks, rest) = S::as_simd_f32s(w);
    let mut sums = [simd.splat_f32s(0.0); N];
    let mut rows = [blocks; N];
    for (n, row) in rows.iter_mut().enumerate() {
        *row = S::as_simd_f32s(&x[n * w.len()..][..w.len()]).0;
    }
    for (k, w) in blocks.iter().enumerate() {
        for n in 0..N {
            sums[n] = simd.mul_add_f32s(rows[n][k], *w, sums[n]);
        }
    }
    for n in 0..N {
        let tail = &x[n * w.len()..][w.len() - rest.len()..w.len()];
        let mut sum = simd.reduce_sum_f32s(sums[n]);
        for (x, w) in tail.iter().zip(rest) {
            sum += x * w;
        }
        to[n] = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::product;
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::rng::Rng;

    fn random(rows: usize, columns: usize) -> Tensor<2> {
        let mut rng = Rng::new(rows as u64, "test");
        let values: Vec<f32> = (0..rows * columns).map(|_| rng.normal() as f32).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    #[test]
    fn it_agrees_with_matmul_and_rows_do_not_disturb_one_another() {
        let values = |x: Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<_>>();
        let weight = random(150, 77);
        for rows in [1, 3, 4, 9] {
            let x = random(rows, 77);
            let (ours, theirs) =
                (values(product(x.clone(), weight.clone())), values(x.clone().matmul(weight.clone().transpose())));
            assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4));
            let alone = values(product(x.narrow(0, rows - 1, 1), weight.clone()));
            assert_eq!(ours[(rows - 1) * 150..], alone);
        }
    }
}
