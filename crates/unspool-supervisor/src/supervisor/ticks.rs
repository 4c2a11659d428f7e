//! Ticks: handlers of signals run in workers of their own, forked when there is something to run,
//! so that neither tasks nor ticks wait for each other.
//!
//! Of each signal at most one tick runs and one waits; more are coalesced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::clock;
use unspool_sys::process::Exit;
use unspool_sys::socket::{self, Received};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::control::Role;
use unspool_wire::task::{FromWorker, ToWorker};

use super::Supervisor;
use super::limits::TickLimit;
use crate::backoff::Backoff;
use crate::events::{Cause, WorkerId};
use crate::journal::journal;
use crate::snapshot::TickSnapshot;

/// Workers for ticks at the same time.
const WORKERS: usize = 8;
/// A worker without a tick for so long leaves.
const IDLE_NS_MAX: u64 = 60_000_000_000;

/// The workers for ticks and what waits for them.
#[derive(Debug, Default)]
pub(super) struct TickPool {
    /// There is one worker always: another one would have to import the application first.
    pub(super) keeps_one: bool,
    workers: BTreeMap<WorkerId, TickWorker>,
    waiting: VecDeque<u8>,
    running: BTreeSet<u8>,
    backoff: Backoff,
    fork_at_ns: u64,
}

#[derive(Debug)]
struct TickWorker {
    socket: OwnedFd,
    ready: bool,
    leaving: bool,
    signal: Option<u8>,
    /// How long it may run that.
    limit: Option<TickLimit>,
    /// It has handlers of its own, so that it stays.
    kept: bool,
    idle_since_ns: u64,
}

impl TickPool {
    /// A signal's handler is to run once more.
    pub(super) fn raise(&mut self, signal: u8) {
        if !self.waiting.contains(&signal) {
            self.waiting.push_back(signal);
        }
    }

    pub(super) fn add(&mut self, id: WorkerId, socket: OwnedFd) {
        let idle_since_ns = clock::monotonic_ns();
        let worker = TickWorker {
            socket,
            ready: false,
            leaving: false,
            signal: None,
            limit: None,
            kept: false,
            idle_since_ns,
        };
        self.workers.insert(id, worker);
    }

    /// What waits and runs, to be shown.
    pub(super) fn account(&self, workers: Vec<u32>) -> TickSnapshot {
        TickSnapshot { waiting: self.waiting.len(), running: self.running.len(), workers }
    }

    /// Whether the one worker is ready that there should be always, if there should be one.
    pub(super) fn has_its_one(&self) -> bool {
        !self.keeps_one || self.workers.values().any(|worker| worker.ready && !worker.leaving)
    }

    /// Whether the one worker is missing that there should be always.
    fn lacks_one(&self) -> bool {
        self.keeps_one && self.workers.values().all(|worker| worker.leaving)
    }

    /// When the next idle worker leaves, or a worker may be forked again.
    pub(super) fn next_retire_ns(&self) -> Option<u64> {
        let idle = self
            .workers
            .values()
            .filter(|w| w.ready && !w.leaving && !w.kept && w.signal.is_none())
            .map(|w| w.idle_since_ns + IDLE_NS_MAX)
            .min();
        let fork = ((self.lacks_one() || !self.waiting.is_empty())
            && self.fork_at_ns > clock::monotonic_ns())
        .then_some(self.fork_at_ns);
        [idle, fork].into_iter().flatten().min()
    }

    /// When the next handler has run for too long.
    pub(super) fn next_late_ns(&self) -> Option<u64> {
        self.workers.values().filter_map(|w| w.limit.map(|limit| limit.by_ns)).min()
    }

    /// The workers whose handlers have run for too long, with their signals. Tells it once.
    pub(super) fn late(&mut self, now_ns: u64) -> Vec<(WorkerId, u8, TickLimit)> {
        let due = |w: &mut TickWorker| {
            let limit = w.limit.take_if(|limit| limit.by_ns <= now_ns)?;
            Some((w.signal?, limit))
        };
        let late = |(id, w): (&WorkerId, &mut TickWorker)| {
            due(w).map(|(signal, limit)| (*id, signal, limit))
        };
        self.workers.iter_mut().filter_map(late).collect()
    }

    /// The next signal that waits and does not run.
    fn next(&mut self) -> Option<u8> {
        let at = self.waiting.iter().position(|signal| !self.running.contains(signal))?;
        self.waiting.remove(at)
    }
}

impl Supervisor {
    /// Gives waiting ticks to idle workers, forks workers for the others, lets idle ones go.
    pub(super) fn start_ticks(&mut self) {
        if self.ladder.is_some() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        let idle: Vec<WorkerId> = self
            .ticks
            .workers
            .iter()
            .filter(|(_, w)| w.ready && !w.leaving && w.signal.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            if let Some(signal) = self.ticks.next() {
                self.start_tick(id, signal);
            } else {
                self.retire_if_idle(id, now_ns);
            }
        }
        let startable =
            self.ticks.waiting.iter().filter(|s| !self.ticks.running.contains(s)).count();
        let starting = self.ticks.workers.values().filter(|w| !w.ready).count();
        if (startable > starting || self.ticks.lacks_one())
            && self.ticks.workers.len() < WORKERS
            && now_ns >= self.ticks.fork_at_ns
        {
            self.ask_for_worker(Role::Signal, 0, Some((0, self.free_number())));
        }
    }

