use super::Table;
use crate::reading::fixture::{PNG, cache, corpus, load, pack, png, real, says, untimed, write};
use framework::corpus::{Corpus, Part};
use framework::error::Result;
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
        ("seconds", "1588687728923", "the time is \"1588687728923\", which in seconds is no year before 5138"),
        ("seconds", "soon", "the time is \"soon\""),
        ("seconds", "", "`timestamp` is missing"),
        ("milliseconds", "nan", "`timestamp` is missing"),
        ("rfc3339", "2020-02-30T00:00:00Z", "not a time such as 2020-02-29T23:59:59Z"),
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
    assert_eq!(images(""), (2, vec![None, None]));
    assert_eq!(images("image_column = \"image\""), (3, vec![png(), None]));
    assert_eq!(images("images = \"pictures\""), (3, vec![None, png()]));
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
    check(
        "user,item_id,timestamp\n",
        ITEMS,
        &["no column is called `user_id`; there are user, item_id, timestamp", "fix: `user_column = \"user\"`"],
    );
    check(&INTERACTIONS.replace("bob", ""), ITEMS, &["`user_id` is missing", "interactions.csv, line 3"]);
    check(&INTERACTIONS.replace(",1500000000", ""), ITEMS, &["2 fields instead of 3", "interactions.csv, line 4"]);
    check(&INTERACTIONS.replace("i2", "i8"), ITEMS, &["item \"i8\" is not among the items", "line 2"]);
    check(INTERACTIONS, &ITEMS.replace("i3", "i2"), &["item \"i2\" is there twice", "items.csv, line 4"]);
    check(INTERACTIONS, "item_id,title\ni2,\n", &["no item has a title in `title`", "items.csv"]);
    check(INTERACTIONS, "item_id,title\ni2,\"Two\" x\n", &["text follows the closing quote", "items.csv, line 2"]);
    check(
        "user_id,item_id,timestamp\n\"ann,1,2\nbob\",2,3\n",
        ITEMS,
        &["`user_id` goes over several lines", "`quotes = false`"],
    );
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
    says(load(&dataset, folder.path()), &["the time is \"true\"", "x.parquet, row 1"]);
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

/// The corpus of one table of interactions, without a table of items.
fn of(name: &str, text: &[u8], settings: &str) -> Result<Corpus> {
    let folder = cache(&[]);
    write(folder.path(), &format!("own/{name}"), text);
    load(&dataset(&format!("interactions = \"{name}\"\nitems = false\n{settings}")), folder.path())
}

#[test]
fn files_are_read_by_their_separator_header_and_encoding() {
    let rows = |corpus: Corpus| (corpus.users, corpus.items.id, corpus.interactions.timestamp);
    let expected = (vec!["ann".to_string(), "bob".into()], vec!["é".to_string(), "b".into()], vec![10, 20]);
    let plain = "user_id,item_id,timestamp\nann,é,10\nbob,b,20";
    let check = |name: &str, text: &[u8], settings: &str| {
        assert_eq!(rows(of(name, text, settings).expect(name)), expected, "{name} {settings}");
    };
    check("x.CSV", plain.as_bytes(), "");
    check("x.txt", plain.as_bytes(), "");
    check("x", plain.as_bytes(), "");
    check("x.dat", plain.replace(',', "::").as_bytes(), "");
    check("x.txt", plain.replace(',', " ").as_bytes(), "");
    check("x.inter", plain.replace(',', "\t").as_bytes(), "");
    check("x.csv", plain.replace(',', ";").as_bytes(), "separator = \";\"");
    check("x.xyz", plain.replace(',', "|").as_bytes(), "separator = \"|\"");
    check(
        "x.csv",
        plain.replace("user_id,item_id,timestamp\n", "").as_bytes(),
        "header = [\"user_id\", \"item_id\", \"timestamp\"]",
    );
    check("x.csv", &plain.chars().map(|c| c as u8).collect::<Vec<u8>>(), "encoding = \"windows-1252\"");
    check("x.csv", plain.replace(',', " , ").replace('\n', " \n").as_bytes(), "");
    check("x.csv.gz", &pack(plain), "");
    check("x.csv.zst", &zstd::encode_all(plain.as_bytes(), 3).expect("packed"), "");
    let json = r#"[{"user_id": "ann", "item_id": "é", "timestamp": 10, "a": [{"b": "]}"}]},
 {"user_id": "bob", "item_id": "b", "timestamp": {"$numberLong": "20"}}]"#;
    check("x.json", json.as_bytes(), "");
    check("x.jsonl", json[1..json.len() - 1].replace(",\n", "\n  \n").as_bytes(), "");
    says(of("x.json", &json.as_bytes()[..60], ""), &["the file ends within its array"]);
    says(of("x.json", b"[1]", ""), &["`1` where an object should be", "fix: an object per line"]);
}

