use super::source::Encoding;
use super::{Ids, Lines, Pictures, catalogue, one_line, present, push_sequence, short};
use crate::reading::fixture::{PNG, cache, pack, png, says, write};
use framework::corpus::Interactions;
use framework::error::{Error, Result};
use framework::picture::Picture;
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
    let files: [(&str, &[u8]); 3] = [("7.png", PNG), ("within/9.webp", WEBP), ("within/it/a b.JPG", JPEG)];
    files.iter().for_each(|(name, bytes)| write(folder.path(), name, bytes));
    let pictures = Pictures::find(folder.path()).expect("pictures");
    let ids = ["7", "a b", "8", "9"].map(String::from).to_vec();
    let items = catalogue(ids, vec![one_line(" A\n  title ")], &pictures).expect("a catalogue");
    assert_eq!(items.title, ["A title", "a b", "8", "9"]);
    let [png, webp, jpeg] = files.map(|(_, bytes)| Some(Picture::drawn(bytes.to_vec())));
    assert_eq!(items.image, [png, jpeg, None, webp]);
    let paths: Vec<_> = pictures.into_files().collect();
    assert_eq!(paths, files.map(|(name, _)| folder.path().join(name)));
    assert_eq!(Pictures::find(&folder.path().join("none")).expect("none").into_files().count(), 0);
}

/// As far as the structure of a file tells.
const JPEG: &[u8] = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\x12\xff\xd9";
const WEBP: &[u8] = b"RIFF\x0e\0\0\0WEBPVP8L\x02\0\0\0\x2f\0";

#[test]
fn two_pictures_of_an_item_are_both_named() {
    let folder = cache(&[("b/1.jpg", ""), ("b/1.png", ""), ("c/x/1.jpg", ""), ("c/y/1.jpg", "")]);
    says(Pictures::find(&folder.path().join("b")), &["item 1 has two pictures, 1.jpg and 1.png"]);
    says(Pictures::find(&folder.path().join("c")), &["item 1 has two pictures, x/1.jpg and y/1.jpg"]);
}

#[test]
fn items_whose_pictures_are_broken_have_none_and_their_files_are_kept_in_mind() {
    let folder = cache(&[("3.jpg", "<html>")]);
    write(folder.path(), "1.png", PNG);
    write(folder.path(), "2.jpg", &JPEG[..JPEG.len() - 1]);
    let pictures = Pictures::find(folder.path()).expect("pictures");
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_string()).collect::<Vec<_>>();
    let items = catalogue(ids(&["1", "2", "3", "4"]), Vec::new(), &pictures).expect("a catalogue");
    assert_eq!(items.image, [png(), None, None, None]);
    assert_eq!(items.broken, ["2.jpg is cut off before its end", "3.jpg is no picture in PNG, JPEG or WebP"]);
    let words = ["none of 2 pictures can be used: 2.jpg is cut off", "at: ", "fix: "];
    says(catalogue(ids(&["2", "3", "4"]), Vec::new(), &pictures), &words);
}
