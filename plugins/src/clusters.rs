//! Clusters of vectors: k-means from starting points that lie apart. Not a plugin.

use framework::rng::Rng;
use rayon::prelude::*;

/// Rounds after which it stops, converged or not.
const ROUNDS: usize = 100;

/// The cluster, below `count`, of each row of `values` `[rows, width]`; rows of zeros, which say nothing, are in none.
///
/// Lloyd's algorithm (1982), started as k-means++ (Arthur and Vassilvitskii, SODA 2007). Where there are fewer
/// different rows than clusters, some clusters are empty.
pub(crate) fn clusters(values: &[f32], width: usize, count: usize, rng: &mut Rng) -> Vec<Option<u32>> {
    let known = |row: &&[f32]| row.iter().any(|value| *value != 0.0);
    let rows: Vec<&[f32]> = values.chunks_exact(width).filter(known).collect();
    let mut centres = starts(&rows, count, rng);
    let mut of_row: Vec<usize> = Vec::new();
    for _ in 0..ROUNDS {
        let now: Vec<usize> = rows.par_iter().map(|row| nearest(row, &centres)).collect();
        if now == of_row {
            break;
        }
        of_row = now;
        move_to_means(&mut centres, &rows, &of_row);
    }
    let mut of_row = of_row.into_iter().map(|cluster| cluster as u32);
    values.chunks_exact(width).map(|row| if known(&row) { of_row.next() } else { None }).collect()
}

/// Rows to start from, each drawn with a probability that grows with the squared distance to those drawn before.
fn starts(rows: &[&[f32]], count: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut centres: Vec<Vec<f32>> = Vec::new();
    let mut distances = vec![1.0f64; rows.len()];
    while centres.len() < count {
        let total: f64 = distances.iter().sum();
        let mut left = rng.uniform() * total;
        // Of rows on a centre the distance is zero, so they are passed over.
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let Some(row) = drawn.map(|row| rows[row]) else { break };
        centres.push(row.to_vec());
        distances.par_iter_mut().zip(rows).for_each(|(distance, other)| {
            let squared = f64::from(squared_distance(row, other));
            *distance = if centres.len() == 1 { squared } else { distance.min(squared) };
        });
    }
    centres
}

/// The centre next to `row`, of equals the first.
fn nearest(row: &[f32], centres: &[Vec<f32>]) -> usize {
    let distances = centres.iter().map(|centre| squared_distance(row, centre)).enumerate();
    distances.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(n, _)| n)
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Moves each centre to the mean of its rows; one without rows stays.
fn move_to_means(centres: &mut [Vec<f32>], rows: &[&[f32]], of_row: &[usize]) {
    let mut sums: Vec<(usize, Vec<f64>)> = centres.iter().map(|centre| (0, vec![0.0; centre.len()])).collect();
    for (row, cluster) in rows.iter().zip(of_row) {
        let (size, sum) = &mut sums[*cluster];
        *size += 1;
        sum.iter_mut().zip(*row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    for (centre, (size, sum)) in centres.iter_mut().zip(sums).filter(|(_, (size, _))| *size > 0) {
        centre.iter_mut().zip(sum).for_each(|(value, sum)| *value = (sum / size as f64) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::clusters;
    use framework::rng::Rng;

    #[test]
    fn rows_that_lie_together_are_together_and_zeros_are_nowhere() {
        let mut rng = Rng::new(1, "test");
        let mut values = Vec::new();
        for n in 0..60 {
            let near = |x: f32, rng: &mut Rng| x + 0.1 * rng.normal() as f32;
            values.extend(match n % 4 {
                3 => [0.0, 0.0],
                group => [near(50.0 * group as f32 - 4.0, &mut rng), near(3.0, &mut rng)],
            });
        }
        let of_row = clusters(&values, 2, 3, &mut rng);
        assert_eq!(of_row.len(), 60);
        for (n, cluster) in of_row.iter().enumerate() {
            assert_eq!(*cluster, of_row[n % 4], "row {n}");
            assert_eq!(cluster.is_none(), n % 4 == 3);
        }
        assert!(of_row[0] != of_row[1] && of_row[1] != of_row[2] && of_row[0] != of_row[2]);
    }

    #[test]
    fn there_may_be_fewer_different_rows_than_clusters() {
        let of_row = clusters(&[1.0, 1.0, 2.0, 0.0], 1, 9, &mut Rng::new(1, "test"));
        assert!(of_row[0] == of_row[1] && of_row[0] != of_row[2] && of_row[3].is_none());
        assert!(clusters(&[0.0, 0.0], 1, 2, &mut Rng::new(1, "test")).iter().all(Option::is_none));
    }
}
