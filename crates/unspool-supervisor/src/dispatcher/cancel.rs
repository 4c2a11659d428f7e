//! What becomes of a task that somebody cancels.
//!
//! One that nobody has started is deleted at once. One that runs is marked in its slot; the supervisor
//! has its worker told, and kills it after the grace. However it ends then it is deleted, by its worker
//! or here, and counts for nothing, unless it finished: then it is done.

use std::io;
use std::os::fd::AsFd;

use unspool_core::Outcome;
use unspool_spool::{Removal, complete, remove_pending};
use unspool_sys::slots::SlotState;
use unspool_sys::{clock, file};
use unspool_wire::cancel::Fate;
use unspool_wire::task::Report;

use super::Dispatcher;
use super::failure::Death;
use super::hand_out::unlock;
use super::index::{State, TaskKey};
use super::outcome::{ENOENT, function_of, id_of};
use super::worker::Held;
use crate::events::{CancelOrder, Cause, ToSupervisor, WorkerId};
use crate::journal::journal;

const MOVED: &str = "it was moved while it ran, and runs again where it lies now";

/// A task that was told to end, and who waits for that.
#[derive(Debug)]
struct Ending {
    key: TaskKey,
    clients: Vec<u32>,
}

/// The tasks that were told to end: no more than there are workers.
#[derive(Debug, Default)]
pub(super) struct Cancels(Vec<Ending>);

impl Cancels {
    pub(super) fn has(&self, key: TaskKey) -> bool {
        self.0.iter().any(|ending| ending.key == key)
    }

    fn add(&mut self, key: TaskKey, client: Option<u32>) {
        match self.0.iter_mut().find(|ending| ending.key == key) {
            Some(ending) => ending.clients.extend(client),
            None => self.0.push(Ending { key, clients: client.into_iter().collect() }),
        }
    }

    /// Who waits for a task that has ended.
    fn take(&mut self, key: TaskKey) -> Vec<u32> {
        let at = self.0.iter().position(|ending| ending.key == key);
        at.map(|at| self.0.swap_remove(at).clients).unwrap_or_default()
    }
}

/// How a task ended that was cancelled, for the log.
#[derive(Debug, Clone, Copy)]
struct End {
    fate: Fate,
    /// Its worker, and how long it ran.
    pid: Option<u32>,
    running_ns: Option<u64>,
}

impl Dispatcher {
    /// Cancels a task, or begins to.
    pub(super) fn cancel(&mut self, order: &CancelOrder) {
        let place = &order.place;
        let lane = match &place.priority {
            None => Some(0),
            Some(priority) => self.index.known_lane(priority),
        };
        let Some(lane) = lane else { return self.answer(&[order.client], &Ok(Fate::Elsewhere)) };
        let known = self.index.find(lane, &place.name);
        if let Some(key) = known {
            self.hear_of(key);
        }
        let key = self.index.find(lane, &place.name);
        if known.is_some() && key.is_none() {
            return self.answer(&[order.client], &Ok(Fate::Gone));
        }
        if let Some(key) = key.filter(|key| self.index.state(*key) == Some(State::Out)) {
            self.cancel_held(key, order);
        } else {
            let answer = self.cancel_waiting(lane, key, order);
            self.answer(&[order.client], &answer);
        }
    }

    /// The worker that a task is with, its row, the slot, and its process.
    fn place_of(&self, key: TaskKey) -> Option<(WorkerId, usize, u8, u32)> {
        self.workers.values().find_map(|worker| {
            let slot = worker.handed().find(|(_, held, _)| held.key == key);
            slot.map(|(slot, ..)| (worker.id, worker.row, slot, worker.pid))
        })
    }

    /// A worker may have done a task and keep the report back for as long as the next one takes.
    fn hear_of(&mut self, key: TaskKey) {
        if let Some((worker, row, slot, _)) = self.place_of(key)
            && self.slot_state(row, slot) == SlotState::Done
        {
            self.settle_unreported(worker);
        }
    }

    /// Whoever asks found that somebody had it: by now nobody may.
    fn cancel_waiting(
        &mut self,
        lane: u32,
        key: Option<TaskKey>,
        order: &CancelOrder,
    ) -> Result<Fate, String> {
        let Some(Some(folder)) = self.folders.get(lane as usize) else {
            return Ok(Fate::Elsewhere);
        };
        match remove_pending(&self.dir, folder, &order.place.name) {
            Ok(Removal::Removed) => {
                journal!(
                    TASK_CANCELLED, task = %String::from_utf8_lossy(&order.place.relative()),
                    "task cancelled"
                );
                self.tally.outcomes.cancelled += 1;
                if let Some(key) = key {
                    self.index.remove(key);
                }
                Ok(Fate::Removed)
            }
            Ok(Removal::Gone | Removal::Held(_)) => Ok(Fate::Elsewhere),
            Err(error) => Err(format!("its file cannot be deleted: {error}")),
        }
    }

