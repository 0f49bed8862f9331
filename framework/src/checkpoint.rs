//! Checkpoints: named tensors and a few words in one safetensors file that is there whole or not at all.

use crate::error::{Explain, Result};
use crate::parameters::Parameter;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use std::collections::{BTreeMap, HashMap};
use std::{fs, path::Path};

/// Shape and values of tensors by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Adds `parameters` to `tensors`, `prefix` before their paths.
pub fn add(tensors: &mut Tensors, prefix: &str, parameters: Vec<Parameter>) {
    for Parameter { path, shape, values } in parameters {
        tensors.insert(format!("{prefix}{path}"), (shape, values.into_data().convert::<f32>().iter().collect()));
    }
}

/// Writes `tensors` and `note` to `file`, under another name first.
pub fn write(file: &Path, tensors: &Tensors, note: &str) -> Result<()> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).explain("writing a tensor", name)?))
    });
    let note = HashMap::from([("note".to_string(), note.to_string())]);
    let bytes = serialize(views.collect::<Result<Vec<_>>>()?, Some(note)).explain("writing a checkpoint", "tensors")?;
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, bytes).explain("writing a checkpoint", unfinished.display())?;
    fs::rename(&unfinished, file).explain("writing a checkpoint", file.display())
}

/// Reads what `write` wrote.
pub fn read(file: &Path) -> Result<(Tensors, String)> {
    let place = file.display();
    let bytes = fs::read(file).explain("reading a checkpoint", place)?;
    let place = file.display();
    let (_, head) = SafeTensors::read_metadata(&bytes).explain("reading a checkpoint", place)?;
    let note = head.metadata().as_ref().and_then(|words| words.get("note")).cloned().unwrap_or_default();
    let place = file.display();
    let stored = SafeTensors::deserialize(&bytes).explain("reading a checkpoint", place)?;
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let tensors = stored.tensors().into_iter();
    Ok((tensors.map(|(name, view)| (name, (view.shape().to_vec(), floats(view.data())))).collect(), note))
}
