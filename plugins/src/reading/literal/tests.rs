use super::{fields, required};
use crate::reading::fixture::says;
use crate::reading::{Line, Place};
use std::borrow::Cow;
use std::path::Path;

fn line(text: &str) -> Line<'_> {
    Line { text, place: Place { path: Path::new("file"), unit: "line", number: 7 } }
}

/// The values of `a` and `b`.
fn values(text: &str) -> [Option<String>; 2] {
    fields(line(text), [Some("a"), Some("b")]).expect("a dictionary").map(|value| value.map(Cow::into_owned))
}

fn some(a: &str, b: &str) -> [Option<String>; 2] {
    [Some(a.to_string()), Some(b.to_string())]
}

#[test]
fn json_and_python_are_read_alike() {
    for text in [
        r#"{"a": "it's", "b": 3}"#,
        r#"{'a': "it's", 'b': 3}"#,
        r#"{u'c': [u'}', {'a': ("x",)}], u'b': 3, u'a': u"it's", u'd': None}"#,
        r#" { "c" : {"a": [1, "]"]} , "a" : "it's" , "b" : 3 , } "#,
        r#"{'a': 'it\'s', 'b': 3, 'c': True, 'd': -1.5e3, 'e': {}}"#,
    ] {
        assert_eq!(values(text), some("it's", "3"), "{text}");
    }
}

#[test]
fn what_is_no_text_or_number_is_nothing() {
    for text in ["{}", r#"{"a": null, "b": None}"#, r#"{"a": [1], 'b': {"a": 2}}"#, r#"{"a": NaN, "x": 1}"#] {
        assert_eq!(values(text), [None, None], "{text}");
    }
    assert_eq!(values(r#"{"a": true, "b": ""}"#), some("true", ""));
}

#[test]
fn escapes_are_characters() {
    assert_eq!(values(r#"{"a": "1\t\"\\\/\n", "b": "caf\u00e9 \ud83d\ude00"}"#), some("1\t\"\\/\n", "café 😀"));
    assert_eq!(values(r"{u'a': u'caf\xe9 \U0001f600', 'b': 'caf\xc3\xa9'}"), some("café 😀", "café"));
    assert_eq!(values(r"{'a': 'café\xa0x', 'b': '\ud83dx'}"), some("café\u{a0}x", "\u{fffd}x"));
}

#[test]
fn nothing_is_copied_without_need() {
    let [a] = required(line(r#"{"a": "plain"}"#), ["a"]).expect("a value");
    assert!(matches!(a, Cow::Borrowed("plain")));
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |text: &str, what: &str| says(required(line(text), ["a"]), &[what, "file, line 7"]);
    check("", "the line ends where `{` should be");
    check("[1]", "`[` in column 1 where `{` should be");
    check(r#"{"a": "x"#, "the line ends within a text");
    check(r#"{"a": "x\"#, "the line ends within a text");
    check(r#"{"a": [1, "x""#, "the line ends within a list or a dictionary");
    check(r#"{"a": 1"#, "the line ends where `}` should be");
    check(r#"{"é" 1}"#, "`1` in column 6 where `:` should be");
    check(r#"{a: 1}"#, "`a` in column 2 where a key should be");
    check(r#"{"a": maybe}"#, "`m` in column 7 where a value should be");
    check(r#"{"a": 1} {"#, "`{` in column 10 where the end of the line should be");
    check(r#"{"b": 1}"#, "`a` is missing");
}