    /// One that is with a worker: takes it back, or has it told to end.
    fn cancel_held(&mut self, key: TaskKey, order: &CancelOrder) {
        let place = self.place_of(key);
        let shared =
            place.and_then(|(_, row, slot, _)| self.slots.row(row)?.get(usize::from(slot)));
        let (Some((worker, row, slot, pid)), Some(shared)) = (place, shared) else {
            // Its worker has finished it, and its file cannot be deleted yet.
            let done = self.undeleted.iter().any(|held| held.key == key);
            let fate = if done { Fate::Gone } else { Fate::Elsewhere };
            return self.answer(&[order.client], &Ok(fate));
        };
        if shared.revoke() {
            if let Some(held) = self.workers.get_mut(&worker).and_then(|w| w.take_back(slot)) {
                self.cancels.add(key, Some(order.client));
                let end = End { fate: Fate::Removed, pid: None, running_ns: None };
                self.delete_cancelled(held, end);
            }
            return;
        }
        shared.cancel();
        self.note_cancelled(row, slot);
        let grace_s = order.grace_ns as f64 / 1e9;
        journal!(
            TASK_CANCELLING, task = %self.display(key), pid, grace_s,
            "task cancelled while it runs: telling it"
        );
        let by_ns = clock::monotonic_ns().saturating_add(order.grace_ns);
        self.outbox.send(ToSupervisor::Cancel { worker, slot, by_ns });
        self.cancels.add(key, Some(order.client).filter(|_| order.wait));
        if !order.wait {
            self.answer(&[order.client], &Ok(Fate::Stopping));
        }
    }

    /// A task that was cancelled has ended in its worker, and is not done.
    pub(super) fn cancelled(&mut self, held: Held, pid: u32, outcome: Outcome, report: &Report) {
        let (pid, running_ns) = (Some(pid), Some(report.duration_ns));
        let end = End { fate: Fate::Stopped, pid, running_ns };
        match report.errno {
            _ if outcome != Outcome::Cancelled => self.delete_cancelled(held, end),
            0 => self.cancelled_and_deleted(held, Ok(true), end),
            ENOENT => self.cancelled_and_deleted(held, Ok(false), end),
            errno => {
                self.cancelled_and_deleted(held, Err(io::Error::from_raw_os_error(errno)), end);
            }
        }
    }

    /// A task is done that was to be cancelled, perhaps.
    pub(super) fn done_before_cancelled(&mut self, key: TaskKey) {
        let clients = self.cancels.take(key);
        self.answer(&clients, &Ok(Fate::Gone));
    }

    /// The worker of a task that was cancelled is gone.
    pub(super) fn orphaned_by_cancel(&mut self, held: Held, state: SlotState, death: &Death) {
        let killed = death.cause == Cause::Cancelled && state == SlotState::Running;
        let fate = if killed { Fate::Killed } else { Fate::Stopped };
        let end = End { fate, pid: Some(death.pid), running_ns: death.running_ns };
        self.delete_cancelled(held, end);
    }

    /// A task was cancelled while it ran, and then its daemon and its worker died.
    pub(super) fn cancelled_and_lost(&mut self, held: Held, pid: u32) {
        let end = End { fate: Fate::Stopped, pid: Some(pid), running_ns: None };
        self.delete_cancelled(held, end);
    }

    fn delete_cancelled(&mut self, held: Held, end: End) {
        let deleted = match self.index.name(held.key) {
            None => Ok(false),
            Some((lane, name)) => match self.folders.get(lane as usize) {
                Some(Some(folder)) => complete(folder, &name),
                _ => Ok(false),
            },
        };
        self.cancelled_and_deleted(held, deleted, end);
    }

    /// `deleted`: whether the file was there, or why it cannot be deleted.
    fn cancelled_and_deleted(&mut self, held: Held, deleted: io::Result<bool>, end: End) {
        let clients = self.cancels.take(held.key);
        let (task, function) = (self.display(held.key), function_of(&held));
        self.tally.outcomes.cancelled += 1;
        let gone = || file::stat_file(held.claim.file.as_fd()).is_ok_and(|stat| stat.links == 0);
        match deleted {
            Err(error) => {
                journal!(
                    TASK_UNDELETED, %task, %error, id = id_of(&held),
                    "task is cancelled and its file cannot be deleted; trying again"
                );
                self.keep_undeleted(held, &error);
                let why = format!("it has ended, and its file cannot be deleted yet: {error}");
                return self.answer(&clients, &Err(why));
            }
            Ok(false) if !gone() => {
                journal!(
                    TASK_MOVED, %task, %function, id = id_of(&held),
                    "task is cancelled: {MOVED}"
                );
                unlock(&held);
                self.index.remove(held.key);
                return self.answer(&clients, &Err(MOVED.to_owned()));
            }
            Ok(_) => {}
        }
        let End { fate, pid, running_ns } = end;
        let ms = running_ns.map(|ns| ns as f64 / 1e6);
        if fate == Fate::Killed {
            journal!(TASK_CANCELLED_BY_FORCE,
                %task, %function, pid, ms, id = id_of(&held),
                "task cancelled; it did not end in time, and its worker was killed"
            );
        } else {
            journal!(
                TASK_CANCELLED, %task, %function, pid, ms, id = id_of(&held),
                "task cancelled"
            );
        }
        self.forget_attempts(&held);
        unlock(&held);
        self.index.remove(held.key);
        self.answer(&clients, &Ok(fate));
    }

    fn answer(&self, clients: &[u32], answer: &Result<Fate, String>) {
        for client in clients {
            let (client, answer) = (*client, answer.clone());
            self.outbox.send(ToSupervisor::Cancelled { client, answer });
        }
    }
}
