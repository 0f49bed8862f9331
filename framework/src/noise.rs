//! Dropout whose masks depend on their seed and place alone; a model that is not training gets none.
//!
//! burn's own dropout draws from one generator per process, one element at a time: on the CPU that is a third of a
//! training step, and two runs in one process would disturb each other.

use crate::rng::Rng;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

/// The elements that one random stream decides about; fixed, so that masks do not depend on the number of threads.
const STRETCH: usize = 1 << 14;

/// The randomness of one forward pass.
#[derive(Clone, Debug)]
pub struct Noise {
    rng: Option<Rng>,
    drawn: u64,
}

impl Noise {
    /// For validation and scoring: nothing is dropped.
    pub fn none() -> Self {
        Self { rng: None, drawn: 0 }
    }

    /// For one training step; `rng` belongs to that step.
    pub fn new(rng: Rng) -> Self {
        Self { rng: Some(rng), drawn: 0 }
    }

    /// Sets each element of `x`, of any shape, to zero with probability `rate` and scales the others up, so that the
    /// expectation stays (Srivastava et al., JMLR 2014).
    pub fn dropout<const D: usize>(&mut self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        let Some(rng) = self.rng.as_ref().filter(|_| rate > 0.0) else {
            return x;
        };
        self.drawn += 1;
        let shape = x.shape();
        let mask = mask(&rng.fork(self.drawn), shape.num_elements(), rate);
        let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
        x * mask
    }
}

/// `len` factors: zero with probability `rate`, rounded to a 65,536th, else what keeps the expectation at one.
fn mask(rng: &Rng, len: usize, rate: f64) -> Vec<f32> {
    let threshold = (rate * 65536.0).round().min(65535.0) as u64;
    let scale = (65536.0 / (65536 - threshold) as f64) as f32;
    let factor = |bits: u64| if bits & 0xFFFF < threshold { 0.0 } else { scale };
    let mut mask = vec![0.0; len];
    mask.par_chunks_mut(STRETCH).enumerate().for_each(|(n, stretch)| {
        let mut rng = rng.fork(n as u64);
        for four in stretch.chunks_mut(4) {
            let bits = rng.bits();
            four.iter_mut().enumerate().for_each(|(n, value)| *value = factor(bits >> (16 * n)));
        }
    });
    mask
}

#[cfg(test)]
mod tests {
    use super::Noise;
    use crate::rng::Rng;
    use burn::tensor::{Device, Tensor};

    fn dropped(seed: u64, rate: f64) -> Vec<f32> {
        let x = Tensor::<2>::ones([300, 301], &Device::flex());
        let dropped = Noise::new(Rng::new(seed, "dropout")).dropout(x, rate);
        dropped.into_data().try_to_vec().expect("floats")
    }

    #[test]
    fn dropout_keeps_the_expectation() {
        let values = dropped(1, 0.2);
        let zeros = values.iter().filter(|x| **x == 0.0).count() as f64 / values.len() as f64;
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
        assert!((zeros - 0.2).abs() < 0.005 && (mean - 1.0).abs() < 0.01, "{zeros} dropped, mean {mean}");
        assert!(values.iter().all(|x| *x == 0.0 || (*x - 1.25).abs() < 1e-4));
    }

    #[test]
    fn dropout_depends_on_its_seed_and_place_alone() {
        assert_eq!(dropped(1, 0.5), dropped(1, 0.5));
        assert_ne!(dropped(1, 0.5), dropped(2, 0.5));
        let mut noise = Noise::new(Rng::new(1, "dropout"));
        let x = Tensor::<1>::ones([64], &Device::flex());
        let (first, second) = (noise.dropout(x.clone(), 0.5), noise.dropout(x.clone(), 0.5));
        assert_ne!(first.into_data(), second.into_data());
        assert_eq!(Noise::none().dropout(x.clone(), 0.5).into_data(), x.clone().into_data());
    }

    #[test]
    fn masks_do_not_depend_on_the_number_of_threads() {
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        assert_eq!(one.install(|| dropped(3, 0.3)), dropped(3, 0.3));
    }
}
