//! Limits that the daemon enforces on its workers: the time of a task, their own age and memory.
//!
//! The shared slots tell since when a task runs, the kernel how much memory a process has. Nothing
//! here depends on a dispatcher or on a worker: whatever they hang in, a limit holds. Without limits
//! nobody looks and nothing wakes up.

use std::time::Duration;

use unspool_sys::clock;
use unspool_sys::memory::{Memory, killed_for_memory, memory};
use unspool_sys::slots::{Slot, SlotState};
use unspool_wire::control::Role;

use super::Supervisor;
use super::children::{Tenure, WorkerProcess};
use crate::events::{Cause, WorkerId};
use crate::journal::journal;
use crate::limits::{Limits, LookBy, MemoryLimits};
use crate::uwsgi_lines;

/// A worker that has to go for its time has this long to write what its threads do, which ends it.
/// Then it is killed.
pub(super) const TRACEBACK_NS: u64 = 100_000_000;
/// How often memory is looked at, where it is limited.
const MEMORY_EVERY_NS: u64 = 1_000_000_000;
/// What a worker that a reload has told to end gets between SIGTERM and SIGKILL.
const TERMINATE_NS: u64 = 5_000_000_000;

/// The option that limits what spoolers run.
const SPOOLER_HARAKIRI: &str = "spooler-harakiri";

/// How long the handler of a signal may run.
#[derive(Debug, Clone, Copy)]
pub(super) struct TickLimit {
    option: &'static str,
    limit: Duration,
    /// On the monotonic clock.
    pub(super) by_ns: u64,
}

/// How long a task may run, and what says so.
#[derive(Debug, Clone, Copy)]
struct TaskLimit {
    name: &'static str,
    limit: Duration,
}

impl TaskLimit {
    /// The shorter one of the spool's limit and the task's own; `None`: there is no task, or no limit.
    fn of(slot: &Slot, general: Option<Duration>) -> Option<Self> {
        if !matches!(slot.state(), SlotState::Handed | SlotState::Running) {
            return None;
        }
        let general = general.map(|limit| Self { name: SPOOLER_HARAKIRI, limit });
        let own_ms = Some(slot.named().limit_ms).filter(|own_ms| *own_ms != 0);
        let own = own_ms.map(|ms| Self { name: "time_limit", limit: Duration::from_millis(ms) });
        [general, own].into_iter().flatten().min_by_key(|limit| limit.limit)
    }

    fn ns(&self) -> u64 {
        nanoseconds(self.limit)
    }
}

/// When somebody looks, on the monotonic clock.
#[derive(Debug)]
pub(super) struct Patrol {
    limits: Limits,
    /// When running tasks are looked at.
    tasks_ns: u64,
    look_by: LookBy,
    memory_ns: u64,
    /// Processes of the machine that the kernel had killed for memory when it was last looked at.
    killed: Option<u64>,
}

impl Patrol {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            tasks_ns: u64::MAX,
            look_by: LookBy::never(),
            memory_ns: 0,
            killed: killed_for_memory(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the kernel has killed some process of the machine for memory since it was asked last.
    pub(super) fn kernel_has_killed(&mut self) -> bool {
        let before = std::mem::replace(&mut self.killed, killed_for_memory());
        self.killed > before
    }

    /// What dispatchers read.
    pub(super) fn look_by(&self) -> LookBy {
        self.look_by.clone()
    }

    /// Running tasks have to be looked at by then.
    pub(super) fn look_at_tasks_by(&mut self, by_ns: u64) {
        self.tasks_ns = self.tasks_ns.min(by_ns);
        self.look_by.set(self.tasks_ns);
    }

    fn limits_memory(&self) -> bool {
        self.limits.memory != MemoryLimits::default()
    }
}

fn nanoseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

impl Supervisor {
    /// A worker is ready from then on: its tasks have to be looked at.
    pub(super) fn watch_from(&mut self, ready_ns: u64) {
        if let Some(limit) = self.patrol.limits.harakiri {
            // Whatever it starts is not due before that, and is seen to run then.
            self.patrol.look_at_tasks_by(ready_ns + nanoseconds(limit));
        }
    }

    /// Looks at what is due, and kills or replaces what is over its limit.
    pub(super) fn enforce_limits(&mut self) {
        let now_ns = clock::monotonic_ns();
        self.kill_overdue(now_ns);
        if self.patrol.tasks_ns <= now_ns {
            self.look_at_tasks(now_ns);
        }
        if let Some(limit) = self.patrol.limits.lifetime {
            self.look_at_ages(limit, now_ns);
        }
        if self.patrol.limits_memory() && self.patrol.memory_ns <= now_ns {
            self.patrol.memory_ns = now_ns + MEMORY_EVERY_NS;
            self.look_at_memory();
        }
        self.end_late_ticks(now_ns);
        self.end_retired(now_ns);
    }

