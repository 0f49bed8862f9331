use super::Table;
use crate::reading::fixture::{PNG, cache, corpus, load, pack, real, says, untimed, write};
use framework::corpus::{Corpus, Part};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::roles::Dataset;
use framework::toml::{self, Value};
use polars::prelude::{DataFrame, ParquetWriter, df};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// The table in the folder `own` with these settings, and the mistakes in them.
fn with_mistakes(settings: &str) -> (Table, Vec<String>) {
    let table: toml::Table = toml::from_str(&format!("folder = \"own\"\n{settings}")).expect("TOML");
    let mut reader = Reader::default();
    let table = Table::read(&Value::Table(table), &mut reader).expect("settings");
    (table, reader.problems.into_iter().map(|problem| problem.message).collect())
}

fn dataset(settings: &str) -> Table {
    let (table, mistakes) = with_mistakes(settings);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    table
}

const INTERACTIONS: &str = "user_id,item_id,timestamp\nann,i2,1700000000\nbob,\"i,1\",1600000000\nann,i2,1500000000\n";
const ITEMS: &str = "title,item_id\n\"One \"\"1\"\"\",\"i,1\"\nTwo,i2\n,i3\n";

fn expected() -> Corpus {
    let items = [("i,1", "One \"1\""), ("i2", "Two"), ("i3", "i3")];
    corpus(&["ann", "bob"], &items, &[(0, 1, 1_700_000_000), (1, 0, 1_600_000_000), (0, 1, 1_500_000_000)])
}

fn parquet(folder: &Path, name: &str, mut table: DataFrame) {
    write(folder, name, b"");
    let file = File::create(folder.join(name)).expect("a file");
    ParquetWriter::new(file).finish(&mut table).expect("written");
}

#[test]
fn every_format_gives_the_same_corpus() {
    let csv = cache(&[("own/interactions.csv", INTERACTIONS), ("own/items.csv", ITEMS)]);
    assert_eq!(load(&dataset(""), csv.path()).expect("csv"), expected());

    let tsv = cache(&[(
        "own/x.tsv",
        "timestamp\titem_id\tuser_id\n1700000000\ti2\tann\n1600000000\ti,1\tbob\n1500000000\ti2\tann\n",
    )]);
    write(tsv.path(), "own/y.csv.gz", &pack(ITEMS));
    let names = "interactions = \"x.tsv\"\nitems = \"y.csv.gz\"";
    assert_eq!(load(&dataset(names), tsv.path()).expect("tsv"), expected());

    let interactions = r#"{"user_id": "ann", "item_id": "i2", "timestamp": 1700000000, "rating": [5]}
{"timestamp": 1.6e9, "user_id": "bob", "item_id": "i,1"}
{"timestamp": "1500000000", "user_id": "ann", "item_id": "i2"}
"#;
    let items = "{\"item_id\": \"i,1\", \"title\": \"One \\\"1\\\"\"}\n{\"title\": \"Two\", \"item_id\": \"i2\"}\n{\"item_id\": \"i3\"}";
    let json = cache(&[("own/x.jsonl", interactions), ("own/y.ndjson", items)]);
    let names = "interactions = \"x.jsonl\"\nitems = \"y.ndjson\"";
    assert_eq!(load(&dataset(names), json.path()).expect("json"), expected());

    let binary = cache(&[]);
    let times = [1_700_000_000_i64, 1_600_000_000, 1_500_000_000];
    let table = df!("timestamp" => times, "user_id" => ["ann", "bob", "ann"], "item_id" => ["i2", "i,1", "i2"]);
    parquet(binary.path(), "own/x.parquet", table.expect("a table"));
    let titles = [Some("One \"1\""), Some("Two"), None];
    let table = df!("item_id" => ["i,1", "i2", "i3"], "year" => [1_i32, 2, 3], "title" => titles);
    parquet(binary.path(), "own/y.parquet", table.expect("a table"));
    let names = "interactions = \"x.parquet\"\nitems = \"y.parquet\"";
    assert_eq!(load(&dataset(names), binary.path()).expect("parquet"), expected());
}

