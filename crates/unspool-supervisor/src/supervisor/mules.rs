//! Mules: processes beside the workers that handle messages, or run a program of their own.
//!
//! Owns the queues of messages, which outlive every process that sends or receives, so that no
//! message is lost when a mule is replaced; and the mules' own processes and signals. It does not
//! read messages: mules do, in `unspool/_mules.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tracing::debug;
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::board::{Board, NUMBERS};
use unspool_sys::clock;
use unspool_sys::process::{Child, Exit};
use unspool_sys::socket::{self, Received};
use unspool_wire::PROTOCOL_VERSION;
use unspool_wire::control::{Role, Setup};
use unspool_wire::request::Reply;
use unspool_wire::task::{FromWorker, ToWorker};

use super::Supervisor;
use super::children::WorkerProcess;
use super::tick_log::Tick;
use crate::backoff::Backoff;
use crate::events::{Cause, WorkerId};
use crate::journal::journal;
use crate::settings::MuleSettings;
use crate::snapshot::MuleSnapshot;
use crate::uwsgi_lines;

/// One that ran so long is started again at once when it ends.
const STEADY_NS: u64 = 10_000_000_000;
/// One that is told to leave and neither reads its messages nor handles one gets SIGTERM then.
const READ_NS_MAX: u64 = 1_000_000_000;
/// How often one that handles something is looked at.
const BUSY_NS: u64 = 100_000_000;
/// How long a killed mule may take to vanish before it is killed again.
const KILL_NS: u64 = 5_000_000_000;
/// A mule that cannot be asked for is asked for again then.
const ASK_NS: u64 = 100_000_000;

/// Messages that are counted at the end.
const MESSAGES_MAX: u32 = 1_000_000;

/// What a mule says that it does, in its row of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Its own business: it has not waited for anything yet.
    Else,
    /// It handles a message of so many bytes.
    Message { since_ns: u64, bytes: u64 },
    /// It runs the handler of this signal.
    Handler { since_ns: u64, signal: u64 },
    /// It does what it waited for a signal for.
    Signal,
    /// It waits for messages or signals.
    Waits,
    /// Its own business, between two waits.
    Between,
}

/// All mules, and what they share.
#[derive(Debug)]
pub(super) struct Mules {
    settings: MuleSettings,
    pub(super) farms: Vec<(String, Vec<u32>)>,
    /// Which of them run a program of their own.
    programs: Vec<bool>,
    /// Absent where there are no mules.
    board: Option<Board>,
    /// The sending and the receiving end of each queue.
    queues: Vec<(OwnedFd, OwnedFd)>,
    /// By number, from 1.
    pub(super) seats: Vec<Seat>,
    pub(super) processes: BTreeMap<WorkerId, Mule>,
    /// When the time that messages and handlers take is looked at again.
    look_ns: Option<u64>,
}

/// What stays when a mule's process is replaced.
#[derive(Debug, Default)]
pub(super) struct Seat {
    backoff: Backoff,
    start_at_ns: Option<u64>,
    /// There was a process that said that it is ready.
    started: bool,
    /// How often it was started again after it had ended by itself.
    respawns: u64,
    /// Signals to be raised in it, each once.
    pub(super) waiting: BTreeSet<u8>,
}

#[derive(Debug)]
pub(super) struct Mule {
    pub(super) number: u32,
    pub(super) socket: OwnedFd,
    pub(super) ready: bool,
    /// Signals that it was told of and has not handled.
    pub(super) told: BTreeSet<u8>,
    pub(super) leaving: Option<Leaving>,
    /// It was killed for its time.
    late: bool,
}

/// A mule that was told to leave.
#[derive(Debug)]
pub(super) struct Leaving {
    look_ns: u64,
    terminated: bool,
    kill_ns: u64,
    /// A program that took a message and did not come back for the next gets SIGTERM then: whether
    /// it still handles that message cannot be known.
    half_ns: u64,
}

impl Mules {
    pub(super) fn new(settings: MuleSettings, setup: &Setup) -> io::Result<Self> {
        let count = setup.mules.len();
        let board = (count > 0).then(|| Board::new(count)).transpose()?;
        let queues = if count > 0 { 1 + count + setup.farms.len() } else { 0 };
        let queues = (0..queues).map(|_| socket::queue(settings.queue_bytes));
        Ok(Self {
            settings,
            farms: setup.farms.clone(),
            programs: setup.mules.iter().map(Option::is_some).collect(),
            board,
            queues: queues.collect::<io::Result<_>>()?,
            seats: (0..count).map(|_| Seat::default()).collect(),
            processes: BTreeMap::new(),
            look_ns: None,
        })
    }

