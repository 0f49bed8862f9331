//! Commands on a spec: check, plan, why, report.

use crate::commands::{estimate, read};
use crate::report::{self, Format, settings};
use crate::{BuiltIn, Cli, Outcome, SpecArgument};
use framework::ablation::Plan;
use framework::error::{Explain, Result};
use framework::load::{Loaded, Rejected};
use framework::run::{keys, settled};
use framework::stage::{because, leaves};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

impl Cli {
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
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let mut said = String::new();
        for plan in &settled(&loaded.plans, &store, &cache)? {
            let title = format!("{} seed {}", plan.variant, plan.seed);
            let keys = match keys(plan, &cache) {
                Ok(keys) => keys,
                Err(error) => {
                    let error = error.to_string().replace('\n', "\n#  ");
                    println!("# {title}: {}", if error == said { "the same" } else { &error });
                    said = error;
                    continue;
                }
            };
            println!("# {title}, run {}", &keys.run[..10]);
            if let Some(search) = search(plan) {
                println!("#   search       {search}");
            }
            for stage in keys.stages() {
                let state = match (store.stage(&stage.key)?, first.get(&stage.key)) {
                    (Some(_), _) => "found".to_string(),
                    (None, Some(other)) => format!("shared with {other}"),
                    (None, None) => "to be made".to_string(),
                };
                first.entry(stage.key.clone()).or_insert(title.clone());
                println!("#   {:<12} {} {state}", stage.name, &stage.key[..10]);
            }
        }
        println!("# {}", estimate::estimate(&loaded.plans, &store, &cache)?.in_words());
        if let Some(effect) = estimate::smallest_difference(&loaded.plans, &store, &cache)? {
            println!("# {effect}");
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
        for plan in &settled(&argument.load(built_in)?.plans, &store, &self.cache()?)? {
            println!("{} seed {}", plan.variant, plan.seed);
            for stage in keys(plan, &self.cache()?)?.stages() {
                let found = store.stage(&stage.key)?.is_some();
                let reasons = if found { Vec::new() } else { because(&store, stage)? };
                print_reason(stage.name, found, &reasons.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        Ok(())
    }

    pub(crate) fn report(&self, loaded: &Loaded, format: &str, output: Option<&Path>) -> Result<()> {
        let format = match format {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "latex" => Format::Latex,
            "html" => Format::Html,
            _ => Format::Markdown,
        };
        let text = report::report(&loaded.plans, &self.store()?, &self.cache()?)?.write(format)?;
        match output {
            Some(path) => std::fs::write(path, text).explain("writing the report", path.display())?,
            None => println!("{}", text.trim_end()),
        }
        Ok(())
    }
}

/// What is known of a plan's search, where it has one.
fn search(plan: &Plan) -> Option<String> {
    if let Some(search) = &plan.spec.search {
        let trials = search.points(&plan.spec);
        let again = match search.trainings(&plan.spec) - trials {
            0 => String::new(),
            _ => format!(", the best {} judged again with {} fresh seeds", search.finalists.min(trials), search.judges),
        };
        return Some(format!(
            "{trials} trials to be made{again}; until then what follows has another key than it will have"
        ));
    }
    let tuned = plan.tuned.as_ref()?;
    let chosen = tuned.best().map_or("nothing to tune".into(), settings);
    Some(format!("found, {} trials: {chosen}", tuned.trials.len()))
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

fn print_reason(stage: &str, found: bool, because: &[&str]) {
    println!("  {stage}: {}", if found { "found" } else { "made, because of" });
    because.iter().for_each(|reason| println!("    {reason}"));
}
