//! XML files: elements below `<uwsgi>` are options, their text is the value.
//!
//! As in uWSGI `<option/>` is `1`, a section is `<uwsgi id="section">`, and without one asked for
//! the first `<uwsgi>` counts; an element with elements inside is passed over. Entities of a document type are not read.

use roxmltree::{Document as Tree, Node, ParsingOptions};

use crate::error::ConfigError;
use crate::limits::OPTIONS_MAX;
use crate::section::{Document, Section, SectionLine};

const ELEMENT: &str = "uwsgi";
/// Elements, attributes' values, texts and comments of one file.
const NODES_MAX: u32 = 8 * OPTIONS_MAX as u32;

/// Collects the options of the wanted element.
pub(crate) fn parse(
    document: &Document<'_>,
    section: Option<&str>,
) -> Result<Section, ConfigError> {
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let tree = Tree::parse_with_options(&document.text, options).map_err(|error| {
        let line = document.line(error.pos().row as usize);
        document.error(line, format!("this is not XML: {error}"))
    })?;
    let root = tree.root_element();
    let candidates = || {
        let children = root.children().filter(Node::is_element);
        std::iter::once(root).chain(children).filter(|node| node.has_tag_name(ELEMENT))
    };
    let mut found = Section::default();
    for id in candidates().filter_map(|node| node.attribute("id")) {
        if Some(id) != section {
            found.other(id);
        }
    }
    let wanted = match section {
        Some(id) => candidates().find(|node| node.attribute("id") == Some(id)),
        None => candidates().next(),
    };
    let Some(wanted) = wanted else {
        if section.is_none() {
            let problem = "there is no <uwsgi> element around the options; add it".to_owned();
            return Err(document.error(document.line_at(root.range().start), problem));
        }
        return Ok(found);
    };
    found.present = true;
    for option in wanted.children().filter(Node::is_element) {
        let line = document.line_at(option.range().start);
        let key = option.tag_name().name().to_owned();
        if option.children().any(|child| child.is_element()) {
            found.skipped.push((line, key));
            continue;
        }
        let text: String =
            option.children().filter(Node::is_text).filter_map(|child| child.text()).collect();
        let value = if text.is_empty() { "1".to_owned() } else { text };
        found.lines.push(SectionLine { number: line, key, value });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::magic::TextLine;

    fn section(text: &str, id: Option<&str>) -> Result<Vec<String>, ConfigError> {
        let path = Arc::from(Path::new("app.xml"));
        let lines = TextLine::all(text);
        let found = parse(&Document::new(&path, &lines), id)?;
        let shown = found.lines.iter().map(|l| format!("{} {}={}", l.number, l.key, l.value));
        Ok(shown.collect())
    }

    #[test]
    fn reads_options() {
        let check = |text: &str, id: Option<&str>, expected: &[&str]| {
            assert_eq!(section(text, id).unwrap(), expected, "{text}");
        };
        let plain = "<?xml version=\"1.0\"?>\n<uwsgi>\n<master/><env>A=1</env>\n<!-- c -->\
                     <env>B=&lt;<!-- d -->2</env></uwsgi>";
        check(plain, None, &["3 master=1", "3 env=A=1", "4 env=B=<2"]);
        let several = "<c><uwsgi id=\"a\"><x>1</x></uwsgi>\n<uwsgi id=\"b\"><x>2</x></uwsgi></c>";
        check(several, Some("b"), &["2 x=2"]);
        check(several, None, &["1 x=1"]);
        check(several, Some("c"), &[]);
        check("<uwsgi><app><script>x</script></app><y/></uwsgi>", None, &["1 y=1"]);
    }

    #[test]
    fn names_the_bad_line() {
        let check = |text: &str, expected: &str| {
            let message = section(text, None).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("<uwsgi>\n<a>1</uwsgi>", "app.xml:2: this is not XML: ");
        check("\n<other/>", "app.xml:2: there is no <uwsgi> element");
        check("<!DOCTYPE x [<!ENTITY e \"v\">]><uwsgi/>", "app.xml:1: this is not XML: ");
    }
}