#[test]
fn items_titles_and_times_need_not_be_there() {
    let rows = "user,film\n1,7\n2,7\n1,5\n";
    let folder = cache(&[("own/interactions.csv", rows), ("own/items.csv", "film\n5\n7\n")]);
    let columns = "user_column = \"user\"\nitem_column = \"film\"\ntimestamp_column = false\n";
    let without = load(&dataset(&format!("{columns}items = false")), folder.path()).expect("a corpus");
    assert_eq!(without, untimed(&["1", "2"], &[("7", "7"), ("5", "5")], &[(0, 0, 0), (1, 0, 1), (0, 1, 2)]));
    let ids = format!("{columns}id_column = \"film\"\ntitle_column = false");
    let with = load(&dataset(&ids), folder.path()).expect("a corpus");
    assert_eq!(with, untimed(&["1", "2"], &[("5", "5"), ("7", "7")], &[(0, 1, 0), (1, 1, 1), (0, 0, 2)]));
}

#[test]
fn times_are_read_in_their_unit() {
    let read = |unit: &str, times: [&str; 3]| {
        let rows: String = times.iter().map(|time| format!("u,{},{time}\n", time.len())).collect();
        let text = format!("user_id,item_id,timestamp\n{rows}");
        let folder = cache(&[("own/interactions.csv", text.as_str())]);
        let corpus = load(&dataset(&format!("items = false\ntime = \"{unit}\"")), folder.path());
        corpus.map(|corpus| (corpus.interactions.timestamp, corpus.interactions.item))
    };
    let seconds = read("seconds", ["3", "1.5", "1.25"]).expect("seconds");
    assert_eq!(seconds, (vec![3000, 1500, 1250], vec![0, 1, 2]), "what is finer than seconds stays so");
    let whole = read("seconds", ["3", "1.0", "2e0"]).expect("seconds");
    assert_eq!(whole.0, [3, 1, 2]);
    let milliseconds = read("milliseconds", ["1588687728923", "1.588687728e12", "-1"]).expect("milliseconds");
    assert_eq!(milliseconds, (vec![1_588_687_728_923, 1_588_687_728_000, -1], vec![0, 1, 2]));
    let text = ["2020-02-29T23:59:59Z", "2020-03-01T01:00:00.5+01:00", "1970-01-01T00:00:00-01:00"];
    let text = read("rfc3339", text).expect("text");
    assert_eq!(text.0, [1_583_020_799_000, 1_583_020_800_500, 3_600_000]);
    let wrong = [
        ("seconds", "1588687728923", "the time is \"1588687728923\", not seconds since 1970"),
        ("seconds", "soon", "the time is \"soon\""),
        ("seconds", "", "`timestamp` is missing"),
        ("milliseconds", "nan", "not milliseconds since 1970"),
        ("rfc3339", "2020-02-30T00:00:00Z", "not a time such as 2020-02-29T23:59:59Z"),
        ("rfc3339", "2020-02-29", "not a time such as"),
    ];
    for (unit, time, what) in wrong {
        let good = if unit == "rfc3339" { "2020-02-29T23:59:59Z" } else { "1" };
        says(read(unit, [good, time, good]), &[what, "interactions.csv, line 3", "fix: "]);
    }
}

