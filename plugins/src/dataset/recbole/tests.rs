use super::RecBole;
use crate::reading::fixture::{PNG, cache, corpus, load, png, says, untimed, write};
use framework::corpus::{Part, Unit};
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
    expected.interactions.unit = Unit::Milliseconds;
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
    assert_eq!(load(&dataset(""), cache.path()).expect("a corpus").items.image, [None, png(), None]);
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |inter: &str, item: &str, words: &[&str]| {
        says(load(&dataset(""), cache(&[("x/x.inter", inter), ("x/x.item", item)]).path()), words);
    };
    check(
        "user_id:token\titem:token\n",
        ITEM,
        &["no column is called `item_id`", "user_id:token, item:token", "`item_column"],
    );
    check(&INTER.replace("881250949", "soon"), ITEM, &["the time is \"soon\"", "x.inter, line 2"]);
    check(&INTER.replace("i1\tu1\t4\t", "i1\tu1\t"), ITEM, &["3 fields instead of 4", "x.inter, line 3"]);
    check(
        &INTER.replace("u1\t4\t", "\t4\t"),
        ITEM,
        &["`user_id:token` is missing", "x.inter, line 3", "missing = \"drop\""],
    );
    check(INTER, &ITEM.replace("i2", "i1"), &["item \"i1\" is there twice", "x.item, line 3"]);
    check(
        "user_id:token\titem_id:token\titem_id_list:token_seq\n1\t2\t3 4\n",
        ITEM,
        &["`item_id_list:token_seq`", "plain file"],
    );
    says(load(&dataset(""), cache(&[]).path()), &["the file x.inter is missing", "recbole.io"]);
}

#[test]
fn what_a_file_lacks_is_noted() {
    let notes = |inter: &str, item: &str, settings: &str| {
        let corpus =
            load(&dataset(settings), cache(&[("x/x.inter", inter), ("x/x.item", item)]).path()).expect("a corpus");
        (corpus.notes.join("\n"), corpus)
    };
    let (said, corpus) = notes(
        "user_id:token\titem_id:token\n1\t1\n2\t2",
        "item_id:token\tprice:float\n1\t1\n\t2\n",
        "attributes = [\"price\"]",
    );
    assert!(corpus.untimed && corpus.interactions.user.len() == 2);
    for word in [
        "x.inter has no column `timestamp`",
        "x.item has no column `title`",
        "x.inter, line 3 is the last",
        "no id of an item and are left out: 1, the first x.item, line 3",
    ] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(corpus.items.attributes[0].values, [Some("1".to_string()), None]);
    let (said, corpus) = notes(INTER, ITEM, "min_rating = 3.0\nattributes = [\"class\"]");
    assert_eq!((corpus.interactions.user.len(), corpus.items.attributes[0].values[0].as_deref()), (2, Some("A B")));
    assert!(said.contains("have a `rating:float` below 3 and are left out: 1, the first x.inter, line 4"), "{said}");
}

#[test]
fn a_column_of_the_split_is_taken() {
    let inter = "userID\titemID\trating\ttimestamp\tx_label\n0\t0\t5.0\t10\t0\n0\t1\t4.0\t11\t1\n0\t2\t4.0\t12\t2\n";
    let cache = cache(&[("x/x.inter", inter)]);
    let columns = "user_column = \"userID\"\nitem_column = \"itemID\"\n";
    let corpus = load(&dataset(&format!("{columns}split_column = \"x_label\"")), cache.path()).expect("MMRec's file");
    assert_eq!(corpus.interactions.part, [Part::Train, Part::Validation, Part::Test]);
    let unused = load(&dataset(columns), cache.path()).expect("the same").notes.join("");
    assert!(unused.contains("split_column = \"x_label\""), "{unused}");
}
