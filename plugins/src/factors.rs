//! Factors that learn which of two items was chosen: what BPR's recommenders share. Not a plugin.

use crate::descent::{self, Pairwise, Step};
use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::Result;
use framework::fused::products;
use framework::host;
use framework::rng::Rng;
use framework::roles::{Query, Scorer};
use std::path::Path;

/// An item that was chosen, and the rows of the contexts that it was chosen in: the user, say, and the item before it.
pub(crate) struct Choice<const N: usize> {
    pub(crate) contexts: [u32; N],
    pub(crate) item: u32,
}

/// The items of each user's basket, as choices of users who left some item.
pub(crate) fn choices(baskets: &[Vec<u32>], num_items: usize) -> Vec<Choice<1>> {
    let users = baskets.iter().enumerate().filter(|(_, basket)| basket.len() < num_items);
    let chosen =
        users.flat_map(|(user, basket)| basket.iter().map(move |item| Choice { contexts: [user as u32], item: *item }));
    chosen.collect()
}

/// Scores an item by the sum, over the contexts, of the dot product of its factors and the context's, plus its bias.
#[derive(Clone)]
pub(crate) struct Factors<const N: usize> {
    width: usize,
    /// For each context `[rows, width]`, flat.
    contexts: [Vec<f32>; N],
    /// For each context `[items, width]`, flat.
    items: [Vec<f32>; N],
    /// All zero when they are not learned.
    biases: Vec<f32>,
    is_biased: bool,
    contexts_of: fn(&Query) -> [Option<u32>; N],
}

impl<const N: usize> Factors<N> {
    /// Zeros: contexts of so many `rows` each, and items. `contexts_of` says in which rows a query is, if in any.
    pub(crate) fn new(
        width: usize,
        rows: [usize; N],
        num_items: usize,
        is_biased: bool,
        contexts_of: fn(&Query) -> [Option<u32>; N],
    ) -> Self {
        let contexts = rows.map(|rows| vec![0.0; rows * width]);
        let items = rows.map(|_| vec![0.0; num_items * width]);
        Self { width, contexts, items, biases: vec![0.0; num_items], is_biased, contexts_of }
    }

    /// How far the chosen item leads the other.
    pub(crate) fn margin(&self, choice: &Choice<N>, other: u32) -> f32 {
        let chosen = choice.item;
        let mut margin = self.biases[chosen as usize] - self.biases[other as usize];
        for ((context, factors), items) in choice.contexts.iter().zip(&self.contexts).zip(&self.items) {
            let pairs = items[self.row(chosen)].iter().zip(&items[self.row(other)]);
            margin += factors[self.row(*context)].iter().zip(pairs).map(|(p, (q, r))| p * (q - r)).sum::<f32>();
        }
        margin
    }

    /// Moves all factors and biases that `margin` depends on; `slope` is the derivative by it of what is to grow.
    pub(crate) fn climb(&mut self, choice: &Choice<N>, other: u32, slope: f32, Step { rate, shrink }: Step) {
        let [chosen, left] = [self.row(choice.item), self.row(other)];
        let rows = choice.contexts.map(|context| self.row(context));
        for ((row, factors), items) in rows.into_iter().zip(&mut self.contexts).zip(&mut self.items) {
            let both = items.get_disjoint_mut([chosen.clone(), left.clone()]);
            let [up, down] = both.expect("the other item is not the chosen one");
            for ((p, q), r) in factors[row].iter_mut().zip(up).zip(down) {
                let (old_p, old_q, old_r) = (*p, *q, *r);
                *p += rate * (slope * (old_q - old_r) - shrink * old_p);
                *q += rate * (slope * old_p - shrink * old_q);
                *r += rate * (-slope * old_p - shrink * old_r);
            }
        }
        if self.is_biased {
            for (item, gradient) in [(choice.item, slope), (other, -slope)] {
                let bias = &mut self.biases[item as usize];
                *bias += rate * (gradient - shrink * *bias);
            }
        }
    }

    /// An item's factors for all contexts, one after the other.
    fn item(&self, item: usize) -> impl Iterator<Item = f32> {
        self.items.iter().flat_map(move |factors| &factors[item * self.width..][..self.width]).copied()
    }

    fn row(&self, n: u32) -> std::ops::Range<usize> {
        n as usize * self.width..(n as usize + 1) * self.width
    }
}

impl<const N: usize> Pairwise for Factors<N> {
    type Choice = Choice<N>;

    fn num_items(&self) -> usize {
        self.biases.len()
    }

    /// The biases are last.
    fn parts(&mut self) -> Vec<(String, usize, &mut Vec<f32>)> {
        let width = self.width;
        let contexts = self.contexts.iter_mut().enumerate();
        let contexts = contexts.map(move |(n, values)| (format!("contexts.{n}"), width, values));
        let items = self.items.iter_mut().enumerate();
        let items = items.map(move |(n, values)| (format!("items.{n}"), width, values));
        contexts.chain(items).chain([("biases".to_string(), 1, &mut self.biases)]).collect()
    }

