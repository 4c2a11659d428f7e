//! The log: one line per event on standard error, or where options send it. Standard output is for
//! data.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use jiff::ZonedDateTime;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;
use unspool_config::{DaemonConfig, LogDate, LogForm};
use unspool_supervisor::journal::LineRing;
use unspool_sys::background;

use crate::display;
use crate::log_pipe::{LogPipe, Printed};
use crate::log_queue::LogQueue;
use crate::log_record::Record;
use crate::log_sink::Sink;

/// `2026-11-23 14:44:18.195 ERROR task failed task=... attempt=1`, local time. A field `detail`
/// (a traceback) follows on lines of its own, indented, so that every event starts with its time.
///
/// As JSON it is what `log_json` makes of it. In uWSGI's form an event is its message alone, behind
/// uWSGI's date if that is asked for.
#[derive(Debug)]
struct Lines {
    colour: bool,
    form: LogForm,
    date: LogDate,
    ring: Arc<LineRing>,
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
        let record = Record::of(event, unspool_sys::clock::now_ns());
        let json = record.to_json();
        self.ring.push(record.to_kept_json(&json).as_bytes());
        match self.form {
            LogForm::Json => writeln!(writer, "{json}"),
            LogForm::Uwsgi => {
                self.write_time(&mut writer, &record)?;
                writer.write_str(&display::clean_lines(&record.message))?;
                record.write_fields(&mut writer)?;
                writeln!(writer)?;
                // Its last line may have no end, and the next event is a line of its own.
                for text in record.detail.trim_end().lines() {
                    writeln!(writer, "{}", display::clean_lines(text))?;
                }
                Ok(())
            }
            LogForm::Unspool => {
                self.write_time(&mut writer, &record)?;
                write_human(&mut writer, &record, self.colour)
            }
        }
    }
}

/// A line as people read it, behind its time.
pub(crate) fn write_human(out: &mut impl fmt::Write, record: &Record, colour: bool) -> fmt::Result {
    let (level, code) = match record.level {
        Level::ERROR => ("ERROR", "31"),
        Level::WARN => ("WARN ", "33"),
        Level::INFO => ("INFO ", "32"),
        Level::DEBUG => ("DEBUG", "34"),
        Level::TRACE => ("TRACE", "35"),
    };
    if colour {
        write!(out, " \x1b[{code}m{level}\x1b[0m ")?;
    } else {
        write!(out, " {level} ")?;
    }
    out.write_str(&display::clean_lines(&record.message))?;
    record.write_fields(out)?;
    writeln!(out)?;
    for text in record.detail.trim_end().lines() {
        // What an application raised commands no terminal.
        writeln!(out, "    {}", display::clean_lines(text))?;
    }
    Ok(())
}

/// The time of a line as people read it.
pub(crate) fn write_human_time(out: &mut impl fmt::Write, time_ns: i64) -> fmt::Result {
    write!(out, "{}", local(time_ns).strftime("%Y-%m-%d %H:%M:%S%.3f"))
}

impl Lines {
    fn write_time(&self, writer: &mut Writer<'_>, record: &Record) -> fmt::Result {
        let time = local(record.time_ns);
        match (self.form, &self.date) {
            (LogForm::Unspool | LogForm::Json, LogDate::Format(format)) => {
                writer.write_str(&strftime(format, &time))
            }
            (LogForm::Unspool | LogForm::Json, _) => write_human_time(writer, record.time_ns),
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
    local(unspool_sys::clock::now_ns())
}

/// A time in nanoseconds since 1970, where the machine stands.
pub(crate) fn local(time_ns: i64) -> ZonedDateTime {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    time.to_zoned_datetime(jiff::tz::TimeZone::system())
}

/// The log of a daemon.
#[derive(Debug)]
pub(crate) struct Log {
    queue: LogQueue,
    /// Where something else than standard error is written to: what the processes print.
    pipe: Option<LogPipe>,
    /// A file is among them.
    has_files: bool,
    /// One of them is rotated.
    rotates: bool,
}

impl Log {
    /// Has the log files opened anew; `None` if there are none.
    pub(crate) fn reopener(&self) -> Option<impl FnMut() + Send + 'static> {
        let queue = self.queue.clone();
        self.has_files.then_some(move || queue.reopen())
    }

    /// Has the log file moved away and begun anew; `None` if there is none.
    pub(crate) fn rotator(&self) -> Option<impl FnMut() + Send + 'static> {
        let queue = self.queue.clone();
        self.rotates.then_some(move || queue.rotate())
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
/// a list of `target=level`. `ring` gets them too.
pub(crate) fn start(
    filter: Option<&str>,
    mut sinks: Vec<Sink>,
    config: &DaemonConfig,
    ring: &Arc<LineRing>,
) -> io::Result<Log> {
    let json = config.log_form == LogForm::Json;
    let elsewhere = !sinks.is_empty();
    if !elsewhere {
        sinks.push(Sink::stderr(background::keep_error_output()?.into()));
    }
    let has_files = sinks.iter().any(Sink::is_file);
    let rotates = sinks.iter().any(Sink::is_rotated);
    let queue = LogQueue::start(sinks, json)?;
    // A line that a process printed is no JSON.
    let pipe = (elsewhere || json).then(|| {
        let ring = Arc::clone(ring);
        LogPipe::start(Printed { queue: queue.clone(), ring, json })
    });
    let pipe = pipe.transpose()?;
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
            ring: Arc::clone(ring),
        })
        .with_writer(move || writer.clone())
        .init();
    Ok(Log { queue, pipe, has_files, rotates })
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

/// Ends a command that steers something: why it failed as a whole is an object, too, if it prints JSON.
pub(crate) fn complain_as_asked(error: &dyn std::error::Error, as_json: bool) {
    complain(error);
    if as_json {
        let row = display::json_line(&serde_json::json!({ "error": with_causes(error) }));
        let _ = write!(io::stdout(), "{row}");
    }
}

/// Prints a sentence to standard error.
pub(crate) fn complain_text(text: &str) {
    // Names and what others said come from outside.
    let text = format!("unspool: {}", display::clean_lines(text));
    // Nobody is left who could be told that this cannot be told.
    let _ = writeln!(io::stderr(), "{text}");
}
