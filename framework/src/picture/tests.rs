use super::{Album, Picture, ending, files, whole};
use crate::corpus::{self, Corpus, Interactions, Items};
use polars::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// A JPEG of one pixel with a thumbnail in it that has an end of its own, a restart, and 0xff as data.
const JPEG: &[u8] = b"\xff\xd8\xff\xe1\0\x06\xff\xd8\xff\xd9\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0\
    \xff\xda\0\x08\x01\x01\0\0\x3f\0\x12\xff\0\x34\xff\xd0\x56\xff\xd9";

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    [&(data.len() as u32).to_be_bytes(), body.as_slice(), &crc32fast::hash(&body).to_be_bytes()].concat()
}

fn png() -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &[0; 13]), chunk(b"IDAT", b"data"), chunk(b"IEND", b"")].concat()
}

const WEBP: &[u8] = b"RIFF\x0e\0\0\0WEBPVP8L\x02\0\0\0\x2f\0";

#[test]
fn a_picture_that_is_cut_off_anywhere_is_not_whole_and_what_comes_after_it_does_not_matter() {
    for picture in [JPEG, &png(), WEBP] {
        assert_eq!(whole(picture), Ok(()));
        assert_eq!(whole(&[picture, b"\0\0 more"].concat()), Ok(()));
        for length in 0..picture.len() {
            let why = whole(&picture[..length]).expect_err("it is cut off");
            assert!(ending(&picture[..length]).is_none() || why.contains("cut off"), "{length}: {why}");
        }
    }
}

#[test]
fn damaged_and_empty_files_are_no_pictures() {
    assert_eq!(whole(b"<html>"), Err("no picture in PNG, JPEG or WebP"));
    assert_eq!(whole(b"\xff\xd8\xff\xd9"), Err("without an image"));
    let mut bytes = png();
    let at = bytes.windows(4).position(|four| four == b"data").expect("data");
    bytes[at] ^= 1;
    assert_eq!(whole(&bytes), Err("damaged: a checksum is wrong"));
    let mut comment = chunk(b"tEXt", b"text");
    *comment.last_mut().expect("a checksum") ^= 1;
    let with = [&png()[..33], &comment, &png()[33..]].concat();
    assert_eq!(whole(&with), Ok(()), "a comment is no part of the image");
}

#[test]
fn pictures_are_found_in_folders_within_without_hidden_ones_and_circles() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["2.png", "a/b/1.JPG", "a/notes.txt", ".3.png", "a/._1.jpg", "__MACOSX/4.png", ".git/5.png"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, "").expect("written");
    }
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/round")).expect("a link");
    std::os::unix::fs::symlink(folder.path().join("a/b"), folder.path().join("b again")).expect("a link");
    let found: Vec<PathBuf> = files(folder.path()).expect("pictures");
    assert_eq!(found, ["2.png", "a/b/1.JPG"].map(|name| folder.path().join(name)));
    assert!(files(&folder.path().join("none")).is_err());
}

fn with_pictures(image: Vec<Option<Picture>>) -> Corpus {
    let names = |what: &str| (0..image.len()).map(|n| format!("{what}{n}")).collect::<Vec<_>>();
    Corpus {
        users: vec!["u".into()],
        interactions: Interactions { user: vec![0], item: vec![0], timestamp: vec![1], ..Interactions::default() },
        items: Items {
            id: names("i"),
            title: names("t"),
            image,
            broken: vec!["x.jpg is cut off".into()],
            ..Items::default()
        },
        ..Corpus::default()
    }
}

fn bytes(corpus: &Corpus) -> Vec<Option<Vec<u8>>> {
    let bytes = |picture: &Picture| picture.bytes().expect("bytes").into_owned();
    corpus.items.image.iter().map(|picture| picture.as_ref().map(bytes)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

#[test]
fn stored_pictures_come_back_when_asked_even_after_their_files_are_gone() {
    let (source, stored) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let path = source.path().join("1.jpg");
    fs::write(&path, JPEG).expect("written");
    let corpus = with_pictures(vec![Some(Picture::of_file(&path)), None, Some(Picture::drawn(png()))]);
    corpus.save(stored.path()).expect("saved");
    assert_eq!(
        names(stored.path()),
        ["broken_pictures.parquet", "interactions.parquet", "items.parquet", "pictures", "users.parquet"]
    );
    let loaded = Corpus::load(stored.path()).expect("loaded");
    assert_eq!(loaded, corpus);
    drop((source, stored));
    assert_eq!(bytes(&loaded), [Some(JPEG.to_vec()), None, Some(png())]);
    assert_ne!(loaded, corpus, "the picture's own file is gone");
}

#[test]
fn a_file_of_pictures_that_lost_bytes_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    with_pictures(vec![Some(Picture::drawn(png()))]).save(folder.path()).expect("saved");
    fs::write(folder.path().join("pictures"), &png()[..20]).expect("cut off");
    let error = Corpus::load(folder.path()).expect_err("it is cut off").to_string();
    assert!(error.contains("in a file of 20"), "{error}");
}

/// Of before pictures had a file of their own.
#[test]
fn pictures_that_were_stored_in_a_column_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    with_pictures(vec![None; 3]).save(folder.path()).expect("saved");
    assert!(!names(folder.path()).contains(&"pictures".to_owned()));
    let old = |image: [Option<&[u8]>; 3]| {
        let items = df!("item_id" => ["i0", "i1", "i2"], "title" => ["t0", "t1", "t2"]);
        let image: BinaryChunked = image.into_iter().collect();
        let items = items
            .and_then(|mut items| items.with_column(image.with_name("image".into()).into_series().into()).cloned());
        corpus::write(folder.path(), "items", items).expect("written");
        bytes(&Corpus::load(folder.path()).expect("loaded"))
    };
    assert_eq!(old([Some(JPEG), None, Some(&png())]), [Some(JPEG.to_vec()), None, Some(png())]);
    assert_eq!(old([None; 3]), [None, None, None]);
}

#[test]
fn an_album_holds_its_pictures_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("album");
    let mut album = Album::create(&path).expect("an album");
    let first = album.add(JPEG).expect("added");
    assert!(first == Picture::drawn(JPEG.to_vec()) && first != album.add(WEBP).expect("added"));
    let sizes = [None, Some(JPEG.len() as u64), Some(WEBP.len() as u64)];
    let read = Album::read(&path, sizes.into_iter()).expect("pictures");
    assert_eq!(read, [None, Some(first), Some(Picture::drawn(WEBP.to_vec()))]);
    assert!(Album::create(&path).is_err(), "it is there already");
}
