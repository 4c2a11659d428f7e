//! Workers that are replaced while all is well: after so many tasks, so much time, so much memory.
//!
//! The next one is asked for first. Once it is ready the old one finishes what it runs and leaves,
//! and until then the new one waits: there are never fewer workers than configured, nor do more of
//! them run tasks.

use super::Supervisor;
use super::children::Tenure;
use crate::events::{ToDispatcher, WorkerId};
use crate::journal::journal;

impl Supervisor {
    /// Has a worker, which is this process, replaced once it has finished what it runs.
    pub(super) fn recycle(&mut self, id: WorkerId, pid: u32, why: &str) {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| w.tenure == Tenure::Lasting) else {
            return;
        };
        worker.tenure = Tenure::Worn;
        let current = worker.generation == self.generation && self.ladder.is_none();
        let kind = worker.kind();
        if current {
            journal!(WORKER_RECYCLED, pid, kind, reason = why, "replacing a worker: {why}");
        }
    }

    /// A worker was handed the last task that it may run.
    pub(super) fn worker_worn(&mut self, id: WorkerId, pid: u32, tasks: u64) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.worn_after = Some(tasks);
        }
        self.recycle(id, pid, &format!("{tasks} tasks are as many as `spooler-max-tasks` allows"));
    }

    /// A worker is ready that comes in the place of another one: that one may leave.
    pub(super) fn succeed(&mut self, spool: usize, replaces: Option<WorkerId>) {
        let Some(worker) = replaces else { return };
        let Some(before) = self.workers.get_mut(&worker) else { return };
        // However long it takes to end, nobody else comes in its place.
        before.tenure = Tenure::LetGo;
        self.tell(spool, ToDispatcher::Recycle { worker });
    }
}