#[test]
fn pictures_are_found_by_folder_or_column() {
    let items = "item_id,title,image\n\"i,1\",One,a/x.bin\ni2,Two,\n";
    let folder = cache(&[("own/interactions.csv", INTERACTIONS), ("own/items.csv", items)]);
    write(folder.path(), "own/a/x.bin", PNG);
    write(folder.path(), "own/pictures/i2.png", PNG);
    let images = |settings: &str| {
        let dataset = dataset(settings);
        let files = dataset.files(folder.path()).expect("files").len();
        (files, load(&dataset, folder.path()).expect("a corpus").items.image)
    };
    let picture = || Some(PNG.to_vec());
    assert_eq!(images(""), (2, vec![None, None]));
    assert_eq!(images("image_column = \"image\""), (3, vec![picture(), None]));
    assert_eq!(images("images = \"pictures\""), (3, vec![None, picture()]));
    says(load(&dataset("images = \"photos\""), folder.path()), &["the folder of pictures is missing", "photos"]);
    write(folder.path(), "own/items.csv", items.replace("a/x.bin", "b.png").as_bytes());
    let words = ["the picture", "b.png is missing", "items.csv, line 2"];
    says(load(&dataset("image_column = \"image\""), folder.path()), &words);
}

#[test]
fn settings_that_contradict_each_other_are_reported() {
    let (_, mistakes) = with_mistakes("interactions = \"x.xlsx\"\nimages = \"a\"\nimage_column = \"b\"\nitems = false");
    let [both, none, ending] = mistakes.as_slice() else { panic!("{mistakes:?}") };
    assert!(both.contains("both a folder and a column") && none.contains("no table of items"), "{mistakes:?}");
    assert!(ending.contains("ending"), "{mistakes:?}");
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |interactions: &str, items: &str, words: &[&str]| {
        let files = [("own/interactions.csv", interactions), ("own/items.csv", items)];
        says(load(&dataset(""), cache(&files).path()), words);
    };
    let fix = "fix: tables as the settings say";
    check(
        "user,item_id,timestamp\n",
        ITEMS,
        &["no column is called `user_id`; there are user, item_id, timestamp", fix],
    );
    check(&INTERACTIONS.replace("bob", ""), ITEMS, &["`user_id` is missing", "interactions.csv, line 3"]);
    check(&INTERACTIONS.replace(",1500000000", ""), ITEMS, &["2 fields instead of 3", "interactions.csv, line 4"]);
    check(&INTERACTIONS.replace("i2", "i8"), ITEMS, &["item \"i8\" is not among the items", "line 2"]);
    check(INTERACTIONS, &ITEMS.replace("i3", "i2"), &["item \"i2\" is there twice", "items.csv, line 4"]);
    check(INTERACTIONS, "item_id,title\ni2,\n", &["no item has a title in `title`", "items.csv"]);
    check(INTERACTIONS, "item_id,title\ni2,\"Two\" \n", &["text follows the closing quote", "items.csv, line 2"]);
    let absent = cache(&[("own/interactions.csv", INTERACTIONS)]);
    says(load(&dataset(""), absent.path()), &["the file items.csv is missing", "items = false"]);
    says(load(&dataset(""), cache(&[]).path()), &["the file interactions.csv is missing", "`interactions`"]);
}

#[test]
fn damaged_parquet_is_found() {
    let folder = cache(&[("own/x.parquet", "PAR1 no more")]);
    let dataset = dataset("interactions = \"x.parquet\"\nitems = false");
    says(load(&dataset, folder.path()), &["reading parquet", "x.parquet"]);
    let table = df!("user_id" => [Some(1_i64), None], "item_id" => [3_i64, 4], "time" => [true, false]);
    parquet(folder.path(), "own/x.parquet", table.expect("a table"));
    says(load(&dataset, folder.path()), &["no column is called `timestamp`; there are user_id, item_id, time"]);
    let table = df!("user_id" => [Some(1_i64), None], "item_id" => [3_i64, 4], "timestamp" => [5_i64, 6]);
    parquet(folder.path(), "own/x.parquet", table.expect("a table"));
    says(load(&dataset, folder.path()), &["`user_id` is missing", "x.parquet, row 2"]);
    let table = df!("user_id" => [1_i64, 2], "item_id" => [3_i64, 4], "timestamp" => [true, false]);
    parquet(folder.path(), "own/x.parquet", table.expect("a table"));
    says(load(&dataset, folder.path()), &["the column is of the type bool", "x.parquet, column timestamp"]);
}