    /// Puts a message into a queue, for a process that has none of them.
    pub(super) fn send(&self, mule: i64, farm: Option<&str>, data: &[u8]) -> Result<Reply, String> {
        let refused = |error: String| Ok(Reply::Refused { error });
        let count = self.seats.len();
        if count == 0 {
            return Err("no mule configured".into());
        }
        let queue = match farm {
            Some(farm) => {
                let at = self.farms.iter().position(|(name, _)| name == farm);
                1 + count + at.ok_or_else(|| format!("unknown farm: {farm}"))?
            }
            None => match usize::try_from(mule) {
                Ok(mule) if mule <= count => mule,
                _ => return refused(format!("there is no mule {mule}")),
            },
        };
        let Some((sends, _)) = self.queues.get(queue) else { return Err("no such queue".into()) };
        match socket::send(sends.as_fd(), data, &[]) {
            Ok(true) => Ok(Reply::Done),
            Ok(false) => {
                let bytes = self.settings.queue_bytes;
                refused(format!("its queue is full ({bytes} bytes: `mule-msg-size`)"))
            }
            Err(error) => refused(format!("it does not fit into its queue: {error}")),
        }
    }

    /// Says what nobody will read any more.
    pub(super) fn say_what_is_lost(&self) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        let mut lost = 0;
        for (_, gets) in &self.queues {
            // An error is a message longer than this buffer.
            while lost < MESSAGES_MAX
                && !matches!(
                    socket::receive(gets.as_fd(), &mut buffer, &mut Vec::new(), false),
                    Ok(Received::Nothing)
                )
            {
                lost += 1;
            }
        }
        if lost > 0 {
            journal!(
                MULE_MESSAGES_LOST,
                messages = lost,
                "messages that no mule has read are lost"
            );
        }
    }

    /// What a zygote gets with its settings.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let queues = self.queues.iter().flat_map(|(sends, gets)| [sends.as_fd(), gets.as_fd()]);
        self.board.iter().map(Board::as_fd).chain(queues).collect()
    }

    pub(super) fn add(&mut self, id: WorkerId, number: u32, socket: OwnedFd) {
        let mule = Mule {
            number,
            socket,
            ready: false,
            told: BTreeSet::new(),
            leaving: None,
            late: false,
        };
        self.processes.insert(id, mule);
    }

    /// Whether each mule has been ready once: one whose program ends at once is no reason to wait.
    pub(super) fn all_started(&self) -> bool {
        self.seats.iter().all(|seat| seat.started)
    }

    /// When the next mule may be started.
    pub(super) fn next_start_ns(&self) -> Option<u64> {
        self.seats.iter().filter_map(|seat| seat.start_at_ns).min()
    }

    /// When something has to be looked at: one that leaves, or how long a message takes.
    pub(super) fn next_look_ns(&self) -> Option<u64> {
        let leaving = self.processes.values().filter_map(|mule| mule.leaving.as_ref());
        leaving.map(|leaving| leaving.look_ns.min(leaving.kill_ns)).chain(self.look_ns).min()
    }

    pub(super) fn seat(&mut self, number: u32) -> Option<&mut Seat> {
        self.seats.get_mut(number as usize - 1)
    }

    fn row(&self, number: u32) -> Option<[u64; NUMBERS]> {
        self.board.as_ref().and_then(|board| board.read(number as usize - 1).ok())
    }

    pub(super) fn doing(&self, number: u32) -> Doing {
        match self.row(number) {
            Some([1, since_ns, bytes, ..]) => Doing::Message { since_ns, bytes },
            Some([2, ..]) => Doing::Signal,
            Some([3, ..]) => Doing::Waits,
            Some([4, ..]) => Doing::Between,
            Some([5, since_ns, signal, ..]) => Doing::Handler { since_ns, signal },
            _ => Doing::Else,
        }
    }

    pub(super) fn of_number(&self, number: u32) -> Option<(WorkerId, &Mule)> {
        let mut found = self.processes.iter().filter(|(_, mule)| mule.number == number);
        found.next().map(|(id, mule)| (*id, mule))
    }

    /// The signals whose handlers a mule has begun.
    pub(super) fn begun(&self, number: u32) -> BTreeSet<u8> {
        let Some([_, _, _, _, words @ ..]) = self.row(number) else { return BTreeSet::new() };
        let bit = |signal: &u8| words[usize::from(signal / 64)] >> (signal % 64) & 1 == 1;
        (0..=u8::MAX).filter(bit).collect()
    }
}

