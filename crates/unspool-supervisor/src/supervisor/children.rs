//! Worker processes: asked for, watched, replaced.

use std::os::fd::{AsFd, BorrowedFd};

use tracing::{debug, error, warn};
use unspool_core::limits::WORKERS_MAX;
use unspool_sys::descent::kill_descent;
use unspool_sys::process::{self, Child, Exit};
use unspool_sys::{clock, host, socket};
use unspool_wire::control::{Role, ToZygote, mark, mark_value};

use super::cancel::Cancelling;
use super::limits::TRACEBACK_NS;
use super::{KIND_MULE_SOCKET, KIND_TICK_SOCKET, KIND_WEB_SOCKET, KIND_WORKER, Supervisor};
use crate::events::{Cause, ToDispatcher, WorkerId};
use crate::journal::journal;
use crate::uwsgi_lines;

/// Whether a worker counts among those that its pool should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tenure {
    /// It does.
    Lasting,
    /// Another one is to take its place.
    Worn,
    /// It leaves: another one has taken its place, or it had nothing to do.
    LetGo,
}

/// A worker, from the moment it is asked for until its process has ended.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) role: Role,
    /// Index of its spool.
    pub(super) spool: usize,
    /// Index of its pool in the spool.
    pub(super) pool: usize,
    pub(super) row: Option<usize>,
    pub(super) generation: u32,
    /// It imports the application itself.
    pub(super) own_import: bool,
    pub(super) ready: bool,
    pub(super) useful: bool,
    /// When it was asked for, in seconds since 1970.
    pub(super) asked_at: i64,
    pub(super) tenure: Tenure,
    /// The worker in whose place it comes.
    pub(super) replaces: Option<WorkerId>,
    /// How many tasks it may run, once it was handed the last of them.
    pub(super) worn_after: Option<u64>,
    /// Why the daemon killed it.
    pub(super) cause: Cause,
    /// Bytes: the most memory that it had, once it has ended.
    pub(super) peak_rss: Option<u64>,
    pub(super) child: Option<Child>,
    /// When it became ready.
    pub(super) ready_ns: u64,
    /// Its task has run too long: when it is killed, unless it has ended by then.
    pub(super) kill_ns: Option<u64>,
    /// Its task was cancelled.
    pub(super) cancelling: Option<Cancelling>,
    /// It is of an earlier generation and has to be gone by then.
    pub(super) gone_by_ns: Option<u64>,
    /// It has to be ready, or to have ended, by then.
    pub(super) deadline_ns: Option<u64>,
}

const SIGKILL: i32 = 9;

/// How long a worker may take to end after it has closed its socket: interpreters have exit hooks.
const END_NS_MAX: u64 = 5_000_000_000;
/// How long old workers may have the rows of new ones before it is told.
const CROWDED_NS: u64 = 1_000_000_000;

impl WorkerProcess {
    /// One that is asked for now.
    fn new(role: Role, generation: u32, own_import: bool) -> Self {
        Self {
            role,
            spool: 0,
            pool: 0,
            row: None,
            generation,
            own_import,
            ready: false,
            useful: false,
            asked_at: clock::now_ns().div_euclid(1_000_000_000),
            tenure: Tenure::Lasting,
            replaces: None,
            worn_after: None,
            cause: Cause::Own,
            peak_rss: None,
            child: None,
            ready_ns: 0,
            kill_ns: None,
            cancelling: None,
            gone_by_ns: None,
            deadline_ns: None,
        }
    }

    /// What events call it, besides a worker.
    pub(super) fn kind(&self) -> Option<&'static str> {
        (self.role == Role::Web).then_some("web")
    }
}

impl Supervisor {
    /// The spool workers of the current generation.
    pub(super) fn workers_of(&self, spool: usize) -> impl Iterator<Item = &WorkerProcess> {
        let generation = self.generation;
        self.workers.values().filter(move |w| {
            w.role == Role::Spool && w.spool == spool && w.generation == generation
        })
    }

    /// Asks for the workers that a spool lacks.
    pub(super) fn ensure_workers(&mut self, spool: usize) {
        if self.ladder.is_some() || self.zygote.is_none() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        if self.spools[spool].spawn_at_ns.is_some_and(|at_ns| at_ns > now_ns) {
            return;
        }
        self.spools[spool].spawn_at_ns = None;
        let pools = 0..self.spools[spool].pools.len();
        let crowded = pools.fold(false, |crowded, pool| crowded | self.fill_pool(spool, pool));
        if crowded {
            self.tell_crowded(spool, now_ns);
        } else {
            self.spools[spool].crowded_ns = None;
        }
    }

