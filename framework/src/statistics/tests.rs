use super::corrections::{benjamini_hochberg, holm};
use super::*;
use crate::comparison::{Comparison, Difference, Side};
use crate::plugin::defaults;
use crate::rng::Rng; // by name, for proptest's prelude has another
use proptest::prelude::*;
use serde_json::Value;

fn normals(random: &mut Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| random.normal()).collect()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

fn interval(values: Vec<Vec<f64>>) -> Interval {
    Scores::new(&[Side::of_seeds(values, true).sample()]).interval(0)
}

/// Every row against the first; the rows are random where they have several seeds, or where `random` says so.
fn judged(rows: &[Vec<Vec<f64>>], random: bool) -> Vec<Difference> {
    let sides: Vec<Side> = rows.iter().map(|row| Side::of_seeds(row.clone(), random || row.len() > 1)).collect();
    let scores = Scores::new(&sides.iter().map(Side::sample).collect::<Vec<_>>());
    let found: Vec<_> = (1..rows.len()).map(|n| (scores.difference(n, 0), sides[n].scope(&sides[0]))).collect();
    defaults::<Comparison>().judge(&found, found.len())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/statistics.json")).expect("JSON")
}

#[track_caller]
fn near(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found}, not {expected}");
}

/// What numpy and scipy say: `python3 tests/peers/significance.py`.
#[test]
fn the_crossed_test_is_that_of_scipy() {
    for table in fixture()["tables"].as_array().expect("tables") {
        let rows: Vec<Vec<Vec<f64>>> = table["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row.as_array().expect("seeds").iter().map(numbers).collect())
            .collect();
        let sides: Vec<Side> = rows.iter().map(|row| Side::of_seeds(row.clone(), row.len() > 1)).collect();
        let scores = Scores::new(&sides.iter().map(Side::sample).collect::<Vec<_>>());
        for (n, expected) in table["against_first"].as_array().expect("rows").iter().enumerate() {
            let (found, expected) =
                (scores.difference(n + 1, 0), |key: &str| expected[key].as_f64().expect("a number"));
            near("difference", found.value, expected("difference"));
            near("low", found.interval().low, expected("low"));
            near("high", found.interval().high, expected("high"));
            near("degrees of freedom", found.freedom, expected("df"));
            assert!((found.p() / expected("p") - 1.0).abs() < 1e-6, "p: {} is not {}", found.p(), expected("p"));
            near("effect", found.effect(), expected("effect"));
            near("smallest", found.smallest(3), expected("smallest_of_3"));
        }
    }
}

/// What statsmodels says: the same script.
#[test]
fn corrections_and_shares_are_those_of_statsmodels() {
    let vectors = fixture();
    for case in vectors["families"].as_array().expect("cases") {
        let p = numbers(&case["p"]);
        for (adjusted, key) in [(holm(&p, p.len()), "holm"), (benjamini_hochberg(&p, p.len()), "benjamini_hochberg")] {
            adjusted.iter().zip(numbers(&case[key])).for_each(|(found, expected)| near(key, *found, expected));
        }
    }
    for case in vectors["shares"].as_array().expect("cases") {
        let (hits, users) =
            (case["hits"].as_u64().expect("hits") as usize, case["users"].as_u64().expect("users") as usize);
        let values = (0..users).map(|user| f64::from(u8::from(user < hits))).collect();
        let found = interval(vec![values]);
        // Student's quantile for a sample's variance in place of the normal one: a little wider.
        let (low, high) = (case["low"].as_f64().expect("low"), case["high"].as_f64().expect("high"));
        assert!(found.low <= low + 1e-12 && high <= found.high + 1e-12, "{found:?}, Wilson [{low}, {high}]");
        assert!(low - found.low < 0.01 && found.high - high < 0.01, "{found:?}, Wilson [{low}, {high}]");
    }
}

#[test]
fn missing_rows_count_in_the_correction() {
    // Sorted .005, .01, .03, .04 times 4, 3, 2, 1 = .02, .03, .06, .04; the last may not fall below the third.
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005], 4);
    adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]).for_each(|(&found, expected)| close(found, expected));
    // Of six declared ones two are missing: times 6, 5, 4, 3.
    let adjusted = holm(&[0.01, 0.04, 0.03, 0.005], 6);
    adjusted.iter().zip([0.05, 0.12, 0.12, 0.03]).for_each(|(&found, expected)| close(found, expected));
    close(benjamini_hochberg(&[0.01], 5)[0], 0.05);
    assert_eq!(holm(&[], 3), [0.0; 0]);
    assert_eq!(holm(&[0.7, 0.6], 2), [1.0, 1.0]);
}

#[test]
fn a_clear_difference_is_found_among_500_rows() {
    let mut random = Rng::new(6, "test");
    let base = normals(&mut random, 200);
    let far: Vec<f64> = base.iter().map(|value| value + 1.0 + random.normal()).collect();
    let side = |values: &[f64]| Side::of_seeds(vec![values.to_vec()], false);
    let (base, far) = (side(&base), side(&far));
    let difference = Scores::new(&[base.sample(), far.sample()]).difference(1, 0);
    let found = defaults::<Comparison>().judge(&[(difference, Scope::Methods)], 500)[0];
    assert!(found.p < 1e-6 && found.verdict == Verdict::Better, "{found:?}");
}

