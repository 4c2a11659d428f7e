//! A spool that is looked at, with what keeps its tasks from running.

use std::io;

use unspool_spool::{
    AdoptError, Adoption, Listed, Pause, Pauses, SpoolView, TaskState, TaskSummary, Whereabouts,
    inspect, read_pauses, view_adoption,
};

use crate::logging::complain;

/// A spool, and what decides which of its tasks are held or paused.
pub(crate) struct Looked {
    pub(crate) view: SpoolView,
    pub(crate) adoption: Option<Adoption>,
    /// `None` if that cannot be told: then nothing of the spool runs.
    pub(crate) pauses: Option<Pauses>,
}

impl Looked {
    /// Complains of a record of pauses that cannot be read: tasks can be looked at all the same.
    pub(crate) fn at(view: SpoolView) -> Result<Self, AdoptError> {
        let adoption = view_adoption(&view)?;
        let pauses = read_pauses(&view).map_err(|error| complain(&error)).ok();
        Ok(Self { view, adoption, pauses })
    }

    /// Looks at a task; `None` if it is gone.
    pub(crate) fn inspect(&self, task: &Listed, now_ns: i64) -> io::Result<Option<TaskSummary>> {
        let Some(mut seen) = inspect(task, now_ns)? else { return Ok(None) };
        let waits = !matches!(seen.state, TaskState::Running | TaskState::Torn);
        if let Some(adoption) = &self.adoption
            && waits
            && adoption.holds(task, &seen)?
        {
            seen.state = TaskState::Held;
        }
        // One whose time has not come would not run either.
        let is_paused = || self.pauses.is_none() || self.paused(&seen).next().is_some();
        if seen.state == TaskState::Due && is_paused() {
            seen.state = TaskState::Paused;
        }
        Ok(Some(seen))
    }

    /// What keeps a pending task from running.
    pub(crate) fn paused<'a>(&'a self, seen: &TaskSummary) -> impl Iterator<Item = &'a Pause> {
        let pauses = match (&seen.whereabouts, &self.pauses) {
            (Whereabouts::Pending(place), Some(pauses)) => {
                Some(pauses.of_task(place.priority.as_ref(), seen.function.as_deref()))
            }
            _ => None,
        };
        pauses.into_iter().flatten()
    }
}
