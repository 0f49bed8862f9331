//! `ablate bench SPEC --loss …`: how long a training step takes, in turns with a peer in another language.

use burn::tensor::Device;
use framework::context::Context;
use framework::corpus::Items;
use framework::error::{Error, Explain, Result};
use framework::metrics::Metric;
use framework::plugin::{Pick, Setting};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::protocol::{Cases, Sequence, Train};
use framework::rng::Rng;
use framework::roles::Recommender;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use toml::{Table, Value};

/// The work of one step: as many users, each with one interaction more than is read, of a catalogue.
const BATCH: usize = 128;
const LENGTH: usize = 50;
const ITEMS: usize = 3500;
const STEPS: usize = 20;
const ROUNDS: usize = 7;

/// Wall and CPU milliseconds of a step.
#[derive(Clone, Copy)]
struct Step {
    wall: f64,
    cpu: f64,
}

/// Times the recommender called `name` with each of `losses` on the CPU. `peer` is a command that gets the loss and the
/// number of steps, makes them on data of the same shape and prints a step's wall and CPU milliseconds.
pub fn training(name: &str, losses: &[&str], peer: &[String]) -> Result<()> {
    for loss in losses {
        let recommender = recommender(name, loss)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (a, b) = (our_step(&recommender)?, their_step(peer, loss)?);
            // The first round warms up.
            if round > 0 {
                ours.push(a);
                theirs.extend(b);
            }
        }
        let (wall, cpu) = (median(&ours, |step| step.wall), median(&ours, |step| step.cpu));
        print!("{name}, {loss}: {wall:.1} ms per step, {cpu:.1} ms CPU");
        if !theirs.is_empty() {
            let (wall_2, cpu_2) = (median(&theirs, |step| step.wall), median(&theirs, |step| step.cpu));
            print!("; peer {wall_2:.1} and {cpu_2:.1}; ratio {:.2} and {:.2}", wall / wall_2, cpu / cpu_2);
        }
        println!(" (medians of {ROUNDS} rounds of {STEPS} steps)");
    }
    Ok(())
}

fn recommender(name: &str, loss: &str) -> Result<Pick<dyn Recommender>> {
    let named = |name: &str| Table::from_iter([("use".to_string(), Value::from(name))]);
    let mut table = named(name);
    table.insert("loss".into(), Value::Table(named(loss)));
    table.insert("training".into(), Value::Table(Table::from_iter([("max_epochs".to_string(), Value::Integer(1))])));
    let mut reader = Reader::default();
    Pick::read(&Value::Table(table), &mut reader).ok_or_else(|| {
        let problem = reader.problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
        Error::new(format!("{name} with the loss {loss} cannot be timed: {problem}"))
    })
}

/// One epoch of `STEPS` steps with nothing to validate on; the state that it stores at its end is counted.
fn our_step(recommender: &Pick<dyn Recommender>) -> Result<Step> {
    let folder = tempfile::tempdir().explain("making a folder", "the system's temporary folder")?;
    let place = folder.path().to_path_buf();
    let cx = Context::new(Device::flex(), 1, place.clone(), place, Progress::hidden());
    let train = data()?;
    let (started, cpu) = (Instant::now(), cpu_seconds()?);
    recommender.fit(&train, &cx)?;
    let per_step = 1e3 / STEPS as f64;
    Ok(Step { wall: started.elapsed().as_secs_f64() * per_step, cpu: (cpu_seconds()? - cpu) * per_step })
}

fn data() -> Result<Train> {
    let mut rng = Rng::new(1, "benchmark");
    let sequence =
        |_| Sequence { items: (0..=LENGTH).map(|_| rng.below(ITEMS) as u32).collect(), timestamps: Vec::new() };
    let names: Vec<String> = (0..ITEMS).map(|item| item.to_string()).collect();
    Ok(Train {
        users: Arc::default(),
        items: Arc::new(Items { id: names.clone(), title: names, image: vec![None; ITEMS], ..Items::default() }),
        sequences: (0..STEPS * BATCH).map(sequence).collect(),
        max_history: LENGTH,
        validation: Cases::default(),
        truth: None,
        selects_by: Metric::parse("ndcg@10")?,
    })
}

fn their_step(peer: &[String], loss: &str) -> Result<Option<Step>> {
    let Some((program, arguments)) = peer.split_first() else { return Ok(None) };
    let mut command = Command::new(program);
    // PyTorch's idle threads would otherwise spin, at the cost of whoever runs beside them.
    command.args(arguments).arg(loss).arg(STEPS.to_string()).env("OMP_WAIT_POLICY", "passive");
    let output = command.output().explain("starting the peer", program)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [wall, cpu] => Ok(Some(Step { wall, cpu })),
        _ => Err(Error::new("the peer printed no times").at(program).fix(String::from_utf8_lossy(&output.stderr))),
    }
}

/// CPU time of this process so far, over all threads.
pub(super) fn cpu_seconds() -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").explain("reading the CPU time", "/proc/self/stat")?;
    // Behind the program's name, which may hold anything but ends with the last bracket: user and system time.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    Ok(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

fn median(steps: &[Step], of: impl Fn(&Step) -> f64) -> f64 {
    let mut values: Vec<f64> = steps.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