/// Says that a mule is killed for its time.
fn tell_late(mule: u32, pid: u32, doing: Doing, limit: Duration) {
    let limit_s = limit.as_secs_f64();
    match doing {
        Doing::Handler { signal, .. } => {
            uwsgi_lines::harakiri_mule(mule, signal, pid);
            journal!(
                MULE_TIME_LIMIT,
                mule,
                pid,
                signal,
                limit_s,
                "the handler of a signal takes too long; killing its mule"
            );
        }
        Doing::Message { bytes, .. } => {
            journal!(
                MULE_TIME_LIMIT,
                mule,
                pid,
                bytes,
                limit_s,
                "a message takes too long; killing its mule"
            );
        }
        _ => {}
    }
}

impl Supervisor {
    /// A new generation is there: mules of the old ones leave. There is one process for each mule
    /// at any time, so that the new one is started when the old one has ended.
    pub(super) fn replace_mules(&mut self) {
        for seat in &mut self.mules.seats {
            seat.backoff.reset();
            seat.start_at_ns = Some(clock::monotonic_ns());
        }
        let generation = self.generation;
        self.retire_mules(|worker| worker.generation != generation);
    }

    /// What is known of the mules, to be shown.
    pub(super) fn mule_snapshots(&self, now_ns: u64) -> Vec<MuleSnapshot> {
        let one = |(seat, id): (&Seat, u32)| {
            let process = self.mules.of_number(id);
            let worker = process.and_then(|(worker, _)| self.workers.get(&worker));
            let doing = self.mules.doing(id);
            MuleSnapshot {
                id,
                pid: worker.and_then(|worker| worker.child.as_ref()).map_or(0, Child::pid),
                started_at: worker.map(|worker| worker.asked_at),
                respawns: seat.respawns,
                doing: match doing {
                    Doing::Message { .. } => "message",
                    Doing::Handler { .. } | Doing::Signal => "signal",
                    Doing::Waits => "waits",
                    Doing::Else | Doing::Between => "other",
                },
                message_ms: match doing {
                    Doing::Message { since_ns, .. } => {
                        Some(now_ns.saturating_sub(since_ns) / 1_000_000)
                    }
                    _ => None,
                },
                signals: seat.waiting.len() + process.map_or(0, |(_, mule)| mule.told.len()),
            }
        };
        self.mules.seats.iter().zip(1..).map(one).collect()
    }

    /// Tells mules to finish what they handle and leave.
    pub(super) fn retire_mules(&mut self, which: impl Fn(&WorkerProcess) -> bool) {
        let now_ns = clock::monotonic_ns();
        let mercy_ns = self.mules.settings.reload_mercy.as_nanos() as u64;
        let (kill_ns, half_ns) = (now_ns + mercy_ns, now_ns + mercy_ns / 2);
        let mut broken = Vec::new();
        for (id, mule) in &mut self.mules.processes {
            if mule.leaving.is_some() || !self.workers.get(id).is_some_and(&which) {
                continue;
            }
            mule.leaving = Some(Leaving {
                look_ns: now_ns + READ_NS_MAX,
                terminated: false,
                kill_ns,
                half_ns,
            });
            let mut packet = Vec::new();
            ToWorker::Drain.encode(&mut packet);
            if !socket::send(mule.socket.as_fd(), &packet, &[]).unwrap_or(false) {
                broken.push(*id);
            }
        }
        for id in broken {
            self.worker_broken(id, "does not take packets");
        }
    }

    /// Starts mules that are missing, ends those that should have ended.
    pub(super) fn tend_mules(&mut self) {
        if self.mules.seats.is_empty() {
            return;
        }
        let now_ns = clock::monotonic_ns();
        if self.ladder.is_none() && self.zygote.is_some() {
            self.start_mules(now_ns);
        }
        self.end_leaving_mules(now_ns);
        self.end_late_mules(now_ns);
    }

