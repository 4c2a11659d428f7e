//! The log for programs: each line a JSON object, with names and units that docs/reference/events.md
//! lists. `unspool logs` reads them again.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Number, Value};
use tracing::Level;
use unspool_supervisor::journal::LINE_BYTES_MAX;

use crate::display::json_escaped;
use crate::log_record::{LogField, Record};

/// Kinds of events whose `pid` is that of a worker.
const OF_WORKERS: [&str; 4] = ["task.", "worker.", "tick.", "output"];
/// What a traceback is cut to, its end, in a line that is too long to be kept in memory.
const DETAIL_BYTES_MAX: usize = 4 * 1024;
/// What every other text of such a line is cut to.
const TEXT_BYTES_MAX: usize = 128;

impl Record {
    /// The line, without its newline.
    pub(crate) fn to_json(&self) -> String {
        let mut line = Line::default();
        line.put("time", &Value::from(rfc3339(self.time_ns)));
        line.put("unix", &number((self.time_ns / 1000) as f64 / 1e6, 6));
        line.put("level", &Value::from(level_name(self.level)));
        if let Some(event) = &self.event {
            line.put("event", &Value::from(event.as_ref()));
        }
        line.put("message", &Value::from(self.message.as_str()));
        for field in &self.fields {
            let (name, value) = self.outward(&field.name, &field.value);
            line.put(name, &value);
            if name == "task"
                && let Some((priority, _)) = self.text("task").and_then(|task| task.split_once('/'))
            {
                line.put("priority", &Value::from(priority));
            }
        }
        if !self.detail.is_empty() {
            if self.text("error").is_none()
                && let Some(last) = last_line(&self.detail)
            {
                line.put("error", &Value::from(last));
            }
            line.put("detail", &Value::from(self.detail.trim_end()));
        }
        line.end()
    }

    /// The same, which is given, cut if it is longer than what is kept in memory.
    pub(crate) fn to_kept_json<'a>(&self, whole: &'a str) -> Cow<'a, str> {
        if whole.len() <= LINE_BYTES_MAX {
            return Cow::Borrowed(whole);
        }
        let mut cut = self.clone();
        cut.detail = end_of(&cut.detail, DETAIL_BYTES_MAX).to_owned();
        cut.message = start_of(&cut.message, TEXT_BYTES_MAX).to_owned();
        for field in &mut cut.fields {
            if let Value::String(text) = &field.value {
                field.value = Value::from(start_of(text, TEXT_BYTES_MAX));
            }
        }
        Cow::Owned(cut.to_json())
    }

    /// A field's name and value in the form for programs: seconds, and whose process it is.
    fn outward<'a>(&self, name: &'a str, value: &Value) -> (&'a str, Value) {
        let scaled = |by: f64| value.as_f64().map_or_else(|| value.clone(), |n| number(n * by, 9));
        match name {
            "ms" => ("duration_s", scaled(1e-3)),
            "seconds" => ("duration_s", scaled(1.0)),
            "again_ms" => ("again_s", scaled(1e-3)),
            "pid" if self.is_of_a_worker() => ("worker", value.clone()),
            "worker" => ("number", value.clone()),
            name => (name, value.clone()),
        }
    }

    fn is_of_a_worker(&self) -> bool {
        let event = self.event.as_deref().unwrap_or_default();
        OF_WORKERS.iter().any(|start| event.starts_with(start))
    }

    /// Reads such a line; `None` if it is none.
    pub(crate) fn from_json(line: &[u8]) -> Option<Self> {
        let Members(mut line) = serde_json::from_slice(line).ok()?;
        let mut take = |name: &str| {
            let at = line.iter().position(|(member, _)| member == name)?;
            Some(line.remove(at).1)
        };
        let mut text = |name: &str| match take(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (level, message) = (level_of(&text("level")?)?, text("message")?);
        let (event, detail) = (text("event"), text("detail").unwrap_or_default());
        let time_ns = (take("unix")?.as_f64()? * 1e6).round() as i64 * 1000;
        take("time");
        take("priority");
        let last = last_line(&detail).map(Value::from);
        line.retain(|(name, value)| name != "error" || Some(value) != last.as_ref());
        let mut record = Self {
            time_ns,
            level,
            event: event.map(Cow::Owned),
            message,
            fields: Vec::new(),
            detail,
        };
        for (name, value) in line {
            let (name, value) = record.inward(name, value);
            record.fields.push(LogField { name, value, bare: false });
        }
        Some(record)
    }

    fn inward(&self, name: String, value: Value) -> (Cow<'static, str>, Value) {
        let event = self.event.as_deref().unwrap_or_default();
        let thousands = || value.as_f64().map_or_else(|| value.clone(), |s| number(s * 1e3, 6));
        match name.as_str() {
            "duration_s" if event.starts_with("cron.") => ("seconds".into(), value),
            "duration_s" => ("ms".into(), thousands()),
            "worker" => ("pid".into(), value),
            "number" => ("worker".into(), value),
            _ => (name.into(), value),
        }
    }
}

