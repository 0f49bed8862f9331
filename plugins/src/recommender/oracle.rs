//! The best that can be done.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::{Error, Result};
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Query, Recommender, Scorer};
use framework::truth::Truth;
use std::path::Path;

plugin! {
    /// Ranks by the rule that generated the data: no recommender can be better but by luck.
    ///
    /// It is Bayes-optimal given the whole history. A protocol that hides interactions (a small `max_history`, a k-core
    /// that removes items) hides them from the oracle too.
    ///
    /// Told to believe in other strengths than the true ones, it shows what knowing an effect is worth: at 0 it is blind
    /// to it.
    struct Oracle: Recommender = "oracle" {
        /// The strength of categories that it believes in, if not the true one.
        category_strength: Option<f64> = None,
        /// The strength of styles that it believes in, if not the true one.
        style_strength: Option<f64> = None,
        /// The strength of groups that it believes in, if not the true one.
        group_strength: Option<f64> = None,
    }
}

struct Rule(Truth);

impl Recommender for Oracle {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let fix = "a generated dataset such as `world`";
        let truth = train.truth.as_ref().ok_or_else(|| Error::new("the dataset has no known truth").fix(fix))?;
        let mut believed = Truth::clone(truth);
        for factor in &mut believed.factors {
            let strength = match factor.name.as_str() {
                "category" => self.category_strength,
                "style" => self.style_strength,
                "group" => self.group_strength,
                _ => None,
            };
            factor.strength = strength.unwrap_or(factor.strength);
        }
        Ok(Box::new(Rule(believed)))
    }

    fn load(&self, _folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        self.fit(train, cx)
    }

    fn needs_truth(&self) -> bool {
        true
    }
}

impl Scorer for Rule {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let logits = queries.iter().flat_map(|query| self.0.logits(query.history));
        let logits: Vec<f32> = logits.map(|logit| logit as f32).collect();
        let shape = [queries.len(), self.0.popularity.len()];
        Ok(Tensor::from_data(TensorData::new(logits, shape), &cx.device))
    }

    fn save(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}
