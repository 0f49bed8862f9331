//! `ablate run`: every plan that is not in the store yet, by this process and by workers beside it.
//!
//! Workers are processes of the same command. They agree through the store alone: whoever gets a run's lock makes it, so
//! that two people with one store divide the work in the same way.

use super::estimate;
use crate::report::{self, Format};
use crate::{BuiltIn, Cli, Outcome};
use framework::ablation::Plan;
use framework::context::is_interrupted;
use framework::device::DeviceName;
use framework::error::{Error, Explain, Result};
use framework::load::Loaded;
use framework::progress::Progress;
use framework::run::{Finished, Runner};
use framework::store::now;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How `ablate run` divides its work.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct Workers {
    /// Runs made at the same time, each in a process of its own; one, or as many as there are `--devices`.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Devices in the place of the spec's, over which the processes are divided: cuda:0,cuda:1. One that stands twice
    /// takes two at a time, and there are never more processes than devices here.
    #[arg(long, value_delimiter = ',')]
    devices: Vec<DeviceName>,
    /// GiB of memory that all of them together may need, by what similar runs needed: fewer jobs when it is short.
    #[arg(long)]
    memory: Option<f64>,
    /// Is one of the processes that another one started, and which.
    #[arg(long, hide = true)]
    worker: Option<usize>,
}

impl Workers {
    /// How many processes are wanted.
    fn jobs(&self) -> usize {
        let most = if self.devices.is_empty() { usize::MAX } else { self.devices.len() };
        self.jobs.map_or(self.devices.len().max(1), usize::from).min(most)
    }

    /// The plans with the device that this process has, where that is of their kind.
    fn placed(&self, plans: &[Plan]) -> Result<Vec<Plan>> {
        let mut plans = plans.to_vec();
        let Some(device) = self.devices.get(self.worker.unwrap_or(0)) else { return Ok(plans) };
        for plan in &mut plans {
            if plan.spec.device.backend() != device.backend() {
                let what =
                    format!("the device of {} is `{}`, and --devices has `{device}`", plan.variant, plan.spec.device);
                return Err(Error::new(what).at("--devices").fix(format!(
                    "--set 'device=\"{device}\"', which makes other runs; or devices of the spec's kind"
                )));
            }
            plan.spec.device = device.clone();
        }
        Ok(plans)
    }
}

/// What became of the runs of a command.
#[derive(Default)]
struct Tally {
    made: usize,
    found: usize,
    failed: usize,
}

impl Cli {
    pub(crate) fn run(&self, loaded: &Loaded, built_in: BuiltIn, fresh: &[String], workers: &Workers) -> Outcome {
        let progress = if workers.worker.is_some() { Progress::hidden() } else { Progress::default() };
        let (store, plans) = (self.store()?, workers.placed(&loaded.plans)?);
        // A killed run leaves its folder behind; a living one never works in it for a week.
        store.sweep_tmp(Duration::from_secs(7 * 24 * 3600))?;
        let mut runner = Runner::new(store, self.cache()?, progress.clone(), built_in.code, fresh.to_vec());
        let clock = Instant::now();
        let helpers = self.start_helpers(loaded, workers, &progress)?;
        let tally = make(&plans, &mut runner, &progress, workers.worker.is_some())?;
        for mut helper in helpers {
            helper.wait().explain("waiting for a worker", "this machine")?;
        }
        if workers.worker.is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        let Tally { made, found, failed } = tally;
        let seconds = clock.elapsed().as_secs_f64();
        progress.line(&format!("{made} made, {found} found, {failed} failed in {seconds:.1} s\n"));
        print!("{}", report::report(&loaded.plans, &self.store()?, &self.cache()?)?.write(Format::Markdown)?);
        Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Starts the processes that work beside this one; what they finish is printed here.
    fn start_helpers(&self, loaded: &Loaded, workers: &Workers, progress: &Progress) -> Result<Vec<Child>> {
        if workers.worker.is_some() || workers.jobs() < 2 {
            return Ok(Vec::new());
        }
        let estimate = estimate::estimate(&loaded.plans, &self.store()?, &self.cache()?)?;
        let fitting = match (workers.memory, estimate.peak_memory_mb) {
            (Some(gib), peak) if peak > 0.0 => (gib * 1024.0 / peak).floor().max(1.0) as usize,
            _ => usize::MAX,
        };
        let jobs = workers.jobs().min(fitting).min(estimate.runs_to_make.max(1));
        if jobs < workers.jobs() {
            progress.line(&format!("{jobs} at a time: {}", estimate.in_words()));
        }
        let program = std::env::current_exe().explain("starting a worker", "this program")?;
        let start = |worker: usize| {
            let mut command = Command::new(&program);
            command.args(std::env::args_os().skip(1)).args(["--worker", &worker.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().explain("starting a worker", program.display())?;
            if let Some(lines) = child.stderr.take() {
                let progress = progress.clone();
                std::thread::spawn(move || {
                    BufReader::new(lines)
                        .lines()
                        .map_while(std::result::Result::ok)
                        .for_each(|line| progress.line(&line));
                });
            }
            Ok(child)
        };
        (1..jobs).map(start).collect()
    }
}

/// Makes each of `plans` that nobody else is making, then waits for those that somebody is; if `quiet`, what was there
/// already is not spoken of.
fn make(plans: &[Plan], runner: &mut Runner, progress: &Progress, quiet: bool) -> Result<Tally> {
    let (started, mut tally) = (now(), Tally::default());
    let mut waiting: Vec<(usize, bool)> = (0..plans.len()).map(|n| (n, false)).collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut still = Vec::new();
        for (n, was_taken) in waiting {
            let plan = &plans[n];
            let title = format!("[{}/{}] {} seed {}", n + 1, plans.len(), plan.variant, plan.seed);
            // Whoever had it may have failed at it: once is enough for one command.
            let elsewhere = if was_taken { runner.failed_since(plan, &started)? } else { None };
            let tried = elsewhere.map_or_else(|| runner.try_run(plan), |message| Err(Error::new(message)));
            match tried {
                Ok(None) => still.push((n, true)),
                Ok(Some(finished)) => {
                    let made = !finished.found || finished.record["started"].as_str() >= Some(&started);
                    *(if made { &mut tally.made } else { &mut tally.found }) += 1;
                    // What another process made, it says itself.
                    if !finished.found || !(made || quiet) {
                        progress.line(&format!("{title}: {}", line(&finished)));
                    }
                }
                Err(error) if error.is_interrupt() => return Err(error),
                Err(error) => {
                    tally.failed += 1;
                    progress.line(&format!("{title}: failed\nerror: {error}"));
                }
            }
        }
        waiting = still;
        if waiting.len() == before {
            std::thread::sleep(runner.patience());
        }
        if is_interrupted() {
            return Err(Error::interrupted());
        }
    }
    Ok(tally)
}

fn line(finished: &Finished) -> String {
    let metrics = finished.record["metrics"].as_object().into_iter().flatten();
    let metrics: Vec<String> =
        metrics.map(|(name, summary)| format!("{name} {:.4}", summary["mean"].as_f64().unwrap_or(f64::NAN))).collect();
    let state = if finished.found { "found" } else { "made" };
    format!("{state} run {}  {}", &finished.id[..10], metrics.join("  "))
}
