//! Small files that people really have, made by hand after public bug reports and real files' shapes: each is read
//! right, or refused with what would be right.

use crate::program::{Program, Ran};
use serde_json::Value;

const FOLDER: &str = "tests/fixtures/cases/data";

/// What `ablate data` says of a case with these settings besides.
fn data(case: &str, set: &[&str]) -> Ran {
    let spec = format!("{FOLDER}/{case}/spec.toml");
    let set = set.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> =
        ["data", &spec, "--rows", "3", "--json", "--cache", FOLDER].into_iter().chain(set).collect();
    let ran = Program::new().run(&arguments);
    assert!(!ran.err.contains("panic"), "{case}: {}", ran.err);
    ran
}

/// The description of a case that must be read.
fn read(case: &str, set: &[&str]) -> Value {
    let ran = data(case, set);
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{case} {set:?}: {}{}", ran.out, ran.err))
}

/// Checks how many users, items and interactions there are, and the first and last time.
fn has(case: &str, set: &[&str], sizes: [u64; 3], times: Option<[&str; 2]>) -> Value {
    let found = read(case, set);
    let counted = ["users", "items", "interactions"].map(|name| found[name].as_u64().expect("a count"));
    assert_eq!(counted, sizes, "{case} {set:?}: {found:#}");
    if let Some(times) = times {
        assert_eq!(found["times"], serde_json::json!(times), "{case} {set:?}");
    }
    found
}

/// Checks that the case is refused, in words that name what would be right.
fn refused(case: &str, set: &[&str], words: &[&str]) {
    let ran = data(case, set);
    assert_eq!(ran.code, if ran.err.contains("in the spec") { 2 } else { 1 }, "{case} {set:?}: {}", ran.out);
    words.iter().for_each(|word| assert!(ran.err.contains(word), "{case} {set:?}: {word:?} in {}", ran.err));
    assert!(ran.err.len() < 1500, "{case}: a message prints no file");
}

/// Checks that the notes of a case have these words.
fn noted(found: &Value, words: &[&str]) {
    let notes = found["notes"].to_string();
    words.iter().for_each(|word| assert!(notes.contains(word), "{word:?} in {notes}"));
}

const TOY: [u64; 3] = [3, 4, 12];

#[test]
fn every_case_is_tested_here() {
    let source = include_str!("cases.rs");
    for entry in std::fs::read_dir(FOLDER).expect("the cases") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        assert!(source.contains(&name), "{name} has no test");
    }
}

#[test]
fn sequences_lose_nothing() {
    for case in ["sq-mixed-tab", "sq-no-newline", "sq-trailing-blank"] {
        has(case, &[], [2, 4, 6], None);
    }
    noted(&has("sq-empty-lines", &[], [2, 4, 6], None), &["empty and passed over: 1, the first x.txt, line 2"]);
}

#[test]
fn times_are_read_as_people_have_them() {
    let found = has("csv-iso-naive", &[], TOY, Some(["2020-09-13 12:26:45", "2020-09-13 12:27:20"]));
    noted(&found, &["taken as UTC"]);
    let berlin = ["dataset.time_zone = \"Europe/Berlin\""];
    has("csv-iso-naive", &berlin, TOY, Some(["2020-09-13 10:26:45", "2020-09-13 10:27:20"]));
    has("csv-date-only", &[], TOY, Some(["2018-09-03 00:00:00", "2018-09-27 00:00:00"]));
    refused("csv-us-dates", &[], &["\"11/15/2019 8:55:10 AM\"", "`time = \"%m/%d/%Y %I:%M:%S %p\"`"]);
    let pattern = ["dataset.time = \"%m/%d/%Y %I:%M:%S %p\""];
    has("csv-us-dates", &pattern, TOY, Some(["2019-11-15 08:55:05", "2019-11-15 08:55:40"]));
    has("js-time-mongo", &[], TOY, Some(["1970-01-01 00:00:00.005", "1970-01-01 00:00:00.040"]));
    refused("kuairec", &[], &["`time` is missing", "big_matrix.csv, line 5", "missing = \"drop\""]);
    let dropped = has(
        "kuairec",
        &["dataset.missing = \"drop\""],
        [1, 3, 3],
        Some(["2020-07-05 00:08:23.438", "2020-07-05 00:16:06.687"]),
    );
    noted(&dropped, &["have no `time` and are left out: 1, the first big_matrix.csv, line 5"]);
}

