//! Runs as other programs keep them: MLflow's file store, and TensorBoard's event files. Only what they can show goes
//! over: settings, metrics' means, and each epoch's loss and validation. They say nothing of what made the numbers, so
//! there is no way back.

use chrono::DateTime;
use framework::error::{Error, Explain, Result};
use framework::stage::leaves;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A program that keeps runs.
#[derive(Clone, Copy)]
pub enum Tracker {
    /// MLflow: `mlflow ui --backend-store-uri FOLDER`.
    Mlflow,
    /// TensorBoard: `tensorboard --logdir FOLDER`.
    Tensorboard,
}

/// A curve or a number: its name, and its value at each step.
type Series = (String, Vec<(u64, f64)>);

impl Tracker {
    /// Writes the runs of `records` into `folder`, which must be new.
    pub fn write(self, records: &[Value], folder: &Path) -> Result<()> {
        new_folder(folder, |made| {
            records.iter().try_for_each(|record| match self {
                Self::Mlflow => mlflow(record, made),
                Self::Tensorboard => tensorboard(record, made),
            })
        })
    }
}

/// Has `folder`, which must be new, filled under another name first: it is there whole or not at all.
pub(crate) fn new_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Err(Error::new("the folder is there already").at(folder.display()).fix("another name, or remove it"));
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::tempdir_in(parent).explain("making a folder", parent.display())?;
    fill(made.path())?;
    fs::rename(made.path(), folder).explain("naming the folder", folder.display())
}

/// A word from a record as the name of a file that every system and MLflow allow; it leads nowhere else.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || "_-. ,=+".contains(c) { c } else { '_' };
    let name: String = name.chars().take(100).map(allowed).collect();
    if name.trim_matches('.').trim().is_empty() { format!("_{name}") } else { name }
}

/// Each metric's mean, and the curves of training.
fn series(record: &Value) -> Vec<Series> {
    let metrics = record["metrics"].as_object().into_iter().flatten();
    let mut series: Vec<Series> =
        metrics.filter_map(|(name, summary)| Some((name.clone(), vec![(0, summary["mean"].as_f64()?)]))).collect();
    for (key, name) in [("loss", "training loss"), ("validation", "training validation")] {
        let epochs = record["epochs"].as_array().into_iter().flatten();
        let points: Vec<(u64, f64)> =
            epochs.filter_map(|epoch| Some((epoch["epoch"].as_u64()?, epoch[key].as_f64()?))).collect();
        if !points.is_empty() {
            series.push((name.into(), points));
        }
    }
    series
}

/// When the run began and ended, in milliseconds since 1970.
fn times(record: &Value) -> (i64, i64) {
    let began = record["started"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let began = began.map_or(0, |time| time.timestamp_millis());
    (began, began + (1e3 * record["seconds"].as_f64().unwrap_or_default()) as i64)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).explain("making a folder", folder.display())?;
    fs::write(path, bytes).explain("writing", path.display())
}

/// A folder for each run inside one for each experiment; a file for each parameter, metric and tag.
fn mlflow(record: &Value, folder: &Path) -> Result<()> {
    let (name, run) = (text(&record["name"]), plain(&text(&record["run"])));
    let experiment: String = framework::store::hash_bytes(name.as_bytes()).chars().take(18).collect();
    let home = folder.join(&experiment);
    let (began, ended) = times(record);
    let quoted = |text: &str| Value::from(text).to_string(); // JSON's strings are YAML's
    write(
        &home.join("meta.yaml"),
        format!(
            "artifact_location: {}\ncreation_time: {began}\nexperiment_id: '{experiment}'\nlast_update_time: {ended}\n\
             lifecycle_stage: active\nname: {}\n",
            quoted(&format!("./{experiment}")),
            quoted(&name)
        ),
    )?;
    let title = format!("{}, seed {}", text(&record["variant"]), record["seed"]);
    write(
        &home.join(&run).join("meta.yaml"),
        format!(
            "artifact_uri: {}\nend_time: {ended}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
             lifecycle_stage: active\nrun_id: {run}\nrun_name: {}\nrun_uuid: {run}\nsource_name: ablate\n\
             source_type: 4\nsource_version: ''\nstart_time: {began}\nstatus: 3\ntags: []\nuser_id: ''\n",
            quoted(&format!("./{experiment}/{run}/artifacts")),
            quoted(&title)
        ),
    )?;
    let home = home.join(run);
    write(&home.join("tags/mlflow.runName"), &title)?;
    write(&home.join("tags/variant"), text(&record["variant"]))?;
    write(&home.join("tags/fingerprint"), text(&record["fingerprint"]))?;
    write(&home.join("params/seed"), record["seed"].to_string())?;
    for (key, value) in leaves(&record["plan"]) {
        write(&home.join("params").join(plain(&key)), text(&value))?;
    }
    for (name, points) in series(record) {
        let name = plain(&name.replace('@', "_at_"));
        let lines: String = points.iter().map(|(step, value)| format!("{ended} {value} {step}\n")).collect();
        write(&home.join("metrics").join(name), lines)?;
    }
    fs::create_dir_all(home.join("artifacts")).explain("making a folder", home.display())
}

/// An event file for each run, in a folder that is named after it.
fn tensorboard(record: &Value, folder: &Path) -> Result<()> {
    let (began, ended) = times(record);
    let id: String = text(&record["run"]).chars().take(10).collect();
    let seed = plain(&format!("seed {} {id}", record["seed"]));
    let home = folder.join(plain(&text(&record["name"]))).join(plain(&text(&record["variant"]))).join(seed);
    let mut file = Vec::new();
    let version = bytes(3, b"brain.Event:2");
    event(&mut file, &[double(1, began as f64 / 1e3), version].concat());
    for (name, points) in series(record) {
        for (step, value) in points {
            let value = [bytes(1, name.as_bytes()), float(2, value as f32)].concat();
            let summary = bytes(1, &value);
            event(&mut file, &[double(1, ended as f64 / 1e3), integer(2, step), bytes(5, &summary)].concat());
        }
    }
    write(&home.join(format!("events.out.tfevents.{}.ablate", began / 1000)), file)
}

/// A record of TensorFlow's file format: its length, the bytes, and a checksum of either.
fn event(file: &mut Vec<u8>, message: &[u8]) {
    let checksum = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes();
    let length = (message.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [&length, &checksum(&length), message, &checksum(message)];
    parts.iter().for_each(|part| file.extend_from_slice(part));
}

// Fields of protocol buffers; all numbers of fields are below 16, so a tag is one byte.

fn bytes(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn integer(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

fn double(field: u8, value: f64) -> Vec<u8> {
    [&[field << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn float(field: u8, value: f32) -> Vec<u8> {
    [&[field << 3 | 5][..], &value.to_le_bytes()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_of_a_record_lead_out_of_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = json!({
            "run": "../../run", "name": "..", "variant": "/etc", "seed": 1, "started": "2026-01-01T00:00:00.000Z",
            "plan": { "/absolute": 1, "..": { "..": 2 }, "": 3, "a@(b)": 4 }, "metrics": { "../../x": { "mean": 1.0 } },
        });
        for (tracker, name) in [(Tracker::Mlflow, "mlflow"), (Tracker::Tensorboard, "tensorboard")] {
            let home = folder.path().join(name);
            tracker.write(std::slice::from_ref(&record), &home).expect("it is written");
            assert!(tracker.write(&[], &home).is_err(), "and not over what is there");
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["mlflow", "tensorboard"]);
        assert!(!Path::new("/absolute").exists());
    }
}