#[test]
fn remedies_fit_the_fault() {
    let says = |name: &str, text: &str, words: &[&str]| says(of(name, text.as_bytes(), ""), words);
    says("x.csv", "user_id;item_id;timestamp\n1;2;3\n", &["no column is called `user_id`", "fix: `separator = \";\"`"]);
    says("x.csv", "user_id\titem_id\ttimestamp\n", &["fix: `separator = \"\\t\"`"]);
    says(
        "x.csv",
        "ann,a,10\nbob,b,20\n",
        &["there are ann, a, 10", "`header = [\"user_id\", \"item_id\", \"timestamp\"]`"],
    );
    says("x.csv", "userId,item_id,time\n", &["fix: `user_column = \"userId\"`"]);
    says(
        "x.csv",
        "user_id,item_id,time\n",
        &["`timestamp_column = \"time\"`", "`timestamp_column = false` where there is none"],
    );
    says("x.csv", "user_id,item_id,user_id,timestamp\n", &["two columns are called `user_id`"]);
    says("x.csv", "", &["the file is empty"]);
    says("x.dat", "1::2::3\n4::5::6\n", &["there are 1, 2, 3", "`header = [\"user_id\""]);
    let named = "header = [\"user_id\", \"item_id\", \"timestamp\"]";
    let twice = of("x.csv", b"user_id,item_id,timestamp\n1,2,3\n", named).expect_err("a header twice").to_string();
    assert!(twice.contains("the first line is the header"), "{twice}");
    says("x.csv", "PK\u{3}\u{4}", &["no column"]);
    let wide: String = (0..10_000).map(|n| format!("column_number_{n},")).collect();
    let message = of("x.csv", wide.as_bytes(), "").expect_err("no column").to_string();
    assert!(message.len() < 1000 && message.contains("and 9980 more"), "{message}");
}

#[test]
fn what_is_missing_is_refused_or_counted() {
    let text = "user_id,item_id,timestamp\nann,a,1\nnan,a,2\nbob,,3\nbob,b,NaN\n ann, b ,4\n";
    says(of("x.csv", text.as_bytes(), ""), &["`user_id` is missing", "x.csv, line 3", "missing = \"drop\""]);
    let corpus = of("x.csv", text.as_bytes(), "missing = \"drop\"").expect("two rows");
    assert_eq!((corpus.users.len(), corpus.interactions.user.len()), (1, 2));
    let notes = corpus.notes.join("\n");
    for word in [
        "have no `user_id` and are left out: 1, the first x.csv, line 3",
        "have no `item_id`",
        "have no `timestamp`",
        "have blanks around `item_id`",
    ] {
        assert!(notes.contains(word), "{word} in {notes}");
    }
    let ids = |text: &str| {
        of("x.csv", format!("user_id,item_id,timestamp\n{text}").as_bytes(), "").expect("rows").notes.join("")
    };
    assert!(ids("1,a,1\n1.0,a,2\n").contains("users \"1\" and \"1.0\" are taken for two"));
    assert!(ids("1,1 2 3,1\n2,2 3,2\n").contains("item_separator = \" \""));
    let json =
        "{\"user_id\": 1, \"item_id\": 2, \"timestamp\": 3}\n{\"user_id\": 1.0, \"item_id\": 2.50, \"timestamp\": 4}\n";
    let corpus = of("x.jsonl", json.as_bytes(), "").expect("two rows");
    assert_eq!((corpus.users, corpus.items.id), (vec!["1".to_string()], vec!["2".to_string(), "2.50".into()]));
    assert!(
        corpus
            .notes
            .join("")
            .contains("written as a fraction, as in 1.0, and taken as whole: 1, the first x.jsonl, line 2")
    );
}

