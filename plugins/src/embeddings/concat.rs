//! Several vectors of each item, side by side.

use burn::tensor::Tensor;
use framework::context::Context;
use framework::error::{Explain, Result};
use framework::plugin::Pick;
use framework::protocol::Train;
use framework::roles::Embeddings;
use serde_json::Value;
use std::path::Path;

framework::plugin! {
    /// Several embeddings side by side, in the order given: an item's vector is its vectors one after another.
    ///
    /// Nothing is scaled. Where lengths or dot products are compared, those with larger numbers or more of them count
    /// for more; a projection that is trained learns scales of its own.
    struct Concat: Embeddings = "concat" {
        /// The embeddings, at least one.
        of: Vec<Pick<dyn Embeddings>>,
    }
    check |concat, reader| {
        if concat.of.is_empty() {
            reader.conflict("of", "there is nothing to put side by side", "at least one, as in [{ use = \"titles\" }]");
        }
    }
}

impl Embeddings for Concat {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        let embed = |(n, part): (usize, &Pick<dyn Embeddings>)| {
            // Two of a kind must not take each other's unfinished work for their own.
            let cx = cx.inside(&format!("part-{n}"));
            std::fs::create_dir_all(&cx.work).explain("making a folder", cx.work.display())?;
            part.embed(train, &cx)
        };
        Ok(Tensor::cat(self.of.iter().enumerate().map(embed).collect::<Result<_>>()?, 1))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        self.of.iter().map(|part| part.inputs(cache)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Concat;
    use crate::fixture::{context, rows, titled};
    use framework::plugin::Setting;
    use framework::problem::Reader;
    use framework::roles::Embeddings;
    use framework::toml::{Table, Value};

    fn read(settings: &str) -> (Concat, Vec<String>) {
        let (table, mut reader): (Table, _) = (settings.parse().expect("TOML"), Reader::default());
        let concat = Concat::read(&Value::Table(table), &mut reader).expect("settings");
        (concat, reader.problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn an_items_vectors_follow_one_another() {
        let (cx, _folder) = context();
        let train = titled(&["Red harbour", "Blue harbour", ""]);
        let (both, mistakes) =
            read("of = [{ use = \"title_words\", width = 3 }, { use = \"title_words\", width = 2 }]");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let alone = [0, 1].map(|n| rows(both.of[n].embed(&train, &cx).expect("vectors")));
        let expected: Vec<Vec<f32>> = (0..3).map(|item| [&*alone[0][item], &*alone[1][item]].concat()).collect();
        assert_eq!(rows(both.embed(&train, &cx).expect("vectors")), expected);
        assert_eq!(both.inputs(&cx.cache).expect("inputs").as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn there_must_be_one() {
        assert_eq!(read("of = []").1, ["there is nothing to put side by side"]);
    }
}
