//! One spec, many plans: the base and each named variant, once per seed.

mod change;

pub(crate) use change::nested;
pub use change::overlay;

use crate::plugin::Setting;
use crate::problem::{Problem, Reader, nearest};
use crate::search::{self, Tuned};
use crate::settings;
use crate::spec::{Seeds, Spec};
use toml::{Table, Value};

settings! {
    /// A variant: a name and what it changes. `grid` and `factorial` stand for several.
    pub struct Ablation {
        /// The name of its row in the report.
        pub name: String,
        /// Keys of the spec with their new values, also of plugins that `use` brings; a table with another `use` in it
        /// replaces the old one whole.
        pub set: Table = Table::new(),
        /// Other plugins, as in `use.recommender.loss = "bce"`, with their default settings where `set` has no others.
        pub r#use: Table = Table::new(),
        /// Parts that are left out, as in `["recommender.aggregator"]`; those that may be `false`.
        pub remove: Vec<String> = Vec::new(),
        /// Parts that are not trained, as in `["recommender"]`: `fine_tuned` becomes false, or `max_epochs` 0.
        pub freeze: Vec<String> = Vec::new(),
        /// Parts whose content goes while its form stays, as in `placebo.recommender.aggregator = "shuffle"` or
        /// `placebo.dataset.titles = "blank"`: the plugin `placebo` of the role takes the part's place.
        pub placebo: Table = Table::new(),
        /// One key with several values, as in `grid.recommender.dropout = [0.1, 0.2]`: a row for each.
        pub grid: Table = Table::new(),
        /// Components, each a named change that takes it away: a row for each set of components that are gone.
        pub factorial: Vec<Ablation> = Vec::new(),
    }
    check |ablation, report| {
        // Its full row is the base, which would lack the other words.
        if !ablation.factorial.is_empty() && WORDS.iter().any(|word| *word != "factorial" && ablation.has(word)) {
            report.conflict("factorial", "`factorial` stands beside other words of the row", "them in its components");
        }
    }
}

/// All that an ablation can do.
const WORDS: [&str; 7] = ["grid", "factorial", "placebo", "use", "set", "remove", "freeze"];

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
    /// What its search found, where its settings came from one.
    pub tuned: Option<Tuned>,
}

impl Plan {
    /// A row of that name without changes.
    pub fn of(variant: String, spec: &Spec, seed: u64) -> Self {
        Self { variant, seed, design: Design::Base, spec: spec.clone(), tuned: None }
    }

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

/// The plans of a spec, base first, or every mistake in it.
///
/// `table` is the whole spec as merged from its files. A mistake inside a variant carries the path of the variant.
pub fn plans(table: &Table) -> Result<(Spec, Vec<Plan>), Vec<Problem>> {
    let mut reader = Reader::default();
    let spec = Spec::read(&Value::Table(table.clone()), &mut reader);
    let mut problems = reader.problems;
    let mut base = table.clone();
    let ablations = base.remove("ablation");
    // Written out, so that a variant can change what is there by default; as it is while there are mistakes in it.
    let base = spec.as_ref().and_then(|_| change::written_out(&base)).unwrap_or(base);
    let mut variants: Vec<(String, Design, Spec)> = Vec::new();
    for (n, ablation) in ablations.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
        // What is wrong with the ablation itself was reported with the spec.
        let Some(ablation) = Ablation::read(ablation, &mut Reader::default()) else { continue };
        let rows = match change::rows(&ablation, &base) {
            Ok(rows) => rows,
            Err(problem) => {
                problems.push(inside_variant(problem, n, None));
                continue;
            }
        };
        for (name, design, row) in rows {
            let mut reader = Reader::default();
            let variant = Spec::read(&Value::Table(row), &mut reader);
            let new = reader.problems.into_iter().filter(|problem| !same_place(&problems, problem)).collect::<Vec<_>>();
            let word = WORDS[..5].iter().find(|word| ablation.has(word)).copied();
            problems.extend(new.into_iter().map(|problem| inside_variant(problem, n, word)));
            if variants.iter().any(|(other, ..)| *other == name) && design != Design::Variant {
                problems.push(twice(&name, n));
            }
            variants.extend(variant.map(|spec| (name, design, spec)));
        }
    }
    if let (Some(spec), true) = (&spec, problems.is_empty()) {
        let base = std::iter::once((spec.base_name(), spec));
        let rows: Vec<_> = base.chain(variants.iter().map(|(name, _, spec)| (name.as_str(), spec))).collect();
        problems.extend(search::mistakes(&rows));
        problems.extend(unknown_rows(spec, &rows));
    }
    match spec {
        Some(spec) if problems.is_empty() => {
            let base = [(spec.base_name().to_string(), Design::Base, spec.clone())];
            let rows = base.into_iter().chain(variants);
            let plans = rows.flat_map(|(variant, design, spec)| {
                let plan = |seed: &u64| Plan { design: design.clone(), ..Plan::of(variant.clone(), &spec, *seed) };
                spec.seeds.0.iter().map(plan).collect::<Vec<_>>()
            });
            Ok((spec, plans.collect()))
        }
        _ => Err(problems),
    }
}

/// Pairs of the comparison that name a row that there is not.
fn unknown_rows(spec: &Spec, rows: &[(&str, &Spec)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (n, pair) in spec.comparison.pairs.iter().enumerate() {
        for (side, name) in pair.iter().enumerate().filter(|(_, name)| rows.iter().all(|(row, _)| row != name)) {
            let path = ["comparison", "pairs", &n.to_string(), &side.to_string()].map(String::from).to_vec();
            let names: Vec<&str> = rows.iter().map(|(row, _)| *row).collect();
            let near = nearest(name, names.iter().copied());
            let (message, expected) = (format!("no row is called `{name}`"), format!("one of {}", names.join(", ")));
            problems.push(Problem { path, on_key: false, message, expected, nearest: near });
        }
    }
    problems
}

impl Ablation {
    /// Whether it uses a word.
    fn has(&self, word: &str) -> bool {
        match self.write().get(word) {
            Some(Value::Table(table)) => !table.is_empty(),
            Some(Value::Array(values)) => !values.is_empty(),
            _ => false,
        }
    }
}

fn same_place(problems: &[Problem], new: &Problem) -> bool {
    problems.iter().any(|known| known.path == new.path && known.message == new.message)
}

/// Moves a mistake to the variant that made it, below the word that made it if that is known.
fn inside_variant(mut problem: Problem, n: usize, word: Option<&str>) -> Problem {
    let prefix = ["ablation".to_string(), n.to_string()];
    problem.path = prefix.into_iter().chain(word.map(String::from)).chain(problem.path).collect();
    problem
}

fn twice(name: &str, n: usize) -> Problem {
    let path = vec!["ablation".into(), n.to_string(), "name".into()];
    let message = format!("two rows are called `{name}`");
    Problem { path, on_key: false, message, expected: "a name of its own".into(), nearest: None }
}
