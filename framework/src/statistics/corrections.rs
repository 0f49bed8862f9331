//! Corrections of p-values for the number of comparisons.
//!
//! `declared` is how many comparisons were announced. Those whose runs are missing have no p yet; they count as not told
//! apart, so that a table with rows to come promises no more than the whole one.

/// Holm's step-down adjustment, in the order given: calling those below .05 significant keeps the chance of any false
/// positive among all of them at 5 % or less (Holm, Scandinavian Journal of Statistics 6(2), 1979).
pub fn holm(p: &[f64], declared: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut adjusted, mut largest, all) = (vec![0.0; p.len()], 0.0_f64, declared.max(p.len()));
    for (smaller, &index) in order.iter().enumerate() {
        largest = largest.max(((all - smaller) as f64 * p[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// Benjamini and Hochberg's step-up adjustment, in the order given: of those below .05 that are called different, at
/// most 5 % are not, on average (Journal of the Royal Statistical Society B 57(1), 1995).
pub fn benjamini_hochberg(p: &[f64], declared: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let (mut adjusted, mut smallest, all) = (vec![0.0; p.len()], 1.0_f64, declared.max(p.len()));
    for (larger, &index) in order.iter().enumerate() {
        smallest = smallest.min(p[index] * all as f64 / (p.len() - larger) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}
