use super::Rows;
use crate::reading::columns::Layout;
use crate::reading::fixture::{cache, says, write};
use framework::error::Result;

/// The header and the rows of a text, each row with its line.
fn rows(text: &str, separator: char, quotes: bool) -> Result<Vec<(usize, Vec<String>)>> {
    let folder = cache(&[("table", text)]);
    let mut rows = Rows::open(&folder.path().join("table"), separator, quotes)?;
    let width = rows.header().len();
    let mut all = vec![(rows.place().number, rows.header().to_vec())];
    while let Some(row) = rows.advance()? {
        all.push((row.place.number, (0..width).map(|n| row.field(n).to_string()).collect()));
    }
    rows.check_end()?;
    Ok(all)
}

fn owned(rows: &[(usize, &[&str])]) -> Vec<(usize, Vec<String>)> {
    rows.iter().map(|(line, row)| (*line, row.iter().map(|field| (*field).to_string()).collect())).collect()
}

#[test]
fn fields_in_quotes_hold_anything() {
    let text = "id,title\r\n1,\"a \"\"b\"\", c\r\nd\r\n\r\ne\"\r\n\r\n2,f\"g\r\n3,\"\"\r\n";
    let expected: [(usize, &[&str]); 4] =
        [(1, &["id", "title"]), (2, &["1", "a \"b\", c\nd\n\ne"]), (7, &["2", "f\"g"]), (8, &["3", ""])];
    assert_eq!(rows(text, ',', true).expect("rows"), owned(&expected));
}

#[test]
fn without_quotes_a_quote_is_a_character() {
    let text = "id\ttitle\n1\t\"Heroes\"\n2\t12\"\n";
    let expected: [(usize, &[&str]); 3] = [(1, &["id", "title"]), (2, &["1", "\"Heroes\""]), (3, &["2", "12\""])];
    assert_eq!(rows(text, '\t', false).expect("rows"), owned(&expected));
}

#[test]
fn damages_are_found_with_their_line() {
    says(rows("", ',', true), &["the file is empty", "table"]);
    says(rows("a,b,c\n1,\"2,3\n4,5,6\n7,8\",9\n", ',', true), &["closing quote is missing", "table, line 2"]);
    says(rows("a,b\n1,2\n3\n", ',', true), &["1 fields instead of 2", "table, line 3"]);
    says(rows("a,b\n1,2,3\n", ',', true), &["3 fields instead of 2", "table, line 2"]);
    says(rows("a,b\n1,\"2\",\"3\"\n", ',', true), &["3 fields instead of 2", "`quotes = false`"]);
    says(rows("a,b\n1,\"2\n3,4\n", ',', true), &["closing quote is missing", "table, line 2"]);
    says(rows("a,b\n1,\"2\"3\n", ',', true), &["text follows the closing quote", "table, line 2"]);
    says(rows("a,b\n1,2", ',', true), &["truncated", "table, line 2"]);
}

#[test]
fn any_separator_parts_fields() {
    let folder =
        cache(&[("dat", "1::2::3\n4::5::6\n"), ("txt", "a b\n 1\t 2 \n\n3 4"), ("csv", "a,b,\n1,2,\n3,\"4\" ,\n")]);
    let rows = |name: &str, separator: &str, header: Option<Vec<String>>| {
        let layout = Layout { header, ..Layout::default() };
        let mut rows = Rows::open_as(&folder.path().join(name), separator, &layout).expect(name);
        let (mut all, width) = (Vec::new(), rows.header().len());
        while let Some(row) = rows.advance().expect(name) {
            all.push((0..width).map(|n| row.field(n).to_string()).collect::<Vec<_>>().join("|"));
        }
        (all, rows.remark())
    };
    let header = Some(["u", "i", "r"].map(String::from).to_vec());
    assert_eq!(rows("dat", "::", header), (vec!["1|2|3".to_string(), "4|5|6".to_string()], vec![]));
    let (all, remarks) = rows("txt", "blanks", None);
    assert_eq!(all, ["1|2", "3|4"]);
    assert!(remarks[0].contains("txt, line 4") && remarks[0].contains("no line break"), "{remarks:?}");
    write(folder.path(), "quoted", b"a b\n\"1 2\" 3\n");
    assert_eq!(rows("quoted", " ", None).0, ["1 2|3"]);
    assert_eq!(rows("quoted", "blanks", None).0, ["1 2|3"]);
    assert_eq!(rows("csv", ",", None).0, ["1|2", "3|4"], "a separator at the end of every line");
}
