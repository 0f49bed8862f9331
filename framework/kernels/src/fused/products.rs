//! Products of large matrices, into memory that is there already: burn's CPU backend would allocate, clear and copy each
//! result, which for scores of a whole catalogue takes as long as the multiplication.

use super::gradient::{self, Values};
use burn::tensor::{Tensor, TensorData};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// The dot product of every row of `states` `[n, hidden]` with every row of `items` `[items, hidden]`: `[n, items]`.
///
/// Where a graph is kept, burn's own product is taken.
pub fn products(states: Tensor<2>, items: Tensor<2>) -> Tensor<2> {
    if !gradient::applies(&states) || states.is_autodiff() || items.is_autodiff() {
        return states.matmul(items.transpose());
    }
    let ([n, hidden], [num_items, _], device) = (states.dims(), items.dims(), states.device());
    let (rows, columns) = (Values::of(states), Values::of(items));
    let mut scores = vec![0.0; n * num_items];
    let to = MatMut::from_row_major_slice_mut(&mut scores, n, num_items);
    let columns = MatRef::from_row_major_slice(&columns, num_items, hidden);
    multiply(to, Accum::Replace, MatRef::from_row_major_slice(&rows, n, hidden), columns.transpose());
    Tensor::from_data(TensorData::new(scores, [n, num_items]), &device)
}

/// Puts the product of `a` and `b` into `to`, or adds it, on as many threads as the pool has that this runs in.
pub(super) fn multiply(to: MatMut<f32>, how: Accum, a: MatRef<f32>, b: MatRef<f32>) {
    let threads = match rayon::current_num_threads() {
        1 => Par::Seq,
        n => Par::rayon(n),
    };
    matmul(to, how, a, b, 1.0, threads);
}

#[cfg(test)]
mod tests {
    use super::products;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn they_are_those_of_burn() {
        let mut rng = Rng::new(1, "test");
        let mut random = |rows: usize, columns: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.normal() as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
        };
        for [n, num_items, hidden] in [[1, 1, 1], [5, 300, 17], [130, 7, 64], [0, 4, 3]] {
            let (states, items) = (random(n, hidden), random(num_items, hidden));
            let ours = products(states.clone(), items.clone());
            assert_eq!(ours.dims(), [n, num_items]);
            let (ours, burns) = (ours.into_data(), states.matmul(items.transpose()).into_data());
            let worst = ours.iter::<f32>().zip(burns.iter::<f32>()).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-4);
        }
    }
}
