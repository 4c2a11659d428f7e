//! The log: one line per event on standard error, or where options send it. Standard output is for
//! data.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use jiff::ZonedDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;
use unspool_config::{DaemonConfig, LogDate, LogForm};
use unspool_sys::background;

use crate::log_pipe::LogPipe;
use crate::log_queue::LogQueue;
use crate::log_sink::Sink;

/// `2026-11-23 14:44:18.195 ERROR task failed task=... attempt=1`, local time. A field `detail`
/// (a traceback) follows on lines of its own, indented, so that every event starts with its time.
///
/// In uWSGI's form an event is its message alone, behind uWSGI's date if that is asked for.
#[derive(Debug)]
struct Lines {
    colour: bool,
    form: LogForm,
    date: LogDate,
}

/// Events that repeat uWSGI's lines.
const UWSGI_TARGET: &str = "uwsgi";

/// How uWSGI writes a time, as ctime does.
const UWSGI_DATE: &str = "%a %b %e %H:%M:%S %Y";

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
        self.write_time(&mut writer)?;
        if self.form == LogForm::Uwsgi {
            writeln!(writer, "{}{}", line.message, line.fields)?;
            return writer.write_str(&line.detail);
        }
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

impl Lines {
    fn write_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let time = local_time();
        match (self.form, &self.date) {
            (LogForm::Unspool, LogDate::Format(format)) => {
                writer.write_str(&strftime(format, &time))
            }
            (LogForm::Unspool, _) => write!(writer, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.3f")),
            (LogForm::Uwsgi, LogDate::Off) => Ok(()),
            (LogForm::Uwsgi, LogDate::Usual) => write!(writer, "{} - ", time.strftime(UWSGI_DATE)),
            (LogForm::Uwsgi, LogDate::Format(format)) => {
                write!(writer, "{} - ", strftime(format, &time))
            }
        }
    }
}

/// The time in front of uWSGI's lines, as a format; `None`: there is none.
pub(crate) fn date_of_lines(date: &LogDate) -> Option<String> {
    match date {
        LogDate::Off => None,
        LogDate::Usual => Some(UWSGI_DATE.to_owned()),
        LogDate::Format(format) => Some(format.clone()),
    }
}

/// The formats were tried when the daemon started.
fn strftime(format: &str, time: &ZonedDateTime) -> String {
    jiff::fmt::strtime::format(format, time).unwrap_or_default()
}

/// Whether there is such a format; else the format, and what is wrong with it.
pub(crate) fn check_date(date: &LogDate) -> Result<(), (String, String)> {
    match date {
        LogDate::Off | LogDate::Usual => Ok(()),
        LogDate::Format(format) => match jiff::fmt::strtime::format(format, &local_time()) {
            Ok(_) => Ok(()),
            Err(error) => Err((format.clone(), error.to_string())),
        },
    }
}

/// Now, where the machine stands.
pub(crate) fn local_time() -> ZonedDateTime {
    let now_ns = unspool_sys::clock::now_ns();
    let time = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).unwrap_or_default();
    time.to_zoned_datetime(jiff::tz::TimeZone::system())
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

/// The log of a daemon.
#[derive(Debug)]
pub(crate) struct Log {
    queue: LogQueue,
    /// Where something else than standard error is written to: what the processes print.
    pipe: Option<LogPipe>,
    /// A file is among them.
    has_files: bool,
}

impl Log {
    /// Has the log files opened anew; `None` if there are none.
    pub(crate) fn reopener(&self) -> Option<impl FnMut() + Send + 'static> {
        let queue = self.queue.clone();
        self.has_files.then_some(move || queue.reopen())
    }

    /// Waits until what was logged is written, or nobody seems to read it.
    pub(crate) fn flush(&self) {
        if let Some(pipe) = &self.pipe {
            pipe.drain();
        }
        self.queue.flush();
    }
}

/// Sends events to these places, by a queue; without any to standard error. `filter` is a level or
/// a list of `target=level`.
pub(crate) fn start(
    filter: Option<&str>,
    mut sinks: Vec<Sink>,
    config: &DaemonConfig,
) -> io::Result<Log> {
    let elsewhere = !sinks.is_empty();
    if !elsewhere {
        sinks.push(Sink::stderr(background::keep_error_output()?.into()));
    }
    let has_files = sinks.iter().any(Sink::is_file);
    let queue = LogQueue::start(sinks)?;
    let pipe = elsewhere.then(|| LogPipe::start(queue.clone())).transpose()?;
    let writer = queue.clone();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(filter.unwrap_or_default());
    // Who wants uWSGI's lines wants them whatever else is shown.
    let level = if config.log_form == LogForm::Uwsgi { "info" } else { "off" };
    let filter = match format!("{UWSGI_TARGET}={level}").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Lines {
            colour: !elsewhere && io::stderr().is_terminal(),
            form: config.log_form,
            date: config.log_date.clone(),
        })
        .with_writer(move || writer.clone())
        .init();
    Ok(Log { queue, pipe, has_files })
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
    complain_text(&with_causes(error));
}

/// Prints a sentence to standard error.
pub(crate) fn complain_text(text: &str) {
    let text = format!("unspool: {text}");
    // Nobody is left who could be told that this cannot be told.
    let _ = writeln!(io::stderr(), "{text}");
}
