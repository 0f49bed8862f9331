//! Where a target stands among scores, and which scores are best, without sorting them.

use crate::vectorized;

/// How many of `scores` are above `target`, equal to it, and not numbers.
pub fn count(scores: &[f32], target: f32) -> [u32; 3] {
    counted(scores, target)
}

vectorized! {
    fn counted<'a>[_](scores: &'a [f32], target: f32) -> [u32; 3] {
        let mut counts = [0u32; 3];
        for score in scores {
            counts[0] += u32::from(*score > target);
            counts[1] += u32::from(*score == target);
            counts[2] += u32::from(score.is_nan());
        }
        counts
    }
}

/// Scores that are looked at together: most of them hold none that is good enough.
const STRETCH: usize = 64;

/// The places of the `depth` highest of `scores`, highest first; of equal ones the earlier, so that the order is the same
/// everywhere. None of the scores is NaN.
pub fn best(scores: &[f32], depth: usize) -> Vec<u32> {
    let mut best: Vec<(f32, u32)> = Vec::with_capacity(depth + 1);
    for (stretch, values) in scores.chunks(STRETCH).enumerate() {
        // An equal score comes later than those that are there already, so it is no better.
        if best.len() == depth && best.last().is_none_or(|(worst, _)| highest(values) <= *worst) {
            continue;
        }
        for (n, score) in values.iter().enumerate() {
            if best.len() == depth && best.last().is_none_or(|(worst, _)| score <= worst) {
                continue;
            }
            let place = best.partition_point(|(other, _)| other >= score);
            best.insert(place, (*score, (stretch * STRETCH + n) as u32));
            best.truncate(depth);
        }
    }
    best.into_iter().map(|(_, place)| place).collect()
}

vectorized! {
    fn highest<'a>[_](values: &'a [f32]) -> f32 {
        values.iter().fold(f32::NEG_INFINITY, |highest, value| if *value > highest { *value } else { highest })
    }
}

#[cfg(test)]
mod tests {
    use super::{best, count};
    use crate::rng::Rng;

    #[test]
    fn counts_and_lists_are_those_of_a_sort() {
        let mut rng = Rng::new(1, "test");
        for levels in [3, 40, 100_000] {
            for len in [1, 7, 64, 65, 1000] {
                let scores: Vec<f32> = (0..len).map(|_| rng.below(levels) as f32 - 20.0).collect();
                let target = scores[rng.below(len)];
                let above = scores.iter().filter(|score| **score > target).count() as u32;
                let equal = scores.iter().filter(|score| **score == target).count() as u32;
                assert_eq!(count(&scores, target), [above, equal, 0]);
                let mut sorted: Vec<u32> = (0..len as u32).collect();
                sorted.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
                for depth in [0, 1, 10, len, len + 5] {
                    assert_eq!(best(&scores, depth), sorted[..depth.min(len)]);
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_is_counted_and_infinities_are_numbers() {
        let scores = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY, f32::NAN];
        assert_eq!(count(&scores, 1.0), [1, 1, 2]);
        assert_eq!(best(&scores[1..4], 3), [2, 1, 0]);
        assert_eq!(best(&[f32::NEG_INFINITY; 3], 2), [0, 1]);
    }
}
