//! What a stored run recommends: its recommender is read from the store, not fitted again, and asked about each test user
//! under the run's own protocol. No metrics: those are the run's own.

use super::UserScores;
use crate::ablation::Plan;
use crate::context::Context;
use crate::corpus::{Corpus, Items};
use crate::device;
use crate::error::{Error, Explain, Result};
use crate::evaluation::{not_numbers_error, read_back, scored};
use crate::progress::Progress;
use crate::protocol::{Cases, split};
use crate::store::Store;
use rayon::prelude::*;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// The best items of test users.
pub struct Recommended {
    /// The source's own id of each user.
    pub users: Vec<String>,
    /// The best items of each and their scores, best first; of equals the first of the catalogue.
    pub lists: Vec<Vec<(u32, f32)>>,
    /// The catalogue.
    pub items: Arc<Items>,
    /// Users whose target has another rank than when the run was made: another device, or another program.
    pub changed: usize,
}

/// The `top` best items of each test user of the run, and those that are tied with the last one: which of them come first
/// is not for us to make up, and so the lists get the metrics that the run got.
pub fn recommended(
    store: &Store,
    record: &Value,
    plan: &Plan,
    top: usize,
    cache: PathBuf,
    progress: Progress,
) -> Result<Recommended> {
    let [dataset, recommender] = [stage(store, record, "dataset")?, stage(store, record, "recommender")?];
    let work = tempfile::tempdir().explain("making a folder", "TMPDIR")?;
    let device = device::open(&plan.spec.device)?;
    let cx = Context::new(device, plan.seed, work.path().to_path_buf(), cache, progress);
    let cx = cx.with_generations(store.generations());
    let split = split(&Corpus::load(dataset.path())?, &plan.spec.protocol, plan.spec.evaluator.selects_by())?;
    let scorer = plan.spec.recommender.load(recommender.path(), &split.train, &cx)?;
    // Not logged as an opening: this recommender was judged on these cases already, and what follows names no target.
    let (cases, num_items) = (split.test.open(), split.train.num_items());
    let bar = cx.bar("ranking", cases.len());
    let mut best = Vec::with_capacity(cases.len());
    for start in (0..cases.len()).step_by(cx.batch_size) {
        cx.proceed()?;
        let batch: Vec<usize> = (start..cases.len().min(start + cx.batch_size)).collect();
        let scores = read_back(scored(scorer.as_ref(), cases, &batch, num_items, &cx)?)?;
        let rows = scores.par_chunks(num_items).zip(&batch).map(|(row, case)| best_of(cases, *case, row, top));
        best.extend(rows.collect::<Result<Vec<_>>>()?);
        bar.advance(batch.len());
    }
    let (lists, above): (Vec<_>, Vec<u32>) = best.into_iter().unzip();
    let before = UserScores::read(store, record)?.above()?;
    let changed = above.iter().zip(&before).filter(|(now, before)| now != before).count();
    let users = cases.users.iter().map(|user| split.train.users[*user as usize].clone()).collect();
    Ok(Recommended { users, lists, items: split.train.items.clone(), changed })
}

/// A stage of the run, laid out in a folder.
fn stage(store: &Store, record: &Value, name: &str) -> Result<tempfile::TempDir> {
    let stages = record["stages"].as_array().into_iter().flatten();
    let key = stages.into_iter().find(|stage| stage["stage"] == name).and_then(|stage| stage["key"].as_str());
    let missing = || {
        Error::new(format!("the store lacks the {name} that the run was made with"))
            .at(format!("run {}", record["run"].as_str().unwrap_or_default()))
            .fix("`ablate run` of its spec makes it again; a lean export leaves it out")
    };
    let found = store.stage(key.ok_or_else(missing)?)?.ok_or_else(missing)?;
    let folder = tempfile::tempdir().explain("making a folder", "TMPDIR")?;
    store.materialize(&found, folder.path())?;
    Ok(folder)
}

/// The best items of a case by their scores, and how many are above the target.
fn best_of(cases: &Cases, case: usize, scores: &[f32], top: usize) -> Result<(Vec<(u32, f32)>, u32)> {
    let mut ranked: Vec<(u32, f32)> =
        cases.ranked(case, scores.len()).into_iter().map(|item| (item, scores[item as usize])).collect();
    if ranked.iter().any(|(_, score)| score.is_nan()) {
        return Err(not_numbers_error());
    }
    let target = scores[cases.targets[case] as usize];
    // Who recommends nothing has the target below all.
    ranked.retain(|(_, score)| *score != f32::NEG_INFINITY);
    let above = match ranked.is_empty() {
        true => cases.ranked(case, scores.len()).len().saturating_sub(1),
        false => ranked.iter().filter(|(_, score)| *score > target).count(),
    };
    let better = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if ranked.len() > top && top > 0 {
        let (_, last, _) = ranked.select_nth_unstable_by(top - 1, better);
        let last = last.1;
        ranked.retain(|(_, score)| *score >= last);
    }
    ranked.sort_unstable_by(better);
    Ok((ranked, above as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_what_is_ranked_and_what_is_tied_with_its_last() {
        let scores = [9.0, 3.0, 5.0, 3.0, f32::NEG_INFINITY, 1.0];
        let histories = vec![vec![0]];
        let masked = Cases { targets: vec![5], histories, mask_seen: true, ..Cases::default() };
        let items = |cases: &Cases, top| {
            let (list, above) = best_of(cases, 0, &scores, top).expect("a list");
            (list.into_iter().map(|(item, _)| item).collect::<Vec<_>>(), above)
        };
        assert_eq!(items(&masked, 1), (vec![2], 3));
        assert_eq!(items(&masked, 2), (vec![2, 1, 3], 3), "both threes or none");
        assert_eq!(items(&masked, 9), (vec![2, 1, 3, 5], 3), "what scores nothing is not recommended");
        let few = Cases { targets: vec![1], candidates: vec![vec![5, 0, 1]], ..masked };
        assert_eq!(items(&few, 2), (vec![0, 1], 1));
        assert!(best_of(&few, 0, &[f32::NAN; 6], 2).is_err());
    }
}
