//! `ablate bench --verdicts`: how often the statistics call equal methods different, and how often they find what is
//! there, in simulated tables with the variances of stored runs.

use crate::report::is_random;
use framework::ablation::Plan;
use framework::comparison::{Comparison, Side};
use framework::context::is_interrupted;
use framework::error::{Error, Result};
use framework::plugin::defaults;
use framework::rng::Rng;
use framework::run::UserScores;
use framework::statistics::{Estimate, Scope, Scores};
use framework::store::Store;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};
use std::collections::BTreeMap;

/// Rows beside the base.
const ROWS: usize = 10;

/// Users that are simulated at most. Of more, the seeds' variance is raised in proportion, so that it weighs as much
/// beside that of the users.
const USERS: usize = 400;

/// How much of what varies: between a row's and the base's users, between seeds, and between the cells of both.
#[derive(Clone, Copy)]
struct Variances {
    user: f64,
    seed: f64,
    cell: f64,
}

/// A pair of rows to simulate tables after.
struct Regime {
    name: String,
    row_name: String,
    users: usize,
    mean: f64,
    base: Variances,
    row: Variances,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Normal,
    HeavyTailed,
    Hits,
}

/// Seeds of the base and of the rows; 0 is a side where nothing is random. Prompts are crossed with seeds.
struct Design {
    name: &'static str,
    base: usize,
    rows: usize,
    prompts: usize,
}

const DESIGNS: [Design; 6] = [
    Design { name: "3 seeds", base: 3, rows: 3, prompts: 1 },
    Design { name: "5 seeds", base: 5, rows: 5, prompts: 1 },
    Design { name: "10 seeds", base: 10, rows: 10, prompts: 1 },
    Design { name: "5 against 3", base: 5, rows: 3, prompts: 1 },
    Design { name: "not random against 5", base: 0, rows: 5, prompts: 1 },
    Design { name: "3 seeds x 3 prompts", base: 3, rows: 3, prompts: 3 },
];

/// Simulates `studies` tables after each pair of the experiment's rows in the store that has three seeds on both sides,
/// and prints a table.
pub fn verdicts(store: &Store, plan: &Plan, rows: &[String], studies: usize) -> Result<()> {
    let experiment = &plan.spec.name;
    let metric = format!("{}{}", plan.spec.evaluator.selects_by(), plan.spec.protocol.metric_suffix());
    let mut regimes = regimes(store, (experiment, &plan.variant), &metric)?;
    regimes.retain(|regime| rows.is_empty() || rows.contains(&regime.row_name));
    if regimes.is_empty() {
        let what = format!("the store has no two rows of `{experiment}` with three seeds each");
        return Err(Error::new(what).at(store.place()).fix("`--store results/reference`; or `ablate run` first"));
    }
    println!(
        "| variances of | scores | seeds | any false verdict of {ROWS}, users alone | over users and seeds | found at 1, 2, 3 standard errors | coverage: difference | Shapley value |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for regime in &regimes {
        for (kind, name) in [(Kind::Normal, "normal"), (Kind::HeavyTailed, "heavy tails"), (Kind::Hits, "0 and 1")] {
            // The first two are the hard ones: few seeds.
            for design in DESIGNS.iter().take(if kind == Kind::Normal { DESIGNS.len() } else { 2 }) {
                if is_interrupted() {
                    return Err(Error::interrupted());
                }
                println!("| {} | {name} | {} |{} |", regime.name, design.name, line(regime, kind, design, studies));
            }
        }
    }
    println!();
    shares(studies);
    Ok(())
}

/// What stored runs varied by.
fn regimes(store: &Store, (experiment, base): (&str, &str), metric: &str) -> Result<Vec<Regime>> {
    let mut rows: Vec<(String, String, Vec<Vec<f64>>)> = Vec::new();
    for summary in store.list()?.into_iter().filter(|summary| summary.name == experiment) {
        let Some(record) = store.run(&summary.run)? else { continue };
        let (true, Ok(scores)) = (is_random(&record), UserScores::read(store, &record)) else { continue };
        let Ok(values) = scores.metric(metric) else { continue };
        let protocol = record["fingerprint"].as_str().unwrap_or_default().to_owned();
        match rows.iter_mut().find(|row| (&row.0, &row.1) == (&protocol, &summary.variant)) {
            Some(row) => row.2.push(values),
            None => rows.push((protocol, summary.variant, vec![values])),
        }
    }
    rows.retain(|row| row.2.len() >= 3);
    rows.sort_by_key(|row| row.1 != base);
    let mut of_protocol: BTreeMap<String, Vec<(String, Side)>> = BTreeMap::new();
    for (protocol, variant, values) in rows {
        of_protocol.entry(protocol).or_default().push((variant, Side::of_seeds(values, true)));
    }
    let regimes = of_protocol.into_values().flat_map(|sides| {
        let scores = Scores::new(&sides.iter().map(|(_, side)| side.sample()).collect::<Vec<_>>());
        (1..sides.len()).map(|n| regime(experiment, &scores, &sides, n)).collect::<Vec<_>>()
    });
    Ok(regimes.collect())
}

