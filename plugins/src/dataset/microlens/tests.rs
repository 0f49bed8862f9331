use super::{MICROLENS, MicroLens, PAIRS, Sizes, TITLES, read};
use crate::reading::Pictures;
use crate::reading::fixture::{PNG, cache, finds, load, png, real, says, untimed, write};
use framework::corpus::Corpus;
use framework::error::Result;
use framework::plugin::defaults;
use framework::roles::Dataset;

const SIZES: Sizes = Sizes { users: 2, items: 3, interactions: 4 };
const PAIRS_TEXT: &str = "1\t12 7 3\r\n2\t7\r\n";
const TITLES_TEXT: &str = "item,title\r\n3,plain\r\n7,\"a \"\"b\"\",\r\nc\"\r\n12,\"last\"\r\n";

fn made_up(pairs: &str, titles: &str) -> Result<Corpus> {
    let folder = cache(&[(PAIRS, pairs), (TITLES, titles)]);
    let covers = Pictures::find(&folder.path().join("covers"))?;
    read(&folder.path().join(PAIRS), &folder.path().join(TITLES), &covers, &SIZES)
}

#[test]
fn what_fetch_gets_is_found() {
    finds(&defaults::<MicroLens>(), &MICROLENS);
}

#[test]
fn pairs_and_titles_give_a_corpus() {
    let items = [("3", "plain"), ("7", "a \"b\", c"), ("12", "last")];
    let expected = untimed(&["1", "2"], &items, &[(0, 2, 0), (0, 1, 1), (0, 0, 2), (1, 1, 0)]);
    assert_eq!(made_up(PAIRS_TEXT, TITLES_TEXT).expect("a corpus"), expected);
}

#[test]
fn covers_are_read_if_they_are_there() {
    let folder = cache(&[(PAIRS, PAIRS_TEXT), (TITLES, TITLES_TEXT)]);
    write(folder.path(), "covers/7.jpg", PNG);
    let covers = Pictures::find(&folder.path().join("covers")).expect("covers");
    let corpus = read(&folder.path().join(PAIRS), &folder.path().join(TITLES), &covers, &SIZES).expect("a corpus");
    assert_eq!(corpus.items.image, [None, png(), None]);
    let dataset = MicroLens { folder: ".".into(), covers: "covers".into() };
    let files = dataset.files(folder.path()).expect("files");
    assert_eq!(files.len(), 3);
    assert!(files[2].ends_with("covers/7.jpg"));
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |pairs: &str, titles: &str, words: &[&str]| says(made_up(pairs, titles), words);
    check("1 12\r\n", TITLES_TEXT, &["no user, tab and videos: \"1 12\"", "pairs.tsv, line 1"]);
    check("1\t12\r\n1\t7\r\n", TITLES_TEXT, &["user \"1\" has two lines", "pairs.tsv, line 2"]);
    check("1\t12 99\r\n", TITLES_TEXT, &["video \"99\" is not in MicroLens-50k_titles.csv", "pairs.tsv, line 1"]);
    check("1\t12  7\r\n", TITLES_TEXT, &["video \"\" is not in", "pairs.tsv, line 1"]);
    check("1\t12 7 3\r\n", TITLES_TEXT, &["3 views by 1 users instead of 4 by 2", "pairs.tsv, line 1"]);
    check("1\t12 7 3\r\n2\t7", TITLES_TEXT, &["truncated", "pairs.tsv, line 2"]);
    check(PAIRS_TEXT, "id,title\r\n", &["the columns are id, title instead of item, title", "titles.csv, line 1"]);
    check(PAIRS_TEXT, "item,title\r\n3,a\r\n3,b\r\n", &["video \"3\" is there twice", "titles.csv, line 3"]);
    check(PAIRS_TEXT, "item,title\r\n3,a\r\n", &["1 videos instead of 3", "titles.csv, line 2"]);
    check(PAIRS_TEXT, "item,title\r\n3,\"a\r\n", &["closing quote is missing", "titles.csv, line 2"]);
    let words = ["the file MicroLens-50k_pairs.tsv is missing", "microlens-50k", "recsys.westlake.edu.cn"];
    says(load(&defaults::<MicroLens>(), cache(&[]).path()), &words);
}

#[test]
fn the_real_50k() {
    let Some(folder) = real("microlens-50k") else { return };
    let start = std::time::Instant::now();
    let corpus = load(&defaults::<MicroLens>(), &folder).expect("the real data");
    println!("359,708 interactions in {:?}", start.elapsed());
    corpus.check().expect("whole");
    assert_eq!((corpus.users.len(), corpus.items.id.len(), corpus.interactions.user.len()), (50_000, 19_220, 359_708));
    assert_eq!(
        corpus.items.title[6],
        "become the North state family alliance leader # summer attack # cartoon recommendation # cartoon commentary"
    );
    let first: Vec<&str> =
        corpus.interactions.item[..5].iter().map(|n| corpus.items.id[*n as usize].as_str()).collect();
    assert_eq!(first, ["1958", "6346", "15223", "17700", "1707"]);
    assert_eq!(corpus.items.title.iter().map(|title| title.chars().count()).max(), Some(6293));
}