    fn start_mules(&mut self, now_ns: u64) {
        for number in 1..=self.mules.seats.len() as u32 {
            let seat = &self.mules.seats[number as usize - 1];
            let present = self.mules.of_number(number).is_some();
            if present || seat.start_at_ns.is_some_and(|at_ns| at_ns > now_ns) {
                continue;
            }
            let asked = self.ask_for_worker(Role::Mule, 0, Some((0, number as usize)));
            if let Some(seat) = self.mules.seat(number) {
                seat.start_at_ns = (!asked).then_some(now_ns + ASK_NS);
            }
        }
    }

    fn end_leaving_mules(&mut self, now_ns: u64) {
        let due: Vec<WorkerId> = self
            .mules
            .processes
            .iter()
            .filter(|(_, m)| m.leaving.as_ref().is_some_and(|l| l.look_ns.min(l.kill_ns) <= now_ns))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) else {
                self.mules.postpone_look(id, now_ns);
                continue;
            };
            let Some(number) = self.mules.processes.get(&id).map(|mule| mule.number) else {
                return;
            };
            let may_finish = self.mules.may_finish(id, number, now_ns);
            let mercy_s = self.mules.settings.reload_mercy.as_secs_f64();
            let Some(mule) = self.mules.processes.get_mut(&id) else { return };
            let Some(leaving) = &mut mule.leaving else { return };
            if leaving.kill_ns <= now_ns {
                let pid = child.pid();
                journal!(
                    MULE_MERCY_OVER,
                    mule = number,
                    pid,
                    mercy_s,
                    "mule does not end within `mule-reload-mercy`; killing it"
                );
                child.kill_group();
                leaving.kill_ns = now_ns + KILL_NS;
                leaving.look_ns = leaving.kill_ns;
            } else if may_finish {
                leaving.look_ns = now_ns + BUSY_NS;
            } else {
                child.terminate();
                leaving.terminated = true;
                leaving.look_ns = leaving.kill_ns;
            }
        }
    }

    /// Kills mules that take longer than `mule-harakiri` for a message or for the handler of a signal.
    fn end_late_mules(&mut self, now_ns: u64) {
        let Some(limit) = self.mules.settings.harakiri else { return };
        if self.mules.look_ns.is_some_and(|at_ns| at_ns > now_ns) {
            return;
        }
        let most_ns = limit.as_nanos() as u64;
        let mut late = Vec::new();
        for (id, mule) in &self.mules.processes {
            let doing = self.mules.doing(mule.number);
            if let Doing::Message { since_ns, .. } | Doing::Handler { since_ns, .. } = doing
                && now_ns.saturating_sub(since_ns) > most_ns
                && !mule.late
            {
                late.push((*id, mule.number, doing));
            }
        }
        for (id, mule, doing) in late {
            if let Some(child) = self.workers.get(&id).and_then(|w| w.child.as_ref()) {
                tell_late(mule, child.pid(), doing, limit);
                child.kill_group();
            }
            if let Some(mule) = self.mules.processes.get_mut(&id) {
                mule.late = true;
            }
        }
        let pause = (limit / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let any = !self.mules.processes.is_empty();
        self.mules.look_ns = any.then(|| now_ns + pause.as_nanos() as u64);
    }

    pub(super) fn read_mule(&mut self, id: WorkerId) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX];
        let mut strays = Vec::new();
        loop {
            let Some(mule) = self.mules.processes.get(&id) else { return };
            match socket::receive(mule.socket.as_fd(), &mut buffer, &mut strays, false) {
                Ok(Received::Packet(bytes)) => match FromWorker::decode(&buffer[..bytes]) {
                    Ok(packet) => self.mule_said(id, packet),
                    Err(error) => return self.worker_broken(id, &error.to_string()),
                },
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => {
                    let _ = self.poll.remove(mule.socket.as_fd());
                    return self.worker_closed(id);
                }
            }
        }
    }

    fn mule_said(&mut self, id: WorkerId, packet: FromWorker) {
        let pid = self.workers.get(&id).and_then(|w| w.child.as_ref()).map_or(0, Child::pid);
        let Some(mule) = self.mules.processes.get_mut(&id) else { return };
        let number = mule.number;
        match packet {
            FromWorker::Ready { version, .. } if version != PROTOCOL_VERSION => {
                let why = format!("speaks protocol {version}, not {PROTOCOL_VERSION}");
                self.worker_broken(id, &why);
            }
            FromWorker::Ready { pid, .. } => {
                mule.ready = true;
                if let Some(seat) = self.mules.seat(number) {
                    seat.started = true;
                }
                journal!(MULE_READY, mule = number, pid, "mule is ready");
                self.worker_ready(id, pid);
                self.tell_signals(number);
            }
            FromWorker::TickDone { signal, duration_ns, error } => {
                mule.told.remove(&signal);
                let mule = Some(number);
                self.tick_log.ended(&Tick { signal, mule, pid, duration_ns, error });
                self.tell_signals(number);
            }
            FromWorker::Reports(_) | FromWorker::Leaving => {}
        }
    }

    /// A mule's process is no more. What it handled is not handled again; what waits, waits on.
    pub(super) fn mule_gone(&mut self, id: WorkerId, exit: Exit, worker: &WorkerProcess) {
        let Some(mule) = self.mules.processes.remove(&id) else { return };
        let _ = self.poll.remove(mule.socket.as_fd());
        let (number, now_ns) = (mule.number, clock::monotonic_ns());
        let doing = self.mules.doing(number);
        let pid = worker.child.as_ref().map_or(0, Child::pid);
        let terminated = mule.leaving.as_ref().is_some_and(|leaving| leaving.terminated);
        let ended_itself = exit == Exit::Status(0) && !terminated && worker.cause == Cause::Own;
        match doing {
            Doing::Message { bytes, since_ns } if !ended_itself => {
                let ms = now_ns.saturating_sub(since_ns) as f64 / 1e6;
                journal!(
                    MULE_MESSAGE_LOST,
                    mule = number,
                    pid,
                    bytes,
                    ms,
                    cause = %exit,
                    "mule {exit} while it handled a message, which is lost"
                );
            }
            _ => {}
        }
        self.signals_of_gone(number, &mule.told, pid, exit);
        if let Some(board) = &self.mules.board {
            let _ = board.clear(number as usize - 1);
        }
        let stopping = self.ladder.is_some();
        let Some(seat) = self.mules.seat(number) else { return };
        if mule.leaving.is_some() || stopping {
            if worker.child.is_some() {
                journal!(MULE_LEFT, mule = number, pid, "mule left");
                if stopping {
                    uwsgi_lines::annihilated_mule(number, pid);
                }
            }
            seat.start_at_ns = None;
            return;
        }
        if worker.ready && now_ns.saturating_sub(worker.ready_ns) >= STEADY_NS {
            seat.backoff.reset();
        }
        seat.respawns += 1;
        let delay = seat.backoff.failed();
        seat.start_at_ns = Some(now_ns + delay.as_nanos() as u64);
        let again_ms = delay.as_millis() as u64;
        journal!(
            MULE_DIED, mule = number, pid, again_ms, cause = %exit,
            "mule {exit}; starting it again"
        );
        debug!(mule = number, ready = mule.ready, "mule is gone");
    }
}

