//! One spec, many plans: the base and each named variant, once per seed.

use crate::plugin::Setting;
use crate::problem::{Problem, Reader};
use crate::settings;
use crate::spec::{Seeds, Spec};
use toml::{Table, Value};

settings! {
    /// A variant: a name and what it changes.
    pub struct Ablation {
        /// The name of its row in the report.
        pub name: String,
        /// Keys of the spec with their new values; a table with another `use` replaces the old one whole.
        pub set: Table = Table::new(),
    }
}

/// What a row is among the others of its table.
#[derive(Clone, Debug, PartialEq)]
pub enum Design {
    /// What the others are compared with.
    Base,
    /// One named change.
    Variant,
    /// One of several values of a key.
    Grid {
        /// The ablation's name.
        name: String,
        /// The dotted key.
        key: String,
        /// Its value in this row.
        value: Value,
    },
    /// A subset of components; the base has all of them.
    Factorial {
        /// The ablation's name.
        name: String,
        /// All components.
        components: Vec<String>,
        /// Those that this row is without, in the same order.
        without: Vec<String>,
    },
}

/// One variant with one seed: all that a run needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The row it belongs to.
    pub variant: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// What the row is among the others.
    pub design: Design,
    /// The spec with the variant's changes applied.
    pub spec: Spec,
}

impl Plan {
    /// The plan as a spec of its own, every default written out: running it re-makes the run.
    pub fn table(&self) -> Table {
        let mut spec = self.spec.clone();
        spec.seeds = Seeds(vec![self.seed]);
        spec.base = self.variant.clone();
        spec.ablation = Vec::new();
        match spec.write() {
            Value::Table(table) => table,
            _ => Table::new(),
        }
    }
}

/// Lays `changes` over `table`: tables merge, but one with another `use` replaces the old one.
pub fn overlay(table: &mut Table, changes: &Table) {
    if let (Some(old), Some(new)) = (table.get("use"), changes.get("use"))
        && old != new
    {
        table.clear();
    }
    for (key, value) in changes {
        match (table.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The plans of a spec, base first, or every mistake in it.
///
/// `table` is the whole spec as merged from its files. A mistake inside a variant carries the path of the variant.
pub fn plans(table: &Table) -> Result<(Spec, Vec<Plan>), Vec<Problem>> {
    let mut reader = Reader::default();
    let spec = Spec::read(&Value::Table(table.clone()), &mut reader);
    let mut problems = reader.problems;
    let mut variants = Vec::new();
    for (n, (name, changes)) in changes(table).into_iter().enumerate() {
        let mut changed = table.clone();
        changed.remove("ablation");
        overlay(&mut changed, &changes);
        let mut reader = Reader::default();
        let variant = Spec::read(&Value::Table(changed), &mut reader);
        let new = reader.problems.into_iter().filter(|problem| !same_place(&problems, problem)).collect::<Vec<_>>();
        problems.extend(new.into_iter().map(|problem| inside_variant(problem, n)));
        variants.extend(variant.map(|spec| (name, Design::Variant, spec)));
    }
    match spec {
        Some(spec) if problems.is_empty() => {
            let base = [(spec.base_name().to_string(), Design::Base, spec.clone())];
            let rows = base.into_iter().chain(variants);
            let plans = rows.flat_map(|(variant, design, spec)| {
                let plan = |seed: &u64| Plan {
                    variant: variant.clone(),
                    design: design.clone(),
                    seed: *seed,
                    spec: spec.clone(),
                };
                spec.seeds.0.iter().map(plan).collect::<Vec<_>>()
            });
            Ok((spec, plans.collect()))
        }
        _ => Err(problems),
    }
}

/// Name and changes of each variant that is well-formed enough to be read.
fn changes(table: &Table) -> Vec<(String, Table)> {
    let variants = table.get("ablation").and_then(Value::as_array).cloned().unwrap_or_default();
    let change = |variant: Value| {
        let name = variant.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
        let set = variant.get("set").and_then(Value::as_table).cloned().unwrap_or_default();
        (name, set)
    };
    variants.into_iter().map(change).collect()
}

fn same_place(problems: &[Problem], new: &Problem) -> bool {
    problems.iter().any(|known| known.path == new.path && known.message == new.message)
}

/// Moves a mistake to the variant that made it.
fn inside_variant(mut problem: Problem, n: usize) -> Problem {
    let prefix = ["ablation".to_string(), n.to_string(), "set".to_string()];
    problem.path = prefix.into_iter().chain(problem.path).collect();
    problem
}
