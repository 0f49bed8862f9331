use super::source::Encoding;
use super::{Ids, Lines, Pictures, catalogue, one_line, present, push_sequence, short};
use crate::reading::fixture::{PNG, cache, pack, says, write};
use framework::corpus::Interactions;
use framework::error::{Error, Result};
use framework::plugin::Setting;
use framework::problem::Reader;
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
    check("plain.gz", &["cannot be read", "does not begin as a packed file", "plain.gz"]);
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
fn a_sequence_has_places_for_times() {
    let mut sequence = Interactions::default();
    push_sequence(&mut sequence, 4, &[9, 8]);
    assert_eq!((sequence.user, sequence.item, sequence.timestamp), (vec![4, 4], vec![9, 8], vec![0, 1]));
}

#[test]
fn messages_print_no_file() {
    assert_eq!(short("a \"b\""), r#""a \"b\"""#);
    assert!(short(&"é".repeat(1000)).chars().count() < 70);
}

#[test]
fn packed_and_encoded_files_are_read_by_what_they_are() {
    let (text, folder) = ("one\ntwo\n", cache(&[]));
    let write = |name: &str, bytes: &[u8]| write(folder.path(), name, bytes);
    let zstd = zstd::encode_all(text.as_bytes(), 3).expect("packed");
    let two = [pack("one\n"), pack("two\n"), vec![0; 512]].concat();
    for (name, bytes) in
        [("a.zst", zstd.clone()), ("a.csv", zstd), ("b.GZ", pack(text)), ("b.csv", pack(text)), ("c.gz", two)]
    {
        write(name, &bytes);
        assert_eq!(lines(&folder.path().join(name)).expect(name), ["one", "two"], "{name}");
    }
    let garbage = [pack(text), b"<html>".to_vec()].concat();
    write("d.gz", &garbage);
    says(
        lines(&folder.path().join("d.gz")),
        &["behind the end of the packed data there are other bytes", "d.gz, line 3"],
    );
    write("e.zst", &zstd::encode_all(&[7; 100_000][..], 3).expect("packed")[..12]);
    says(lines(&folder.path().join("e.zst")), &["e.zst, line 1"]);
    write("f.txt", b"\xff\xfeo\0n\0e\0\n\0");
    says(lines(&folder.path().join("f.txt")), &["the file is UTF-16", "encoding = \"utf-16le\""]);
    write("g.txt", b"one\rtwo\r");
    says(lines(&folder.path().join("g.txt")), &["carriage returns alone", "g.txt, line 1"]);
    let in_words = |name: &str, encoding: &str| {
        let encoding = Encoding::read(&encoding.into(), &mut Reader::default()).expect("an encoding");
        let mut lines = Lines::open_in(&folder.path().join(name), encoding)?;
        lines.advance()?;
        Ok::<String, Error>(lines.line().text.to_string())
    };
    assert_eq!(in_words("f.txt", "utf-16le").expect("text"), "one");
    write("h.txt", b"caf\xe9\n");
    assert_eq!(in_words("h.txt", "latin1").expect("text"), "café");
    says(in_words("h.txt", "shift_jis"), &["bytes that are not Shift_JIS", "h.txt, line 1"]);
    let mut reader = Reader::default();
    assert!(Encoding::read(&"klingon".into(), &mut reader).is_none() && reader.problems.len() == 1);
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
