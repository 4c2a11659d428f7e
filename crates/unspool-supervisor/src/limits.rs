//! What limits workers, as the binary decides it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// How much longer the worker with the next number lasts, from the first one on.
    pub lifetime_delta: Duration,
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

/// When the supervisor looks at running tasks next, on the monotonic clock. Dispatchers read it, so
/// that not every task with a limit of its own is a message.
#[derive(Debug, Clone)]
pub(crate) struct LookBy(Arc<AtomicU64>);

impl LookBy {
    pub(crate) fn never() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// Supervisor: whoever hands out a task from here on has to say so, if it is due before `at_ns`.
    pub(crate) fn set(&self, at_ns: u64) {
        self.0.store(at_ns, Ordering::SeqCst);
    }

    /// Dispatcher, behind the task's slot: whether the next look comes too late. It does not from
    /// then on: the caller tells the supervisor.
    pub(crate) fn is_too_late_for(&self, by_ns: u64) -> bool {
        self.0.fetch_min(by_ns, Ordering::SeqCst) > by_ns
    }
}
