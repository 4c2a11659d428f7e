//! The limits of the task that this process runs, as far as the process keeps them itself.
//!
//! A timer tells the interpreter that a task is over its time, another one kills the process where
//! the daemon should have and is not there any more. Who is told looks here whether it is meant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use unspool_core::TaskPolicy;
use unspool_sys::clock;
use unspool_sys::timer::{self, Alarm, Timer};

use crate::cancelled;

/// How long the daemon has to kill a worker before its own timer does.
const KILL_GRACE_NS: u64 = 10_000_000_000;

/// When the running task is over its soft limit, on the monotonic clock; 0: it has none.
static SOFT_AT_NS: AtomicU64 = AtomicU64::new(0);

/// The timers of a worker, made when the first task needs them.
#[derive(Debug)]
pub(crate) struct TaskLimits {
    soft: Option<Duration>,
    hard: Option<Duration>,
    soft_timer: Option<Timer>,
    kill_timer: Option<Timer>,
    set: bool,
}

fn shorter(a: Option<Duration>, own_ms: Option<u64>) -> Option<Duration> {
    let own = own_ms.filter(|ms| *ms > 0).map(Duration::from_millis);
    [a, own].into_iter().flatten().min()
}

fn nanoseconds(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

impl TaskLimits {
    /// With the limits that a spool has for all of its tasks.
    pub(crate) fn new(soft: Option<Duration>, hard: Option<Duration>) -> Self {
        Self { soft, hard, soft_timer: None, kill_timer: None, set: false }
    }

    /// A task begins. Its own limit counts where it is the shorter one.
    pub(crate) fn begin(&mut self, policy: &TaskPolicy, started_ns: u64) -> std::io::Result<()> {
        let soft = shorter(self.soft, policy.soft_limit_ms).map(nanoseconds);
        let hard = shorter(self.hard, policy.time_limit_ms).map(nanoseconds);
        if let Some(soft_ns) = soft {
            SOFT_AT_NS.store(started_ns + soft_ns, Ordering::Release);
            set(&mut self.soft_timer, Alarm::Signal(timer::look_signal()), soft_ns.max(1))?;
        }
        if let Some(hard_ns) = hard {
            set(&mut self.kill_timer, Alarm::Kill, hard_ns + KILL_GRACE_NS)?;
        }
        self.set = soft.is_some() || hard.is_some();
        Ok(())
    }

    /// The task has ended.
    pub(crate) fn end(&mut self) {
        if !std::mem::take(&mut self.set) {
            return;
        }
        SOFT_AT_NS.store(0, Ordering::Release);
        for timer in [&self.soft_timer, &self.kill_timer].into_iter().flatten() {
            // A timer that exists can be set.
            let _ = timer.set(0);
        }
    }
}

fn set(timer: &mut Option<Timer>, alarm: Alarm, after_ns: u64) -> std::io::Result<()> {
    match timer {
        Some(timer) => timer.set(after_ns),
        None => timer.insert(Timer::new(alarm)?).set(after_ns),
    }
}

/// Whether the running task is over its soft limit. Only once: the next call for it says no.
#[pyfunction]
pub(crate) fn take_soft_timeout() -> bool {
    let at_ns = SOFT_AT_NS.load(Ordering::Acquire);
    at_ns != 0
        && at_ns <= clock::monotonic_ns()
        && SOFT_AT_NS.compare_exchange(at_ns, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// The handler of the running task has returned: it is not told of its limit any more, nor that it was
/// cancelled.
#[pyfunction]
pub(crate) fn handler_returned() {
    cancelled::end();
    SOFT_AT_NS.store(0, Ordering::Release);
}

/// The signal that asks a worker to look whether its task is over its time or cancelled.
#[pyfunction]
pub(crate) fn look_signal() -> i32 {
    timer::look_signal()
}
