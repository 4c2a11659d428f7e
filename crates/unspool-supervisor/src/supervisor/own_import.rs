//! Workers that import the application themselves, instead of having that of their zygote
//! (`spooler-fork`, `lazy-apps`), and when those that have it are trusted no more.
//!
//! The zygote is told which of the two with its settings. What follows from it here: how long such a
//! worker may take, what the log says when its import fails, and who imports for nobody any more.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;
use unspool_wire::control::{CronSpec, ImportFailure, Role, TimerSpec};

use super::Supervisor;
use crate::events::WorkerId;
use crate::journal::journal;
use crate::settings::{ForkPolicy, ZygoteSettings};

/// Forked workers in a row that may be late before workers import the application themselves.
const LATE_MAX: u32 = 2;
/// Failures that are kept of one worker.
const FAILURES_MAX: usize = 16;

/// How workers come to the application.
#[derive(Debug)]
pub(super) struct Forking {
    policy: ForkPolicy,
    start_timeout: Duration,
    /// Workers of the zygotes to come import it themselves.
    pub(super) own_import: bool,
    /// Forked workers in a row that were not ready in time.
    late: u32,
    /// Timers that begin when there is a worker for their handlers.
    timers: Vec<TimerSpec>,
    /// What could not be imported by workers that are about to end.
    failures: BTreeMap<WorkerId, Vec<ImportFailure>>,
}

impl Forking {
    pub(super) fn new(settings: &ZygoteSettings) -> Self {
        Self {
            policy: settings.fork,
            start_timeout: settings.start_timeout,
            own_import: settings.fork == ForkPolicy::Never,
            late: 0,
            timers: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// A forked worker is ready: whatever kept others lies with them.
    pub(super) fn works(&mut self) {
        self.late = 0;
    }
}

impl Supervisor {
    /// Starts the timers and crons of a new generation.
    ///
    /// Where a worker for ticks has to import the application first, there is one from the start on,
    /// and timers begin when it is ready: those of few iterations would be over by then.
    pub(super) fn begin_schedule(&mut self, timers: Vec<TimerSpec>, crons: &[CronSpec]) {
        self.ticks.keeps_one = self.forking.own_import && self.routes.need_tick_workers();
        if self.ticks.keeps_one {
            self.schedule.replace(&[], crons);
            self.forking.timers = timers;
        } else {
            self.schedule.replace(&timers, crons);
        }
    }

    /// The first worker for ticks is ready, or has failed.
    pub(super) fn start_held_timers(&mut self) {
        let timers = std::mem::take(&mut self.forking.timers);
        self.schedule.start_timers(&timers);
    }

    /// How long a worker may take until it is ready.
    pub(super) fn start_ns_max(&self, own_import: bool) -> u64 {
        let import = if own_import { self.patrol.limits().import_timeout } else { Duration::ZERO };
        u64::try_from((self.forking.start_timeout + import).as_nanos()).unwrap_or(u64::MAX / 4)
    }

    /// A worker was not ready in time. A lock that a thread of the zygote holds at the moment of a
    /// fork is never released in the worker: the cure is an import of its own.
    pub(super) fn started_late(&mut self, own_import: bool) {
        let forking = &mut self.forking;
        if own_import || forking.own_import || forking.policy != ForkPolicy::Auto {
            return;
        }
        forking.late += 1;
        if forking.late < LATE_MAX || self.ladder.is_some() {
            return;
        }
        forking.own_import = true;
        warn!(
            "{LATE_MAX} forked workers in a row were not ready in time: from now on each worker \
             imports the application itself, as with `spooler-fork = never`"
        );
        if let Some(zygote) = self.next_zygote.take() {
            self.drop_zygote(zygote);
        }
        self.start_zygote();
    }

    /// An import of a worker has failed. The log says so when the worker has ended: it is what
    /// matters last.
    pub(super) fn worker_import_failed(&mut self, id: WorkerId, failure: ImportFailure) {
        let failures = self.forking.failures.entry(id).or_default();
        if failures.len() < FAILURES_MAX {
            failures.push(failure);
        }
    }

    /// A worker has ended: shows what it could not import.
    pub(super) fn show_worker_failures(&mut self, id: WorkerId, pid: u32) {
        let failures = self.forking.failures.remove(&id).unwrap_or_default();
        self.worker_cannot_import(&failures);
        for failure in failures {
            journal!(
                WORKER_IMPORT_FAILED,
                pid,
                module = failure.target,
                detail = failure.traceback,
                "a worker cannot import"
            );
        }
    }

    /// Ends the workers of earlier generations that still import: nobody waits for them, and an
    /// import may take longer than the time until the next reload.
    pub(super) fn end_outdated_imports(&mut self) {
        let outdated: Vec<WorkerId> = (self.workers.iter())
            .filter(|(_, w)| w.own_import && !w.ready && w.role != Role::Mule)
            .filter(|(_, w)| w.generation != self.generation)
            .map(|(id, _)| *id)
            .collect();
        for id in outdated {
            self.kill_worker(id);
        }
    }
}