    /// When there is something to look at next.
    pub(super) fn next_limit_ns(&self) -> Option<u64> {
        let ready = || self.workers.values().filter(|w| w.ready && w.cause == Cause::Own);
        let ages = self.patrol.limits.lifetime.and_then(|limit| {
            let lasting = ready().filter(|w| may_grow_old(w));
            lasting.map(|w| w.ready_ns + nanoseconds(self.lifetime(limit, w))).min()
        });
        let memory = self.patrol.limits_memory() && ready().next().is_some();
        [
            (self.patrol.tasks_ns != u64::MAX).then_some(self.patrol.tasks_ns),
            memory.then_some(self.patrol.memory_ns),
            ages,
            self.ticks.next_late_ns(),
            self.workers.values().filter_map(|w| w.kill_ns).min(),
            self.workers.values().filter_map(|w| w.gone_by_ns).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A task that is seen to run gets its exact deadline. One that starts later is not due before
    /// its limit has passed once more, and is looked at then.
    fn look_at_tasks(&mut self, now_ns: u64) {
        // What is handed out from here on is told of, or its slot is seen below.
        self.patrol.tasks_ns = u64::MAX;
        self.patrol.look_by.set(u64::MAX);
        let general = self.patrol.limits.harakiri;
        let mut next_ns = u64::MAX;
        let mut overdue = Vec::new();
        for (id, worker) in &self.workers {
            if worker.role != Role::Spool || worker.cause != Cause::Own {
                continue;
            }
            // Its dispatcher may have heard that it is ready, and given it a task, before us.
            if let Some(limit) = general.filter(|_| worker.ready) {
                next_ns = next_ns.min(now_ns + nanoseconds(limit));
            }
            for slot in self.slots_of(worker) {
                let Some(limit) = TaskLimit::of(slot, general) else { continue };
                match slot.running_since() {
                    Some(since_ns) if since_ns + limit.ns() <= now_ns => overdue.push((*id, limit)),
                    Some(since_ns) => next_ns = next_ns.min(since_ns + limit.ns()),
                    None => next_ns = next_ns.min(now_ns + limit.ns()),
                }
            }
        }
        self.patrol.look_at_tasks_by(next_ns);
        for (id, limit) in overdue {
            self.end_for_time(id, "a task", limit.name, limit.limit, now_ns);
        }
    }

    /// Ends a worker for the time that it takes, after it has shown what it does.
    pub(super) fn end_for_time(
        &mut self,
        id: WorkerId,
        what: &str,
        option: &str,
        limit: Duration,
        now_ns: u64,
    ) {
        let Some(worker) = self.workers.get_mut(&id).filter(|w| w.cause == Cause::Own) else {
            return;
        };
        let Some(child) = &worker.child else { return };
        let (pid, seconds, kind) = (child.pid(), limit.as_secs_f64(), worker.kind());
        journal!(
            WORKER_TIME_LIMIT,
            pid,
            kind,
            limit_s = seconds,
            option,
            "{what} runs longer than `{option}`; killing its worker"
        );
        if option == SPOOLER_HARAKIRI {
            uwsgi_lines::harakiri(pid);
        }
        child.end_with_traceback();
        worker.cause = Cause::Limit { why: format!("it ran longer than `{option}`, {seconds} s") };
        worker.kill_ns = Some(now_ns + TRACEBACK_NS);
    }

    /// Which limit the handler of a signal has, and when it ends for one that starts now.
    pub(super) fn tick_limit(&self, signal: u8) -> Option<TickLimit> {
        let limits = &self.patrol.limits;
        let (option, limit) = if self.routes.is_for_spoolers(signal) {
            (SPOOLER_HARAKIRI, limits.harakiri?)
        } else {
            ("harakiri", limits.handler_harakiri?)
        };
        Some(TickLimit { option, limit, by_ns: clock::monotonic_ns() + nanoseconds(limit) })
    }

    fn end_late_ticks(&mut self, now_ns: u64) {
        for (id, signal, late) in self.ticks.late(now_ns) {
            let what = format!("the handler of signal {signal}");
            self.end_for_time(id, &what, late.option, late.limit, now_ns);
        }
    }

    /// The slots of a worker's tasks.
    pub(super) fn slots_of(&self, worker: &WorkerProcess) -> &[Slot] {
        let table = self.spools.get(worker.spool).map(|spool| &spool.slots);
        table.zip(worker.row).and_then(|(table, row)| table.row(row)).unwrap_or_default()
    }

    fn kill_overdue(&mut self, now_ns: u64) {
        let due = |w: &WorkerProcess| w.kill_ns.is_some_and(|kill_ns| kill_ns <= now_ns);
        let overdue: Vec<WorkerId> =
            self.workers.iter().filter(|(_, w)| due(w)).map(|(id, _)| *id).collect();
        for id in overdue {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.kill_ns = None;
            }
            self.kill_worker(id);
        }
    }

    /// Kills a worker for a limit, which the log names together with its task.
    fn kill_for(&mut self, id: WorkerId, why: String) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.cause = Cause::Limit { why };
        self.kill_worker(id);
    }

