//! How web workers start, leave and are replaced.

use std::os::fd::AsFd;
use std::time::Duration;

use tracing::debug;
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::clock;
use unspool_sys::process::{Child, Exit};
use unspool_sys::socket::{self, Received};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::control::Role;
use unspool_wire::task::{FromWorker, ToWorker};

use super::super::Supervisor;
use super::super::children::{Tenure, WorkerProcess};
use super::super::stop::Ladder;
use super::{Done, OF_SEAT_MAX, Sums, WebWorker};
use crate::events::{Cause, WorkerId};
use crate::journal::journal;
use crate::uwsgi_lines;

/// One that was ready for so long is started again at once when it ends.
const STEADY_NS: u64 = 10_000_000_000;
/// Requests wait for one that dies again and again as soon as it is ready: no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a killed one may take to vanish before it is killed again.
const KILL_NS: u64 = 5_000_000_000;
/// How long old workers may take to hear that they accept no more, before a reload is told of as done.
const QUIET_NS_MAX: u64 = 1_000_000_000;
/// How often they are looked at meanwhile: those of which all threads are busy accept nothing.
const QUIET_LOOK_NS: u64 = 10_000_000;
/// One that cannot be asked for is asked for again then.
const ASK_NS: u64 = 100_000_000;

impl Supervisor {
    /// Starts web workers that are missing, ends those that should have ended.
    pub(in super::super) fn tend_web(&mut self) {
        if self.web.is_empty() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        if self.ladder.is_none() && self.zygote.is_some() {
            self.start_web_workers(now_ns);
        }
        self.end_late_requests(now_ns);
        self.kill_outstayed(now_ns);
        self.tell_reload_done(now_ns);
    }

    /// A new generation is there: its workers are started beside those that answer.
    pub(in super::super) fn replace_web_workers(&mut self) {
        for seat in &mut self.web.seats {
            seat.backoff.reset();
            seat.start_at_ns = None;
        }
    }

    /// Whether a worker is there to stay, or comes.
    fn stays(&self, id: WorkerId) -> bool {
        self.workers
            .get(&id)
            .is_some_and(|w| w.tenure == Tenure::Lasting && w.generation == self.generation)
    }

    fn start_web_workers(&mut self, now_ns: u64) {
        for number in 1..=self.web.count() as u32 {
            let seated = self.web.processes.iter().filter(|(_, worker)| worker.number == number);
            let seated: Vec<WorkerId> = seated.map(|(id, _)| *id).collect();
            let Some(seat) = self.web.seat(number) else { return };
            if seat.start_at_ns.is_some_and(|at_ns| at_ns > now_ns) {
                continue;
            }
            seat.start_at_ns = None;
            if seated.iter().any(|id| self.stays(*id)) {
                continue;
            }
            let asked = seated.len() < OF_SEAT_MAX
                && self.ask_for_worker(Role::Web, 0, Some((0, number as usize)));
            if let Some(seat) = self.web.seat(number).filter(|_| !asked) {
                seat.start_at_ns = Some(now_ns + ASK_NS);
            }
        }
    }

    /// Tells web workers to answer what they have and leave.
    pub(in super::super) fn drain_web(&mut self, which: impl Fn(WorkerId, &WorkerProcess) -> bool) {
        let Some(plan) = &self.web.plan else { return };
        let kill_ns = clock::monotonic_ns() + plan.settings.mercy.as_nanos() as u64;
        let mut packet = Vec::new();
        ToWorker::Drain.encode(&mut packet);
        let mut broken = Vec::new();
        for (id, worker) in &mut self.web.processes {
            let Some(process) = self.workers.get_mut(id).filter(|process| which(*id, process))
            else {
                continue;
            };
            process.tenure = Tenure::LetGo;
            if worker.kill_ns.is_none() {
                worker.kill_ns = Some(kill_ns);
                if !socket::send(worker.socket.as_fd(), &packet, &[]).unwrap_or(false) {
                    broken.push(*id);
                }
            }
        }
        for id in broken {
            self.worker_broken(id, "does not take packets");
        }
    }

