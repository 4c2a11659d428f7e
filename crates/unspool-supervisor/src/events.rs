//! What the actors say to each other.

use std::os::fd::OwnedFd;
use std::time::Duration;

use unspool_core::Priority;
use unspool_sys::process::Exit;

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
        /// Its row in the slots file.
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
    /// Log how the spool is doing.
    LogState,
    /// Say how the spool is.
    Report,
    /// Claim no more; all workers finish what they run and leave.
    Stop,
    /// All workers are gone: end the thread.
    Exit,
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
    /// The kernel, for want of memory.
    OutOfMemory,
    /// The daemon, since it or its task passed a limit.
    Limit {
        /// Which limit, for the log.
        why: String,
    },
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
