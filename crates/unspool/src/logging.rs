//! The log: one line per event on standard error. Standard output is for data.

use std::fmt::Write as _;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Local time, to the millisecond.
#[derive(Debug)]
struct LocalTime;

impl FormatTime for LocalTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let now_ns = unspool_sys::clock::now_ns();
        let time = jiff::Timestamp::from_nanosecond(i128::from(now_ns))
            .map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()));
        match time {
            Ok(time) => write!(writer, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.3f")),
            Err(_) => writer.write_char('-'),
        }
    }
}

/// Sends events to standard error. `filter` is a level or a list of `target=level`.
pub(crate) fn start(filter: Option<&str>) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(filter.unwrap_or_default());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(LocalTime)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Prints an error with its causes to standard error.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
pub(crate) fn complain(error: &dyn std::error::Error) {
    let mut text = format!("unspool: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    eprintln!("{text}");
}
