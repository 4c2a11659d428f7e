//! What limits workers, as the binary decides it.

use std::time::Duration;

use unspool_core::Priority;

/// What limits workers. What is unset limits nothing.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Tasks after which a worker is replaced; 0 is never.
    pub max_tasks: u64,
    /// Signals that a worker handles count as tasks.
    pub signal_as_task: bool,
    /// How long a task may run, and the handler of a signal that is meant for a spooler.
    pub harakiri: Option<Duration>,
    /// How long other handlers of signals may run, those meant for uWSGI's web workers.
    pub handler_harakiri: Option<Duration>,
    /// After which a worker is replaced.
    pub lifetime: Option<Duration>,
    /// How much memory a worker may have.
    pub memory: MemoryLimits,
    /// How long a reload waits for a worker of the old application; `None`: as long as it takes.
    pub reload_mercy: Option<Duration>,
    /// How long the import of the application may take.
    pub import_timeout: Duration,
    /// No worker while there is no work.
    pub cheap: bool,
}

/// How much memory a worker may have, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryLimits {
    /// It is replaced once its task has ended: resident memory.
    pub reload_on_rss: Option<u64>,
    /// The same: address space.
    pub reload_on_as: Option<u64>,
    /// It is killed at once: resident memory.
    pub evil_reload_on_rss: Option<u64>,
    /// The same: address space.
    pub evil_reload_on_as: Option<u64>,
}

/// Workers that run the tasks of one priority only.
#[derive(Debug, Clone)]
pub struct Dedicated {
    /// The priority.
    pub priority: Priority,
    /// Worker processes, at least one.
    pub workers: u32,
}
