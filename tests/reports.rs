//! What a report says of designed ablations: components, grids, costs, and what made the numbers.

use crate::html::check_page;
use crate::program::{Program, SMALL, redacted};
use cli::report::{Format, report};
use framework::ablation::{Design, Plan};
use framework::load::{Source, load};
use framework::progress::Progress;
use framework::provenance::Code;
use framework::run::{Runner, UserScores};
use framework::store::Store;
use serde_json::Value;

/// The plans of a spec's base with `set` over it, as a row of a design.
fn row(program: &Program, variant: &str, design: &Design, set: &[&str]) -> Vec<Plan> {
    let (base, _) = SMALL.split_once("[[ablation]]").expect("a base");
    let text = base.replace("name = \"small\"", "name = \"designed\"\nseeds = [1, 2]\nbase = \"full\"");
    let path = program.file("designed.toml", &text).into();
    let set = set.iter().map(ToString::to_string).collect();
    let loaded = load(&Source { path, set, base: include_str!("../experiments/base.toml") });
    let plans = loaded.unwrap_or_else(|wrong| panic!("{}", framework::error::Error::from(wrong))).plans;
    plans.into_iter().map(|plan| Plan { variant: variant.into(), design: design.clone(), ..plan }).collect()
}

fn factorial(without: &[&str]) -> Design {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    Design::Factorial { name: "parts".into(), components: words(&["dropout", "depth"]), without: words(without) }
}

/// A base, the three other subsets of two components, and three widths.
fn plans(program: &Program) -> Vec<Plan> {
    let deep = "recommender.num_layers = 2";
    let mut plans = row(program, "full", &Design::Base, &[deep]);
    plans.extend(row(program, "no dropout", &factorial(&["dropout"]), &[deep, "recommender.dropout = 0.0"]));
    plans.extend(row(program, "no depth", &factorial(&["depth"]), &[]));
    plans.extend(row(program, "neither", &factorial(&["dropout", "depth"]), &["recommender.dropout = 0.0"]));
    for width in [8, 32] {
        let key = "recommender.hidden_size".to_string();
        let design = Design::Grid { name: "width".into(), value: width.into(), key: key.clone() };
        plans.extend(row(program, &format!("width {width}"), &design, &[deep, &format!("{key} = {width}")]));
    }
    plans
}

#[test]
fn components_grids_and_costs() {
    let program = Program::new();
    let plans = plans(&program);
    let (store, cache) = (Store::open(&program.store()).expect("a store"), program.path("cache"));
    let code = Code { lock: "", revision: None };
    let mut runner = Runner::new(store.clone(), cache.clone(), Progress::default(), code, Vec::new());
    plans.iter().for_each(|plan| assert!(!runner.run(plan).expect("a run").found));
    let write = |plans: &[Plan], format| report(plans, &store, &cache).expect("a report").write(format).expect("text");

    let mut settings = redacted();
    settings.add_filter(r"[+-]?\d\.\d{4}", "#.####");
    settings.add_filter(r", d [+-]\d\.\d{2} *\|", ", d #.## |");
    settings.add_filter(r"widest spread of users, [^)]*", "widest spread of users, [variant]");
    settings.add_filter(r"(better|worse|cannot conclude) +\|", "[verdict] |");
    settings.bind(|| insta::assert_snapshot!("designed__report", write(&plans, Format::Markdown)));

    let json: Value = serde_json::from_str(&write(&plans, Format::Json)).expect("JSON");
    let found = &json["attribution"][0];
    let mean = |value: &Value| value["mean"].as_f64().expect("a mean");
    let sum = mean(&found["shapley"]["dropout"]) + mean(&found["shapley"]["depth"]);
    assert!((sum - mean(&found["total"])).abs() < 1e-12, "{found:#}");
    let of = |n: usize| mean(&json["rows"][n]["metrics"]["ndcg@10"]);
    assert!((mean(&found["total"]) - (of(0) - of(3))).abs() < 1e-12, "{found:#}");
    let together = of(0) - of(1) - of(2) + of(3);
    assert!((mean(&found["interactions"]["dropout × depth"]) - together).abs() < 1e-12, "{found:#}");
    let points = json["curves"][0]["points"].as_array().expect("points");
    assert_eq!(points.iter().map(|point| &point["value"]).collect::<Vec<_>>(), ["8", "16", "32"]);
    assert!(json["rows"][0]["cost"]["parameters_trained"].as_f64() > Some(0.0));
    assert_eq!(json["manifest"].as_array().map(Vec::len), Some(12));
    let csv = write(&plans, Format::Csv);
    assert!(csv.contains("\nshapley,dropout,ndcg@10,") && csv.contains("\ncost,full,seconds,"), "{csv}");
    let latex = write(&plans, Format::Latex);
    assert!(latex.contains("\\item[candidate generation] full ranking") && !latex.contains('×'), "{latex}");

    let page = program.path("designed.html");
    std::fs::write(&page, write(&plans, Format::Html)).expect("a page");
    check_page("designed", &page, &program.path("profile"));

    // A table without the columns, as old runs have: any other will do.
    let record =
        store.run(json["rows"][0]["runs"][0]["run"].as_str().expect("an id")).expect("a store").expect("a run");
    assert!(
        UserScores::read(&store, &record)
            .expect("scores")
            .cases()
            .is_some_and(|cases| cases[0].len() == cases[1].len())
    );
    let dataset = record["stages"][0]["key"].as_str().expect("a key");
    let other = &store.stage(dataset).expect("a store").expect("a stage").files["interactions.parquet"];
    let old = serde_json::json!({ "outcome": { "scores": { "scores.parquet": other } } });
    assert_eq!(UserScores::read(&store, &old).expect("a table").cases(), None);

    // A subset without its runs: no shares, and the report says which one it is.
    let fewer: Vec<Plan> = plans.into_iter().filter(|plan| plan.variant != "no depth").collect();
    let text = write(&fewer, Format::Markdown);
    assert!(text.contains("1 of 4 subsets have runs missing: without depth") && !text.contains("Shapley"), "{text}");
}

