//! Splits, candidates and controls of whole runs, and lists that other software made.

use crate::program::{Program, SMALL};
use framework::context::Context;
use framework::corpus::{Corpus, Part};
use framework::device::{DeviceName, open};
use framework::metrics::Metric;
use framework::plugin::{Pick, Role, Setting};
use framework::problem::Reader;
use framework::progress::Progress;
use framework::protocol::{Protocol, Split, split};
use framework::roles::{Dataset, SplitRule};
use framework::toml::{self, Value};
use serde_json::json;
use std::collections::HashSet;

fn read<T: Setting>(text: &str) -> T {
    let mut reader = Reader::default();
    let read = T::read(&Value::Table(toml::from_str(text).expect("TOML")), &mut reader);
    read.unwrap_or_else(|| panic!("{text}: {:?}", reader.problems))
}

/// The world of the small spec.
fn world() -> Corpus {
    let folder = tempfile::tempdir().expect("a folder");
    let device = open(&DeviceName("flex".into())).expect("flex is always there");
    let cx = Context::new(device, 1, folder.path().into(), folder.path().into(), Progress::hidden());
    let dataset: Pick<dyn Dataset> = read("use = \"world\"\nusers = 120\nitems = 60\nmax_interactions = 25");
    dataset.load(&cx).expect("the world loads")
}

fn divided(corpus: &Corpus, protocol: &str) -> Split {
    let protocol: Protocol = read(protocol);
    split(corpus, &protocol, Metric::parse("hr@1").expect("a metric")).expect("a split")
}

#[test]
fn every_split_leaves_targets_out_of_training() {
    let mut corpus = world();
    // A user's last two interactions are held out.
    let data = &mut corpus.interactions;
    let left = |n: usize| data.user[n..].iter().take_while(|user| **user == data.user[n]).count();
    data.part = (0..data.user.len())
        .map(|n| [Part::Test, Part::Validation].get(left(n) - 1).copied())
        .map(|part| part.unwrap_or(Part::Train))
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    corpus.save(folder.path()).expect("it is saved");
    assert_eq!(Corpus::load(folder.path()).expect("it is read").interactions, corpus.interactions);
    for plugin in <dyn SplitRule>::plugins() {
        let split = divided(&corpus, &format!("k_core = 0\nsplit.use = \"{}\"", plugin.name));
        let validation = &split.train.validation;
        assert!(validation.len() > 3 && split.statistics.test_cases > 3, "{}", plugin.name);
        for ((user, target), history) in validation.users.iter().zip(&validation.targets).zip(&validation.histories) {
            let trained = &split.train.sequences[*user as usize].items;
            assert!(history.starts_with(trained) && !trained.contains(target), "{}, user {user}", plugin.name);
        }
        assert_eq!(split.statistics.own_split_unused, plugin.name != "given");
        let leak = split.statistics.leak_rate.expect("the world has times");
        assert_eq!(leak == 0.0, plugin.name == "global_time", "{} leaks {leak}", plugin.name);
    }
}

/// Three users, whose times and items are known.
fn known(rows: &[(u32, u32, i64)]) -> Corpus {
    let mut corpus = world();
    corpus.users = (0..3).map(|user| format!("u{user}")).collect();
    let column = |of: fn(&(u32, u32, i64)) -> u32| rows.iter().map(of).collect();
    corpus.interactions.user = column(|row| row.0);
    corpus.interactions.item = column(|row| row.1);
    corpus.interactions.timestamp = rows.iter().map(|row| row.2).collect();
    corpus
}

const BY_LAST: &str = "k_core = 0\nsplit.use = \"leave_one_out\"";

const KNOWN: [(u32, u32, i64); 13] = [
    (0, 1, 10),
    (0, 2, 20),
    (0, 3, 30),
    (0, 4, 40),
    (0, 1, 50), // its own first item again
    (1, 5, 25),
    (1, 2, 35),
    (1, 3, 45),
    (1, 6, 55), // an item that is trained on by nobody
    (2, 1, 60),
    (2, 2, 60),
    (2, 3, 70),
    (2, 5, 80),
];

