//! The lines that daemons keep in memory, over their control sockets: a packet is asked for after the
//! other, so that the daemon never waits for who reads.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use unspool_spool::{Question, ask_daemons};
use unspool_wire::request::Reply;

use super::filter::Line;
use crate::log_record::Record;

/// How long a daemon may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long it may take to read what is there.
const TURN_WAIT: Duration = Duration::from_millis(100);

/// A daemon whose log is read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) pid: u32,
    question: Question,
    /// The number of the next line.
    next: u64,
    /// Something was asked that is not answered yet.
    asked: bool,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    Lines(Vec<Line>),
    /// So many lines came and went before they were read.
    Lost(u64),
}

/// The daemons that run these spools, with why one cannot be asked. Who says at once that it follows
/// may be as slow as it is: others are not waited for.
pub(crate) fn readers(spools: &[PathBuf], follow: bool) -> (Vec<Reader>, Vec<(u32, io::Error)>) {
    let (mut readers, mut failures) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for spool in spools {
        for (pid, question) in ask_daemons(spool, &request(0, follow), ANSWER_WAIT) {
            if !seen.insert(pid) {
                continue;
            }
            match question {
                Ok(question) => readers.push(Reader { pid, question, next: 0, asked: true }),
                Err(error) => failures.push((pid, error)),
            }
        }
    }
    (readers, failures)
}

fn request(from: u64, wait: bool) -> Vec<u8> {
    json!({"type": "log", "from": from, "wait": wait}).to_string().into_bytes()
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.question.as_fd()
    }
}

impl Reader {
    /// The lines that are kept, and not read yet; none: that was all.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Heard>> {
        if !self.asked {
            self.question.ask(&request(self.next, false))?;
        }
        self.asked = true;
        let heard = self.hear(ANSWER_WAIT)?;
        heard.ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))
    }

    /// Asks for what is new, if that is not asked for already.
    pub(super) fn ask_news(&mut self) -> io::Result<()> {
        if !self.asked {
            // One that ends says its last unasked.
            let asked = self.question.ask(&request(self.next, true));
            if let Err(error) = asked
                && !matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                )
            {
                return Err(error);
            }
            self.asked = true;
        }
        Ok(())
    }

    /// What is new, once there is something to be read.
    pub(super) fn hear_news(&mut self) -> io::Result<Vec<Heard>> {
        Ok(self.hear(TURN_WAIT)?.unwrap_or_default())
    }

    /// `None`: no answer came in time.
    fn hear(&mut self, wait: Duration) -> io::Result<Option<Vec<Heard>>> {
        let Some(answer) = self.question.answer(wait)? else { return Ok(None) };
        self.asked = false;
        let end = answer.iter().position(|byte| *byte == 0).unwrap_or(answer.len());
        let (object, text) = answer.split_at(end);
        let (first, count) = match serde_json::from_slice(object) {
            Ok(Reply::Log { first, count }) => (first, count),
            Ok(Reply::Failed { error } | Reply::Refused { error }) => {
                return Err(io::Error::other(error));
            }
            _ => return Err(io::Error::other("it answers what makes no sense")),
        };
        let mut heard = Vec::new();
        // What had gone before the first look was never promised.
        if self.next > 0 && first > self.next {
            heard.push(Heard::Lost(first - self.next));
        }
        self.next = first + count;
        let lines = text.split(|byte| matches!(byte, b'\n' | 0)).filter(|line| !line.is_empty());
        let lines: Vec<Line> = lines.map(line_of).collect();
        if !lines.is_empty() {
            heard.push(Heard::Lines(lines));
        }
        Ok(Some(heard))
    }
}

/// A line as it is kept, or stands in a file.
pub(super) fn line_of(line: &[u8]) -> Line {
    match Record::from_json(line) {
        Some(record) => Line::Record(record),
        None => Line::Plain(String::from_utf8_lossy(line).into_owned()),
    }
}
