//! Which tokens are read together and which see which. No padding: tokens of all rows lie one after another.
//!
//! A row is a prefix and branches that continue it: each branch sees the prefix and itself, never another branch, and
//! its positions go on from the prefix. A row without a prefix and with one branch is a plain sequence. So candidates
//! that share a user's prompt, and examples packed together, cost their own tokens only.

use super::rope::Rope;
use std::ops::Range;

/// Tokens that may see one another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// The prefix, then the branches.
    pub(crate) tokens: Vec<u32>,
    /// Tokens of the prefix.
    pub(crate) prefix: usize,
    /// Where each branch begins.
    pub(crate) starts: Vec<usize>,
}

impl Row {
    /// A plain sequence.
    pub(crate) fn plain(tokens: Vec<u32>) -> Self {
        Self { tokens, prefix: 0, starts: vec![0] }
    }

    /// The longest prefix that `sequences` share, leaving each at least one token, and the rest of each as a branch.
    pub(crate) fn tree(sequences: &[Vec<u32>]) -> Self {
        let Some(first) = sequences.first() else { return Self::default() };
        let shared = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
        let shortest = sequences.iter().map(Vec::len).min().unwrap_or_default();
        let prefix = sequences.iter().map(shared).min().unwrap_or_default().min(shortest.saturating_sub(1));
        let prefix = if sequences.len() == 1 { 0 } else { prefix };
        let mut row = Self { tokens: first[..prefix].to_vec(), prefix, starts: Vec::new() };
        for sequence in sequences {
            row.starts.push(row.tokens.len());
            row.tokens.extend(&sequence[prefix..]);
        }
        row
    }

    /// The places of branch `n`.
    pub(crate) fn branch(&self, n: usize) -> Range<usize> {
        self.starts[n]..self.starts.get(n + 1).copied().unwrap_or(self.tokens.len())
    }
}

/// A row's place among the tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    /// Its first token.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) prefix: usize,
}

/// Rows laid out one after another.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) spans: Vec<Span>,
    /// Where each token's branch begins, counted within its row.
    pub(crate) begins: Vec<u32>,
    /// Each token's position.
    pub(crate) positions: Vec<u32>,
    /// The most recent positions a token sees.
    pub(crate) window: usize,
    /// Cosine and sine of each token's turn, `[tokens, head_dim / 2]`.
    pub(crate) cosines: Vec<f32>,
    pub(crate) sines: Vec<f32>,
}

impl Layout {
    /// The layout of `rows` for heads of `head_dim`.
    pub(crate) fn new(rows: &[Row], rope: &Rope, head_dim: usize, window: Option<usize>) -> Self {
        let (mut spans, mut begins, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            spans.push(Span { offset: positions.len(), len: row.tokens.len(), prefix: row.prefix });
            (0..row.prefix as u32).for_each(|n| positions.push(n));
            begins.extend(std::iter::repeat_n(0, row.prefix));
            for n in 0..row.starts.len() {
                let branch = row.branch(n);
                positions.extend((0..branch.len()).map(|n| (row.prefix + n) as u32));
                begins.extend(std::iter::repeat_n(branch.start as u32, branch.len()));
            }
        }
        let (cosines, sines) = turns(&positions, rope, head_dim);
        Self { spans, begins, positions, window: window.unwrap_or(usize::MAX), cosines, sines }
    }

    /// The tokens in all.
    #[cfg(test)]
    pub(crate) fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// What token `i` of a row sees there: a part of the prefix, and a part of its own branch up to itself.
    #[inline(always)]
    pub(crate) fn visible(&self, span: &Span, i: usize) -> [Range<usize>; 2] {
        let begin = self.begins[span.offset + i] as usize;
        let position = self.positions[span.offset + i] as usize;
        let earliest = (position + 1).saturating_sub(self.window);
        let prefix = span.prefix.min(begin);
        [earliest.min(prefix)..prefix, begin.max((i + 1).saturating_sub(self.window))..i + 1]
    }
}

/// Cosine and sine of position times frequency, `[positions, head_dim / 2]` each.
pub(crate) fn turns(positions: &[u32], rope: &Rope, head_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let frequencies = rope.frequencies(head_dim);
    let angles = positions.iter().flat_map(|position| frequencies.iter().map(move |f| *position as f32 * f));
    angles.map(|angle| (angle.cos(), angle.sin())).unzip()
}

#[cfg(test)]
mod tests {
    use super::{Layout, Row};
    use crate::llm::rope::{Rope, Scaling};

    const ROPE: Rope = Rope { theta: 10_000.0, scaling: Scaling::None };

    #[test]
    fn a_tree_shares_what_sequences_begin_with() {
        let row = Row::tree(&[vec![1, 2, 3], vec![1, 2, 4, 5], vec![1, 2]]);
        assert_eq!(row, Row { tokens: vec![1, 2, 3, 2, 4, 5, 2], prefix: 1, starts: vec![1, 3, 6] });
        assert_eq!(row.branch(1), 3..6);
        assert_eq!(Row::tree(&[vec![7, 8]]), Row::plain(vec![7, 8]));
    }

    #[test]
    fn branches_see_the_prefix_and_themselves() {
        let rows = [Row::plain(vec![9]), Row::tree(&[vec![1, 2, 3], vec![1, 4, 5]])];
        let layout = Layout::new(&rows, &ROPE, 4, None);
        assert_eq!(layout.positions, [0, 0, 1, 2, 1, 2]);
        let seen = |i: usize| layout.visible(&layout.spans[1], i).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!([seen(0), seen(2), seen(3), seen(4)], [vec![0], vec![0, 1, 2], vec![0, 3], vec![0, 3, 4]]);
        let layout = Layout::new(&rows, &ROPE, 4, Some(2));
        let seen = |i: usize| layout.visible(&layout.spans[1], i).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!([seen(1), seen(2), seen(3), seen(4)], [vec![0, 1], vec![1, 2], vec![0, 3], vec![3, 4]]);
    }
}
