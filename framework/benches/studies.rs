//! `ablate bench --studies`: how often an ablation's verdicts come out which way, over many worlds.

use framework::error::Result;
use framework::load::{Source, load};
use framework::progress::Progress;
use framework::provenance::Code;
use framework::run::Runner;
use framework::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Runs the spec once for each of the dataset's seeds 1 to `studies`, in a store that goes; counts each row's verdicts
/// and the studies with a verdict that tells apart.
pub fn studies(source: &Source, studies: u64, cache: &Path) -> Result<()> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut telling = 0;
    for seed in 1..=studies {
        let verdicts = study(source, seed, cache)?;
        telling += usize::from(verdicts.iter().any(|(_, verdict)| !NOTHING.contains(&verdict.as_str())));
        verdicts.into_iter().for_each(|found| *counts.entry(found).or_default() += 1);
    }
    for ((variant, verdict), count) in counts {
        println!("{variant}: {verdict} in {count} of {studies} studies");
    }
    println!("studies with any verdict that tells apart: {telling} of {studies}");
    Ok(())
}

/// What tells nothing apart.
const NOTHING: [&str; 2] = ["cannot conclude", "not told apart as trained"];

/// Each variant's verdict against the base.
fn study(source: &Source, seed: u64, cache: &Path) -> Result<Vec<(String, String)>> {
    let mut set = source.set.clone();
    set.push(format!("dataset.seed={seed}"));
    let plans = load(&Source { path: source.path.clone(), set, base: source.base })?.plans;
    let folder = super::folder()?;
    let store = Store::open(folder.path())?;
    let code = Code { lock: "", revision: None };
    let mut runner = Runner::new(store.clone(), cache.to_path_buf(), Progress::hidden(), code, Vec::new());
    for plan in &plans {
        runner.run(plan)?;
    }
    let report = crate::report::report(&plans, &store, cache)?.json();
    let rows = report["rows"].as_array().into_iter().flatten();
    let word = |value: &Value| Some(value.as_str()?.to_string());
    let verdict = |row: &Value| Some((word(&row["variant"])?, word(&row["difference"]["verdict"])?));
    Ok(rows.filter_map(verdict).collect())
}
