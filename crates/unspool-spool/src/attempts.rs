//! Attempts: the record of a task that failed, a line of JSON for each attempt.
//!
//! While the task is pending its record lies in the internals, under the task's name; it goes to
//! `dead/` with it. Only whoever holds the task's lease writes. A record is for people and for
//! counting deaths: what becomes of the task never waits for it, so that one which cannot be written
//! is a loss of the record alone.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use unspool_core::Priority;
use unspool_sys::file;
use unspool_sys::folder::{Folder, os_str};

use crate::SpoolDir;
use crate::SpoolView;
use crate::layout::{DEAD, INTERNAL, is_task_name};
use crate::records::last_name;
use crate::view::sub;

pub(crate) const ATTEMPTS: &[u8] = b"attempts";

/// What the name of a record in `dead/` starts with: no reader takes that for a task.
pub(crate) const BURIED: &[u8] = b"attempts.";

/// Bytes of a record. Beyond that its first half goes.
const RECORD_BYTES_MAX: u64 = 4 << 20;

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// How an attempt ended that did not finish its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ending {
    /// It raised, or returned what is no int.
    Exception,
    /// It asked to run again.
    Retry,
    /// An exception told it that its time was over.
    Timeout,
    /// Its worker exited, or a signal killed it.
    Died,
    /// We killed its worker, for time or memory.
    Killed,
    /// Its worker and its daemon vanished.
    Lost,
    /// The kernel killed its worker for want of memory.
    Oom,
    /// A stop or a reload ended it: not counted.
    Interrupted,
    /// It was not started in time: not counted.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
    /// No attempt: somebody made the task pending again after it was given up. From here on its attempts
    /// and deaths count anew.
    Retried,
    /// A kind that this unspool does not know.
    #[serde(other)]
    Unknown,
}

