//! What the binary decides before it starts the daemon.

use std::path::PathBuf;
use std::time::Duration;

use unspool_spool::SpoolDir;
use unspool_wire::control::Setup;

/// Everything that a daemon needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The spools that it runs.
    pub spools: Vec<SpoolSettings>,
    /// How it gets its workers.
    pub zygote: ZygoteSettings,
    /// The mules.
    pub mules: MuleSettings,
    /// How long a stop waits for running tasks.
    pub stop_timeout: Duration,
}

/// One spool.
#[derive(Debug)]
pub struct SpoolSettings {
    /// The open directory.
    pub dir: SpoolDir,
    /// Worker processes, at least one.
    pub workers: u32,
    /// Time between retries of a task, and between scans where the system sends no events.
    pub frequency: Duration,
    /// How long a file that is no whole task is left alone before it goes to `corrupt/`.
    pub settle: Duration,
    /// What becomes of old tasks at the first start.
    pub adopt: AdoptSettings,
    /// No log line for each task that is done.
    pub quiet: bool,
}

/// What the mules have in common; which there are is part of the zygote's setup.
#[derive(Debug, Clone, Copy)]
pub struct MuleSettings {
    /// How long one may take for a message.
    pub harakiri: Option<Duration>,
    /// How long one may take to end at a reload or a stop.
    pub reload_mercy: Duration,
    /// Bytes that a queue of messages holds.
    pub queue_bytes: usize,
}

/// What the configuration says about tasks that uWSGI left behind.
#[derive(Debug, Clone, Copy)]
pub struct AdoptSettings {
    /// `spooler-ordered`: uWSGI ran folders that are numbers.
    pub ordered: bool,
    /// How long a task must be overdue to count as old.
    pub age: Duration,
    /// What is decided; `None` asks.
    pub choice: Option<AdoptChoice>,
}

/// A decision about all old tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptChoice {
    /// They run like any other.
    Run,
    /// They stay where they are.
    Hold,
    /// They go to `dead/`.
    Bury,
}

/// The process that imports the application and forks workers.
#[derive(Debug)]
pub struct ZygoteSettings {
    /// The Python interpreter.
    pub python: PathBuf,
    /// What it imports.
    pub setup: Setup,
}
