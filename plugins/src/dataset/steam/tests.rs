use super::{STEAM, Steam};
use crate::reading::fixture::{cache, corpus, finds, load, pack, says, write};
use framework::plugin::defaults;

const REVIEWS: &str = r"{u'username': u'Ann\u20ac', u'hours': 0.1, u'product_id': u'20', u'page': 1, u'date': u'2017-12-17', u'text': u'It\'s {good}', u'early_access': False}
{u'username': u'Bob', u'product_id': u'10', u'date': u'1970-01-02', u'text': u''}
{u'product_id': u'20', u'username': u'Bob', u'date': u'1970-01-01', u'text': u'again', u'found_funny': 2}
";
const GAMES: &str = r#"{u'app_name': u'Ten "X"', u'id': u'10', u'genres': [u'Action', u'RPG'], u'price': 4.99}
{u'app_name': u'no id', u'genres': [u'Action']}
{u'title': u'no name', u'id': u'20'}
{u'app_name': u'another Ten', u'id': u'10'}
{u'app_name': u'never reviewed', u'id': u'30'}
"#;

#[test]
fn what_fetch_gets_is_found() {
    finds(&defaults::<Steam>(), &STEAM);
}

#[test]
fn reviews_and_games_give_a_corpus() {
    let items = [("20", "20"), ("10", "Ten \"X\"")];
    let expected = corpus(&["Ann€", "Bob"], &items, &[(0, 0, 1_513_468_800), (1, 1, 86_400), (1, 0, 0)]);
    let plain = cache(&[("steam/steam_reviews.json", REVIEWS), ("steam/steam_games.json", GAMES)]);
    assert_eq!(load(&defaults::<Steam>(), plain.path()).expect("a corpus"), expected);
    let packed = cache(&[]);
    write(packed.path(), "steam/steam_reviews.json.gz", &pack(REVIEWS));
    write(packed.path(), "steam/steam_games.json.gz", &pack(GAMES));
    assert_eq!(load(&defaults::<Steam>(), packed.path()).expect("a corpus"), expected);
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |reviews: &str, games: &str, words: &[&str]| {
        let files = [("steam/steam_reviews.json", reviews), ("steam/steam_games.json", games)];
        says(load(&defaults::<Steam>(), cache(&files).path()), words);
    };
    let source = "fix: the original file";
    check(&REVIEWS.replace("u'Bob'", "None"), GAMES, &["`username` is missing", "steam_reviews.json, line 2", source]);
    check(&REVIEWS.replace("1970-01-02", "today"), GAMES, &["the date is \"today\"", "steam_reviews.json, line 2"]);
    check(&REVIEWS[..200], GAMES, &["the line ends within", "steam_reviews.json, line 2"]);
    check(REVIEWS, "app_name\n", &["`a` in column 1 where `{` should be", "steam_games.json, line 1"]);
    let words = ["the file steam_reviews.json.gz or steam_reviews.json is missing", "cseweb.ucsd.edu"];
    says(load(&defaults::<Steam>(), cache(&[]).path()), &words);
}