#[test]
fn one_seed_says_nothing_of_a_method() {
    let mut random = Rng::new(6, "test");
    let base = normals(&mut random, 200);
    let trained = |random: &mut Rng, shift: f64| base.iter().map(|v| v + shift + random.normal()).collect::<Vec<f64>>();
    let rows = |seeds: usize, shift: f64, random: &mut Rng| -> Vec<Vec<Vec<f64>>> {
        [0.0, shift].map(|shift| (0..seeds).map(|_| trained(random, shift)).collect()).into()
    };
    for (seeds, up, down, none) in [
        (1, Verdict::Higher, Verdict::Lower, Verdict::NotToldApart),
        (2, Verdict::Higher, Verdict::Lower, Verdict::NotToldApart),
        (3, Verdict::Better, Verdict::Worse, Verdict::CannotConclude),
    ] {
        let verdict = |shift, random: &mut Rng| judged(&rows(seeds, shift, random), true)[0].verdict;
        assert_eq!(verdict(1.0, &mut random), up);
        assert_eq!(verdict(-1.0, &mut random), down);
        assert_eq!(verdict(0.0, &mut random), none);
    }
    // What is not random needs no seeds, and its copies are no replicates.
    let (rows, certain) = (rows(3, 1.0, &mut random), trained(&mut random, -3.0));
    for copies in [1, 3] {
        let sides = [Side::of_seeds(rows[0].clone(), true), Side::of_seeds(vec![certain.clone(); copies], false)];
        let difference = Scores::new(&sides.each_ref().map(Side::sample)).difference(1, 0);
        let found = defaults::<Comparison>().judge(&[(difference, sides[1].scope(&sides[0]))], 1)[0];
        assert_eq!(found.verdict, Verdict::Worse, "{copies} copies");
    }
    // Lists that were made elsewhere are one draw, however many seeds read them.
    assert!(!Side::of_one_draw(vec![certain.clone(); 3]).is_method());
    // Two seeds that agree by chance are no proof that nothing is random.
    assert!(!Side::of_seeds(vec![vec![0.0; 9]; 2], true).is_method());
}

#[test]
fn seeds_that_disagree_widen_the_interval_and_copies_add_nothing() {
    let values = normals(&mut Rng::new(4, "test"), 500);
    let shifted = |shift: f64| values.iter().map(|value| value + shift).collect::<Vec<_>>();
    let (plain, several) = (interval(vec![values.clone()]), interval(vec![shifted(-1.0), shifted(0.0), shifted(1.0)]));
    assert!(several.high - several.low > 3.0 * (plain.high - plain.low), "{several:?} against {plain:?}");
    let copies = Side::of_seeds(vec![values.clone(), values.clone(), values], false);
    let copies = Scores::new(&[copies.sample()]).interval(0);
    close(copies.low, plain.low);
    close(copies.high, plain.high);
    // All users shift alike: nothing to moderate, the seeds are all that varies.
    let shifts = |row: &[f64]| row.iter().map(|shift| vec![*shift; 50]).collect::<Vec<_>>();
    let sides = [shifts(&[0.1, 0.2, 0.3]), shifts(&[0.4, 0.5, 0.6])].map(|values| Side::of_seeds(values, true));
    let difference = Scores::new(&sides.each_ref().map(Side::sample)).difference(1, 0);
    assert!((difference.error - (2.0 * 0.01f64 / 3.0).sqrt()).abs() < 1e-9, "{difference:?}");
}

#[test]
fn the_effect_does_not_grow_with_seeds() {
    let mut random = Rng::new(8, "test");
    let effect = |seeds: usize, random: &mut Rng| {
        let users = normals(random, 2_000);
        let row = |shift: f64, random: &mut Rng| -> Vec<Vec<f64>> {
            (0..seeds).map(|_| users.iter().map(|user| user + shift + random.normal()).collect()).collect()
        };
        judged(&[row(0.0, random), row(0.3, random)], true)[0].effect
    };
    // .3 in standard deviations of the difference of two runs, sqrt 2.
    let expected = 0.3 / std::f64::consts::SQRT_2;
    for seeds in [1, 3, 20] {
        let found = effect(seeds, &mut random);
        assert!((found - expected).abs() < 0.05, "{seeds} seeds: {found}, not {expected}");
    }
}

