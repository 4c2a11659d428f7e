//! What the actors say to each other.

use std::os::fd::OwnedFd;
use std::time::Duration;

use unspool_core::Priority;
use unspool_spool::{Place, TaskName};
use unspool_sys::process::Exit;
use unspool_wire::cancel::Fate;

use crate::explanation::{Candidates, Explanation};
use crate::snapshot::SpoolSnapshot;

/// A worker's number, unique in the life of the daemon.
pub(crate) type WorkerId = u32;

/// Supervisor to dispatcher.
#[derive(Debug)]
pub(crate) enum ToDispatcher {
    /// A worker was asked for; it says `Ready` on this socket when it can run tasks.
    Attach {
        /// Its number.
        worker: WorkerId,
        /// Its row of slots.
        row: usize,
        /// Its generation of the application.
        generation: u32,
        /// Our end of its socket.
        socket: OwnedFd,
        /// Index of its pool: whose tasks it runs.
        pool: usize,
        /// A worker in whose place it comes: while that one runs a task, this one gets none.
        replaces: Option<WorkerId>,
    },
    /// A worker's process has ended.
    Detach {
        /// Its number.
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// What ended it.
        cause: Cause,
        /// Bytes: the most memory that it had; `None` if nobody knows.
        peak_rss: Option<u64>,
    },
    /// The worker in whose place another one comes, which is ready: it finishes and leaves.
    Recycle {
        /// Its number.
        worker: WorkerId,
    },
    /// Workers of earlier generations finish what they run and leave.
    Retire {
        /// The first generation that stays.
        before: u32,
    },
    /// A worker is to run the handler of a signal, between two tasks.
    Tick {
        /// Its number.
        worker: WorkerId,
        /// The uwsgi signal.
        signal: u8,
    },
    /// The time between retries changes; `None`: to what the configuration says.
    Frequency(Option<Duration>),
    /// A task is to be cancelled.
    Cancel(CancelOrder),
    /// Say what is known of a task.
    Explain {
        /// Who asks.
        client: u32,
        /// Where it lies.
        place: Place,
    },
    /// Say where tasks are that somebody names in part.
    Find {
        /// Who asks.
        client: u32,
        /// How they are named: by a file's name or a part.
        name: TaskName,
    },
    /// Log how the spool is doing.
    LogState,
    /// Say how the spool is.
    Report,
    /// Claim no more; all workers finish what they run and leave.
    Stop,
    /// All workers are gone: end the thread.
    Exit,
}

/// A task to cancel.
#[derive(Debug, Clone)]
pub(crate) struct CancelOrder {
    /// Who is answered.
    pub(crate) client: u32,
    /// Where it lies.
    pub(crate) place: Place,
    /// How long it has to end by itself, if it runs.
    pub(crate) grace_ns: u64,
    /// Whether the answer comes when it has ended; else once it is told.
    pub(crate) wait: bool,
}

/// What ended a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Its own doing, or somebody else's: how it ended tells.
    Own,
    /// The daemon, to stop or to reload in time: a task that it ran was interrupted.
    Interrupted {
        /// "the stop" or "the reload".
        by: &'static str,
    },
    /// The daemon: its task was cancelled and did not end in time.
    Cancelled,
    /// The kernel, for want of memory.
    OutOfMemory,
    /// The daemon, since it or its task passed a limit.
    Limit {
        /// Which limit, for the log.
        why: String,
    },
}

impl Cause {
    /// Why a worker ended that ended so, in words.
    pub(crate) fn of_end(&self, exit: Exit) -> String {
        match self {
            Self::Own => exit.to_string(),
            Self::Interrupted { by } => format!("ended by {by}"),
            Self::Cancelled => "its task was cancelled and did not end in time".to_owned(),
            Self::OutOfMemory => "the kernel killed it for want of memory".to_owned(),
            Self::Limit { why } => why.clone(),
        }
    }
}

/// The workers that run the same tasks of a spool: all of them, or those of one priority.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// Whose tasks they run; `None`: all.
    pub(crate) only: Option<Priority>,
    /// How many there are at most.
    pub(crate) target: u32,
}

