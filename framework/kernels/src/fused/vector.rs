//! Loops over slices that the compiler turns into the widest vector instructions of the machine it runs on.
//!
//! Sums are kept in lanes: in a single variable the order of the additions would forbid vector instructions.

use pulp::Simd;
use std::ops::Range;

/// Declares a function that is translated once for each set of vector instructions, and uses the widest that the
/// machine has. That reaches what is inlined into it: functions it calls in its loops are `inline(always)`. In brackets
/// stands the name by which it knows those instructions.
#[macro_export]
macro_rules! vectorized {
    ($(#[$doc:meta])* fn $name:ident<$l:lifetime>[$simd:pat]($($arg:ident: $ty:ty),* $(,)?) -> $out:ty $body:block) => {
        $(#[$doc])*
        fn $name<$l>($($arg: $ty),*) -> $out {
            struct Work<$l> { $($arg: $ty),* }
            impl<$l> $crate::pulp::WithSimd for Work<$l> {
                type Output = $out;
                #[inline(always)]
                fn with_simd<S: $crate::pulp::Simd>(self, $simd: S) -> $out {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            $crate::pulp::Arch::new().dispatch(Work { $($arg),* })
        }
    };
}
pub use vectorized;

const LANES: usize = 32;

/// The sum of `value` over `values`.
#[inline(always)]
pub fn sum(values: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for n in 0..LANES {
            lanes[n] += value(block[n]);
        }
    }
    rest.iter().map(|x| value(*x)).sum::<f32>() + lanes.iter().sum::<f32>()
}

/// The dot product of `a` and `b`.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let mut lanes = [0.0f32; WIDTH];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>());
    for (a, b) in a.iter().zip(b) {
        for n in 0..WIDTH {
            lanes[n] = a[n].mul_add(b[n], lanes[n]);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Turns `row` into `scale * softmax(row)`; gives its maximum and the sum of `exp(x - max)`.
#[inline(always)]
pub fn softmax(row: &mut [f32], scale: f32) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        for n in 0..LANES {
            lanes[n] = if block[n] > lanes[n] { block[n] } else { lanes[n] };
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = row.as_chunks_mut::<LANES>();
    for block in blocks {
        for n in 0..LANES {
            block[n] = exp(block[n] - max);
            lanes[n] += block[n];
        }
    }
    rest.iter_mut().for_each(|x| *x = exp(*x - max));
    let sum = lanes.iter().sum::<f32>() + rest.iter().sum::<f32>();
    let factor = scale / sum;
    for x in row {
        *x *= factor;
    }
    (max, sum)
}

/// `e^x` for `x <= 0` to 3e-7 relative: `2^n * p(r)` with `x = n ln 2 + r` (Cody and Waite, 1980).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the integer in the low bits of the mantissa.
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r + 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// A view of a matrix: element `(i, j)` is `values[i * rows + j * columns]`.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    /// The values.
    pub values: &'a [f32],
    /// The distance between rows.
    pub rows: usize,
    /// The distance between columns.
    pub columns: usize,
}

/// Rows of a result that are kept in registers at a time, and what its columns are a multiple of.
pub const TILE: (usize, usize) = (4, 32);

/// `c[i, j] = sum over k of a[i, k] * b[k, j]`, a tile at a time; with `add` that is added to what `c` holds.
///
/// `b` and `c` are dense and `width` columns wide; `width` and the rows of `c` are whole tiles. For four rows from `i`,
/// `extent(i)` gives the range of `k` outside of which their `a` is zero, and the columns of `c` that are wanted.
#[inline(always)]
pub fn multiply<S: Simd>(
    simd: S,
    a: Strided,
    b: &[f32],
    c: &mut [f32],
    width: usize,
    add: bool,
    extent: impl Fn(usize) -> (Range<usize>, usize),
) {
    let width = width / S::F32_LANES;
    let ((b, _), (c, _)) = (S::as_simd_f32s(b), S::as_mut_simd_f32s(c));
    for (block, c) in c.chunks_exact_mut(TILE.0 * width).enumerate() {
        let (inner, columns) = extent(block * TILE.0);
        let columns = columns.div_ceil(S::F32_LANES).min(width);
        for column in (0..columns).step_by(2) {
            let mut tile = [[simd.splat_f32s(0.0); 2]; TILE.0];
            for k in inner.clone() {
                let b = [b[k * width + column], b[k * width + column + 1]];
                for (row, tile) in tile.iter_mut().enumerate() {
                    let a = simd.splat_f32s(a.values[(block * TILE.0 + row) * a.rows + k * a.columns]);
                    tile[0] = simd.mul_add_f32s(a, b[0], tile[0]);
                    tile[1] = simd.mul_add_f32s(a, b[1], tile[1]);
                }
            }
            for (row, tile) in tile.into_iter().enumerate() {
                for (n, tile) in tile.into_iter().enumerate() {
                    let c = &mut c[row * width + column + n];
                    *c = if add { simd.add_f32s(*c, tile) } else { tile };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Strided, dot, exp, multiply, softmax};

    #[test]
    fn exp_is_exact_enough() {
        for n in 0..=8700 {
            let x = -f64::from(n) / 100.0;
            let relative = f64::from(exp(x as f32)) / f64::from(x as f32).exp() - 1.0;
            assert!(relative.abs() < 3e-7, "exp({x}) is off by {relative}");
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn softmax_and_dot_cover_every_element() {
        for len in [1, 31, 32, 77] {
            let mut row: Vec<f32> = (0..len).map(|n| (n as f32).sin()).collect();
            let exact: f32 = row.iter().map(|x| x.exp()).sum();
            let expected: Vec<f32> = row.iter().map(|x| 2.0 * x.exp() / exact).collect();
            softmax(&mut row, 2.0);
            assert!(row.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
            assert!((dot(&row, &row) - row.iter().map(|x| x * x).sum::<f32>()).abs() < 1e-5);
        }
    }

    #[test]
    fn multiply_agrees_with_the_definition() {
        let (rows, inner, width) = (8, 5, 64);
        let a: Vec<f32> = (0..rows * inner).map(|n| (n as f32).cos()).collect();
        let b: Vec<f32> = (0..inner * width).map(|n| (n as f32).sin()).collect();
        let mut c = vec![0.0; rows * width];
        // `a` is stored transposed.
        let transposed = Strided { values: &a, rows: 1, columns: rows };
        multiply(pulp::Scalar::new(), transposed, &b, &mut c, width, false, |_| (0..inner, width));
        for i in 0..rows {
            for j in 0..width {
                let expected: f32 = (0..inner).map(|k| a[k * rows + i] * b[k * width + j]).sum();
                assert!((c[i * width + j] - expected).abs() < 1e-5);
            }
        }
    }
}
