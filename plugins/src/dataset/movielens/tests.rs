use super::{ATOMIC_100K, Layout, MovieLens, ORIGINAL_1M, ORIGINAL_100K, Release};
use crate::reading::fixture::{PNG, png};
use framework::context::Context;
use framework::corpus::Corpus;
use framework::error::Result;
use framework::plugin::defaults;
use framework::progress::Progress;
use framework::roles::Dataset;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn load(dataset: &MovieLens, cache: &Path) -> Result<Corpus> {
    dataset.load(&Context::new(Default::default(), 0, "".into(), cache.into(), Progress::hidden()))
}

/// Made-up files of the right size: item `n` is rated by users in turn, films 1 to `items`.
fn made_up(layout: &Layout, folder: &str, ratings: usize, users: usize, items: usize) -> TempDir {
    let cache = TempDir::new().expect("a temporary folder");
    let folder = cache.path().join(folder);
    fs::create_dir(&folder).expect("a folder");
    let [between, between_items] = layout.separators;
    let mut text = layout.headers.map_or(String::new(), |headers| format!("{}\n", headers[0]));
    for n in 0..ratings {
        let fields = [1 + n % users, 1 + n / 7 % items, 1 + n % 5, 900_000_000 + n];
        text += &format!("{}\n", fields.map(|field| field.to_string()).join(between));
    }
    fs::write(folder.join(layout.ratings), text).expect("written");
    let mut text = layout.headers.map_or(String::new(), |headers| format!("{}\n", headers[1]));
    for n in 1..=items {
        let mut fields = match layout.year_apart {
            true => vec![n.to_string(), format!("Café: {n}"), "1995".into()],
            false => vec![n.to_string(), format!("Café: {n} (1995)")],
        };
        fields.resize(layout.item_fields, "0".into());
        text += &format!("{}\n", fields.join(between_items));
    }
    // GroupLens' files are latin-1, whose bytes are the code points.
    let bytes = if layout.year_apart { text.into_bytes() } else { text.chars().map(|c| c as u8).collect() };
    fs::write(folder.join(layout.items), bytes).expect("written");
    cache
}

fn made_up_100k(layout: &Layout) -> TempDir {
    made_up(layout, "ml-100k", 100_000, 943, 1682)
}

#[test]
fn originals_and_atomic_files_give_the_same_corpus() {
    let originals = load(&defaults(), made_up_100k(&ORIGINAL_100K).path()).expect("originals");
    let atomic = load(&defaults(), made_up_100k(&ATOMIC_100K).path()).expect("atomic files");
    assert_eq!(originals, atomic);
    assert_eq!(originals.items.title[41], "Café: 42 (1995)");
    assert_eq!(originals.interactions.timestamp[7], 900_000_007);
}

#[test]
fn low_ratings_can_be_left_out() {
    let cache = made_up_100k(&ORIGINAL_100K);
    let corpus = load(&MovieLens { min_rating: 4.0, ..defaults() }, cache.path()).expect("a corpus");
    assert_eq!(corpus.interactions.user.len(), 40_000);
}

#[test]
fn posters_are_read_if_they_are_there() {
    let cache = made_up_100k(&ORIGINAL_100K);
    let dataset: MovieLens = defaults();
    assert_eq!(dataset.files(cache.path()).expect("files").len(), 2);
    let posters = cache.path().join("ml-100k/posters");
    fs::create_dir(&posters).expect("a folder");
    ["7", "12"].iter().for_each(|id| fs::write(posters.join(format!("{id}.jpg")), PNG).expect("written"));
    let files = dataset.files(cache.path()).expect("files");
    assert_eq!(files[2..], [posters.join("12.jpg"), posters.join("7.jpg")]);
    let images = load(&dataset, cache.path()).expect("a corpus").items.image;
    assert_eq!((&images[6], &images[7]), (&png(), &None));
}

#[test]
fn missing_files_say_how_to_get_them() {
    let cache = TempDir::new().expect("a temporary folder");
    for (release, missing) in [(Release::Ml100k, "ml-100k/u.data"), (Release::Ml1m, "ml-1m/ratings.dat")] {
        let message = load(&MovieLens { release, ..defaults() }, cache.path()).expect_err("no data").to_string();
        assert!(message.contains(&cache.path().join(missing).display().to_string()), "{message}");
        let name = missing.split('/').next().expect("a folder");
        assert!(message.contains(&format!("`ablate fetch {name} --from FOLDER`")), "{message}");
    }
}

