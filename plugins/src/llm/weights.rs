//! A decoder's weights on disk, in Hugging Face's folders or GGUF files, as f32 by Hugging Face's names. Not tensors on
//! a device.

use super::architecture::Architecture;
use super::gguf::Gguf;
use super::pickle::Pickles;
use super::tokenizer::Tokenizer;
use framework::error::{Error, Explain, Result};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Files of a folder that decide the model besides its weights.
const BESIDES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// An open checkpoint, mapped into memory.
pub(crate) struct Weights {
    path: PathBuf,
    architecture: Architecture,
    files: Files,
}

enum Files {
    Folder(Safetensors),
    Pickled(Pickles),
    Gguf(Gguf),
}

impl Weights {
    /// Opens a Hugging Face folder (`config.json` and `model.safetensors`, whole or sharded, or else
    /// `pytorch_model.bin`) or a `.gguf` file.
    ///
    /// An error if the model is not supported, or a weight is missing or has another shape than the configuration says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (files, architecture) = if is_gguf(path)? {
            let file = Gguf::open(path)?;
            let architecture = Architecture::from_config(&file.config()?, path.display())?;
            (Files::Gguf(file), architecture)
        } else {
            let config = path.join("config.json");
            if !config.is_file() {
                return Err(no_model("the folder has no config.json", path));
            }
            let architecture = Architecture::from_config(&read_json(&config)?, config.display())?;
            let files = match listed(path, PICKLED)? {
                Some(pickled) if listed(path, SAFETENSORS)?.is_none() => Files::Pickled(Pickles::open(&pickled)?),
                _ => Files::Folder(Safetensors::open(path)?),
            };
            (files, architecture)
        };
        let weights = Self { path: path.to_path_buf(), architecture, files };
        for (name, shape) in weights.architecture.tensors() {
            let problem = match weights.shape(&name) {
                None => format!("the weight `{name}` is missing"),
                Some(stored) if stored != shape => {
                    format!("the weight `{name}` has shape {stored:?}, but the configuration says {shape:?}")
                }
                Some(_) => continue,
            };
            let fix = format!("a complete checkpoint of the `{}` family", weights.architecture.family);
            return Err(Error::new(problem).at(path.display()).fix(fix));
        }
        Ok(weights)
    }

    pub(crate) fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The files whose bytes decide the model that `path` names.
    pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
        if is_gguf(path)? {
            return Ok(vec![path.to_path_buf()]);
        }
        let mut files = match (listed(path, SAFETENSORS)?, listed(path, PICKLED)?) {
            (Some(files), _) | (None, Some(files)) => files,
            (None, None) => Safetensors::files(path)?,
        };
        files.extend(BESIDES.map(|name| path.join(name)).into_iter().filter(|file| file.is_file()));
        Ok(files)
    }

    /// Whether a weight is there, by Hugging Face's name.
    #[cfg(test)]
    pub(crate) fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// A weight's shape (`[out, in]` for matrices) and values, by Hugging Face's name.
    pub(crate) fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let values = match &self.files {
            Files::Folder(folder) => return folder.tensor(name),
            Files::Pickled(files) => files.tensor(name),
            Files::Gguf(file) => file.tensor(name, &self.architecture),
        };
        let missing = || Error::new(format!("the weight `{name}` is missing")).at(self.path.display());
        Ok((self.shape(name).ok_or_else(missing)?, values.ok_or_else(missing)??))
    }

    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        match &self.files {
            Files::Folder(_) | Files::Pickled(_) => Tokenizer::from_folder(&self.path),
            Files::Gguf(file) => Tokenizer::from_gguf(file.header(), &self.path),
        }
    }

    /// Where it comes from and under which licence, as far as its files say: `revision.json` of `ablate fetch`, or the
    /// header of a GGUF file.
    pub(crate) fn source(&self) -> Result<Value> {
        match &self.files {
            Files::Folder(_) | Files::Pickled(_) => {
                let pinned = read_json_if_any(&self.path.join("revision.json"))?;
                Ok(json!({"name": pinned["repository"], "revision": pinned["revision"], "licence": pinned["licence"]}))
            }
            Files::Gguf(file) => {
                let (name, licence) = (file.header().get("general.name"), file.header().get("general.license"));
                Ok(json!({"name": name, "revision": null, "licence": licence}))
            }
        }
    }

    /// How many tensors are stored in which format.
    pub(crate) fn formats(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let mut count = |format: String| *counts.entry(format).or_default() += 1;
        match &self.files {
            Files::Folder(folder) => folder.formats().for_each(&mut count),
            Files::Pickled(files) => files.formats().for_each(&mut count),
            Files::Gguf(file) => file.formats().for_each(&mut count),
        }
        counts
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match &self.files {
            Files::Folder(folder) => folder.find(name).map(|(_, info)| info.shape.clone()),
            Files::Pickled(files) => files.shape(name),
            Files::Gguf(file) => file.shape(name),
        }
    }
}