#[test]
fn wrong_units_are_seen() {
    refused("csv-ms-as-seconds", &[], &["1600000010000", "`time = \"milliseconds\"`"]);
    has(
        "csv-ms-as-seconds",
        &["dataset.time = \"milliseconds\""],
        TOY,
        Some(["2020-09-13 12:26:45", "2020-09-13 12:27:20"]),
    );
    noted(&read("csv-seconds-as-ms", &[]), &["WARNING", "perhaps `time = \\\"seconds\\\"`"]);
    assert_eq!(read("ms-ties", &[])["protocol"]["tie_rate"], 0.0);
}

#[test]
fn times_below_a_second_keep_their_order() {
    let found = read("p-subsecond-repeat", &[]);
    assert_eq!((&found["protocol"]["copies"], &found["protocol"]["tie_rate"]), (&Value::from(0), &Value::from(0.0)));
}

#[test]
fn ids_that_are_none_or_doubtful() {
    refused("csv-nan-user", &[], &["`user_id` is missing", "interactions.csv, line 14", "missing = \"drop\""]);
    noted(&has("csv-nan-user", &["dataset.missing = \"drop\""], TOY, None), &["have no `user_id` and are left out: 3"]);
    noted(&has("csv-spaces-values", &[], TOY, None), &["have blanks around `item_id`, which do not count: 6"]);
    noted(&has("js-id-float", &[], TOY, None), &["written as a fraction, as in 1.0, and taken as whole: 6"]);
    has("js-nan-other", &[], TOY, None);
    refused("el-filter-nan", &[], &["`timestamp` is missing", "x.tsv, line 3"]);
    noted(
        &has("el-filter-nan", &["dataset.missing = \"drop\""], [1, 1, 2], None),
        &[
            "have no `userId` and are left out: 8",
            "have no `itemId` and are left out: 4",
            "have no `timestamp` and are left out: 2",
        ],
    );
}

#[test]
fn shapes_of_text_are_read_or_their_setting_is_named() {
    let header = |names: &str| format!("dataset.header = [{names}]");
    refused("csv-no-header", &[], &["there are ann, a, 10", "`header = [\"user_id\", \"item_id\", \"timestamp\"]`"]);
    has("csv-no-header", &[&header("\"user_id\", \"item_id\", \"timestamp\"")], TOY, None);
    refused("el-no-header", &[], &["`header = [\"userId\", \"itemId\", \"timestamp\"]`"]);
    has("el-no-header", &[&header("\"userId\", \"itemId\", \"timestamp\"")], [2, 2, 2], None);
    noted(&has("el-inline", &[], [3, 3, 3], None), &["item_separator"]);
    has("el-inline", &["dataset.item_separator = \" \""], [3, 6, 12], None);
    refused("csv-semicolon", &[], &["`separator = \";\"`"]);
    has("csv-semicolon", &["dataset.separator = \";\""], TOY, None);
    refused("csv-tab-named-csv", &[], &["`separator = \"\\t\"`"]);
    has("csv-tab-named-csv", &["dataset.separator = \"\\t\""], TOY, None);
    has("csv-txt-ending", &[], TOY, None);
    has("csv-upper-ending", &[], TOY, None);
    refused(
        "gz-trailing-garbage",
        &[],
        &["behind the end of the packed data there are other bytes", "interactions.csv.gz"],
    );
    refused("items-quote-backslash", &[], &["text follows the closing quote", "items.csv, line 2", "doubled"]);
    has("js-blank-line-spaces", &[], TOY, None);
}

#[test]
fn parquet_is_read_as_others_write_it() {
    for case in ["pq-int8", "pq-int16", "pq-uint8", "pq-uint16", "pq-category", "pq-id-float64", "pq-id-decimal"] {
        let found = has(case, &[], TOY, None);
        let user = found["first"]["interactions"][0]["user"].as_str().expect("an id").to_string();
        assert!(!user.contains('.'), "{case}: whole numbers are ids without a point: {user}");
    }
    for case in ["pq-date32", "pq-ts-us", "pq-ts-tz-berlin"] {
        let found = has(case, &[], TOY, None);
        assert!(found["times"][0].as_str().expect("a time") > "1970-01-01", "{case}: {found:#}");
    }
    let berlin = ["dataset.time_zone = \"Europe/Berlin\""];
    has("pq-ts-us", &berlin, TOY, Some(["2019-12-31 23:00:05", "2019-12-31 23:00:40"]));
    has("pq-ts-tz-berlin", &berlin, TOY, Some(["2020-01-01 00:00:05", "2020-01-01 00:00:40"]));
    refused("pq-id-struct", &[], &["`user_id` is of the type Struct", "x.parquet, column user_id"]);
}