/// An object in the making, whose members keep their order.
#[derive(Debug, Default)]
struct Line(String);

impl Line {
    fn put(&mut self, name: &str, value: &Value) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // Writing into a String cannot fail.
        let _ = write!(self.0, "{}:{value}", Value::from(name));
    }

    fn end(mut self) -> String {
        self.0.push('}');
        json_escaped(self.0)
    }
}

/// The members of an object, in their order.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// To so many digits behind the point: a product of floats has more than it should.
fn number(value: f64, digits: i32) -> Value {
    let scale = 10f64.powi(digits);
    Number::from_f64((value * scale).round() / scale).map_or(Value::Null, Value::Number)
}

fn rfc3339(time_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
}

pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The level of a name, short or long, small or capital.
pub(crate) fn level_of(name: &str) -> Option<Level> {
    match name.to_ascii_lowercase().as_str() {
        "error" => Some(Level::ERROR),
        "warn" | "warning" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

/// The last line of a traceback: what was raised.
fn last_line(detail: &str) -> Option<&str> {
    detail.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

fn start_of(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn end_of(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let field = |name: &'static str, value: Value| LogField {
            name: name.into(),
            value,
            bare: name == "task",
        };
        Record {
            time_ns: 1_764_165_791_123_456_000,
            level: Level::ERROR,
            event: Some("task.failed".into()),
            message: "task failed".to_owned(),
            fields: vec![
                field("task", "5/uwsgi_spoolfile_on_h_1_2_3_4_5".into()),
                field("pid", 12.into()),
                field("ms", 1.5.into()),
                field("id", "0123456789abcdef0123456789abcdef".into()),
            ],
            detail: "Traceback:\n  File x\nValueError: no\n".to_owned(),
        }
    }

    #[test]
    fn a_line_has_names_and_units_for_programs() {
        let line: Value = serde_json::from_str(&record().to_json()).unwrap();
        for (name, value) in [
            ("unix", Value::from(1_764_165_791.123_456)),
            ("level", "error".into()),
            ("event", "task.failed".into()),
            ("priority", "5".into()),
            ("worker", 12.into()),
            ("duration_s", 0.0015.into()),
            ("error", "ValueError: no".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        assert!(line["time"].as_str().unwrap().contains(".123456"));
    }

    #[test]
    fn a_line_that_is_read_looks_as_it_did() {
        let made = record();
        let read = Record::from_json(made.to_json().as_bytes()).unwrap();
        let (mut before, mut after) = (String::new(), String::new());
        made.write_fields(&mut before).unwrap();
        read.write_fields(&mut after).unwrap();
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&before), sorted(&after));
        assert_eq!((read.time_ns, read.level), (made.time_ns, made.level));
    }

    #[test]
    fn a_line_of_others_commands_no_terminal() {
        let odd = "a\\u001b[31m\u{7f}\u{9b}\u{61c}\u{202e}";
        let line = format!(
            r#"{{"unix":1,"level":"info","message":"m","{odd}":1,"b":["{odd}"],"c":"{odd}","task":"{odd} x"}}"#
        );
        let mut record = Record::from_json(line.as_bytes()).unwrap();
        for bare in [false, true] {
            record.fields.iter_mut().for_each(|field| field.bare = bare);
            let mut shown = String::new();
            record.write_fields(&mut shown).unwrap();
            for text in [shown, record.to_json()] {
                assert!(!text.chars().any(crate::display::is_obeyed), "{text:?}");
            }
        }
        let again = Record::from_json(record.to_json().as_bytes()).unwrap();
        let values = |record: &Record| {
            record.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&record));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut long = record();
        long.detail = format!("{}\nValueError: é", "é\u{1}".repeat(LINE_BYTES_MAX));
        long.message = "\u{1}".repeat(LINE_BYTES_MAX);
        let whole = long.to_json();
        let line = long.to_kept_json(&whole);
        assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
        assert!(line.contains("ValueError: é"));
    }
}