/// The tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
pub(crate) struct Safetensors {
    folder: PathBuf,
    shards: Vec<Shard>,
}

struct Shard {
    map: Mmap,
    header: Metadata,
    /// Where the tensors begin, in bytes.
    start: usize,
}

impl Safetensors {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let shards = Self::files(folder)?.iter().map(|path| Shard::open(path)).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_path_buf(), shards })
    }

    /// The files of `folder` that hold tensors.
    pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        listed(folder, SAFETENSORS)?.ok_or_else(|| {
            let error = Error::new("there is no model.safetensors, nor its index").at(folder.display());
            error.fix("a model saved in safetensors (transformers: `save_pretrained`)")
        })
    }

    /// A tensor's shape and values.
    pub(crate) fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || Error::new(format!("the weight `{name}` is missing")).at(self.folder.display());
        let (shard, info) = self.find(name).ok_or_else(missing)?;
        let (begin, end) = info.data_offsets;
        let bytes = &shard.map[shard.start + begin..shard.start + end];
        let values = match info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            other => {
                let error = Error::new(format!("the weight `{name}` is stored as {other:?}, which is not supported"));
                return Err(error.at(self.folder.display()).fix("a model in F32, F16 or BF16"));
            }
        };
        Ok((info.shape.clone(), values))
    }

    fn find(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        self.shards.iter().find_map(|shard| Some((shard, shard.header.info(name)?)))
    }

    fn formats(&self) -> impl Iterator<Item = String> {
        let infos = self.shards.iter().flat_map(|shard| shard.header.tensors().into_values());
        infos.map(|info| format!("{:?}", info.dtype))
    }
}

/// The names of a model's weights: one file, or the index of several.
const SAFETENSORS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The files with weights in `folder`, if there are any by these names.
fn listed(folder: &Path, [whole, index]: [&str; 2]) -> Result<Option<Vec<PathBuf>>> {
    let (whole, index) = (folder.join(whole), folder.join(index));
    if whole.is_file() {
        return Ok(Some(vec![whole]));
    }
    if !index.is_file() {
        return Ok(None);
    }
    let content = read_json(&index)?;
    let names = content.get("weight_map").and_then(Value::as_object);
    let names: BTreeSet<&str> = names.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str).collect();
    let files: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        None if files.is_empty() => Err(Error::new("the index lists no files").at(index.display())),
        None => Ok(Some(files)),
        Some(missing) => {
            let name = missing.file_name().unwrap_or_default().to_string_lossy();
            let error = Error::new(format!("`{name}`, one of {} files with weights, is missing", files.len()));
            Err(error.at(folder.display()).fix("all files of the model"))
        }
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self> {
        let map = map(path)?;
        let (length, header) = SafeTensors::read_metadata(&map).map_err(|error| {
            let error = Error::new(format!("cannot read the weights: {error}")).at(path.display());
            error.fix("a complete safetensors file; was a download or copy cut short?")
        })?;
        Ok(Self { start: 8 + length, header, map })
    }
}

/// Maps a file into memory, to be read only.
#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).explain("cannot open the file", path.display())?;
    // SAFETY: bytes are only read. Whoever changes weights while a program runs on them breaks that program.
    unsafe { Mmap::map(&file) }.explain("cannot map the file into memory", path.display())
}

/// A JSON file's content.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).explain("cannot read the file", path.display())?;
    serde_json::from_str(&text).explain("the file is not JSON", path.display())
}