#[test]
fn recboles_files_are_read() {
    has("rb-build_dataset", &[], [8, 20, 61], None);
    noted(&has("rb-defaults", &[], [2, 2, 2], None), &["no column `timestamp`", "no column `title`"]);
    noted(&has("rb-empty-item-row", &[], [1, 3, 3], None), &["have no id of an item and are left out: 1"]);
    noted(&has("rb-mmrec", &[], [1, 3, 3], None), &["split_column = \\\"x_label\\\""]);
    let split =
        has("rb-mmrec", &["dataset.split_column = \"x_label\"", "protocol.split.use = \"given\""], [1, 3, 3], None);
    assert_eq!(split["protocol"]["given_targets"][1], serde_json::json!({ "given": 1, "left": 1 }));
    has("rb-remove_duplication", &[], [1, 1, 3], None);
    has("rb-seq_dataset", &[], [4, 8, 18], None);
}

#[test]
fn copies_and_protocols() {
    for case in ["p-last-row-twice", "dup-rows-target"] {
        let ran = data(case, &[]);
        assert!(
            ran.err.contains("protocol.copies = \"drop\"") && ran.err.contains("exact copies"),
            "{case}: {}",
            ran.err
        );
        let dropped = read(case, &["protocol.copies = \"drop\""]);
        assert!(dropped["protocol"]["copies"].as_u64() > Some(0), "{dropped:#}");
    }
    let copies = read("az18", &["protocol.copies = \"drop\"", "protocol.split = { use = \"leave_one_out\" }"]);
    assert_eq!(copies["interactions"], 3);
    let given = read("g-kcore-default", &[]);
    assert_eq!(given["protocol"]["given_targets"][1], serde_json::json!({ "given": 6, "left": 5 }));
    let ran = data("p-negatives-many", &[]);
    assert!(ran.err.contains("user u0 knows") && ran.code == 1, "{}", ran.err);
}

#[test]
fn a_split_that_the_k_core_took_from_is_told_in_the_report() {
    let spec = format!("{FOLDER}/g-kcore-default/spec.toml");
    let out = Program::new().ok(&["run", &spec, "--cache", FOLDER]).out;
    assert!(
        out.contains("WARNING: the k-core took 0 of 6 validation interactions and 1 of 6 test interactions"),
        "{out}"
    );
}

#[test]
fn auc_is_the_mean_over_users_with_rivals() {
    for case in ["p-auc-all-seen", "p-auc-all-seen-selects"] {
        let program = Program::new();
        let spec = format!("{FOLDER}/{case}/spec.toml");
        let report = program.ok(&["run", &spec, "--cache", FOLDER]).out;
        assert!(report.contains("auc: 1 of 31 users are left out"), "{report}");
        let record: Value = serde_json::from_str(&program.ok(&["show", "latest", "--json"]).out).expect("a record");
        let oracle = &record["controls"]["values"]["oracle"];
        assert_eq!(oracle["value"], 1.0, "{oracle}");
    }
}

#[test]
fn a_picture_that_is_cut_is_broken() {
    let program = Program::new();
    let spec = format!("{FOLDER}/pict-truncated-jpg/spec.toml");
    let out = program.ok(&["run", &spec, "--cache", FOLDER]).out;
    assert!(out.contains("WARNING: 1 pictures are broken, and their items have none: i3.jpg is cut off"), "{out}");
    let found = read("pict-truncated-jpg", &[]);
    assert_eq!(
        (&found["items_without_picture"], found["broken_pictures"].as_array().map(Vec::len)),
        (&Value::from(1), Some(1))
    );
}

#[test]
fn a_user_without_a_list_is_named() {
    let program = Program::new();
    let [spec, list, cut] =
        ["spec.toml", "run.tsv", "neginf.tsv"].map(|name| format!("{FOLDER}/score-missing-user/{name}"));
    let ran = program.run(&["score", &spec, &list, "--cache", FOLDER]);
    assert!(ran.code != 0 && ran.err.contains("there is no list for user 7"), "{}", ran.err);
    let out = program.ok(&["score", &spec, &list, &cut, "--missing-users", "miss", "--cache", FOLDER]).out;
    for words in
        ["run: 1 of 10 test users have no list and count as misses", "neginf: 7 of 10 test users have a list of fewer"]
    {
        assert!(out.contains(words), "{words} in {out}");
    }
}
