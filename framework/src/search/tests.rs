use super::{Method, Point, Proposals, Search};
use crate::plugin::Setting;
use crate::problem::Reader;
use std::collections::BTreeSet;
use toml::Value;

fn search(method: &str, trials: usize, space: &str) -> Search {
    let text = format!("method = \"{method}\"\ntrials = {trials}\n{space}");
    let table: toml::Table = text.parse().unwrap();
    Search::read(&Value::Table(table), &mut Reader::default()).unwrap()
}

/// All points, each told what `worth` says of it.
fn all(search: &Search, worth: impl Fn(&Point) -> f64) -> Vec<Point> {
    let mut proposals = Proposals::over(search.space.axes.clone(), search);
    let mut points = Vec::new();
    while let Some(point) = proposals.propose() {
        proposals.tell(worth(&point));
        points.push(point);
    }
    points
}

const SMALL: &str = "space.recommender.a = [1, 2, 3]\nspace.recommender.b = [true, false]";
const RANGES: &str = "space.recommender.rate = { low = 1e-4, high = 1e-1, scale = \"log\" }
    space.recommender.size = { low = 8, high = 64 }
    space.recommender.loss = [\"bce\", \"bpr\", \"cross_entropy\"]";

#[test]
fn a_grid_is_all_combinations_once_and_random_trials_never_repeat() {
    let grid = all(&search("grid", 6, SMALL), |_| 0.0);
    assert_eq!(grid.len(), 6);
    assert_eq!(format!("{:?}", grid[0]), r#"{"recommender.a": Integer(1), "recommender.b": Boolean(true)}"#);
    let distinct = |points: &[Point]| points.iter().map(|point| format!("{point:?}")).collect::<BTreeSet<_>>();
    assert_eq!(distinct(&grid).len(), 6);
    // There are six points, so twelve trials stop at six.
    let random = all(&search("random", 12, SMALL), |_| 0.0);
    assert_eq!((random.len(), distinct(&random)), (6, distinct(&grid)));
}

#[test]
fn ranges_stay_within_their_ends_and_log_scales_use_all_their_decades() {
    let points = all(&search("random", 300, RANGES), |_| 0.0);
    let rates: Vec<f64> = points.iter().map(|point| point["recommender.rate"].as_float().unwrap()).collect();
    assert!(rates.iter().all(|rate| (1e-4..=1e-1).contains(rate)));
    let in_decade = |low: f64| rates.iter().filter(|rate| (low..low * 10.0).contains(*rate)).count();
    assert!([1e-4, 1e-3, 1e-2].iter().all(|low| (60..140).contains(&in_decade(*low))), "{rates:?}");
    let sizes: BTreeSet<i64> = points.iter().map(|point| point["recommender.size"].as_integer().unwrap()).collect();
    assert!(sizes.len() > 40 && sizes.first() >= Some(&8) && sizes.last() <= Some(&64));
}

#[test]
fn proposals_hang_on_the_seed_and_estimators_on_what_was_found() {
    // Best at a rate of .01 with the loss `bpr`; two keys have three values each, and must not be mixed up.
    let space = format!("{RANGES}\nspace.recommender.other = [1, 2, 3]");
    let worth = |point: &Point| {
        let rate = point["recommender.rate"].as_float().unwrap();
        let right = point["recommender.loss"].as_str() == Some("bpr");
        1.0 - (rate.log10() + 2.0).abs() / 2.0 + f64::from(u8::from(right))
    };
    let (tpe, random) = (search("tpe", 60, &space), search("random", 60, &space));
    assert_eq!(all(&tpe, worth), all(&tpe, worth));
    let other = Search { seed: 2, ..random.clone() };
    assert_ne!(all(&random, worth), all(&other, worth));
    let late = |points: Vec<Point>| points[30..].iter().map(worth).sum::<f64>() / 30.0;
    let (informed, blind) = (late(all(&tpe, worth)), late(all(&random, worth)));
    assert!(informed > blind + 0.3, "TPE {informed}, random {blind}");
    assert!(matches!(tpe.method, Method::Tpe));
}

#[test]
fn what_is_no_space_is_refused() {
    let mistake = |space: &str| {
        let mut reader = Reader::default();
        let table: toml::Table = format!("trials = 3\n{space}").parse().unwrap();
        let read = Search::read(&Value::Table(table), &mut reader);
        assert!(read.is_none() || !reader.problems.is_empty(), "{space}");
        format!("{}: {}", reader.problems[0].path.join("."), reader.problems[0].message)
    };
    for (space, message) in [
        ("space.protocol.k_core = [1, 2]", "space.protocol: only the recommender is tuned"),
        ("space.recommender.of.seed = [1, 2]", "space.recommender.of.seed: a seed is never a hyper-parameter"),
        ("space.recommender.dropout = 0.5", "space.recommender.dropout: 0.5 is a float"),
        ("space.recommender.dropout = []", "space.recommender.dropout: no values"),
        (
            "space.recommender.rate = { low = 0.0, high = 1.0, scale = \"log\" }",
            "space.recommender.rate.low: there is no range",
        ),
        ("space = {}", "space: no key is tuned"),
    ] {
        let found = mistake(space);
        assert!(found.starts_with(message), "{found}");
    }
}
