//! One line of the log: what it says, apart from how it looks. `log_json` has the form for programs.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::{Number, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use unspool_config::without_secrets;
use unspool_supervisor::journal::EventKind;

use crate::display::{clean, is_obeyed};

/// Fields that say again what the message says: people are shown them only where it does not.
const IN_MESSAGE: [&str; 4] = ["error", "cause", "reason", "option"];
/// Fields that name a task: they have no texts of an application in them.
const NAMES: [&str; 4] = ["task", "id", "function", "host"];
/// Digits of an id that people are shown.
const ID_SHOWN: usize = 8;
/// What the name of an event begins with that was given none: it goes on with a place in the source.
const NAMELESS: &str = "event ";

/// A field, in the log's words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogField {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: Value,
    /// It is shown as it is, spaces and all.
    pub(crate) bare: bool,
}

/// A line, or several that belong together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// In nanoseconds since 1970.
    pub(crate) time_ns: i64,
    pub(crate) level: Level,
    /// The kind of event, if it is one of the list.
    pub(crate) event: Option<Cow<'static, str>>,
    pub(crate) message: String,
    pub(crate) fields: Vec<LogField>,
    /// A traceback.
    pub(crate) detail: String,
}

impl Record {
    pub(crate) fn of(event: &Event<'_>, time_ns: i64) -> Self {
        let metadata = event.metadata();
        let name = Some(metadata.name()).filter(|name| !name.starts_with(NAMELESS));
        let mut record = Self {
            time_ns,
            level: *metadata.level(),
            event: name.map(Cow::Borrowed),
            message: String::new(),
            fields: Vec::new(),
            detail: String::new(),
        };
        event.record(&mut record);
        record
    }

    /// What a process printed.
    pub(crate) fn printed(time_ns: i64, text: &[u8]) -> Self {
        Self {
            time_ns,
            level: Level::INFO,
            event: Some(Cow::Borrowed(OUTPUT)),
            message: String::from_utf8_lossy(text).into_owned(),
            fields: Vec::new(),
            detail: String::new(),
        }
    }

    /// Something about the log itself.
    pub(crate) fn about_log(time_ns: i64, kind: &EventKind, message: String) -> Self {
        Self {
            time_ns,
            level: kind.level,
            event: Some(Cow::Borrowed(kind.name)),
            message,
            fields: Vec::new(),
            detail: String::new(),
        }
    }

    /// The same as it may be shown: applications print, raise and log secrets, too.
    pub(crate) fn without_secrets(mut self) -> Self {
        for field in &mut self.fields {
            if let Value::String(text) = &mut field.value
                && !NAMES.contains(&field.name.as_ref())
            {
                *text = without_secrets(text);
            }
        }
        self.message = without_secrets(&self.message);
        self.detail = without_secrets(&self.detail);
        self
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.name == name).and_then(|field| field.value.as_str())
    }

    /// The number of a field.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.fields.iter().find(|field| field.name == name).and_then(|field| field.value.as_u64())
    }

    /// The fields as people read them, each with a space before it.
    pub(crate) fn write_fields(&self, out: &mut impl fmt::Write) -> fmt::Result {
        for LogField { name, value, bare } in &self.fields {
            // One that was read has whatever somebody wrote.
            let name = clean(name);
            let Value::String(text) = value else {
                write!(out, " {name}={}", clean(&value.to_string()))?;
                continue;
            };
            if IN_MESSAGE.contains(&name.as_str()) && self.message.contains(text.as_str()) {
                continue;
            }
            let text = match name.as_str() {
                "id" => text.get(text.len().saturating_sub(ID_SHOWN)..).unwrap_or(text),
                _ => text,
            };
            let odd = |c: char| c.is_whitespace() || is_obeyed(c);
            // File names come from outside: a newline in one must not look like an event.
            if *bare && text.chars().any(is_obeyed) {
                write!(out, " {name}={}", clean(text))?;
            } else if !bare && (text.is_empty() || text.contains(odd)) {
                write!(out, " {name}={}", clean(&format!("{text:?}")))?;
            } else {
                write!(out, " {name}={text}")?;
            }
        }
        Ok(())
    }

    fn add(&mut self, field: &Field, value: Value, bare: bool) {
        self.fields.push(LogField { name: Cow::Borrowed(field.name()), value, bare });
    }
}

/// The name of what processes print: no event of the daemon's.
pub(crate) const OUTPUT: &str = "output";

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "detail" => value.clone_into(&mut self.detail),
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, Value::from(value), false),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::from(value), true);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::from(value), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::from(value), true);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let value = Number::from_f64(value).map_or(Value::Null, Value::Number);
        self.add(field, value, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
            return;
        }
        self.add(field, Value::from(format!("{value:?}")), true);
    }
}