    pub(in super::super) fn read_web_worker(&mut self, id: WorkerId) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        let mut strays = Vec::new();
        loop {
            let Some(worker) = self.web.processes.get(&id) else { return };
            match socket::receive(worker.socket.as_fd(), &mut buffer, &mut strays, false) {
                Ok(Received::Packet(bytes)) => match FromWorker::decode(&buffer[..bytes]) {
                    Ok(packet) => self.web_worker_said(id, packet),
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

    fn web_worker_said(&mut self, id: WorkerId, packet: FromWorker) {
        match packet {
            FromWorker::Ready { version, .. } if version != PROTOCOL_VERSION => {
                let why = format!("speaks protocol {version}, not {PROTOCOL_VERSION}");
                self.worker_broken(id, &why);
            }
            FromWorker::Ready { pid, .. } => self.web_worker_ready(id, pid),
            FromWorker::Leaving => self.web_worker_leaves(id),
            FromWorker::Reports(_) | FromWorker::TickDone { .. } => {}
        }
    }

    fn web_worker_ready(&mut self, id: WorkerId, pid: u32) {
        let Some(worker) = self.web.processes.get_mut(&id) else { return };
        worker.ready = true;
        let number = worker.number;
        // The first look is due once something may be late.
        self.web.look_ns = self.web.look_ns.min(clock::monotonic_ns());
        if let Some(seat) = self.web.seat(number) {
            seat.started = true;
        }
        self.worker_ready(id, pid);
        if !self.stays(id) {
            return;
        }
        // The one in whose place it comes may leave.
        let seated: Vec<WorkerId> = (self.web.processes.iter())
            .filter(|(_, other)| other.number == number)
            .map(|(other, _)| *other)
            .collect();
        let generation = self.generation;
        self.drain_web(|other, process| {
            seated.contains(&other)
                && process.generation == generation
                && process.tenure == Tenure::Worn
        });
        self.drain_old_web_workers();
    }

    /// Once all seats have workers of the current generation that are ready, older ones leave.
    fn drain_old_web_workers(&mut self) {
        let ready = |number: u32| {
            let mut seated = self.web.processes.iter().filter(|(_, w)| w.number == number);
            seated.any(|(id, worker)| worker.ready && self.stays(*id))
        };
        if self.web.serving == self.generation || !(1..=self.web.count() as u32).all(ready) {
            return;
        }
        let reloaded = self.web.serving != 0;
        let generation = self.generation;
        self.web.serving = generation;
        self.drain_web(|_, process| process.generation != generation);
        if reloaded {
            let now_ns = clock::monotonic_ns();
            let until_ns = now_ns + QUIET_NS_MAX;
            self.web.done = Some(Done { look_ns: now_ns, until_ns });
        }
    }

    /// Says that a reload is done, once whoever connects is answered by a new worker.
    fn tell_reload_done(&mut self, now_ns: u64) {
        let Some(done) = self.web.done else { return };
        let is_old = |id: &WorkerId| {
            self.workers.get(id).is_some_and(|worker| worker.generation != self.generation)
        };
        let is_busy = |worker: &WebWorker| {
            self.web.threads_of(worker).iter().all(|thread| thread.since_ns != 0)
        };
        let mut old = self.web.processes.iter().filter(|(id, _)| is_old(id));
        if done.until_ns > now_ns && !old.all(|(_, worker)| worker.quiet || is_busy(worker)) {
            self.web.done = Some(Done { look_ns: now_ns + QUIET_LOOK_NS, ..done });
            return;
        }
        self.web.done = None;
        journal!(RELOAD_DONE, "reload done: new web workers answer");
    }

    /// A worker accepts no more. If it has answered as many requests as it may, another one is started.
    fn web_worker_leaves(&mut self, id: WorkerId) {
        let Some(plan) = &self.web.plan else { return };
        let mercy = plan.settings.mercy;
        let requests_max = plan.setup.max_requests;
        let Some(worker) = self.web.processes.get(&id) else { return };
        let threads = self.web.threads_of(worker);
        let requests: u64 = threads.iter().map(|thread| thread.sums.requests).sum();
        let is_full = requests_max > 0 && requests >= requests_max;
        let Some(process) = self.workers.get_mut(&id) else { return };
        let current = process.generation == self.generation
            && process.tenure != Tenure::LetGo
            && self.ladder.is_none();
        process.tenure = Tenure::LetGo;
        let pid = process.child.as_ref().map_or(0, Child::pid);
        if let Some(worker) = self.web.processes.get_mut(&id) {
            worker.quiet = true;
            let kill_ns = clock::monotonic_ns() + mercy.as_nanos() as u64;
            worker.kill_ns.get_or_insert(kill_ns);
        }
        if current {
            let reason = if is_full {
                format!("{requests} requests are as many as `max-requests` allows")
            } else {
                "it failed between two requests, see above".to_owned()
            };
            journal!(
                WORKER_RECYCLED,
                pid,
                kind = "web",
                reason,
                "replacing a web worker: {reason}"
            );
            uwsgi_lines::work_is_done(pid);
        }
    }

    /// Kills those that were to leave and have not.
    fn kill_outstayed(&mut self, now_ns: u64) {
        let Some(plan) = &self.web.plan else { return };
        let limit_s = plan.settings.mercy.as_secs_f64();
        let mut outstayed = Vec::new();
        for (id, worker) in &mut self.web.processes {
            if worker.kill_ns.is_some_and(|kill_ns| kill_ns <= now_ns) {
                worker.kill_ns = Some(now_ns + KILL_NS);
                outstayed.push(*id);
            }
        }
        for id in outstayed {
            let Some(process) = self.workers.get_mut(&id) else { continue };
            let Some(child) = &process.child else { continue };
            if process.cause == Cause::Own {
                let pid = child.pid();
                journal!(
                    WORKER_MERCY_OVER,
                    pid,
                    kind = "web",
                    limit_s,
                    "a web worker outstays `worker-reload-mercy`; killing it"
                );
                process.cause = Cause::Interrupted { by: "the reload" };
            }
            self.kill_worker(id);
        }
    }

    /// A web worker's process is no more.
    pub(in super::super) fn web_worker_gone(
        &mut self,
        id: WorkerId,
        exit: Exit,
        process: &WorkerProcess,
    ) {
        let Some(worker) = self.web.processes.remove(&id) else { return };
        let _ = self.poll.remove(worker.socket.as_fd());
        self.web.ring();
        let threads = self.web.threads_of(&worker);
        let sums = threads.iter().fold(Sums::default(), |sums, thread| sums.plus(thread.sums));
        self.web.free_place(worker.place);
        let current = process.generation == self.generation
            && process.tenure != Tenure::LetGo
            && self.ladder.is_none();
        let stops_for_ns = self.ladder.as_ref().map(Ladder::age_ns);
        let (number, pid) = (worker.number, process.child.as_ref().map_or(0, Child::pid));
        let cause = process.cause.of_end(exit);
        let now_ns = clock::monotonic_ns();
        let Some(seat) = self.web.seat(number) else { return };
        seat.sums = seat.sums.plus(sums);
        if !current {
            // One that was asked for and never forked had no number, and nothing to leave.
            if process.child.is_some() {
                told_to_leave(number, pid, exit, &cause);
                match stops_for_ns {
                    Some(for_ns) => uwsgi_lines::buried(number, for_ns / 1_000_000_000),
                    None => uwsgi_lines::killed_successfully(number, pid),
                }
            }
            return;
        }
        seat.respawns += 1;
        let useful = sums.requests > 0 || now_ns.saturating_sub(process.ready_ns) >= STEADY_NS;
        if process.ready && (useful || matches!(process.cause, Cause::Limit { .. })) {
            seat.backoff.reset();
        }
        let pause = seat.backoff.failed();
        let pause = if process.ready { pause.min(PAUSE_MAX) } else { pause };
        seat.start_at_ns = Some(now_ns + pause.as_nanos() as u64);
        let again_ms = pause.as_millis() as u64;
        journal!(
            WORKER_DIED, pid, kind = "web", again_ms, %cause,
            "web worker {number} {exit}; replacing it"
        );
        uwsgi_lines::died(number, pid, exit);
        debug!(number, ready = worker.ready, "web worker is gone");
    }
}

fn told_to_leave(number: u32, pid: u32, exit: Exit, cause: &str) {
    if exit == Exit::Status(0) {
        journal!(WORKER_LEFT, pid, kind = "web", "web worker {number} left");
    } else {
        journal!(
            WORKER_LEFT, pid, kind = "web", %cause,
            "web worker {number} {exit}; it was to leave"
        );
    }
}
