//! Titles of several attributes: `{title} by {author} ({year})`.

use framework::corpus::Attribute;

/// The names in braces, and the text before each; the rest of the text last, without a name.
fn parts(format: &str) -> Vec<(&str, Option<&str>)> {
    let (mut parts, mut rest) = (Vec::new(), format);
    while let Some((before, behind)) = rest.split_once('{')
        && let Some((name, behind)) = behind.split_once('}')
    {
        parts.push((before, Some(name)));
        rest = behind;
    }
    parts.push((rest, None));
    parts
}

/// The first name in braces that is neither `title` nor an attribute.
pub(super) fn unknown<'f>(format: &'f str, attributes: &[String]) -> Option<&'f str> {
    let is_known = |name: &&str| *name == "title" || attributes.iter().any(|attribute| attribute == name);
    parts(format).into_iter().filter_map(|(_, name)| name).find(|name| !is_known(name))
}

/// Each item's title in that format; a value that it does not have is left out, with the brackets around it. An item with
/// no value at all has no title.
pub(super) fn filled(format: &str, titles: &[String], attributes: &[Attribute]) -> Vec<String> {
    let parts = parts(format);
    let value = |name: &str, item: usize| match attributes.iter().find(|attribute| attribute.name == name) {
        Some(attribute) => attribute.values[item].as_deref().unwrap_or_default(),
        None => titles[item].as_str(),
    };
    let title = |item: usize| {
        let values: Vec<&str> = parts.iter().map(|(_, name)| name.map_or("", |name| value(name, item))).collect();
        match values.iter().all(|value| value.is_empty()) {
            true => String::new(),
            false => {
                let text: String = parts.iter().zip(values).flat_map(|((before, _), value)| [before, value]).collect();
                text.replace("()", "").replace("[]", "").trim().to_string()
            }
        }
    };
    (0..titles.len()).map(title).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_filled_with_attributes() {
        let year = Attribute { name: "year".into(), values: vec![Some("1995".into()), None, None] };
        let titles = ["Heat".to_string(), String::new(), "Up".to_string()];
        assert_eq!(filled("{title} ({year})", &titles, std::slice::from_ref(&year)), ["Heat (1995)", "", "Up"]);
        assert_eq!(unknown("{title} by {author}", &["year".into()]), Some("author"));
        assert_eq!(unknown("{year}: {title}", &["year".into()]), None);
        assert_eq!(filled("plain", &titles[..1], &[year]), [""], "nothing is known of it");
    }
}
