//! A recommender and an evaluator from outside the repository, and a program that has them beside the plugins that ship with ablate.

use burn::tensor::{Tensor, TensorData};
use framework::context::Context;
use framework::error::{Explain, Result};
use framework::evaluation::{Outcomes, Scores};
use framework::metrics::{Metric, Rank};
use framework::plugin;
use framework::protocol::Train;
use framework::roles::{Evaluator, Query, Recommender, Scorer};
use std::path::Path;
use std::process::ExitCode;

// Without this line the plugins would not be linked and their registries would be empty.
use plugins as _;

plugin! {
    /// Ranks items by title, the same for every user. Items of the same title tie.
    struct Alphabetical: Recommender = "alphabetical" {
        /// Whether the last title comes first.
        reverse: bool = false,
    }
}

impl Recommender for Alphabetical {
    fn fit(&self, train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let mut titles: Vec<&String> = train.items.title.iter().collect();
        titles.sort();
        titles.dedup();
        let before = |title: &String| titles.partition_point(|other| *other < title) as f32;
        let score = |title: &String| if self.reverse { before(title) } else { -before(title) };
        Ok(Box::new(Fixed { of_item: train.items.title.iter().map(score).collect() }))
    }

    fn load(&self, folder: &Path, _train: &Train, _cx: &Context) -> Result<Box<dyn Scorer>> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).explain("reading the scores", path.display())?;
        let scores: std::result::Result<Vec<f32>, _> = text.lines().map(str::parse).collect();
        Ok(Box::new(Fixed { of_item: scores.explain("reading the scores", path.display())? }))
    }
}

plugin! {
    /// Mean reciprocal rank with a target before all items of the same score: what a ranking comes to that sorts rows in
    /// which the target was written first. Controls are there to catch it.
    struct Flattering: Evaluator = "flattering" {}
}

impl Evaluator for Flattering {
    fn evaluate(&self, outcomes: &Outcomes) -> Result<Scores> {
        let first = |rank: &Rank| self.selects_by().value(Rank { tied: 0, ..*rank }).unwrap_or(f64::NAN);
        let values = outcomes.ranks.iter().map(first).collect();
        Ok(Scores { per_user: vec![(self.selects_by().to_string(), values)], ..Scores::default() })
    }

    fn selects_by(&self) -> Metric {
        Metric::parse("mrr@10").expect("a metric")
    }
}

const FILE: &str = "scores.txt";

/// One score per item, whoever asks.
struct Fixed {
    of_item: Vec<f32>,
}

impl Scorer for Fixed {
    fn score(&self, queries: &[Query], cx: &Context) -> Result<Tensor<2>> {
        let scores = TensorData::new(self.of_item.repeat(queries.len()), [queries.len(), self.of_item.len()]);
        Ok(Tensor::from_data(scores, &cx.device))
    }

    fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text: String = self.of_item.iter().map(|score| format!("{score}\n")).collect();
        std::fs::write(&path, text).explain("writing the scores", path.display())
    }
}

fn main() -> ExitCode {
    cli::main(cli::BuiltIn {
        base: include_str!("../../../experiments/base.toml"),
        code: framework::provenance::Code { lock: include_str!("../../../Cargo.lock"), revision: None },
        checkpoint: "local",
    })
}
