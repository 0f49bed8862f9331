//! Dropout whose masks depend on their seed and place alone; a model that is not training gets none.
//!
//! burn's own dropout draws from one generator per process, one element at a time: on the CPU that is a third of a
//! training step, and two runs in one process would disturb each other.

use crate::fused;
use crate::rng::Rng;
use burn::tensor::Tensor;

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

    /// The mask of the next dropout, if anything is dropped.
    pub fn mask(&mut self, rate: f64) -> Option<Mask> {
        let rng = self.rng.as_ref().filter(|_| rate > 0.0)?;
        self.drawn += 1;
        let threshold = (rate * 65536.0).round().min(65535.0) as u64;
        Some(Mask { rng: rng.fork(self.drawn), threshold, scale: (65536.0 / (65536 - threshold) as f64) as f32 })
    }

    /// Sets each element of `x`, of any shape, to zero with probability `rate` and scales the others up, so that the
    /// expectation stays (Srivastava et al., JMLR 2014).
    pub fn dropout<const D: usize>(&mut self, x: Tensor<D>, rate: f64) -> Tensor<D> {
        let Some(mask) = self.mask(rate) else {
            return x;
        };
        fused::masked(x, mask)
    }
}

/// Which elements of a tensor are dropped.
#[derive(Clone, Debug)]
pub struct Mask {
    rng: Rng,
    /// The rate in 65,536ths.
    threshold: u64,
    scale: f32,
}

impl Mask {
    /// What elements that are not dropped are multiplied by.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Multiplies the tensor's part `part`, `values`, by zero for what is dropped, else by `scale`.
    ///
    /// A word of 64 random bits decides about four elements that lie apart, so that words are made and used side by side.
    #[inline(always)]
    pub fn apply(&self, part: u64, values: &mut [f32]) {
        const WORDS: usize = 64;
        let rng = self.rng.fork(part);
        let threshold = self.threshold as u32;
        for (block, values) in values.chunks_mut(4 * WORDS).enumerate() {
            let words: [u64; WORDS] = rng.words((block * WORDS) as u64);
            for (quarter, values) in values.chunks_mut(WORDS).enumerate() {
                for (value, word) in values.iter_mut().zip(words) {
                    let draw = (word >> (16 * quarter)) as u32 & 0xFFFF;
                    *value *= if draw < threshold { 0.0 } else { self.scale };
                }
            }
        }
    }
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
