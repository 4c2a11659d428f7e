//! The dispatcher: one thread for each spool, the owner of the truth about its tasks.
//!
//! Owns the index, the watches, the sockets of the spool's workers and all file operations on the
//! spool but one: the worker itself deletes a task that is done. Does not start or end processes.
//! A file operation that fails is logged and tried again later; only the loss of the event
//! machinery itself is fatal, and is reported to the supervisor.

mod adopt;
mod cancel;
mod counting;
mod demand;
mod explain;
mod failure;
mod find;
mod hand_out;
mod history;
mod index;
mod look;
mod lost;
mod notes;
mod outcome;
mod pace;
mod pauses;
mod pools;
mod records;
mod room;
mod state;
mod steps;
mod tally;
mod undeleted;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

use unspool_core::RetryPolicy;
use unspool_spool::{SpoolDir, Watch};
use unspool_sys::folder::Folder;
use unspool_sys::poll::{Poll, Waker, WallTimer};
use unspool_sys::slots::SlotTable;
use unspool_sys::space::Network;
use unspool_sys::tail::TailTable;
use unspool_sys::{clock, host};
use unspool_wire::task::ToWorker;

pub(crate) use self::adopt::{Adopting, begin as begin_adopting};
use self::cancel::Cancels;
use self::counting::Counting;
use self::demand::Demand;
use self::failure::{Death, Failures};
use self::find::Finding;
use self::history::History;
use self::index::Index;
use self::look::{Creations, Scanner};
pub(crate) use self::lost::LostRuns;
pub(crate) use self::notes::Notes;
use self::pace::Pace;
use self::pauses::Paused;
use self::records::Sweeper;
use self::room::Room;
use self::steps::Steps;
use self::tally::Tally;
use self::undeleted::Undeleted;
use self::worker::{Stage, Worker};
use crate::events::{Pool, ToDispatcher, ToSupervisor, WorkerId};
use crate::limits::LookBy;
use crate::settings::RetrySettings;

/// What a dispatcher needs to start.
#[derive(Debug)]
pub(crate) struct Start {
    /// Index of the spool.
    pub(crate) number: usize,
    pub(crate) dir: SpoolDir,
    pub(crate) frequency: Duration,
    pub(crate) retry: RetrySettings,
    pub(crate) settle: Duration,
    /// Tasks that are kept in memory.
    pub(crate) tasks_max: usize,
    pub(crate) adopting: Option<Adopting>,
    pub(crate) lost: LostRuns,
    pub(crate) quiet: bool,
    pub(crate) pools: Vec<Pool>,
    pub(crate) wear: Wear,
    pub(crate) cheap: bool,
    pub(crate) slots: Arc<SlotTable>,
    pub(crate) notes: Option<Notes>,
    pub(crate) tails: Arc<TailTable>,
    pub(crate) look_by: LookBy,
    pub(crate) inbox: Receiver<ToDispatcher>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) outbox: Outbox,
}

/// What wears a worker out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wear {
    /// Tasks after which it is replaced; 0 is never.
    pub(crate) max_tasks: u64,
    /// Signals that it handles count too.
    pub(crate) signal_as_task: bool,
}

/// The way to the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    pub(crate) sender: SyncSender<ToSupervisor>,
    pub(crate) waker: Arc<Waker>,
}

impl Outbox {
    pub(crate) fn send(&self, message: ToSupervisor) {
        // A supervisor that is gone has no use for news; a full queue cannot be: it holds more
        // than all workers and one account of each spool can cause, and its reader never waits for us.
        let _ = self.sender.try_send(message);
        self.waker.wake();
    }
}

/// Members of the poll; workers follow from `KEY_WORKERS` on.
const KEY_INBOX: u64 = 0;
const KEY_WATCH: u64 = 1;
const KEY_TIMER: u64 = 2;
const KEY_CREATIONS: u64 = 3;
const KEY_WORKERS: u64 = 16;

/// Where the dispatcher is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Claims no more; its workers leave.
    Stopping,
    Over,
}

