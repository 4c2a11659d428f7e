//! Which task goes to which worker, and taking back what waits in the wrong one.
//!
//! An idle worker gets the next task at once. Behind a task that a worker runs, only as many are
//! handed ahead as fit into `AHEAD_NS_MAX` of expected work, so that short tasks need no round
//! trip each and a long one keeps nothing waiting.

use std::os::fd::AsFd;

use tracing::warn;
use unspool_core::limits::REVOKE_AFTER_NS;
use unspool_spool::{Claimed, claim};
use unspool_sys::file::stat_file;
use unspool_sys::slots::{HandedTask, Slot, SlotState};
use unspool_sys::{clock, lock};
use unspool_wire::task::{Handed, ToWorker};

use super::index::TaskKey;
use super::outcome::{DAMAGED, attempt_of, function_of, id_of};
use super::worker::{Held, Stage};
use super::{Dispatcher, Life};
use crate::events::{ToSupervisor, WorkerId};
use crate::explanation::PutOff;
use crate::journal::journal;

/// Tasks claimed between two looks at everything else.
const CLAIMS_MAX: usize = 64;
/// When a task is looked at again that somebody else holds.
const BUSY_AGAIN_NS: i64 = 1_000_000_000;
/// When claiming goes on after the system refused one.
const CLAIM_AGAIN_NS: u64 = 1_000_000_000;
/// Tasks that the disk fails to give, without one that it gives, until it is taken for the failure
/// of all of it: then so many are tried each `CLAIM_AGAIN_NS`.
const FAILURES_MAX: u32 = 16;
/// A task that cannot be opened is tried again after `spooler-frequency`, then after twice as long each
/// time, up to this.
const OPEN_AGAIN_NS_MAX: i64 = 3_600_000_000_000;
/// What a task of unknown duration counts as: enough that none is handed out behind it.
const UNKNOWN_NS: u64 = unspool_core::limits::AHEAD_NS_MAX + 1;

impl Dispatcher {
    /// Hands out what is due, as far as workers take it.
    pub(super) fn hand_out(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.life != Life::Running
            || !self.scanner.knows_enough(now_ns)
            || self.undeleted.stops_all()
        {
            return;
        }
        let mut batches: Vec<(WorkerId, Vec<u8>, Vec<Handed>)> = Vec::new();
        let mut tries = CLAIMS_MAX;
        for pool in 0..self.pools.len() {
            while let Some((worker, held)) = self.next_pair(pool, now_ns, &mut tries) {
                self.assign(worker, held, now_ns, &mut batches);
            }
        }
        self.more_to_claim = tries == 0;
        for (id, slots, names) in batches {
            let sent = self.workers.get(&id).is_some_and(|w| w.send_tasks(&slots, names));
            if !sent {
                self.broken(id, "does not take packets");
            }
        }
    }

    /// The next task, claimed, and the worker that gets it: of all tasks and workers, or of a
    /// dedicated pool's alone.
    fn next_pair(
        &mut self,
        pool: usize,
        now_ns: u64,
        tries: &mut usize,
    ) -> Option<(WorkerId, Held)> {
        loop {
            if now_ns < self.claim_again_at_ns {
                return None;
            }
            let key = self.best_for(pool)?;
            let lane = self.index.lane_of(key)?;
            let known = self.index.function(key).and_then(|f| self.history.expected_ns(f));
            // Before a task was opened its function is not known: then any worker that could take
            // the shortest one justifies opening it.
            let guess = if self.index.function(key).is_some() { known } else { Some(0) };
            self.choose(pool, lane, guess, now_ns)?;
            *tries = tries.checked_sub(1)?;
            let Some(held) = self.try_claim(key) else { continue };
            if let Some(worker) = self.choose(pool, lane, Some(held.expected_ns), now_ns) {
                return Some((worker, held));
            }
            self.give_back(held);
            return None;
        }
    }

