//! How much each item says about each other one, in closed form.

use crate::baskets::{baskets, distinct};
use burn::tensor::{Tensor, TensorData};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Accum, Mat, Par};
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use std::path::Path;

plugin! {
    /// Embarrassingly shallow autoencoder: an item's score is a weighted sum over the history's items, with the weights
    /// that reconstruct the training data best when no item may explain itself.
    ///
    /// Steck, WWW 2019 (arXiv 1905.03375), equation 8: with X the binary matrix of users and items and
    /// `P = (X'X + regularization * I)^-1`, item i has the weight `B(i, j) = -P(i, j) / P(j, j)` for item j, 0 for
    /// itself, and `score(j) = sum of B(i, j) over the history's items i`. The default of `regularization` is
    /// RecBole's. The best one grows with the number of interactions: it needs tuning.
    ///
    /// Choices are binary: one that is repeated counts once. The paper scores from a user's whole history, this from
    /// the protocol's `max_history` most recent items. It knows neither their order nor who the user is.
    ///
    /// Time grows with the cube of the catalogue, memory with its square. The checkpoint is one triangle of P, all that
    /// B follows from, 2 bytes for each pair of items (23 MB for 3,416 items, 290 MB for 12,000): without it every run
    /// would invert twice, since it loads what it fitted.
    struct Ease: Recommender = "ease" {
        /// What is added to each item's number of users, on the diagonal of X'X.
        #[range(0.001..=1e9)]
        regularization: f64 = 250.0,
        /// Items at most: to fit takes 16 bytes of memory per pair of items, 6.4 GB for 20,000 items.
        #[range(1..=1_000_000)]
        max_items: usize = 20_000,
    }
}

const FILE: &str = "inverse.safetensors";

/// P, which is symmetric, with its diagonal apart.
struct Inverse {
    diagonal: Vec<f32>,
    /// `[items, items]`, flat, the diagonal zero.
    rest: Vec<f32>,
}

impl Recommender for Ease {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let n = train.num_items();
        if n > self.max_items {
            let memory = 16e-9 * n as f64 * n as f64;
            return Err(Error::new(format!("{n} items are too many: to fit them takes {memory:.1} GB of memory"))
                .at("recommender.max_items")
                .fix(format!("{n}, where there is as much memory, or a higher protocol.k_core")));
        }
        let gram = self.gram(&baskets(train), n);
        cx.proceed()?;
        let inverse = invert(gram)?;
        let diagonal = (0..n).map(|item| inverse[(item, item)] as f32).collect();
        let below = (0..n).flat_map(|item| &inverse.col_as_slice(item)[item + 1..]);
        let below: Vec<f32> = below.map(|value| *value as f32).collect();
        Ok(Box::new(Inverse::new(diagonal, &below)))
    }

    fn load(&self, folder: &Path, _train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
        let mut take = |name: &str| {
            let tensor = tensors.remove(name).map(|(_, values)| values);
            tensor.ok_or_else(|| Error::new(format!("no `{name}` in it")).at(FILE))
        };
        let (diagonal, below) = (take("diagonal")?, take("below")?);
        Ok(Box::new(Inverse::new(diagonal, &below)))
    }
}

impl Ease {
    /// The lower triangle of `X'X + regularization * I`.
    fn gram(&self, baskets: &[Vec<u32>], num_items: usize) -> Mat<f64> {
        let mut gram = Mat::<f64>::zeros(num_items, num_items);
        for basket in baskets {
            for (place, item) in basket.iter().enumerate() {
                let column = gram.col_as_slice_mut(*item as usize);
                basket[place..].iter().for_each(|other| column[*other as usize] += 1.0);
            }
        }
        (0..num_items).for_each(|item| gram[(item, item)] += self.regularization);
        gram
    }
}

/// The inverse of a symmetric positive definite matrix. Of both only the lower triangle counts.
///
/// In f64: with little regularization, f32 would leave few right digits. Two matrices are all the memory that it takes.
fn invert(mut matrix: Mat<f64>) -> Result<Mat<f64>> {
    let (n, threads) = (matrix.nrows(), Par::rayon(0));
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(n, threads, Default::default()));
    let memory = MemStack::new(&mut memory);
    cholesky_in_place(matrix.as_mut(), Default::default(), threads, memory, Default::default())
        .explain("inverting X'X + regularization * I", "recommender.regularization")
        .map_err(|error| error.fix("a larger one"))?;
    let mut factor = Mat::<f64>::zeros(n, n);
    invert_lower_triangular(factor.as_mut(), matrix.as_ref(), threads);
    let (lower, upper) = (BlockStructure::TriangularLower, BlockStructure::TriangularUpper);
    let transposed = factor.transpose();
    matmul(matrix.as_mut(), lower, Accum::Replace, transposed, upper, factor.as_ref(), lower, 1.0, threads);
    Ok(matrix)
}

