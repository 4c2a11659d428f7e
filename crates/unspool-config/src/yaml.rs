//! YAML files: a map for each section, and under it options with a scalar or a list of scalars.
//!
//! Keys may be repeated, and a list is its key repeated. What uWSGI's own small reader takes and
//! YAML does not, values that begin with `%(` or `@(`, is taken too.

use saphyr_parser::{Event, Parser, ScanError, Span};

use crate::error::ConfigError;
use crate::section::{Document, Section, SectionLine};

/// Stand for `%` and `@` at the start of a value, which YAML reserves.
const STAND_INS: [(char, char); 2] = [('%', '\u{f0025}'), ('@', '\u{f0040}')];

/// Collects the options of `section`.
pub(crate) fn parse(document: &Document<'_>, section: &str) -> Result<Section, ConfigError> {
    let text = shielded(&document.text);
    let mut events = Events { document, parser: Parser::new_from_str(&text) };
    let mut found = Section::default();
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => return Ok(found),
            (Event::MappingStart(..), _) => break,
            (Event::Scalar(text, ..), _) if text.is_empty() => {}
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (_, line) => return Err(document.error(line, shape(section))),
        }
    }
    while let Some((key, line)) = events.key()? {
        if key == section {
            found.present = true;
            events.options(&mut found, section)?;
        } else {
            found.other(&key);
            if found.present && found.lines.is_empty() {
                found.stray = None;
            }
            events.skip(line)?;
        }
    }
    Ok(found)
}

fn shape(section: &str) -> String {
    format!("not a map of options; write `{section}:` and below it, indented, `name: value`")
}

struct Events<'a> {
    document: &'a Document<'a>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, u32), ConfigError> {
        let next: Option<Result<(Event<'a>, Span), ScanError>> = self.parser.next_event();
        match next {
            Some(Ok((event, span))) => Ok((event, self.document.line(span.start.line()))),
            Some(Err(error)) => {
                let line = self.document.line(error.marker().line());
                Err(self.document.error(line, format!("this is not YAML: {}", error.info())))
            }
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    /// The next key of a map; none at its end.
    fn key(&mut self) -> Result<Option<(String, u32)>, ConfigError> {
        match self.next()? {
            (Event::MappingEnd, _) => Ok(None),
            (Event::Scalar(text, ..), line) => Ok(Some((unshielded(&text), line))),
            (_, line) => {
                Err(self.document.error(line, "the name of an option must be plain text".into()))
            }
        }
    }

    /// The options of the section that starts here.
    fn options(&mut self, found: &mut Section, section: &str) -> Result<(), ConfigError> {
        match self.next()? {
            (Event::MappingStart(..), _) => {}
            // A section without options.
            (Event::Scalar(text, ..), _) if matches!(&*text, "" | "~" | "null") => return Ok(()),
            (_, line) => return Err(self.document.error(line, shape(section))),
        }
        while let Some((key, line)) = self.key()? {
            match self.next()? {
                (Event::Scalar(text, ..), number) => {
                    let value = unshielded(&text);
                    found.lines.push(SectionLine { number: number.max(line), key, value });
                }
                (Event::SequenceStart(..), _) => self.list(found, &key)?,
                (Event::Alias(_), line) => {
                    let problem = format!("`{key}` refers to an anchor; write its value here");
                    return Err(self.document.error(line, problem));
                }
                _ => return Err(self.document.error(line, nested(&key))),
            }
        }
        Ok(())
    }

    fn list(&mut self, found: &mut Section, key: &str) -> Result<(), ConfigError> {
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(()),
                (Event::Scalar(text, ..), number) => {
                    let (key, value) = (key.to_owned(), unshielded(&text));
                    found.lines.push(SectionLine { number, key, value });
                }
                (_, line) => return Err(self.document.error(line, nested(key))),
            }
        }
    }

    /// Passes over the value that starts here.
    fn skip(&mut self, line: u32) -> Result<(), ConfigError> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                (Event::MappingStart(..) | Event::SequenceStart(..), _) => depth += 1,
                (Event::MappingEnd | Event::SequenceEnd, _) => depth = depth.saturating_sub(1),
                (Event::StreamEnd, _) => {
                    return Err(self.document.error(line, "the file ends inside a value".into()));
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

fn nested(key: &str) -> String {
    format!("the value of `{key}` must be text or a list of texts; options have no options")
}

/// `key: %(x)` and `- @(x)` with their first character replaced.
fn shielded(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        for (mark, stand_in) in STAND_INS {
            let found = ["- ", ": ", ":\t"].into_iter().find_map(|before| {
                let (head, tail) = line.split_once(before)?;
                let value = tail.trim_start_matches([' ', '\t']);
                let plain = value.starts_with(mark) && value[1..].starts_with('(');
                (plain && !head.contains(['"', '\'', '#']))
                    .then_some((line.len() - value.len(), value))
            });
            if let Some((at, value)) = found {
                result.push_str(&line[..at]);
                result.push(stand_in);
                rest = &value[1..];
                break;
            }
        }
        result.push_str(rest);
    }
    result
}

fn unshielded(text: &str) -> String {
    STAND_INS.iter().fold(text.to_owned(), |text, &(mark, stand_in)| {
        if text.contains(stand_in) { text.replace(stand_in, &mark.to_string()) } else { text }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::magic::TextLine;

    fn section(text: &str) -> Result<Vec<String>, ConfigError> {
        let path = Arc::from(Path::new("app.yaml"));
        let lines = TextLine::all(text);
        let found = parse(&Document::new(&path, &lines), "uwsgi")?;
        let shown = found.lines.iter().map(|l| format!("{} {}={}", l.number, l.key, l.value));
        Ok(shown.collect())
    }

    #[test]
    fn reads_options() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(section(text).unwrap(), expected, "{text}");
        };
        check(
            "uwsgi:\n  master: true\n  env: A=1\n  env: B=2\n",
            &["2 master=true", "3 env=A=1", "4 env=B=2"],
        );
        check("# c\nuwsgi:\n  http: :80 # web\n", &["3 http=:80"]);
        check(
            "uwsgi:\n  env:\n    - A=1\n    - 'B=2'\n  x: \"y z\"\n",
            &["3 env=A=1", "4 env=B=2", "5 x=y z"],
        );
        check(
            "uwsgi:\n  x: %(a)/b\n  y: @(f)\n  l:\n  - %(c)\n",
            &["2 x=%(a)/b", "3 y=@(f)", "5 l=%(c)"],
        );
        check("uwsgi:\n  x:\n  y: 1\n", &["2 x=", "3 y=1"]);
        check("a: [1, {b: 2}]\nuwsgi: {m: 1, n: [2, 3]}\nz: {}\n", &["2 m=1", "2 n=2", "2 n=3"]);
        check("uwsgi:\n", &[]);
        check("", &[]);
        check("---\nuwsgi:\n  x: 007\n  y: 1.10\n  z: off\n", &["3 x=007", "4 y=1.10", "5 z=off"]);
    }

    #[test]
    fn names_the_bad_line() {
        let check = |text: &str, expected: &str| {
            let message = section(text).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("uwsgi:\n  a: {b: 1}\n", "app.yaml:2: the value of `a` must be text or a list");
        check("- a\n- b\n", "app.yaml:1: not a map of options");
        check("uwsgi: 5\n", "app.yaml:1: not a map of options; write `uwsgi:`");
        check("uwsgi:\n  a: 1\n b: 2\n", "app.yaml:3: this is not YAML: ");
        check("uwsgi:\n  a: &x 1\n  b: *x\n", "app.yaml:3: `b` refers to an anchor");
    }
}
