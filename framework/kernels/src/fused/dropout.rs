//! Dropout that keeps no mask: the gradient draws it again.

use super::gradient::{self, Values};
use super::vector::vectorized;
use crate::noise::Mask;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

/// Elements that one part of a mask decides about; fixed, so that masks do not depend on the number of threads.
const PART: usize = 1 << 14;

/// `x`, of any shape, with `mask` on it.
pub(crate) fn masked<const D: usize>(x: Tensor<D>, mask: Mask) -> Tensor<D> {
    let shape = x.dims();
    let len = shape.iter().product();
    if gradient::applies(&x) {
        let values = apply(&mask, &Values::of(x.clone()));
        return gradient::node([x.reshape([len])], values, shape, move |d| [apply(&mask, d)]);
    }
    let factors = apply(&mask, &vec![1.0; len]);
    let device = x.device();
    x * Tensor::from_data(TensorData::new(factors, shape), &device)
}

fn apply(mask: &Mask, values: &[f32]) -> Vec<f32> {
    let mut masked = values.to_vec();
    masked.par_chunks_mut(PART).enumerate().for_each(|(part, values)| apply_part(mask, part as u64, values));
    masked
}

vectorized! {
    fn apply_part<'a>[_](mask: &'a Mask, part: u64, values: &'a mut [f32]) -> () {
        mask.apply(part, values);
    }
}