    /// The lowest number that no worker for ticks has: applications ask for worker 1 by its number.
    fn free_number(&self) -> usize {
        let ours = || self.workers.values().filter(|worker| worker.role == Role::Signal);
        let taken = |number: &usize| ours().any(|worker| worker.row == Some(*number));
        (1..=WORKERS).find(|number| !taken(number)).unwrap_or(WORKERS)
    }

    /// Has a worker run a handler that is its own, or that it waits for. `false` if it cannot.
    pub(super) fn send_tick(&mut self, id: WorkerId, signal: u8) -> bool {
        let mut packet = Vec::new();
        ToWorker::Tick { signal }.encode(&mut packet);
        let Some(worker) = self.ticks.workers.get(&id).filter(|w| !w.leaving) else { return false };
        let sent = socket::send(worker.socket.as_fd(), &packet, &[]).unwrap_or(false);
        if !sent {
            self.worker_broken(id, "does not take packets");
        }
        sent
    }

    fn start_tick(&mut self, id: WorkerId, signal: u8) {
        let mut packet = Vec::new();
        ToWorker::Tick { signal }.encode(&mut packet);
        let limit = self.tick_limit(signal);
        let Some(worker) = self.ticks.workers.get_mut(&id) else { return };
        if socket::send(worker.socket.as_fd(), &packet, &[]).unwrap_or(false) {
            worker.signal = Some(signal);
            worker.limit = limit;
            self.ticks.running.insert(signal);
        } else {
            self.ticks.waiting.push_front(signal);
            self.worker_broken(id, "does not take packets");
        }
    }

    fn retire_if_idle(&mut self, id: WorkerId, now_ns: u64) {
        let staying = self.ticks.workers.values().filter(|w| !w.leaving).count();
        let last = self.ticks.keeps_one && staying == 1;
        let Some(worker) = self.ticks.workers.get_mut(&id) else { return };
        worker.kept = last || self.routes.has_handler(id);
        if !worker.kept && now_ns - worker.idle_since_ns >= IDLE_NS_MAX {
            self.retire_tick_worker(id);
        }
    }

    fn retire_tick_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.ticks.workers.get_mut(&id) else { return };
        worker.leaving = true;
        let mut packet = Vec::new();
        ToWorker::Drain.encode(&mut packet);
        if !socket::send(worker.socket.as_fd(), &packet, &[]).unwrap_or(false) {
            self.worker_broken(id, "does not take packets");
        }
    }

    /// Lets all workers for ticks finish and go: they are of an earlier generation, or the daemon
    /// stops.
    pub(super) fn retire_tick_workers(&mut self) {
        let ids: Vec<WorkerId> =
            self.ticks.workers.iter().filter(|(_, w)| !w.leaving).map(|(id, _)| *id).collect();
        for id in ids {
            self.retire_tick_worker(id);
        }
    }

    pub(super) fn read_tick_worker(&mut self, id: WorkerId) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        let mut strays = Vec::new();
        loop {
            let Some(worker) = self.ticks.workers.get(&id) else { return };
            match socket::receive(worker.socket.as_fd(), &mut buffer, &mut strays, false) {
                Ok(Received::Packet(bytes)) => match FromWorker::decode(&buffer[..bytes]) {
                    Ok(packet) => self.tick_worker_said(id, packet),
                    Err(error) => return self.worker_broken(id, &error.to_string()),
                },
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    let _ = self.poll.remove(worker.socket.as_fd());
                    return self.worker_closed(id);
                }
            }
        }
    }

    fn tick_worker_said(&mut self, id: WorkerId, packet: FromWorker) {
        let Some(worker) = self.ticks.workers.get_mut(&id) else { return };
        worker.idle_since_ns = clock::monotonic_ns();
        match packet {
            FromWorker::Ready { version, .. } if version != PROTOCOL_VERSION => {
                let why = format!("speaks protocol {version}, not {PROTOCOL_VERSION}");
                self.worker_broken(id, &why);
            }
            FromWorker::Ready { pid, .. } => {
                worker.ready = true;
                if !worker.leaving {
                    self.start_held_timers();
                }
                self.worker_ready(id, pid);
            }
            FromWorker::TickDone { signal, duration_ns, error } => {
                // Not where it was one that this worker's handler waited for.
                if worker.signal == Some(signal) {
                    worker.signal = None;
                    worker.limit = None;
                    self.ticks.running.remove(&signal);
                }
                self.ticks.backoff.reset();
                self.tick_done(id, signal, duration_ns, error);
            }
            FromWorker::Reports(_) | FromWorker::Leaving => {}
        }
    }

    /// A worker for ticks is no more. The tick that it ran is not run again.
    pub(super) fn tick_worker_gone(&mut self, id: WorkerId, exit: Exit, cause: &Cause) {
        let Some(worker) = self.ticks.workers.remove(&id) else { return };
        let _ = self.poll.remove(worker.socket.as_fd());
        if let Some(signal) = worker.signal {
            self.ticks.running.remove(&signal);
            let why = match cause {
                Cause::Limit { why } => format!("was killed: {why}"),
                Cause::OutOfMemory => "was killed by the kernel for want of memory".to_owned(),
                Cause::Own | Cause::Interrupted { .. } | Cause::Cancelled => exit.to_string(),
            };
            journal!(TICK_FAILED, signal, cause = why, "tick failed: its worker {why}");
        } else if !worker.leaving {
            journal!(TICK_WORKER_DIED, cause = %exit, "worker for ticks {exit}");
        }
        if !worker.leaving {
            let delay = self.ticks.backoff.failed();
            self.ticks.fork_at_ns = clock::monotonic_ns() + delay.as_nanos() as u64;
            self.start_held_timers();
        }
    }
}