    /// Draws all but the biases from a normal distribution with mean 0 and deviation 0.1.
    fn initialize(&mut self, rng: &Rng) {
        for (n, (_, _, values)) in self.parts().into_iter().take(2 * N).enumerate() {
            let mut rng = rng.fork(n as u64);
            values.iter_mut().for_each(|value| *value = (0.1 * rng.normal()) as f32);
        }
    }

    fn step(&mut self, choice: &Choice<N>, other: u32, step: Step) -> f32 {
        let margin = self.margin(choice, other);
        self.climb(choice, other, descent::slope(margin), step);
        descent::loss(margin)
    }
}

impl<const N: usize> Scorer for Factors<N> {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let (width, num_items) = (self.width, self.biases.len());
        let matrix = |values: Vec<f32>, rows: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [rows, N * width + 1]), &cx.device)
        };
        // One column more, which is one in every row of contexts, adds the items' biases.
        let mut rows = Vec::with_capacity(queries.len() * (N * width + 1));
        for query in queries {
            for (context, factors) in (self.contexts_of)(query).into_iter().zip(&self.contexts) {
                match context {
                    Some(row) => rows.extend(&factors[row as usize * width..][..width]),
                    None => rows.resize(rows.len() + width, 0.0),
                }
            }
            rows.push(1.0);
        }
        let items = (0..num_items).flat_map(|item| self.item(item).chain([self.biases[item]])).collect();
        Ok(products(matrix(rows, queries.len()), matrix(items, num_items)))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        descent::save(self, folder)
    }

    /// Those of all contexts side by side, `[items, N * width]`, without the biases.
    fn item_embeddings(&self) -> Option<Tensor<2>> {
        let (width, num_items) = (self.width, self.biases.len());
        let rows: Vec<f32> = (0..num_items).flat_map(|item| self.item(item)).collect();
        Some(Tensor::from_data(TensorData::new(rows, [num_items, N * width]), &host::device()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Factors, choices};
    use crate::descent::{Pairwise, Step};
    use crate::fixture::{context, rows};
    use framework::roles::{Query, Scorer};

    #[test]
    fn one_step_by_hand() {
        let factors = Factors {
            width: 1,
            contexts: [vec![1.0]],
            items: [vec![9.0, 2.0, 1.0]],
            biases: vec![0.0, 1.0, 1.0],
            is_biased: true,
            contexts_of: |_| [None],
        };
        let mut stepped = factors.clone();
        // Item 1 leads item 2 by 1 * (2 - 1) + (1 - 1).
        let loss = stepped.step(&Choice { contexts: [0], item: 1 }, 2, Step { rate: 0.1, shrink: 0.5 });
        let slope = 1.0 / (1.0 + 1f32.exp());
        let near = |values: &[f32], right: &[f32]| values.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&[loss], &[(1.0 + (-1f32).exp()).ln()]));
        assert!(near(&stepped.contexts[0], &[1.0 + 0.1 * (slope - 0.5)]));
        assert!(near(&stepped.items[0], &[9.0, 2.0 + 0.1 * (slope - 1.0), 1.0 + 0.1 * (-slope - 0.5)]));
        assert!(near(&stepped.biases, &[0.0, 1.0 + 0.1 * (slope - 0.5), 1.0 + 0.1 * (-slope - 0.5)]));
    }

    #[test]
    fn scores_are_sums_over_contexts_and_a_missing_one_adds_nothing() {
        let (cx, _folder) = context();
        let factors = Factors {
            width: 1,
            contexts: [vec![1.0, 2.0], vec![3.0, 7.0]],
            items: [vec![1.0, 10.0], vec![100.0, 1000.0]],
            biases: vec![0.5, 0.0],
            is_biased: true,
            contexts_of: |query| [Some(query.user), query.history.last().copied()],
        };
        let queries = [Query { history: &[1, 0], ..Query::default() }, Query { user: 1, ..Query::default() }];
        let scores = factors.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores.try_to_vec::<f32>().expect("floats"), [301.5, 3010.0, 2.5, 20.0]);
        let items = factors.item_embeddings().expect("they are there");
        assert_eq!(rows(items), [[1.0f32, 100.0], [10.0, 1000.0]]);
    }

    #[test]
    fn a_user_who_chose_everything_teaches_nothing() {
        let choices = choices(&[vec![0, 1], vec![1]], 2);
        let choices: Vec<(u32, u32)> = choices.iter().map(|choice| (choice.contexts[0], choice.item)).collect();
        assert_eq!(choices, [(1, 1)]);
    }
}
