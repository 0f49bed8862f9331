//! What every plugin of a role must do, whoever wrote it.

use crate::program::real_data;
use framework::context::Context;
use framework::corpus::{Attribute, Corpus};
use framework::device;
use framework::evaluation::{Outcomes, rank};
use framework::language::{Decoding, Generation, Prompt};
use framework::metrics::{Metric, Rank};
use framework::plugin::{Pick, Plugin, Role, Setting, defaults};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::protocol::{Protocol, Split, split};
use framework::rng::Rng;
use framework::roles::{Aggregator, Dataset, Embeddings, Evaluator, LanguageModel, Loss, Query, Recommender};
use framework::toml::{Table, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn pick<R: ?Sized + Role>(text: &str) -> Pick<R> {
    let table: Table = framework::toml::from_str(text).expect("TOML");
    let mut reader = Reader::default();
    let pick = Pick::read(&Value::Table(table), &mut reader);
    pick.unwrap_or_else(|| panic!("{text}: {:?}", reader.problems))
}

fn context(folder: &Path, seed: u64) -> Context {
    let device = device::open(&defaults_device()).expect("flex is always there");
    Context::new(device, seed, folder.join("work"), folder.join("cache"), Progress::hidden())
}

fn defaults_device() -> device::DeviceName {
    device::DeviceName("flex".into())
}

fn small_world() -> Pick<dyn Dataset> {
    pick("use = \"world\"\nusers = 80\nitems = 40\nmin_interactions = 6\nmax_interactions = 18\n")
}

fn protocol() -> Protocol {
    let table = framework::toml::from_str("split.use = \"leave_one_out\"").expect("TOML");
    Protocol::read(&Value::Table(table), &mut Reader::default()).expect("a protocol")
}

fn small_split(folder: &Path) -> Split {
    let corpus = small_world().load(&context(folder, 1)).expect("the world loads");
    split(&corpus, &protocol(), Metric::parse("ndcg@10").expect("a metric")).expect("a split")
}

/// Smaller settings for plugins that train, so that a contract takes seconds.
fn quick(plugin: &Plugin<dyn Recommender>, lists: &str) -> Pick<dyn Recommender> {
    let mut text = format!("use = \"{}\"\n", plugin.name);
    for (key, value) in [
        ("of", "{ use = \"markov\" }"),
        ("retriever", "{ use = \"popularity\" }"),
        ("ranker", "{ use = \"markov\" }"),
        ("hidden_size", "16"),
        ("num_layers", "1"),
        ("max_seq_length", "10"),
        ("file", lists),
        ("features", "{ use = \"title_words\" }"),
        ("texts", "{ use = \"title_words\" }"),
        ("pictures", "{ use = \"title_words\" }"),
    ] {
        if plugin.fields.iter().any(|field| field.name == key) {
            text += &format!("{key} = {value}\n");
        }
    }
    if plugin.fields.iter().any(|field| field.name == "training") {
        text += "[training]\nmax_epochs = 2\n";
    }
    pick(&text)
}

/// The plugin with something right for every key that must be given.
fn with_required_keys<R: ?Sized + Role>(plugin: &Plugin<R>) -> Pick<R> {
    let mut text = format!("use = \"{}\"\n", plugin.name);
    for field in plugin.fields.iter().filter(|field| field.default.is_none()) {
        text += &match (field.kind)().as_str() {
            "string" | "path" => format!("{} = \"http://localhost\"\n", field.name),
            "aggregator plugin" => {
                format!("{} = {{ use = \"recurrent\", language_model = {{ use = \"tiny\" }} }}\n", field.name)
            }
            "dataset plugin" => {
                format!(
                    "{} = {{ use = \"world\", users = 80, items = 40 }}\ntitles = \"random\"\nimages = \"blank\"\n",
                    field.name
                )
            }
            "recommender plugin" => format!("{} = {{ use = \"markov\" }}\n", field.name),
            "language_model plugin" => format!("{} = {{ use = \"tiny\" }}\n", field.name),
            "embeddings plugin" => format!("{} = {{ use = \"title_words\" }}\n", field.name),
            "list of embeddings plugin" => format!("{} = [{{ use = \"title_words\" }}]\n", field.name),
            kind => panic!("{}.{} must be given: a {kind}", plugin.name, field.name),
        };
    }
    pick(&text)
}

fn documented<R: ?Sized + Role>() {
    let plugins = R::plugins();
    assert!(!plugins.is_empty(), "no {} is linked", R::ROLE);
    let names: BTreeSet<_> = plugins.iter().map(|plugin| plugin.name).collect();
    assert_eq!(names.len(), plugins.len(), "two {}s share a name", R::ROLE);
    for plugin in plugins {
        let file = Path::new(plugin.file).file_stem().and_then(|stem| stem.to_str());
        assert_eq!(file, Some(plugin.name), "{}: file, module and TOML name are one", plugin.file);
        assert!(plugin.doc.trim().ends_with('.'), "{} has no doc", plugin.name);
        for field in plugin.fields {
            assert!(!field.doc.trim().is_empty(), "{}.{} has no doc", plugin.name, field.name);
        }
        let first = with_required_keys(plugin);
        let again = Pick::<R>::read(&first.write(), &mut Reader::default()).expect("its own table");
        assert_eq!(first.identity(), again.identity(), "{} does not read what it writes", plugin.name);
    }
}

#[test]
fn every_plugin_is_documented_and_reads_what_it_writes() {
    documented::<dyn Dataset>();
    documented::<dyn Recommender>();
    documented::<dyn Loss>();
    documented::<dyn Evaluator>();
    documented::<dyn LanguageModel>();
    documented::<dyn Aggregator>();
    documented::<dyn Embeddings>();
}

/// What is stored under a key must not be found after a part of what made it has changed.
#[test]
fn an_identity_holds_the_versions_of_parts_at_any_depth() {
    let markov = r#"{ use = "markov" }"#;
    let rerank = format!(r#"{{ use = "rerank", retriever = {markov}, ranker = {markov} }}"#);
    let parts = |ranker: &str| {
        let text = format!("use = \"rerank\"\nretriever = {markov}\nranker = {ranker}");
        pick::<dyn Recommender>(&text).identity().get("parts").cloned()
    };
    assert_eq!(parts(markov), None, "no part of it has been raised");
    let raised = serde_json::json!({ "recommender.rerank": 2 });
    assert_eq!(parts(&rerank), Some(raised.clone()));
    assert_eq!(parts(&format!(r#"{{ use = "placebo", of = {rerank} }}"#)), Some(raised));
}

#[test]
fn every_dataset_loads_the_same_corpus_twice_and_survives_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    std::fs::create_dir_all(&cache).expect("a folder");
    if let Some(data) = real_data("ml-100k") {
        std::os::unix::fs::symlink(data, cache.join("ml-100k")).expect("a link");
    }
    for plugin in <dyn Dataset>::plugins() {
        let dataset = with_required_keys(plugin);
        if dataset.files(&cache).is_err() {
            eprintln!("skipped: {} finds no data", plugin.name);
            continue;
        }
        let load =
            || dataset.load(&context(folder.path(), 1)).unwrap_or_else(|error| panic!("{}: {error}", plugin.name));
        let corpus = load();
        corpus.check().expect("a whole corpus");
        assert_eq!(corpus, load(), "{} differs from itself", plugin.name);
        assert_eq!(corpus.truth.is_some(), dataset.knows_truth(), "{}", plugin.name);
        let saved = folder.path().join(plugin.name);
        std::fs::create_dir(&saved).expect("a folder");
        corpus.save(&saved).expect("it saves");
        assert_eq!(corpus, Corpus::load(&saved).expect("it loads"), "{} changes on disk", plugin.name);
    }
}

#[test]
fn every_recommender_fits_scores_saves_and_repeats_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let split = small_split(folder.path());
    let path = folder.path().join("lists.trec");
    let line = |user: &String| format!("{user} Q0 {} 1 0.5 other\n", split.train.items.id[3]);
    std::fs::write(&path, split.train.users.iter().map(line).collect::<String>()).expect("lists");
    let lists = format!("{:?}", path.display().to_string());
    for plugin in <dyn Recommender>::plugins() {
        let recommender = quick(plugin, &lists);
        let fit = |n: u64| {
            let cx = context(&folder.path().join(format!("{}{n}", plugin.name)), 7);
            std::fs::create_dir_all(&cx.work).expect("a folder");
            (recommender.fit(&split.train, &cx).unwrap_or_else(|error| panic!("{}: {error}", plugin.name)), cx)
        };
        let ((scorer, cx), (again, _)) = (fit(1), fit(2));
        let cases = &split.train.validation;
        let queries: Vec<Query> = (0..8).map(|n| cases.query(n)).collect();
        let scores = |scorer: &dyn framework::roles::Scorer, queries: &[Query]| -> Vec<f32> {
            let tensor = scorer.score(queries, &cx).unwrap_or_else(|error| panic!("{}: {error}", plugin.name));
            assert_eq!(tensor.dims(), [queries.len(), split.train.num_items()], "{}", plugin.name);
            tensor.into_data().try_to_vec().expect("numbers")
        };
        let whole = scores(scorer.as_ref(), &queries);
        assert!(whole.iter().all(|score| score.is_finite()), "{} scores NaN", plugin.name);
        assert_eq!(whole, scores(again.as_ref(), &queries), "{} differs from itself with one seed", plugin.name);
        let alone: Vec<f32> = queries.iter().flat_map(|query| scores(scorer.as_ref(), &[*query])).collect();
        let close = whole.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + a.abs()));
        assert!(close, "{} scores a query differently in another batch", plugin.name);
        let saved = folder.path().join(format!("{}-saved", plugin.name));
        std::fs::create_dir(&saved).expect("a folder");
        scorer.save(&saved).expect("it saves");
        let loaded = recommender.load(&saved, &split.train, &cx).expect("it loads");
        assert_eq!(whole, scores(loaded.as_ref(), &queries), "{} differs after saving and loading", plugin.name);
        assert!(rank(scorer.as_ref(), cases, split.train.num_items(), 0, &cx).is_ok());
    }
}

#[test]
fn every_loss_is_smaller_for_the_right_item_and_has_gradients() {
    use burn::tensor::{Int, Tensor, TensorData};
    let device = device::open(&defaults_device()).expect("flex").autodiff();
    let (n, hidden, items) = (6, 4, 9);
    let mut rng = Rng::new(3, "contract");
    let numbers = |rng: &mut Rng, len: usize| (0..len).map(|_| rng.normal() as f32).collect::<Vec<_>>();
    let table = numbers(&mut rng, items * hidden);
    let states: Vec<f32> = (0..n)
        .flat_map(|row| table[row * hidden..(row + 1) * hidden].iter().map(|x| 3.0 * x).collect::<Vec<_>>())
        .collect();
    let tensor = |data: &[f32], rows: usize| {
        Tensor::<2>::from_data(TensorData::new(data.to_vec(), [rows, hidden]), &device).require_grad()
    };
    for plugin in <dyn Loss>::plugins() {
        let loss = Pick::<dyn Loss>::named(plugin.name);
        let value = |sign: f32| {
            let states: Vec<f32> = states.iter().map(|x| sign * x).collect();
            let (states, table) = (tensor(&states, n), tensor(&table, items));
            let targets = Tensor::<1, Int>::from_data(TensorData::new((0..n as i64).collect::<Vec<_>>(), [n]), &device);
            let mut rng = Rng::new(5, "negatives");
            let loss = loss.loss(states.clone(), table.clone(), targets, &mut rng);
            let grads = loss.backward();
            for grad in [states.grad(&grads), table.grad(&grads)] {
                let grad: Vec<f32> = grad.expect("a gradient").into_data().try_to_vec().expect("numbers");
                assert!(grad.iter().all(|x| x.is_finite()) && grad.iter().any(|x| *x != 0.0), "{}", plugin.name);
            }
            loss.into_scalar::<f32>()
        };
        let (right, wrong) = (value(1.0), value(-1.0));
        assert!(right.is_finite() && right >= 0.0 && right < wrong, "{}: {right} against {wrong}", plugin.name);
    }
}

#[test]
fn all_embeddings_give_every_item_a_vector_and_repeat_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut train = small_split(folder.path()).train;
    let values = (0..train.num_items()).map(|n| Some(["Drama", "War, Drama"][n % 2].to_string())).collect();
    Arc::make_mut(&mut train.items).attributes = vec![Attribute { name: "genres".into(), values }];
    for plugin in <dyn Embeddings>::plugins() {
        let embeddings = match plugin.name {
            "ids" => pick("use = \"ids\"\nof = { use = \"bpr_mf\", hidden_size = 4, training = { max_epochs = 1 } }"),
            _ => with_required_keys(plugin),
        };
        if embeddings.inputs(&folder.path().join("cache")).is_err() {
            eprintln!("skipped: {} finds no files", plugin.name);
            continue;
        }
        let vectors = |n: u64| -> Vec<f32> {
            let cx = context(&folder.path().join(format!("{}{n}", plugin.name)), 7);
            std::fs::create_dir_all(&cx.work).expect("a folder");
            let vectors = embeddings.embed(&train, &cx).unwrap_or_else(|error| panic!("{}: {error}", plugin.name));
            let [items, width] = vectors.dims();
            assert!(items == train.num_items() && width > 0, "{}: {items} by {width}", plugin.name);
            vectors.into_data().try_to_vec().expect("numbers")
        };
        let first = vectors(1);
        assert!(first.iter().all(|value| value.is_finite()), "{}", plugin.name);
        assert_eq!(first, vectors(2), "{} differ from themselves with one seed", plugin.name);
    }
}