    /// The worker for a task of that lane and expected duration: an idle one, first of those that
    /// run nothing else, then the least loaded one in which it may wait.
    fn choose(
        &self,
        pool: usize,
        lane: u32,
        expected_ns: Option<u64>,
        now_ns: u64,
    ) -> Option<WorkerId> {
        let takers = || self.workers.values().filter(|w| self.may_take(w, pool, lane));
        let idle = || takers().filter(|w| w.is_idle());
        let idle = if self.pools.len() == 1 {
            idle().next()
        } else {
            idle().find(|w| w.only.is_some()).or_else(|| idle().next())
        };
        let ahead = || {
            let expected_ns = expected_ns.unwrap_or(UNKNOWN_NS);
            takers().filter(|w| w.takes_ahead(expected_ns, now_ns)).min_by_key(|w| w.load_ns())
        };
        idle.or_else(ahead).map(|w| w.id)
    }

    /// Tries to claim a task of the index; whatever else becomes of it is done here.
    fn try_claim(&mut self, key: TaskKey) -> Option<Held> {
        let (lane, name) = self.index.name(key)?;
        self.index.take(key);
        let Some(Some(folder)) = self.folders.get(lane as usize) else {
            self.index.remove(key);
            return None;
        };
        let now_ns = self.now_ns();
        match claim(folder, &name, now_ns) {
            Ok(Claimed::Task(claim)) => {
                self.claims_failed = 0;
                let name = claim.function.as_deref().unwrap_or_default();
                let function = self.history.id(name);
                self.index.opened(key, function);
                let expected_ns = self.history.expected_ns(function).unwrap_or(UNKNOWN_NS);
                let held = Held { key, claim, function, expected_ns };
                let held = self.is_set_aside(held)?;
                journal!(
                    TASK_CLAIMED, task = %self.display(key), function = %function_of(&held),
                    attempt = attempt_of(&held), id = id_of(&held),
                    "task claimed"
                );
                return self.is_given_up(held);
            }
            Ok(Claimed::Gone | Claimed::NotATask) => self.index.remove(key),
            // Held until the file changes: the try itself raises a hint about it.
            Ok(Claimed::Busy(stat)) => {
                self.index.delay(key, now_ns + BUSY_AGAIN_NS, Some(stat.ctime_ns));
                self.index.note_put_off(key, PutOff::Busy);
            }
            Ok(Claimed::NotDue(due_ns)) => self.index.delay(key, due_ns, None),
            Ok(Claimed::Suspect(stat)) => self.suspect(key, &stat, DAMAGED, "it is cut short"),
            Err(error) if is_shortage(&error) => {
                journal!(SPOOL_SHORTAGE, %error, "cannot open any task; trying again in a second");
                self.claim_error = Some(error.to_string());
                self.index.put_back(key);
                self.claim_again_at_ns = clock::monotonic_ns() + CLAIM_AGAIN_NS;
            }
            Err(error) => {
                let ctime_ns = folder.stat(&name).ok().flatten().map(|stat| stat.ctime_ns);
                self.cannot_open(key, &error, ctime_ns);
            }
        }
        None
    }

    /// Puts a task off that cannot be opened, each time for twice as long.
    fn cannot_open(&mut self, key: TaskKey, error: &std::io::Error, ctime_ns: Option<i64>) {
        let now_ns = self.now_ns();
        let before = self.index.cannot_open(key, now_ns);
        let wait_ns = open_again_ns(self.frequency_ns, before);
        if is_device_failure(error) {
            self.claims_failed += 1;
            if self.claims_failed.is_multiple_of(FAILURES_MAX) {
                self.claim_again_at_ns = clock::monotonic_ns() + CLAIM_AGAIN_NS;
            }
        }
        let (task, again_s) = (self.display(key), wait_ns as f64 / 1e9);
        if self.claims_failed <= FAILURES_MAX {
            journal!(TASK_UNOPENED, %task, %error, again_s, "cannot open a task");
        } else if self.claims_failed.is_multiple_of(FAILURES_MAX) {
            let tasks = self.claims_failed;
            journal!(
                TASK_UNOPENED, %task, %error, tasks,
                "cannot open this one of so many tasks, one after another"
            );
        }
        self.index.delay(key, now_ns.saturating_add(wait_ns), ctime_ns);
        self.index.note_put_off(key, PutOff::Unreadable);
        self.claim_error = Some(error.to_string());
    }

