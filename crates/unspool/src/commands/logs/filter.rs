//! Which lines somebody wants to see.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use tracing::Level;
use unspool_spool::{FindError, Whereabouts};

use crate::cli::LogsOptions;
use crate::log_json::level_of;
use crate::log_record::Record;

/// Tasks that are counted of those that may be meant, and that an error names.
const NAMES_MAX: usize = 1000;
const NAMES_SHOWN: usize = 3;

/// A line of a log.
#[derive(Debug)]
pub(crate) enum Line {
    Record(Record),
    /// One that has neither level nor time, as what a process printed into a file.
    Plain(String),
}

/// A choice of lines.
#[derive(Debug, Default)]
pub(super) struct Filter {
    level: Option<Level>,
    function: Option<String>,
    since_ns: Option<i64>,
    task: Option<TaskFilter>,
    /// Attempts that are shown from the record: their lines are left out.
    recorded: BTreeSet<u64>,
    /// Lines without level, function or time, which could not be judged.
    pub(super) unjudged: u64,
    /// When the last line was written that has a time.
    time_ns: Option<i64>,
}

#[derive(Debug)]
struct TaskFilter {
    /// What was typed, without the folders of a path.
    part: String,
    /// The file that is meant, once it is known.
    names: BTreeSet<String>,
}

/// An option that says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    #[error("`{0}` is no level: write error, warning, info, debug or trace")]
    Level(String),
    #[error(
        "`{0}` is no time: write how long ago (`10m`, `2h 30m`), a time of today (`14:03`), a date \
         and a time (`2026-11-26 14:03`, RFC 3339), or seconds since 1970"
    )]
    Since(String),
}

impl Filter {
    pub(super) fn new(options: &LogsOptions, now: &ZonedDateTime) -> Result<Self, FilterError> {
        let level = options.level.as_deref();
        let level = level.map(|text| level_of(text).ok_or_else(|| FilterError::Level(text.into())));
        let since = options.since.as_deref();
        let since =
            since.map(|text| time_of(text, now).ok_or_else(|| FilterError::Since(text.into())));
        Ok(Self {
            level: level.transpose()?,
            function: options.func.clone(),
            since_ns: since.transpose()?,
            ..Self::default()
        })
    }

