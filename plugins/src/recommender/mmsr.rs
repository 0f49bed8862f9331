//! A graph of the items of a history and of what their titles and pictures have in common; how it is trained is the
//! framework's business.

mod network;

use crate::clusters::clusters;
use crate::nn::features::{Features, embedded};
use burn::tensor::{Device, Int, Tensor, TensorData};
use framework::checkpoint::Tensors;
use framework::context::Context;
use framework::error::Result;
use framework::plugin::{Pick, defaults};
use framework::protocol::Train;
use framework::roles::{Embeddings, Loss, Recommender, Scorer};
use framework::training::{self, Training};
use network::Network;
use serde_json::{Value, json};
use std::path::Path;

framework::plugin! {
    /// MMSR: a graph network over a history whose nodes are its items, the clusters of their texts and those of their
    /// pictures. For each state it learns whether to look along the sequence first and across kinds then, which is
    /// late fusion, or the other way round, early fusion.
    ///
    /// Hu et al., CIKM 2023 (arXiv 2308.15980). As in the paper: nodes of three kinds, of which those of texts and
    /// pictures are clusters of features ("modality codes"); a node is linked with the nodes of its kind that it
    /// follows, precedes or both, with those of other kinds that it shares an interaction with, and with itself; among
    /// one kind attention compares contents, across kinds queries and keys; both orders of the two, where the first
    /// phase changes only what the second attends to ("non-invasive"); a gate between the orders. An item without a
    /// text or a picture, whose features are all zero, lacks that node.
    ///
    /// As in the authors' code: what a node starts from (its embedding, its kind and the mean of its positions, through
    /// one matrix), the form of both kinds of attention and of the gate, one layer, the last item's node as the state,
    /// a score that is the dot product with the items' embeddings, and training on prefixes of sequences, one target
    /// each. The defaults are those of its settings; they go with `training.learning_rate = 0.002`.
    ///
    /// What differs from the code: (1) There, keys and values are overwritten by the queries, and looking across kinds
    /// in the second phase uses nothing of the first; here both are as in the paper. (2) Its codes' embeddings start
    /// at the clusters' centres, these at random. (3) It can link an item with several clusters of a kind, this with
    /// one. (4) Positions count from the most recent interaction, not from the oldest. (5) Only what reaches the last
    /// item is computed; that leaves out the links between texts and pictures, which would need a second layer. (6) A
    /// step learns from `prefixes` prefixes of each row of training data, drawn anew, not from all, since each is a
    /// graph of its own. (7) The learning rate does not decay.
    struct Mmsr: Recommender = "mmsr" {
        /// Width of embeddings and nodes.
        #[range(1..=8192)]
        hidden_size: usize = 128,
        /// Clusters of texts, and as many of pictures.
        #[range(1..=100_000)]
        clusters: usize = 20,
        /// The share of the states that is dropped in training.
        #[range(0.0..1.0)]
        dropout: f64 = 0.4,
        /// The share of the attention weights that is dropped in training.
        #[range(0.0..1.0)]
        attention_dropout: f64 = 0.2,
        /// Prefixes of each row that a step learns from; `training.batch_size` counts rows.
        #[range(1..=100_000)]
        prefixes: usize = 8,
        /// The most recent interactions that it reads.
        #[range(1..=100_000)]
        max_seq_length: usize = 50,
        /// What the texts' clusters are made of.
        texts: Pick<dyn Embeddings> = Pick::named("title_words"),
        /// What the pictures' clusters are made of.
        pictures: Pick<dyn Embeddings> = Pick::named("pictures"),
        /// What the next item's score is trained against.
        loss: Pick<dyn Loss> = Pick::named("cross_entropy"),
        /// How it is trained.
        training: Training = defaults(),
    }
}

const CODES: &str = "codes";

impl Recommender for Mmsr {
    fn fit(&self, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let codes = Features::made(cx, || self.codes(train, cx))?;
        let network = self.network(&codes, &cx.device)?;
        Ok(codes.beside(training::fit(network, &*self.loss, &self.training, train, cx)?))
    }

    fn load(&self, folder: &Path, train: &Train, cx: &Context) -> Result<Box<dyn Scorer>> {
        let codes = Features::read(folder)?;
        let network = self.network(&codes, &cx.device)?;
        Ok(codes.beside(training::load(network, folder, train)?))
    }

    fn inputs(&self, cache: &Path) -> Result<Value> {
        Ok(json!({ "texts": self.texts.inputs(cache)?, "pictures": self.pictures.inputs(cache)? }))
    }
}

