//! What the command line takes: the commands and their arguments. Not what they do.

use crate::{BuiltIn, commands};
use clap::{Args, Parser, Subcommand, ValueEnum};
use framework::load::{Loaded, Rejected, Source, load};
use std::path::PathBuf;
use std::time::Duration;

/// Declarative experiments with sequential recommenders: one TOML file in, a stored run and a report out.
#[derive(Parser)]
#[command(name = "ablate", version)]
pub(crate) struct Cli {
    /// The results store: a folder, or s3://BUCKET/NAME with the AWS_ variables of an S3-compatible object store.
    #[arg(long, global = true, env = "ABLATE_STORE", default_value = "results")]
    pub(crate) store: PathBuf,
    /// The folder of fetched data; the system's cache folder when not given.
    #[arg(long, global = true, env = "ABLATE_CACHE")]
    pub(crate) cache: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug, or a filter such as `framework=debug`.
    #[arg(long, global = true, env = "ABLATE_LOG", default_value = "warn")]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct SpecArgument {
    /// The spec's TOML file.
    pub(crate) spec: PathBuf,
    /// Sets a key, in TOML: --set 'recommender.dropout=0.1'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Question {
    /// A folder or file, or a name that was fetched; or a spec's TOML file, whose first language model is asked.
    pub(crate) model: String,
    /// What is asked.
    #[arg(long)]
    pub(crate) prompt: String,
    /// Instructions that stand above it.
    #[arg(long, default_value = "")]
    pub(crate) system: String,
    /// How the answer is drawn, in TOML: --set 'max_tokens=100', --set 'temperature=0.7'.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// What random numbers come from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// As `device` in a spec; the spec's own when not given, else `flex`.
    #[arg(long)]
    pub(crate) device: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a spec: every variant and seed that is not in the store yet, then prints the report.
    Run {
        #[command(flatten)]
        spec: SpecArgument,
        /// Makes a stage again even if it is there: dataset, recommender or evaluator.
        #[arg(long, value_parser = ["dataset", "recommender", "evaluator"])]
        fresh: Vec<String>,
        #[command(flatten)]
        workers: commands::Workers,
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
    /// Judges lists of items that other software made, as rows of a spec's table: TREC runs, or tables (TSV, CSV, JSON
    /// lines, parquet) with users, items and scores.
    Score {
        #[command(flatten)]
        spec: SpecArgument,
        /// The files; each row is called like its file.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        lists: commands::Lists,
    },
    /// Describes a spec's data set: sizes, lengths, times, ties, repeats, what is missing, and what the protocol leaves.
    Data {
        #[command(flatten)]
        spec: SpecArgument,
        /// Also shows so many of the first interactions and items, as they were understood.
        #[arg(long, default_value_t = 0)]
        rows: usize,
        /// For programs.
        #[arg(long)]
        json: bool,
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
        /// md, csv, json, latex or html.
        #[arg(long, default_value = "md", value_parser = ["md", "csv", "json", "latex", "html"])]
        format: String,
        /// A file for it instead of standard output.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Lists the runs in the store.
    List {
        /// Keeps runs with these values: name=…, variant=…, dataset=…, recommender=…, seed=….
        #[arg(long = "where", value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// Keeps the runs of a tag.
        #[arg(long)]
        tag: Option<String>,
        /// Instead: the tags, with their hashes.
        #[arg(long, conflicts_with_all = ["filter", "tag"])]
        tags: bool,
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
    /// Prints what differs between two runs: plan, provenance, metrics; or between two tags: runs, means, verdicts.
    Diff {
        /// A run, or a tag.
        a: String,
        /// Another run, or another tag.
        b: String,
    },
    /// Gives a name to a list of runs, which then never changes, and prints the list's hash.
    Tag {
        /// Letters, digits, `.`, `_` and `-`.
        name: String,
        /// A spec's file, for all its runs; or runs and other tags.
        #[arg(required = true)]
        references: Vec<String>,
        /// As in `run`: changes the spec.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Packs a tag with its runs, stages and objects into one file; or writes its runs, or what a run trained or
    /// recommended, for other programs.
    Export {
        /// The tag; of adapters and recommendations, a run.
        tag: String,
        /// The archive that is made, a zip; for another program, a folder.
        #[arg(required_unless_present = "recommendations")]
        file: Option<PathBuf>,
        /// Instead: what this program reads.
        #[arg(long = "as", conflicts_with = "lean")]
        form: Option<Form>,
        /// Instead: each test user's best items with ids, titles and scores, under the run's own masks and candidates, into
        /// this file: `.parquet`, `.csv`, `.tsv`, or a TREC run as `.trec`, `.run`, `.txt`. `ablate score` reads it.
        #[arg(long, conflicts_with_all = ["file", "form", "lean"])]
        recommendations: Option<PathBuf>,
        /// With `--recommendations`: so many items of each user, and those that are tied with the last one; the largest
        /// cutoff of the run's metrics when not given.
        #[arg(long, requires = "recommendations", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        top: Option<u32>,
        /// Leaves out data, checkpoints and logs: enough for reports, and to make the runs again.
        #[arg(long)]
        lean: bool,
    },
    /// Adds an exported tag to the store, after checking all of it.
    Import {
        /// The archive.
        file: PathBuf,
    },
    /// Makes stored runs again from their stored plans and compares; the store stays as it is.
    Reproduce {
        /// A tag, a spec's file, or a run.
        reference: String,
        /// As in `run`: changes the spec.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Checks every object, stage, run and tag in the store against hashes and references; runs nothing.
    Verify,
    /// Lists what nothing in the store refers to any more.
    Gc {
        /// Removes it.
        #[arg(long)]
        delete: bool,
        /// Spares what is younger: a number with s, m, h or d behind it.
        #[arg(long, default_value = "1d", value_parser = commands::duration)]
        grace: Duration,
        /// Also stages that no run refers to.
        #[arg(long)]
        stages: bool,
    },
    /// Says what takes how much room in the store.
    Du {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Gets a dataset or a language model from its source into the cache; without a name, lists what there is.
    Fetch {
        /// A name, as in `ml-100k` or, of data in many categories, `amazon-2023:Video_Games`; or a model of the Hugging
        /// Face hub, OWNER/NAME[@REVISION].
        ///
        /// A copy that is there already stays, unless another revision is named: `@main` is the newest. HF_ENDPOINT
        /// names a mirror of the hub, HF_TOKEN lets you in where terms must be accepted first.
        name: Option<String>,
        /// A local copy: a folder, a zip, a Python wheel, or the file itself.
        #[arg(long)]
        from: Option<PathBuf>,
    },
    /// Gets the pictures that a spec's data set links, of the items that its protocol keeps, into the cache; again, only
    /// what is missing.
    Pictures {
        #[command(flatten)]
        spec: SpecArgument,
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
        /// Instead: lists a generated store of so many runs and compares two of them.
        #[arg(long)]
        runs: Option<usize>,
        /// With `--runs`: reports on so many runs of so many users each.
        #[arg(long, requires = "runs")]
        users: Option<usize>,
        /// Instead: runs the spec on so many worlds, the dataset's seeds from 1, and counts the report's verdicts.
        #[arg(long)]
        studies: Option<u64>,
        /// Instead: simulates so many tables of equal rows with the variances of the spec's runs in the store, and counts
        /// false verdicts, found differences, and intervals that hold the truth.
        #[arg(long)]
        verdicts: Option<usize>,
        /// With `--verdicts`: only the variances of these rows.
        #[arg(long, requires = "verdicts")]
        row: Vec<String>,
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

impl Command {
    /// Whether it leaves results or files that a stop must not leave half done; all others end at once.
    pub(crate) fn stores(&self) -> bool {
        !matches!(
            self,
            Self::Check { .. }
                | Self::Plan { .. }
                | Self::Why { .. }
                | Self::Report { .. }
                | Self::List { .. }
                | Self::Show { .. }
                | Self::Diff { .. }
                | Self::Verify
                | Self::Du { .. }
                | Self::Inspect { .. }
                | Self::Generate(_)
        )
    }
}

/// What reads an export.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    /// MLflow, settings, metrics and training curves of a tag: `mlflow ui --backend-store-uri FOLDER`.
    Mlflow,
    /// TensorBoard, the same: `tensorboard --logdir FOLDER`.
    Tensorboard,
    /// PEFT, the LoRA adapter that a run trained: `PeftModel.from_pretrained(base, FOLDER)`.
    Adapter,
}

impl SpecArgument {
    pub(crate) fn source(&self, built_in: BuiltIn) -> Source {
        Source { path: self.spec.clone(), set: self.set.clone(), base: built_in.base }
    }

    pub(crate) fn load(&self, built_in: BuiltIn) -> std::result::Result<Loaded, Rejected> {
        load(&self.source(built_in))
    }
}
