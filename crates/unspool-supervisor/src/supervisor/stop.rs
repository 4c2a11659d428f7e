//! Stop: the ladder from asking to killing. Written down in `docs/design/supervision.md`.

use std::time::Duration;

use tracing::warn;
use unspool_sys::clock;

use super::Supervisor;
use super::children::WorkerProcess;
use crate::events::{Cause, ToDispatcher, WorkerId};
use crate::journal::journal;
use crate::uwsgi_lines;
use unspool_wire::control::Role;

/// A rung: what was done, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ladder {
    /// Workers were asked to finish what they run and leave.
    Asked { since_ns: u64, until_ns: u64 },
    /// They got SIGTERM.
    Terminated { until_ns: u64 },
    /// They and what they started got SIGKILL.
    Killed { until_ns: u64 },
    /// No task and no cron is left; attached daemons, which those may have needed, end.
    Detached { until_ns: u64, killed: bool },
    /// No process is left; the dispatchers end.
    Ending { until_ns: u64 },
}

/// A second stop signal counts as one only after this.
const REPEAT_WAIT: Duration = Duration::from_secs(1);
const TERMINATE_WAIT: Duration = Duration::from_secs(5);
/// For attached daemons.
const DETACH_WAIT: Duration = Duration::from_secs(10);
const KILL_WAIT: Duration = Duration::from_secs(5);
const END_WAIT: Duration = Duration::from_secs(5);

impl Ladder {
    /// How long ago the stop began: 0 once nobody is waited for any more.
    pub(super) fn age_ns(&self) -> u64 {
        match self {
            Self::Asked { since_ns, .. } => clock::monotonic_ns().saturating_sub(*since_ns),
            _ => 0,
        }
    }

    /// When the next rung is climbed at the latest.
    pub(super) fn until_ns(&self) -> u64 {
        match self {
            Self::Asked { until_ns, .. }
            | Self::Terminated { until_ns }
            | Self::Killed { until_ns }
            | Self::Detached { until_ns, .. }
            | Self::Ending { until_ns } => *until_ns,
        }
    }
}

fn after(wait: Duration) -> u64 {
    clock::monotonic_ns() + wait.as_nanos() as u64
}

impl WorkerProcess {
    /// The daemon ends it to stop in time, unless it is being ended for a limit already.
    fn interrupt(&mut self) {
        if self.cause == Cause::Own {
            self.cause = Cause::Interrupted { by: "the stop" };
        }
    }
}

impl Supervisor {
    /// SIGTERM or SIGINT. A second one does not wait for the tasks.
    pub(super) fn stop(&mut self) {
        match self.ladder {
            None => {
                let since_ns = clock::monotonic_ns();
                let until_ns = after(self.stop_timeout);
                self.ladder = Some(Ladder::Asked { since_ns, until_ns });
                // Before it is said: who reads that has no mule take one more message.
                self.retire_mules(|_| true);
                self.drain_web(|_, _| true);
                let wait_s = self.stop_timeout.as_secs_f64();
                journal!(DAEMON_STOPPING, wait_s, "stopping: running tasks may finish");
                self.crons.name_those_that_run();
                self.imports.show_now();
                uwsgi_lines::stopping();
                let spoolers = self.workers.values().filter(|w| w.role == Role::Spool);
                for child in spoolers.filter_map(|w| w.child.as_ref()) {
                    uwsgi_lines::killing(child.pid());
                }
                // One that is not ready runs nothing that could be waited for.
                let unready = self.workers.iter().filter(|(_, w)| !w.ready).map(|(id, _)| *id);
                for id in unready.collect::<Vec<WorkerId>>() {
                    self.kill_worker(id);
                }
                for spool in 0..self.spools.len() {
                    self.tell(spool, ToDispatcher::Stop);
                }
                self.retire_tick_workers();
                self.resign();
                for zygote in [self.zygote.take(), self.next_zygote.take()].into_iter().flatten() {
                    self.drop_zygote(zygote);
                }
            }
            // A terminal and a wrapper may both pass the same Ctrl-C on.
            Some(Ladder::Asked { since_ns, .. })
                if clock::monotonic_ns() >= since_ns + REPEAT_WAIT.as_nanos() as u64 =>
            {
                self.terminate("told to stop again");
            }
            Some(_) => {}
        }
    }

    /// Stops without waiting for the tasks.
    pub(super) fn stop_now(&mut self) {
        if self.ladder.is_none() {
            self.stop();
        }
        if matches!(self.ladder, Some(Ladder::Asked { .. })) {
            self.terminate("told to stop at once");
        }
    }

    /// Climbs the ladder: when nothing is left to wait for, or the wait is over.
    pub(super) fn climb(&mut self) {
        let Some(rung) = self.ladder else { return };
        if let Ladder::Ending { until_ns } = rung {
            self.over = self.spools.iter().all(|s| s.ended) || clock::monotonic_ns() >= until_ns;
            return;
        }
        if self.workers.is_empty() && self.crons.len() == 0 {
            if !self.detach(rung) {
                return;
            }
            for spool in 0..self.spools.len() {
                self.tell(spool, ToDispatcher::Exit);
            }
            self.ladder = Some(Ladder::Ending { until_ns: after(END_WAIT) });
            self.over = self.spools.is_empty();
            return;
        }
        if clock::monotonic_ns() < rung.until_ns() {
            return;
        }
        match rung {
            Ladder::Asked { .. } => self.terminate("tasks do not finish in time"),
            Ladder::Terminated { .. } => self.kill(),
            Ladder::Killed { .. } | Ladder::Detached { .. } | Ladder::Ending { .. } => {
                let (workers, crons) = (self.workers.len(), self.crons.len());
                journal!(
                    STOP_LEAVES,
                    workers,
                    crons,
                    "workers do not end though they were killed; leaving them"
                );
                self.workers.clear();
                self.crons.forget();
            }
        }
    }

    /// Ends attached daemons. Returns whether that is done.
    fn detach(&mut self, rung: Ladder) -> bool {
        if self.attached.is_ended() {
            return true;
        }
        let Ladder::Detached { until_ns, killed } = rung else {
            self.attached.stop();
            let until_ns = after(DETACH_WAIT);
            self.ladder = Some(Ladder::Detached { until_ns, killed: false });
            return false;
        };
        if clock::monotonic_ns() < until_ns {
            return false;
        }
        if killed {
            warn!("attached daemons do not end though they were killed; leaving them");
            return true;
        }
        self.attached.kill();
        self.ladder = Some(Ladder::Detached { until_ns: after(KILL_WAIT), killed: true });
        false
    }

    fn terminate(&mut self, why: &str) {
        let (workers, crons) = (self.workers.len(), self.crons.len());
        journal!(STOP_TERMINATES, workers, crons, "{why}: sending SIGTERM to the workers");
        self.crons.terminate();
        for worker in self.workers.values_mut() {
            worker.interrupt();
            if let Some(child) = &worker.child {
                child.terminate();
            }
        }
        self.ladder = Some(Ladder::Terminated { until_ns: after(TERMINATE_WAIT) });
    }

    fn kill(&mut self) {
        let (workers, crons) = (self.workers.len(), self.crons.len());
        journal!(STOP_KILLS, workers, crons, "workers ignore SIGTERM: killing them");
        self.crons.kill();
        for worker in self.workers.values_mut() {
            worker.interrupt();
        }
        for id in self.workers.keys() {
            self.kill_worker(*id);
        }
        self.ladder = Some(Ladder::Killed { until_ns: after(KILL_WAIT) });
    }
}
