//! Commands on a spec: check, plan, run, why, report.

use crate::commands::read;
use crate::report::{self, Format};
use crate::{BuiltIn, Cli, Outcome, SpecArgument};
use framework::error::{Explain, Result};
use framework::load::{Loaded, Rejected};
use framework::progress::Progress;
use framework::run::{Finished, Runner, keys};
use framework::stage::{because, leaves};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

impl Cli {
    pub(crate) fn run(&self, loaded: &Loaded, built_in: BuiltIn, fresh: &[String]) -> Outcome {
        let progress = Progress::default();
        // A killed run leaves its folder behind; a living one never works in it for a week.
        self.store()?.sweep_tmp(std::time::Duration::from_secs(7 * 24 * 3600))?;
        let mut runner = Runner::new(self.store()?, self.cache()?, progress.clone(), built_in.code, fresh.to_vec());
        let started = Instant::now();
        let (mut made, mut failed) = (0, 0);
        for (n, plan) in loaded.plans.iter().enumerate() {
            let title = format!("[{}/{}] {} seed {}", n + 1, loaded.plans.len(), plan.variant, plan.seed);
            match runner.run(plan) {
                Ok(finished) => {
                    made += usize::from(!finished.found);
                    progress.line(&format!("{title}: {}", line(&finished)));
                }
                Err(error) if error.is_interrupt() => return Err(error.into()),
                Err(error) => {
                    failed += 1;
                    progress.line(&format!("{title}: failed\nerror: {error}"));
                }
            }
        }
        let found = loaded.plans.len() - made - failed;
        let seconds = started.elapsed().as_secs_f64();
        progress.line(&format!("{made} made, {found} found, {failed} failed in {seconds:.1} s\n"));
        print!("{}", report::report(&loaded.plans, &self.store()?, &self.cache()?)?.write(Format::Markdown));
        Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    pub(crate) fn plan(&self, loaded: &Loaded, origin: bool) -> Result<()> {
        for plan in &loaded.plans {
            println!("# {} seed {}", plan.variant, plan.seed);
        }
        let table = loaded.plans.first().map(framework::ablation::Plan::table).unwrap_or_default();
        if origin {
            let json = serde_json::to_value(&table).explain("writing the plan", "the spec")?;
            for (path, value) in leaves(&json) {
                let keys: Vec<String> = path.split('.').map(String::from).collect();
                println!("{path} = {value}  # {}", loaded.origin(&keys));
            }
        } else {
            let text = toml::to_string(&table).explain("writing the plan", "the spec")?;
            println!("\n{}", text.trim_end());
        }
        println!();
        let store = self.store()?;
        let cache = self.cache()?;
        for plan in &loaded.plans {
            let keys = match keys(plan, &cache) {
                Ok(keys) => keys,
                Err(error) => {
                    let lines = error.to_string().replace('\n', "\n#  ");
                    println!("# {} seed {}: {lines}", plan.variant, plan.seed);
                    continue;
                }
            };
            println!("# {} seed {}, run {}", plan.variant, plan.seed, &keys.run[..10]);
            for stage in keys.stages() {
                let state = if store.stage(&stage.key)?.is_some() { "found" } else { "to be made" };
                println!("#   {:<12} {} {state}", stage.name, &stage.key[..10]);
            }
        }
        Ok(())
    }

    pub(crate) fn why(&self, reference: &str, built_in: BuiltIn) -> std::result::Result<(), Rejected> {
        let store = self.store()?;
        if !reference.ends_with(".toml") {
            let id = store.find_run(reference)?;
            let record = read(&store, &id)?;
            for stage in record["stages"].as_array().into_iter().flatten() {
                let because: Vec<&str> =
                    stage["because"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                print_reason(stage["stage"].as_str().unwrap_or_default(), stage["found"] == true, &because);
            }
            return Ok(());
        }
        let argument = SpecArgument { spec: reference.into(), set: Vec::new() };
        for plan in &argument.load(built_in)?.plans {
            println!("{} seed {}", plan.variant, plan.seed);
            for stage in keys(plan, &self.cache()?)?.stages() {
                let found = store.stage(&stage.key)?.is_some();
                let reasons = if found { Vec::new() } else { because(&store, stage)? };
                print_reason(stage.name, found, &reasons.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    pub(crate) fn report(&self, loaded: &Loaded, format: &str) -> Result<()> {
        let format = match format {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "latex" => Format::Latex,
            _ => Format::Markdown,
        };
        println!("{}", report::report(&loaded.plans, &self.store()?, &self.cache()?)?.write(format).trim_end());
        Ok(())
    }
}

pub(crate) fn check(specs: &[PathBuf], json: bool, built_in: BuiltIn) -> Outcome {
    let mut found = Vec::new();
    for spec in specs {
        match (SpecArgument { spec: spec.clone(), set: Vec::new() }).load(built_in) {
            Ok(_) => {}
            Err(Rejected::Wrong(mistakes)) => found.extend(mistakes),
            Err(unreadable) => return Err(unreadable),
        }
    }
    if json {
        let all: Vec<Value> = found.iter().map(framework::load::Located::json).collect();
        println!("{:#}", Value::Array(all));
    } else {
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        eprint!("{}", text.join("\n"));
    }
    Ok(ExitCode::from(if found.is_empty() { 0 } else { 2 }))
}

fn line(finished: &Finished) -> String {
    let metrics = finished.record["metrics"].as_object().into_iter().flatten();
    let metrics: Vec<String> =
        metrics.map(|(name, summary)| format!("{name} {:.4}", summary["mean"].as_f64().unwrap_or(f64::NAN))).collect();
    let state = if finished.found { "found" } else { "made" };
    format!("{state} run {}  {}", &finished.id[..10], metrics.join("  "))
}

fn print_reason(stage: &str, found: bool, because: &[&str]) {
    println!("  {stage}: {}", if found { "found" } else { "made, because of" });
    because.iter().for_each(|reason| println!("    {reason}"));
}