#[test]
fn every_evaluator_gives_a_constant_recommender_chance() {
    let ranks = vec![Rank { above: 0, tied: 99, candidates: 100 }; 5];
    let lists = vec![(0..10).collect(); 5];
    let outcomes = Outcomes { users: (0..5).collect(), ranks, lists, num_items: 100 };
    for plugin in <dyn Evaluator>::plugins() {
        let scores = Pick::<dyn Evaluator>::named(plugin.name).evaluate(&outcomes).expect("scores");
        for (name, values) in &scores.per_user {
            assert_eq!(values.len(), 5, "{name}");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
        let of = |name: &str| scores.per_user.iter().find(|(n, _)| n == name).map(|(_, values)| values[0]);
        assert!(of("hr@10").is_none_or(|value| (value - 0.1).abs() < 1e-12));
        assert!(of("auc").is_none_or(|value| (value - 0.5).abs() < 1e-12));
    }
}

#[test]
fn every_language_model_answers_a_prompt_alike_in_any_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let cx = context(folder.path(), 1);
    let texts: Vec<String> = (0..50).map(|n| format!("The title of film number {n} is long")).collect();
    let prompts: Vec<Prompt> = texts[..9].iter().map(|text| Prompt::new("Be brief.", text)).collect();
    let decoding = Decoding { max_tokens: 12, temperature: 1.0, ..defaults() };
    for plugin in <dyn LanguageModel>::plugins() {
        if plugin.fields.iter().any(|field| field.default.is_none()) {
            eprintln!("skipped here: {} needs a server or a checkpoint", plugin.name);
            continue;
        }
        let model = Pick::<dyn LanguageModel>::named(plugin.name).open(&texts, &cx).expect("it opens");
        let answers = |prompts: &[Prompt]| {
            let mut answers = vec![None; prompts.len()];
            let done = &mut |place: usize, generation: Generation| {
                assert!(answers[place].replace(generation.text).is_none(), "{} answers twice", plugin.name);
                Ok(())
            };
            model.generate(prompts, &decoding, 5, &cx, done).unwrap_or_else(|error| panic!("{}: {error}", plugin.name));
            answers.into_iter().map(|answer| answer.expect("every prompt is answered")).collect::<Vec<_>>()
        };
        let together = answers(&prompts);
        let alone: Vec<String> = prompts.iter().flat_map(|prompt| answers(std::slice::from_ref(prompt))).collect();
        assert_eq!(together, alone, "{}", plugin.name);
        let again = Pick::<dyn LanguageModel>::named(plugin.name).open(&texts, &cx).expect("it opens");
        assert_eq!(model.identity(), again.identity(), "{}", plugin.name);
        let choices = ["Yes".to_string(), "No".to_string()];
        let scores = model.score(&[prompts[..4].to_vec(), prompts[4..].to_vec()], &choices, &cx).expect("scores");
        let shape: Vec<usize> = scores.iter().map(Vec::len).collect();
        assert_eq!(shape, [4, 5], "{}", plugin.name);
        assert!(scores.iter().flatten().flatten().all(|score| score.is_finite() && *score < 0.0), "{}", plugin.name);
    }
}
