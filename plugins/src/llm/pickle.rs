//! Tensors in PyTorch's pickled files, `pytorch_model.bin`. A pickle is a program; candle's reader knows the few of its
//! instructions that describe tensors and runs none, so that a malicious file is an error and nothing else.

use candle_core::pickle::PthTensors;
use candle_core::{DType, Tensor};
use framework::error::{Error, Explain, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The tensors of a folder's pickled files.
pub(crate) struct Pickles {
    files: Vec<(PathBuf, PthTensors)>,
}

impl Pickles {
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| Ok((path.clone(), guarded(path, || PthTensors::new(path, None))?));
        Ok(Self { files: files.iter().map(open).collect::<Result<_>>()? })
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let infos = self.files.iter().find_map(|(_, tensors)| tensors.tensor_infos().get(name));
        infos.map(|info| info.layout.dims().to_vec())
    }

    /// A tensor's values, if it is there.
    pub(crate) fn tensor(&self, name: &str) -> Option<Result<Vec<f32>>> {
        let (path, tensors) = self.files.iter().find(|(_, tensors)| tensors.tensor_infos().contains_key(name))?;
        // The reader takes the elements before a part of a shared storage for bytes.
        if tensors.tensor_infos().get(name).is_some_and(|info| info.layout.start_offset() > 0) {
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
    let fix = "a complete file written by torch.save of PyTorch 1.6 or later, or better a model.safetensors";
    match result {
        Ok(result) => result.explain("cannot read the pickled weights", path.display()).map_err(|error| error.fix(fix)),
        Err(_) => Err(Error::new("cannot read the pickled weights").at(path.display()).fix(fix)),
    }
}