#[test]
fn what_a_split_leaks_is_counted() {
    let statistics = divided(&known(&KNOWN), &format!("{BY_LAST}\nmask_seen = false")).statistics;
    // Training are 10, 20, 30; 25, 35; 60, 60. After 50 and after 55 come two of seven, after 80 none.
    assert!((statistics.leak_rate.expect("times") - (2.0 / 7.0 + 2.0 / 7.0) / 3.0).abs() < 1e-12, "{statistics:?}");
    assert!((statistics.tie_rate - 2.0 / 13.0).abs() < 1e-12, "{statistics:?}");
    let counted = (statistics.repeated_targets, statistics.cold_targets, statistics.copied_targets);
    assert_eq!(counted, (1, 1, 0), "{statistics:?}");
}

#[test]
fn an_interaction_that_is_there_twice_is_no_target() {
    let mut rows = KNOWN.to_vec();
    // The same item at the same time in training and, by the source's order, as the validation target.
    (rows[11], rows[12]) = ((2, 2, 60), (2, 3, 70));
    let protocol: Protocol = read(BY_LAST);
    let metric = Metric::parse("hr@1").expect("a metric");
    let message = split(&known(&rows), &protocol, metric).err().expect("a leak").to_string();
    assert!(
        message.contains("leak: user u2 has item") && message.contains("fix: protocol.copies = \"drop\""),
        "{message}"
    );
    let dropped = divided(&known(&rows), &format!("{BY_LAST}\ncopies = \"drop\"\nmask_seen = false")).statistics;
    assert_eq!((dropped.copies, dropped.interactions), (Some(1), 12));
    // The last row twice: validation target and test target.
    (rows[11], rows[12]) = ((2, 3, 70), (2, 3, 70));
    let message = split(&known(&rows), &protocol, metric).err().expect("a leak").to_string();
    assert!(message.contains("leak: user u2 has item"), "{message}");
    // On a clock by which users often have several items at once, the same item twice may be one that came again.
    let coarse: Vec<_> = rows.iter().map(|(user, item, time)| (*user, *item, time / 40 * 40)).collect();
    let statistics = divided(&known(&coarse), BY_LAST).statistics;
    assert_eq!((statistics.copies, statistics.left_out), (Some(1), Some(2)), "{statistics:?}");
    (rows[11], rows[12]) = ((2, 2, 60), (2, 3, 70));
    let untimed = Corpus { untimed: true, ..known(&rows) };
    assert!(split(&untimed, &protocol, metric).is_ok(), "without times it may be another one");
}

#[test]
fn a_target_that_was_seen_before_is_left_out_where_seen_items_are_masked() {
    // User 0's last item is their first one again; alone unmasked among the seen ones, it would win by being there.
    let masked = divided(&known(&KNOWN), BY_LAST);
    let statistics = &masked.statistics;
    assert_eq!((statistics.repeated_targets, statistics.left_out, statistics.test_cases), (1, Some(1), 2));
    let open = divided(&known(&KNOWN), &format!("{BY_LAST}\nmask_seen = false"));
    assert_eq!((open.statistics.left_out, open.statistics.test_cases), (Some(0), 3));
    // The same in validation: user 0 has an item there that was trained on.
    let mut rows = KNOWN.to_vec();
    rows[3] = (0, 2, 40);
    assert_eq!(divided(&known(&rows), BY_LAST).train.validation.users, [1, 2]);
    // Validation's target is history of the test.
    rows[4] = (0, 2, 50);
    assert_eq!(divided(&known(&rows), BY_LAST).statistics.left_out, Some(1));
    let all: Vec<_> = KNOWN.iter().map(|(user, _, time)| (*user, *user, *time)).collect();
    let message = split(&known(&all), &read(BY_LAST), Metric::parse("hr@1").expect("a metric")).err().expect("nothing");
    let message = message.to_string();
    assert!(message.contains("seen before") && message.contains("mask_seen = false"), "{message}");
}

