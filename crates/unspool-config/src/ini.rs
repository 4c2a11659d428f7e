//! The ini syntax of uWSGI: lines to keys of sections. No quoting, no inline comments, no
//! continuation; what a key means is not known here.

use std::path::Path;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::magic::TextLine;
use crate::origin::Origin;
use crate::section::{Section, SectionLine};

/// Collects the lines of `section`; the same section may appear several times.
///
/// # Errors
///
/// A header without its bracket, and a line without a key in the wanted section.
pub(crate) fn parse(
    path: &Arc<Path>,
    lines: &[TextLine],
    section: &str,
) -> Result<Section, ConfigError> {
    let mut found = Section::default();
    let mut current: Option<&str> = None;
    for line in lines {
        let text = trim(line.text.trim_start_matches('\u{feff}'));
        if text.is_empty() || is_comment(text) {
            continue;
        }
        if let Some(header) = text.strip_prefix('[') {
            let name = header_name(header).ok_or_else(|| ConfigError::Syntax {
                origin: Origin::line(path, line.number),
                problem: format!("section header `{text}` has no closing `]`; add it"),
            })?;
            if name == section {
                found.present = true;
            } else {
                found.other(name);
            }
            current = Some(name);
            continue;
        }
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (key, value) = (trim(key), trim(value));
        if key.is_empty() && current == Some(section) {
            return Err(ConfigError::Syntax {
                origin: Origin::line(path, line.number),
                problem: format!("no option name before `=` in `{text}`; write `name = value`"),
            });
        }
        match current {
            None => found.stray = found.stray.or(Some(line.number)),
            Some(name) if name == section => found.lines.push(SectionLine {
                number: line.number,
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// The name in a header, given what follows its `[`. A comment may follow the header: uWSGI would
/// take it for a part of the name and find no section.
fn header_name(header: &str) -> Option<&str> {
    header.strip_suffix(']').or_else(|| {
        let (name, rest) = header.split_once(']')?;
        is_comment(trim(rest)).then_some(name)
    })
}

/// Whether a trimmed line says nothing.
pub(crate) fn is_comment(text: &str) -> bool {
    text.starts_with([';', '#'])
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str, name: &str) -> Result<Section, ConfigError> {
        let lines = TextLine::all(text);
        parse(&Arc::from(Path::new("app.ini")), &lines, name)
    }

    #[test]
    fn reads_lines() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = section(text, "uwsgi").unwrap();
            let lines: Vec<(&str, &str)> =
                found.lines.iter().map(|line| (line.key.as_str(), line.value.as_str())).collect();
            assert_eq!(lines, expected, "{text}");
        };
        check("[uwsgi]\na = 1\n", &[("a", "1")]);
        check("[uwsgi]\n\t a\t=\t1 \r\n", &[("a", "1")]);
        check("[uwsgi]\nc=x = y\n", &[("c", "x = y")]);
        check("[uwsgi]\nmaster\nb =\n", &[("master", ""), ("b", "")]);
        check("[uwsgi]\n;a=1\n  # b=2\nc=1 # d ; e\n", &[("c", "1 # d ; e")]);
        check("[uwsgi]\nq = \"x\"\n", &[("q", "\"x\"")]);
        check("[a]\nx=1\n[uwsgi]\ny=2\n[b]\nz=3\n[uwsgi]\ny=4\n", &[("y", "2"), ("y", "4")]);
        check("\u{feff}[uwsgi]\na=1\n", &[("a", "1")]);
        check("[uwsgi] ; web\na=1\n", &[("a", "1")]);
        check("[other]\n=\n[uwsgi]\na=1\n", &[("a", "1")]);
        check("[ uwsgi ]\na=1\n", &[]);
        check("a=1\n", &[]);
    }

    #[test]
    fn tells_what_else_is_there() {
        let found = section("x=1\ny=2\n[a]\n[b]\n[a]\n", "uwsgi").unwrap();
        assert!(!found.present);
        assert_eq!(found.others, ["a", "b"]);
        assert_eq!(found.stray, Some(1));
    }

    #[test]
    fn names_the_bad_line() {
        let check = |text: &str, expected: &str| {
            let message = section(text, "uwsgi").unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("[uwsgi\na=1", "app.ini:1: section header `[uwsgi` has no closing `]`");
        check("[uwsgi]\n\n = 3", "app.ini:3: no option name before `=`");
    }
}