#[test]
fn the_manifest_of_a_language_models_run() {
    let program = Program::new();
    let spec = program.file(
        "asked.toml",
        "name = \"asked\"\n[dataset]\nuse = \"world\"\nusers = 60\nitems = 60\nmax_interactions = 25\n[protocol.candidates]\nnegatives = 4\n\
         [evaluator]\nmetrics = [\"auc\"]\nselects_by = \"auc\"\n[recommender]\nuse = \"llm\"\nfine_tuned = false\n\
         prompt = \"terse\"\nlanguage_model = { use = \"tiny\" }\n",
    );
    program.ok(&["run", &spec]);
    let latex = program.ok(&["report", &spec, "--format", "latex"]).out;
    for line in [
        "\\item[weights] \\emph{not recorded}",
        "\\item[LoRA] none: nothing was trained",
        "\\item[decoding] none: no text was written",
        "\\item[candidate generation] ranking of 5 candidates (uniform negatives) out of",
        "\\subsection*{Prompt ",
    ] {
        assert!(latex.contains(line), "{line} is not in\n{latex}");
    }
    let page = program.ok(&["report", &spec, "--format", "html"]).out;
    assert!(page.contains("Not recorded: ") && page.contains("<summary>Prompt "), "{page}");
    assert!(program.ok(&["report", &spec]).out.contains("tokens read"));
}

#[test]
fn metrics_as_other_frameworks_define_them() {
    let program = Program::new();
    let asked = "[protocol.candidates]\nnegatives = 9\n[evaluator]\nmetrics = [\"map@10\", \"map@10 as elliot\", \
                 \"coverage@10 as elliot\"]\nselects_by = \"map@10 as elliot\"\n[recommender]\n";
    let text = SMALL.replace("[recommender]\n", asked).replace("max_epochs = 4", "max_epochs = 1");
    let spec = program.file("small.toml", &text);
    assert!(program.ok(&["run", &spec]).out.contains("map@10 as elliot\\|c10 against"));
    let report = |format| program.ok(&["report", &spec, "--format", format]).out;
    for (format, expected) in [
        ("csv", ",map@10 as elliot|c10,"),
        ("latex", "& map@10 as elliot|c10"),
        ("html", "map@10 as elliot|c10"),
        ("md", "coverage@10 as elliot\\|c10"),
    ] {
        assert!(report(format).contains(expected), "{format}: {}", report(format));
    }
    let json: Value = serde_json::from_str(&report("json")).expect("JSON");
    let mean = |name: &str| json["rows"][0]["metrics"][name]["mean"].as_f64().expect("a mean");
    assert!(0.0 < mean("map@10 as elliot|c10") && mean("map@10 as elliot|c10") < mean("map@10|c10"), "{json:#}");
    assert!(mean("coverage@10 as elliot|c10") > 1.0, "a count of items, not a share");
    let list = program.ok(&["list", "--sort", "map@10 as elliot|c10"]).out;
    assert!(list.contains("map@10 as elliot|c10 0."), "{list}");
}

