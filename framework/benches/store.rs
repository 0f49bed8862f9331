//! `ablate bench --runs`: what a store of many runs costs to list, to compare and to report on.

use super::report;
use framework::ablation::Plan;
use framework::corpus;
use framework::error::{Explain, Result};
use framework::load::{Source, load};
use framework::rng::Rng;
use framework::run::keys;
use framework::stage::differences;
use framework::store::{Store, hash_json, now};
use polars::prelude::{Column, DataFrame};
use serde_json::{Value, json};
use std::path::Path;

/// Fills a store that goes with `runs` records; times listing them, without an index and with one, and comparing two.
pub fn list(runs: usize) -> Result<()> {
    let folder = super::folder()?;
    let store = Store::open(folder.path())?;
    let mut ids = Vec::new();
    for n in 0..runs {
        let id = hash_json(&json!(n));
        let plan = json!({ "dataset": { "use": "world" }, "recommender": { "use": "sasrec" } });
        let metrics = json!({ "hr@10": { "mean": n as f64 / runs as f64 }, "ndcg@10": { "mean": 0.5 } });
        let record = json!({ "run": id, "name": "bench", "variant": "base", "seed": n, "status": "done",
            "started": now(), "seconds": 1.0, "plan": plan, "metrics": metrics, "outcome": n });
        store.commit_run(&id, &record, false)?;
        ids.push(id);
    }
    report(&format!("list {runs} runs, no index yet"), 1, || store.list().map(|_| ()))?;
    report(&format!("list {runs} runs"), 11, || store.list().map(|_| ()))?;
    let read =
        |id: &String| Ok::<Value, framework::error::Error>(store.run(&store.find_run(&id[..12])?)?.unwrap_or_default());
    if ids.is_empty() {
        return Ok(());
    }
    report(&format!("compare two of {runs} runs"), 11, || {
        differences(&read(&ids[0])?, &read(&ids[runs / 2])?);
        Ok(())
    })
}

/// Times the report of a grid of `runs` runs with `users` users each, whose scores are random; on top of `base`.
pub fn report_of_many(base: &'static str, runs: usize, users: usize) -> Result<()> {
    let folder = super::folder()?;
    let path = folder.path().join("many.toml");
    let values: Vec<String> = (1..runs).map(|n| format!("{:.6}", n as f64 / (runs + 1) as f64)).collect();
    let text = format!(
        "name = \"many\"\ndataset.use = \"world\"\nrecommender.use = \"sasrec\"\n[[ablation]]\nname = \"dropout\"\n\
         grid.recommender.dropout = [{}]\n",
        values.join(", ")
    );
    std::fs::write(&path, text).explain("writing a spec", path.display())?;
    let loaded = load(&Source { path, set: Vec::new(), base })?;
    let store = Store::open(&folder.path().join("store"))?;
    for (n, plan) in loaded.plans.iter().enumerate() {
        commit(&store, plan, n, users, folder.path())?;
    }
    report(&format!("report on {runs} runs of {users} users"), 3, || {
        crate::report::report(&loaded.plans, &store, folder.path())?.write(crate::report::Format::Markdown).map(|_| ())
    })
}

/// A run as `ablate run` would leave it, with made-up scores.
fn commit(store: &Store, plan: &Plan, n: usize, users: usize, folder: &Path) -> Result<()> {
    let keys = keys(plan, folder)?;
    let scores = folder.join("scores.parquet");
    let mut rng = Rng::new(n as u64, "scores");
    let values: Vec<f64> = (0..users).map(|_| if rng.uniform() < 0.2 { rng.uniform() } else { 0.0 }).collect();
    let all: Vec<u32> = (0..users as u32).collect();
    let metrics = ["hr@10", "ndcg@10", "mrr@10", "auc"];
    let mut columns = vec![Column::new("user".into(), &all)];
    columns.extend(metrics.iter().map(|name| Column::new((*name).into(), &values)));
    corpus::write(folder, "scores", DataFrame::new(users, columns))?;
    let bytes = std::fs::read(&scores).explain("reading scores", scores.display())?;
    let mean = values.iter().sum::<f64>() / users as f64;
    let metrics: Value = metrics
        .iter()
        .map(|name| ((*name).to_string(), json!({ "mean": mean, "low": mean, "high": mean, "n": users })))
        .collect();
    let record = json!({
        "format": framework::store::FORMAT, "run": keys.run, "name": "many", "variant": plan.variant, "seed": plan.seed,
        "status": "done", "started": now(), "seconds": 1.0, "plan": plan.table(), "fingerprint": keys.fingerprint,
        "data": {}, "stages": [], "epochs": [], "metrics": metrics, "provenance": {},
        "outcome": { "metrics": metrics, "scores": { "scores.parquet": store.put_bytes(&bytes)? } },
    });
    store.commit_run(&keys.run, &record, false).map(|_| ())
}