    /// Notes a task in the worker and in the shared slots. Sending comes later, in one packet.
    fn assign(
        &mut self,
        id: WorkerId,
        held: Held,
        now_ns: u64,
        batches: &mut Vec<(WorkerId, Vec<u8>, Vec<Handed>)>,
    ) {
        let Some((lane, name)) = self.index.name(held.key) else { return };
        journal!(
            TASK_HANDED, task = %self.display(held.key), function = %function_of(&held),
            pid = self.workers.get(&id).map(|worker| worker.pid),
            attempt = attempt_of(&held), id = id_of(&held),
            "task handed to a worker"
        );
        let Some(worker) = self.workers.get_mut(&id) else { return self.give_back(held) };
        let task = HandedTask {
            inode: held.claim.stat.inode,
            ctime_ns: held.claim.stat.ctime_ns,
            limit_ms: held.claim.asked().time_limit_ms.unwrap_or(0),
        };
        let slot = match worker.put(held, now_ns) {
            Ok(slot) => slot,
            Err(held) => return self.give_back(*held),
        };
        let row = worker.row;
        if worker.needs_folder(lane)
            && let Some(Some(folder)) = self.folders.get(lane as usize)
            && !worker.send(&ToWorker::Folder { index: lane }, &[folder.as_fd()])
        {
            self.broken(id, "does not take packets");
        }
        if let Some(shared) = self.slots.row(row).and_then(|row| row.get(usize::from(slot))) {
            shared.hand(task, now_ns);
        }
        if task.limit_ms > 0 {
            let by_ns = now_ns.saturating_add(task.limit_ms.saturating_mul(1_000_000));
            if self.look_by.is_too_late_for(by_ns) {
                self.outbox.send(ToSupervisor::Limited { by_ns });
            }
        }
        self.note_worn(id);
        let handed = Handed { slot, folder: lane, name };
        match batches.iter_mut().find(|(worker, _, _)| *worker == id) {
            Some((_, slots, names)) => {
                slots.push(slot);
                names.push(handed);
            }
            None => batches.push((id, vec![slot], vec![handed])),
        }
    }

    /// When [`Dispatcher::revoke_stuck`] has something new to look at. Later it looks again only
    /// when something happens.
    pub(super) fn next_revoke_ns(&self, now_ns: u64) -> Option<u64> {
        self.workers
            .values()
            .filter(|w| w.stage == Stage::Ready && w.outstanding() > 1)
            .map(|w| w.progress_ns + REVOKE_AFTER_NS + 1)
            .filter(|at_ns| *at_ns > now_ns)
            .min()
    }

