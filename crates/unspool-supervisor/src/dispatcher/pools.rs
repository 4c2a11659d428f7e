//! Who may run what: pools of workers, and workers that are replaced.
//!
//! The first pool runs all tasks. Each other one runs the tasks of one priority, which are never
//! kept waiting by what the first pool runs; those of the first pool may run them too.

use super::Dispatcher;
use super::index::TaskKey;
use super::worker::{Stage, Worker};
use crate::events::{ToSupervisor, WorkerId};

impl Dispatcher {
    /// The best task for a pool.
    pub(super) fn best_for(&mut self, pool: usize) -> Option<TaskKey> {
        match self.pools.get(pool).and_then(|pool| pool.only.as_ref()) {
            None => self.first(),
            Some(priority) => {
                let lane = self.index.known_lane(priority)?;
                self.first_in(lane)
            }
        }
    }

    /// Whether a worker may be handed a task of that lane. Asked for a dedicated pool, only its own
    /// workers may: what others do is decided among all tasks.
    pub(super) fn may_take(&self, worker: &Worker, pool: usize, lane: u32) -> bool {
        worker.stage == Stage::Ready
            && (pool == 0 || worker.pool == pool)
            && self.serves(worker, lane)
            && !worker.replaced
            && !self.is_worn(worker)
            && !self.waits(worker)
    }

    /// Whether a worker runs the tasks of a folder.
    pub(super) fn serves(&self, worker: &Worker, lane: u32) -> bool {
        worker.only.as_ref().is_none_or(|only| self.index.priority(lane) == Some(only))
    }

    /// Whether a worker was handed as many tasks as it may run.
    fn is_worn(&self, worker: &Worker) -> bool {
        self.wear.max_tasks > 0 && worker.ran + worker.outstanding() as u64 >= self.wear.max_tasks
    }

    /// Whether a worker comes in the place of one that still runs a task.
    fn waits(&self, worker: &Worker) -> bool {
        let before = worker.replaces.and_then(|before| self.workers.get(&before));
        before.is_some_and(|before| before.outstanding() > 0)
    }

    /// Whether an idle worker could run what this one has not begun.
    pub(super) fn is_wanted_elsewhere(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        let lanes: Vec<u32> =
            worker.handed().filter_map(|(_, held, _)| self.index.lane_of(held.key)).collect();
        self.workers
            .values()
            .filter(|other| other.is_idle())
            .any(|other| lanes.iter().any(|lane| self.may_take(other, 0, *lane)))
    }

    /// Tells the supervisor, once, that a worker was handed its last task.
    pub(super) fn note_worn(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.told_worn || worker.stage != Stage::Ready || !self.is_worn(worker) {
            return;
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.told_worn = true;
            let pid = worker.pid;
            self.outbox.send(ToSupervisor::Worn { worker: id, pid, tasks: self.wear.max_tasks });
        }
    }

    /// Another worker is ready to take the place of this one. What it was handed of its last tasks
    /// it still runs; one that may run more gives back what it has not begun.
    pub(super) fn recycle(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.replaced = true;
        if worker.told_worn {
            self.drain_if_done(id);
        } else {
            self.leave(|worker| worker.id == id);
        }
    }

    /// Lets a worker go that is replaced and has run all that it was handed.
    pub(super) fn drain_if_done(&mut self, id: WorkerId) {
        let done = |worker: &Worker| worker.replaced && worker.outstanding() == 0;
        if self.workers.get(&id).is_some_and(done) {
            self.leave(|worker| worker.id == id);
        }
    }
}
