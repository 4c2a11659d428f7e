//! How lines are shown.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use unspool_config::{Environment, without_secrets};

use super::filter::Line;
use crate::display::{clean_lines, json_line};
use crate::log_record::{OUTPUT, Record};
use crate::logging::{write_human, write_human_time};

/// The field with what a recorded attempt printed.
const PRINTED: &str = "output";

/// Standard output. Whoever reads it may go: then nothing is written any more.
#[derive(Debug)]
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    colour: bool,
    /// How many lines of those that are there are shown.
    last: Option<usize>,
    held: VecDeque<Line>,
    pub(super) lines: u64,
    /// Why nothing is written any more.
    pub(super) closed: Option<io::Error>,
}

impl Printer {
    pub(super) fn new(json: bool, last: Option<usize>) -> Self {
        let colour = !json && io::stdout().is_terminal() && !has_no_colour();
        let out = BufWriter::new(io::stdout().lock());
        Self { out, json, colour, last, held: VecDeque::new(), lines: 0, closed: None }
    }

    /// Shows a line, now or when all are there of which it may be one of the last.
    pub(super) fn line(&mut self, line: Line) {
        let line = match line {
            Line::Record(record) => Line::Record(record.without_secrets()),
            Line::Plain(plain) => Line::Plain(without_secrets(&plain)),
        };
        match self.last {
            None => self.show(&line),
            Some(0) => {}
            Some(last) => {
                if self.held.len() == last {
                    self.held.pop_front();
                }
                self.held.push_back(line);
            }
        }
    }

    /// What is there was read; what comes is shown at once.
    pub(super) fn all_is_there(&mut self) {
        self.last = None;
        for line in std::mem::take(&mut self.held) {
            self.show(&line);
        }
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        let flushed = self.out.flush();
        self.closed = self.closed.take().or(flushed.err());
    }

    /// Whether all was written.
    pub(super) fn end(self) -> io::Result<()> {
        self.closed.map_or(Ok(()), Err)
    }

    fn show(&mut self, line: &Line) {
        self.lines += 1;
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = match line {
            Line::Record(record) if self.json => writeln!(text, "{}", record.to_json()),
            Line::Record(record) => write_record(&mut text, record, self.colour),
            Line::Plain(plain) if self.json => {
                write!(text, "{}", json_line(&serde_json::json!({ "message": plain })))
            }
            Line::Plain(plain) => writeln!(text, "{}", clean_lines(plain)),
        };
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        if self.closed.is_none() {
            self.closed = self.out.write_all(text.as_bytes()).err();
        }
    }
}

/// Whether the environment asks for no colours.
fn has_no_colour() -> bool {
    let environment = Environment::current();
    environment.variable("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn write_record(text: &mut String, record: &Record, colour: bool) -> std::fmt::Result {
    write_human_time(text, record.time_ns)?;
    if record.event.as_deref() == Some(OUTPUT) {
        return writeln!(text, "  |    {}", clean_lines(&record.message));
    }
    let Some(output) = record.text(PRINTED) else { return write_human(text, record, colour) };
    let mut rest = record.clone();
    rest.fields.retain(|field| field.name != PRINTED);
    write_human(text, &rest, colour)?;
    writeln!(text, "    it printed:")?;
    for line in output.lines() {
        writeln!(text, "    | {}", clean_lines(line))?;
    }
    Ok(())
}