#[test]
fn the_order_of_ties_is_that_of_the_file_of_the_items_or_drawn() {
    // All of user 2's interactions are at one time.
    let mut rows = KNOWN.to_vec();
    rows[9..].iter_mut().for_each(|row| row.2 = 60);
    let target = |rows: &[(u32, u32, i64)], ties: &str| {
        let split = divided(&known(rows), &format!("{BY_LAST}\n{ties}"));
        assert_eq!(split.statistics.tied_targets, Some(1), "{ties}");
        let validation = &split.train.validation;
        validation.targets[validation.users.iter().position(|user| *user == 2).expect("the user")]
    };
    let mut reversed = rows.clone();
    reversed[9..].reverse();
    assert_ne!(target(&rows, ""), target(&reversed, ""), "the file decides by default");
    for ties in ["ties = \"item\"", "ties = \"random\"", "ties = \"random\"\ntie_seed = 2"] {
        assert_eq!(target(&rows, ties), target(&reversed, ties), "{ties}: the order of rows decides nothing");
    }
    let drawn: HashSet<u32> =
        (0..20).map(|seed| target(&rows, &format!("ties = \"random\"\ntie_seed = {seed}"))).collect();
    assert!(drawn.len() > 1, "other seeds, other orders");
    // What is as it was before there were these settings has the key that it had.
    let identity = |text: &str| read::<Protocol>(text).identity().to_string();
    assert!(!identity(BY_LAST).contains("ties") && !identity(BY_LAST).contains("copies"), "{}", identity(BY_LAST));
    assert!(identity("ties = \"random\"\nsplit.use = \"leave_one_out\"").contains("tie_seed"));
}

#[test]
fn popularity_gains_nothing_from_repeats_under_masking() {
    let program = Program::new();
    // A hundred people who come back to one of two items, which everybody knows; every fifth ends with a new one.
    let mut rows = String::from("user_id,item_id,timestamp\n");
    for user in 0..100 {
        for n in 0..10 {
            let item = match n {
                9 if user % 5 == 0 => 50 + user,
                n if n % 3 < 2 => n % 2,
                n => 2 + (user * 7 + n * 5) % 31,
            };
            rows += &format!("u{user},i{item},{}\n", 100 * user + n);
        }
    }
    std::fs::create_dir_all(program.path("cache/mine")).expect("a folder");
    std::fs::write(program.path("cache/mine/interactions.csv"), rows).expect("a table");
    let spec = program.file(
        "repeats.toml",
        "name = \"repeats\"\n[dataset]\nuse = \"table\"\nfolder = \"mine\"\nitems = false\n[protocol]\nk_core = 0\n\
         [evaluator]\nmetrics = [\"hr@1\"]\nselects_by = \"hr@1\"\n[recommender]\nuse = \"popularity\"\n",
    );
    let report = |set: &str| -> serde_json::Value {
        program.ok(&["run", &spec, "--set", set]);
        serde_json::from_str(&program.ok(&["report", &spec, "--set", set, "--format", "json"]).out).expect("JSON")
    };
    let hit = |report: &serde_json::Value| report["rows"][0]["metrics"]["hr@1"].clone();
    let masked = report("protocol.mask_seen = true");
    assert!(hit(&masked)["mean"] == 0.0 && hit(&masked)["n"] == 20, "{masked:#}");
    let notes = masked["notes"].to_string();
    assert!(notes.contains("80 more were seen before by their user, and are left out"), "{notes}");
    // Where seen items are ranked, those who come back count, and popularity ranks the item that all know.
    let open = report("protocol.mask_seen = false");
    assert!(hit(&open)["n"] == 100 && open["notes"].to_string().contains("items that come again"), "{open:#}");
}

#[test]
fn controls_are_the_same_whichever_run_comes_first() {
    let spec = SMALL
        .replace("name = \"small\"", "name = \"small\"\nseeds = [1, 2]")
        .replace("max_epochs = 4", "max_epochs = 1");
    let controls = |seeds: &str| {
        let program = Program::new();
        let spec = program.file("small.toml", &spec);
        program.ok(&["run", &spec, "--set", seeds]);
        let runs: serde_json::Value = serde_json::from_str(&program.ok(&["list", "--json"]).out).expect("JSON");
        let id = runs[0]["run"].as_str().expect("an id").to_owned();
        let record: serde_json::Value = serde_json::from_str(&program.ok(&["show", &id, "--json"]).out).expect("JSON");
        record["controls"].clone()
    };
    let (first, other) = (controls("seeds = [1, 2]"), controls("seeds = [2, 1]"));
    assert!(first["values"]["random"].is_object() && first["looked_at"] == first["of"], "{first}");
    assert_eq!(first, other);
}

