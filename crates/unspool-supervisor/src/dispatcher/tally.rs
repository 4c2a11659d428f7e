//! What a dispatcher counts, and its account of the spool.
//!
//! Counting costs a run a few additions, and an account some microseconds, however many tasks there
//! are: depths are kept by the index, not counted.

use unspool_core::Priority;
use unspool_sys::clock;
use unspool_sys::slots::Slot;

use super::Dispatcher;
use super::outcome::function_of;
use super::worker::{Held, Stage, Worker};
use crate::events::ToSupervisor;
use crate::snapshot::{
    CurrentTask, Depth, LastError, Outcomes, PriorityDepth, SpoolSnapshot, WorkerSnapshot,
};

/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 500;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) outcomes: Outcomes,
    pub(super) run_time_ns: u64,
    last_error: Option<LastError>,
}

impl Tally {
    /// Keeps what is worth showing of a failure.
    pub(super) fn failed(&mut self, task: &str, function: &str, text: &str) {
        self.outcomes.failed += 1;
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        self.last_error = Some(LastError {
            at: clock::now_ns().div_euclid(1_000_000_000),
            task: task.to_owned(),
            function: function.to_owned(),
            error: line.trim().chars().take(ERROR_CHARS_MAX).collect(),
        });
    }
}

fn shown(priority: &Priority) -> String {
    String::from_utf8_lossy(priority.as_bytes()).into_owned()
}

impl Dispatcher {
    /// Tells the supervisor how the spool is.
    pub(super) fn report(&mut self) {
        let now_ns = self.now_ns();
        self.index.promote(now_ns);
        let priorities = self
            .index
            .depths()
            .map(|(priority, tasks)| PriorityDepth { priority: priority.map(shown), tasks });
        let priorities: Vec<PriorityDepth> = priorities.collect();
        let tasks = priorities.iter().fold(Depth::default(), |sum, lane| sum.plus(lane.tasks));
        let oldest_ns = self.index.oldest_due();
        let next_due = self.index.next_due();
        let snapshot = SpoolSnapshot {
            dir: self.dir.path().to_owned(),
            tasks,
            priorities,
            oldest_due_ms: oldest_ns.map(|at_ns| (now_ns - at_ns).max(0) as u64 / 1_000_000),
            next_due_at: next_due.map(|at_ns| at_ns.div_euclid(1_000_000_000)),
            outcomes: self.tally.outcomes,
            run_time_us: self.tally.run_time_ns / 1000,
            last_error: self.tally.last_error.clone(),
            complete: self.scanner.is_settled() && self.room.is_enough(),
            bytes: self.index.pending().0.bytes,
            scanning: self.scanner.is_running(),
            unwatched: self.watch.is_none(),
            undeleted: self.undeleted.count(),
            pauses: self.paused.account(),
            pauses_failed: self.paused.failed(),
            workers: self.workers.values().map(|worker| self.account_of(worker)).collect(),
            ..SpoolSnapshot::default()
        };
        let (spool, snapshot) = (self.number, Box::new(snapshot));
        self.outbox.send(ToSupervisor::Report { spool, snapshot });
    }

    /// What only the dispatcher knows of a worker.
    fn account_of(&self, worker: &Worker) -> WorkerSnapshot {
        let now_ns = clock::monotonic_ns();
        let current = worker.handed().find_map(|(slot, held, _)| {
            let started_ns = self.slot(worker.row, slot).and_then(Slot::running_since)?;
            Some(self.current(held, now_ns.saturating_sub(started_ns)))
        });
        WorkerSnapshot {
            id: worker.id,
            ready: worker.stage == Stage::Ready,
            priority: worker.only.as_ref().map(shown),
            leaving: worker.replaced || matches!(worker.stage, Stage::Leaving | Stage::Broken),
            tasks: worker.tasks,
            run_time_us: worker.run_time_ns / 1000,
            outstanding: worker.outstanding() as u64,
            current,
            ..WorkerSnapshot::default()
        }
    }

    fn current(&self, held: &Held, since_ns: u64) -> CurrentTask {
        CurrentTask {
            task: self.display(held.key),
            function: function_of(held),
            since_ms: since_ns / 1_000_000,
        }
    }

    fn slot(&self, row: usize, slot: u8) -> Option<&Slot> {
        self.slots.row(row).and_then(|row| row.get(usize::from(slot)))
    }
}
