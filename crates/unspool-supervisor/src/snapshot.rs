//! What the daemon knows of itself at one moment: plain values, to be served, printed or logged.
//!
//! It only describes: the dispatchers fill in their spools, the supervisor the rest. Fields end
//! in their unit; `_at` is in seconds since 1970. Counts are since the start of the daemon.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use unspool_wire::control::WebProtocol;

/// The daemon.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The daemon's process.
    pub pid: u32,
    /// When it started.
    pub started_at: i64,
    /// Told to stop: running tasks finish.
    pub stopping: bool,
    /// The application is being imported: at the start, or for a reload.
    pub importing: bool,
    /// Counts the imports that were taken over.
    pub generation: u32,
    /// The process that workers are forked from; `None` while there is none.
    pub zygote: Option<u32>,
    /// Signals whose handlers wait or run.
    pub ticks: TickSnapshot,
    /// In the order of their numbers.
    pub mules: Vec<MuleSnapshot>,
    /// Web workers, in the order of their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub web: Vec<WebSnapshot>,
    /// What they accept on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub web_sockets: Vec<WebSocketSnapshot>,
    /// Timers of the application.
    pub timers: Vec<TimerSnapshot>,
    /// Crons of the application.
    pub crons: Vec<CronSnapshot>,
    /// Of several daemons of one configuration this one fires timers and crons. `None` if there
    /// are none.
    pub leads: Option<bool>,
    /// Crons of the configuration.
    pub cron_commands: Vec<CommandSnapshot>,
    /// Attached daemons.
    pub daemons: Vec<DaemonSnapshot>,
    /// In the order of the configuration.
    pub spools: Vec<SpoolSnapshot>,
}

/// Functions that a zygote tells of.
pub const FUNCTIONS_TOLD: usize = 1000;

/// The daemon and one of its spools: what the control socket of that spool tells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StatusSnapshot {
    /// Of the daemon's program.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// When it started.
    pub started_at: i64,
    /// Told to stop: running tasks finish.
    pub stopping: bool,
    /// The application is being imported: at the start, or for a reload.
    pub importing: bool,
    /// Counts the imports that were taken over.
    pub generation: u32,
    /// The files of its configuration, in the order in which they were read.
    pub config_files: Vec<PathBuf>,
    /// The functions that the application registered while it was imported; the first
    /// [`FUNCTIONS_TOLD`] of them, and none if their names are very long.
    pub functions: Vec<String>,
    /// The last import, if it failed.
    pub import_failure: Option<ImportFailed>,
    /// The spool.
    pub spool: SpoolSnapshot,
}

/// An import of the application that failed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ImportFailed {
    /// When.
    pub at: i64,
    /// It was for a reload, which was given up: the workers go on with what was imported before.
    pub given_up: bool,
    /// What could not be imported, the first one first.
    pub failures: Vec<FailedImport>,
}

/// One module that could not be imported.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailedImport {
    /// What was imported: a module or a file; empty if the process ended that imported.
    pub target: String,
    /// The traceback, or what happened.
    pub traceback: String,
}

/// Handlers of timers, crons and signals.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct TickSnapshot {
    /// Signals whose handlers wait for a worker.
    pub waiting: usize,
    /// Signals whose handlers run.
    pub running: usize,
    /// The processes for them.
    pub workers: Vec<u32>,
}

/// A mule.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct MuleSnapshot {
    /// Its number, from 1.
    pub id: u32,
    /// Its process, 0 while it has none.
    pub pid: u32,
    /// When that was started.
    pub started_at: Option<i64>,
    /// How often it was started again after it had ended by itself.
    pub respawns: u64,
    /// What it says that it does: `message`, `signal`, `waits`, or `other` for its own business.
    pub doing: &'static str,
    /// How long it has handled its message.
    pub message_ms: Option<u64>,
    /// Signals whose handlers wait for it or run in it.
    pub signals: usize,
}