    fn look_at_ages(&mut self, limit: Duration, now_ns: u64) {
        let old: Vec<(WorkerId, u32, Duration)> = self
            .workers
            .iter()
            .filter(|(_, w)| w.ready && may_grow_old(w))
            .map(|(id, w)| (id, w, self.lifetime(limit, w)))
            .filter(|(_, w, limit)| w.ready_ns + nanoseconds(*limit) <= now_ns)
            .filter_map(|(id, w, limit)| Some((*id, w.child.as_ref()?.pid(), limit)))
            .collect();
        for (id, pid, limit) in old {
            let why = format!("it is older than `max-worker-lifetime`, {} s", limit.as_secs_f64());
            self.recycle(id, pid, &why);
        }
    }

    /// How long a worker lasts: with `max-worker-lifetime-delta` each by its number, from 1.
    fn lifetime(&self, limit: Duration, worker: &WorkerProcess) -> Duration {
        // Of a web worker the row is its number.
        let first = usize::from(worker.role == Role::Spool);
        let number = worker.row.map_or(0, |row| u32::try_from(row + first).unwrap_or(u32::MAX));
        limit.saturating_add(self.patrol.limits.lifetime_delta.saturating_mul(number))
    }

    fn look_at_memory(&mut self) {
        let limits = self.patrol.limits.memory;
        let ready: Vec<(WorkerId, u32, Role)> = self
            .workers
            .iter()
            // Mules have limits of their own.
            .filter(|(_, w)| w.ready && w.cause == Cause::Own && w.role != Role::Mule)
            .filter_map(|(id, w)| Some((*id, w.child.as_ref()?.pid(), w.role)))
            .collect();
        for (id, pid, role) in ready {
            // One that has ended has none.
            let Ok(now) = memory(pid) else { continue };
            if let Some(why) = evil(&limits, now) {
                journal!(WORKER_MEMORY_LIMIT, pid, reason = why, "killing a worker: {why}");
                self.kill_for(id, why);
            } else if matches!(role, Role::Spool | Role::Web)
                && let Some(why) = soft(&limits, now)
            {
                self.recycle(id, pid, &why);
            }
        }
    }

    /// Workers of the old application have `reload-mercy` to end, if it is set.
    pub(super) fn limit_retired(&mut self, spool: usize) {
        let Some(mercy) = self.patrol.limits.reload_mercy else { return };
        let by_ns = clock::monotonic_ns() + nanoseconds(mercy);
        let generation = self.generation;
        for worker in self.workers.values_mut().filter(|w| w.role == Role::Spool) {
            if worker.spool == spool && worker.generation != generation {
                worker.gone_by_ns.get_or_insert(by_ns);
            }
        }
    }

    fn end_retired(&mut self, now_ns: u64) {
        let limit_s = self.patrol.limits.reload_mercy.unwrap_or_default().as_secs_f64();
        for worker in self.workers.values_mut() {
            if worker.gone_by_ns.is_none_or(|by_ns| by_ns > now_ns) {
                continue;
            }
            worker.gone_by_ns = None;
            if let Some(child) = worker.child.as_ref().filter(|_| worker.cause == Cause::Own) {
                let pid = child.pid();
                journal!(
                    WORKER_MERCY_OVER,
                    pid,
                    limit_s,
                    "a worker outstays `reload-mercy`: sending it SIGTERM"
                );
                worker.cause = Cause::Interrupted { by: "the reload" };
                child.terminate();
                worker.deadline_ns = Some(now_ns + TERMINATE_NS);
            }
        }
    }
}

/// Whether a worker is replaced for its age.
fn may_grow_old(worker: &WorkerProcess) -> bool {
    matches!(worker.role, Role::Spool | Role::Web) && worker.tenure == Tenure::Lasting
}

fn evil(limits: &MemoryLimits, now: Memory) -> Option<String> {
    over("evil-reload-on-rss", limits.evil_reload_on_rss, now.resident)
        .or_else(|| over("evil-reload-on-as", limits.evil_reload_on_as, now.address_space))
}

fn soft(limits: &MemoryLimits, now: Memory) -> Option<String> {
    over("reload-on-rss", limits.reload_on_rss, now.resident)
        .or_else(|| over("reload-on-as", limits.reload_on_as, now.address_space))
}

fn over(option: &str, limit: Option<u64>, bytes: u64) -> Option<String> {
    let limit = limit.filter(|limit| bytes > *limit)?;
    let (has, may) = (bytes >> 20, limit >> 20);
    Some(format!("it has {has} MiB, more than `{option}` allows ({may} MiB)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_option_and_sizes() {
        let limits = MemoryLimits { evil_reload_on_rss: Some(1 << 20), ..MemoryLimits::default() };
        let now = Memory { address_space: 9 << 20, resident: 1 << 20 };
        assert_eq!(evil(&limits, now), None);
        let now = Memory { resident: 3 << 20, ..now };
        let why = evil(&limits, now).unwrap();
        assert_eq!(why, "it has 3 MiB, more than `evil-reload-on-rss` allows (1 MiB)");
        assert_eq!(soft(&limits, now), None);
    }
}
