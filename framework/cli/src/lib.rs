//! The command line: the program, and which function does which command.

pub mod adapter;
mod arguments;
pub mod ask;
#[path = "../../benches/bench.rs"]
pub mod bench;
pub mod bundle;
mod commands;
pub mod docs;
mod download;
pub mod fetch;
pub mod hub;
mod pictures;
pub mod recommendations;
pub mod report;
pub mod reproduce;
pub mod tagged;
pub mod trackers;

use arguments::{Cli, Command, Form, Question, SpecArgument};
use clap::Parser;
use framework::error::{Error, Explain, Result};
use framework::load::Rejected;
use framework::provenance::Code;
use framework::store::Store;
use framework::{context, log};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trackers::Tracker;

/// What the program knows at compile time that the framework does not.
#[derive(Clone, Copy)]
pub struct BuiltIn {
    /// The text of `experiments/base.toml`.
    pub base: &'static str,
    /// What the program was made from.
    pub code: Code,
    /// The language model that reads checkpoints from the path in its key `model`.
    pub checkpoint: &'static str,
}

/// Runs the program; the exit code is 0, 1 for an error, 2 for a wrong spec, 130 after Ctrl-C.
pub fn main(built_in: BuiltIn) -> ExitCode {
    framework::allocator::keep_large_blocks();
    let cli = Cli::parse();
    // A panic is reported where it is caught, in one message; its backtrace goes to the log.
    std::panic::set_hook(Box::new(|panic| {
        // `ablate list | head` closes our output early: that is no mistake.
        if panic.to_string().contains("failed printing to stdout") {
            std::process::exit(0);
        }
        match context::expects_panics() {
            true => tracing::debug!(%panic, "a library panicked at a file"),
            false => tracing::error!(%panic, "panic"),
        }
    }));
    let stores = cli.command.stores();
    let handler = ctrlc::set_handler(move || {
        if !stores || context::is_interrupted() {
            std::process::exit(130);
        }
        context::interrupt();
        eprintln!("stopping at the next safe point; Ctrl-C again stops at once");
    });
    let result = log::install(&cli.log).and(handler.explain("catching Ctrl-C", "this process"));
    match result.map_err(Rejected::from).and_then(|()| cli.execute(built_in)) {
        Ok(code) => code,
        Err(rejected) => {
            let wrong = matches!(rejected, Rejected::Wrong(_));
            let error = Error::from(rejected);
            eprintln!("error: {error}");
            ExitCode::from(if error.is_interrupt() { 130 } else { 1 + u8::from(wrong) })
        }
    }
}

type Outcome = std::result::Result<ExitCode, Rejected>;

impl Cli {
    fn execute(&self, built_in: BuiltIn) -> Outcome {
        match &self.command {
            Command::Score { spec, files, lists } => {
                return self.score(spec.load(built_in)?, built_in, files, lists);
            }
            Command::Data { spec, rows, json } => {
                self.data(&spec.load(built_in)?.plans[0], built_in, *rows, *json)?;
            }
            Command::Run { spec, fresh, workers } => {
                return self.run(&spec.load(built_in)?, built_in, fresh, workers);
            }
            Command::Check { specs, json } => return commands::check(specs, *json, built_in),
            Command::Plan { spec, origin } => self.plan(&spec.load(built_in)?, *origin)?,
            Command::Why { reference } => self.why(reference, built_in)?,
            Command::Report { spec, format, output } => {
                self.report(&spec.load(built_in)?, format, output.as_deref())?;
            }
            Command::List { tags: true, json, .. } => self.list_tags(*json)?,
            Command::List { filter, tag, sort, json, .. } => self.list(filter, tag.as_deref(), sort, *json)?,
            Command::Show { run, json } => self.show(run, *json)?,
            Command::Diff { a, b } => self.diff(a, b)?,
            Command::Tag { name, references, set } => self.tag(name, references, set, built_in)?,
            Command::Export { tag, file: Some(file), form: Some(form), .. } => match form {
                Form::Mlflow => self.export_as(Tracker::Mlflow, tag, file)?,
                Form::Tensorboard => self.export_as(Tracker::Tensorboard, tag, file)?,
                Form::Adapter => self.export_adapter(tag, file)?,
            },
            Command::Export { tag, file: Some(file), lean, .. } => self.export(tag, file, *lean)?,
            Command::Export { tag, recommendations, top, .. } => {
                self.export_recommendations(tag, recommendations.as_deref().unwrap_or(Path::new("")), *top)?;
            }
            Command::Import { file } => self.import(file)?,
            Command::Reproduce { reference, set } => return self.reproduce(reference, set, built_in),
            Command::Verify => return self.verify(),
            Command::Gc { delete, grace, stages } => self.gc(*grace, *stages, *delete)?,
            Command::Du { json } => self.du(*json)?,
            Command::Fetch { name, from } => self.fetch(name.as_deref(), from.as_deref())?,
            Command::Pictures { spec } => self.pictures(&spec.load(built_in)?.plans[0], built_in)?,
            Command::Inspect { model, json } => self.inspect(&ask::checkpoint(built_in.checkpoint, model)?, *json)?,
            Command::Generate(question) => self.generate(question, built_in)?,
            Command::Bench { .. } => self.bench(built_in)?,
            Command::Docs { folder, check } => docs::write(folder, *check)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn bench(&self, built_in: BuiltIn) -> std::result::Result<(), Rejected> {
        match &self.command {
            Command::Bench { runs: Some(runs), users: Some(users), .. } => {
                bench::report_of_many(built_in.base, *runs, *users)?;
            }
            Command::Bench { runs: Some(runs), .. } => bench::list(*runs)?,
            Command::Bench { spec, studies: Some(studies), .. } => {
                bench::studies(&spec.source(built_in), *studies, &self.cache()?)?;
            }
            Command::Bench { spec, verdicts: Some(studies), row, .. } => {
                bench::verdicts(&self.store()?, &spec.load(built_in)?.plans[0], row, *studies)?;
            }
            Command::Bench { spec, work, peer, .. } if !work.is_empty() => {
                bench::language_model(&spec.load(built_in)?.plans[0], work, &words(peer), &self.cache()?)?;
            }
            Command::Bench { spec, loss, peer, .. } if !loss.is_empty() => {
                let (losses, peer): (Vec<&str>, _) = (loss.iter().map(String::as_str).collect(), words(peer));
                bench::training(spec.load(built_in)?.spec.recommender.name(), &losses, &peer)?;
            }
            Command::Bench { spec, .. } => bench::spec(&spec.source(built_in), &self.cache()?)?,
            _ => {}
        }
        Ok(())
    }

    fn store(&self) -> Result<Store> {
        Store::at(&self.store, || self.cache())
    }

    fn cache(&self) -> Result<PathBuf> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
        let cache = cache.or_else(|| from("LOCALAPPDATA")).map(|cache| cache.join("ablate"));
        cache.ok_or_else(|| Error::new("no cache folder is known").fix("--cache FOLDER, or ABLATE_CACHE"))
    }
}

/// The words of a command.
fn words(command: &Option<String>) -> Vec<String> {
    command.iter().flat_map(|command| command.split_whitespace()).map(String::from).collect()
}
