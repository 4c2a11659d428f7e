//! The settings that all sources together amount to. Plain data: reading and judging them is done.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::bounds::BoundsOptions;
use crate::daemon::DaemonConfig;
use crate::hooks::Hooks;
use crate::network::NetworkOptions;
use crate::origin::{Entry, Origin};
use crate::programs::Programs;
use crate::retry::RetryOptions;
use crate::security::SecurityOptions;
use crate::stats::StatsOptions;
use crate::watch::Watched;
use crate::web::WebOptions;
use crate::workers::WorkerOptions;

/// One spool directory, as written or joined to the start directory; it may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooler {
    /// Absolute, not canonical. Of a relay its outbox.
    pub path: PathBuf,
    /// `relay:ADDRESS`: the address, as written; tasks are sent on to the spool there.
    pub relay: Option<String>,
    /// From `spooler-external`: tasks may be submitted to it, others run them.
    pub external: bool,
    pub origin: Origin,
}

impl Spooler {
    /// The option's name.
    pub fn option(&self) -> &'static str {
        if self.external { "spooler-external" } else { "spooler" }
    }

    /// What the option says: `relay:ADDRESS`, or the directory.
    pub fn name(&self) -> PathBuf {
        match &self.relay {
            Some(address) => format!("{}{address}", crate::relay::RELAY).into(),
            None => self.path.clone(),
        }
    }
}

/// How a piece of the application is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportKind {
    /// Once, before anything else.
    SharedImport,
    /// Before the application.
    Import,
    /// The application, by module name.
    Module,
    /// The application, by file name.
    WsgiFile,
    /// In each worker that runs tasks, after its fork.
    SpoolerImport,
}

impl ImportKind {
    /// The option's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SharedImport => "shared-import",
            Self::Import => "import",
            Self::Module => "module",
            Self::WsgiFile => "wsgi-file",
            Self::SpoolerImport => "spooler-import",
        }
    }
}

/// One piece of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub kind: ImportKind,
    /// A dotted module, or a file as written: its path decides the module's name.
    pub target: String,
    /// For the application: the name of its callable.
    pub callable: Option<String>,
    pub origin: Origin,
}

/// One mule: a process beside the workers that handles messages, or runs a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mule {
    /// A file (`script.py`) or a callable (`package.module:callable`); none handles messages.
    pub program: Option<String>,
    pub origin: Origin,
}

/// Mules that share a queue of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farm {
    pub name: String,
    /// Their numbers, from 1.
    pub mules: Vec<u32>,
    pub origin: Origin,
}

/// The options of caches, queues, metrics and locks.
const SHARED_STATE: &[&str] = &[
    "cache",
    "cache-blocksize",
    "cache-no-expire",
    "cache-store",
    "cache2",
    "enable-metrics",
    "locks",
    "metric",
    "queue",
    "queue-blocksize",
    "queue-store",
];

/// What to run, and how.
#[derive(Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one switch of uWSGI")]
pub struct Config {
    /// Every option in the order in which uWSGI keeps them, placeholders included.
    pub entries: Vec<Entry>,
    /// The files that were read, absolute, in order.
    pub config_files: Vec<PathBuf>,
    /// The same with the section that was asked for, each as often as it was read.
    pub config_sections: Vec<(PathBuf, String)>,
    /// The directory that relative paths were joined to.
    pub start_directory: PathBuf,

    pub spoolers: Vec<Spooler>,
    /// Worker processes per spool.
    pub spooler_processes: u32,
    /// Never zero.
    pub spooler_frequency: Duration,
    pub spooler_ordered: bool,
    /// Absolute.
    pub spooler_chdir: Option<PathBuf>,
    pub spooler_quiet: bool,
    /// Daemons of several machines may run one spool.
    pub spooler_shared_hosts: bool,
    /// What limits workers, and how many there are of them where not all spools have as many.
    pub workers: WorkerOptions,
    /// `none`, `file` or `group`.
    pub spooler_durability: String,
    /// How often a task that failed runs again, and when.
    pub retry: RetryOptions,
    /// How much a spool may hold.
    pub bounds: BoundsOptions,
    /// How long a torn file is left alone before it counts as damaged.
    pub spooler_settle: Duration,
    /// What becomes of old tasks at the first start: `run`, `hold` or `bury`; unset asks.
    pub spooler_adopt: Option<String>,
    /// How long a task must be overdue at the first start to count as old.
    pub spooler_adopt_age: Duration,
    /// How long running tasks may take to finish when the daemon stops.
    pub stop_timeout: Duration,

