use super::RecBole;
use crate::reading::fixture::{PNG, cache, corpus, load, says, untimed, write};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml::{Table, Value};

const INTER: &str = "item_id:token\tuser_id:token\trating:float\ttimestamp:float\n\
                     i2\tu1\t3\t881250949\ni1\tu1\t4\t881250950.5\ni9\tu2\t1\t881250950.25\n";
const ITEM: &str = "item_id:token\ttitle:token_seq\tclass:token_seq\ni1\tOne  film\tA B\ni2\t\tC\n";

/// The dataset `x` with these settings besides.
fn dataset(settings: &str) -> RecBole {
    let table: Table = framework::toml::from_str(&format!("name = \"x\"\n{settings}")).expect("TOML");
    RecBole::read(&Value::Table(table), &mut Reader::default()).expect("settings")
}

#[test]
fn atomic_files_give_a_corpus() {
    let cache = cache(&[("x/x.inter", INTER), ("x/x.item", ITEM)]);
    let items = [("i1", "One film"), ("i2", "i2"), ("i9", "i9")];
    // Two share a second, and no millisecond.
    let rows = [(0, 1, 881_250_949_000), (0, 0, 881_250_950_500), (1, 2, 881_250_950_250)];
    let mut expected = corpus(&["u1", "u2"], &items, &rows);
    expected.interactions.milliseconds = true;
    assert_eq!(load(&dataset(""), cache.path()).expect("a corpus"), expected);
}

#[test]
fn items_and_times_need_not_be_there() {
    let cache = cache(&[("y/x.inter", "session:token\titem_id:token\ns\tb\ns\ta\n")]);
    let dataset = dataset("folder = \"y\"\nuser_column = \"session\"\ntimestamp_column = false");
    let expected = untimed(&["s"], &[("b", "b"), ("a", "a")], &[(0, 0, 0), (0, 1, 1)]);
    assert_eq!(load(&dataset, cache.path()).expect("a corpus"), expected);
}

#[test]
fn pictures_are_read_if_they_are_there() {
    let cache = cache(&[("x/x.inter", INTER), ("x/x.item", ITEM)]);
    write(cache.path(), "x/images/i2.png", PNG);
    assert_eq!(load(&dataset(""), cache.path()).expect("a corpus").items.image, [None, Some(PNG.to_vec()), None]);
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |inter: &str, item: &str, words: &[&str]| {
        says(load(&dataset(""), cache(&[("x/x.inter", inter), ("x/x.item", item)]).path()), words);
    };
    check("user_id\titem_id:token\n", ITEM, &["the column \"user_id\" has no type", "x.inter, line 1"]);
    check("user_id:token\titem:token\n", ITEM, &["no column is called `item_id`", "user_id:token, item:token"]);
    check(&INTER.replace("881250949", "soon"), ITEM, &["the timestamp is \"soon\"", "x.inter, line 2"]);
    check(&INTER.replace("i1\tu1\t4\t", "i1\tu1\t"), ITEM, &["3 fields instead of 4", "x.inter, line 3"]);
    check(&INTER.replace("u1\t4\t", "\t4\t"), ITEM, &["the user or the item is empty", "x.inter, line 3"]);
    check(INTER.trim_end(), ITEM, &["the file is truncated", "x.inter, line"]);
    check(INTER, &ITEM.replace("i2", "i1"), &["item \"i1\" is there twice", "x.item, line 3"]);
    check(INTER, &ITEM.replace("title", "name"), &["no column is called `title`", "x.item, line 1", "fix: "]);
    says(load(&dataset(""), cache(&[]).path()), &["the file x.inter is missing", "recbole.io"]);
}