fn regime(experiment: &str, scores: &Scores, sides: &[(String, Side)], row: usize) -> Regime {
    let users = sides[0].1.values[0].len();
    let of = |n: usize| {
        let ([between, cell], seeds) = (scores.variances(n), sides[n].1.values.len() as f64);
        (Variances { user: 0.0, seed: (between - cell / users as f64).max(0.0), cell }, cell / seeds)
    };
    let ((mut base, base_noise), (mut own, own_noise)) = (of(0), of(row));
    let difference = scores.by_user(&[(row, 1.0), (0, -1.0)]);
    let mean = difference.iter().sum::<f64>() / users as f64;
    let square = difference.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (users as f64 - 1.0);
    // What is left of the users' differences belongs to both sides alike.
    base.user = (square - base_noise - own_noise).max(0.0) / 2.0;
    own.user = base.user;
    let mean = scores.interval(0).mean;
    if users > USERS {
        [&mut base, &mut own].into_iter().for_each(|side| side.seed *= users as f64 / USERS as f64);
    }
    let users = users.min(USERS);
    let row_name = sides[row].0.clone();
    Regime { name: format!("{experiment}: {row_name} - {}", sides[0].0), row_name, users, mean, base, row: own }
}

/// One line of the table.
fn line(regime: &Regime, kind: Kind, design: &Design, studies: usize) -> String {
    let study = |n: usize| {
        let rng = Rng::new(n as u64, "simulated studies");
        let null = table(regime, kind, design, &[], &rng.fork(1));
        let crossed = differences(&null, true);
        let [false_users, false_crossed] =
            [&differences(&null, false), &crossed].map(|found| told(found).contains(&true));
        let covered = crossed.iter().filter(|estimate| holds_zero(estimate)).count();
        // Two components: all, without the first, without the second, neither.
        let scores = Scores::new(&null[..4].iter().map(Side::sample).collect::<Vec<_>>());
        let shapley = scores.contrast(&[(0, 0.5), (1, -0.5), (2, 0.5), (3, -0.5)]);
        let shifted = table(regime, kind, design, &[1.0, 2.0, 3.0], &rng.fork(2));
        let found = told(&differences(&shifted, true));
        [
            false_users as usize,
            false_crossed as usize,
            found[0] as usize,
            found[1] as usize,
            found[2] as usize,
            covered,
            holds_zero(&shapley) as usize,
        ]
    };
    let sums = (0..studies).into_par_iter().map(study).reduce(|| [0; 7], |a, b| std::array::from_fn(|n| a[n] + b[n]));
    let share = |n: usize, times: usize| 100.0 * sums[n] as f64 / (studies * times) as f64;
    // A shift of hits is one of the latent scores, whose size in standard errors is only roughly known.
    let power = format!("{:.0} {:.0} {:.0}", share(2, 1), share(3, 1), share(4, 1));
    format!(" {:.1} % | {:.1} % | {power} % | {:.1} % | {:.1} %", share(0, 1), share(1, 1), share(5, ROWS), share(6, 1))
}

fn holds_zero(estimate: &Estimate) -> bool {
    let interval = estimate.interval();
    interval.low <= 0.0 && 0.0 <= interval.high
}

/// Each row against the base; with `crossed` as it is, else as if the trained models were all there is.
fn differences(sides: &[Side], crossed: bool) -> Vec<Estimate> {
    let fixed = |side: &Side| Side { factors: if crossed { side.factors.clone() } else { Vec::new() }, ..side.clone() };
    let sides: Vec<Side> = sides.iter().map(fixed).collect();
    let scores = Scores::new(&sides.iter().map(Side::sample).collect::<Vec<_>>());
    (1..sides.len()).map(|n| scores.difference(n, 0)).collect()
}

/// Which of them are told apart after correction.
fn told(found: &[Estimate]) -> Vec<bool> {
    let found: Vec<(Estimate, Scope)> = found.iter().map(|estimate| (*estimate, Scope::Methods)).collect();
    let judged = defaults::<Comparison>().judge(&found, found.len());
    judged.into_iter().map(|difference| difference.verdict.sign() != 0).collect()
}

