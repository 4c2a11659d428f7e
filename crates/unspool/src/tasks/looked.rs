//! A spool that is looked at, with what keeps its tasks from running.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;

use unspool_core::Priority;
use unspool_spool::{
    AdoptError, Adoption, Attempt, Link, Listed, Pause, PauseError, Pauses, RelayState, SpoolView,
    TaskState, TaskSummary, Whereabouts, inspect, origin, read_pauses, read_relay, view_adoption,
    view_attempts,
};
use unspool_sys::locked::locked_inodes;

use crate::exit;
use crate::logging::complain;

/// A spool, and what decides which of its tasks are held or paused.
pub(crate) struct Looked {
    pub(crate) view: SpoolView,
    /// An error says why it is not known what is held. Tasks can be looked at all the same.
    pub(crate) adoption: Result<Option<Adoption>, AdoptError>,
    /// An error says why that is not known: then nothing of the spool runs.
    pub(crate) pauses: Result<Pauses, PauseError>,
    /// Of an outbox what sends its tasks on, and whether that lives.
    pub(crate) relay: Option<(RelayState, bool)>,
    /// What the kernel says is locked, once somebody had to know.
    locked: OnceCell<HashSet<u64>>,
}

impl Looked {
    pub(crate) fn at(view: SpoolView) -> Self {
        let (adoption, pauses) = (view_adoption(&view), read_pauses(&view));
        // What cannot be read says no more than that nobody said anything.
        let relay = read_relay(&view).ok().flatten();
        Self { view, adoption, pauses, relay, locked: OnceCell::new() }
    }

    /// Complains of what cannot be read: an exit status that says whether there was anything.
    pub(crate) fn complain(&self) -> u8 {
        let adoption = self.adoption.as_ref().err().map(|error| complain(error));
        let pauses = self.pauses.as_ref().err().map(|error| complain(error));
        if adoption.or(pauses).is_some() { exit::FAILED } else { exit::OK }
    }

    /// Looks at a task; `None` if it is gone.
    pub(crate) fn inspect(&self, task: &Listed, now_ns: i64) -> io::Result<Option<TaskSummary>> {
        let Some(mut seen) = inspect(task, now_ns)? else { return Ok(None) };
        // Whether it is locked its file would tell.
        if !seen.readable && self.is_locked(seen.stat.inode) {
            seen.state = match seen.state {
                TaskState::Due | TaskState::Delayed => TaskState::Running,
                kept => kept,
            };
        }
        let waits = !matches!(seen.state, TaskState::Running | TaskState::Torn);
        if let Ok(Some(adoption)) = &self.adoption
            && waits
            && adoption.holds(task, &seen)?
        {
            seen.state = TaskState::Held;
        }
        // One whose time has not come would not run either.
        let is_paused = || self.pauses.is_err() || self.paused(&seen).next().is_some();
        if seen.state == TaskState::Due && is_paused() {
            seen.state = TaskState::Paused;
        }
        Ok(Some(seen))
    }

    /// The priority of a task; of one that was given up that from which it came, if that can be told.
    pub(crate) fn priority(&self, task: &Whereabouts) -> Option<Priority> {
        origin(&self.view, task).ok().flatten()
    }

    /// The last of the recorded attempts of a task that may have some, if they can be read.
    pub(crate) fn last_attempt(&self, seen: &TaskSummary) -> Option<Attempt> {
        let may = seen.attempts > 0 || !seen.readable || seen.state == TaskState::Dead;
        may.then(|| view_attempts(&self.view, seen.whereabouts.name()).0.pop()).flatten()
    }

    fn is_locked(&self, inode: u64) -> bool {
        self.locked.get_or_init(|| locked_inodes().unwrap_or_default()).contains(&inode)
    }

    /// What keeps a pending task from running.
    pub(crate) fn paused<'a>(&'a self, seen: &TaskSummary) -> impl Iterator<Item = &'a Pause> {
        let pauses = match (&seen.whereabouts, &self.pauses) {
            (Whereabouts::Pending(place), Ok(pauses)) => {
                Some(pauses.of_task(place.priority.as_ref(), seen.function.as_deref()))
            }
            _ => None,
        };
        pauses.into_iter().flatten()
    }
}

/// Where a task of an outbox goes, and what becomes of that, in a few words.
pub(crate) fn relayed(relay: &RelayState, lives: bool, is_locked: bool) -> String {
    let to = format!("to {}", relay.address);
    match relay.link {
        _ if !lives => format!("{to}: no daemon sends it on"),
        _ if is_locked => format!("{to}: on its way"),
        Link::Waiting => format!("{to}: waits, {}", relay.error),
        Link::Connected | Link::Idle => to,
    }
}

/// How often a task failed: of one that was given up its record alone says it.
pub(crate) fn failed(seen: &TaskSummary, last: Option<&Attempt>) -> u32 {
    last.map_or(0, |last| last.attempt).max(u32::from(seen.attempts))
}
