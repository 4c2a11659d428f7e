//! What of the log is left where no daemon is: a file that the configuration names, and the records
//! of attempts.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use unspool_config::{Config, Logger};
use unspool_spool::{Attempt, Ending};
use unspool_supervisor::journal::{EventKind, TASK_EXPIRED, TASK_FAILED, TASK_INTERRUPTED};

use super::daemon::line_of;
use super::filter::Line;
use crate::log_json::level_of;
use crate::log_record::{LogField, Record};

/// The end of a file that is read.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What lines of a traceback begin with, in a log for people.
const INDENT: &str = "    ";
/// `2026-11-26 14:03:11.123`
const TIME_CHARACTERS: usize = 23;

/// The first of the configured log files that is there.
pub(super) fn log_file(config: &Config) -> Option<PathBuf> {
    let daemon = &config.daemon;
    let loggers = daemon.loggers.iter().filter_map(|logger| match logger {
        Logger::File { path, .. } => Some(path),
        _ => None,
    });
    let named = [&daemon.logto, &daemon.logto2].into_iter().flatten();
    let daemonize = daemon.daemonize.as_ref().map(|daemonize| &daemonize.log);
    named.chain(loggers).chain(daemonize).find(|path| path.is_file()).cloned()
}

/// The lines of a log file, and whether older ones were left out.
pub(super) fn lines_of_file(path: &Path) -> io::Result<(Vec<Line>, bool)> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(FILE_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    // The first line of a part is none.
    let skip =
        if start > 0 { bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1) } else { 0 };
    let mut lines: Vec<Line> = Vec::new();
    for bytes in bytes[skip..].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let text = String::from_utf8_lossy(bytes);
        if let Some(more) = text.strip_prefix(INDENT)
            && let Some(Line::Record(record)) = lines.last_mut()
        {
            record.detail.push_str(more);
            record.detail.push('\n');
            continue;
        }
        lines.push(match for_people(&text) {
            Some(record) => Line::Record(record),
            None => line_of(bytes),
        });
    }
    Ok((lines, start > 0))
}

/// Reads a line of the log for people.
fn for_people(line: &str) -> Option<Record> {
    let (time, rest) = line.split_at_checked(TIME_CHARACTERS)?;
    let time = time.parse::<DateTime>().ok()?.to_zoned_datetime(TimeZone::system()).ok()?;
    let (level, message) = rest.strip_prefix(' ')?.split_at_checked(6)?;
    Some(Record {
        time_ns: i64::try_from(time.timestamp().as_nanosecond()).ok()?,
        level: level_of(level.trim_end())?,
        event: None,
        message: message.to_owned(),
        fields: Vec::new(),
        detail: String::new(),
    })
}

/// A recorded attempt, as the log told of it.
pub(super) fn record_of(attempt: Attempt, task: &str, id: Option<String>) -> Record {
    let kind: EventKind = match attempt.outcome {
        Ending::Interrupted => TASK_INTERRUPTED,
        Ending::Expired => TASK_EXPIRED,
        _ => TASK_FAILED,
    };
    let message = match attempt.outcome {
        Ending::Interrupted => "task interrupted".to_owned(),
        Ending::Expired => "task given up".to_owned(),
        _ => format!("attempt {} failed", attempt.attempt),
    };
    let mut fields = Vec::new();
    let mut put = |name: &'static str, value: Value| {
        if !value.is_null() {
            fields.push(LogField { name: Cow::Borrowed(name), value, bare: true });
        }
    };
    put("task", task.into());
    put("function", Some(attempt.function).filter(|name| !name.is_empty()).into());
    put("pid", attempt.pid.into());
    put("host", Some(attempt.host).filter(|host| !host.is_empty()).into());
    put("attempt", attempt.attempt.into());
    put("ms", attempt.duration.map(|seconds| (seconds * 1e6).round() / 1e3).into());
    if attempt.traceback.is_empty() {
        put("error", attempt.error.into());
    }
    put("id", id.into());
    put("output", Some(attempt.output).filter(|text| !text.is_empty()).into());
    Record {
        time_ns: (attempt.at * 1e3) as i64 * 1_000_000,
        level: kind.level,
        event: Some(Cow::Borrowed(kind.name)),
        message,
        fields,
        detail: attempt.traceback,
    }
}
