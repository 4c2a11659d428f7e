//! What the actors say to each other.

use std::os::fd::OwnedFd;
use std::time::Duration;

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
    },
    /// A worker's process has ended.
    Detach {
        /// Its number.
        worker: WorkerId,
        /// How it ended.
        exit: Exit,
        /// Whether the daemon killed it to stop in time.
        stopped: bool,
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