/// A web worker: what is known of its seat, and of the process in it that came last.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WebSnapshot {
    /// Its number, from 1.
    pub id: u32,
    /// Its process, 0 while it has none.
    pub pid: u32,
    /// The import that it was forked from.
    pub generation: u32,
    /// It answers requests.
    pub ready: bool,
    /// When it was asked for.
    pub started_at: Option<i64>,
    /// How often a process was started after one that had ended by itself, or was killed.
    pub respawns: u64,
    /// Processes that there were in this seat, this one included.
    pub spawned: u64,
    /// How often one was killed for the time of a request.
    pub harakiris: u64,
    /// Processes before it that answer what they have and end.
    pub leaving: usize,
    /// Requests that were answered.
    pub requests: u64,
    /// Of those, the ones that this process has answered.
    pub requests_of_process: u64,
    /// Requests that ended with an exception.
    pub exceptions: u64,
    /// Sum of the times that requests took.
    pub run_time_us: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// The threads of the process.
    pub threads: Vec<WebThreadSnapshot>,
}

/// A thread of a web worker.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WebThreadSnapshot {
    /// Requests that it has answered.
    pub requests: u64,
    /// How long it has been at its request, if it has one.
    pub since_ms: Option<u64>,
}

/// A socket that web workers accept on.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WebSocketSnapshot {
    /// Where.
    pub address: String,
    /// `uwsgi` or `http`.
    pub protocol: WebProtocol,
    /// Connections that the system keeps until they are accepted.
    pub backlog: u32,
}

/// A timer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TimerSnapshot {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    /// Its interval.
    pub every_ms: u64,
    /// Until it fires next.
    pub next_ms: u64,
}

/// A cron, with the fields as the application gave them.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the five fields of every crontab")]
pub struct CronSnapshot {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    pub minute: i32,
    pub hour: i32,
    pub day: i32,
    pub month: i32,
    pub weekday: i32,
}

/// A cron of the configuration.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the five fields of every crontab")]
pub struct CommandSnapshot {
    /// The command, without what is secret in it.
    pub command: String,
    pub minute: i32,
    pub hour: i32,
    pub day: i32,
    pub month: i32,
    pub weekday: i32,
    /// It is not started while it runs.
    pub unique: bool,
    /// The process that was started last, if it runs.
    pub pid: Option<u32>,
    /// When it was started last; `None` if it was not yet.
    pub started_at: Option<i64>,
    /// How often it was started.
    pub runs: u64,
    /// Runs that were left out since then, because it or too many others ran.
    pub skipped: u64,
}

/// An attached daemon.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DaemonSnapshot {
    /// Its command, without what is secret in it.
    pub command: String,
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub respawns: u64,
}

/// One spool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SpoolSnapshot {
    /// Its directory.
    pub dir: PathBuf,
    /// How old the numbers below are: more than a moment if its file system hangs. `None` if there
    /// are none yet.
    pub age_ms: Option<u64>,
    /// Workers that it should have, those of single folders included; with `spooler-cheap` at most.
    pub processes: u32,
    /// Where its tasks stand, all folders together.
    pub tasks: Depth,
    /// The same for each folder that it has, in the order in which they are served.
    pub priorities: Vec<PriorityDepth>,
    /// How long the first task of a folder has been due, of all folders the longest. `None` if no
    /// task is due.
    pub oldest_due_ms: Option<u64>,
    /// When the next delayed task is due.
    pub next_due_at: Option<i64>,
    /// What became of runs.
    pub outcomes: Outcomes,
    /// Sum of the times that handlers ran.
    pub run_time_us: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// All that is pending is known: no scan goes on, and no more is pending than is kept in memory.
    pub complete: bool,
    /// Bytes of the files that are known.
    pub bytes: u64,
    /// A scan of the directory goes on.
    pub scanning: bool,
    /// The file system sends no events: new tasks are found by scans alone.
    pub unwatched: bool,
    /// Tasks that are done and whose files could not be deleted yet.
    pub undeleted: usize,
    /// What is paused, the oldest pause first.
    pub pauses: Vec<PauseSnapshot>,
    /// Why it is not known what is paused: then nothing runs.
    pub pauses_failed: Option<String>,
    /// Its processes.
    pub workers: Vec<WorkerSnapshot>,
}

