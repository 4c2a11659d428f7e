//! The supervisor: the main thread, the owner of all processes and of the clock.
//!
//! Starts and replaces zygotes and workers, passes signals on, raises ticks, and takes everything
//! down by the ladder of `stop`. Does no file I/O on a spool, so that a stalled file system cannot
//! delay a limit or a stop. Every wait has a bound, and one event loop holds them all.

mod asked;
mod attached;
mod calendar;
mod cancel;
mod children;
mod fifo;
mod followers;
mod hooks;
mod imports;
mod leader;
mod limits;
mod mule_signals;
mod mules;
mod own_import;
mod pidfiles;
mod pools;
mod presence;
mod programs;
mod recycle;
mod reload;
mod report;
mod requests;
mod schedule;
mod signals;
mod spools;
mod stop;
mod tick_log;
mod ticks;
mod timetable;
mod watched;
mod watcher;
mod web;
mod zygote;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{info, warn};
use unspool_sys::poll::{Poll, Waker, WallTimer};
use unspool_sys::signal::{Asked, Signals};
use unspool_sys::{clock, host, process};
use unspool_wire::control::{Role, Setup};

use self::attached::Attached;
pub use self::calendar::next_minute;
use self::children::WorkerProcess;
use self::fifo::MasterFifo;
use self::followers::Followers;
use self::hooks::Hooks;
use self::imports::Imports;
use self::leader::Leader;
use self::limits::Patrol;
use self::mules::Mules;
use self::own_import::Forking;
use self::programs::Crons;
use self::report::Reporting;
use self::requests::Requests;
use self::schedule::Schedule;
pub use self::schedule::configured_entries;
use self::signals::Routes;
use self::spools::SpoolActor;
use self::stop::Ladder;
use self::tick_log::TickLog;
use self::ticks::TickPool;
use self::watched::TouchCommands;
use self::watcher::Watcher;
use self::web::WebWorkers;
use self::zygote::Zygote;
use crate::backoff::Backoff;
use crate::dispatcher::Outbox;
use crate::events::{ToDispatcher, ToSupervisor, WorkerId};
use crate::inquiry::Inquiries;
use crate::journal::journal;
use crate::programs::Surroundings;
use crate::settings::{
    Moments, MuleSettings, OnQuit, Settings, SpoolSettings, WatchSettings, WebSettings,
    ZygoteSettings,
};
use crate::uwsgi_lines;

