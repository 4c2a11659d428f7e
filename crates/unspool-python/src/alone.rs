//! A worker whose daemon is gone: it applies the outcome of its task as the daemon would have.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use unspool_core::{Outcome, RetryPolicy, TaskPolicy};
use unspool_spool::{Attempt, Ending, SpoolDir, count_failure, note_attempt, postpone};
use unspool_sys::{clock, host};
use unspool_wire::task::Report;

/// What a worker needs for that.
#[derive(Debug)]
pub(crate) struct Alone {
    /// `None`: a worker that runs no tasks.
    pub(crate) spool: Option<PathBuf>,
    pub(crate) frequency_ns: i64,
}

/// The task that ended, as it was claimed.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) file: &'a OwnedFd,
    pub(crate) attempts: u8,
    pub(crate) policy: TaskPolicy,
}

impl Alone {
    /// Counts and records an attempt that failed, and puts the task off. It is not buried here:
    /// whoever runs the spool next does, if this was its last attempt. What cannot be written is
    /// lost, and the task runs again at once: nobody is left who could be told.
    pub(crate) fn apply(&self, task: &Ended<'_>, report: &Report) {
        let policy = RetryPolicy::new(self.frequency_ns).with(&task.policy);
        let ending = match report.outcome {
            Some(Outcome::Failed) => Some(Ending::Exception),
            Some(Outcome::TimedOut) => Some(Ending::Timeout),
            Some(Outcome::Retry) => Some(Ending::Retry).filter(|_| policy.retries_max != 0),
            _ => return,
        };
        let failed = task.attempts.saturating_add(u8::from(ending.is_some()));
        let random = host::random::<4>().map_or(0, u32::from_ne_bytes);
        let due_ns = clock::now_ns().saturating_add(policy.delay_after(failed, random));
        let Some(ending) = ending else {
            let _ = postpone(task.file.as_fd(), due_ns);
            return;
        };
        let _ = count_failure(task.file.as_fd(), task.attempts, due_ns);
        if let Some(Ok(spool)) = self.spool.as_deref().map(SpoolDir::open) {
            let attempt = attempt(ending, failed, due_ns, report, spool.host());
            let _ = note_attempt(&spool, task.name, &attempt);
        }
    }
}

fn attempt(outcome: Ending, attempt: u8, due_ns: i64, report: &Report, host: String) -> Attempt {
    let line = report.text.lines().rev().find(|line| !line.trim().is_empty());
    let seconds = |ns: i64| (ns / 1_000_000) as f64 / 1e3;
    Attempt {
        attempt: u32::from(attempt),
        outcome,
        at: seconds(clock::now_ns()),
        duration: Some(report.duration_ns as f64 / 1e9),
        host,
        pid: host::pid(),
        function: String::new(),
        error: line.unwrap_or_default().trim().to_owned(),
        traceback: report.text.clone(),
        output: report.output.clone(),
        peak_rss: (report.peak_rss > 0).then_some(report.peak_rss),
        again_at: Some(seconds(due_ns)),
    }
}
