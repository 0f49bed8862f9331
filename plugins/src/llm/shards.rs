//! Which files of a folder hold a model's weights, and the tensors in those that are safetensors. Not what the tensors
//! are for.

use super::weights::{finite, map, read_json};
use framework::error::{Error, Result};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The names of a model's weights: one file, or the index of several.
pub(crate) const SAFETENSORS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];
pub(crate) const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Files with weights.
pub(crate) struct Listed {
    pub(crate) files: Vec<PathBuf>,
    /// Which of them counts for a tensor, by its name: some folders hold a tensor in two.
    pub(crate) places: HashMap<String, usize>,
}

/// The files with weights in `folder`, if there are any by these names.
pub(crate) fn listed(folder: &Path, [whole, index]: [&str; 2]) -> Result<Option<Listed>> {
    let (whole, index) = (folder.join(whole), folder.join(index));
    if whole.is_file() {
        return Ok(Some(Listed { files: vec![whole], places: HashMap::new() }));
    }
    if !index.is_file() {
        return Ok(None);
    }
    let content = read_json(&index)?;
    let map = content.get("weight_map").and_then(Value::as_object).into_iter().flatten();
    let map: Vec<(&String, &str)> = map.filter_map(|(name, file)| Some((name, file.as_str()?))).collect();
    let names: Vec<&str> = map.iter().map(|(_, file)| *file).collect::<BTreeSet<_>>().into_iter().collect();
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let place = |(name, file): (&String, &str)| Some((name.clone(), names.binary_search(&file).ok()?));
    match files.iter().find(|file| !file.is_file()) {
        None if files.is_empty() => Err(Error::new("the index lists no files").at(index.display())),
        None => Ok(Some(Listed { places: map.into_iter().filter_map(place).collect(), files })),
        Some(missing) => {
            let name = missing.file_name().unwrap_or_default().to_string_lossy();
            let error = Error::new(format!("`{name}`, one of {} files with weights, is missing", files.len()));
            Err(error.at(folder.display()).fix("all files of the model"))
        }
    }
}

/// The tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
pub(crate) struct Safetensors {
    folder: PathBuf,
    shards: Vec<Shard>,
    places: HashMap<String, usize>,
}

struct Shard {
    map: Mmap,
    header: Metadata,
    /// Where the tensors begin, in bytes.
    start: usize,
}

impl Safetensors {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let Listed { files, places } = Self::listed(folder)?;
        let shards = files.iter().map(|path| Shard::open(path)).collect::<Result<_>>()?;
        Ok(Self { folder: folder.to_path_buf(), shards, places })
    }

    /// The files of `folder` that hold tensors.
    pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        Self::listed(folder).map(|listed| listed.files)
    }

    fn listed(folder: &Path) -> Result<Listed> {
        listed(folder, SAFETENSORS)?.ok_or_else(|| {
            let error = Error::new("there is no model.safetensors, nor its index").at(folder.display());
            error.fix("a model saved in safetensors (transformers: `save_pretrained`)")
        })
    }

    /// A tensor's shape and values; an error if one is no number.
    pub(crate) fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || Error::new(format!("the weight `{name}` is missing")).at(self.folder.display());
        let (shard, info) = self.find(name).ok_or_else(missing)?;
        let bytes = shard.bytes(info);
        let values = match info.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            other => {
                let error = Error::new(format!("the weight `{name}` is stored as {other:?}, which is not supported"));
                return Err(error.at(self.folder.display()).fix("a model in F32, F16 or BF16"));
            }
        };
        Ok((info.shape.clone(), finite(name, values, &self.folder)?))
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.find(name).map(|(_, info)| info.shape.clone())
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.shards.iter().flat_map(|shard| shard.header.offset_keys()).collect()
    }

    /// Whether two tensors hold the same, where that can be told without reading their values.
    pub(crate) fn same(&self, a: &str, b: &str) -> Option<bool> {
        let ((a_in, a), (b_in, b)) = (self.find(a)?, self.find(b)?);
        (a.dtype == b.dtype).then(|| a_in.bytes(a) == b_in.bytes(b))
    }

    /// A tensor in the shard that the index says, or else in the first.
    fn find(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let listed = self.places.get(name).and_then(|place| self.shards.get(*place));
        let mut shards = listed.into_iter().chain(&self.shards);
        shards.find_map(|shard| Some((shard, shard.header.info(name)?)))
    }

    pub(crate) fn formats(&self) -> impl Iterator<Item = String> {
        let infos = self.shards.iter().flat_map(|shard| shard.header.tensors().into_values());
        infos.map(|info| format!("{:?}", info.dtype))
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

    fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (begin, end) = info.data_offsets;
        &self.map[self.start + begin..self.start + end]
    }
}
