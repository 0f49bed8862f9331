//! What a recommender learned about the items from who chose them.

use burn::tensor::Tensor;
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::roles::{Embeddings, Recommender};
use serde_json::Value;
use std::path::Path;

framework::plugin! {
    /// A recommender's ID embeddings: the row that it learned for each item, whatever the item is called or looks like.
    ///
    /// The recommender is fitted first, on the same training split and with the same seed as it would be alone, and is
    /// not trained further by what takes its embeddings. LLaRA (Liao et al., SIGIR 2024, arXiv 2312.02445) and RSLLM
    /// (arXiv 2412.16933) put such rows, projected, into a language model's prompt.
    ///
    /// It needs a recommender that has such rows: a sequence model, or one that factorizes. Where a model keeps an
    /// item's bias beside its row, the bias is the last column; where it has rows for several contexts, they are side
    /// by side.
    struct Ids: Embeddings = "ids" {
        /// The recommender.
        of: Pick<dyn Recommender>,
    }
}

impl Embeddings for Ids {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let cx = cx.inside("ids");
        std::fs::create_dir_all(&cx.work).explain("making a folder", cx.work.display())?;
        let rows = self.of.fit(train, &cx)?.item_embeddings().ok_or_else(|| {
            Error::new(format!("the recommender `{}` has no ID embeddings", self.of.name()))
                .at("embeddings.of")
                .fix("one that learns a row for each item, such as sasrec, gru4rec or bpr_mf")
        })?;
        // Some recommenders compute in main memory whatever the device is.
        Ok(rows.without_autodiff().to_device(&cx.device))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.of.inputs(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;
    use crate::fixture::{context, cycle, rows};
    use crate::reading::fixture::says;
    use framework::plugin::Setting;
    use framework::problem::Reader;
    use framework::roles::Embeddings;
    use framework::toml::{Table, Value};

    fn ids(recommender: &str) -> Ids {
        let table: Table = format!("of = {{ {recommender} }}").parse().expect("TOML");
        Ids::read(&Value::Table(table), &mut Reader::default()).expect("right settings")
    }

    #[test]
    fn they_are_those_of_the_recommender_fitted_alone() {
        let train = cycle(12, 24, 6);
        for (recommender, width) in [
            ("use = \"bpr_mf\", hidden_size = 3, training = { max_epochs = 2 }", 3),
            ("use = \"fpmc\", hidden_size = 3, training = { max_epochs = 2 }", 6),
            ("use = \"sasrec\", hidden_size = 8, num_layers = 1, training = { max_epochs = 1 }", 8),
        ] {
            let (model, (cx, _folder)) = (ids(recommender), context());
            let found = model.embed(&train, &cx).expect("vectors");
            assert_eq!(found.dims(), [12, width], "{recommender}");
            let (cx, _folder) = context();
            let alone = model.of.fit(&train, &cx).expect("it fits").item_embeddings().expect("it has them");
            assert_eq!(rows(found), rows(alone), "{recommender}");
        }
    }

    #[test]
    fn a_recommender_without_them_is_named() {
        let (cx, _folder) = context();
        let vectors = ids("use = \"popularity\"").embed(&cycle(12, 24, 6), &cx);
        says(vectors, &["the recommender `popularity` has no ID embeddings", "embeddings.of", "sasrec"]);
    }
}