#[derive(Debug)]
struct Dispatcher {
    number: usize,
    dir: SpoolDir,
    frequency_ns: i64,
    /// What the configuration says.
    first_frequency_ns: i64,
    settle_ns: i64,
    /// How often tasks may fail. Its delay counts only if `retry_delay_ns` is set.
    retry: RetryPolicy,
    retry_delay_ns: Option<i64>,
    failures: Failures,
    lost: LostRuns,
    quiet: bool,
    pools: Vec<Pool>,
    wear: Wear,
    demand: Demand,
    slots: Arc<SlotTable>,
    notes: Option<Notes>,
    tails: Arc<TailTable>,
    look_by: LookBy,
    inbox: Receiver<ToDispatcher>,
    waker: Arc<Waker>,
    outbox: Outbox,
    poll: Poll,
    timer: WallTimer,
    timer_at: Option<i64>,
    steps: Steps,
    watch: Option<Watch>,
    /// The file system that it is on, if others may change that unheard.
    network: Option<Network>,
    creations: Creations,
    index: Index,
    history: History,
    scanner: Scanner,
    sweeper: Sweeper,
    counting: Counting,
    room: Room,
    /// While old tasks may be held.
    adopting: Option<Adopting>,
    /// Open folders by lane; `None` where the folder is gone.
    folders: Vec<Option<Folder>>,
    workers: BTreeMap<WorkerId, Worker>,
    undeleted: Undeleted,
    cancels: Cancels,
    /// After a claim failed for want of something, no claim before this.
    claim_again_at_ns: u64,
    /// Claims that failed one after another.
    claims_failed: u32,
    /// What the last claim said that failed.
    claim_error: Option<String>,
    /// The last round of claims ended at its bound, not for want of tasks or workers.
    more_to_claim: bool,
    tally: Tally,
    pace: Pace,
    finding: Finding,
    paused: Paused,
    life: Life,
    /// The directory was removed, or another one has its name.
    top_gone: bool,
    /// Priorities that it can have: each holds a descriptor.
    lanes_max: usize,
    buffer: Vec<u8>,
}

/// Runs a dispatcher until it is told to exit.
pub(crate) fn run(start: Start) {
    let mut last_word = LastWord {
        spool: start.number,
        outbox: start.outbox.clone(),
        failed: Some(format!("spool `{}`: its thread panicked", start.dir.path().display())),
    };
    let spool = start.dir.path().display().to_string();
    let result = Dispatcher::new(start).and_then(|mut dispatcher| dispatcher.run());
    last_word.failed = result.err().map(|error| format!("spool `{spool}`: {error}"));
}

/// Tells the supervisor that the thread ends, however it ends.
#[derive(Debug)]
struct LastWord {
    spool: usize,
    outbox: Outbox,
    failed: Option<String>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        let spool = self.spool;
        if let Some(why) = self.failed.take() {
            self.outbox.send(ToSupervisor::Failed { spool, why });
        }
        self.outbox.send(ToSupervisor::Ended { spool });
    }
}

