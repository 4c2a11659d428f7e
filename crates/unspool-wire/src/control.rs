//! Objects between the supervisor and the zygote.

use serde::{Deserialize, Serialize};

/// The variable in the environment of a worker, and of whatever it starts, that names the worker.
/// An orphan of a worker is known by it.
pub const MARK_VARIABLE: &str = "UNSPOOL_WORKER";

/// Its value: always as long, so that a worker can write its own over that of its zygote.
pub fn mark_value(daemon: u32, worker: u32) -> String {
    format!("{daemon:010}.{worker:010}")
}

/// The value for a zygote, and for whatever it starts that is no worker.
pub fn zygote_mark_value(daemon: u32, generation: u32) -> String {
    format!("{daemon:010}.z{:09}", generation % 1_000_000_000)
}

/// The variable with its value, as it stands in an environment.
pub fn mark(value: &str) -> String {
    format!("{MARK_VARIABLE}={value}")
}

/// Supervisor to zygote.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ToZygote {
    /// The first packet: what to import and what the application may ask about.
    Setup(Box<Setup>),
    /// Fork a worker. With the packet come its socket, the slots, the spool directory, the memory in
    /// which it keeps the last that it printed and, if there is one, the file of what runs.
    Fork {
        /// Its number.
        worker: u32,
        /// What it is for.
        role: Role,
        /// Index of its spool; of a web worker its place in the memory of all, see [`Role::Web`].
        spool: u32,
        /// Its row of slots; of a mule, of a worker for ticks and of a web worker the number that
        /// the application knows it by, from 1.
        row: u32,
    },
    /// Part of what comes with the settings: the ends of the queues of messages, see [`Setup`].
    Queues {},
}

/// What a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs tasks of a spool.
    Spool,
    /// Runs handlers of signals.
    Signal,
    /// Handles messages, or runs a program of its own.
    Mule,
    /// Answers requests with the application, on sockets of the daemon. With its fork come its
    /// socket, the memory in which all of them say what they do (a row for each thread of each
    /// place, and one more for what they count together), the socket over which it hands over
    /// connections that are not for the application, and the sockets of [`Web`], in their order.
    Web,
}

/// What a zygote needs to know.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Setup {
    /// Protocol version that the daemon speaks.
    pub version: u16,
    /// Process of the daemon.
    pub daemon_pid: u32,
    /// Paths of the spools that can be submitted to; the first one is the default.
    pub spoolers: Vec<String>,
    /// Those of them that are outboxes: by which name tasks ask for each (`relay:ADDRESS`), and its path.
    pub relays: Vec<(String, String)>,
    /// What to import, in order.
    pub imports: Vec<Import>,
    /// In front of `sys.path`, in order.
    pub pythonpath: Vec<String>,
    /// Directory to change to before anything is imported.
    pub chdir: Option<String>,
    /// Directory to change to once everything is imported.
    pub chdir2: Option<String>,
    /// Directory to change to before each task; `None`: the task's folder.
    pub spooler_chdir: Option<String>,
    /// Environment variables to set.
    pub env: Vec<(String, String)>,
    /// Environment variables to remove.
    pub unenv: Vec<String>,
    /// Options as given, for `uwsgi.opt`; `None` for one without a value.
    pub opt: Vec<(String, Option<String>)>,
    /// Each option of caches, queues, metrics and locks, as often as it was given.
    pub shared: Vec<(String, Option<String>)>,
    /// The program of each mule, in order of their numbers; `None` for one that handles messages.
    ///
    /// Behind the settings come packets with descriptors: the memory in which mules say what they
    /// do, then the sending and the receiving end of each queue of messages: that for any mule, one
    /// for each mule, one for each farm.
    pub mules: Vec<Option<String>>,
    /// Each farm and the numbers of its mules.
    pub farms: Vec<(String, Vec<u32>)>,
    /// Default durability of submissions: `none`, `file` or `group`.
    pub durability: String,
    /// Seconds between retries, unless `retry` says something else.
    pub frequency: f64,
    /// What a worker needs whose daemon is gone.
    pub retry: Retry,
    /// Steps that processes of the application take, in order.
    pub hooks: Vec<Hook>,
    /// Seconds after which an exception is raised in a task.
    pub soft_time_limit: Option<f64>,
    /// Seconds after which a worker is killed whose task has not ended.
    pub harakiri: Option<f64>,
    /// Seconds after which a worker for ticks is ended whose own handler has not ended.
    pub handler_harakiri: Option<f64>,
    /// Bytes that a worker's address space may have.
    pub limit_as: Option<u64>,
    /// Processes that a worker's user may have.
    pub limit_nproc: Option<u64>,
    /// Whose tasks run, and who may use the spools.
    pub security: Security,
    /// How much a spool may hold.
    pub bounds: Bounds,
    /// How tasks are submitted to other machines.
    pub network: Network,
    /// Whether a generation of the application came before.
    pub is_a_reload: bool,
    /// Whether each worker imports the application itself, instead of having that of its zygote.
    pub own_import: bool,
    /// Whether to tell which source files were read.
    pub autoreload: bool,
    /// Modules whose files are left out of that.
    pub autoreload_ignore: Vec<String>,
    /// What processes say of their tasks.
    pub lines: Lines,
    /// What processes are called.
    pub titles: Titles,
    /// How requests are answered; `None`: there are no web workers.
    pub web: Option<Web>,
}

