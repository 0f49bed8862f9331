//! Generated pages are as the code is.

use crate::program::Program;
use framework::archive::archives;

#[test]
fn generated_pages_are_up_to_date() {
    Program::new().ok(&["docs", "--check"]);
}

#[test]
fn every_generated_page_as_snapshot() {
    for (path, text) in cli::docs::pages() {
        let name = format!("page__{}", path.replace(['/', '.'], "_"));
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn the_page_on_data_has_all_that_fetch_knows() {
    let page = std::fs::read_to_string("book/src/data.md").expect("the page");
    for archive in archives() {
        let row = format!("| `{}` |", archive.filled("CATEGORY").name);
        assert!(page.contains(&row), "{row} is not in the table");
    }
}
