//! What a check finds, and how it is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Something that holds for a spool at any moment, and what is looked at besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Check {
    /// The directory and its folders are folders, only those write in them who are meant to, and what
    /// lies in `.unspool` is its owner's.
    Directory,
    /// The version of the format is one that this unspool knows.
    Version,
    /// Everything can be read.
    Readable,
    /// Every task's file is whole.
    Whole,
    /// Every task is signed, where there are keys.
    Signature,
    /// Every task is in one place.
    OnePlace,
    /// Every task's time can come.
    Due,
    /// No task waits that is past its limits.
    Limits,
    /// Nothing is left of submissions that ended long ago.
    Unfinished,
    /// Every buried task can be moved back and run.
    Dead,
    /// Every record of attempts lies where its task is.
    Records,
    /// Every daemon's folder is one of a daemon that lives.
    Daemons,
    /// The last minute whose crons were fired can be read.
    Schedule,
    /// What was decided about old tasks can be read.
    Adoption,
    /// What is paused can be read.
    Pauses,
    /// Everything has a name that means something.
    Names,
}

impl Check {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 16] = [
        Self::Directory,
        Self::Version,
        Self::Readable,
        Self::Adoption,
        Self::Pauses,
        Self::Schedule,
        Self::Daemons,
        Self::Whole,
        Self::Signature,
        Self::OnePlace,
        Self::Due,
        Self::Limits,
        Self::Unfinished,
        Self::Names,
        Self::Dead,
        Self::Records,
    ];

    /// Its name, as it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Version => "version",
            Self::Readable => "readable",
            Self::Whole => "whole",
            Self::Signature => "signature",
            Self::OnePlace => "one-place",
            Self::Due => "due",
            Self::Limits => "limits",
            Self::Unfinished => "unfinished",
            Self::Dead => "dead",
            Self::Records => "records",
            Self::Daemons => "daemons",
            Self::Schedule => "schedule",
            Self::Adoption => "adoption",
            Self::Pauses => "pauses",
            Self::Names => "names",
        }
    }
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Something that has to hold does not.
    Problem,
    /// As it may be, and worth saying.
    Note,
}

/// What a repair does, did or could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing is to be done, or others do it: who, and when.
    Nothing(String),
    /// Nothing but hands can help: how.
    Hands(String),
    /// A repair would do this.
    Possible(String),
    /// A repair did this.
    Done(String),
    /// A repair could not do what it should: why.
    Failed(String),
}

impl Remedy {
    /// A word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "none",
            Self::Hands(_) => "by-hand",
            Self::Possible(_) => "possible",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }

    /// What it says; may be empty.
    pub fn text(&self) -> &str {
        match self {
            Self::Nothing(text)
            | Self::Hands(text)
            | Self::Possible(text)
            | Self::Done(text)
            | Self::Failed(text) => text,
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// By which check.
    pub check: Check,
    /// Whether that is a problem.
    pub level: Level,
    /// Where.
    pub path: PathBuf,
    /// What it is.
    pub what: String,
    /// What is or was done about it.
    pub remedy: Remedy,
}

/// What was looked at and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files with a task's name in the spool and its priorities' folders.
    pub tasks: u64,
    /// Those of them that somebody holds: a daemon, a uWSGI, or who writes them.
    pub held: u64,
    /// Those in `dead/`.
    pub dead: u64,
    /// Those of them that have no record of their attempts, which is no problem.
    pub dead_unrecorded: u64,
    /// Files in `corrupt/`.
    pub corrupt: u64,
    /// Records of pending tasks.
    pub records: u64,
    /// Problems found.
    pub problems: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
    /// Everything else that was said.
    pub notes: u64,
    /// Notes of which there were too many to say each.
    pub unsaid: u64,
}

impl Summary {
    /// Problems that are there now.
    pub fn left(&self) -> u64 {
        self.problems - self.repaired
    }
}

/// Notes of one check that are said one by one: there can be one for each task.
const NOTES_MAX: u64 = 1000;

/// Takes in findings, and hands them on at once.
pub(super) struct Reporter<'a> {
    pub(super) summary: Summary,
    each: &'a mut dyn FnMut(Told<'_>),
    notes: BTreeMap<Check, u64>,
}

/// What is told while a check runs.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Told<'a> {
    /// Something was found.
    Found(&'a Finding),
    /// So many files were looked at.
    Looked(u64),
}

impl<'a> Reporter<'a> {
    pub(super) fn new(each: &'a mut dyn FnMut(Told<'_>)) -> Self {
        Self { summary: Summary::default(), each, notes: BTreeMap::new() }
    }

    /// Another file was looked at.
    pub(super) fn looked(&mut self) {
        (self.each)(Told::Looked(self.summary.tasks + self.summary.dead));
    }

    pub(super) fn say(
        &mut self,
        check: Check,
        level: Level,
        path: &Path,
        what: impl Into<String>,
        remedy: Remedy,
    ) {
        let done = matches!(remedy, Remedy::Done(_));
        if level == Level::Problem {
            self.summary.problems += 1;
            self.summary.repaired += u64::from(done);
        } else {
            self.summary.notes += 1;
            let said = self.notes.entry(check).or_default();
            *said += 1;
            // What was changed is always said.
            if *said > NOTES_MAX && !done {
                self.summary.unsaid += 1;
                return;
            }
        }
        let path = path.to_owned();
        (self.each)(Told::Found(&Finding { check, level, path, what: what.into(), remedy }));
    }
}

impl std::fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("summary", &self.summary).finish_non_exhaustive()
    }
}