/// Something that somebody has paused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PauseSnapshot {
    /// `spool`, `priority` or `function`.
    pub scope: String,
    /// The priority (`.` for tasks without one) or the function.
    pub name: Option<String>,
    /// Who, as `user@host`.
    pub by: String,
    /// When.
    pub at: f64,
    /// Why; may be empty.
    pub why: String,
}

/// How many tasks stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Depth {
    /// They wait for a worker.
    pub due: u64,
    /// Their time has not come, or they wait for another try.
    pub delayed: u64,
    /// They are with a worker, a few of them ahead of their turn.
    pub running: u64,
    /// Old ones of a uWSGI's, until somebody decides about them.
    pub held: u64,
    /// They are due, and somebody has paused them: all that are due of the spool or of a folder, and
    /// those of a function that had their turn.
    pub paused: u64,
}

/// The tasks of one folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PriorityDepth {
    /// `None`: no priority.
    pub priority: Option<String>,
    /// Where they stand.
    #[serde(flatten)]
    pub tasks: Depth,
}

/// What became of runs and files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Outcomes {
    /// Done, and deleted.
    pub done: u64,
    /// Handlers that asked for another run.
    pub retried: u64,
    /// Failed attempts, those of workers that died included.
    pub failed: u64,
    /// Attempts that failed because the worker died.
    pub died: u64,
    /// Left alone by their handlers.
    pub ignored: u64,
    /// Left alone because nobody knows their functions.
    pub unknown: u64,
    /// Cut short by a stop.
    pub interrupted: u64,
    /// Files moved to `corrupt/`.
    pub corrupt: u64,
    /// Tasks moved to `dead/`.
    pub dead: u64,
    /// Of those, the ones that were not started in time.
    pub expired: u64,
    /// Deleted because somebody cancelled them, as far as the daemon had to do with it.
    pub cancelled: u64,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastError {
    /// When.
    pub at: i64,
    /// The task's file, relative to the spool.
    pub task: String,
    /// Its function, if it names one.
    pub function: String,
    /// The last line of the traceback, or what happened; cut if it is long.
    pub error: String,
}

/// A worker of a spool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// Its number in the life of the daemon.
    pub id: u32,
    /// Its process; 0 before it is there.
    pub pid: u32,
    /// The import that it was forked from.
    pub generation: u32,
    /// The folder whose tasks alone it runs; `None`: it runs all.
    pub priority: Option<String>,
    /// It can run tasks.
    pub ready: bool,
    /// It finishes what it has and takes nothing more.
    pub leaving: bool,
    /// When it was asked for.
    pub started_at: i64,
    /// How often the worker in this place ended and was replaced, this generation.
    pub respawns: u32,
    /// Tasks that it ran.
    pub tasks: u64,
    /// Sum of the times that they took.
    pub run_time_us: u64,
    /// Tasks that it has, the one that it runs included.
    pub outstanding: u64,
    /// What it runs.
    pub current: Option<CurrentTask>,
}

/// The task that a worker runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CurrentTask {
    /// Its file, relative to the spool.
    pub task: String,
    /// Its function, if it names one.
    pub function: String,
    /// For how long.
    pub since_ms: u64,
}

impl Snapshot {
    /// Where the tasks of all spools stand.
    pub fn depth(&self) -> Depth {
        self.spools.iter().fold(Depth::default(), |sum, spool| sum.plus(spool.tasks))
    }
}

impl Outcomes {
    /// Runs that have ended, however, and tasks that went without one.
    pub(crate) fn runs(&self) -> u64 {
        self.done + self.retried + self.failed + self.ignored + self.unknown + self.corrupt
    }
}

impl Depth {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            due: self.due + other.due,
            delayed: self.delayed + other.delayed,
            running: self.running + other.running,
            held: self.held + other.held,
            paused: self.paused + other.paused,
        }
    }
}
