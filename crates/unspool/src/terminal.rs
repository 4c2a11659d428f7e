//! What commands write: whether it arrived, how far long work is, and a question before many tasks go.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::logging::complain;
use crate::{display, exit};

/// What a command found out, and could not write.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct OutputError(#[source] io::Error);

/// The exit status of a command that shows something and ends with `status`, if its output was written
/// so. Whoever reads it may go: that is no error.
pub(crate) fn printed(written: io::Result<()>, status: u8) -> u8 {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&OutputError(error));
            exit::worse(status, exit::FAILED)
        }
        _ => status,
    }
}

/// Writes all that a command shows, which ends with `status` then.
pub(crate) fn print(text: &str, status: u8) -> u8 {
    let mut output = io::stdout().lock();
    printed(output.write_all(text.as_bytes()).and_then(|()| output.flush()), status)
}

/// Standard output for lines that come one by one; remembers the first that could not be written.
#[derive(Debug)]
pub(crate) struct Shown {
    output: io::StdoutLock<'static>,
    failed: Option<io::Error>,
}

impl Shown {
    pub(crate) fn new() -> Self {
        Self { output: io::stdout().lock(), failed: None }
    }

    /// The exit status of a command that shows something and ends with `status`; see [`printed`].
    pub(crate) fn end(mut self, status: u8) -> u8 {
        let flushed = self.output.flush();
        printed(self.failed.map_or(flushed, Err), status)
    }
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes);
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::Interrupted
            && self.failed.is_none()
        {
            self.failed = Some(io::Error::from(error.kind()));
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// How far many tasks are, on standard error if that is a terminal.
pub(crate) fn progress(what: &'static str) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target).with_message(what);
    let style = ProgressStyle::with_template("{msg}: {human_pos} tasks, {rate}");
    // `per_sec` of the crate has four decimals.
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{} per second", display::grouped(state.per_sec() as u64));
    };
    style.map_or(bar.clone(), |style| bar.with_style(style.with_key("rate", rate)))
}

/// Asks on the terminal whether something is to be done. `None`: there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{} [y/N] ", display::clean(question))
        .and_then(|()| io::stderr().flush());
    asked.and_then(|()| io::stdin().read_line(&mut answer)).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}
