//! Random numbers that depend on their seed and their place alone: no global state, the same on every machine.
//!
//! burn seeds one generator per process, so two runs in one process would disturb each other.

/// A counter-based generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The generator of `seed`'s stream called `stream`.
    pub fn new(seed: u64, stream: &str) -> Self {
        let hash = blake3::hash(stream.as_bytes());
        let bytes = hash.as_bytes();
        let word = u64::from_le_bytes(std::array::from_fn(|n| bytes[n]));
        Self { state: mix(seed ^ word) }
    }

    /// An independent generator for part `n` of this one's work: an epoch, a step, a user.
    #[must_use]
    pub fn fork(&self, n: u64) -> Self {
        Self { state: mix(self.state ^ mix(n.wrapping_add(0x5851_F42D_4C95_7F2D))) }
    }

    /// This generator after `n` more draws of 64 bits.
    #[must_use]
    pub fn ahead(&self, n: u64) -> Self {
        Self { state: self.state.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state)
    }

    /// The `N` words of 64 random bits that follow the next `skip` ones, which stay the next ones.
    #[inline(always)]
    pub fn words<const N: usize>(&self, skip: u64) -> [u64; N] {
        std::array::from_fn(|n| {
            let steps = (skip + n as u64).wrapping_add(1);
            mix(self.state.wrapping_add(steps.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        })
    }

    /// A number in `0.0..1.0`.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An index in `0..n`; `n` must be above zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number from the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts `values` in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for n in (1..values.len()).rev() {
            values.swap(n, self.below(n + 1));
        }
    }
}

/// SplitMix64's output function: every input bit reaches every output bit.
#[inline(always)]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn streams_and_parts_differ_and_repeat() {
        let draw = |rng: Rng| (0..4).map(|_| rng.clone().bits()).collect::<Vec<_>>();
        assert_eq!(draw(Rng::new(1, "a")), draw(Rng::new(1, "a")));
        assert_ne!(draw(Rng::new(1, "a")), draw(Rng::new(1, "b")));
        assert_ne!(draw(Rng::new(1, "a")), draw(Rng::new(2, "a")));
        assert_ne!(draw(Rng::new(1, "a").fork(0)), draw(Rng::new(1, "a").fork(1)));
    }

    #[test]
    fn words_are_the_ones_to_come() {
        let mut rng = Rng::new(3, "words");
        let words: [u64; 4] = rng.words(1);
        rng.bits();
        assert_eq!(words.map(|_| rng.bits()), words);
    }

    #[test]
    fn moments_are_right() {
        let mut rng = Rng::new(7, "moments");
        let normal: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / 1e5;
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / 1e5 - mean * mean;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
        assert!((0..10_000).all(|_| rng.below(7) < 7));
    }
}