/// A base and ten rows; the first of them are shifted by so many true standard errors of the difference.
fn table(regime: &Regime, kind: Kind, design: &Design, shifts: &[f64], rng: &Rng) -> Vec<Side> {
    let common = users(regime, kind, &mut rng.fork(0));
    let of = |variances: &Variances, seeds: usize| {
        let (n, prompts) = (regime.users as f64, design.prompts as f64);
        let levels = seeds.max(1) as f64;
        let of_seeds = if seeds > 0 { variances.seed / levels } else { 0.0 };
        let of_prompts = if design.prompts > 1 { variances.seed / 4.0 / prompts } else { 0.0 };
        of_seeds + of_prompts + variances.user / n + variances.cell / (n * levels * prompts)
    };
    let error = (of(&regime.base, design.base) + of(&regime.row, design.rows)).sqrt();
    let side = |n: usize| {
        let (variances, seeds) = if n == 0 { (regime.base, design.base) } else { (regime.row, design.rows) };
        // Latent scores of one variance, or hits would be of another share.
        let variances = if kind == Kind::Hits { Variances { seed: variances.seed, ..regime.base } } else { variances };
        let shift = n.checked_sub(1).and_then(|n| shifts.get(n)).copied().unwrap_or(0.0) * error;
        row(regime, kind, (&variances, seeds, design.prompts), shift, &common, &rng.fork(1 + n as u64))
    };
    (0..=ROWS).map(side).collect()
}

/// What all rows have in common of each user. It cancels out, but for hits.
fn users(regime: &Regime, kind: Kind, rng: &mut Rng) -> Vec<f64> {
    let own = regime.base.user + regime.base.cell;
    let rest = (regime.mean * (1.0 - regime.mean) - own).max(0.0);
    let deviation = if kind == Kind::Hits { (rest / (rest + own)).sqrt() } else { rest.sqrt() };
    (0..regime.users).map(|_| deviation * draw(kind, rng)).collect()
}

fn row(
    regime: &Regime,
    kind: Kind,
    (variances, seeds, prompts): (&Variances, usize, usize),
    shift: f64,
    common: &[f64],
    rng: &Rng,
) -> Side {
    // Hits are latent scores above a threshold, whose variance is 1 in all.
    let own = regime.base.user + regime.base.cell;
    let total = (regime.mean * (1.0 - regime.mean)).max(own);
    let threshold = Normal::standard().inverse_cdf(1.0 - regime.mean.clamp(1e-6, 1.0 - 1e-6));
    let density = (-threshold * threshold / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let (part, across) = if kind == Kind::Hits { (1.0 / total, 1.0 / density) } else { (1.0, 1.0) };
    let mut draws = rng.fork(0);
    let of_users: Vec<f64> =
        common.iter().map(|user| user + (variances.user * part).sqrt() * draw(kind, &mut draws)).collect();
    let of_prompts: Vec<f64> = (0..prompts)
        .map(|_| if prompts > 1 { (variances.seed / 4.0).sqrt() * across * draws.normal() } else { 0.0 })
        .collect();
    let (mut values, mut factors) = (Vec::new(), vec![Vec::new(), Vec::new()]);
    for seed in 0..seeds.max(1) {
        let of_seed = if seeds > 0 { variances.seed.sqrt() * across * draws.normal() } else { 0.0 };
        for (prompt, of_prompt) in of_prompts.iter().enumerate() {
            let mut cells = rng.fork(1 + (seed * prompts + prompt) as u64);
            let level = shift * across + of_seed + of_prompt;
            let value = |user: &f64| {
                let score = user + level + (variances.cell * part).sqrt() * draw(kind, &mut cells);
                if kind == Kind::Hits { f64::from(u8::from(score > threshold)) } else { score }
            };
            values.push(of_users.iter().map(value).collect());
            factors[0].push(seed);
            factors[1].push(prompt);
        }
    }
    factors.truncate(usize::from(seeds > 0) + usize::from(prompts > 1));
    Side { values, factors }
}

/// A number with mean 0 and variance 1; heavy tails are a normal distribution one tenth of which is three times as wide.
fn draw(kind: Kind, rng: &mut Rng) -> f64 {
    let normal = rng.normal();
    match kind {
        Kind::HeavyTailed if rng.uniform() < 0.1 => 3.0 * normal / 1.8f64.sqrt(),
        Kind::HeavyTailed => normal / 1.8f64.sqrt(),
        Kind::Normal | Kind::Hits => normal,
    }
}

/// How often the interval of a share of hits, of one run, holds the true one.
fn shares(studies: usize) {
    println!("| users | true share | coverage of the interval | of mean and two standard errors |");
    println!("|---|---|---|---|");
    for users in [50, 100, 122, 1000] {
        for share in [0.01, 0.05, 0.3] {
            let study = |n: usize| {
                let mut rng = Rng::new(n as u64, "simulated shares");
                let values: Vec<f64> = (0..users).map(|_| f64::from(u8::from(rng.uniform() < share))).collect();
                let side = Side::of_seeds(vec![values], false);
                let scores = Scores::new(&[side.sample()]);
                let (own, plain) = (scores.interval(0), scores.contrast(&[(0, 1.0)]).interval());
                [own, plain].map(|interval| usize::from(interval.low <= share && share <= interval.high))
            };
            let sums = (0..studies).into_par_iter().map(study).reduce(|| [0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
            let [own, plain] = sums.map(|sum| 100.0 * sum as f64 / studies as f64);
            println!("| {users} | {share} | {own:.1} % | {plain:.1} % |");
        }
    }
}
