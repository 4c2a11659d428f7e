//! Worker processes: asked for, watched, replaced.

use std::os::fd::AsFd;

use tracing::{debug, error, info, warn};
use unspool_core::limits::WORKERS_MAX;
use unspool_sys::process::{self, Child, Exit};
use unspool_sys::{clock, socket};
use unspool_wire::control::{Role, ToZygote};

use super::{KIND_MULE_SOCKET, KIND_TICK_SOCKET, KIND_WORKER, Supervisor};
use crate::events::{ToDispatcher, WorkerId};
use crate::uwsgi_lines;

/// A worker that is not ready this long after it was asked for is killed.
const START_NS_MAX: u64 = 60_000_000_000;

/// A worker, from the moment it is asked for until its process has ended.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) role: Role,
    /// Index of its spool.
    pub(super) spool: usize,
    pub(super) row: Option<usize>,
    pub(super) generation: u32,
    pub(super) ready: bool,
    pub(super) useful: bool,
    /// When it was asked for, in seconds since 1970.
    pub(super) asked_at: i64,
    /// The daemon killed it to stop in time.
    pub(super) stopped: bool,
    pub(super) child: Option<Child>,
    /// It has to be ready, or to have ended, by then.
    deadline_ns: Option<u64>,
}

/// How long a worker may take to end after it has closed its socket: interpreters have exit hooks.
const END_NS_MAX: u64 = 5_000_000_000;

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
        let present = self.workers_of(spool).count() as u32;
        for _ in present..self.spools[spool].target {
            let Some(row) = self.spools[spool].free_rows.pop() else {
                if !std::mem::replace(&mut self.spools[spool].crowded, true) {
                    let path = self.spools[spool].path.display();
                    warn!(
                        spool = %path,
                        "too many old workers still run long tasks; new ones start as they end"
                    );
                }
                return;
            };
            self.spools[spool].crowded = false;
            if !self.ask_for_worker(Role::Spool, spool, Some(row)) {
                self.spools[spool].free_rows.push(row);
                return;
            }
        }
    }

    /// Asks the zygote for a worker. Returns whether it was asked.
    pub(super) fn ask_for_worker(&mut self, role: Role, spool: usize, row: Option<usize>) -> bool {
        if self.workers.len() >= WORKERS_MAX {
            return false;
        }
        let Some(zygote) = &self.zygote else { return false };
        let (ours, theirs) = match socket::pair() {
            Ok(pair) => pair,
            Err(error) => {
                error!(%error, "cannot make a socket for a worker");
                return false;
            }
        };
        self.last_worker = self.last_worker.wrapping_add(1);
        let id = self.last_worker;
        let number = row.unwrap_or_default() as u32;
        let packet = ToZygote::Fork { worker: id, role, spool: spool as u32, row: number };
        let mut fds = vec![theirs.as_fd()];
        if role == Role::Spool {
            fds.push(self.spools[spool].slots.file());
            fds.push(self.spools[spool].folder.as_fd());
        }
        if !zygote.send(&packet, &fds) {
            warn!(worker = id, "the zygote does not take packets");
            return false;
        }
        debug!(worker = id, ?role, "asked for a worker");
        let process = WorkerProcess {
            role,
            spool,
            row,
            generation: self.generation,
            ready: false,
            useful: false,
            asked_at: clock::now_ns().div_euclid(1_000_000_000),
            stopped: false,
            child: None,
            deadline_ns: Some(clock::monotonic_ns() + START_NS_MAX),
        };
        self.workers.insert(id, process);
        let generation = self.generation;
        if let (Role::Spool, Some(row)) = (role, row) {
            self.tell(spool, ToDispatcher::Attach { worker: id, row, generation, socket: ours });
            return true;
        }
        let kind = if role == Role::Mule { KIND_MULE_SOCKET } else { KIND_TICK_SOCKET };
        if let Err(error) = self.poll.add(ours.as_fd(), kind | u64::from(id)) {
            error!(%error, "cannot watch a worker");
        }
        match role {
            Role::Mule => self.mules.add(id, number, ours),
            Role::Spool | Role::Signal => self.ticks.add(id, ours),
        }
        true
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
                if worker.role == Role::Spool {
                    uwsgi_lines::spawned(&self.spools[worker.spool].path, pid);
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

    pub(super) fn worker_ready(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.ready = true;
        worker.deadline_ns = None;
        let pid = worker.child.as_ref().map_or(0, Child::pid);
        let (role, spool) = (worker.role, worker.spool);
        debug!(worker = id, pid, "worker is ready");
        if role == Role::Spool {
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
            child.kill();
        }
    }

    /// A worker's process has ended.
    pub(super) fn worker_ended(&mut self, id: WorkerId) {
        let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) else { return };
        // What it started in its session goes with it, unless it was let go in peace. Until it is
        // reaped, its number is still its own.
        if !matches!(child.ended(), Ok(None | Some(Exit::Status(0)))) {
            child.kill_group();
        }
        match child.try_wait() {
            Ok(Some(exit)) => self.forget_worker(id, exit),
            Ok(None) => {}
            Err(error) => {
                warn!(worker = id, %error, "cannot learn how a worker ended");
                self.forget_worker(id, Exit::Status(-1));
            }
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
            self.tick_worker_gone(id, exit);
            return;
        }
        if worker.role == Role::Mule {
            self.mule_gone(id, exit, &worker);
            return;
        }
        let message = ToDispatcher::Detach { worker: id, exit, stopped: worker.stopped };
        self.tell(worker.spool, message);
        let current = worker.generation == self.generation && self.ladder.is_none();
        let Some(spool) = self.spools.get_mut(worker.spool) else { return };
        spool.free_rows.extend(worker.row);
        if !current {
            // One that was asked for and never forked had no number, and nothing to leave.
            if worker.child.is_some() {
                info!(pid, "worker left");
                if self.ladder.is_some() {
                    uwsgi_lines::annihilated(pid);
                }
            }
            return;
        }
        if let Some(count) = worker.row.and_then(|row| spool.respawns.get_mut(row)) {
            *count += 1;
        }
        let delay = if worker.useful { std::time::Duration::ZERO } else { spool.backoff.failed() };
        spool.spawn_at_ns = Some(clock::monotonic_ns() + delay.as_nanos() as u64);
        let again_ms = delay.as_millis() as u64;
        warn!(pid, again_ms, "worker {exit}; replacing it");
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
        let mut stuck = None;
        for (id, worker) in &mut self.workers {
            if worker.deadline_ns.is_none_or(|by_ns| by_ns > now_ns) {
                continue;
            }
            let Some(child) = &worker.child else {
                stuck = Some(worker.generation);
                worker.deadline_ns = Some(now_ns + END_NS_MAX);
                continue;
            };
            let wanted = if worker.ready { "ended" } else { "ready" };
            error!(worker = id, pid = child.pid(), "worker is not {wanted} in time; killing it");
            child.kill();
            worker.deadline_ns = Some(now_ns + END_NS_MAX);
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
        let zygotes: Vec<u32> = [&self.zygote, &self.next_zygote]
            .into_iter()
            .flatten()
            .map(|z| z.child.pid())
            .collect();
        let known = |pid: u32| {
            zygotes.contains(&pid)
                || self.touch_commands.has(pid)
                || self.crons.owns(pid)
                || self.attached.owns(pid)
                || self.workers.values().any(|w| w.child.as_ref().is_some_and(|c| c.pid() == pid))
        };
        for _ in 0..WORKERS_MAX {
            if !process::reap_stranger(&known) {
                return;
            }
        }
    }
}