#[test]
fn a_draw_without_negatives_is_a_mistake() {
    let mut reader = Reader::default();
    let table = toml::from_str("candidates.draw = \"popularity\"").expect("TOML");
    Protocol::read(&Value::Table(table), &mut reader);
    assert!(format!("{:?}", reader.problems).contains("the whole catalogue is ranked"), "{:?}", reader.problems);
}

#[test]
fn data_without_times_has_no_leak_rate_and_no_global_time() {
    let corpus = Corpus { untimed: true, ..world() };
    assert_eq!(divided(&corpus, "split.use = \"leave_one_out\"").statistics.leak_rate, None);
    let protocol: Protocol = read("split.use = \"global_time\"");
    let message =
        split(&corpus, &protocol, Metric::parse("hr@1").expect("a metric")).err().expect("refused").to_string();
    assert!(message.contains("has no times") && message.contains("protocol.split"), "{message}");
}

#[test]
fn candidates_are_the_same_bytes_for_every_model() {
    let program = Program::new();
    let text = format!("{SMALL}[protocol]\ncandidates = {{ negatives = 9, draw = \"popularity_matched\" }}\n");
    let spec = program.file("small.toml", &text.replace("max_epochs = 4", "max_epochs = 1"));
    let report = program.ok(&["run", &spec]).out;
    assert!(report.contains("ndcg@10\\|c10") && report.contains("popularity-matched negatives"), "{report}");
    assert!(report.contains("controls got what they must") && report.contains("position 0."), "{report}");
    let list: serde_json::Value = serde_json::from_str(&program.ok(&["list", "--json"]).out).expect("JSON");
    let cases = |run: &serde_json::Value| {
        let id = run["run"].as_str().expect("an id");
        let record: serde_json::Value = serde_json::from_str(&program.ok(&["show", id, "--json"]).out).expect("JSON");
        record["outcome"]["scores"]["cases.parquet"].as_str().expect("a hash").to_owned()
    };
    let hashes: HashSet<String> = list.as_array().expect("runs").iter().map(cases).collect();
    assert_eq!(hashes.len(), 1, "two models were asked about the same cases and candidates");
}

#[test]
fn controls_can_be_switched_off_and_the_report_says_so() {
    let program = Program::new();
    let spec = program.file(
        "small.toml",
        SMALL.replace("use = \"sasrec\"", "use = \"markov\"").split("hidden_size").next().expect("a spec"),
    );
    let report = program.ok(&["run", &spec, "--set", "controls=false"]).out;
    assert!(report.contains("WARNING: no controls"), "{report}");
}

#[test]
fn lists_of_other_software_are_rows_of_the_table() {
    let program = Program::new();
    let spec = program.file("small.toml", &SMALL.replace("max_epochs = 4", "max_epochs = 1"));
    let corpus = world();
    // Everyone gets all items in one order: by how often they were interacted with, which popularity comes close to.
    let mut counts = vec![0; corpus.items.id.len()];
    corpus.interactions.item.iter().for_each(|item| counts[*item as usize] += 1);
    let line = |user: &String, item: usize| format!("{user} Q0 {} 0 {} other\n", corpus.items.id[item], counts[item]);
    let lines = corpus.users.iter().flat_map(|user| (0..counts.len()).map(move |item| line(user, item)));
    let lists = program.file("other.trec", &lines.collect::<String>());
    let ran = program.ok(&["score", &spec, &lists]);
    assert!(ran.out.contains("| other") && ran.err.contains("3 made, 0 found, 0 failed"), "{}{}", ran.out, ran.err);
    let again = program.ok(&["score", &spec, &lists]);
    assert!(again.err.contains("0 made, 3 found"), "{}", again.err);
    let report = program.ok(&["report", &spec, "--format", "json"]).out;
    assert!(!report.contains("other.trec"), "the spec's own table is as it was");
    let wrong = program.file("wrong.tsv", "user_id\titem_id\tscore\nnobody\t1\t0.5\n");
    let ran = program.run(&["score", &spec, &wrong]);
    assert!(ran.code == 1 && ran.err.contains("user \"nobody\" is not in the data"), "{}", ran.err);
}

