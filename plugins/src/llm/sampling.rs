//! From logits to a token: penalties, temperature, top-k, top-p, allowed answers.

use framework::language::Decoding;
use framework::rng::Rng;

/// The token drawn from `logits` `[vocabulary]`, given the tokens already there; the most likely one when greedy.
pub(crate) fn draw(logits: &mut [f32], there: &[u32], decoding: &Decoding, rng: &mut Rng) -> u32 {
    if decoding.repetition_penalty != 1.0 {
        penalize(logits, there, decoding.repetition_penalty as f32);
    }
    if decoding.temperature == 0.0 {
        return best(logits);
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let descending = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let kept = if decoding.top_k == 0 { order.len() } else { decoding.top_k.min(order.len()) };
    if kept < order.len() {
        order.select_nth_unstable_by(kept - 1, descending);
        order.truncate(kept);
    }
    order.sort_unstable_by(descending);
    let max = f64::from(logits[order[0] as usize]);
    let weights = order.iter().map(|token| ((f64::from(logits[*token as usize]) - max) / decoding.temperature).exp());
    let mut weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    let mut reached = 0.0;
    let nucleus = weights.iter().position(|weight| {
        reached += weight;
        reached >= decoding.top_p * total
    });
    weights.truncate(nucleus.map_or(weights.len(), |last| last + 1));
    let mut point = rng.uniform() * weights.iter().sum::<f64>();
    let drawn = weights.iter().position(|weight| {
        point -= weight;
        point < 0.0
    });
    order[drawn.unwrap_or(weights.len() - 1)]
}

/// The token with the highest logit, the first of equals.
pub(crate) fn best(logits: &[f32]) -> u32 {
    let higher = |best: usize, n: usize| if logits[n] > logits[best] { n } else { best };
    (0..logits.len()).fold(0, higher) as u32
}

/// Makes each token that is already there less likely, once.
fn penalize(logits: &mut [f32], there: &[u32], penalty: f32) {
    let mut tokens = there.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(x) = logits.get_mut(token as usize) {
            *x = if *x > 0.0 { *x / penalty } else { *x * penalty };
        }
    }
}

/// The only answers allowed, as tokens with an end token each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices(pub(crate) Vec<Vec<u32>>);

impl Choices {
    /// The one answer that can still follow after `written`, if there is just one; the first of equal ones.
    pub(crate) fn only(&self, written: &[u32]) -> Option<usize> {
        let mut possible = (0..self.0.len()).filter(|n| self.0[*n].starts_with(written));
        let first = possible.next()?;
        possible.all(|n| self.0[n] == self.0[first]).then_some(first)
    }

    /// Two answers of which the second begins with the first, so that nothing tells whether the first has ended.
    pub(crate) fn prefix(&self) -> Option<(usize, usize)> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|n| &self.0[*n]);
        let begins =
            |pair: &&[usize]| self.0[pair[0]] != self.0[pair[1]] && self.0[pair[1]].starts_with(&self.0[pair[0]]);
        order.windows(2).find(begins).map(|pair| (pair[0], pair[1]))
    }

    /// Rules out every token with which no allowed answer goes on after `written`.
    pub(crate) fn constrain(&self, written: &[u32], logits: &mut [f32]) {
        let next = self.0.iter().filter(|choice| choice.starts_with(written)).filter_map(|c| c.get(written.len()));
        let allowed: Vec<(usize, f32)> = next.map(|token| (*token as usize, logits[*token as usize])).collect();
        logits.fill(f32::NEG_INFINITY);
        allowed.into_iter().for_each(|(token, logit)| logits[token] = logit);
    }
}

#[cfg(test)]
mod tests {
    use super::{Choices, best, draw};
    use framework::language::Decoding;
    use framework::plugin::defaults;
    use framework::rng::Rng;

    fn drawn(decoding: &Decoding, there: &[u32]) -> Vec<usize> {
        let logits = [1.0f32, 3.0, 2.0, -1.0];
        let mut counts = vec![0; 4];
        for n in 0..4000 {
            counts[draw(&mut logits.clone(), there, decoding, &mut Rng::new(n, "test")) as usize] += 1;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let decoding = Decoding { temperature: 2.0, ..defaults() };
        let weights = [0.5f64, 1.5, 1.0, -0.5].map(f64::exp);
        let total: f64 = weights.iter().sum();
        for (count, weight) in drawn(&decoding, &[]).into_iter().zip(weights) {
            assert!((count as f64 / 4000.0 - weight / total).abs() < 0.03);
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let counts = drawn(&Decoding { temperature: 1.0, top_k: 2, ..defaults() }, &[]);
        assert!(counts[0] == 0 && counts[3] == 0 && counts[1] > counts[2] && counts[2] > 0);
        // softmax: .0885, .654, .241, .012: the first two in order reach .85.
        let counts = drawn(&Decoding { temperature: 1.0, top_p: 0.85, ..defaults() }, &[]);
        assert!(counts[0] == 0 && counts[2] > 0);
        let counts = drawn(&Decoding { temperature: 1.0, top_p: 0.5, ..defaults() }, &[]);
        assert_eq!(counts, [0, 4000, 0, 0]);
    }

    #[test]
    fn repetition_is_penalized() {
        let decoding = Decoding { repetition_penalty: 2.0, ..defaults() };
        assert_eq!(draw(&mut [1.0, 3.0, 2.0], &[1, 1], &decoding, &mut Rng::new(1, "test")), 2);
        assert_eq!(draw(&mut [-1.0, -1.5], &[0, 7], &decoding, &mut Rng::new(1, "test")), 1);
        assert_eq!(best(&[1.0, 2.0, 2.0]), 1);
    }

    #[test]
    fn only_allowed_answers_can_follow() {
        let choices = Choices(vec![vec![1, 2, 9], vec![1, 3, 9], vec![1, 3, 4, 9]]);
        let mut logits = vec![5.0; 10];
        choices.constrain(&[1], &mut logits);
        let finite: Vec<usize> = (0..10).filter(|n| logits[*n].is_finite()).collect();
        assert_eq!(finite, [2, 3]);
        assert_eq!((choices.only(&[1]), choices.only(&[1, 2]), choices.only(&[1, 3])), (None, Some(0), None));
        assert_eq!((choices.prefix(), Choices(vec![vec![1, 2], vec![1]]).prefix()), (None, Some((1, 0))));
        assert_eq!(Choices(vec![vec![1, 2], vec![1, 2]]).only(&[1]), Some(0));
    }
}