impl Mmsr {
    /// The codes of each item's text and picture, `[items, 2]`: a text's is its cluster, a picture's comes after those
    /// of texts, and what is missing has the one after all.
    fn codes(&self, train: &Train, cx: &Context) -> Result<Tensors> {
        let of = |embeddings: &Pick<dyn Embeddings>, key: &str| -> Result<Vec<Option<u32>>> {
            let (width, values) = embedded(embeddings, key, train, cx)?;
            Ok(clusters(&values, width, self.clusters, &mut cx.rng(key)))
        };
        let (texts, pictures) = (of(&self.texts, "texts")?, of(&self.pictures, "pictures")?);
        let missing = 2 * self.clusters;
        let code = |cluster: Option<u32>, first: usize| cluster.map_or(missing, |n| first + n as usize) as f32;
        let both = texts.into_iter().zip(pictures);
        let codes = both.flat_map(|(text, picture)| [code(text, 0), code(picture, self.clusters)]);
        Ok(Tensors::from([(CODES.to_string(), (vec![train.num_items(), 2], codes.collect()))]))
    }

    fn network(&self, codes: &Features, device: &Device) -> Result<Network> {
        let (_, codes) = codes.matrix(CODES)?;
        let missing = [(2 * self.clusters) as i64; 2];
        let codes: Vec<i64> = codes.iter().map(|code| *code as i64).chain(missing).collect();
        let shape = [codes.len() / 2, 2];
        Ok(Network::new(self, Tensor::<2, Int>::from_data(TensorData::new(codes, shape), device)))
    }
}

#[cfg(test)]
mod tests {
    use super::{CODES, Features, Mmsr, Tensors};
    use crate::fixture::{context, cycle, train};
    use framework::plugin::Setting;
    use framework::problem::Reader;
    use framework::roles::{Query, Recommender, Scorer};
    use framework::toml;
    use framework::training;

    fn mmsr(settings: &str) -> Mmsr {
        let table: toml::Table = settings.parse().expect("TOML");
        Mmsr::read(&toml::Value::Table(table), &mut Reader::default()).expect("right settings")
    }

    #[test]
    fn codes_of_texts_come_before_those_of_pictures() {
        let (cx, _folder) = context();
        let model = mmsr("clusters = 3\npictures = { use = \"title_words\" }");
        let tensors = model.codes(&train(4, &[&[0, 1, 2]]), &cx).expect("codes");
        let (shape, codes) = &tensors[CODES];
        assert_eq!(shape, &[4, 2]);
        for pair in codes.chunks(2) {
            assert!(pair[0] < 3.0 || pair[0] == 6.0, "{pair:?}");
            assert!((3.0..=6.0).contains(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn it_learns_a_cycle() {
        let ((cx, _folder), train) = (context(), cycle(12, 64, 9));
        let settings = "hidden_size = 32\nclusters = 4\n\
            training = { max_epochs = 20, learning_rate = 0.01, batch_size = 16 }";
        let model = mmsr(settings);
        let codes = (0..12u8).flat_map(|item| [f32::from(item % 4), 8.0]).collect();
        let codes = Features::made(&cx, || Ok(Tensors::from([(CODES.to_string(), (vec![12, 2], codes))])));
        let network = model.network(&codes.expect("codes"), &cx.device).expect("a network");
        let scorer = training::fit(network, &*model.loss, &model.training, &train, &cx).expect("it trains");
        let hits = train.validate(&*scorer, &cx).expect("it scores");
        assert!(hits > 0.95, "hr@1 {hits}");
    }

    #[test]
    fn a_checkpoint_scores_like_the_model_it_came_from() {
        let ((cx, _folder), (_elsewhere, saved), train) = (context(), context(), cycle(12, 20, 9));
        let settings = "hidden_size = 16\nclusters = 3\npictures = { use = \"title_words\" }\n\
            training = { max_epochs = 1 }";
        let model = mmsr(settings);
        let fitted = model.fit(&train, &cx).expect("it trains");
        fitted.save(saved.path()).expect("it is saved");
        let loaded = model.load(saved.path(), &train, &cx).expect("it is read");
        let queries: Vec<Query> = (0..train.validation.len()).map(|n| train.validation.query(n)).collect();
        let scores = |scorer: &dyn Scorer| scorer.score(&queries, &cx).expect("scores").into_data();
        assert_eq!(scores(&*fitted), scores(&*loaded));
    }
}
