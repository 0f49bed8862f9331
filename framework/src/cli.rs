//! The command line: what each command reads, calls and prints. No command computes anything here.

use crate::device::DeviceName;
use crate::error::{Error, Explain, Result};
use crate::hub::Hub;
use crate::language::Prompt;
use crate::load::{Loaded, Rejected, Source, load};
use crate::plugin::Pick;
use crate::problem::nearest;
use crate::progress::Progress;
use crate::provenance::Code;
use crate::report::{self, Format};
use crate::roles::LanguageModel;
use crate::run::{Finished, Runner, keys};
use crate::stage::{because, differences, leaves};
use crate::store::{Store, Summary};
use crate::{ask, bench, context, docs, fetch, log};
use clap::{Args, Parser, Subcommand};
use indicatif::HumanBytes;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Declarative experiments with sequential recommenders: one TOML file in, a stored run and a report out.
#[derive(Parser)]
#[command(name = "ablate", version)]
struct Cli {
    /// The folder of the results store.
    #[arg(long, global = true, env = "ABLATE_STORE", default_value = "results")]
    store: PathBuf,
    /// The folder of fetched data; the system's cache folder when not given.
    #[arg(long, global = true, env = "ABLATE_CACHE")]
    cache: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug, or a filter such as `framework=debug`.
    #[arg(long, global = true, env = "ABLATE_LOG", default_value = "warn")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct SpecArgument {
    /// The spec's TOML file.
    spec: PathBuf,
    /// Sets a key, in TOML: --set 'recommender.dropout=0.1'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
struct Question {
    /// A folder or file, or a name that was fetched; or a spec's TOML file, whose first language model is asked.
    model: String,
    /// What is asked.
    #[arg(long)]
    prompt: String,
    /// Instructions that stand above it.
    #[arg(long, default_value = "")]
    system: String,
    /// How the answer is drawn, in TOML: --set 'max_tokens=100', --set 'temperature=0.7'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What random numbers come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// As `device` in a spec; the spec's own when not given, else `flex`.
    #[arg(long)]
    device: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a spec: every variant and seed that is not in the store yet, then prints the report.
    Run {
        #[command(flatten)]
        spec: SpecArgument,
        /// Makes a stage again even if it is there: dataset, recommender or evaluator.
        #[arg(long, value_parser = ["dataset", "recommender", "evaluator"])]
        fresh: Vec<String>,
    },
    /// Says everything that is wrong with specs, and nothing else.
    Check {
        /// TOML files.
        #[arg(required = true)]
        specs: Vec<PathBuf>,
        /// For editors.
        #[arg(long)]
        json: bool,
    },
    /// Prints the plan, every default written out, and what a run would find or make.
    Plan {
        #[command(flatten)]
        spec: SpecArgument,
        /// Also says where each value came from.
        #[arg(long)]
        origin: bool,
    },
    /// Names the keys that make (or made) a stage run again.
    Why {
        /// A run, or a spec's file.
        reference: String,
    },
    /// Prints the report of a spec from the runs in the store.
    Report {
        #[command(flatten)]
        spec: SpecArgument,
        /// md, csv, json or latex.
        #[arg(long, default_value = "md", value_parser = ["md", "csv", "json", "latex"])]
        format: String,
    },
    /// Lists the runs in the store.
    List {
        /// Keeps runs with these values: name=…, variant=…, dataset=…, recommender=…, seed=….
        #[arg(long = "where", value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// Sorts by a column or metric, highest first for metrics.
        #[arg(long, default_value = "started")]
        sort: String,
        /// One JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Prints a run's record.
    Show {
        /// `latest`, a run id, or the first characters of one.
        run: String,
        /// The whole record as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints what differs between two runs: plan, provenance, metrics.
    Diff {
        /// A run.
        a: String,
        /// Another run.
        b: String,
    },
    /// Gets a dataset or a language model from its source into the cache; without a name, lists what there is.
    Fetch {
        /// A name, as in `ml-100k`; or a model of the Hugging Face hub, OWNER/NAME[@REVISION].
        ///
        /// A copy that is there already stays, unless another revision is named: `@main` is the newest. HF_ENDPOINT
        /// names a mirror of the hub, HF_TOKEN lets you in where terms must be accepted first.
        name: Option<String>,
        /// A local copy: a folder, a zip, a Python wheel, or the file itself.
        #[arg(long)]
        from: Option<PathBuf>,
    },
    /// Says what a language model's checkpoint is: sizes, memory, tokenizer, licence.
    Inspect {
        /// A folder or file, or a name that was fetched.
        model: String,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Asks a language model once and prints its answer; nothing is stored.
    Generate(Question),
    /// Times reading a spec and loading and splitting its data.
    Bench {
        #[command(flatten)]
        spec: SpecArgument,
        /// Instead: lists a generated store of so many runs.
        #[arg(long)]
        runs: Option<usize>,
        /// Instead: a training step of the spec's recommender with each of these losses, on generated data.
        #[arg(long)]
        loss: Vec<String>,
        /// Instead: this work of the spec's language model: forward, lora, generate, score_one_by_one, score_shared.
        #[arg(long, conflicts_with = "loss")]
        work: Vec<String>,
        /// A command that times its own step in turns with ours: it gets a loss, or a work, and a number of steps.
        #[arg(long)]
        peer: Option<String>,
    },
    /// Writes the book's reference pages.
    Docs {
        /// The book's source.
        #[arg(default_value = "book/src")]
        folder: PathBuf,
        /// Only says which pages are stale.
        #[arg(long)]
        check: bool,
    },
}

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
    crate::allocator::keep_large_blocks();
    let cli = Cli::parse();
    // A panic is reported where it is caught, in one message; its backtrace goes to the log.
    std::panic::set_hook(Box::new(|panic| {
        // `ablate list | head` closes our output early: that is no mistake.
        if panic.to_string().contains("failed printing to stdout") {
            std::process::exit(0);
        }
        tracing::error!(%panic, "panic");
    }));
    let handler = ctrlc::set_handler(|| {
        if context::is_interrupted() {
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
            Command::Run { spec, fresh } => return self.run(&spec.load(built_in)?, built_in, fresh),
            Command::Check { specs, json } => return check(specs, *json, built_in),
            Command::Plan { spec, origin } => self.plan(&spec.load(built_in)?, *origin)?,
            Command::Why { reference } => self.why(reference, built_in)?,
            Command::Report { spec, format } => self.report(&spec.load(built_in)?, format)?,
            Command::List { filter, sort, json } => self.list(filter, sort, *json)?,
            Command::Show { run, json } => self.show(run, *json)?,
            Command::Diff { a, b } => self.diff(a, b)?,
            Command::Fetch { name, from } => self.fetch(name.as_deref(), from.as_deref())?,
            Command::Inspect { model, json } => self.inspect(&ask::checkpoint(built_in.checkpoint, model)?, *json)?,
            Command::Generate(question) => self.generate(question, built_in)?,
            Command::Bench { runs: Some(runs), .. } => bench::list(*runs)?,
            Command::Bench { spec, work, peer, .. } if !work.is_empty() => {
                bench::language_model(&spec.load(built_in)?.plans[0], work, &words(peer), &self.cache()?)?;
            }
            Command::Bench { spec, loss, peer, .. } if !loss.is_empty() => {
                let (losses, peer): (Vec<&str>, _) = (loss.iter().map(String::as_str).collect(), words(peer));
                bench::training(spec.load(built_in)?.spec.recommender.name(), &losses, &peer)?;
            }
            Command::Bench { spec, .. } => bench::spec(&spec.source(built_in), &self.cache()?)?,
            Command::Docs { folder, check } => docs::write(folder, *check)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn store(&self) -> Result<Store> {
        Store::open(&self.store)
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

    fn run(&self, loaded: &Loaded, built_in: BuiltIn, fresh: &[String]) -> Outcome {
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

    fn plan(&self, loaded: &Loaded, origin: bool) -> Result<()> {
        for plan in &loaded.plans {
            println!("# {} seed {}", plan.variant, plan.seed);
        }
        let table = loaded.plans.first().map(crate::ablation::Plan::table).unwrap_or_default();
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

    fn why(&self, reference: &str, built_in: BuiltIn) -> std::result::Result<(), Rejected> {
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

    fn report(&self, loaded: &Loaded, format: &str) -> Result<()> {
        let format = match format {
            "csv" => Format::Csv,
            "json" => Format::Json,
            "latex" => Format::Latex,
            _ => Format::Markdown,
        };
        println!("{}", report::report(&loaded.plans, &self.store()?, &self.cache()?)?.write(format).trim_end());
        Ok(())
    }

    fn list(&self, filter: &[String], sort: &str, json: bool) -> Result<()> {
        let mut runs = self.store()?.list()?;
        for condition in filter {
            let (key, value) = condition.split_once('=').ok_or_else(|| {
                Error::new(format!("`--where {condition}` is no condition")).fix("--where recommender=sasrec")
            })?;
            if !COLUMNS.contains(&key) {
                return Err(Error::new(format!("runs have no `{key}`")).fix(format!("one of {}", COLUMNS.join(", "))));
            }
            runs.retain(|run| column(run, key) == value);
        }
        let known = COLUMNS.contains(&sort) || runs.iter().any(|run| run.metrics.contains_key(sort));
        if !known && !runs.is_empty() {
            return Err(
                Error::new(format!("runs have no `{sort}`")).fix(format!("a metric, or one of {}", COLUMNS.join(", ")))
            );
        }
        let value = |run: &Summary| run.metrics.get(sort).copied().unwrap_or(f64::NEG_INFINITY);
        runs.sort_by(|a, b| value(b).total_cmp(&value(a)).then_with(|| column(a, sort).cmp(&column(b, sort))));
        if json {
            println!("{}", serde_json::to_string_pretty(&runs).explain("writing JSON", "ablate list")?);
            return Ok(());
        }
        for run in &runs {
            let metrics: Vec<String> = run.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let shown: Vec<String> = COLUMNS.iter().map(|key| column(run, key)).collect();
            println!("{}  {}", shown.join("  "), metrics.join("  "));
        }
        Ok(())
    }

    fn show(&self, reference: &str, json: bool) -> Result<()> {
        let store = self.store()?;
        let record = read(&store, &store.find_run(reference)?)?;
        if json {
            println!("{record:#}");
        } else {
            leaves(&record).into_iter().for_each(|(key, value)| println!("{key} = {value}"));
        }
        Ok(())
    }

    fn diff(&self, a: &str, b: &str) -> Result<()> {
        let store = self.store()?;
        let (a, b) = (read(&store, &store.find_run(a)?)?, read(&store, &store.find_run(b)?)?);
        for part in ["plan", "provenance", "data", "metrics"] {
            println!("[{part}]");
            differences(&a[part], &b[part]).into_iter().for_each(|difference| println!("{difference}"));
        }
        Ok(())
    }

    fn fetch(&self, name: Option<&str>, from: Option<&std::path::Path>) -> Result<()> {
        let archives = fetch::archives();
        let Some(name) = name else {
            archives.iter().for_each(|archive| println!("{:<12} {}", archive.name, archive.title));
            println!("{:<12} a language model of the Hugging Face hub, at a commit if you name one", "OWNER/NAME");
            return Ok(());
        };
        let names = || archives.iter().map(|archive| archive.name);
        let folder = match (archives.iter().find(|archive| archive.name == name), from) {
            (Some(archive), from) => fetch::fetch(archive, &self.cache()?, from, &Progress::default())?,
            (None, None) if name.contains('/') => {
                Hub::from_environment().fetch(name, &self.cache()?, &Progress::default())?
            }
            (None, Some(_)) if name.contains('/') => {
                let what = format!("`{name}` is not a name that `--from` knows the files of");
                return Err(Error::new(what).fix("the path of your copy as the language model's `model`"));
            }
            (None, _) => {
                let known =
                    format!("one of {}; or OWNER/NAME of the Hugging Face hub", names().collect::<Vec<_>>().join(", "));
                let near = nearest(name, names()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
                return Err(Error::new(format!("no dataset or model is called `{name}`")).fix(near + &known));
            }
        };
        println!("{}", folder.display());
        Ok(())
    }

    fn inspect(&self, model: &Pick<dyn LanguageModel>, json: bool) -> Result<()> {
        let description = model.describe(&self.cache()?)?;
        if json {
            println!("{description:#}");
            return Ok(());
        }
        for (key, value) in leaves(&description) {
            match (&value, value.as_u64()) {
                (Value::Array(all), _) if all.len() > 12 => {
                    let first = Value::Array(all[..12].to_vec());
                    println!("{key} = the first 12 of {}: {first}", all.len());
                }
                (_, Some(bytes)) if key.starts_with("bytes.") => println!("{key} = {value} ({})", HumanBytes(bytes)),
                _ => println!("{key} = {value}"),
            }
        }
        Ok(())
    }

    fn generate(&self, question: &Question, built_in: BuiltIn) -> std::result::Result<(), Rejected> {
        let Question { model, prompt, system, set, seed, device } = question;
        let decoding = ask::decoding(set)?;
        let spec = SpecArgument { spec: model.into(), set: Vec::new() };
        let plan = match model.ends_with(".toml") {
            true => spec.load(built_in)?.plans.into_iter().next(),
            false => None,
        };
        let pick = match &plan {
            Some(plan) => ask::first_in(&plan.table())?,
            None => ask::checkpoint(built_in.checkpoint, model)?,
        };
        let device = match (device, &plan) {
            (Some(name), _) => ask::setting(&toml::Value::from(name.as_str())).map_err(|error| error.at("--device"))?,
            (None, Some(plan)) => plan.spec.device.clone(),
            (None, None) => DeviceName("flex".into()),
        };
        let work = tempfile::tempdir().explain("creating a temporary folder", "the system's temporary folder")?;
        let (device, work) = (crate::device::open(&device)?, work.path().to_path_buf());
        let cx = context::Context::new(device, *seed, work, self.cache()?, Progress::default());
        // A model that is made from the experiment's texts is given the titles, as recommenders do.
        let corpus = plan.map(|plan| plan.spec.dataset.load(&cx)).transpose()?;
        let model = pick.open(&corpus.map_or(Vec::new(), |corpus| corpus.items.title), &cx)?;
        let started = Instant::now();
        let answer = ask::answer(model.as_ref(), Prompt::new(system, prompt), &decoding, *seed, &cx)?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{}", answer.text);
        let (read, written, rate) = (answer.prompt_tokens, answer.tokens, answer.tokens as f64 / seconds);
        eprintln!("{read} tokens read, {written} written in {seconds:.1} s, {rate:.1} tokens per second");
        Ok(())
    }
}

const COLUMNS: [&str; 7] = ["run", "started", "name", "variant", "seed", "dataset", "recommender"];

fn column(run: &Summary, key: &str) -> String {
    match key {
        "run" => run.run.chars().take(10).collect(),
        "started" => run.started.clone(),
        "name" => run.name.clone(),
        "variant" => run.variant.clone(),
        "seed" => run.seed.map_or(String::new(), |seed| seed.to_string()),
        "dataset" => run.dataset.clone(),
        "recommender" => run.recommender.clone(),
        _ => String::new(),
    }
}

impl SpecArgument {
    fn source(&self, built_in: BuiltIn) -> Source {
        Source { path: self.spec.clone(), set: self.set.clone(), base: built_in.base }
    }

    fn load(&self, built_in: BuiltIn) -> std::result::Result<Loaded, Rejected> {
        load(&self.source(built_in))
    }
}

fn check(specs: &[PathBuf], json: bool, built_in: BuiltIn) -> Outcome {
    let mut found = Vec::new();
    for spec in specs {
        match (SpecArgument { spec: spec.clone(), set: Vec::new() }).load(built_in) {
            Ok(_) => {}
            Err(Rejected::Wrong(mistakes)) => found.extend(mistakes),
            Err(unreadable) => return Err(unreadable),
        }
    }
    if json {
        let all: Vec<Value> = found.iter().map(crate::load::Located::json).collect();
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

fn read(store: &Store, id: &str) -> Result<Value> {
    store.run(id)?.ok_or_else(|| Error::new(format!("run {id} is not in the store")).fix("`ablate list`"))
}

/// The words of a command.
fn words(command: &Option<String>) -> Vec<String> {
    command.iter().flat_map(|command| command.split_whitespace()).map(String::from).collect()
}
