//! Metrics of full-catalogue ranking.

use framework::error::Result;
use framework::evaluation::{Outcomes, Scores};
use framework::metrics::Metric;
use framework::plugin;
use framework::roles::Evaluator;

plugin! {
    /// Hit rate, NDCG, MRR and their kin over the ranks of the test targets, and coverage over the recommended lists.
    ///
    /// Ties are resolved exactly: each metric is its expectation over a random order of the tied items, so a constant
    /// recommender scores at chance. The definitions are on the metrics page.
    struct Ranking: Evaluator = "ranking" {
        /// What is reported, in this order. `map@10 as elliot` is a metric as another framework defines it.
        metrics: Vec<Metric> = named(&["hr@10", "ndcg@10", "mrr@10", "auc", "coverage@10"]),
        /// The metric by which checkpoints are selected on validation; one with a value per user.
        selects_by: Metric = named(&["ndcg@10"])[0],
    }
    check |settings, report| {
        if settings.selects_by.is_of_lists() {
            report.conflict("selects_by", "coverage has no value per user", "a metric such as ndcg@10");
        } else if !settings.metrics.contains(&settings.selects_by) {
            report.conflict("selects_by", "it is not among `metrics`, and rows are compared by it", "one of `metrics`");
        }
    }
}

fn named(names: &[&str]) -> Vec<Metric> {
    names.iter().map(|name| Metric::parse(name).expect("a default is a metric")).collect()
}

impl Evaluator for Ranking {
    fn list_depth(&self) -> usize {
        let depths = self.metrics.iter().filter(|metric| metric.is_of_lists()).filter_map(Metric::cutoff);
        depths.max().unwrap_or(0) as usize
    }

    fn evaluate(&self, outcomes: &Outcomes) -> Result<Scores> {
        let mut scores = Scores::default();
        for metric in &self.metrics {
            if let Some(value) = metric.of_lists(&outcomes.lists, outcomes.num_items) {
                scores.overall.push((metric.to_string(), value));
            } else {
                let values = outcomes.ranks.iter().map(|rank| metric.value(*rank).unwrap_or(f64::NAN)).collect();
                scores.per_user.push((metric.to_string(), values));
            }
        }
        Ok(scores)
    }

    fn selects_by(&self) -> Metric {
        self.selects_by
    }
}
