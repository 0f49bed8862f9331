//! Tensors in PyTorch's pickled files, `pytorch_model.bin`. A pickle is a program; candle's reader knows the few of its
//! instructions that describe tensors and runs none, so that a malicious file is an error and nothing else.

use super::shards::Listed;
use candle_core::pickle::{PthTensors, TensorInfo};
use candle_core::{DType, Tensor};
use framework::error::{Error, Explain, Result};
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const COMPLETE: &str = "a complete file written by torch.save of PyTorch 1.6 or later, or better a model.safetensors";

/// The tensors of a folder's pickled files.
pub(crate) struct Pickles {
    files: Vec<(PathBuf, PthTensors)>,
    places: HashMap<String, usize>,
}

impl Pickles {
    /// Reads what the files say of their tensors; an error if one is larger than its file.
    pub(crate) fn open(listed: Listed) -> Result<Self> {
        let open = |path: &PathBuf| Ok((path.clone(), guarded(path, || PthTensors::new(path, None))?));
        let files: Vec<(PathBuf, PthTensors)> = listed.files.iter().map(open).collect::<Result<_>>()?;
        for (path, tensors) in &files {
            let length = std::fs::metadata(path).explain("reading the file's size", path.display())?.len();
            for (name, info) in tensors.tensor_infos() {
                let mut sizes = info.layout.dims().iter();
                let bytes = sizes.try_fold(info.dtype.size_in_bytes(), |all, &size| all.checked_mul(size));
                if bytes.is_none_or(|bytes| bytes as u64 > length) {
                    let what = format!("the weight `{name}` is said to be larger than its file");
                    return Err(Error::new(what).at(path.display()).fix(COMPLETE));
                }
            }
        }
        Ok(Self { files, places: listed.places })
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.files.iter().flat_map(|(_, tensors)| tensors.tensor_infos().keys()).cloned().collect()
    }

    /// The file with a tensor: the one that the index says, or else the first.
    fn find(&self, name: &str) -> Option<(&PathBuf, &PthTensors, &TensorInfo)> {
        let listed = self.places.get(name).and_then(|place| self.files.get(*place));
        let mut files = listed.into_iter().chain(&self.files);
        files.find_map(|(path, tensors)| Some((path, tensors, tensors.tensor_infos().get(name)?)))
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.find(name).map(|(.., info)| info.layout.dims().to_vec())
    }

    /// A tensor's values, if it is there.
    pub(crate) fn tensor(&self, name: &str) -> Option<Result<Vec<f32>>> {
        let (path, tensors, info) = self.find(name)?;
        // The reader takes the elements before a part of a shared storage for bytes.
        if info.layout.start_offset() > 0 {
            let error = Error::new(format!("the weight `{name}` is a part of another one")).at(path.display());
            return Some(Err(error.fix("a model saved in safetensors (transformers: `save_pretrained`)")));
        }
        let values = |tensor: Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        Some(guarded(path, || tensors.get(name)?.map(values).transpose().map(Option::unwrap_or_default)))
    }

    pub(crate) fn formats(&self) -> impl Iterator<Item = String> {
        let infos = self.files.iter().flat_map(|(_, tensors)| tensors.tensor_infos().values());
        infos.map(|info| format!("{:?}", info.dtype))
    }
}

/// What `read` gives; candle's errors, and its panics on files that are no pickles at all, as errors of ours.
fn guarded<T>(path: &Path, read: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(read));
    match result {
        Ok(result) => {
            result.explain("cannot read the pickled weights", path.display()).map_err(|error| error.fix(COMPLETE))
        }
        Err(_) => Err(Error::new("cannot read the pickled weights").at(path.display()).fix(COMPLETE)),
    }
}