/// A JSON file's content, `null` if there is no such file.
pub(crate) fn read_json_if_any(path: &Path) -> Result<Value> {
    if path.is_file() { read_json(path) } else { Ok(Value::Null) }
}

fn is_gguf(path: &Path) -> Result<bool> {
    let gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if path.is_dir() || gguf && path.is_file() {
        return Ok(gguf && path.is_file());
    }
    Err(no_model("there is no language model", path))
}

fn no_model(what: &str, path: &Path) -> Error {
    let fix = "a folder in Hugging Face's format (config.json, model.safetensors, tokenizer.json), or a .gguf file";
    Error::new(what).at(path.display()).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::Weights;
    use serde_json::{Value, json};
    use std::path::{Path, PathBuf};
    use tempfile::TempDir;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/language_model");

    fn fixture(name: &str) -> PathBuf {
        Path::new(FIXTURES).join(name)
    }

    /// A copy of the fixture `llama` with its configuration and weights, to be changed.
    fn copy() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture("llama").join(file), folder.path().join(file)).expect("a copy");
        }
        folder
    }

    fn message(folder: &TempDir) -> String {
        Weights::open(folder.path()).err().expect("an error").to_string()
    }

    /// Writes tensors of one dtype, `(name, shape)`, whose bytes are all `byte`.
    fn write(path: &Path, dtype: &str, size: usize, byte: u8, tensors: &[(String, Vec<usize>)]) {
        let mut end = 0;
        let mut header = json!({});
        for (name, shape) in tensors {
            let start = end;
            end += shape.iter().product::<usize>() * size;
            header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        }
        let header = header.to_string();
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![byte; end]].concat();
        std::fs::write(path, file).expect("a file");
    }

    #[test]
    fn every_fixture_opens_with_all_its_weights() {
        for name in ["llama", "llama3", "mistral", "mistral_window", "qwen2", "qwen3"] {
            let weights = Weights::open(&fixture(name)).expect(name);
            let mut count = 0;
            for (tensor, shape) in weights.architecture().tensors() {
                let (stored, values) = weights.tensor(&tensor).expect("a weight");
                assert_eq!(stored, shape, "{name} {tensor}");
                count += values.len();
            }
            assert_eq!(count, weights.architecture().parameters());
            assert_eq!(weights.formats().into_keys().collect::<Vec<_>>(), ["F32"]);
            assert!(weights.tokenizer().err().expect("no tokenizer").to_string().contains("no tokenizer.json"));
        }
    }

    #[test]
    fn shards_and_half_precision_are_read() {
        let folder = copy();
        let path = folder.path();
        std::fs::remove_file(path.join("model.safetensors")).expect("a file");
        let config: Value = std::fs::read_to_string(path.join("config.json")).expect("it").parse().expect("JSON");
        let tensors = super::Architecture::from_config(&config, "it").expect("an architecture").tensors();
        let (first, second) = tensors.split_at(4);
        let map: Value = tensors
            .iter()
            .enumerate()
            .map(|(n, (name, _))| (name.clone(), format!("{}.safetensors", n / 4 > 0)))
            .collect();
        std::fs::write(path.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
            .expect("a file");
        // 0x3F3F is 0.747 in bf16 and 1.811 in f16.
        write(&path.join("false.safetensors"), "BF16", 2, 0x3F, first);
        assert!(message(&folder).contains("`true.safetensors`, one of 2 files with weights, is missing"));
        write(&path.join("true.safetensors"), "F16", 2, 0x3F, second);
        let weights = Weights::open(path).expect("a model");
        assert_eq!(weights.tensor(&first[0].0).expect("a weight").1[0], f32::from_bits(0x3F3F << 16));
        assert_eq!(weights.tensor(&second[0].0).expect("a weight").1[0], 1.8115234);
        let names = Weights::files(path).expect("files");
        let names: Vec<_> = names.iter().map(|file| file.file_name().expect("a name")).collect();
        assert_eq!(names, ["false.safetensors", "true.safetensors", "config.json"]);
        write(&path.join("true.safetensors"), "I8", 1, 0, second);
        let weights = Weights::open(path).expect("a model");
        assert!(weights.tensor(&second[0].0).expect_err("an error").to_string().contains("is stored as I8"));
    }

    #[test]
    fn pickled_weights_are_read_by_a_reader_that_runs_nothing() {
        // Written by torch.save of PyTorch 2.9: tests/peers/fixtures.py.
        let weights = Weights::open(&fixture("pickled")).expect("a model");
        let safe = Weights::open(&fixture("llama")).expect("a model");
        for (name, _) in safe.architecture().tensors() {
            assert_eq!(weights.tensor(&name).expect("a weight"), safe.tensor(&name).expect("a weight"), "{name}");
        }
        assert_eq!(weights.formats().into_keys().collect::<Vec<_>>(), ["F32"]);
        let folder = copy();
        let file = folder.path().join("pytorch_model.bin");
        std::fs::rename(folder.path().join("model.safetensors"), &file).expect("renamed");
        assert!(message(&folder).contains("cannot read the pickled weights"), "{}", message(&folder));
        // A pickle that would create a file, as `os.system` in its reduce, is refused without running it.
        let made = folder.path().join("made");
        std::fs::copy(fixture("malicious.bin"), &file).expect("a copy");
        let refused = message(&folder);
        assert!(refused.contains("is missing") || refused.contains("cannot read"), "{refused}");
        assert!(!made.exists() && !Path::new("ablate-was-here").exists());
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_said() {
        let folder = copy();
        let file = folder.path().join("model.safetensors");
        let bytes = std::fs::read(&file).expect("bytes");
        std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("a file");
        assert!(message(&folder).contains("cut short"), "{}", message(&folder));
        std::fs::write(&file, bytes).expect("a file");
        let config = std::fs::read_to_string(folder.path().join("config.json")).expect("text");
        let change = |from: &str, to: &str| {
            std::fs::write(folder.path().join("config.json"), config.replace(from, to)).expect("a file");
            message(&folder)
        };
        let wide = change("\"intermediate_size\": 96", "\"intermediate_size\": 97");
        assert!(wide.contains("gate_proj.weight` has shape [96, 48], but the configuration says [97, 48]"), "{wide}");
        let deep = change("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
        assert!(deep.contains("`model.layers.2.input_layernorm.weight` is missing"), "{deep}");
        std::fs::remove_file(&file).expect("a file");
        assert!(change("", "").contains("there is no model.safetensors"));
        assert!(change("{", "").contains("the file is not JSON"));
        let nowhere = Weights::open(&folder.path().join("nowhere")).err().expect("an error").to_string();
        assert!(nowhere.contains("there is no language model") && nowhere.contains(".gguf"), "{nowhere}");
    }

    #[test]
    fn smollm2_is_read_from_its_gguf() {
        let Some(path) = std::env::var_os("ABLATE_GGUF") else {
            eprintln!("skipped: ABLATE_GGUF names no file of SmolLM2-135M-Instruct");
            return;
        };
        let start = std::time::Instant::now();
        let weights = Weights::open(path.as_ref()).expect("a model");
        let opened = start.elapsed();
        let count = |(name, _): &(String, _)| weights.tensor(name).expect("a weight").1.len();
        let total: usize = weights.architecture().tensors().iter().map(count).sum();
        eprintln!("opened after {opened:?}, all {total} values as f32 after {:?}", start.elapsed());
        assert_eq!((total, weights.architecture().parameters()), (134_515_008, 134_515_008));
        let formats = weights.formats();
        assert_eq!(json!(formats), json!({"F32": 61, "Q4_1": 210, "Q8_0": 1}));
        // Sums of values times their place modulo 1009, by a reader of a few lines of Python: the order of rows counts.
        for (name, expected) in [
            ("model.embed_tokens.weight", -7804811.753322601),
            ("model.layers.3.self_attn.q_proj.weight", -54388.93724822998),
            ("model.layers.29.self_attn.k_proj.weight", 42832.04042816162),
            ("model.layers.7.mlp.down_proj.weight", -98460.48640441895),
        ] {
            let (_, values) = weights.tensor(name).expect("a weight");
            let sum: f64 = values.iter().zip((0..1009).cycle()).map(|(&x, n)| f64::from(x) * f64::from(n)).sum();
            assert!((sum - expected).abs() < 1e-6, "{name}: {sum}");
        }
    }
}
