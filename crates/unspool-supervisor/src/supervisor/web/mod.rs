//! Web workers: processes that answer requests on sockets of the daemon.
//!
//! There are so many seats. A worker in one is replaced when it dies, when it leaves (it has answered
//! as many requests as it may), when it has grown too old or too big, and by a reload; in all but the
//! first case the old one answers what it has while the new one is there already. Sockets and the way to
//! the network's server are the daemon's, so that none of that closes one.
//!
//! `life` starts and ends them, `limits` looks at the time of requests, `account` tells of them. What is
//! said on a connection is no business of the daemon's.

mod account;
mod life;
mod limits;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_core::limits::WEB_SOCKETS_MAX;
use unspool_sys::board::{Board, NUMBERS};
use unspool_sys::poll::Waker;
use unspool_wire::control::Web;

use crate::backoff::Backoff;
use crate::events::WorkerId;
use crate::settings::WebSettings;
use crate::uwsgi_lines;

/// What a worker is lent with its fork besides sockets: its own, the board, the way to the server, the bell.
const _: () = assert!(WEB_SOCKETS_MAX + 4 <= unspool_sys::socket::FDS_MAX);

/// Processes of one seat: more do not leave though they were told to, and the next one waits.
const OF_SEAT_MAX: usize = 8;

/// All web workers, and what they are given.
#[derive(Debug, Default)]
pub(super) struct WebWorkers {
    /// `None`: there are none.
    plan: Option<Plan>,
    /// Places of the board that nobody has, the next one last.
    free: Vec<u32>,
    /// By number, from 1.
    seats: Vec<Seat>,
    processes: BTreeMap<WorkerId, WebWorker>,
    /// The generation that answers: workers of earlier ones were told to leave.
    serving: u32,
    /// When the time of requests is looked at again.
    look_ns: u64,
    /// A reload that is to be told of as done.
    done: Option<Done>,
}

/// A reload whose new workers answer: it is told of once no old one accepts any more.
#[derive(Debug, Clone, Copy)]
struct Done {
    look_ns: u64,
    /// It is told then in any case.
    until_ns: u64,
}

#[derive(Debug)]
struct Plan {
    settings: WebSettings,
    setup: Web,
    /// In which threads say what they do: a row for each thread of each place, and one for all. A place
    /// is one process's alone: of those in one seat, one may still write.
    board: Board,
    /// Has all workers look at the sockets: of a connection one hears alone, and it may be gone by then.
    bell: Waker,
}

/// What stays when the process in a seat is replaced.
#[derive(Debug, Default)]
struct Seat {
    backoff: Backoff,
    start_at_ns: Option<u64>,
    /// There was a process that said that it is ready.
    started: bool,
    /// How often a process was started after one that had ended by itself, or was killed.
    respawns: u64,
    /// Processes that there were.
    spawned: u64,
    /// How often one was killed for the time of a request.
    harakiris: u64,
    /// Of the processes that are gone.
    sums: Sums,
}

/// What was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    requests: u64,
    exceptions: u64,
    run_time_us: u64,
    bytes: u64,
}

#[derive(Debug)]
struct WebWorker {
    number: u32,
    socket: OwnedFd,
    /// Its rows of the board.
    place: u32,
    ready: bool,
    /// It accepts no more.
    quiet: bool,
    /// It was told to leave, or leaves by itself: when it is killed.
    kill_ns: Option<u64>,
}

/// What a thread says that it does, in its row of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thread {
    /// When its request began; 0: it has none.
    since_ns: u64,
    /// When the request's own limit ends; 0: it has none.
    until_ns: u64,
    sums: Sums,
}

