//! `ablate bench SPEC --work …`: how long fixed pieces of a language model's work take, in turns with a peer.

use super::training::cpu_seconds;
use framework::ablation::Plan;
use framework::context::Context;
use framework::error::{Error, Explain, Result};
use framework::language::Work;
use framework::plugin::{Pick, Setting};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::roles::LanguageModel;
use framework::stage::peak_memory_mb;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
const STEPS: usize = 2;

/// A step's wall and CPU milliseconds, and the process's peak memory in MiB.
type Measured = [f64; 3];

/// Times the `language_model` of the plan's recommender. `peer` is a command that gets a work's name and a number of
/// steps and prints a line of JSON with `wall_ms`, `cpu_ms` and `peak_memory_mb`.
///
/// Memory is comparable only when one work is asked for: this process keeps its peak.
pub fn language_model(plan: &Plan, works: &[String], peer: &[String], cache: &Path) -> Result<()> {
    let folder = tempfile::tempdir().explain("making a folder", "the system's temporary folder")?;
    let device = framework::device::open(&plan.spec.device)?;
    let cx = Context::new(device, plan.seed, folder.path().to_path_buf(), cache.to_path_buf(), Progress::hidden());
    let table = plan.table();
    let table = table.get("recommender").and_then(|recommender| recommender.get("language_model")).cloned();
    let missing = || Error::new("the spec's recommender has no language_model").at("recommender.language_model");
    let pick = Pick::<dyn LanguageModel>::read(&table.ok_or_else(missing)?, &mut Reader::default());
    let model = pick.ok_or_else(missing)?.open(&["a text to begin with".to_string()], &cx)?;
    for name in works {
        let known = Work::ALL.iter().find(|(known, _)| known == name);
        let (_, work) = known.ok_or_else(|| {
            let names: Vec<&str> = Work::ALL.iter().map(|(name, _)| *name).collect();
            Error::new(format!("no work is called `{name}`")).fix(names.join(", "))
        })?;
        let mut repeat = model.work(*work, &cx)?;
        repeat()?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for _ in 0..STEPS {
                let (started, cpu) = (Instant::now(), cpu_seconds()?);
                repeat()?;
                let wall = 1e3 * started.elapsed().as_secs_f64();
                ours.push([wall, 1e3 * (cpu_seconds()? - cpu), peak_memory_mb()]);
            }
            theirs.extend(their_steps(peer, name)?);
        }
        let [wall, cpu, memory] = median(&ours);
        print!("{name}: {wall:.0} ms, {cpu:.0} ms CPU, peak memory {memory:.0} MiB");
        if !theirs.is_empty() {
            let [wall_2, cpu_2, memory_2] = median(&theirs);
            print!("; peer {wall_2:.0}, {cpu_2:.0} and {memory_2:.0}; ");
            print!("ratio {:.2}, {:.2} and {:.2}", wall / wall_2, cpu / cpu_2, memory / memory_2);
        }
        println!(" (medians of {ROUNDS} rounds of {STEPS} steps)");
    }
    Ok(())
}

fn their_steps(peer: &[String], work: &str) -> Result<Option<Measured>> {
    let Some((program, arguments)) = peer.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    // Idle threads would otherwise spin, at the cost of whoever runs beside them.
    command.args(arguments).arg(work).arg(STEPS.to_string()).env("OMP_WAIT_POLICY", "passive");
    let output = command.output().explain("starting the peer", program)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line: Option<Value> = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    let number = |key: &str| line.as_ref().and_then(|line| line[key].as_f64());
    match (number("wall_ms"), number("cpu_ms"), number("peak_memory_mb")) {
        (Some(wall), Some(cpu), Some(memory)) => Ok(Some([wall, cpu, memory])),
        _ => Err(Error::new("the peer printed no times").at(program).fix(String::from_utf8_lossy(&output.stderr))),
    }
}

fn median(measured: &[Measured]) -> Measured {
    std::array::from_fn(|n| {
        let mut values: Vec<f64> = measured.iter().map(|m| m[n]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}