/// How web workers answer requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Web {
    /// How many there are.
    pub processes: u32,
    /// Requests that each of them answers at a time.
    pub threads: u32,
    /// What they accept on, in the order in which the descriptors come.
    pub sockets: Vec<WebSocket>,
    /// Bytes that the head of a request may have.
    pub buffer_size: u32,
    /// Bytes of a body above which it is read into a file before the application is called; 0: the
    /// application reads it as it comes.
    pub post_buffering: u64,
    /// Bytes that a body may have; 0: any number.
    pub limit_post: u64,
    /// Requests after which a worker leaves for another one; 0: never.
    pub max_requests: u64,
    /// How many more each one may answer than the one before it.
    pub max_requests_delta: u64,
    /// Seconds since its fork before which none leaves for its requests.
    pub lifetime_min: f64,
    /// Seconds that a client may take between two bytes that are waited for.
    pub socket_timeout: f64,
    /// Seconds that a client of HTTP may take for the head of a request.
    pub http_timeout: f64,
    /// Seconds that a connection may be idle between two requests; 0: it is closed after one.
    pub keep_alive: f64,
    /// Connections that a worker keeps at a time.
    pub connections: u32,
    /// Prefixes of paths that are files, and the directory of each.
    pub static_maps: Vec<(String, String)>,
    /// A line for each request.
    pub log_requests: bool,
    /// One for those that are answered with 400 to 499, without `log_requests` too.
    pub log_4xx: bool,
    /// One for those that are answered with 500 to 599, without `log_requests` too.
    pub log_5xx: bool,
    /// One for those that took so many milliseconds, without `log_requests` too.
    pub log_slow_ms: Option<u64>,
    /// Seconds that a request may take before its worker is killed; the daemon looks at that.
    pub harakiri: Option<f64>,
    /// What answers.
    pub application: Option<WebApplication>,
}

/// A socket that web workers accept on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebSocket {
    /// What is spoken on it.
    pub protocol: WebProtocol,
    /// Its address, as it may be shown.
    pub shown: String,
}

/// What clients of a web worker speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WebProtocol {
    /// Packets of uwsgi. Those that are no requests are handed over to the daemon.
    Uwsgi,
    /// HTTP/1.0 and HTTP/1.1.
    Http,
}

/// The application of web workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WebApplication {
    /// Its place among [`Setup::imports`].
    pub number: usize,
    /// The name of the callable in it; `None`: `application`. With `()` behind it a function that
    /// makes the callable.
    pub callable: Option<String>,
}

/// A step that a process of the application takes.
#[derive(Debug, Clone, Serialize)]
pub struct Hook {
    /// When: `pre-app` and `post-app` (around the import), `post-fork` (a worker for ticks has
    /// started), `as-mule`.
    pub phase: &'static str,
    /// `exec`, `print`, `chdir`, `write`, `append`, `writefifo`, `create`, `unlink`, `mkdir`, `chmod`,
    /// `chown`, `putenv` or `exit`.
    pub action: &'static str,
    /// What that takes, texts; a mode is octal.
    pub arguments: Vec<String>,
    /// The option as it may be shown.
    pub shown: String,
}

/// How tasks are submitted to other machines: paths of files.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Network {
    /// Keys, of which the first is proved.
    pub keys: Option<String>,
    /// Certificates of the authorities that are trusted.
    pub ca: Option<String>,
    /// The own certificate.
    pub certificate: Option<String>,
    /// Its key.
    pub certificate_key: Option<String>,
}

/// Whose tasks run, and who may use the spools.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Security {
    /// The file of keys; with one, tasks that none of them signed are refused.
    pub keys: Option<String>,
    /// Users whose files count as signed.
    pub unsigned_uids: Vec<u32>,
    /// The mode of task files in a spool that is made; `None`: 0600.
    pub mode: Option<u32>,
    /// The group of a spool that is made.
    pub group: Option<u32>,
    /// A spool in which others can write is refused.
    pub strict: bool,
    /// Pickles of tasks that anybody may have sent over the network are loaded.
    pub network_pickle: bool,
}

