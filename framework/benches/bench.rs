//! `ablate bench`: how long the framework's own work takes on this machine, and a training step beside a peer's.

mod language_model;
mod store;
mod studies;
mod training;
mod verdicts;

use framework::ablation::Plan;
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::load::{Source, load};
use framework::progress::Progress;
use framework::protocol::split;
use framework::stage::peak_memory_mb;
use std::path::Path;
use std::time::Instant;

pub use language_model::language_model;
pub use store::{list, report_of_many};
pub use studies::studies;
pub use training::training;
pub use verdicts::verdicts;

/// Times what every command on `source` starts with: reading and checking the spec, then loading and splitting its data.
pub fn spec(source: &Source, cache: &Path) -> Result<()> {
    let loaded = load(source)?;
    report("check", 21, || Ok(load(source).map(|_| ())?))?;
    let plan = loaded.plans.first().ok_or_else(|| Error::new("the spec has no runs"))?;
    let before = peak_memory_mb();
    report("load and split", 5, || load_and_split(plan, cache))?;
    println!("peak memory: {:.0} MiB, {before:.0} MiB before", peak_memory_mb());
    Ok(())
}

fn load_and_split(plan: &Plan, cache: &Path) -> Result<()> {
    let device = framework::device::open(&plan.spec.device)?;
    let cx = Context::new(device, plan.seed, cache.join("work"), cache.to_path_buf(), Progress::hidden());
    let corpus = plan.spec.dataset.load(&cx)?;
    corpus.check()?;
    split(&corpus, &plan.spec.protocol, plan.spec.evaluator.selects_by()).map(|_| ())
}

/// A folder that goes with the value.
fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir().explain("making a folder", "the system's temporary folder")
}

/// Prints the median and the range of `times` calls.
fn report(what: &str, times: usize, work: impl Fn() -> Result<()>) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        work()?;
        seconds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    seconds.sort_by(f64::total_cmp);
    let (low, high) = (seconds[0], seconds[times - 1]);
    println!("{what}: {:.1} ms (median of {times}; {low:.1} to {high:.1})", seconds[times / 2]);
    Ok(())
}