/// Loads after `edit` changed `file`, and gives the message back.
fn damaged(cache: &Path, file: &str, edit: impl Fn(&str) -> String) -> String {
    let path = cache.join("ml-100k").join(file);
    let whole = fs::read(&path).expect("a file");
    let text: String = whole.iter().map(|byte| char::from(*byte)).collect();
    fs::write(&path, edit(&text).chars().map(|c| c as u8).collect::<Vec<_>>()).expect("written");
    let message = load(&defaults(), cache).expect_err("damaged").to_string();
    fs::write(&path, whole).expect("written");
    message
}

fn line(text: &str, number: usize, edit: impl Fn(&str) -> String) -> String {
    let lines = text.lines().zip(1..).map(|(line, n)| if n == number { edit(line) } else { line.to_string() });
    lines.map(|line| line + "\n").collect()
}

fn check_damages(cache: &Path) {
    let check = |file: &str, place: usize, says: &str, edit: &dyn Fn(&str) -> String| {
        let message = damaged(cache, file, edit);
        assert!(message.contains(says), "expected {says:?} in {message}");
        assert!(message.contains(&format!("{file}, line {place}\n")), "expected line {place} in {message}");
        assert!(message.contains("`ablate fetch ml-100k`"), "{message}");
    };
    let half = |text: &str| text.lines().take(50_000).map(|line| format!("{line}\n")).collect();
    check("u.data", 50_000, "50000 ratings instead of 100000: the file is truncated", &half);
    check("u.data", 51, "2 fields instead of 4", &|text| {
        line(text, 51, |line| line.split('\t').take(2).collect::<Vec<_>>().join("\t"))
    });
    check("u.data", 9, "the rating is \"x\", not a number", &|text| line(text, 9, |_| "1\t2\tx\t4".into()));
    check("u.data", 9, "the timestamp is \"\", not a number", &|text| line(text, 9, |_| "1\t2\t3\t".into()));
    check("u.data", 3, "item 9999 is not in u.item", &|text| line(text, 3, |_| "1\t9999\t3\t4".into()));
    check("u.data", 100_001, "the file is not the original", &|text| format!("{text}1\t2\t3\t4\n"));
    check("u.data", 1, "1 fields instead of 4", &|_| "\n".into());
    check("u.item", 7, "23 fields instead of 24", &|text| line(text, 7, |line| line.replacen("|0", "", 1)));
    check("u.item", 2, "item 1 is there twice", &|text| line(text, 2, |line| line.replacen('2', "1", 1)));
}

#[test]
fn damages_are_found_with_their_line() {
    check_damages(made_up_100k(&ORIGINAL_100K).path());
    let cache = made_up_100k(&ATOMIC_100K);
    let message = damaged(cache.path(), "ml-100k.inter", |text| text.replace("user_id:token", "user_id"));
    assert!(message.contains("the header is \"user_id\\t"), "{message}");
}

#[test]
fn a_million_ratings_load_fast() {
    let cache = made_up(&ORIGINAL_1M, "ml-1m", 1_000_209, 6040, 3883);
    let start = std::time::Instant::now();
    let corpus = load(&MovieLens { release: Release::Ml1m, ..defaults() }, cache.path()).expect("a corpus");
    println!("1,000,209 ratings in {:?}", start.elapsed());
    assert_eq!((corpus.users.len(), corpus.interactions.item.len()), (6040, 1_000_209));
    assert_eq!(corpus.items.title[0], "Café: 1 (1995)");
    corpus.check().expect("whole");
}

/// The folder with real data, where the tester has it.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("ABLATE_DATA").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("ml-100k").is_dir());
    if found.is_none() {
        println!("skipped: ABLATE_DATA names no folder with ml-100k");
    }
    found
}

#[test]
fn the_real_100k() {
    let Some(folder) = real() else { return };
    let corpus = load(&defaults(), &folder).expect("the real data");
    corpus.check().expect("whole");
    assert_eq!((corpus.users.len(), corpus.items.id.len()), (943, 1682));
    let data = &corpus.interactions;
    assert_eq!(data.user.len(), 100_000);
    assert_eq!((corpus.users[0].as_str(), data.item[0], data.timestamp[0]), ("196", 241, 881_250_949));
    assert_eq!(corpus.items.title[0], "Toy Story (1995)");
    assert_eq!(corpus.items.title[542], "Misérables, Les (1995)");
    if folder.join("ml-100k/posters").is_dir() {
        assert!(corpus.items.image.iter().flatten().count() > 1600);
    }
}

#[test]
fn damages_of_the_real_100k_are_found() {
    let Some(folder) = real() else { return };
    let cache = TempDir::new().expect("a temporary folder");
    fs::create_dir(cache.path().join("ml-100k")).expect("a folder");
    for file in ["u.data", "u.item"] {
        let bytes = fs::read(folder.join("ml-100k").join(file)).expect("a file");
        fs::write(cache.path().join("ml-100k").join(file), bytes).expect("written");
    }
    check_damages(cache.path());
}