#[test]
fn a_million_rows_are_read_fast() {
    let mut text = String::from("user_id,item_id,timestamp\n");
    for n in 0..1_000_000_usize {
        text += &format!("user{},item{},{}\n", n * 7919 % 50_021, n * 104_729 % 9_973, 1_500_000_000 + n);
    }
    let folder = cache(&[("own/interactions.csv", text.as_str())]);
    let start = Instant::now();
    let corpus = load(&dataset("items = false"), folder.path()).expect("a corpus");
    println!("1,000,000 rows in {:?}", start.elapsed());
    let sizes = (corpus.users.len(), corpus.items.id.len(), corpus.interactions.user.len());
    assert_eq!(sizes, (50_021, 9_973, 1_000_000));
}

#[test]
fn the_real_chess_openings() {
    let Some(folder) = real("lichess-openings") else { return };
    let settings = "interactions = \"interactions.tsv\"\nitems = \"items.tsv\"\nimage_column = \"image\"";
    let dataset = Table { folder: "lichess-openings".into(), ..dataset(settings) };
    let corpus = load(&dataset, &folder).expect("the real data");
    corpus.check().expect("whole");
    assert_eq!((corpus.users.len(), corpus.items.id.len(), corpus.interactions.user.len()), (1_009, 630, 17_686));
    assert_eq!(corpus.items.title[1], "Alekhine Defense: Maroczy Variation");
    assert!(corpus.items.image.iter().all(Option::is_some));
}

#[test]
fn candidates_are_lists_of_users_in_the_order_of_the_file() {
    let lists = "item_id,user_id\ni3,bob\ni2,bob\n\"i,1\",ann\n";
    let own = cache(&[("own/interactions.csv", INTERACTIONS), ("own/items.csv", ITEMS), ("own/lists.csv", lists)]);
    let corpus = load(&dataset("candidates = \"lists.csv\""), own.path()).expect("lists");
    assert_eq!(corpus.candidates, Some(vec![vec![0], vec![2, 1]]));
    let folder = tempfile::tempdir().expect("a folder");
    corpus.save(folder.path()).expect("saved");
    assert_eq!(Corpus::load(folder.path()).expect("read"), corpus);
    write(own.path(), "own/lists.csv", b"item_id,user_id\ni3,carl\n");
    says(
        load(&dataset("candidates = \"lists.csv\""), own.path()),
        &["user \"carl\" is not in the data", "lists.csv, line 2"],
    );
}

#[test]
fn a_split_of_ones_own_is_in_files_of_their_own() {
    let header = "user_id,item_id,timestamp\n";
    let folder = cache(&[
        ("own/train.csv", &format!("{header}ann,a,1\nann,b,2\nbob,b,1\nbob,c,3\n")),
        ("own/valid.csv", &format!("{header}ann,c,3\nbob,a,4\n")),
        ("own/test.csv", &format!("{header}ann,a,4.5\nbob,c,5\nann,b,4\n")),
    ]);
    let files = "interactions = \"train.csv\"\nvalidation = \"valid.csv\"\ntest = \"test.csv\"\nitems = false";
    let data = load(&dataset(files), folder.path()).expect("a corpus").interactions;
    let train = data.part.iter().filter(|part| **part == Part::Train).count();
    assert_eq!((train, data.user.len(), data.part.len()), (4, 9, 9));
    let last = data.timestamp.iter().position(|time| *time == 5000).expect("the last");
    assert_eq!((data.user[last], data.part[last]), (1, Part::Test));
    let (_, mistakes) = with_mistakes("test = \"test.csv\"");
    assert_eq!(mistakes, ["one of `validation` and `test` is there alone"]);
}
