//! What becomes of a task after a run, and what a worker says.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tracing::error;
use tracing::field::DisplayValue;
use unspool_core::Outcome;
use unspool_core::taskfile::TaskId;
use unspool_spool::{Ending, LEASE_LOST, postpone, quarantine};
use unspool_sys::clock;
use unspool_sys::file;
use unspool_sys::folder::Stat;
use unspool_sys::slots::SlotState;
use unspool_sys::socket::{self, Received};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::task::{FromWorker, Report};

use super::Dispatcher;
use super::failure::{Death, Failure};
use super::hand_out::unlock;
use super::index::TaskKey;
use super::worker::{Held, Stage};
use crate::events::{ToSupervisor, WorkerId};
use crate::explanation::PutOff;
use crate::journal::journal;

/// When a damaged file is looked at again that changed before it could be moved.
const LOOK_AGAIN_NS: i64 = 1_000_000_000;
/// What is said of a file that is moved to `corrupt/`.
pub(super) const DAMAGED: &str = "file is not a whole task";
/// "No such file or directory" on Linux.
pub(super) const ENOENT: i32 = 2;

/// A file that changed less than this ago may change again without a change of its time: clocks of
/// file systems tick every few milliseconds.
const YOUNG_NS: i64 = 20_000_000;

impl Dispatcher {
    /// Reads all packets of a worker.
    pub(super) fn read_worker(&mut self, id: WorkerId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut strays: Vec<OwnedFd> = Vec::new();
        while let Some(worker) = self.workers.get(&id).filter(|w| w.stage != Stage::Broken) {
            match socket::receive(worker.socket(), &mut buffer, &mut strays, false) {
                Ok(Received::Packet(bytes)) => match FromWorker::decode(&buffer[..bytes]) {
                    Ok(packet) => self.heard(id, packet),
                    Err(error) => self.broken(id, &error.to_string()),
                },
                Ok(Received::Nothing) => break,
                Ok(Received::Closed) => self.closed(id),
                Err(error) => self.broken(id, &error.to_string()),
            }
        }
        self.buffer = buffer;
    }

