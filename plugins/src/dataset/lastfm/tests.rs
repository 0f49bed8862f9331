use super::{FILES, LASTFM, LastFm, Sizes, read};
use crate::reading::fixture::{cache, finds, load, real, says, untimed};
use framework::corpus::{Corpus, Part};
use framework::error::Result;
use framework::plugin::defaults;
use tempfile::TempDir;

const SIZES: Sizes = Sizes { users: 2, prefixes: 14, validation: 1, test: 1, artists: 13 };

/// Files of two training users, of 12 and 2 artists, and one user each of validation and test.
fn files() -> [String; 4] {
    let mut train = String::from("history\tnext\n13\t0\n");
    for next in 1..12_usize {
        let history: Vec<String> = (next.saturating_sub(10)..next).map(|id| id.to_string()).collect();
        train += &format!("{}\t{next}\n", history.join(" "));
    }
    train += "13\t5\n5\t12\n";
    let names = (0..13).map(|id| format!("{id}::Artist {id}\r\n")).collect();
    [train, "history\tnext\n3 4\t5\n".into(), "history\tnext\n13\t7\n".into(), names]
}

fn write(files: &[String; 4]) -> TempDir {
    let named: Vec<(&str, &str)> = FILES.into_iter().zip(files.iter().map(String::as_str)).collect();
    cache(&named)
}

fn made_up(files: &[String; 4]) -> Result<Corpus> {
    let folder = write(files);
    read(&FILES.map(|name| folder.path().join(name)), &SIZES)
}

#[test]
fn what_fetch_gets_is_found() {
    finds(&defaults::<LastFm>(), &LASTFM);
}

#[test]
fn sequences_are_rebuilt_from_their_prefixes() {
    let titles: Vec<(String, String)> = (0..13).map(|id| (id.to_string(), format!("Artist {id}"))).collect();
    let items: Vec<(&str, &str)> = titles.iter().map(|(id, title)| (id.as_str(), title.as_str())).collect();
    let mut rows: Vec<(u32, u32, i64)> = (0..12).map(|n| (0, n, i64::from(n))).collect();
    rows.extend([(1, 5, 0), (1, 12, 1), (2, 3, 0), (2, 4, 1), (2, 5, 2), (3, 7, 0)]);
    let mut expected = untimed(&["0", "1", "2", "3"], &items, &rows);
    expected.interactions.part = vec![Part::Train; 14];
    expected.interactions.part.extend([Part::History, Part::History, Part::Validation, Part::Test]);
    assert_eq!(made_up(&files()).expect("a corpus"), expected);
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |file: usize, from: &str, to: &str, words: &[&str]| {
        let mut files = files();
        assert!(files[file].contains(from), "{from:?} is not in {}", FILES[file]);
        files[file] = files[file].replacen(from, to, 1);
        says(made_up(&files), words);
    };
    check(0, "history\tnext", "history,next", &["the columns are history,next instead of history, next", "line 1"]);
    check(0, "0 1 2\t3", "0 1 9\t3", &["the history is not what the lines before lead to", "train.tsv, line 5"]);
    check(0, "0 1 2\t3\n", "", &["the history is not what", "train.tsv, line 5"]);
    check(0, "13\t0\n", "", &["the history is not what", "train.tsv, line 2"]);
    check(0, "13\t5\n5\t12\n", "", &["12 prefixes of 1 users instead of 14 of 2", "train.tsv, line 13"]);
    check(0, "5\t12\n", "5\t12", &["truncated", "train.tsv, line 15"]);
    check(0, "5\t12\n", "5\t13\n", &["the artist \"13\" is no number from 0 to 12", "line 15"]);
    check(1, "3 4\t5", "3 x\t5", &["the artist \"x\" is no number", "valid.tsv, line 2"]);
    check(1, "3 4\t5", "3 13\t5", &["the artist \"13\" is no number", "valid.tsv, line 2"]);
    check(1, "3 4", "0 1 2 3 4 5 6 7 8 9 10", &["a history of 11 artists", "valid.tsv, line 2"]);
    check(2, "13\t7\n", "13\t7\n1\t2\n", &["2 users instead of 1", "test.tsv, line 3"]);
    check(3, "4::", "5::", &["\"5::Artist 4\" instead of `4::` and the artist", "id2name.txt, line 5"]);
    check(3, "12::Artist 12\r\n", "", &["12 artists instead of 13", "id2name.txt, line 12"]);
}

#[test]
fn missing_and_truncated_files_say_what_would_be_right() {
    let mut files = files();
    says(load(&defaults::<LastFm>(), write(&files).path()), &["the file train.tsv is missing", "lastfm"]);
    let whole: Vec<String> = FILES.iter().map(|name| format!("lastfm/{name}")).collect();
    files[3] = (0..4606).map(|id| format!("{id}::Artist\n")).collect();
    files[0] = files[0].replace("13\t", "4606\t");
    let named: Vec<(&str, &str)> = whole.iter().map(String::as_str).zip(files.iter().map(String::as_str)).collect();
    let words = ["14 prefixes of 2 users instead of 50800 of 976", "train.tsv, line 15", "fix: LLaRA's file"];
    says(load(&defaults::<LastFm>(), cache(&named).path()), &words);
}

#[test]
fn the_real_lastfm() {
    let Some(folder) = real("lastfm") else { return };
    let corpus = load(&defaults::<LastFm>(), &folder).expect("the real data");
    corpus.check().expect("whole");
    let count = |part: Part| corpus.interactions.part.iter().filter(|given| **given == part).count();
    assert_eq!([count(Part::Train), count(Part::Validation), count(Part::Test)], [50_800, 122, 122]);
    assert_eq!((corpus.items.id.len(), corpus.items.title[2].as_str()), (4606, "Café Del Mar"));
    let of_train = corpus.interactions.user.iter().filter(|user| **user < 976).count();
    assert_eq!((of_train, corpus.interactions.user.len()), (50_800, 52_925));
    assert_eq!(corpus.interactions.timestamp.iter().max(), Some(&985));
}