    /// Only what concerns this task: its file if that is there, else the one of which these lines tell.
    ///
    /// # Errors
    /// They tell of several that may be meant.
    pub(super) fn only_of(
        &mut self,
        given: &[u8],
        found: Option<&Whereabouts>,
        lines: &[Line],
    ) -> Result<(), FindError> {
        let given = String::from_utf8_lossy(given);
        let part = given.rsplit('/').next().unwrap_or_default().to_owned();
        let names = found.map(|task| String::from_utf8_lossy(task.name()).into_owned());
        let mut task = TaskFilter { part, names: names.into_iter().collect() };
        if task.names.is_empty() {
            task.names = task.told_of(lines);
        }
        if task.names.len() > 1 {
            let shown = task.names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`"));
            return Err(FindError::Ambiguous {
                given: given.clone().into_owned(),
                tasks: task.names.len(),
                paths: shown.collect::<Vec<_>>().join(", "),
            });
        }
        self.task = Some(task);
        Ok(())
    }

    /// This attempt of the task was shown already.
    pub(super) fn shown(&mut self, attempt: u64) {
        self.recorded.insert(attempt);
    }

    pub(super) fn wants(&mut self, line: &Line) -> bool {
        match line {
            Line::Record(record) => self.wants_record(record),
            Line::Plain(text) => self.wants_plain(text),
        }
    }

    fn wants_record(&mut self, record: &Record) -> bool {
        self.time_ns = Some(record.time_ns);
        if self.since_ns.is_some_and(|since_ns| record.time_ns < since_ns)
            || self.level.is_some_and(|level| record.level > level)
        {
            return false;
        }
        if let Some(function) = &self.function
            && field(record, "function") != Some(function)
        {
            return false;
        }
        let Some(task) = &mut self.task else { return true };
        if !task.is_about(record) {
            return false;
        }
        let attempt = record.number("attempt").filter(|_| !record.detail.is_empty());
        !attempt.is_some_and(|attempt| self.recorded.contains(&attempt))
    }

    fn wants_plain(&mut self, text: &str) -> bool {
        let early = matches!((self.since_ns, self.time_ns), (Some(since), Some(at)) if at < since);
        if early {
            return false;
        }
        if let Some(task) = &self.task {
            return self.level.is_none() && self.function.is_none() && task.is_named_in(text);
        }
        let unknown = self.since_ns.is_some() && self.time_ns.is_none();
        if self.level.is_some() || self.function.is_some() || unknown {
            self.unjudged += 1;
            return false;
        }
        true
    }
}

impl TaskFilter {
    /// The files of tasks of which these lines tell that may be meant: by their ids, or else by their
    /// names.
    fn told_of(&self, lines: &[Line]) -> BTreeSet<String> {
        let (mut by_id, mut by_name) = (BTreeSet::new(), BTreeSet::new());
        for line in lines {
            let Line::Record(record) = line else { continue };
            let Some(file) = file_of(record) else { continue };
            if file == self.part {
                return BTreeSet::from([file.to_owned()]);
            }
            let is_id = field(record, "id").is_some_and(|id| self.fits_id(id));
            let found = match (is_id, file.contains(&self.part)) {
                (true, _) => &mut by_id,
                (false, true) => &mut by_name,
                (false, false) => continue,
            };
            if found.len() < NAMES_MAX && !found.contains(file) {
                found.insert(file.to_owned());
            }
        }
        if by_id.is_empty() { by_name } else { by_id }
    }

    fn fits_id(&self, id: &str) -> bool {
        let part = self.part.to_ascii_lowercase();
        // People are shown the end of an id.
        id.starts_with(&part) || id.ends_with(&part) || part.ends_with(id)
    }

    fn is_about(&mut self, record: &Record) -> bool {
        let file = file_of(record);
        if !self.names.is_empty() {
            return file.is_some_and(|file| self.names.contains(file));
        }
        // None was told of so far: the first that fits is meant.
        let fits = field(record, "id").is_some_and(|id| self.fits_id(id))
            || file.is_some_and(|file| file.contains(&self.part));
        if let Some(file) = file.filter(|_| fits) {
            self.names.insert(file.to_owned());
        }
        fits
    }

    fn is_named_in(&self, text: &str) -> bool {
        if self.names.is_empty() {
            return text.contains(&self.part);
        }
        self.names.iter().any(|name| text.contains(name))
    }
}

/// The name of the file of the task that a line is about.
fn file_of(record: &Record) -> Option<&str> {
    field(record, "task").map(|task| task.rsplit('/').next().unwrap_or(task))
}

/// A field, also of a line for people.
fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    if record.event.is_some() || !record.fields.is_empty() {
        return record.text(name);
    }
    let (_, rest) = record.message.split_once(&format!(" {name}="))?;
    rest.split_whitespace().next()
}

/// Microseconds since 1970 that are no time any more: nanoseconds of them would not fit.
const US_MAX: f64 = 9.2e15;

/// A moment that somebody typed, in nanoseconds since 1970.
fn time_of(text: &str, now: &ZonedDateTime) -> Option<i64> {
    let ns = |time: Timestamp| i64::try_from(time.as_nanosecond()).ok();
    if let Ok(seconds) = text.parse::<f64>() {
        let us = (seconds * 1e6).round();
        // Nor is what is no number a time, or what no clock shows.
        return (us.abs() < US_MAX).then(|| us as i64 * 1000);
    }
    if let Ok(ago) = text.parse::<Span>() {
        return ns(now.checked_sub(ago.abs()).ok()?.timestamp());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return ns(time);
    }
    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| Some(now.date().to_datetime(text.parse::<Time>().ok()?)));
    ns(civil?.to_zoned_datetime(now.time_zone().clone()).ok()?.timestamp())
}

/// Now, for times that are relative to it.
pub(super) fn now() -> ZonedDateTime {
    crate::logging::local_time().with_time_zone(TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_typed_in_many_ways() {
        let now: ZonedDateTime = "2026-11-26T14:10:00+01:00[Europe/Berlin]".parse().unwrap();
        let at = |text: &str| time_of(text, &now).map(|ns| ns / 1_000_000_000);
        let wanted = Some(1_795_698_180 - 3600 + 3600);
        for text in [
            "7m",
            "7 minutes ago",
            "14:03",
            "2026-11-26 14:03",
            "2026-11-26T14:03:00",
            "2026-11-26T14:03:00+01:00",
            "2026-11-26T13:03:00Z",
        ] {
            assert_eq!(at(text), at("2026-11-26T13:03:00Z"), "{text}");
        }
        assert!(at("14:03") > wanted.map(|seconds| seconds - 100_000));
        assert_eq!(at("12.5"), Some(12));
        for none in ["soon", "nan", "-NaN", "inf", "-infinity", "1e300", "9.3e9"] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}
