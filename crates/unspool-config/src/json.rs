//! JSON files: an object for each section, and in it options with a value or an array of values.
//!
//! Names may be repeated, an array is its name repeated, `true` is 1, `false` and `null` are 0.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::ConfigError;
use crate::section::{Document, Section, SectionLine};

/// The pairs of an object in their order, repeated names too, values unread.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object, `{...}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// Collects the options of `section`.
pub(crate) fn parse(document: &Document<'_>, section: &str) -> Result<Section, ConfigError> {
    let text = document.text.as_str();
    // The whole file first, so that an error has its place in it.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let line = document.line(error.line());
        return Err(document.error(line, format!("this is not JSON: {error}")));
    }
    let object = |text: &str, offset: usize| {
        let line = document.line_at(offset);
        let problem =
            format!("not an object of options; write {{\"{section}\": {{\"name\": \"value\"}}}}");
        (!text.trim_start().starts_with('{')).then(|| document.error(line, problem))
    };
    if let Some(error) = object(text, 0) {
        return Err(error);
    }
    let mut found = Section::default();
    for (name, raw) in pairs(document, text)? {
        if name != section {
            found.other(&name);
            continue;
        }
        found.present = true;
        if let Some(error) = object(raw.get(), offset(text, raw)) {
            return Err(error);
        }
        for (key, raw) in pairs(document, raw.get())? {
            let number = document.line_at(offset(text, raw));
            options(document, number, key, raw, &mut found)?;
        }
    }
    Ok(found)
}

fn pairs<'t>(
    document: &Document<'_>,
    text: &'t str,
) -> Result<Vec<(String, &'t RawValue)>, ConfigError> {
    let found: Result<Pairs<'t>, _> = serde_json::from_str(text);
    found.map(|pairs| pairs.0).map_err(|error| {
        document.error(document.line(1), format!("this is not an object of options: {error}"))
    })
}

/// Where a value stands in the text that it was read from.
fn offset(text: &str, raw: &RawValue) -> usize {
    (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn options(
    document: &Document<'_>,
    number: u32,
    key: String,
    raw: &RawValue,
    found: &mut Section,
) -> Result<(), ConfigError> {
    let read = |raw: &RawValue| {
        serde_json::from_str::<serde_json::Value>(raw.get())
            .map_err(|error| document.error(number, format!("`{key}`: {error}")))
    };
    let values = match read(raw)? {
        serde_json::Value::Array(values) => values,
        value => vec![value],
    };
    for value in values {
        let value = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(true) => "1".to_owned(),
            serde_json::Value::Bool(false) | serde_json::Value::Null => "0".to_owned(),
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                let problem = format!(
                    "the value of `{key}` must be text, a number, true, false, or an array of these"
                );
                return Err(document.error(number, problem));
            }
        };
        found.lines.push(SectionLine { number, key: key.clone(), value });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::magic::TextLine;

    fn section(text: &str) -> Result<Vec<String>, ConfigError> {
        let path = Arc::from(Path::new("app.json"));
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
            "{\"a\": 1,\n\"uwsgi\": {\n \"master\": true, \"x\": false,\n \"env\": [\"A=1\", \"B=2\"],\n\
             \"env\": \"C=3\", \"n\": 4, \"z\": null, \"u\": \"\\u00e9\\n\"}}",
            &[
                "3 master=1",
                "3 x=0",
                "4 env=A=1",
                "4 env=B=2",
                "5 env=C=3",
                "5 n=4",
                "5 z=0",
                "5 u=\u{e9}\n",
            ],
        );
        check("{\"uwsgi\": {}}", &[]);
        check("{}", &[]);
    }

    #[test]
    fn names_the_bad_line() {
        let check = |text: &str, expected: &str| {
            let message = section(text).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        };
        check("{\"uwsgi\":\n{\"a\": {}}}", "app.json:2: the value of `a` must be text");
        check("{\"uwsgi\":\n{\"a\": 1,}}", "app.json:2: this is not JSON: ");
        check("\n[1]", "app.json:1: not an object of options");
        check("{\n\"uwsgi\": 5}", "app.json:2: not an object of options");
        check("", "app.json:1: this is not JSON: ");
    }
}