#[test]
fn data_describes_a_data_set_and_what_the_protocol_leaves() {
    let program = Program::new();
    let spec = program.file("small.toml", SMALL);
    let said = program.ok(&["data", &spec]).out;
    insta::assert_snapshot!("data_of_the_world", said);
    let profile: serde_json::Value = serde_json::from_str(&program.ok(&["data", &spec, "--json"]).out).expect("JSON");
    assert_eq!((&profile["users"], &profile["items"]), (&json!(120), &json!(60)));
    assert_eq!(profile["protocol"]["users"], profile["users"], "the 5-core of the small world is all of it");
    let rows: String = (0..12).map(|n| format!("u{},i{},{n}\n", n / 4, n % 5)).collect();
    std::fs::create_dir(program.path("own")).expect("a folder");
    program.file("own/interactions.csv", &format!("user_id,item_id,timestamp\n{rows}"));
    program.file("own/items.csv", "item_id,title\ni0,Zero\ni1,\ni2,Two\ni3,Two\ni4,\n");
    let own = "name = \"own\"\n[dataset]\nuse = \"table\"\nfolder = \"own\"\n[protocol]\nk_core = 0\n[recommender]\nuse = \"popularity\"\n";
    let own = program.file("own.toml", own);
    let cache = program.path("").display().to_string();
    let said = program.ok(&["--cache", &cache, "data", &own]).out;
    assert!(said.contains("without title    2 of 5") && said.contains("shared title     2 of 5"), "{said}");
    let refused = program.run(&["--cache", &cache, "data", &own, "--set", "protocol.k_core=9"]);
    assert!(refused.code == 1 && refused.out.contains("interactions     12") && !refused.out.contains("kept"));
    assert!(refused.err.contains("protocol.k_core"), "{}", refused.err);
}

#[test]
fn a_fingerprint_is_of_the_bytes_wherever_they_lie() {
    let program = Program::new();
    let rows = |shift: usize| (0..40).map(|n| format!("u{},i{},{n}\n", n / 8, (n + shift) % 8)).collect::<String>();
    let fingerprint = |folder: &str, name: &str, shift: usize| {
        std::fs::create_dir_all(program.path("cache").join(folder)).expect("a folder");
        program.file(&format!("cache/{folder}/{name}"), &format!("user_id,item_id,timestamp\n{}", rows(shift)));
        let dataset = format!("use = \"table\"\nfolder = \"{folder}\"\ninteractions = \"{name}\"\nitems = false");
        let spec = format!("name = \"own\"\n[dataset]\n{dataset}\n[recommender]\nuse = \"popularity\"\n");
        let spec = program.file("own.toml", &spec);
        program.ok(&["run", &spec]);
        let report = program.ok(&["report", &spec, "--format", "json"]).out;
        serde_json::from_str::<serde_json::Value>(&report).expect("JSON")["rows"][0]["fingerprint"].clone()
    };
    let here = fingerprint("here", "interactions.csv", 0);
    assert_eq!(here, fingerprint("there", "mine.csv", 0), "the same bytes under other names");
    assert_ne!(here, fingerprint("there", "mine.csv", 1), "other bytes under the same name");
}

#[test]
fn openings_under_an_earlier_fingerprint_are_counted() {
    let program = Program::new();
    let spec = SMALL.replace("use = \"sasrec\"", "use = \"markov\"");
    let spec = program.file("small.toml", spec.split("hidden_size").next().expect("a spec"));
    program.ok(&["run", &spec]);
    let only = |folder: &str| {
        let mut entries = std::fs::read_dir(program.store().join(folder)).expect("a folder");
        entries.next().expect("an entry").expect("an entry").path()
    };
    // As if an earlier version had named the protocol otherwise.
    let (record, opened) = (only("runs"), only("openings"));
    let name = opened.file_name().and_then(|name| name.to_str()).expect("a fingerprint").to_owned();
    let text = std::fs::read_to_string(&record).expect("a record").replace(&name, &"a".repeat(64));
    std::fs::write(&record, text).expect("a record");
    std::fs::rename(&opened, opened.with_file_name("a".repeat(64))).expect("it is renamed");
    let report = program.ok(&["report", &spec]).out;
    assert!(report.contains("the test split of this protocol was opened 1 times"), "{report}");
}