    /// Old workers that leave are gone in a moment; those that run long tasks are told of.
    fn tell_crowded(&mut self, spool: usize, now_ns: u64) {
        let spool = &mut self.spools[spool];
        if now_ns < *spool.crowded_ns.get_or_insert(now_ns + CROWDED_NS) {
            return;
        }
        if spool.crowded_ns.replace(u64::MAX) != Some(u64::MAX) {
            let path = spool.path.display();
            warn!(
                spool = %path,
                "too many old workers still run long tasks; new ones start as they end"
            );
        }
    }

    /// Whether workers of earlier generations have the rows that it lacks.
    fn fill_pool(&mut self, spool: usize, pool: usize) -> bool {
        let present = self.lasting(spool, pool).count() as u32;
        for _ in present..self.spools[spool].pools[pool].wanted {
            let Some(row) = self.spools[spool].free_rows.pop() else {
                let old = |w: &WorkerProcess| {
                    w.role == Role::Spool && w.spool == spool && w.generation != self.generation
                };
                return self.workers.values().any(old);
            };
            if !self.ask_for_worker(Role::Spool, spool, Some((pool, row))) {
                self.spools[spool].free_rows.push(row);
                return false;
            }
        }
        false
    }

    /// Asks the zygote for a worker, one that runs tasks for a pool and with a row of slots.
    /// Returns whether it was asked.
    pub(super) fn ask_for_worker(
        &mut self,
        role: Role,
        spool: usize,
        place: Option<(usize, usize)>,
    ) -> bool {
        if self.workers.len() >= WORKERS_MAX {
            return false;
        }
        let Some(zygote) = &self.zygote else { return false };
        let own_import = zygote.own_import;
        let (ours, theirs) = match socket::pair() {
            Ok(pair) => pair,
            Err(error) => {
                error!(%error, "cannot make a socket for a worker");
                return false;
            }
        };
        let web_place = if role == Role::Web { self.web.take_place() } else { None };
        if role == Role::Web && web_place.is_none() {
            return false;
        }
        self.last_worker = self.last_worker.wrapping_add(1);
        let id = self.last_worker;
        let (pool, row) = (place.map_or(0, |(pool, _)| pool), place.map(|(_, row)| row));
        let replaces = place
            .filter(|_| role == Role::Spool)
            .and_then(|(pool, _)| self.without_successor(spool, pool));
        let number = row.unwrap_or_default() as u32;
        let spool_or_place = web_place.unwrap_or(spool as u32);
        let packet = ToZygote::Fork { worker: id, role, spool: spool_or_place, row: number };
        let mut fds = vec![theirs.as_fd()];
        if role == Role::Spool {
            fds.extend(self.spools[spool].lent());
        }
        if role == Role::Web {
            fds.extend(self.web.lent());
        }
        if !zygote.send(&packet, &fds) {
            if let Some(place) = web_place {
                self.web.free_place(place);
            }
            warn!(worker = id, "the zygote does not take packets");
            return false;
        }
        journal!(WORKER_ASKED, worker = id, ?role, "asked for a worker");
        let generation = self.generation;
        let deadline_ns = Some(clock::monotonic_ns() + self.start_ns_max(own_import));
        let process = WorkerProcess::new(role, generation, own_import);
        let process = WorkerProcess { spool, pool, row, replaces, deadline_ns, ..process };
        self.workers.insert(id, process);
        if let (Role::Spool, Some(row)) = (role, row) {
            let attach =
                ToDispatcher::Attach { worker: id, row, generation, socket: ours, pool, replaces };
            self.tell(spool, attach);
            return true;
        }
        self.hear(id, role, ours.as_fd());
        match (role, web_place) {
            (Role::Mule, _) => self.mules.add(id, number, ours),
            (Role::Web, Some(place)) => self.web.add(id, number, ours, place),
            _ => self.ticks.add(id, ours),
        }
        true
    }

    /// Waits for what a worker says to us.
    fn hear(&self, id: WorkerId, role: Role, socket: BorrowedFd<'_>) {
        let kind = match role {
            Role::Mule => KIND_MULE_SOCKET,
            Role::Web => KIND_WEB_SOCKET,
            Role::Spool | Role::Signal => KIND_TICK_SOCKET,
        };
        if let Err(error) = self.poll.add(socket, kind | u64::from(id)) {
            error!(%error, "cannot watch a worker");
        }
    }

    /// The process of a worker, 0 if it has none.
    pub(super) fn pid_of(&self, id: WorkerId) -> u32 {
        self.workers.get(&id).and_then(|worker| worker.child.as_ref()).map_or(0, Child::pid)
    }