impl Dispatcher {
    fn new(start: Start) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = WallTimer::new()?;
        poll.add(start.waker.as_fd(), KEY_INBOX)?;
        poll.add(timer.as_fd(), KEY_TIMER)?;
        let mut dispatcher = Self {
            number: start.number,
            frequency_ns: start.frequency.as_nanos() as i64,
            first_frequency_ns: start.frequency.as_nanos() as i64,
            settle_ns: start.settle.as_nanos() as i64,
            retry: start.retry.policy,
            retry_delay_ns: start.retry.delay.map(|delay| delay.as_nanos() as i64),
            failures: Failures::read(&start.dir),
            lost: start.lost,
            quiet: start.quiet,
            demand: Demand::new(start.cheap, start.number, start.pools.len()),
            pools: start.pools,
            wear: start.wear,
            slots: start.slots,
            notes: start.notes,
            tails: start.tails,
            look_by: start.look_by,
            inbox: start.inbox,
            waker: start.waker,
            outbox: start.outbox,
            poll,
            timer,
            timer_at: None,
            steps: Steps::new(),
            watch: None,
            network: start.dir.network(),
            creations: Creations::default(),
            index: Index::default(),
            history: History::default(),
            scanner: Scanner::default(),
            sweeper: Sweeper::default(),
            counting: Counting::default(),
            room: Room::new(start.tasks_max),
            adopting: start.adopting,
            folders: Vec::new(),
            workers: BTreeMap::new(),
            undeleted: Undeleted::default(),
            cancels: Cancels::default(),
            claim_again_at_ns: 0,
            claims_failed: 0,
            claim_error: None,
            more_to_claim: false,
            tally: Tally::default(),
            pace: Pace::default(),
            finding: Finding::default(),
            paused: Paused::default(),
            life: Life::Running,
            top_gone: false,
            lanes_max: look::LANES_MAX.min(host::open_files_limit() / 2),
            buffer: vec![0; unspool_core::limits::PACKET_BYTES_MAX],
            dir: start.dir,
        };
        dispatcher.start_watching()?;
        Ok(dispatcher)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut keys = Vec::new();
        while self.life != Life::Over {
            self.poll.wait(&mut keys, self.timeout_ns())?;
            self.heed_steps();
            for key in &keys {
                match *key {
                    KEY_INBOX => self.read_inbox(),
                    KEY_WATCH => self.read_watch(),
                    KEY_CREATIONS => self.creations.again_ns = Some(0),
                    KEY_TIMER => {
                        self.timer.clear();
                        self.timer_at = None;
                    }
                    key => self.read_worker((key - KEY_WORKERS) as WorkerId),
                }
            }
            self.read_creations();
            self.scan_step();
            self.bury_step();
            self.sweep_step();
            self.find_step();
            self.index.promote(self.now_ns());
            self.retry_deletes();
            self.revoke_stuck();
            self.hand_out();
            self.counting.tell(self.index.pending());
            self.pace.note(self.tally.outcomes.runs(), clock::monotonic_ns());
            self.publish_demand();
            self.let_idle_go();
            self.arm_timer()?;
            if self.top_gone && self.life == Life::Running {
                return Err(io::Error::other(
                    "its directory was removed, or another one has its name now; start unspool \
                     again to run what is there",
                ));
            }
        }
        Ok(())
    }

    /// How long the next wait may be, on the monotonic clock. Due times have a timer of their own.
    fn timeout_ns(&self) -> Option<u64> {
        let scanning =
            self.scanner.is_running() || self.sweeper.is_running() || self.finding.is_running();
        if scanning || self.has_room_again() || self.more_to_claim || self.is_burying() {
            return Some(0);
        }
        let now_ns = clock::monotonic_ns();
        let mut wake_ns = self.scanner.next_ns();
        let mut earlier = |at_ns: u64| wake_ns = Some(wake_ns.map_or(at_ns, |w| w.min(at_ns)));
        if let Some(at_ns) = self.creations.again_ns {
            earlier(at_ns);
        }
        if let Some(at_ns) = self.counting.next_ns(self.index.pending().1) {
            earlier(at_ns);
        }
        if let Some(at_ns) = self.undeleted.next_ns() {
            earlier(at_ns);
        }
        if self.claim_again_at_ns > now_ns {
            earlier(self.claim_again_at_ns);
        }
        if let Some(at_ns) = self.next_revoke_ns(now_ns) {
            earlier(at_ns);
        }
        if let Some(at_ns) = self.next_idle_ns() {
            earlier(at_ns);
        }
        wake_ns.map(|at_ns| at_ns.saturating_sub(now_ns))
    }

    /// Sets the timer to the next due time, if that has changed.
    fn arm_timer(&mut self) -> io::Result<()> {
        let due = self.index.next_due();
        if due != self.timer_at {
            self.timer.set(due)?;
            self.timer_at = due;
        }
        Ok(())
    }

    fn read_inbox(&mut self) {
        self.waker.clear();
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                ToDispatcher::Attach { worker, row, generation, socket, pool, replaces } => {
                    self.demand.changed();
                    if let Some(tail) = self.tails.row(row) {
                        tail.clear();
                    }
                    let mut worker = Worker::new(worker, row, generation, socket);
                    worker.pool = pool;
                    worker.only = self.pools.get(pool).and_then(|pool| pool.only.clone());
                    worker.replaces = replaces;
                    let (id, key) = (worker.id, KEY_WORKERS + u64::from(worker.id));
                    let watched = self.poll.add(worker.socket(), key);
                    self.workers.insert(id, worker);
                    if let Err(error) = watched {
                        self.broken(id, &format!("cannot be watched: {error}"));
                    }
                }
                ToDispatcher::Detach { worker, exit, cause, peak_rss } => {
                    self.demand.changed();
                    self.detach(worker, Death::new(exit, cause, peak_rss));
                }
                ToDispatcher::Recycle { worker } => self.recycle(worker),
                ToDispatcher::Retire { before } => {
                    self.index.release_held(self.now_ns());
                    self.leave(|worker| worker.generation < before);
                }
                ToDispatcher::Tick { worker, signal } => self.tick(worker, signal),
                ToDispatcher::Frequency(frequency) => {
                    let given_ns = frequency.map(|frequency| frequency.as_nanos() as i64);
                    self.frequency_ns = given_ns.unwrap_or(self.first_frequency_ns);
                }
                ToDispatcher::Cancel(order) => self.cancel(&order),
                ToDispatcher::Explain { client, place } => self.explain(client, &place),
                ToDispatcher::Find { client, name } => self.find_named(client, name),
                ToDispatcher::LogState => self.log_state(),
                ToDispatcher::Report => self.report(),
                ToDispatcher::Stop => {
                    self.life = Life::Stopping;
                    self.leave(|_| true);
                }
                ToDispatcher::Exit => self.life = Life::Over,
            }
        }
    }

    /// Has a worker run the handler of a signal. One that leaves will not.
    fn tick(&mut self, id: WorkerId, signal: u8) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if matches!(worker.stage, Stage::Leaving | Stage::Broken) {
            return;
        }
        worker.ticks += 1;
        if !worker.send(&ToWorker::Tick { signal }, &[]) {
            self.broken(id, "does not take packets");
        }
    }

    /// Lets workers finish what they run and leave.
    fn leave(&mut self, which: impl Fn(&Worker) -> bool) {
        let ids: Vec<WorkerId> = self
            .workers
            .values()
            .filter(|w| matches!(w.stage, Stage::Starting | Stage::Ready) && which(w))
            .map(|w| w.id)
            .collect();
        for id in ids {
            self.revoke_all(id, 0);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.stage = Stage::Leaving;
                if !worker.send(&ToWorker::Drain, &[]) {
                    self.broken(id, "does not take packets");
                }
            }
        }
    }

    /// A worker's process is gone: its last words, then what becomes of its tasks.
    fn detach(&mut self, id: WorkerId, mut death: Death) {
        self.read_worker(id);
        let Some(mut worker) = self.workers.remove(&id) else { return };
        let _ = self.poll.remove(worker.socket());
        death.pid = worker.pid;
        self.read_tail(worker.row, &mut death);
        for slot in worker.used() {
            let state = self.slot_state(worker.row, slot);
            death.running_ns = self.ran_for(worker.row, slot);
            if let Some(held) = worker.settle(slot) {
                self.orphaned(held, state, &death);
            }
            self.free_slot(worker.row, slot);
        }
        // What became of its tasks stands in their files by now.
        self.note_end(worker.row);
    }

    /// Tells the supervisor that a worker has to go. Its tasks are settled when it is gone.
    fn broken(&mut self, id: WorkerId, why: &str) {
        if self.disconnect(id) {
            self.outbox.send(ToSupervisor::Broken { worker: id, why: why.to_owned() });
        }
    }

    /// Tells the supervisor that a worker closed its socket. Its tasks are settled when it is gone.
    fn closed(&mut self, id: WorkerId) {
        if self.disconnect(id) {
            self.outbox.send(ToSupervisor::Closed { worker: id });
        }
    }

    /// Hears a worker no more. `false` if that was so before.
    fn disconnect(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        let _ = self.poll.remove(worker.socket());
        std::mem::replace(&mut worker.stage, Stage::Broken) != Stage::Broken
    }
}