    /// Takes back what waits behind a task that runs longer than it was expected to.
    pub(super) fn revoke_stuck(&mut self) {
        let now_ns = clock::monotonic_ns();
        let stuck: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|w| w.stage == Stage::Ready && w.outstanding() > 1)
            .filter(|w| now_ns.saturating_sub(w.progress_ns) > REVOKE_AFTER_NS)
            .map(|w| w.id)
            .collect();
        for id in stuck {
            self.settle_unreported(id);
            let idle = self.is_wanted_elsewhere(id);
            let pool = self.workers.get(&id).map_or(0, |w| w.pool);
            let best = self.best_for(pool);
            let urgent = best.is_some_and(|best| {
                self.workers.get(&id).is_some_and(|worker| {
                    worker.handed().any(|(_, held, _)| self.index.is_more_urgent(best, held.key))
                })
            });
            if idle || urgent {
                self.revoke_all(id, now_ns.saturating_sub(REVOKE_AFTER_NS));
            }
        }
    }

    /// Takes back what a worker has not started and was handed before a time (0: everything).
    pub(super) fn revoke_all(&mut self, id: WorkerId, before_ns: u64) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(row) = self.slots.row(worker.row) else { return };
        let slots: Vec<u8> = worker
            .handed()
            .filter(|(_, _, at_ns)| before_ns == 0 || *at_ns <= before_ns)
            .map(|(slot, _, _)| slot)
            .collect();
        let mut revoked = Vec::new();
        for slot in slots {
            if row[usize::from(slot)].revoke() {
                revoked.extend(worker.take_back(slot));
            }
        }
        for held in revoked {
            self.give_back(held);
        }
    }

    /// A worker keeps the reports of short tasks back for a moment; if the next one turns out to be
    /// long, the shared slots tell what was done before it.
    pub(super) fn settle_unreported(&mut self, id: WorkerId) {
        let runs = |row: &[Slot]| row.iter().any(|slot| slot.state() == SlotState::Running);
        let row = self.workers.get(&id).and_then(|worker| self.slots.row(worker.row));
        // Then it has sent all reports that it does not keep back.
        let goes_on = row.is_some_and(runs);
        self.read_worker(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(row) = self.slots.row(worker.row) else { return };
        let deleted =
            |held: &Held| stat_file(held.claim.file.as_fd()).is_ok_and(|stat| stat.links == 0);
        let slots: Vec<u8> = worker
            .handed()
            .filter(|(slot, held, _)| {
                let shared = &row[usize::from(*slot)];
                // What became of one that was cancelled the report tells, unless it is kept back: then
                // it was done.
                let is_told = shared.is_cancelled() && !goes_on;
                shared.state() == SlotState::Done && !is_told && deleted(held)
            })
            .map(|(slot, _, _)| slot)
            .collect();
        let pid = worker.pid;
        let done: Vec<Held> = slots.into_iter().filter_map(|slot| worker.take_back(slot)).collect();
        for held in done {
            self.done(held, pid, None);
        }
    }

    /// Gives up a lease. The task stays due.
    pub(super) fn give_back(&mut self, held: Held) {
        unlock(&held);
        self.index.put_back(held.key);
    }

    pub(super) fn slot_state(&self, row: usize, slot: u8) -> SlotState {
        let row = self.slots.row(row);
        row.and_then(|row| row.get(usize::from(slot))).map_or(SlotState::Free, Slot::state)
    }

    /// How long the task of a slot has run.
    pub(super) fn ran_for(&self, row: usize, slot: u8) -> Option<u64> {
        let (_, started_ns) = self.slots.row(row)?.get(usize::from(slot))?.task();
        (started_ns != 0).then(|| clock::monotonic_ns().saturating_sub(started_ns))
    }

    pub(super) fn free_slot(&mut self, row: usize, slot: u8) {
        self.look_at_note(row, slot);
        if let Some(slot) = self.slots.row(row).and_then(|row| row.get(usize::from(slot))) {
            slot.free();
        }
    }
}

/// When a task is tried again that could not be opened, as often before.
fn open_again_ns(frequency_ns: i64, before: u8) -> i64 {
    let doubled = frequency_ns.max(1).saturating_mul(1 << before.min(30));
    doubled.min(OPEN_AGAIN_NS_MAX.max(frequency_ns))
}

/// Whether no task can be opened, for want of something or since the file system is read-only.
fn is_shortage(error: &std::io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EROFS: i32 = 30;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | EROFS))
}

/// Whether the disk failed to give a task: perhaps this one alone.
fn is_device_failure(error: &std::io::Error) -> bool {
    const EIO: i32 = 5;
    const ESTALE: i32 = 116;
    const EUCLEAN: i32 = 117;
    matches!(error.raw_os_error(), Some(EIO | ESTALE | EUCLEAN))
}

/// Releases a lease also where a duplicate of the descriptor lives on in some process.
pub(super) fn unlock(held: &Held) {
    if let Err(error) = lock::unlock(held.claim.file.as_fd()) {
        warn!(%error, "cannot release a task; it is free when its descriptors are closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_cannot_be_opened_waits_ever_longer_up_to_an_hour() {
        let seconds = |frequency: i64, before: u8| {
            open_again_ns(frequency * 1_000_000_000, before) / 1_000_000_000
        };
        assert_eq!([0, 1, 2, 6, 7, 255].map(|n| seconds(30, n)), [30, 60, 120, 1920, 3600, 3600]);
        assert_eq!((seconds(7200, 0), seconds(7200, 255)), (7200, 7200));
        assert!(open_again_ns(0, 0) > 0);
    }
}