#[test]
fn a_split_ratings_and_sequences_may_be_columns() {
    let text =
        "user_id,item_id,timestamp,rating,fold\nann,a,1,5,train\nann,b,2,2,train\nann,c,3,4,val\nann,d,4,4.5,TEST\n";
    let corpus = of("x.csv", text.as_bytes(), "split_column = \"fold\"\nmin_rating = 3.0").expect("rows");
    assert_eq!(corpus.interactions.part, [Part::Train, Part::Validation, Part::Test]);
    assert!(corpus.notes[0].contains("have a `rating` below 3 and are left out: 1"), "{:?}", corpus.notes);
    says(
        of("x.csv", text.replace("TEST", "rest").as_bytes(), "split_column = \"fold\""),
        &["`fold` is \"rest\"", "line 5"],
    );
    let rows = "user_id,item_id,timestamp\n1,\"1 2 3\",10\n2,3 1,20\n";
    let lists = "user_id,item_id,timestamp\n1,\"[1, 2, 3]\",10\n2,\"['3', '1']\",20\n";
    let listed = of("x.csv", lists.as_bytes(), "item_separator = \",\"").expect("Python's lists");
    assert_eq!(listed.items.id, ["1", "2", "3"]);
    let nothing = rows.replace("3 1", "nan 1").replace("\"1 2 3\"", "\" \"");
    assert!(of("x.csv", nothing.as_bytes(), "item_separator = \" \"").is_err());
    let dropped = of("x.csv", nothing.as_bytes(), "item_separator = \" \"\nmissing = \"drop\"").expect("one item");
    assert_eq!(
        (dropped.items.id.as_slice(), dropped.notes.len()),
        (["1".to_string()].as_slice(), 2),
        "{:?}",
        dropped.notes
    );
    let corpus = of("x.csv", rows.as_bytes(), "item_separator = \" \"").expect("sequences");
    assert_eq!(
        (corpus.interactions.item, corpus.interactions.timestamp),
        (vec![0, 1, 2, 2, 0], vec![10, 10, 10, 20, 20])
    );
}

#[test]
fn items_keep_what_else_is_known_of_them() {
    let items = "item_id,title,year,genres\na,Heat,1995,\"Crime, Drama\"\nb,Up,,\n";
    let text = "user_id,item_id,timestamp\nann,a,1\nann,c,2\n";
    let folder = cache(&[("own/interactions.csv", text), ("own/items.csv", items)]);
    let with = |settings: &str| load(&dataset(settings), folder.path());
    says(with(""), &["item \"c\" is not among the items", "unknown_items = \"drop\""]);
    let kept = "attributes = [\"year\", \"genres\"]\nunknown_items = \"keep\"\ntitle_format = \"{title} ({year})\"";
    let corpus = with(kept).expect("a corpus");
    corpus.check().expect("whole");
    assert_eq!(corpus.items.title, ["Heat (1995)", "Up", "c"]);
    assert_eq!(corpus.items.attributes[1].values, [Some("Crime, Drama".to_string()), None, None]);
    assert_eq!(corpus.items.in_words(0)["year"], "1995");
    let stored = tempfile::tempdir().expect("a folder");
    corpus.save(stored.path()).expect("saved");
    assert_eq!(Corpus::load(stored.path()).expect("read"), corpus);
    let dropped = with("unknown_items = \"drop\"").expect("a corpus");
    assert!(dropped.interactions.user.len() == 1 && dropped.notes[0].contains("left out: 1"), "{:?}", dropped.notes);
    let (_, mistakes) = with_mistakes("title_format = \"{author}\"\nitems = false\nattributes = [\"year\"]");
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
}

#[test]
fn a_folder_of_parquet_files_is_a_table() {
    let folder = cache(&[("own/x/_SUCCESS", ""), ("own/x/.part-0.crc", "")]);
    for (n, user) in ["ann", "bob"].into_iter().enumerate() {
        let table = df!("user_id" => [user], "item_id" => [1.0], "timestamp" => [n as i64]);
        parquet(folder.path(), &format!("own/x/part-{n}.parquet"), table.expect("a table"));
    }
    let dataset = dataset("interactions = \"x\"\nitems = false");
    let corpus = load(&dataset, folder.path()).expect("a corpus");
    assert_eq!((corpus.users, corpus.items.id), (vec!["ann".to_string(), "bob".into()], vec!["1".to_string()]));
    assert_eq!(dataset.files(folder.path()).expect("files").len(), 2);
    write(folder.path(), "own/x/part-9.parquet", b"");
    assert_eq!(dataset.files(folder.path()).expect("files").len(), 2, "Spark leaves empty parts");
    write(folder.path(), "own/x/notes.docx", b"PK");
    says(load(&dataset, folder.path()), &["something that is no table", "notes.docx"]);
}
