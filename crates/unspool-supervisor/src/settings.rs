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
    /// No log line for each task that is done.
    pub quiet: bool,
}

/// The process that imports the application and forks workers.
#[derive(Debug)]
pub struct ZygoteSettings {
    /// The Python interpreter.
    pub python: PathBuf,
    /// What it imports.
    pub setup: Setup,
}
