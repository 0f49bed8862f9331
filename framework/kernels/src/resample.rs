//! Many random weightings of the same cases, for the bootstrap and for randomization tests.
//!
//! A resample weights each case by how often it was drawn, a flip by 1 or -1, and both only ever look at weighted sums.
//! So all weightings of all columns are one matrix product. It is our own, because a library's adds up in an order that
//! depends on the machine's caches, and these sums end up in records that are compared bit for bit.

use crate::vectorized;
use rayon::prelude::*;

/// Columns and draws of a tile, whose sums stay in registers.
const COLUMNS: usize = 16;
const DRAWS: usize = 8;
/// Tiles of weightings that one thread makes and multiplies at once, and the numbers in them: at most that many of each.
const TILES: usize = 16;
const WEIGHTS: usize = 1 << 20;
/// Cases after which the sums are put aside, so that what is multiplied stays in the nearest cache.
const CASES: usize = 512;

/// The sums of a tile.
type Tile = [[f64; COLUMNS]; DRAWS];

/// `sums[column][draw]`: the sum of a column's values, each times its case's weight in that draw, in the order of the
/// cases on every machine.
///
/// Every column has `cases` values. `weigh` fills in the weights of a draw; it gets them as zeros. A value that is not a
/// number makes all sums of its column so.
///
/// # Panics
/// Where a column has another number of values.
pub fn weighted_sums(
    columns: &[&[f64]],
    cases: usize,
    draws: usize,
    weigh: impl Fn(usize, &mut [f64]) + Sync,
) -> Vec<Vec<f64>> {
    assert!(columns.iter().all(|column| column.len() == cases), "every column needs a value of every case");
    let panels: Vec<Vec<[f64; COLUMNS]>> = columns.par_chunks(COLUMNS).map(|columns| panel(columns, cases)).collect();
    let tiles = (WEIGHTS / (DRAWS * cases.max(1))).clamp(1, TILES);
    let blocks: Vec<Vec<Tile>> = (0..draws.div_ceil(tiles * DRAWS))
        .into_par_iter()
        .map(|block| {
            let drawn = |group: usize| {
                let first = (block * tiles + group) * DRAWS;
                let weights = (first..first + DRAWS).map(|draw| {
                    let mut weights = vec![0.0; cases];
                    weigh(draw, &mut weights);
                    weights
                });
                let weights: Vec<Vec<f64>> = weights.collect();
                panel(&weights.iter().map(Vec::as_slice).collect::<Vec<_>>(), cases)
            };
            let weights: Vec<Vec<[f64; DRAWS]>> = (0..tiles).map(drawn).collect();
            panels.iter().flat_map(|values| product(&weights, values)).collect()
        })
        .collect();
    let sums = |column: usize| {
        let of_block = |block: &Vec<Tile>| {
            let of_panel = &block[column / COLUMNS * tiles..][..tiles];
            of_panel.iter().flatten().map(|row| row[column % COLUMNS]).collect::<Vec<f64>>()
        };
        let mut sums: Vec<f64> = blocks.iter().flat_map(of_block).collect();
        sums.truncate(draws);
        sums
    };
    (0..columns.len()).into_par_iter().map(sums).collect()
}

/// Up to `N` columns, case by case.
fn panel<const N: usize>(columns: &[&[f64]], cases: usize) -> Vec<[f64; N]> {
    let mut rows = vec![[0.0; N]; cases];
    for (n, column) in columns.iter().enumerate() {
        rows.iter_mut().zip(*column).for_each(|(row, value)| row[n] = *value);
    }
    rows
}

/// The sums of one panel of columns for a block of draws.
fn product(weights: &[Vec<[f64; DRAWS]>], values: &[[f64; COLUMNS]]) -> Vec<Tile> {
    let mut sums = vec![[[0.0; COLUMNS]; DRAWS]; weights.len()];
    for (chunk, values) in values.chunks(CASES).enumerate() {
        for (weights, sums) in weights.iter().zip(&mut sums) {
            add(&weights[chunk * CASES..][..values.len()], values, sums);
        }
    }
    sums
}

vectorized! {
    /// Adds to `sums[draw][column]`. Each draw's sums have a name of their own, or they would not stay in registers.
    fn add<'a>[_simd](weights: &'a [[f64; DRAWS]], values: &'a [[f64; COLUMNS]], sums: &'a mut Tile) -> () {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *sums;
        for (weights, values) in weights.iter().zip(values) {
            add_times(&mut a, weights[0], values);
            add_times(&mut b, weights[1], values);
            add_times(&mut c, weights[2], values);
            add_times(&mut d, weights[3], values);
            add_times(&mut e, weights[4], values);
            add_times(&mut f, weights[5], values);
            add_times(&mut g, weights[6], values);
            add_times(&mut h, weights[7], values);
        }
        *sums = [a, b, c, d, e, f, g, h];
    }
}

#[inline(always)]
fn add_times(sums: &mut [f64; COLUMNS], weight: f64, values: &[f64; COLUMNS]) {
    for n in 0..COLUMNS {
        sums[n] = weight.mul_add(values[n], sums[n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn sums_are_those_of_plain_loops() {
        let mut rng = Rng::new(1, "test");
        for (cases, draws, count) in [(0, 3, 2), (1, 1, 1), (7, 65, 3), (130, 200, 5), (70_000, 20, 17)] {
            let columns: Vec<Vec<f64>> = (0..count).map(|_| (0..cases).map(|_| rng.normal()).collect()).collect();
            let borrowed: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            let weight = |draw: usize, case: usize| ((draw * 31 + case * 17) % 5) as f64 - 1.0;
            let weigh = |draw: usize, weights: &mut [f64]| {
                weights.iter_mut().enumerate().for_each(|(case, slot)| *slot = weight(draw, case));
            };
            let sums = weighted_sums(&borrowed, cases, draws, weigh);
            for (column, sums) in columns.iter().zip(&sums) {
                assert_eq!(sums.len(), draws);
                for (draw, sum) in sums.iter().enumerate() {
                    let plain: f64 = column.iter().enumerate().map(|(case, value)| value * weight(draw, case)).sum();
                    assert!((sum - plain).abs() < 1e-9, "draw {draw} of {draws}: {sum}, not {plain}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_in_its_column() {
        let sums = weighted_sums(&[&[1.0, f64::NAN], &[1.0, 2.0]], 2, 3, |_, weights| weights[0] = 1.0);
        assert!(sums[0].iter().all(|sum| sum.is_nan()));
        assert_eq!(sums[1], [1.0; 3]);
    }
}
