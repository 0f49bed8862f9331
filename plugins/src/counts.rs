//! Scores that are the same for every user: what popularity-like recommenders share. Not a plugin.

use burn::tensor::{Tensor, TensorData};
use framework::checkpoint::{self, Tensors};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::roles::{Query, Scorer};
use std::path::Path;

/// One score per item.
pub(crate) struct Counts(pub(crate) Vec<f32>);

const FILE: &str = "counts.safetensors";

impl Counts {
    /// Counts each item in `interactions`.
    pub(crate) fn of<'a>(interactions: impl Iterator<Item = &'a u32>, num_items: usize) -> Self {
        let mut counts = vec![0.0; num_items];
        interactions.for_each(|item| counts[*item as usize] += 1.0);
        Self(counts)
    }

    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let (mut tensors, _) = checkpoint::read(&folder.join(FILE))?;
        let counts = tensors.remove("counts").ok_or_else(|| Error::new("no `counts` in it").at(FILE))?;
        Ok(Self(counts.1))
    }
}

impl Scorer for Counts {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let row = TensorData::new(self.0.clone(), [1, self.0.len()]);
        Ok(Tensor::from_data(row, &cx.device).repeat_dim(0, queries.len()))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let counts = (vec![self.0.len()], self.0.clone());
        checkpoint::write(&folder.join(FILE), &Tensors::from([("counts".to_string(), counts)]), "")
    }
}
