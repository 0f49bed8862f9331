//! Commands on the runs in the store: list, show, diff of two runs.

use crate::Cli;
use crate::commands::read;
use crate::commands::versions::known_tag;
use framework::error::{Error, Explain, Result};
use framework::run::summary;
use framework::stage::{differences, leaves};
use framework::store::Summary;

impl Cli {
    pub(crate) fn list(&self, filter: &[String], tag: Option<&str>, sort: &str, json: bool) -> Result<()> {
        let store = self.store()?;
        let mut runs = store.list()?;
        if let Some(tag) = tag {
            let tag = known_tag(&store, tag)?;
            runs.retain(|run| tag.runs.iter().any(|tagged| tagged.run == run.run));
        }
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

    pub(crate) fn show(&self, reference: &str, json: bool) -> Result<()> {
        let store = self.store()?;
        let mut record = read(&store, &store.find_run(reference)?)?;
        record["metrics"] = summary(&store, &record);
        if json {
            println!("{record:#}");
        } else {
            leaves(&record).into_iter().for_each(|(key, value)| println!("{key} = {value}"));
        }
        Ok(())
    }

    pub(crate) fn diff(&self, a: &str, b: &str) -> Result<()> {
        let store = self.store()?;
        if self.diff_tags(&store, a, b)? {
            return Ok(());
        }
        let (a, b) = (read(&store, &store.find_run(a)?)?, read(&store, &store.find_run(b)?)?);
        for part in ["plan", "provenance", "data", "metrics"] {
            println!("[{part}]");
            differences(&a[part], &b[part]).into_iter().for_each(|difference| println!("{difference}"));
        }
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