impl Ending {
    /// Whether the worker died of it.
    pub fn is_death(self) -> bool {
        matches!(self, Self::Died | Self::Killed | Self::Lost | Self::Oom)
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// How many failed attempts there are with this one.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Ending,
    /// When it ended, in seconds since 1970.
    pub at: f64,
    /// How long it ran, in seconds; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The machine of its worker.
    pub host: String,
    /// The process of its worker.
    pub pid: u32,
    /// The function that the task names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub function: String,
    /// In a line, what went wrong.
    pub error: String,
    /// The traceback, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceback: String,
    /// The last that the attempt printed and logged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// The most memory that its worker had, in bytes; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss: Option<u64>,
    /// When the next attempt is due, in seconds since 1970; absent where the task was buried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<f64>,
    /// The priority in whose folder the task lay; empty: in the spool itself; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

impl Attempt {
    /// An attempt that ended at a time, in nanoseconds since 1970. `text` says what went wrong: in a
    /// line, or with a traceback before that line. Everything else is unknown.
    pub fn ended(outcome: Ending, attempt: u8, now_ns: i64, text: &str) -> Self {
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let is_traceback = text.trim().contains('\n');
        Self {
            attempt: u32::from(attempt),
            outcome,
            at: seconds(now_ns),
            duration: None,
            host: String::new(),
            pid: 0,
            function: String::new(),
            error: line.trim().to_owned(),
            traceback: if is_traceback { text.to_owned() } else { String::new() },
            output: String::new(),
            peak_rss: None,
            again_at: None,
            priority: None,
        }
    }

    /// Says in which folder the task lies.
    #[must_use]
    pub fn of_priority(self, priority: Option<&Priority>) -> Self {
        let name = priority.map_or(Ok(""), |priority| std::str::from_utf8(priority.as_bytes()));
        Self { priority: name.ok().map(str::to_owned), ..self }
    }

    /// Says when the next one is due, in nanoseconds since 1970.
    #[must_use]
    pub fn again_at(self, due_ns: i64) -> Self {
        Self { again_at: Some(seconds(due_ns)), ..self }
    }
}

/// Seconds as records have them, to the millisecond.
fn seconds(ns: i64) -> f64 {
    (ns / 1_000_000) as f64 / 1e3
}

impl SpoolDir {
    /// The name of this machine as it stands in records.
    pub fn host(&self) -> String {
        String::from_utf8_lossy(&self.host).into_owned()
    }
}

/// Appends an attempt to the record of a pending task.
///
/// # Errors
/// What the system says; the task is untouched, and a line that was cut is no attempt to a reader.
pub fn note_attempt(spool: &SpoolDir, name: &[u8], attempt: &Attempt) -> io::Result<()> {
    spool.internal.make_sub(ATTEMPTS)?;
    append(&spool.internal.open_sub(ATTEMPTS)?, name, &line_of(attempt)?)
}

/// A record of attempts that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read `{path}`, the record of a task's attempts")]
pub struct RecordError {
    /// The record.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The attempts of a task that is pending or buried, the oldest first, and what of them cannot be read.
/// Lines that are damaged are left out.
pub fn view_attempts(spool: &SpoolView, name: &[u8]) -> (Vec<Attempt>, Vec<RecordError>) {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    let internal = || {
        let internal = spool.internal()?;
        Ok(internal.map(|internal| sub(&internal, ATTEMPTS)).transpose()?.flatten())
    };
    let path = |folder: &[&[u8]], name: &[u8]| {
        let mut path = spool.path().to_owned();
        path.extend(folder.iter().map(|part| os_str(part)));
        path.join(os_str(name))
    };
    let buried = buried_name(name);
    for (folder, name, path) in [
        (spool.sub(DEAD), buried.as_slice(), path(&[DEAD], &buried)),
        (internal(), name, path(&[INTERNAL, ATTEMPTS], name)),
    ] {
        match folder.and_then(|folder| folder.map(|folder| read(&folder, name)).transpose()) {
            Ok(text) => found.extend(attempts_in(&text.unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => failed.push(RecordError { path, source }),
        }
    }
    (found, failed)
}

/// The attempts of a task that is pending or buried, the oldest first. Lines that are damaged are
/// left out.
///
/// # Errors
/// Some may be there that cannot be read; the error names the record.
pub fn read_attempts(spool: &SpoolView, name: &[u8]) -> io::Result<Vec<Attempt>> {
    let (found, failed) = view_attempts(spool, name);
    match failed.into_iter().next() {
        None => Ok(found),
        Some(RecordError { path, source }) => {
            let what = format!("the record `{}`: {source}", path.display());
            Err(io::Error::new(source.kind(), what))
        }
    }
}

/// How often a worker of a pending task died since it was tried again, as far as its record knows.
pub fn count_deaths(spool: &SpoolDir, name: &[u8]) -> io::Result<u32> {
    let text = match spool.internal.open_sub(ATTEMPTS).and_then(|folder| read(&folder, name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    Ok(attempts_in(&text).fold(0, |deaths, attempt| match attempt.outcome {
        Ending::Retried => 0,
        outcome => deaths + u32::from(outcome.is_death()),
    }))
}

/// How many lines of a record are no attempts.
pub(crate) fn damaged_lines(folder: &Folder, name: &[u8]) -> io::Result<usize> {
    let text = read(folder, name)?;
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    Ok(lines - attempts_in(&text).count())
}

/// Names of pending tasks that have a record, and perhaps of some that are gone; at most `max`.
pub fn recorded_names(spool: &SpoolDir, max: usize) -> io::Result<Vec<Vec<u8>>> {
    let folder = match spool.internal.open_sub(ATTEMPTS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let names = folder.list()?.map(|entry| entry.map(|(name, _)| name));
    names.filter(|name| !matches!(name, Ok(name) if !is_task_name(name))).take(max).collect()
}

/// Names of tasks, pending or buried, that have a record, and perhaps of some that are gone; at most
/// `max` of each.
pub fn records(spool: &SpoolView, max: usize) -> io::Result<Vec<Vec<u8>>> {
    let internal = spool.internal()?;
    let pending = internal.map(|internal| sub(&internal, ATTEMPTS)).transpose()?.flatten();
    let mut found = Vec::new();
    for (folder, start) in [(pending, &b""[..]), (spool.sub(DEAD)?, BURIED)] {
        let Some(folder) = folder else { continue };
        let mut count = 0;
        for entry in folder.list()? {
            let (name, _) = entry?;
            let name = name.strip_prefix(start).filter(|name| is_task_name(name));
            count += usize::from(name.is_some());
            if count > max {
                break;
            }
            found.extend(name.map(<[u8]>::to_vec));
        }
    }
    Ok(found)
}

/// Removes the record of a task that is done. One that has none is no error.
pub fn forget_attempts(spool: &SpoolDir, name: &[u8]) -> io::Result<()> {
    match spool.internal.open_sub(ATTEMPTS) {
        Ok(folder) => folder.unlink(name).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name that the record of a task in `dead/` has there.
pub fn buried_name(name: &[u8]) -> Vec<u8> {
    [BURIED, name].concat()
}

/// Moves the record of a task to `dead/`, behind one that a task of that name left there.
pub(crate) fn bury_attempts(
    spool: &SpoolDir,
    name: &[u8],
    dead: &Folder,
    new_name: &[u8],
) -> io::Result<()> {
    let folder = match spool.internal.open_sub(ATTEMPTS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let new_name = buried_name(new_name);
    match folder.rename(name, dead, &new_name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            append(dead, &new_name, &read(&folder, name)?)?;
            folder.unlink(name).map(|_| ())
        }
        other => other,
    }
}

/// Brings the record of a buried task to its end where a crash cut its burial.
pub(crate) fn settle_buried_attempts(
    spool: &SpoolDir,
    dead: &Folder,
    name: &[u8],
) -> io::Result<()> {
    // Of several of one name it is that of the last one.
    if last_name(dead, name)?.as_deref() == Some(name) {
        bury_attempts(spool, name, dead, name)?;
    }
    Ok(())
}

/// The reverse of [`bury_attempts`]: the record of a task goes before it among those of pending ones.
pub(crate) fn unbury_attempts(spool: &SpoolDir, dead: &Folder, name: &[u8]) -> io::Result<()> {
    spool.internal.make_sub(ATTEMPTS)?;
    let folder = spool.internal.open_sub(ATTEMPTS)?;
    match dead.rename(&buried_name(name), &folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Appends a line to the record of a buried task.
pub(crate) fn note_buried(dead: &Folder, name: &[u8], attempt: &Attempt) -> io::Result<()> {
    append(dead, &buried_name(name), &line_of(attempt)?)
}

/// The last line of the record of a buried task.
pub(crate) fn last_attempt(dead: &Folder, name: &[u8]) -> io::Result<Option<Attempt>> {
    match read(dead, &buried_name(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(attempts_in(&other?).last()),
    }
}

/// Whether nothing was recorded since the task was tried again.
pub(crate) fn ends_with_retry(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    let last = attempts_in(&read(folder, name)?).last();
    Ok(last.is_some_and(|attempt| attempt.outcome == Ending::Retried))
}

fn line_of(attempt: &Attempt) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(attempt)?;
    if line.len() >= LINE_BYTES_MAX {
        let short = Attempt { traceback: String::new(), output: String::new(), ..attempt.clone() };
        line = serde_json::to_vec(&short)?;
    }
    line.push(b'\n');
    Ok(line)
}

fn append(folder: &Folder, name: &[u8], lines: &[u8]) -> io::Result<()> {
    let mut file = folder.open_or_create(name)?;
    let mut bytes = file::stat_file(file.as_fd())?.bytes;
    if bytes + lines.len() as u64 > RECORD_BYTES_MAX {
        file = shortened(folder, name)?;
        bytes = file::stat_file(file.as_fd())?.bytes;
    }
    let mut last = [b'\n'];
    if bytes > 0 {
        file::read_at(file.as_fd(), &mut last, bytes - 1)?;
    }
    // What a crash or a full disk cut is a line of its own.
    let lines = if last == *b"\n" { lines.to_vec() } else { [b"\n", lines].concat() };
    file::write_at(file.as_fd(), &lines, bytes)
}

/// Drops the first half of a record.
fn shortened(folder: &Folder, name: &[u8]) -> io::Result<std::os::fd::OwnedFd> {
    let text = read(folder, name)?;
    let half = &text[text.len() / 2..];
    let start = half.iter().position(|b| *b == b'\n').map_or(half.len(), |at| at + 1);
    folder.unlink(name)?;
    let file = folder.open_or_create(name)?;
    file::write_at(file.as_fd(), &half[start..], 0)?;
    Ok(file)
}

fn read(folder: &Folder, name: &[u8]) -> io::Result<Vec<u8>> {
    let file = folder.open_to_read(name)?;
    let bytes = file::stat_file(file.as_fd())?.bytes.min(2 * RECORD_BYTES_MAX);
    let mut text = vec![0u8; bytes as usize];
    let got = file::read_at(file.as_fd(), &mut text, 0)?;
    text.truncate(got);
    Ok(text)
}

fn attempts_in(text: &[u8]) -> impl Iterator<Item = Attempt> {
    text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}