/// Why the daemon could not run, or not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The system refused something without which nothing works.
    #[error("cannot {action}")]
    System {
        /// What.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A spool's thread could not go on.
    #[error("stopped because of {why}")]
    Dispatcher {
        /// The spool and what happened.
        why: String,
    },
    /// The application cannot be imported, and the configuration says that it is needed.
    #[error("the application cannot be imported, and `need-app` asks for it")]
    NoApplication,
    /// A master FIFO cannot be made.
    #[error("cannot make the master FIFO `{}`", path.display())]
    Fifo {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A spool cannot be used.
    #[error("cannot run spool `{path}`")]
    Spool {
        /// Its directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

const KEY_SIGNALS: u64 = 0;
const KEY_INBOX: u64 = 1;
const KEY_WALL: u64 = 2;
const KEY_REQUESTS: u64 = 3;
const KEY_FIFO: u64 = 4;
const KEY_INQUIRIES: u64 = 5;
const KEY_LOG: u64 = 6;
/// Kinds of members that come and go, in the upper half of a key; the lower half is a number.
const KIND_WORKER: u64 = 1 << 32;
const KIND_ZYGOTE: u64 = 2 << 32;
const KIND_ZYGOTE_SOCKET: u64 = 3 << 32;
const KIND_TICK_SOCKET: u64 = 4 << 32;
const KIND_CONTROL: u64 = 5 << 32;
const KIND_CLIENT: u64 = 6 << 32;
const KIND_COMMAND: u64 = 9 << 32;
const KIND_CRON: u64 = 16 << 32;
const KIND_ATTACHED: u64 = 17 << 32;
const KIND_MULE_SOCKET: u64 = 18 << 32;
const KIND_HOOK: u64 = 19 << 32;
const KIND_WEB_SOCKET: u64 = 20 << 32;
const NUMBER: u64 = (1 << 32) - 1;

/// Messages from dispatchers that wait: a few per worker, one of each spool, and what clients asked.
const INBOX_MESSAGES: usize = 5 * unspool_core::limits::WORKERS_MAX + 4 * requests::CLIENTS_MAX;

#[derive(Debug)]
struct Supervisor {
    poll: Poll,
    signals: Signals,
    inbox: Receiver<ToSupervisor>,
    waker: Arc<Waker>,
    wall: WallTimer,
    /// What the timer is set to; `None` after it fired.
    wall_at_ns: Option<i64>,
    zygote_settings: ZygoteSettings,
    forking: Forking,
    stop_timeout: Duration,
    watch: WatchSettings,
    watcher: Watcher,
    fifo: MasterFifo,
    touch_commands: TouchCommands,
    on_quit: OnQuit,
    moments: Moments,
    hooks: Hooks,
    spools: Vec<SpoolActor>,
    /// The zygote that workers are forked from.
    zygote: Option<Zygote>,
    /// One that is still importing: the first, or a reload's.
    next_zygote: Option<Zygote>,
    /// Zygotes that were let go and may still tell of workers that they have forked.
    leaving_zygotes: Vec<Zygote>,
    generation: u32,
    /// Only grows, also where a generation fails: an event of one is never taken for another's.
    last_generation: u32,
    zygote_backoff: Backoff,
    zygote_at_ns: Option<u64>,
    reload_wanted: bool,
    workers: BTreeMap<WorkerId, WorkerProcess>,
    last_worker: WorkerId,
    patrol: Patrol,
    imports: Imports,
    schedule: Schedule,
    routes: Routes,
    tick_log: TickLog,
    leader: Leader,
    crons: Crons,
    attached: Attached,
    /// What programs find.
    surroundings: Surroundings,
    ticks: TickPool,
    requests: Requests,
    followers: Followers,
    reporting: Reporting,
    mules: Mules,
    web: WebWorkers,
    ladder: Option<Ladder>,
    /// Why the daemon stops, if nobody has told it to.
    failure: Option<RunError>,
    announced: bool,
    over: bool,
}

/// Runs the daemon until it is told to stop by a signal.
///
/// # Errors
/// Only where the daemon cannot start; what fails later is logged and tried again.
pub fn run(settings: Settings) -> Result<(), RunError> {
    let mut supervisor = Supervisor::new(settings)?;
    supervisor.moments.started.reached();
    uwsgi_lines::master(host::pid());
    supervisor.start_zygote();
    supervisor.run()
}

fn system(action: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::System { action, source }
}

/// A poll of the members that are there.
fn poll_of(members: &[(Option<BorrowedFd<'_>>, u64)]) -> io::Result<Poll> {
    let poll = Poll::new()?;
    for (member, key) in members {
        if let Some(member) = member {
            poll.add(*member, *key)?;
        }
    }
    Ok(poll)
}

/// What is beside the workers of spools.
fn beside(
    mules: MuleSettings,
    web: Option<WebSettings>,
    setup: &Setup,
) -> Result<(Mules, WebWorkers), RunError> {
    let mules = Mules::new(mules, setup).map_err(system("make the queues of the mules"))?;
    let web = WebWorkers::new(web, setup.web.as_ref());
    Ok((mules, web.map_err(system("make the memory of the web workers"))?))
}

fn start_spools(
    spools: Vec<SpoolSettings>,
    patrol: &Patrol,
    outbox: &Outbox,
    poll: &Poll,
) -> Result<Vec<SpoolActor>, RunError> {
    let mut actors = Vec::new();
    for (number, spool) in spools.into_iter().enumerate() {
        let path = spool.dir.path().display().to_string();
        let actor = SpoolActor::start(number, spool, outbox.clone(), patrol)
            .map_err(|source| RunError::Spool { path, source })?;
        if let Some(control) = actor.control() {
            let key = KIND_CONTROL | number as u64;
            poll.add(control, key).map_err(system("wait for events"))?;
        }
        actors.push(actor);
    }
    Ok(actors)
}

impl Supervisor {
    fn new(settings: Settings) -> Result<Self, RunError> {
        process::become_subreaper().map_err(system("become the parent of orphans"))?;
        let signals = Signals::install().map_err(system("handle signals"))?;
        let wall = WallTimer::new().map_err(system("make a timer"))?;
        let waker = Arc::new(Waker::new().map_err(system("make a wake-up"))?);
        let poll = poll_of(&[
            (Some(signals.as_fd()), KEY_SIGNALS),
            (Some(waker.as_fd()), KEY_INBOX),
            (Some(wall.as_fd()), KEY_WALL),
            (settings.inquiries.as_ref().map(Inquiries::waker), KEY_INQUIRIES),
        ])
        .map_err(system("wait for events"))?;
        let (sender, inbox): (SyncSender<ToSupervisor>, _) = sync_channel(INBOX_MESSAGES);
        let outbox = Outbox { sender, waker: Arc::clone(&waker) };
        let (mules, web) = beside(settings.mules, settings.web, &settings.zygote.setup)?;
        let patrol = Patrol::new(settings.limits);
        let spools = start_spools(settings.spools, &patrol, &outbox, &poll)?;
        let requests = Requests::new(&poll, KEY_REQUESTS).map_err(system("make a socket"))?;
        let followers = Followers::new(settings.lines, &poll).map_err(system("make a wake-up"))?;
        let fifo = MasterFifo::new(&settings.watch)
            .map_err(|(path, source)| RunError::Fifo { path, source })?;
        fifo.watch(&poll).map_err(system("wait for events"))?;
        let watcher = watched::start(&settings.watch, &waker).map_err(system("watch files"))?;
        Ok(Self {
            poll,
            signals,
            inbox,
            waker,
            wall,
            wall_at_ns: None,
            forking: Forking::new(&settings.zygote),
            zygote_settings: settings.zygote,
            stop_timeout: settings.stop_timeout,
            watch: settings.watch,
            watcher,
            fifo,
            touch_commands: TouchCommands::default(),
            on_quit: settings.on_quit,
            moments: settings.moments,
            hooks: Hooks::new(settings.hooks),
            reporting: Reporting::new(settings.inquiries, settings.config_files, spools.len()),
            spools,
            zygote: None,
            next_zygote: None,
            leaving_zygotes: Vec::new(),
            generation: 0,
            last_generation: 0,
            zygote_backoff: Backoff::default(),
            zygote_at_ns: None,
            reload_wanted: false,
            workers: BTreeMap::new(),
            last_worker: 0,
            patrol,
            imports: Imports::default(),
            routes: Routes::default(),
            tick_log: TickLog::default(),
            schedule: Schedule::new(&settings.programs),
            leader: Leader::new(settings.schedule, outbox.clone()),
            crons: Crons::new(&settings.programs),
            attached: Attached::new(&settings.programs, outbox),
            surroundings: settings.programs.surroundings,
            ticks: TickPool::default(),
            requests,
            followers,
            mules,
            web,
            ladder: None,
            failure: None,
            announced: false,
            over: false,
        })
    }

    fn run(&mut self) -> Result<(), RunError> {
        let mut keys = Vec::new();
        let mut zygotes_end_ns = self.end_zygotes();
        while !self.over {
            let timeout_ns = self.timeout_ns(zygotes_end_ns);
            self.poll.wait(&mut keys, timeout_ns).map_err(system("wait for events"))?;
            for key in keys.clone() {
                self.event(key);
            }
            self.rearm_fifo();
            self.restart_zygote_if_due();
            self.enforce_limits();
            self.end_cancelled();
            self.kill_late_workers();
            self.show_import_failures();
            zygotes_end_ns = self.end_zygotes();
            for spool in 0..self.spools.len() {
                self.ensure_workers(spool);
            }
            self.raise_due_ticks();
            self.limit_crons();
            self.tend_attached();
            self.start_ticks();
            self.close_silent_clients();
            self.tend_mules();
            self.tend_web();
            self.climb();
            self.go_on_reporting();
        }
        self.kill_leaving_zygotes();
        for spool in &mut self.spools {
            spool.clean_up();
        }
        self.fifo.clean_up();
        self.mules.say_what_is_lost();
        journal!(DAEMON_STOPPED, "stopped");
        uwsgi_lines::goodbye();
        self.end_followers();
        self.failure.take().map_or(Ok(()), Err)
    }

    fn event(&mut self, key: u64) {
        let number = (key & NUMBER) as u32;
        match key & !NUMBER {
            KIND_WORKER => self.worker_ended(number),
            KIND_ZYGOTE => self.zygote_ended(number),
            KIND_ZYGOTE_SOCKET => self.read_zygote(number),
            KIND_TICK_SOCKET => self.read_tick_worker(number),
            KIND_CONTROL => self.accept_client(number as usize),
            KIND_CLIENT => self.read_client(number),
            KIND_HOOK => self.hook_ended(),
            KIND_COMMAND => self.touch_command_ended(number as usize),
            KIND_CRON => self.cron_ended(number),
            KIND_ATTACHED => self.attached_ended(number as usize),
            KIND_MULE_SOCKET => self.read_mule(number),
            KIND_WEB_SOCKET => self.read_web_worker(number),
            _ => match key {
                KEY_SIGNALS => self.read_signals(),
                KEY_INBOX => self.read_inbox(),
                KEY_REQUESTS => self.read_requests(),
                KEY_FIFO => self.read_fifo(),
                KEY_INQUIRIES => self.read_inquiries(),
                KEY_LOG => self.feed_followers(),
                _ => {
                    self.wall.clear();
                    self.wall_at_ns = None;
                }
            },
        }
    }

    /// How long the next wait may be.
    fn timeout_ns(&self, zygotes_end_ns: Option<u64>) -> Option<u64> {
        let now_ns = clock::monotonic_ns();
        // What needs a zygote does not wake a daemon that has none, and nothing is begun any more
        // in one that stops.
        let running = self.ladder.is_none();
        let forking = running && self.zygote.is_some();
        let if_so = |so: bool, at_ns: Option<u64>| at_ns.filter(|_| so);
        [
            zygotes_end_ns,
            if_so(running, self.zygote_at_ns),
            if_so(forking, self.spools.iter().filter_map(|spool| spool.spawn_at_ns).min()),
            if_so(forking, self.spools.iter().filter_map(SpoolActor::next_tell_ns).min()),
            if_so(forking, self.schedule.next_timer_ns()),
            if_so(forking, self.ticks.next_retire_ns()),
            if_so(running, self.leader.until_ns()),
            self.crons.next_ns(),
            if_so(running, self.attached.next_ns()),
            self.ladder.as_ref().map(Ladder::until_ns),
            self.next_deadline_ns(),
            self.next_limit_ns(),
            self.next_cancel_ns(),
            self.imports.show_ns(),
            self.requests.next_close_ns(),
            self.fifo.rest_until_ns(),
            self.reporting.until_ns(),
            if_so(forking, self.mules.next_start_ns()),
            self.mules.next_look_ns(),
            if_so(forking, self.web.next_start_ns()),
            self.web.next_look_ns(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at_ns| at_ns.saturating_sub(now_ns))
    }

    fn read_signals(&mut self) {
        for asked in self.signals.take() {
            match asked {
                Asked::Stop => self.stop(),
                Asked::Quit if self.on_quit == OnQuit::Reload => self.reload(),
                Asked::Quit => self.stop_now(),
                Asked::State => self.log_state(),
                Asked::Pause if self.web.is_empty() => {
                    info!("there are no web workers to pause; tasks go on");
                }
                Asked::Pause => info!("web workers are not paused: they and tasks go on"),
                Asked::Reload => self.reload(),
                Asked::ChildEnded => self.reap_strangers(),
            }
        }
    }

    fn read_inbox(&mut self) {
        self.waker.clear();
        self.read_watcher();
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                ToSupervisor::Ready { worker, pid } => self.worker_ready(worker, pid),
                ToSupervisor::Useful { worker } => self.worker_useful(worker),
                ToSupervisor::Broken { worker, why } => self.worker_broken(worker, &why),
                ToSupervisor::Closed { worker } => self.worker_closed(worker),
                ToSupervisor::Limited { by_ns } => self.patrol.look_at_tasks_by(by_ns),
                ToSupervisor::Cancel { worker, slot, by_ns } => {
                    self.cancel_in(worker, slot, by_ns);
                }
                ToSupervisor::Cancelled { client, answer } => self.cancelled(client, answer),
                ToSupervisor::Explained { client, explanation } => {
                    self.answer_with(client, &*explanation);
                }
                ToSupervisor::FoundTasks { client, found } => self.answer_with(client, &found),
                ToSupervisor::Worn { worker, pid, tasks } => self.worker_worn(worker, pid, tasks),
                ToSupervisor::Idle { worker } => self.worker_idle(worker),
                ToSupervisor::Want { spool, pool, workers } => {
                    self.want_workers(spool, pool, workers);
                }
                ToSupervisor::TickDone { worker, signal, duration_ns, error } => {
                    self.tick_done(worker, signal, duration_ns, error);
                }
                ToSupervisor::Leads(leads) => self.leads(leads),
                ToSupervisor::Paused { paused, answer } => self.paused_changed(paused, answer),
                ToSupervisor::Minute { minute, taken } => self.minute_taken(minute, taken),
                ToSupervisor::Pidfile { daemon, pid } => self.pidfile_read(daemon, pid),
                ToSupervisor::PidfileFailed { daemon, problem } => {
                    self.pidfile_failed(daemon, &problem);
                }
                ToSupervisor::Touched { daemon, path } => self.attached_touched(daemon, &path),
                ToSupervisor::Report { spool, snapshot } => self.reported(spool, *snapshot),
                ToSupervisor::Failed { spool, why } => {
                    journal!(SPOOL_LOST, spool, "{why}");
                    self.failure.get_or_insert(RunError::Dispatcher { why });
                    self.stop();
                }
                ToSupervisor::Ended { spool } => {
                    if let Some(spool) = self.spools.get_mut(spool) {
                        spool.ended = true;
                    }
                }
            }
        }
    }

    /// Says once that everything is up.
    fn announce(&mut self) {
        let ready = self.zygote.is_some()
            && self.mules.all_started()
            && self.web.all_started()
            && self.ticks.has_its_one()
            && (0..self.spools.len()).all(|spool| {
                self.workers_of(spool).filter(|w| w.ready && w.child.is_some()).count() as u32
                    >= self.spools[spool].wanted()
            });
        if ready && !self.announced {
            self.announced = true;
            let (workers, mules, web) = self.counts();
            let spools = self.spools.len();
            journal!(DAEMON_READY, spools, workers, mules, web, "unspool is ready");
            self.imports.show_now();
        }
    }

    /// Workers, mules and, if there should be some, web workers that there are.
    fn counts(&self) -> (usize, usize, Option<usize>) {
        let count = |role| self.workers.values().filter(|worker| worker.role == role).count();
        let (mules, web) = (count(Role::Mule), count(Role::Web));
        (self.workers.len() - mules - web, mules, (!self.web.is_empty()).then_some(web))
    }

    /// Says in the log how things stand.
    fn log_state(&self) {
        let (workers, mules, web) = self.counts();
        journal!(
            DAEMON_STATE,
            pid = host::pid(),
            spools = self.spools.len(),
            workers,
            mules,
            web,
            generation = self.generation,
            zygote = self.zygote.as_ref().map_or(0, |zygote| zygote.child.pid()),
            importing = self.next_zygote.is_some(),
            stopping = self.ladder.is_some(),
            "state of the daemon"
        );
        for spool in 0..self.spools.len() {
            self.tell(spool, ToDispatcher::LogState);
        }
    }

    fn tell(&self, spool: usize, message: ToDispatcher) {
        if let Some(spool) = self.spools.get(spool)
            && !spool.tell(message)
        {
            warn!(path = %spool.path.display(), "the spool's thread does not listen");
        }
    }
}
