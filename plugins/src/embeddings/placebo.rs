//! A control for embeddings: vectors of the same form that say nothing about their items.

use crate::placebo::{Kind, shuffle};
use burn::tensor::{Int, Tensor, TensorData};
use framework::context::Context;
use framework::error::Result;
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::rng::Rng;
use framework::roles::Embeddings;
use serde_json::Value;
use std::path::Path;

framework::plugin! {
    /// Other embeddings without what they say about the items: whether a model uses it, or merely that there are
    /// vectors.
    ///
    /// Shuffled, an item gets another item's vector. Random vectors are Gaussian, with the mean and the standard
    /// deviation that each column has over the items; what columns have to do with each other is lost, and so are
    /// lengths, where all were the same, and zeros of items that had nothing. Blank ones are zeros.
    struct Placebo: Embeddings = "placebo" {
        /// The embeddings whose vectors are replaced.
        of: Pick<dyn Embeddings>,
        /// By what.
        kind: Kind = Kind::Shuffle,
        /// What the random numbers come from, the same for all seeds of an experiment.
        seed: u64 = 1,
    }
}

impl Embeddings for Placebo {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        // Also for zeros, which are as wide: only those who make the vectors know how wide they are.
        let vectors = self.of.embed(train, cx)?;
        let mut rng = Rng::new(self.seed, "embeddings");
        Ok(match self.kind {
            Kind::Shuffle => shuffled(vectors, &mut rng),
            Kind::Random => noise(vectors, &mut rng),
            Kind::Blank => vectors.zeros_like(),
        })
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.of.inputs(cache)
    }
}

/// `vectors` `[items, width]` with each row in another's place.
fn shuffled(vectors: Tensor<2>, rng: &mut Rng) -> Tensor<2> {
    let [items, _] = vectors.dims();
    let order = shuffle(&(0..items as i64).collect::<Vec<i64>>(), rng);
    let order = Tensor::<1, Int>::from_data(TensorData::new(order, [items]), &vectors.device());
    vectors.select(0, order)
}

/// Gaussian numbers with the moments of each column of `vectors` `[items, width]`, in their shape.
fn noise(vectors: Tensor<2>, rng: &mut Rng) -> Tensor<2> {
    let ([items, width], device) = (vectors.dims(), vectors.device());
    let values: Vec<f64> = vectors.into_data().iter::<f64>().collect();
    let moments = |n: usize| {
        let column = || values.iter().skip(n).step_by(width);
        let mean = column().sum::<f64>() / items as f64;
        let variance = column().map(|value| (value - mean).powi(2)).sum::<f64>() / items as f64;
        (mean, variance.sqrt())
    };
    let moments: Vec<(f64, f64)> = (0..width).map(moments).collect();
    let rows = (0..items).flat_map(|_| &moments);
    let noise: Vec<f32> = rows.map(|(mean, deviation)| (mean + deviation * rng.normal()) as f32).collect();
    Tensor::from_data(TensorData::new(noise, [items, width]), &device)
}

#[cfg(test)]
mod tests {
    use super::{Placebo, noise};
    use crate::fixture::{context, rows, train};
    use crate::placebo::Kind;
    use burn::tensor::{Device, Tensor, TensorData};
    use framework::plugin::Pick;
    use framework::rng::Rng;
    use framework::roles::Embeddings;

    #[test]
    fn the_form_stays_and_nobody_keeps_their_own() {
        let (cx, _folder) = context();
        // Items are called as their numbers, so their words differ.
        let train = train(40, &[&[0, 1]]);
        let vectors = |kind| {
            let placebo = Placebo { of: Pick::named("title_words"), kind, seed: 1 };
            rows(placebo.embed(&train, &cx).expect("vectors"))
        };
        let of: Pick<dyn Embeddings> = Pick::named("title_words");
        let mut own = rows(of.embed(&train, &cx).expect("vectors"));
        let mut shuffled = vectors(Kind::Shuffle);
        assert!(own.iter().zip(&shuffled).all(|(own, other)| own != other));
        assert_eq!(shuffled, vectors(Kind::Shuffle), "the same in every run");
        for rows in [&mut own, &mut shuffled] {
            rows.sort_by(|a, b| a[0].total_cmp(&b[0]));
        }
        assert_eq!(own, shuffled);
        assert_eq!(vectors(Kind::Blank), vec![vec![0.0; 64]; 40]);
    }

    #[test]
    fn noise_has_the_moments_of_each_column() {
        let column = |n: usize| if n.is_multiple_of(2) { 3.0 } else { -1.0 + 4.0 * f32::from(n % 4 == 1) };
        let values: Vec<f32> = (0..20_000).map(column).collect();
        let vectors = Tensor::<2>::from_data(TensorData::new(values, [10_000, 2]), &Device::flex());
        let noise = rows(noise(vectors, &mut Rng::new(1, "test")));
        assert!(noise.iter().all(|row| row[0] == 3.0), "a column without deviation");
        let mean = noise.iter().map(|row| row[1]).sum::<f32>() / 1e4;
        let variance = noise.iter().map(|row| (row[1] - mean).powi(2)).sum::<f32>() / 1e4;
        assert!((mean - 1.0).abs() < 0.1 && (variance.sqrt() - 2.0).abs() < 0.1, "{mean} {variance}");
    }
}
