//! Titles as vectors of a sentence encoder.

use crate::llm::encoder::SentenceEncoder;
use burn::tensor::Tensor;
use framework::context::Context;
use framework::error::{Error, Result};
use framework::protocol::Train;
use framework::roles::Embeddings;
use framework::stage::file_hashes;
use serde_json::Value;
use std::path::{Path, PathBuf};

framework::plugin! {
    /// What a sentence encoder makes of the titles: vectors of length 1, near one another where titles mean similar
    /// things.
    ///
    /// Encoders are BERT-like and pool by the mean (Reimers and Gurevych, EMNLP 2019), as all-MiniLM-L6-v2 does, whose
    /// vectors have 384 numbers and which was trained on English. Nothing is trained here. An item that is called as
    /// its id, for want of a title, gets the vector of its id; a title that is empty, that of an empty text. Long
    /// titles are cut as the encoder says; all-MiniLM-L6-v2 reads 256 tokens.
    struct Titles: Embeddings = "titles" {
        /// A folder of sentence-transformers with `config.json`, `model.safetensors` and `tokenizer.json`: a path, or a
        /// name that `ablate fetch` was given.
        encoder: PathBuf = PathBuf::from("minilm"),
    }
}

impl Embeddings for Titles {
    fn embed(&self, train: &Train, cx: &Context) -> Result<Tensor<2>> {
        SentenceEncoder::open(&self.folder(&cx.cache)?, &cx.device)?.embed(&train.items.title, cx)
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        file_hashes(&SentenceEncoder::files(&self.folder(cache)?)?)
    }
}

impl Titles {
    /// The encoder's folder: as given, or in the cache.
    fn folder(&self, cache: &Path) -> Result<PathBuf> {
        let found = [self.encoder.clone(), cache.join(&self.encoder)].into_iter().find(|folder| folder.is_dir());
        found.ok_or_else(|| {
            let name = self.encoder.display().to_string();
            let fix = match name.contains('/') {
                true => format!("`ablate fetch {name}` first, or the path of an encoder's folder"),
                false => "`ablate fetch minilm` and encoder = \"minilm\", or the path of an encoder's folder".into(),
            };
            Error::new(format!("there is no sentence encoder at {name}")).at("embeddings.encoder").fix(fix)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Titles;
    use crate::fixture::{context, rows, titled};
    use crate::reading::fixture::says;
    use framework::plugin::defaults;
    use framework::roles::Embeddings;

    #[test]
    fn titles_that_mean_the_same_are_near() {
        let Some(folder) = std::env::var_os("ABLATE_MINILM") else {
            eprintln!("skipped: ABLATE_MINILM names no folder of all-MiniLM-L6-v2");
            return;
        };
        let (cx, _folder) = context();
        let titles = Titles { encoder: folder.into() };
        let train = titled(&["A spaceship in danger", "The starship is at risk", "Cooking with grandmother"]);
        let vectors = rows(titles.embed(&train, &cx).expect("vectors"));
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!(vectors.iter().all(|row| row.len() == 384 && (cosine(row, row) - 1.0).abs() < 1e-4));
        assert!(cosine(&vectors[0], &vectors[1]) > 0.2 + cosine(&vectors[0], &vectors[2]));
        let hashes = titles.inputs(&cx.cache).expect("hashes");
        assert!(hashes["model.safetensors"].is_string() && hashes["tokenizer.json"].is_string(), "{hashes}");
    }

    #[test]
    fn an_encoder_that_is_not_there_is_asked_for() {
        let (cx, _folder) = context();
        let titles: Titles = defaults();
        says(
            titles.inputs(&cx.cache),
            &["no sentence encoder at minilm", "embeddings.encoder", "`ablate fetch minilm`"],
        );
        let titles = Titles { encoder: "owner/name".into() };
        says(titles.embed(&titled(&["A"]), &cx), &["at owner/name", "`ablate fetch owner/name` first"]);
    }
}
