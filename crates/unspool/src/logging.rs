//! The log: one line per event on standard error. Standard output is for data.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::log_queue::LogQueue;

/// `2026-11-23 14:44:18.195 ERROR task failed task=... attempt=1`, local time. A field `detail`
/// (a traceback) follows on lines of its own, indented, so that every event starts with its time.
#[derive(Debug)]
struct Lines {
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => ("ERROR", "31"),
            Level::WARN => ("WARN ", "33"),
            Level::INFO => ("INFO ", "32"),
            Level::DEBUG => ("DEBUG", "34"),
            Level::TRACE => ("TRACE", "35"),
        };
        write_time(&mut writer)?;
        if self.colour {
            write!(writer, " \x1b[{colour}m{level}\x1b[0m ")?;
        } else {
            write!(writer, " {level} ")?;
        }
        writeln!(writer, "{}{}", line.message, line.fields)?;
        for text in line.detail.trim_end().lines() {
            writeln!(writer, "    {text}")?;
        }
        Ok(())
    }
}

fn write_time(writer: &mut Writer<'_>) -> fmt::Result {
    let now_ns = unspool_sys::clock::now_ns();
    let time = jiff::Timestamp::from_nanosecond(i128::from(now_ns))
        .map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()));
    match time {
        Ok(time) => write!(writer, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.3f")),
        Err(_) => writer.write_char('-'),
    }
}

/// The parts of one event.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
    detail: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "detail" => value.clone_into(&mut self.detail),
            "message" => value.clone_into(&mut self.message),
            name => {
                let odd = |c: char| c.is_whitespace() || c.is_control();
                let quoted = value.is_empty() || value.contains(odd);
                let _ = if quoted {
                    write!(self.fields, " {name}={value:?}")
                } else {
                    write!(self.fields, " {name}={value}")
                };
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
            return;
        }
        // File names come from outside: a newline in one must not look like an event.
        let text = format!("{value:?}");
        let clean = text.chars().all(|c| !c.is_control());
        let text = if clean { text } else { text.escape_debug().to_string() };
        let _ = write!(self.fields, " {}={text}", field.name());
    }
}

/// Sends events to standard error, by a queue. `filter` is a level or a list of `target=level`.
pub(crate) fn start(filter: Option<&str>) -> io::Result<LogQueue> {
    let queue = LogQueue::start()?;
    let writer = queue.clone();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(filter.unwrap_or_default());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Lines { colour: std::io::stderr().is_terminal() })
        .with_writer(move || writer.clone())
        .init();
    Ok(queue)
}

/// An error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Prints an error with its causes to standard error.
pub(crate) fn complain(error: &dyn std::error::Error) {
    let text = format!("unspool: {}", with_causes(error));
    // Nobody is left who could be told that this cannot be told.
    let _ = writeln!(io::stderr(), "{text}");
}