impl Inverse {
    /// From the diagonal and what is below it, column by column.
    fn new(diagonal: Vec<f32>, below: &[f32]) -> Self {
        let n = diagonal.len();
        let mut rest = vec![0.0; n * n];
        let places = (0..n).flat_map(|column| (column + 1..n).map(move |row| (row, column)));
        for ((row, column), value) in places.zip(below) {
            rest[row * n + column] = *value;
            rest[column * n + row] = *value;
        }
        Self { diagonal, rest }
    }

    fn scores(&self, history: &[u32]) -> Vec<f32> {
        let n = self.diagonal.len();
        let mut sums = vec![0f32; n];
        for item in distinct(history) {
            let row = &self.rest[item as usize * n..][..n];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        sums.iter().zip(&self.diagonal).map(|(sum, own)| -sum / own).collect()
    }
}

impl Scorer for Inverse {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        // A history has few items, so adding their rows is less work than a product with all of B.
        let scores: Vec<f32> = queries.iter().flat_map(|query| self.scores(query.history)).collect();
        Ok(Tensor::from_data(TensorData::new(scores, [queries.len(), self.diagonal.len()]), &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let n = self.diagonal.len();
        let below: Vec<f32> = (0..n).flat_map(|item| &self.rest[item * n..][item + 1..n]).copied().collect();
        let tensors = Tensors::from([
            ("diagonal".to_string(), (vec![n], self.diagonal.clone())),
            ("below".to_string(), (vec![below.len()], below)),
        ]);
        checkpoint::write(&folder.join(FILE), &tensors, "")
    }
}

#[cfg(test)]
mod tests {
    use super::Ease;
    use crate::baskets::baskets;
    use crate::fixture::{context, cycle, train};
    use framework::context::Context;
    use framework::plugin::defaults;
    use framework::roles::{Query, Recommender, Scorer};

    fn scores(scorer: &dyn Scorer, histories: &[&[u32]], cx: &Context) -> Vec<f32> {
        let queries: Vec<Query> = histories.iter().map(|history| Query { history, ..Query::default() }).collect();
        scorer.score(&queries, cx).expect("scores").into_data().try_to_vec().expect("floats")
    }

    #[test]
    fn three_items_by_hand() {
        let (cx, _folder) = context();
        // One user chose items 0 and 1, another 0 and 2: X'X + I is [[3, 1, 1], [1, 2, 0], [1, 0, 2]], P is
        // [[4, -2, -2], [-2, 5, 1], [-2, 1, 5]] / 8.
        let train = train(3, &[&[0, 1, 2], &[0, 2, 1]]);
        let ease = Ease { regularization: 1.0, ..defaults() };
        let scorer = ease.fit(&train, &cx).expect("it inverts");
        let scores = scores(&*scorer, &[&[0], &[1], &[1, 2, 1]], &cx);
        let right: [f32; 9] = [0.0, 0.4, 0.4, 0.5, 0.0, -0.2, 1.0, -0.2, -0.2];
        assert_eq!(scores.len(), right.len());
        assert!(scores.iter().zip(right).all(|(score, right)| (score - right).abs() < 1e-6), "{scores:?}");
    }

    #[test]
    fn weights_solve_the_ridge_problem_and_so_do_those_of_the_checkpoint() {
        let (cx, _folder) = context();
        let (train, ease) = (cycle(7, 20, 5), Ease { regularization: 3.0, ..defaults() });
        let fitted = ease.fit(&train, &cx).expect("it inverts");
        fitted.save(&cx.work).expect("it is saved");
        let loaded = ease.load(&cx.work, &train, &cx).expect("it is read");
        let single: [&[u32]; 7] = [&[0], &[1], &[2], &[3], &[4], &[5], &[6]];
        let weights = scores(&*fitted, &single, &cx);
        assert_eq!(weights, scores(&*loaded, &single, &cx));
        // Off the diagonal, the gradient of |X - XB|^2 + regularization |B|^2 is zero where
        // (X'X + regularization I) B = X'X.
        let gram = ease.gram(&baskets(&train), 7);
        for (row, column) in (0..49usize).map(|place| (place / 7, place % 7)) {
            let product = (0..7).map(|k| gram[(row.max(k), row.min(k))] * f64::from(weights[k * 7 + column]));
            let product: f64 = product.sum();
            match row == column {
                true => assert_eq!(weights[row * 7 + column], 0.0),
                false => assert!((product - gram[(row.max(column), row.min(column))]).abs() < 1e-4),
            }
        }
    }

    #[test]
    fn a_catalogue_beyond_the_limit_is_refused_with_its_memory() {
        let (cx, _folder) = context();
        let ease = Ease { max_items: 11, ..defaults() };
        let message = ease.fit(&cycle(12, 4, 5), &cx).err().expect("too many items").to_string();
        for part in ["12 items are too many", "GB of memory", "recommender.max_items", "fix: 12"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
