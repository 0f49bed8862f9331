use super::{Ids, Lines, Pictures, catalogue, in_seconds, milliseconds, one_line, present, push_sequence};
use crate::reading::fixture::{PNG, cache, pack, says, write};
use framework::corpus::{Interactions, Part};
use framework::error::Result;
use std::path::Path;

/// The lines of a file, and whether its end is whole.
fn lines(path: &Path) -> Result<Vec<String>> {
    let (mut lines, mut all) = (Lines::open(path)?, Vec::new());
    while lines.advance()? {
        assert_eq!(lines.place().number, all.len() + 1);
        all.push(lines.line().text.to_string());
    }
    lines.check_end()?;
    Ok(all)
}

#[test]
fn lines_are_read_packed_or_not() {
    let text = "\u{feff}one\r\n\ntwo\n";
    let folder = cache(&[("plain.txt", text), ("empty.txt", "")]);
    write(folder.path(), "packed.txt.gz", &pack(text));
    for name in ["plain.txt", "packed.txt.gz"] {
        assert_eq!(lines(&folder.path().join(name)).expect("lines"), ["one", "", "two"]);
    }
    assert!(lines(&folder.path().join("empty.txt")).expect("no line").is_empty());
}

#[test]
fn damaged_files_are_found_with_their_line() {
    let folder = cache(&[("cut.txt", "one\ntw"), ("plain.gz", "one\ntwo\nthree\nfour\n")]);
    write(folder.path(), "latin.txt", b"one\ncaf\xe9\n");
    let packed = pack(&(0..20_000_u64).map(|n| format!("{}\n", n * n * 7919 % 10_007)).collect::<String>());
    write(folder.path(), "cut.gz", &packed[..packed.len() / 2]);
    let check = |name: &str, words: &[&str]| says(lines(&folder.path().join(name)), words);
    check("cut.txt", &["truncated", "cut.txt, line 2"]);
    check("latin.txt", &["not UTF-8", "latin.txt, line 2"]);
    check("cut.gz", &["the packed file is truncated", "cut.gz, line "]);
    check("plain.gz", &["cannot be read", "gzip", "plain.gz, line 1"]);
    check("none.txt", &["opening", "none.txt"]);
}

#[test]
fn missing_files_are_named_with_a_fix() {
    let folder = cache(&[("b", "")]);
    assert_eq!(present(folder.path(), &["a", "b"], "").expect("a file"), folder.path().join("b"));
    says(present(folder.path(), &["a", "c"], "get it"), &["the file a or c is missing", "fix: get it"]);
}

#[test]
fn ids_keep_the_order_of_their_appearance() {
    let mut ids = Ids::default();
    assert_eq!(["b", "a", "b"].map(|id| ids.intern(id)), [0, 1, 0]);
    assert_eq!((ids.add("a"), ids.add("c"), ids.get("d"), ids.len()), (None, Some(2), None, 3));
    assert_eq!(ids.into_names(), ["b", "a", "c"]);
}

#[test]
fn times_become_seconds_and_keep_their_order() {
    let times = ["881250949", "1.5", "1e3", "-2", "x", "nan", "9223372036854775807"].map(milliseconds);
    assert_eq!(times, [Some(881_250_949_000), Some(1500), Some(1_000_000), Some(-2000), None, None, None]);
    let rows = |timestamp: &[i64]| Interactions {
        user: vec![0; 3],
        item: vec![5, 6, 7],
        timestamp: timestamp.to_vec(),
        part: vec![Part::Train, Part::Validation, Part::Test],
        milliseconds: false,
    };
    let seconds = in_seconds(rows(&[3000, 1000, 2000]));
    assert_eq!((seconds.item, seconds.timestamp), (vec![5, 6, 7], vec![3, 1, 2]));
    let within = in_seconds(rows(&[1900, 1200, 1900]));
    assert_eq!((within.item, within.timestamp, within.milliseconds), (vec![5, 6, 7], vec![1900, 1200, 1900], true));
    let mut sequence = Interactions::default();
    push_sequence(&mut sequence, 4, &[9, 8]);
    assert_eq!((sequence.user, sequence.item, sequence.timestamp), (vec![4, 4], vec![9, 8], vec![0, 1]));
}

#[test]
fn a_catalogue_has_titles_and_pictures() {
    let folder = cache(&[("notes.txt", "no picture")]);
    let files: [(&str, &[u8]); 3] = [("7.png", PNG), ("9.webp", b"RIFF\0\0\0\0WEBP"), ("a b.JPG", b"\xff\xd8\xff")];
    files.iter().for_each(|(name, bytes)| write(folder.path(), name, bytes));
    let pictures = Pictures::find(folder.path()).expect("pictures");
    let ids = ["7", "a b", "8", "9"].map(String::from).to_vec();
    let items = catalogue(ids, vec![one_line(" A\n  title ")], &pictures).expect("a catalogue");
    assert_eq!(items.title, ["A title", "a b", "8", "9"]);
    let [png, webp, jpeg] = files.map(|(_, bytes)| Some(bytes.to_vec()));
    assert_eq!(items.image, [png, jpeg, None, webp]);
    let paths: Vec<_> = pictures.into_files().collect();
    assert_eq!(paths, files.map(|(name, _)| folder.path().join(name)));
    assert_eq!(Pictures::find(&folder.path().join("none")).expect("none").into_files().count(), 0);
}

#[test]
fn wrong_pictures_are_refused() {
    let folder = cache(&[("a/1.jpg", "<html>"), ("b/1.jpg", ""), ("b/1.png", "")]);
    let pictures = Pictures::find(&folder.path().join("a")).expect("a picture");
    says(catalogue(vec!["1".into()], Vec::new(), &pictures), &["no picture in PNG, JPEG or WebP", "1.jpg"]);
    says(Pictures::find(&folder.path().join("b")), &["item 1 has two pictures"]);
}