#[test]
fn rows_of_another_protocol_have_a_table_of_their_own() {
    let program = Program::new();
    let spec = program.file(
        "mixed.toml",
        "name = \"mixed\"\n[dataset]\nuse = \"world\"\nusers = 120\nitems = 60\nmax_interactions = 25\n\
         [recommender]\nuse = \"popularity\"\n[[ablation]]\nname = \"few\"\nset.protocol.candidates.negatives = 9\n\
         [[ablation]]\nname = \"markov\"\nuse.recommender = \"markov\"\n\
         [[ablation]]\nname = \"other few\"\nuse.recommender = \"markov\"\nset.protocol.candidates.negatives = 9\n",
    );
    let text = program.ok(&["run", &spec]).out;
    let (first, apart) = text.split_once("## Under another protocol: few, other few").expect("two tables");
    let rows = |text: &str, name: &str| text.lines().filter(|line| line.starts_with(&format!("| {name} "))).count();
    assert_eq!([rows(first, "popularity"), rows(first, "markov"), rows(first, "few")], [1, 1, 0], "{text}");
    assert!(first.contains("stand apart: few, other few") && first.contains("for 1 comparison: markov"), "{text}");
    let apart = apart.split("\n## ").next().expect("its part");
    assert!(apart.contains("ndcg@10\\|c10") && rows(apart, "few") == 1 && rows(apart, "other few") == 1, "{text}");
    assert!(apart.contains("ranking of 10 candidates") && apart.contains("controls got what they must"), "{text}");
    let page = program.ok(&["report", &spec, "--format", "html"]).out;
    assert!(page.contains("Under another protocol: few, other few") && page.contains("ndcg@10|c10"), "{page}");
    for format in ["csv", "latex", "json"] {
        assert!(program.ok(&["report", &spec, "--format", format]).out.contains("ndcg@10|c10"), "{format}");
    }
    let json: Value = serde_json::from_str(&program.ok(&["report", &spec, "--format", "json"]).out).expect("JSON");
    let of = |n: usize| json["rows"][n]["fingerprint"].clone();
    assert!(of(0) == of(2) && of(1) == of(3) && of(0) != of(1), "{json:#}");
}

#[test]
fn rows_are_compared_by_a_metric_that_they_have() {
    let program = Program::new();
    let ran = program.run(&["run", "experiments/quickstart.toml", "--set", "evaluator.metrics = [\"hr@5\"]"]);
    assert!(
        ran.code != 0 && ran.err.contains("evaluator.selects_by") && ran.err.contains("not among `metrics`"),
        "{}",
        ran.err
    );
}

const RERANKED: &str = r#"
name = "reranked"
base = "two stages"
[dataset]
use = "world"
users = 120
items = 60
max_interactions = 25
[evaluator]
metrics = ["ndcg@10"]
[recommender]
use = "rerank"
depth = 5
retriever = { use = "popularity" }
ranker = { use = "markov" }
[[ablation]]
name = "popularity"
use.recommender = "popularity"
[ablation.set.evaluator]
metrics = ["ndcg@10", "hr@5"]
"#;

#[test]
fn a_ranker_stands_beside_what_its_retriever_found() {
    let program = Program::new();
    let spec = program.file("reranked.toml", RERANKED);
    let report = program.ok(&["run", &spec]).out;
    let ceiling = report.split("ceiling of two stages: hr@5 ").nth(1).expect("a ceiling");
    let ceiling: f64 = ceiling[..6].parse().expect("a number");
    assert!(ceiling > 0.0 && ceiling < 1.0, "{report}");
    let row = report.lines().find(|line| line.starts_with("| popularity")).expect("the retriever's own row");
    assert!(row.contains(&format!("{ceiling:.4}")), "{ceiling} is not in {row}");
}

const COMPARED: &str = r#"
name = "compared"
seeds = [1, 2, 3]
base = "popularity"
[dataset]
use = "world"
users = 120
items = 60
max_interactions = 25
[evaluator]
metrics = ["ndcg@10"]
[recommender]
use = "popularity"
[comparison]
pairs = [["markov", "knn"]]
[[comparison.strata]]
name = "tail"
popularity_at_most = 20
[[ablation]]
name = "markov"
use.recommender = "markov"
[[ablation]]
name = "knn"
use.recommender = "item_knn"
[[ablation]]
name = "trained"
use.recommender = "bpr_mf"
"#;