impl Mules {
    /// Which mule a process is, from 1; 0 if it is none.
    pub(super) fn number_of(&self, id: WorkerId) -> u32 {
        self.processes.get(&id).map_or(0, |mule| mule.number)
    }

    /// Whether one that leaves is to be let alone, since it handles something.
    fn may_finish(&self, id: WorkerId, number: u32, now_ns: u64) -> bool {
        let leaving = self.processes.get(&id).and_then(|mule| mule.leaving.as_ref());
        let half = leaving.is_some_and(|leaving| leaving.half_ns <= now_ns);
        let program = self.programs.get(number as usize - 1).is_some_and(|program| *program);
        match self.doing(number) {
            Doing::Message { .. } | Doing::Handler { .. } | Doing::Signal => !(half && program),
            Doing::Waits | Doing::Between | Doing::Else => false,
        }
    }

    /// One that is not forked yet cannot be ended: looks again.
    fn postpone_look(&mut self, id: WorkerId, now_ns: u64) {
        let mule = self.processes.get_mut(&id);
        if let Some(leaving) = mule.and_then(|mule| mule.leaving.as_mut()) {
            leaving.look_ns = now_ns + READ_NS_MAX;
            leaving.kill_ns = leaving.kill_ns.max(leaving.look_ns);
        }
    }
}
