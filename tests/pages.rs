//! Generated pages are as the code is.

use crate::program::Program;

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