#[test]
fn a_further_factor_counts_as_seeds_do() {
    // Three seeds by three prompts; the prompts' means are far apart and the seeds' are not.
    let mut random = Rng::new(9, "test");
    let users = normals(&mut random, 400);
    let (mut values, mut factors) = (Vec::new(), vec![Vec::new(), Vec::new()]);
    for seed in 0..3 {
        for prompt in 0..3 {
            let shift = prompt as f64;
            values.push(users.iter().map(|user| user + shift + 0.1 * random.normal()).collect::<Vec<f64>>());
            factors[0].push(seed);
            factors[1].push(prompt);
        }
    }
    let width = |factors: &[Vec<usize>]| {
        let interval = Scores::new(&[Sample { values: &values, factors }]).interval(0);
        interval.high - interval.low
    };
    // The variance of prompts' means is 1: three of them leave a standard error of .58, times 4.3 on two degrees.
    let both = width(&factors);
    assert!((both - 2.0 * 4.30 * (1.0f64 / 3.0).sqrt()).abs() < 0.3, "{both}");
    assert!(width(&factors[..1]) < 0.3 && width(&[]) < 0.3);
}

#[test]
fn equivalence_needs_a_margin_an_interval_within_it_and_methods() {
    let interval = Interval { mean: 0.0, low: -0.002, high: 0.003, n: 9 };
    let of = |interval: &Interval, p, margin| Verdict::new(Scope::Methods, interval, p, margin);
    assert_eq!(of(&interval, 0.7, 0.0), Verdict::CannotConclude);
    assert_eq!(of(&interval, 0.7, 0.003), Verdict::CannotConclude);
    assert_eq!(of(&Interval { low: 0.0, high: 0.0, ..interval }, 1.0, 0.005), Verdict::CannotConclude);
    let verdict = of(&interval, 0.7, 0.005);
    assert_eq!(verdict, Verdict::Equivalent(0.005));
    assert_eq!(verdict.to_string(), "equivalent within ±0.005");
    assert_eq!(of(&Interval { mean: 0.002, low: 0.001, ..interval }, 0.01, 0.005), Verdict::Better);
    assert_eq!(Verdict::new(Scope::Models, &interval, 0.7, 0.005), Verdict::NotToldApart);
}

#[test]
fn users_without_a_value_are_left_out() {
    let none = f64::NAN;
    let (base, other) = (vec![vec![0.2, none, 0.4, 0.9]], vec![vec![0.4, none, 0.6, 0.8]]);
    let found = interval(base.clone());
    assert!(found.n == 3 && (found.mean - 0.5).abs() < 1e-12, "{found:?}");
    let found = judged(&[base, other], false)[0].interval;
    assert!(found.n == 3 && (found.mean - 0.1).abs() < 1e-12, "{found:?}");
}

#[test]
fn degenerate_inputs() {
    for nobody in
        [interval(vec![]), interval(vec![vec![]]), interval(vec![vec![], vec![]]), interval(vec![vec![f64::NAN]])]
    {
        assert!(nobody.n == 0 && nobody.mean.is_nan() && nobody.low.is_nan() && nobody.high.is_nan());
    }
    let one = interval(vec![vec![0.3]]);
    assert!(one.n == 1 && one.mean == 0.3 && one.low < 0.3 && one.high > 0.3, "{one:?}");
    for rows in [[vec![], vec![]], [vec![vec![0.0]], vec![vec![1.0]]]] {
        let found = judged(&rows, false)[0];
        assert_eq!((found.p, found.verdict), (1.0, Verdict::CannotConclude));
    }
    let same = vec![vec![0.1, 0.7]];
    let found = judged(&[same.clone(), same.clone()], false)[0];
    assert_eq!((found.p, found.effect, found.interval.mean), (1.0, 0.0, 0.0));
    // Every user gains the same: no chance, and no deviation to measure it by.
    let found = judged(&[same, vec![vec![0.2, 0.8]]], false)[0];
    assert!(found.p < 1e-9 && found.effect.is_nan(), "{found:?}");
}

#[test]
#[should_panic(expected = "the same users")]
fn other_users_are_refused() {
    judged(&[vec![vec![1.0]], vec![vec![1.0, 2.0]]], false);
}

#[test]
#[should_panic(expected = "every replicate")]
fn a_seed_without_a_user_is_refused() {
    interval(vec![vec![], vec![1.0]]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn intervals_of_shares_are_ordered_and_inside(values in prop::collection::vec(0.0..=1.0f64, 1..40)) {
        let interval = interval(vec![values]);
        prop_assert!(interval.low <= interval.mean && interval.mean <= interval.high, "{:?}", interval);
        prop_assert!((0.0..=1.0).contains(&interval.low) && interval.high <= 1.0);
    }

    #[test]
    fn holm_never_lowers_and_keeps_the_order(p in prop::collection::vec(0.0..=1.0f64, 0..20), missing in 0usize..5) {
        let all = p.len() + missing;
        let (adjusted, tests) = (holm(&p, all), all as f64);
        for (&raw, &own) in p.iter().zip(&adjusted) {
            prop_assert!(raw <= own && own <= (raw * tests).min(1.0), "{raw} became {own}, beyond Bonferroni's");
            prop_assert!(p.iter().zip(&adjusted).all(|(&other, &its)| raw > other || own <= its));
        }
    }
}