    fn heard(&mut self, id: WorkerId, packet: FromWorker) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.progress_ns = clock::monotonic_ns();
        match packet {
            FromWorker::Ready { version, pid } => {
                if version != PROTOCOL_VERSION {
                    self.broken(id, &format!("speaks protocol {version}, not {PROTOCOL_VERSION}"));
                    return;
                }
                worker.pid = pid;
                if worker.stage == Stage::Starting {
                    worker.stage = Stage::Ready;
                }
                self.outbox.send(ToSupervisor::Ready { worker: id, pid });
            }
            FromWorker::Reports(reports) => {
                if !worker.useful {
                    worker.useful = true;
                    self.outbox.send(ToSupervisor::Useful { worker: id });
                }
                for report in reports {
                    self.reported(id, report);
                }
                self.note_worn(id);
                self.drain_if_done(id);
            }
            FromWorker::TickDone { signal, duration_ns, error } => {
                worker.ticks = worker.ticks.saturating_sub(1);
                if self.wear.signal_as_task {
                    worker.ran += 1;
                    self.note_worn(id);
                }
                let done = ToSupervisor::TickDone { worker: id, signal, duration_ns, error };
                self.outbox.send(done);
            }
            FromWorker::Leaving => {}
        }
    }

    fn reported(&mut self, id: WorkerId, report: Report) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (row, pid) = (worker.row, worker.pid);
        let held = worker.settle(report.slot);
        if report.outcome.is_some() {
            worker.tasks += 1;
            worker.ran += 1;
            worker.run_time_ns += report.duration_ns;
            self.tally.run_time_ns += report.duration_ns;
        }
        self.free_slot(row, report.slot);
        let (Some(held), Some(outcome)) = (held, report.outcome) else { return };
        if !matches!(
            outcome,
            Outcome::Malformed | Outcome::Refused | Outcome::UnknownFunction | Outcome::Cancelled
        ) {
            self.history.record(held.function, report.duration_ns);
        }
        match outcome {
            _ if outcome != Outcome::Done && self.cancels.has(held.key) => {
                self.cancelled(held, pid, outcome, &report);
            }
            Outcome::Cancelled => self.cancelled(held, pid, outcome, &report),
            Outcome::Done => self.done(held, pid, Some(&report)),
            Outcome::Retry if self.policy_of(&held).retries_max == 0 => {
                self.retry(held, pid, &report);
            }
            Outcome::Retry => self.failed(held, Failure::reported(Ending::Retry, pid, report)),
            Outcome::Failed => self.failed(held, Failure::reported(Ending::Exception, pid, report)),
            Outcome::TimedOut => {
                self.failed(held, Failure::reported(Ending::Timeout, pid, report));
            }
            Outcome::Ignored | Outcome::UnknownFunction => self.not_taken(held, &report),
            Outcome::Malformed | Outcome::Refused => {
                let stat = file::stat_file(held.claim.file.as_fd()).unwrap_or(held.claim.stat);
                unlock(&held);
                let key = held.key;
                // One that is open is not moved.
                drop(held);
                let damaged = outcome == Outcome::Malformed;
                let what = if damaged { DAMAGED } else { "task refused" };
                self.suspect(key, &stat, what, &report.text);
            }
        }
    }

    /// A task is done. `report` is `None` where the worker's is still to come.
    pub(super) fn done(&mut self, held: Held, pid: u32, report: Option<&Report>) {
        self.tally.outcomes.done += 1;
        self.done_before_cancelled(held.key);
        match report.map_or(0, |report| report.errno) {
            0 => {}
            ENOENT => {
                let task = self.display(held.key);
                journal!(
                    TASK_MOVED, %task, id = id_of(&held),
                    "task is done, but was moved while it ran; there it runs again"
                );
                unlock(&held);
                self.index.remove(held.key);
                return;
            }
            LEASE_LOST => return self.lease_lost(&held),
            errno => {
                let error = io::Error::from_raw_os_error(errno);
                let task = self.display(held.key);
                journal!(
                    TASK_UNDELETED, %task, %error, id = id_of(&held),
                    "task is done and its file cannot be deleted; trying again"
                );
                self.keep_undeleted(held, &error);
                return;
            }
        }
        self.forget_attempts(&held);
        if !self.quiet {
            let (task, function) = (self.display(held.key), function_of(&held));
            let ms = report.map(|report| report.duration_ns as f64 / 1e6);
            journal!(
                TASK_FINISHED, %task, %function, pid, ms, attempt = attempt_of(&held),
                id = id_of(&held),
                "task done"
            );
        }
        self.index.remove(held.key);
    }

    /// A task is done whose lock was lost on the way. Whoever has it now deletes it; if nobody has, it runs
    /// again once a scan has met it.
    fn lease_lost(&mut self, held: &Held) {
        let error = io::Error::from_raw_os_error(LEASE_LOST);
        let task = self.display(held.key);
        journal!(
            TASK_LEASE_LOST, %task, %error, id = id_of(held),
            "task is done, but its lock was lost while it ran: not deleting it, since another machine may \
             have it now; if none has, it runs again"
        );
        self.index.remove(held.key);
        self.scanner.scan_soon(clock::monotonic_ns());
    }

    fn retry(&mut self, held: Held, pid: u32, report: &Report) {
        self.tally.outcomes.retried += 1;
        if !self.quiet {
            let (task, function) = (self.display(held.key), function_of(&held));
            let ms = report.duration_ns as f64 / 1e6;
            journal!(
                TASK_RETRIED, %task, %function, pid, ms, attempt = attempt_of(&held),
                id = id_of(&held),
                "task asked to run again"
            );
        }
        let due_ns = self.now_ns().saturating_add(self.policy_of(&held).delay_ns);
        let noted = postpone(held.claim.file.as_fd(), due_ns);
        self.put_off(held, due_ns, noted);
    }

    /// Gives up a lease until a time that stands in the file or, if that failed, only in the index.
    pub(super) fn put_off(&mut self, held: Held, due_ns: i64, noted: io::Result<()>) {
        let file = held.claim.file.as_fd();
        let held_ctime_ns = noted.err().map(|error| {
            self.cannot_note(&held, &error);
            file::stat_file(file).map_or(held.claim.stat.ctime_ns, |stat| stat.ctime_ns)
        });
        unlock(&held);
        match held_ctime_ns {
            Some(_) => self.index.delay(held.key, due_ns, held_ctime_ns),
            None => self.index.wait_until(held.key, due_ns),
        }
    }

    fn cannot_note(&self, held: &Held, error: &io::Error) {
        let task = self.display(held.key);
        journal!(
            TASK_UNRECORDED, %task, %error, id = id_of(held),
            "cannot note in the task's file that it failed; it runs again anyway"
        );
    }

    /// The application does not know the task: it stays, uncounted, until later or a reload.
    fn not_taken(&mut self, held: Held, report: &Report) {
        let (task, again_s) = (self.display(held.key), self.frequency_ns as f64 / 1e9);
        if report.text.is_empty() {
            self.tally.outcomes.ignored += 1;
            journal!(
                TASK_IGNORED, %task, function = %function_of(&held), again_s, id = id_of(&held),
                "task ignored by its handler"
            );
        } else {
            self.tally.outcomes.unknown += 1;
            journal!(
                TASK_UNKNOWN, %task, function = %function_of(&held), again_s, error = report.text,
                id = id_of(&held),
                "task not run: {}", report.text
            );
        }
        unlock(&held);
        let ctime_ns = held.claim.stat.ctime_ns;
        self.index.delay(held.key, self.now_ns() + self.frequency_ns, Some(ctime_ns));
        let is_ignored = report.text.is_empty();
        let why = if is_ignored { PutOff::Ignored } else { PutOff::Unknown };
        self.index.note_put_off(held.key, why);
    }

    /// A file that cannot be a whole task, or may not run: it may still be in the making, so it is
    /// left alone until it has not changed for a while, and then moved to `corrupt/`.
    pub(super) fn suspect(&mut self, key: TaskKey, stat: &Stat, what: &str, why: &str) {
        let (now_ns, settled_ns) = (self.now_ns(), stat.ctime_ns + self.settle_ns);
        let age_ns = now_ns - stat.ctime_ns;
        if (0..YOUNG_NS.min(self.settle_ns)).contains(&age_ns) {
            self.index.delay(key, now_ns + YOUNG_NS, None);
            return;
        }
        if now_ns < settled_ns {
            if what != DAMAGED {
                let (task, in_s) = (self.display(key), (settled_ns - now_ns) as f64 / 1e9);
                journal!(TASK_SUSPECT, %task, in_s, "{what}: {why}; it goes to corrupt/");
            }
            self.index.delay(key, settled_ns, Some(stat.ctime_ns));
            let why = if what == DAMAGED { PutOff::Damaged } else { PutOff::Refused };
            self.index.note_put_off(key, why);
            return;
        }
        let Some((lane, name)) = self.index.name(key) else { return };
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return };
        let task = self.shown(lane, &name);
        match quarantine(&self.dir, folder, &name, stat) {
            Ok(Some(path)) => {
                self.tally.outcomes.corrupt += 1;
                let path = path.display();
                if what == DAMAGED {
                    journal!(TASK_CORRUPT, %task, moved_to = %path, error = why, "{what}: {why}");
                } else {
                    journal!(TASK_REFUSED, %task, moved_to = %path, error = why, "{what}: {why}");
                }
                self.index.remove(key);
            }
            Ok(None) => {
                self.index.delay(key, self.now_ns() + LOOK_AGAIN_NS, Some(stat.ctime_ns));
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                error!(%task, cause = source.unwrap_or_default(), "{error}");
                self.index.delay(key, self.now_ns() + self.frequency_ns, Some(stat.ctime_ns));
            }
        }
    }

    /// What becomes of a task whose worker is gone.
    pub(super) fn orphaned(&mut self, held: Held, state: SlotState, death: &Death) {
        if self.cancels.has(held.key) {
            return self.orphaned_by_cancel(held, state, death);
        }
        let gone = file::stat_file(held.claim.file.as_fd()).is_ok_and(|stat| stat.links == 0);
        // With a second name, the file outlives its task.
        if gone || (state == SlotState::Done && self.is_nameless(held.key)) {
            self.forget_attempts(&held);
            self.index.remove(held.key);
            return;
        }
        match state {
            SlotState::Running | SlotState::Done => match death.failure() {
                Some(failure) => self.failed(held, failure),
                None => self.interrupted(held, death),
            },
            SlotState::Free | SlotState::Handed | SlotState::Revoked => {
                unlock(&held);
                self.index.put_back(held.key);
            }
        }
    }

    fn is_nameless(&self, key: TaskKey) -> bool {
        self.index.name(key).is_some_and(|(lane, name)| {
            let folder = self.folders.get(lane as usize).and_then(Option::as_ref);
            folder.is_some_and(|folder| matches!(folder.stat(&name), Ok(None)))
        })
    }

    /// A task's name relative to its spool, for the log.
    pub(super) fn display(&self, key: TaskKey) -> String {
        let Some((lane, name)) = self.index.name(key) else { return String::new() };
        self.shown(lane, &name)
    }

    /// The same, of a file in a folder.
    pub(super) fn shown(&self, lane: u32, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        match self.index.priority(lane) {
            None => name.into_owned(),
            Some(priority) => format!("{}/{name}", String::from_utf8_lossy(priority.as_bytes())),
        }
    }
}

/// Its identity, for the log.
pub(super) fn id_of(held: &Held) -> Option<DisplayValue<TaskId>> {
    held.claim.id.map(tracing::field::display)
}

/// Which attempt runs, from 1.
pub(super) fn attempt_of(held: &Held) -> u8 {
    held.claim.attempts.saturating_add(1)
}

pub(super) fn function_of(held: &Held) -> String {
    String::from_utf8_lossy(held.claim.function.as_deref().unwrap_or(b"-")).into_owned()
}