impl From<[u64; NUMBERS]> for Thread {
    fn from(row: [u64; NUMBERS]) -> Self {
        let [since_ns, requests, until_ns, exceptions, run_time_us, bytes, ..] = row;
        Self { since_ns, until_ns, sums: Sums { requests, exceptions, run_time_us, bytes } }
    }
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            exceptions: self.exceptions.saturating_add(other.exceptions),
            run_time_us: self.run_time_us.saturating_add(other.run_time_us),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl WebWorkers {
    pub(super) fn new(settings: Option<WebSettings>, setup: Option<&Web>) -> io::Result<Self> {
        let (Some(settings), Some(setup)) = (settings, setup) else { return Ok(Self::default()) };
        let seats = (0..setup.processes).map(|_| Seat::default()).collect();
        let places = setup.processes * OF_SEAT_MAX as u32;
        let board = Board::new(places as usize * setup.threads as usize + 1)?;
        let plan = Some(Plan { settings, setup: setup.clone(), board, bell: Waker::new()? });
        Ok(Self { plan, seats, free: (0..places).rev().collect(), ..Self::default() })
    }

    /// Whether there is none, nor will be.
    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// How many there should be.
    pub(super) fn count(&self) -> usize {
        self.seats.len()
    }

    /// Whether each seat has had a worker that was ready.
    pub(super) fn all_started(&self) -> bool {
        self.seats.iter().all(|seat| seat.started)
    }

    /// Whether there is no application to answer with, of these imports having failed.
    pub(super) fn lacks_application(&self, failed: &[usize]) -> bool {
        let application = self.plan.as_ref().and_then(|plan| plan.setup.application.as_ref());
        application.is_some_and(|application| failed.contains(&application.number))
    }

    /// Whether the daemon ends then.
    pub(super) fn needs_application(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.settings.need_app)
    }

    /// A place of the board for a new worker, with rows of zeros.
    pub(super) fn take_place(&mut self) -> Option<u32> {
        let place = self.free.pop()?;
        let count = self.threads() as usize;
        let first = place as usize * count;
        let board = self.plan.as_ref().map(|plan| &plan.board)?;
        for row in first..first + count {
            let _ = board.clear(row);
        }
        Some(place)
    }

    /// Nobody has it any more.
    pub(super) fn free_place(&mut self, place: u32) {
        self.free.push(place);
    }

    /// What a worker gets with its fork, behind its own socket.
    pub(super) fn lent(&self) -> Vec<BorrowedFd<'_>> {
        let Some(plan) = &self.plan else { return Vec::new() };
        let sockets = plan.settings.sockets.iter().map(AsFd::as_fd);
        let lent = [plan.board.as_fd(), plan.settings.handover.as_fd(), plan.bell.as_fd()];
        lent.into_iter().chain(sockets).collect()
    }

    /// One has died. What it alone has heard of is for the others.
    pub(super) fn ring(&self) {
        if let Some(plan) = &self.plan {
            plan.bell.wake();
        }
    }

    pub(super) fn add(&mut self, id: WorkerId, number: u32, socket: OwnedFd, place: u32) {
        let worker = WebWorker { number, socket, place, ready: false, quiet: false, kill_ns: None };
        self.processes.insert(id, worker);
    }

    /// The process of a worker is there.
    pub(super) fn forked(&mut self, id: WorkerId, pid: u32) {
        let (number, cores) = (self.number_of(id), self.threads());
        let Some(seat) = self.seat(number) else { return };
        seat.spawned += 1;
        if seat.spawned > 1 {
            uwsgi_lines::respawned_worker(number, pid);
        } else {
            uwsgi_lines::spawned_worker(number, pid, cores);
        }
    }

    /// Which one a process is, from 1; 0 if it is none.
    pub(super) fn number_of(&self, id: WorkerId) -> u32 {
        self.processes.get(&id).map_or(0, |worker| worker.number)
    }

    /// Requests that it may answer at a time.
    pub(super) fn threads(&self) -> u32 {
        self.plan.as_ref().map_or(1, |plan| plan.setup.threads)
    }

    /// When the next one may be started.
    pub(super) fn next_start_ns(&self) -> Option<u64> {
        self.seats.iter().filter_map(|seat| seat.start_at_ns).min()
    }

    /// When something has to be looked at: one that leaves, or how long requests take.
    pub(super) fn next_look_ns(&self) -> Option<u64> {
        let look_ns = self.processes.values().any(|worker| worker.ready).then_some(self.look_ns);
        let done_ns = self.done.map(|done| done.look_ns);
        let kill_ns = self.processes.values().filter_map(|worker| worker.kill_ns);
        kill_ns.chain(look_ns).chain(done_ns).min()
    }

    fn seat(&mut self, number: u32) -> Option<&mut Seat> {
        self.seats.get_mut((number as usize).checked_sub(1)?)
    }

    /// What the threads of a worker say.
    fn threads_of(&self, worker: &WebWorker) -> Vec<Thread> {
        let count = self.threads() as usize;
        let board = self.plan.as_ref().map(|plan| &plan.board);
        let rows = board.map(|board| board.read_all(worker.place as usize * count, count));
        rows.and_then(Result::ok).unwrap_or_default().into_iter().map(Thread::from).collect()
    }
}
