use super::{AMAZON_BEAUTY, BEAUTY, Sequences};
use crate::reading::fixture::{cache, finds, load, real, says, untimed};
use framework::plugin::defaults;

fn dataset() -> Sequences {
    Sequences { file: "own/a.txt".into() }
}

#[test]
fn what_fetch_gets_is_found() {
    finds(&defaults::<Sequences>(), &AMAZON_BEAUTY);
}

#[test]
fn a_line_is_a_user() {
    let cache = cache(&[("own/a.txt", "u1 x y x\nu2 y\n")]);
    let items = [("x", "x"), ("y", "y")];
    let expected = untimed(&["u1", "u2"], &items, &[(0, 0, 0), (0, 1, 1), (0, 0, 2), (1, 1, 0)]);
    assert_eq!(load(&dataset(), cache.path()).expect("a corpus"), expected);
    let absolute = Sequences { file: cache.path().join("own/a.txt") };
    assert_eq!(load(&absolute, "elsewhere".as_ref()).expect("a corpus"), expected);
}

#[test]
fn shapes_of_published_files_lose_nothing() {
    for text in [
        "1\t10 11 12\n2\t11 12 13\n",
        "1 10 11 12\n\n2 11 12 13\n",
        "1 10 11 12 \n2 11  12 13",
        "1 10 11 12\r\n2 11 12 13\r\n",
    ] {
        let corpus = load(&dataset(), cache(&[("own/a.txt", text)]).path()).expect(text);
        assert_eq!(
            (corpus.users, corpus.interactions.user.len()),
            (vec!["1".to_string(), "2".to_string()], 6),
            "{text:?}"
        );
        assert_eq!(corpus.items.id, ["10", "11", "12", "13"], "{text:?}");
    }
    let notes = |text: &str| load(&dataset(), cache(&[("own/a.txt", text)]).path()).expect(text).notes.join("\n");
    assert!(notes("1 2\n\n\n3 4\n").contains("rows that are empty and passed over: 2, the first a.txt, line 2"));
    assert!(notes("1 2\n2 3").contains("a.txt, line 2 is the last and has no line break"));
    assert_eq!(notes("1 2\n2 3\n"), "");
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |text: &str, words: &[&str]| says(load(&dataset(), cache(&[("own/a.txt", text)]).path()), words);
    check("1,2,3\n", &["a user without items: \"1,2,3\"", "own/a.txt, line 1", "fix: lines of"]);
    check("1 2\n1 3\n", &["user \"1\" has two lines", "line 2", "timestamp_column = false"]);
    says(load(&dataset(), cache(&[]).path()), &["the file own/a.txt is missing", "github.com/RUCAIBox"]);
}

#[test]
fn the_real_pairs_of_microlens_are_whole() {
    let Some(folder) = real("microlens-50k") else { return };
    let corpus =
        load(&Sequences { file: "microlens-50k/MicroLens-50k_pairs.tsv".into() }, &folder).expect("the real data");
    assert_eq!((corpus.users.len(), corpus.interactions.user.len()), (50_000, 359_708));
}

#[test]
fn the_default_file_is_counted() {
    let cache = cache(&[(BEAUTY.0, "1 2 3\n")]);
    let message = ["1 users, 2 items and 2 interactions instead of 22363, 12101 and 198502", "Beauty.txt"];
    says(load(&defaults::<Sequences>(), cache.path()), &message);
}

#[test]
fn the_real_beauty() {
    let Some(folder) = real("amazon-beauty") else { return };
    let start = std::time::Instant::now();
    let corpus = load(&defaults::<Sequences>(), &folder).expect("the real data");
    println!("198,502 interactions in {:?}", start.elapsed());
    corpus.check().expect("whole");
    assert_eq!((corpus.users.len(), corpus.items.id.len(), corpus.interactions.user.len()), (22_363, 12_101, 198_502));
    assert_eq!((corpus.users[3].as_str(), corpus.items.id[3].as_str()), ("4", "4"));
    assert_eq!(corpus.interactions.item[..7], [0, 1, 2, 3, 4, 5, 6]);
}