    /// The zygote has forked a worker: get hold of its process.
    pub(super) fn worker_forked(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let watched = Child::open(pid).and_then(|child| {
            self.poll.add(child.as_fd(), KIND_WORKER | u64::from(id))?;
            Ok(child)
        });
        match watched {
            Ok(child) => {
                worker.child = Some(child);
                let kind = worker.kind();
                journal!(WORKER_STARTED, worker = id, pid, kind, "worker started");
                match worker.role {
                    Role::Spool => uwsgi_lines::spawned(&self.spools[worker.spool].path, pid),
                    Role::Mule => uwsgi_lines::spawned_mule(self.mules.number_of(id), pid),
                    Role::Web => self.web.forked(id, pid),
                    Role::Signal => {}
                }
                self.reap_strangers();
                // It may have said that it is ready before the zygote said that it is there.
                self.announce();
            }
            Err(error) => {
                error!(worker = id, pid, %error, "cannot get hold of a worker");
                self.forget_worker(id, Exit::Status(-1));
            }
        }
    }

    pub(super) fn worker_ready(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.ready = true;
        worker.deadline_ns = None;
        worker.ready_ns = clock::monotonic_ns();
        let (ready_ns, replaces) = (worker.ready_ns, worker.replaces);
        let (role, spool, kind) = (worker.role, worker.spool, worker.kind());
        if worker.own_import {
            self.worker_imported();
        } else {
            self.forking.works();
        }
        journal!(WORKER_READY, worker = id, pid, kind, "worker is ready");
        if role == Role::Spool {
            self.watch_from(ready_ns);
            self.succeed(spool, replaces);
            self.retire_if_replaced(spool);
        }
        self.announce();
    }

    pub(super) fn worker_useful(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.useful = true;
        let spool = worker.spool;
        if let Some(spool) = self.spools.get_mut(spool) {
            spool.backoff.reset();
        }
    }

