//! Inspect: what one file says of its task, for people to see. Claims nothing and changes nothing.
//!
//! What a file alone cannot say is not said here: whether a daemon runs, and what is paused or held.

use std::io;
use std::os::fd::AsFd;

use unspool_core::TaskPolicy;
use unspool_core::limits::{PEEK_BYTES, TASK_BYTES_MAX};
use unspool_core::taskfile::{TaskId, peek};
use unspool_sys::file;
use unspool_sys::folder::{FileKind, Stat};
use unspool_sys::lock;

use crate::claim::is_due;
use crate::layout::submitted_at_ns;
use crate::list::Listed;
use crate::{Kept, Whereabouts};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskState {
    /// Somebody has claimed it: a worker runs it, or is about to.
    Running,
    /// It waits for a worker.
    Due,
    /// Its time has not come.
    Delayed,
    /// It failed, and waits for another try.
    Retrying,
    /// Somebody has paused it, or what it belongs to.
    Paused,
    /// An old one of a uWSGI's, about which nobody has decided.
    Held,
    /// It was given up.
    Dead,
    /// It is in `corrupt/`.
    Corrupt,
    /// Its file is short or damaged, and may still be written.
    Torn,
}

impl TaskState {
    /// All of them, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Due,
        Self::Delayed,
        Self::Retrying,
        Self::Paused,
        Self::Held,
        Self::Dead,
        Self::Corrupt,
        Self::Torn,
    ];

    /// As it is shown and typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Due => "due",
            Self::Delayed => "delayed",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Dead => "dead",
            Self::Corrupt => "corrupt",
            Self::Torn => "torn",
        }
    }
}

/// What a task's file says, its content left out.
#[derive(Debug, Clone)]
pub struct TaskSummary {
    /// Where it lies.
    pub whereabouts: Whereabouts,
    /// Where it stands, as far as its file tells.
    pub state: TaskState,
    /// `None` for a foreign file.
    pub id: Option<TaskId>,
    /// The function of `uwsgidecorators`, if it names one near its start.
    pub function: Option<Vec<u8>>,
    /// Failed attempts so far. Those of a task that was given up are in its record alone.
    pub attempts: u8,
    /// Whether its file may be read: of one that may not the state is told by its times alone.
    pub readable: bool,
    /// What it asks for itself.
    pub policy: TaskPolicy,
    /// When it was submitted, in nanoseconds since 1970.
    pub submitted_ns: i64,
    /// When it is or was due, in nanoseconds since 1970.
    pub due_ns: i64,
    /// Its file.
    pub stat: Stat,
}

/// Looks at a task's file; `None` if it is gone, or is no file. One that may not be read has neither id
/// nor function.
pub fn inspect(listed: &Listed, now_ns: i64) -> io::Result<Option<TaskSummary>> {
    let file = match listed.open() {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(error) => return unopened(listed, now_ns, error),
    };
    let stat = file::stat_file(file.as_fd())?;
    if stat.kind != FileKind::File {
        return Ok(None);
    }
    let mut head = [0u8; PEEK_BYTES];
    let wanted = PEEK_BYTES.min(stat.bytes as usize);
    let got = file::read_at(file.as_fd(), &mut head[..wanted], 0)?;
    let seen = peek(&head[..got]);
    let is_whole = seen.as_ref().is_some_and(|seen| {
        if stat.bytes > TASK_BYTES_MAX {
            false
        } else if seen.exact {
            stat.bytes == seen.announced
        } else {
            stat.bytes >= seen.announced
        }
    });
    let attempts = seen.as_ref().map_or(0, |seen| seen.attempts);
    let is_held = lock::is_locked(file.as_fd())?;
    let due = is_due(&stat, now_ns);
    let state = state_of(listed.whereabouts(), attempts, is_whole, is_held, due);
    let mut summary = summary(listed, state, stat);
    if let Some(seen) = seen {
        summary.id = seen.id;
        summary.function = seen.function.map(<[u8]>::to_vec);
        (summary.attempts, summary.policy) = (attempts, seen.policy);
    }
    Ok(Some(summary))
}

/// What is known of a file that cannot be opened.
fn unopened(listed: &Listed, now_ns: i64, error: io::Error) -> io::Result<Option<TaskSummary>> {
    let Some(stat) = listed.stat()?.filter(|stat| stat.kind == FileKind::File) else {
        return Ok(None);
    };
    if error.kind() != io::ErrorKind::PermissionDenied {
        return Err(error);
    }
    let state = state_of(listed.whereabouts(), 0, true, false, is_due(&stat, now_ns));
    Ok(Some(TaskSummary { readable: false, ..summary(listed, state, stat) }))
}

fn summary(listed: &Listed, state: TaskState, stat: Stat) -> TaskSummary {
    TaskSummary {
        whereabouts: listed.whereabouts().clone(),
        state,
        id: None,
        function: None,
        attempts: 0,
        readable: true,
        policy: TaskPolicy::default(),
        submitted_ns: submitted_at_ns(listed.folder(), listed.name(), &stat),
        due_ns: stat.mtime_ns,
        stat,
    }
}

fn state_of(
    whereabouts: &Whereabouts,
    attempts: u8,
    is_whole: bool,
    is_held: bool,
    due: bool,
) -> TaskState {
    match whereabouts {
        Whereabouts::Kept(Kept::Dead, _) => TaskState::Dead,
        Whereabouts::Kept(Kept::Corrupt, _) => TaskState::Corrupt,
        Whereabouts::Pending(_) if is_held => TaskState::Running,
        Whereabouts::Pending(_) if !is_whole => TaskState::Torn,
        Whereabouts::Pending(_) if due => TaskState::Due,
        Whereabouts::Pending(_) if attempts > 0 => TaskState::Retrying,
        Whereabouts::Pending(_) => TaskState::Delayed,
    }
}