/// To the supervisor: from dispatchers, and from the threads that do its file I/O.
#[derive(Debug)]
pub(crate) enum ToSupervisor {
    /// A worker can run tasks.
    Ready {
        /// Its number.
        worker: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// A worker has finished a task: it is of use.
    Useful {
        /// Its number.
        worker: WorkerId,
    },
    /// A task was handed out with a limit of its own: running tasks have to be looked at.
    Limited {
        /// At the latest then, on the monotonic clock.
        by_ns: u64,
    },
    /// The task that a worker runs was cancelled: it is told, and killed if it goes on.
    Cancel {
        /// Its number.
        worker: WorkerId,
        /// The slot of the task.
        slot: u8,
        /// Until then it may go on, on the monotonic clock.
        by_ns: u64,
    },
    /// What became of a task that was to be cancelled.
    Cancelled {
        /// Who asked.
        client: u32,
        /// What, or why it is not cancelled.
        answer: Result<Fate, String>,
    },
    /// What a dispatcher knows of a task.
    Explained {
        /// Who asked.
        client: u32,
        /// That.
        explanation: Box<Explanation>,
    },
    /// Where tasks are that somebody names in part.
    FoundTasks {
        /// Who asked.
        client: u32,
        /// There.
        found: Candidates,
    },
    /// A worker was handed the last task that it may run.
    Worn {
        /// Its number.
        worker: WorkerId,
        /// Its process, which the zygote may not have told of yet.
        pid: u32,
        /// How many tasks it has run then.
        tasks: u64,
    },
    /// More tasks are due than there are workers (`spooler-cheap`).
    Want {
        /// Index of the spool.
        spool: usize,
        /// Index of the pool.
        pool: usize,
        /// Workers that could run one now.
        workers: u32,
    },
    /// A worker had nothing to do and was let go (`spooler-cheap`).
    Idle {
        /// Its number.
        worker: WorkerId,
    },
    /// A worker has run the handler of a signal.
    TickDone {
        /// Its number.
        worker: WorkerId,
        /// The uwsgi signal.
        signal: u8,
        /// How long it took.
        duration_ns: u64,
        /// The traceback, if it raised.
        error: Option<String>,
    },
    /// A worker closed its socket: its process ends.
    Closed {
        /// Its number.
        worker: WorkerId,
    },
    /// A worker breaks the protocol: it has to go.
    Broken {
        /// Its number.
        worker: WorkerId,
        /// Why.
        why: String,
    },
    /// How a spool is: the answer to `Report`.
    Report {
        /// Index of the spool.
        spool: usize,
        /// What its dispatcher knows.
        snapshot: Box<SpoolSnapshot>,
    },
    /// A dispatcher's thread is about to end.
    Ended {
        /// Index of its spool.
        spool: usize,
    },
    /// Whether this daemon fires crons and timers, or another one of its configuration.
    Leads(bool),
    /// Which timers and crons are paused, as it is written down.
    Paused {
        /// Those.
        paused: Vec<unspool_wire::schedule::TimerPause>,
        /// Who asked for a change, if somebody did, and whether it could be made.
        answer: Option<(u32, Result<(), String>)>,
    },
    /// A minute of crons was written down, or is another's.
    Minute {
        /// Since 1970.
        minute: i64,
        /// Whether it is this daemon's.
        taken: std::io::Result<bool>,
    },
    /// Who the pidfile of an attached daemon names.
    Pidfile {
        /// Its number.
        daemon: usize,
        /// The process, if the file names one.
        pid: Option<u32>,
    },
    /// The pidfile of an attached daemon cannot be used.
    PidfileFailed {
        /// Its number.
        daemon: usize,
        /// Why.
        problem: String,
    },
    /// A file that reloads an attached daemon has changed.
    Touched {
        /// Its number.
        daemon: usize,
        /// The file.
        path: std::path::PathBuf,
    },
    /// A dispatcher cannot go on.
    Failed {
        /// Index of its spool.
        spool: usize,
        /// Why.
        why: String,
    },
}