#[test]
fn declared_pairs_and_strata_join_the_family_and_missing_runs_stay_in_it() {
    let program = Program::new();
    let spec = program.file("compared.toml", COMPARED);
    let report =
        || -> Value { serde_json::from_str(&program.ok(&["report", &spec, "--format", "json"]).out).expect("JSON") };
    // Nothing is there of the last row, one seed of the others: nothing of them is random.
    let (first, _) = COMPARED.rsplit_once("[[ablation]]").expect("rows");
    let few = program.file("few.toml", &first.replace("seeds = [1, 2, 3]", "seeds = [1]"));
    program.ok(&["run", &few]);
    let missing = report();
    let comparisons = missing["comparisons"].as_array().expect("comparisons");
    assert_eq!(comparisons.len(), 8, "three rows with the base and one pair, and the same in the tail: {missing:#}");
    let found = |report: &Value, variant: &str, stratum: Value| -> Value {
        let all = report["comparisons"].as_array().expect("comparisons").iter();
        let mut own =
            all.filter(|own| own["variant"] == variant && own["against"] == "popularity" && own["stratum"] == stratum);
        own.next().expect("a comparison")["difference"].clone()
    };
    assert!(found(&missing, "trained", Value::Null).is_null());
    assert_eq!(found(&missing, "markov", Value::Null)["about"], "methods", "{missing:#}");
    assert!(missing["notes"].to_string().contains("8 comparisons (2 of them not there yet)"), "{missing:#}");
    // One seed of what is random is about that model.
    program.ok(&["run", &spec, "--set", "seeds = [1]"]);
    let one: Value =
        serde_json::from_str(&program.ok(&["report", &spec, "--set", "seeds = [1]", "--format", "json"]).out)
            .expect("JSON");
    let trained = found(&one, "trained", Value::Null);
    assert!(
        trained["about"] == "trained models" && trained["verdict"].as_str().is_some_and(|v| v.contains("as trained")),
        "{trained}"
    );
    assert!(one["notes"].to_string().contains("allows a verdict: trained"), "{one:#}");
    // With three seeds it is about the method, and what was said of the others does not get worse by more rows.
    program.ok(&["run", &spec]);
    let whole = report();
    assert_eq!(found(&whole, "trained", Value::Null)["about"], "methods");
    let p = |report: &Value| found(report, "markov", Value::Null)["p_adjusted"].as_f64().expect("a p-value");
    assert!(p(&whole) <= p(&missing) + 1e-12, "{} after {}", p(&whole), p(&missing));
    let tail = found(&whole, "markov", "tail".into());
    assert!(tail["interval"]["n"].as_u64() < Some(120) && tail["interval"]["n"].as_u64() > Some(0), "{tail}");
    let text = program.ok(&["report", &spec]).out;
    assert!(text.contains("## Further comparisons") && text.contains("| knn "), "{text}");
    let csv = program.ok(&["report", &spec, "--format", "csv"]).out;
    assert!(csv.lines().any(|line| line.starts_with("difference,knn,") && line.contains(",markov,")), "{csv}");
    let fields = csv.lines().map(|line| line.split(',').count());
    assert_eq!(fields.collect::<std::collections::BTreeSet<_>>().len(), 1, "{csv}");

    let typo = program.file("typo.toml", &COMPARED.replace("[[\"markov\", \"knn\"]]", "[[\"markof\", \"knn\"]]"));
    let ran = program.run(&["check", &typo]);
    assert!(
        ran.code != 0 && ran.err.contains("no row is called `markof`") && ran.err.contains("markov"),
        "{}",
        ran.err
    );
}

#[test]
fn a_number_has_one_interval_wherever_it_is_printed() {
    let program = Program::new();
    let spec = program.file("compared.toml", &COMPARED.replace("seeds = [1, 2, 3]", "seeds = [7]"));
    program.ok(&["run", &spec]);
    let report: Value = serde_json::from_str(&program.ok(&["report", &spec, "--format", "json"]).out).expect("JSON");
    for row in report["rows"].as_array().expect("rows") {
        let id = row["runs"][0]["run"].as_str().expect("an id");
        let record: Value = serde_json::from_str(&program.ok(&["show", id, "--json"]).out).expect("JSON");
        assert_eq!(record["metrics"]["ndcg@10"], row["metrics"]["ndcg@10"], "{}", row["variant"]);
    }
}