    pub(super) fn worker_broken(&mut self, id: WorkerId, why: &str) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(child) = &worker.child {
            debug!(worker = id, pid = child.pid(), why, "killing a worker");
            // One that has ended already is not killed by this, and keeps its own cause.
            self.kill_worker(id);
        }
    }

    /// A worker's process has ended.
    pub(super) fn worker_ended(&mut self, id: WorkerId) {
        if self.workers.get(&id).is_some_and(|worker| worker.own_import && !worker.ready) {
            // What it could not import.
            self.read_requests();
        }
        let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) else { return };
        // What it started goes with it, unless it was let go in peace. Until it is reaped, its
        // number is still its own.
        if !matches!(child.ended(), Ok(None | Some(Exit::Status(0)))) {
            self.kill_worker(id);
        }
        self.note_death(id);
        let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) else { return };
        match child.try_wait() {
            Ok(Some(exit)) => {
                let pid = child.pid();
                self.forget_worker(id, exit);
                self.show_worker_failures(id, pid);
            }
            Ok(None) => {}
            Err(error) => {
                warn!(worker = id, %error, "cannot learn how a worker ended");
                self.forget_worker(id, Exit::Status(-1));
            }
        }
    }

    /// What can be learned of a worker that has ended, and only before it is reaped.
    fn note_death(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(child) = &worker.child else { return };
        worker.peak_rss = child.peak_memory();
        if worker.cause != Cause::Own || !matches!(child.ended(), Ok(Some(Exit::Killed(SIGKILL)))) {
            return;
        }
        // It counts the whole machine: another process may have been killed in its stead, and an
        // administrator have killed ours. The two at once are rarer than either.
        if self.patrol.kernel_has_killed() {
            worker.cause = Cause::OutOfMemory;
        }
    }

    /// A worker is no more: tells its dispatcher, and lets another take its place.
    pub(super) fn forget_worker(&mut self, id: WorkerId, exit: Exit) {
        self.forget_handlers(id);
        let Some(worker) = self.workers.remove(&id) else { return };
        let pid = worker.child.as_ref().map_or(0, Child::pid);
        if let Some(child) = &worker.child {
            let _ = self.poll.remove(child.as_fd());
        }
        if worker.role == Role::Signal {
            self.tick_worker_gone(id, exit, &worker.cause);
            return;
        }
        if worker.role == Role::Mule {
            self.mule_gone(id, exit, &worker);
            return;
        }
        if worker.role == Role::Web {
            self.web_worker_gone(id, exit, &worker);
            return;
        }
        // The end of a task that was cancelled says nothing about the application.
        let blameless = worker.useful || worker.cause == Cause::Cancelled;
        let cause = worker.cause.of_end(exit);
        let message = ToDispatcher::Detach {
            worker: id,
            exit,
            cause: worker.cause,
            peak_rss: worker.peak_rss,
        };
        self.tell(worker.spool, message);
        let current = worker.generation == self.generation
            && self.ladder.is_none()
            && worker.tenure == Tenure::Lasting;
        let Some(spool) = self.spools.get_mut(worker.spool) else { return };
        spool.free_rows.extend(worker.row);
        if !current {
            // One that was asked for and never forked had no number, and nothing to leave.
            if worker.child.is_some() {
                match exit {
                    Exit::Status(0) => {
                        journal!(WORKER_LEFT, pid, "worker left");
                    }
                    exit => journal!(WORKER_LEFT, pid, %cause, "worker {exit}; it was to leave"),
                }
                if self.ladder.is_some() {
                    uwsgi_lines::annihilated(pid);
                } else if let Some(tasks) = worker.worn_after {
                    uwsgi_lines::recycling(&spool.path, pid, tasks);
                }
            }
            return;
        }
        if let Some(count) = worker.row.and_then(|row| spool.respawns.get_mut(row)) {
            *count += 1;
        }
        let delay = if blameless { std::time::Duration::ZERO } else { spool.backoff.failed() };
        spool.spawn_at_ns = Some(clock::monotonic_ns() + delay.as_nanos() as u64);
        let again_ms = delay.as_millis() as u64;
        journal!(WORKER_DIED, pid, again_ms, %cause, "worker {exit}; replacing it");
        uwsgi_lines::respawning();
    }

    /// A worker closed its socket: its process ends, or has to.
    pub(super) fn worker_closed(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.deadline_ns = Some(clock::monotonic_ns() + END_NS_MAX);
    }

    /// Kills workers that should be ready, or gone, by now.
    pub(super) fn kill_late_workers(&mut self) {
        let now_ns = clock::monotonic_ns();
        let (mut stuck, mut late, mut unready) = (None, Vec::new(), Vec::new());
        for (id, worker) in &mut self.workers {
            if worker.deadline_ns.is_none_or(|by_ns| by_ns > now_ns) {
                continue;
            }
            let Some(child) = &worker.child else {
                stuck = Some(worker.generation);
                worker.deadline_ns = Some(now_ns + END_NS_MAX);
                continue;
            };
            worker.deadline_ns = Some(now_ns + END_NS_MAX);
            let (worker_id, pid, kind) = (*id, child.pid(), worker.kind());
            if worker.ready {
                journal!(
                    WORKER_LATE,
                    worker = worker_id,
                    pid,
                    kind,
                    "worker is not ended in time; killing it"
                );
                late.push(worker_id);
            } else {
                journal!(
                    WORKER_LATE,
                    worker = worker_id,
                    pid,
                    kind,
                    "worker is not ready in time; killing it. Its threads do this:"
                );
                child.end_with_traceback();
                worker.kill_ns = Some(now_ns + TRACEBACK_NS);
                unready.push(worker.own_import);
            }
        }
        for id in late {
            self.kill_worker(id);
        }
        for own_import in unready {
            self.started_late(own_import);
        }
        if let Some(generation) = stuck {
            self.zygote_stuck(generation);
        }
    }

    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        self.workers.values().filter_map(|w| w.deadline_ns).min()
    }

    /// Reaps descendants that nobody else waits for. Not while a worker is being forked: it is a
    /// stranger until its number is known, and may have ended already.
    pub(super) fn reap_strangers(&mut self) {
        if self.workers.values().any(|worker| worker.child.is_none()) {
            return;
        }
        let known = |pid: u32| self.is_known(pid);
        for _ in 0..WORKERS_MAX {
            if !process::reap_stranger(&known) {
                return;
            }
        }
    }

    /// Whether a child of the daemon is one that it started itself.
    pub(super) fn is_known(&self, pid: u32) -> bool {
        let zygotes = [&self.zygote, &self.next_zygote].into_iter().flatten();
        zygotes.chain(&self.leaving_zygotes).any(|zygote| zygote.child.pid() == pid)
            || self.touch_commands.has(pid)
            || self.hooks.owns(pid)
            || self.crons.owns(pid)
            || self.attached.owns(pid)
            || self.workers.values().any(|w| w.child.as_ref().is_some_and(|c| c.pid() == pid))
    }

    /// Kills a worker with all that it started.
    pub(super) fn kill_worker(&self, id: WorkerId) {
        let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) else { return };
        let mark = mark(&mark_value(host::pid(), id));
        let processes = kill_descent(child.pid(), mark.as_bytes(), &|pid| self.is_known(pid));
        if processes > 1 {
            debug!(
                worker = id,
                pid = child.pid(),
                processes,
                "killed a worker and its descendants"
            );
        }
        // Also where /proc tells nothing.
        child.kill();
    }
}