    /// Whose tasks run, and who may use the directories.
    pub security: SecurityOptions,
    /// Where the daemon listens and for whom, and what a client needs.
    pub network: NetworkOptions,
    /// What answers requests, and how.
    pub web: WebOptions,
    pub stats: StatsOptions,
    /// Numbered from 1 in this order.
    pub mules: Vec<Mule>,
    /// Numbered from 1 in this order.
    pub farms: Vec<Farm>,
    /// How long a mule may take for one message.
    pub mule_harakiri: Option<Duration>,
    /// How long a mule may take to end at a reload or a stop.
    pub mule_reload_mercy: Duration,
    /// Bytes that a queue of messages holds.
    pub mule_queue_bytes: u64,

    /// In the order in which uWSGI loads them.
    pub imports: Vec<Import>,
    /// Absolute, first one first in `sys.path`.
    pub pythonpath: Vec<PathBuf>,
    /// Absolute.
    pub virtualenv: Option<PathBuf>,
    /// Absolute; for the application's processes, before it is loaded.
    pub chdir: Option<PathBuf>,
    /// Absolute; for the application's processes, once it is loaded.
    pub chdir2: Option<PathBuf>,
    /// Variables to set for the application's processes, in order.
    pub env: Vec<(String, String)>,
    /// Variables to remove for the application's processes.
    pub unenv: Vec<String>,
    /// What `sys.argv` has behind its first item, with blanks between.
    pub pyargv: Option<String>,
    /// `show-config`: the options are to be printed at the start.
    pub show_config: bool,

    /// What is watched besides the spools.
    pub watched: Watched,

    /// The process and its log.
    pub daemon: DaemonConfig,
    /// What runs besides tasks.
    pub programs: Programs,
    /// Steps at moments of the daemon's life.
    pub hooks: Hooks,

    pub strict: bool,
    /// Set, or implied by a spool.
    pub master: bool,
    /// `lazy-apps` or `lazy`: load the application after the fork.
    pub lazy_apps: bool,
}

impl Config {
    /// The dictionary `uwsgi.opt`: each name once, in order of first appearance, with its last
    /// value. A flag that stands bare on the command line has none.
    pub fn opt(&self) -> Vec<(String, Option<String>)> {
        let mut positions = std::collections::HashMap::new();
        let mut options: Vec<(String, Option<String>)> = Vec::new();
        for entry in &self.entries {
            let at = *positions.entry(entry.name.as_str()).or_insert(options.len());
            match options.get_mut(at) {
                Some((_, value)) => value.clone_from(&entry.value),
                None => options.push((entry.name.clone(), entry.value.clone())),
            }
        }
        options
    }

    /// What the module `uwsgi` needs to know of caches, queues, metrics and locks: each time that
    /// such an option was given, in order.
    pub fn shared_state(&self) -> Vec<(String, Option<String>)> {
        self.entries
            .iter()
            .filter(|entry| SHARED_STATE.contains(&entry.name.as_str()))
            .map(|entry| (entry.name.clone(), entry.value.clone()))
            .collect()
    }

    /// The last value of an option, as the application sees it.
    pub fn option(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.name == name)
    }
}

/// What names the place and the application; values such as those of `env` may be secrets.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("config_files", &self.config_files)
            .field("start_directory", &self.start_directory)
            .field("spoolers", &self.spoolers)
            .field("imports", &self.imports)
            .finish_non_exhaustive()
    }
}
