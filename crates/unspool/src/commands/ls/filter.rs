//! Which tasks are listed. What costs least is asked first: a name, then a look, then the whole file.

use std::cell::Cell;
use std::io;
use std::os::unix::ffi::OsStrExt;

use unspool_core::InvalidPriority;
use unspool_spool::{Listed, Shelves, TaskState, TaskSummary, Whereabouts};

use crate::arguments;
use crate::cli::LsOptions;
use crate::tasks::{self, Looked};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    options: &'a LsOptions,
    common: tasks::Filter,
    states: Vec<TaskState>,
    /// Tasks that may not be read where that would have told whether they match.
    unread: Cell<u64>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(options: &'a LsOptions) -> Result<Self, InvalidPriority> {
        let named = |state: &TaskState| {
            options.state.is_empty() || options.state.iter().any(|name| name == state.as_str())
        };
        let common = tasks::Filter::new(&options.filter)?;
        let states = TaskState::ALL.into_iter().filter(named).collect();
        Ok(Self { options, common, states, unread: Cell::new(0) })
    }

    /// How many tasks there were since it was asked that may not be read, though only that would have told
    /// whether they match.
    pub(super) fn take_unread(&self) -> u64 {
        self.unread.take()
    }

    pub(super) fn now_ns(&self) -> i64 {
        self.common.now_ns()
    }

    /// The folders in which there may be such tasks.
    pub(super) fn shelves(&self) -> Shelves {
        let has = |state| self.states.contains(&state);
        let kept = |state: &TaskState| matches!(state, TaskState::Dead | TaskState::Corrupt);
        Shelves {
            pending: !self.states.iter().all(kept),
            dead: has(TaskState::Dead),
            corrupt: has(TaskState::Corrupt),
        }
    }

    /// Whether a name is enough to know whether a task matches.
    pub(super) fn needs_no_look(&self) -> bool {
        let options = self.options;
        options.state.is_empty() && self.common.needs_no_look() && options.grep.is_none()
    }

    /// Whether what a task's file says decides whether it matches.
    fn asks_for_content(&self, has_state: bool, seen: &TaskSummary) -> bool {
        match seen.whereabouts {
            // By its times alone a task that failed looks like any other.
            Whereabouts::Pending(_) if !has_state => {
                [TaskState::Retrying, TaskState::Held, TaskState::Torn]
                    .iter()
                    .any(|state| self.states.contains(state))
            }
            _ => has_state && (!self.common.needs_no_look() || self.options.grep.is_some()),
        }
    }

    /// Whether its name, or else its times, let a task match.
    pub(super) fn admits(&self, spool: &Looked, task: &Listed) -> io::Result<bool> {
        self.or_unread(self.common.admits(&spool.view, task).map(|admits| admits.then_some(())))
            .map(|admits| admits.is_some())
    }

    /// Counts what may not be read.
    fn or_unread<T>(&self, result: io::Result<Option<T>>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unread.set(self.unread.get() + 1);
                Ok(None)
            }
            other => other,
        }
    }

    /// What is seen of a task that matches; `None` for others, and for one that is gone.
    pub(super) fn matches(&self, spool: &Looked, task: &Listed) -> io::Result<Option<TaskSummary>> {
        if !self.admits(spool, task)? {
            return Ok(None);
        }
        self.or_unread(self.looks_right(spool, task))
    }

    fn looks_right(&self, spool: &Looked, task: &Listed) -> io::Result<Option<TaskSummary>> {
        let Some(seen) = spool.inspect(task, self.now_ns())? else { return Ok(None) };
        let has_state = self.states.contains(&seen.state);
        if !seen.readable && self.asks_for_content(has_state, &seen) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !has_state || !self.common.fits(&seen) {
            return Ok(None);
        }
        if let Some(text) = &self.options.grep {
            let content = match task.read() {
                // Longer than any task: nobody's arguments.
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
                other => other?,
            };
            let has = |(_, content): (_, Vec<u8>)| arguments::contain(&content, text.as_bytes());
            if !content.is_some_and(has) {
                return Ok(None);
            }
        }
        Ok(Some(seen))
    }
}