/// When tasks that failed run again.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Retry {
    /// Seconds between attempts.
    pub delay: f64,
    /// Failed attempts after which a task that asks to run again is buried; 0: never.
    pub max_retries: u8,
    /// The failed attempt from which on the delay doubles; 0: never.
    pub backoff_from: u8,
    /// Seconds that it grows to.
    pub backoff_max: f64,
}

/// How much a spool may hold; 0 is no bound.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Bounds {
    /// Tasks that may be pending.
    pub max_pending: u64,
    /// Bytes of their files.
    pub max_pending_bytes: String,
    /// What stays free of the disk: bytes, or a share with `%`.
    pub min_free: String,
}

/// Whether and how processes write uWSGI's log lines.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Lines {
    /// They do.
    pub uwsgi: bool,
    /// But for those of each task.
    pub quiet: bool,
    /// The format of strftime of the time in front; `None` is no time.
    pub date: Option<String>,
}

/// Titles of processes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Titles {
    /// The title of all; `None`: a name for each kind.
    pub name: Option<String>,
    /// In front of it.
    pub prefix: String,
    /// Behind it.
    pub append: String,
}

/// One import.
#[derive(Debug, Clone, Serialize)]
pub struct Import {
    /// `shared-import`, `import`, `module`, `wsgi-file` or `spooler-import`.
    pub kind: String,
    /// Dotted name or path.
    pub target: String,
    /// Name of the callable in a `module`.
    pub callable: Option<String>,
}

/// Zygote to supervisor.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FromZygote {
    /// Source files that the import has read. Some of these precede `Ready` if they were asked for.
    Sources {
        /// A part of them.
        sources: Vec<Source>,
    },
    /// File monitors that the application registered. Some of these may precede `Ready`.
    Monitors {
        /// A part of them.
        monitors: Vec<MonitorSpec>,
    },
    /// Everything is imported, or was tried to be.
    Ready(Box<Ready>),
    /// A worker was forked.
    Forked {
        /// Its number.
        worker: u32,
        /// Its process.
        pid: u32,
    },
    /// A worker could not be forked.
    Failed {
        /// Its number.
        worker: u32,
        /// Why.
        error: String,
    },
}

/// What the application registered while it was imported.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Ready {
    /// Task functions by name.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Signals that have a handler.
    #[serde(default)]
    pub signals: Vec<SignalSpec>,
    /// Imports that failed.
    #[serde(default)]
    pub failures: Vec<ImportFailure>,
    /// The places of all that failed in [`Setup::imports`].
    #[serde(default)]
    pub failed: Vec<usize>,
    /// Timers.
    #[serde(default)]
    pub timers: Vec<TimerSpec>,
    /// Crons.
    #[serde(default)]
    pub crons: Vec<CronSpec>,
    /// Names of threads that the import left running.
    #[serde(default)]
    pub threads: Vec<String>,
    /// What else a user should hear about the application, a sentence each.
    #[serde(default)]
    pub remarks: Vec<String>,
}

/// An import that failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImportFailure {
    /// What was imported.
    pub target: String,
    /// The traceback.
    pub traceback: String,
}

/// A signal and where its handler runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SignalSpec {
    /// Its number.
    pub signal: u8,
    /// As registered; uWSGI's words.
    pub target: String,
    /// The function that handles it, with its module; empty where nobody knows.
    #[serde(default)]
    pub handler: String,
}

/// A registered timer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TimerSpec {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    /// Its interval.
    pub seconds: f64,
    /// How often it fires; 0: for ever.
    #[serde(default)]
    pub iterations: u64,
}

/// A registered file monitor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MonitorSpec {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    /// A file or a directory, absolute.
    pub path: String,
    /// Its modification time and length when it was registered; `None` if nothing was there.
    #[serde(default)]
    pub state: Option<(i64, u64)>,
}

/// A source file as it was when Python read it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Source {
    /// Absolute.
    pub path: String,
    /// Its modification time.
    pub mtime_ns: i64,
    /// Its length.
    pub bytes: u64,
}

/// A registered cron, in uWSGI's numbers: -1 is any, -N is every N.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CronSpec {
    /// The uwsgi signal that it raises.
    pub signal: u8,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 1 to 31.
    pub day: i32,
    /// 1 to 12.
    pub month: i32,
    /// 0 to 7, Sunday is 0 or 7.
    pub weekday: i32,
}
