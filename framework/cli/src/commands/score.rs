//! `ablate score`: lists that other software made, each as a row of a spec's table.

use super::Workers;
use crate::{BuiltIn, Cli, Outcome, ask};
use framework::ablation::Design;
use framework::error::Error;
use framework::load::Loaded;
use framework::toml::{Table, Value};
use std::path::{Path, PathBuf};

/// How tables of lists are read: settings of the recommender `imported`, whose defaults hold where one is not given.
#[derive(Clone, Default, clap::Args)]
pub(crate) struct Lists {
    /// The tables' column of users, as the header has it: `user_id` when not given.
    #[arg(long, value_name = "NAME")]
    user_column: Option<String>,
    /// The tables' column of items: `item_id` when not given.
    #[arg(long, value_name = "NAME")]
    item_column: Option<String>,
    /// The tables' column of scores, higher for better: `score` when not given.
    #[arg(long, value_name = "NAME")]
    score_column: Option<String>,
    /// The tables' column of ranks, lower for better, where there is one: `rank` when not given.
    #[arg(long, value_name = "NAME")]
    rank_column: Option<String>,
    /// What parts the fields of text tables, where the files' endings do not say it: `;`, `|`, `blanks`.
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
    /// What becomes of test users without a list: `refuse`, or `miss`, which counts them as misses.
    #[arg(long, value_name = "WHAT", value_parser = ["refuse", "miss"])]
    missing_users: Option<String>,
}

impl Lists {
    /// The recommender whose scores are in `file`.
    fn recommender(&self, file: &str) -> Value {
        let mut table = Table::from_iter([("use".into(), "imported".into()), ("file".into(), file.into())]);
        let given = [
            ("user_column", &self.user_column),
            ("item_column", &self.item_column),
            ("score_column", &self.score_column),
            ("rank_column", &self.rank_column),
            ("separator", &self.separator),
            ("missing_users", &self.missing_users),
        ];
        table.extend(given.into_iter().filter_map(|(key, value)| Some((key.into(), value.as_deref()?.into()))));
        Value::Table(table)
    }
}

impl Cli {
    /// Judges lists that other software made, and prints the table.
    pub(crate) fn score(&self, mut loaded: Loaded, built_in: BuiltIn, files: &[PathBuf], lists: &Lists) -> Outcome {
        for file in files {
            let path = file.to_str().ok_or_else(|| Error::new("the name is not UTF-8").at(file.display()))?;
            let mut plan = loaded.plans[0].clone();
            plan.spec.recommender = ask::setting(&lists.recommender(path)).map_err(|error| error.at(path))?;
            plan.variant = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if loaded.plans.iter().any(|other| other.variant == plan.variant) {
                let what = format!("a row of the table is called `{}` already", plan.variant);
                return Err(Error::new(what)
                    .at(path)
                    .fix("another name for the file: the row is called like it")
                    .into());
            }
            plan.design = Design::Variant;
            loaded.plans.push(plan);
        }
        self.run(&loaded, built_in, &[], &Workers::default())
    }
}
