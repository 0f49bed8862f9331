//! What a TOML file may say. With every default written out a spec is the plan of its runs.

use crate::ablation::Ablation;
use crate::comparison::Comparison;
use crate::device::DeviceName;
use crate::plugin::{Pick, Setting, defaults};
use crate::problem::Reader;
use crate::protocol::Protocol;
use crate::roles::{Dataset, Evaluator, Recommender};
use crate::search::Search;
use crate::settings;
use toml::Value;

settings! {
    /// An experiment: roles filled with plugins, a protocol, seeds, and variants to compare.
    pub struct Spec {
        /// What the experiment is called in the store and in reports.
        pub name: String,
        /// One sentence for the reader of a report.
        pub description: String = String::new(),
        /// Where interactions and items come from.
        pub dataset: Pick<dyn Dataset>,
        /// What is kept of the data, how it is split and how it is ranked.
        pub protocol: Protocol,
        /// What ranks the items.
        pub recommender: Pick<dyn Recommender>,
        /// What the ranks are turned into.
        pub evaluator: Pick<dyn Evaluator>,
        /// One run per seed; a seed is a replicate, never a hyper-parameter.
        pub seeds: Seeds = Seeds(vec![1]),
        /// Where tensors live: `flex` (pure Rust, CPU), `cuda:0`, `tch`, `tch:0`, `wgpu`.
        pub device: DeviceName = DeviceName("flex".into()),
        /// Whether recommenders whose scores are known (constant, random, oracle, popularity, shuffled labels) are
        /// evaluated too, once for each protocol; a run fails if they do not get what they must.
        pub controls: bool = true,
        /// The row that variants are compared with; the recommender's name when empty.
        pub base: String = String::new(),
        /// How rows are compared with the base.
        pub comparison: Comparison = defaults(),
        /// How settings are tuned, if they are.
        pub search: Option<Search> = None,
        /// Variants, each a set of changes to this spec.
        pub ablation: Vec<Ablation> = Vec::new(),
    }
    check |spec, report| {
        if spec.recommender.needs_truth() && !spec.dataset.knows_truth() {
            report.conflict(
                "recommender",
                format!("`{}` ranks by the dataset's own truth, which `{}` has not", spec.recommender.name(), spec.dataset.name()),
                "a generated dataset, or another recommender",
            );
        }
        for (n, ablation) in spec.ablation.iter().enumerate() {
            let taken = spec.ablation[..n].iter().any(|other| other.name == ablation.name);
            if taken || ablation.name == spec.base_name() {
                let message = format!("two rows are called `{}`", ablation.name);
                report.inside("ablation", |r| r.inside(&n.to_string(), |r| r.conflict("name", message, "a name of its own")));
            }
        }
    }
}

impl Spec {
    /// The name of the row without changes.
    pub fn base_name(&self) -> &str {
        if self.base.is_empty() { self.recommender.name() } else { &self.base }
    }
}

/// The seeds of an experiment: at least one, each once.
#[derive(Clone, Debug, PartialEq)]
pub struct Seeds(pub Vec<u64>);

impl Seeds {
    /// Above every seed of a replicate; searches draw theirs from here on. Numbers up to here are exact in JSON.
    pub const LIMIT: u64 = 1 << 53;
}

impl Setting for Seeds {
    fn kind() -> String {
        Vec::<u64>::kind()
    }
    fn read(value: &Value, reader: &mut Reader) -> Option<Self> {
        let seeds = Vec::<u64>::read(value, reader)?;
        if let Some(seed) = seeds.iter().find(|seed| **seed >= Self::LIMIT) {
            return reader.report(format!("the seed {seed} is too large"), "seeds below 2^53");
        }
        let twice = seeds.iter().enumerate().find(|(n, seed)| seeds[..*n].contains(seed));
        match twice {
            Some((_, seed)) => reader.report(format!("seed {seed} stands there twice"), "each seed once"),
            None if seeds.is_empty() => reader.report("no seed, so no run", "at least one seed"),
            None => Some(Self(seeds)),
        }
    }
    fn write(&self) -> Value {
        self.0.write()
    }
}
