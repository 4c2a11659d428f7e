//! Which tasks are listed. What costs least is asked first: a name, then a look, then the whole file.

use std::io;
use std::os::unix::ffi::OsStrExt;

use unspool_core::InvalidPriority;
use unspool_spool::{Listed, Shelves, TaskState, TaskSummary};

use crate::arguments;
use crate::cli::LsOptions;
use crate::tasks::{self, Looked};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    options: &'a LsOptions,
    common: tasks::Filter,
    states: Vec<TaskState>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(options: &'a LsOptions) -> Result<Self, InvalidPriority> {
        let named = |state: &TaskState| {
            options.state.is_empty() || options.state.iter().any(|name| name == state.as_str())
        };
        let common = tasks::Filter::new(&options.filter)?;
        let states = TaskState::ALL.into_iter().filter(named).collect();
        Ok(Self { options, common, states })
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

    /// Whether its name, or else its times, let a task match.
    pub(super) fn admits(&self, spool: &Looked, task: &Listed) -> io::Result<bool> {
        self.common.admits(&spool.view, task)
    }

    /// What is seen of a task that matches; `None` for others, and for one that is gone.
    pub(super) fn matches(&self, spool: &Looked, task: &Listed) -> io::Result<Option<TaskSummary>> {
        if !self.admits(spool, task)? {
            return Ok(None);
        }
        let Some(seen) = spool.inspect(task, self.now_ns())? else { return Ok(None) };
        if !self.states.contains(&seen.state) || !self.common.fits(&seen) {
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
