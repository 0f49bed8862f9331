//! Metrics of full-catalogue ranking.

use framework::error::Result;
use framework::evaluation::{Outcomes, Scores};
use framework::metrics::{Metric, coverage};
use framework::plugin;
use framework::roles::Evaluator;

plugin! {
    /// Hit rate, NDCG, MRR and their kin over the ranks of the test targets, and coverage over the recommended lists.
    ///
    /// Ties are resolved exactly: each metric is its expectation over a random order of the tied items, so a constant
    /// recommender scores at chance. The definitions are on the metrics page.
    struct Ranking: Evaluator = "ranking" {
        /// What is reported, in this order: `hr@k`, `ndcg@k`, `mrr@k`, `recall@k`, `precision@k`, `map@k`, `auc`, `coverage@k`.
        metrics: Vec<String> = ["hr@10", "ndcg@10", "mrr@10", "auc", "coverage@10"].map(String::from).to_vec(),
        /// The metric by which checkpoints are selected on validation; one with a value per user.
        selects_by: String = "ndcg@10".into(),
    }
    check |settings, report| {
        for (n, name) in settings.metrics.iter().enumerate() {
            if let Err(error) = Metric::parse(name) {
                report.inside("metrics", |report| report.conflict(&n.to_string(), error.to_string(), "a metric"));
            }
        }
        match Metric::parse(&settings.selects_by) {
            Err(error) => report.conflict("selects_by", error.to_string(), "a metric"),
            Ok(metric) if metric.is_of_lists() => {
                report.conflict("selects_by", "coverage has no value per user", "a metric such as ndcg@10");
            }
            Ok(_) => {}
        }
    }
}

impl Ranking {
    fn parsed(&self) -> Result<Vec<Metric>> {
        self.metrics.iter().map(|name| Metric::parse(name)).collect()
    }
}

impl Evaluator for Ranking {
    fn list_depth(&self) -> usize {
        let metrics = self.parsed().unwrap_or_default();
        let depths = metrics.iter().filter(|metric| metric.is_of_lists()).filter_map(Metric::cutoff);
        depths.max().unwrap_or(0) as usize
    }

    fn evaluate(&self, outcomes: &Outcomes) -> Result<Scores> {
        let mut scores = Scores::default();
        for metric in self.parsed()? {
            if metric.is_of_lists() {
                let k = metric.cutoff().unwrap_or(0) as usize;
                let lists: Vec<_> = outcomes.lists.iter().map(|list| list[..k.min(list.len())].to_vec()).collect();
                scores.overall.push((metric.to_string(), coverage(&lists, outcomes.num_items)));
            } else {
                let values = outcomes.ranks.iter().map(|rank| metric.value(*rank).unwrap_or(f64::NAN)).collect();
                scores.per_user.push((metric.to_string(), values));
            }
        }
        Ok(scores)
    }

    fn selects_by(&self) -> &str {
        &self.selects_by
    }
}
