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
    /// How often the spool lets tasks fail.
    pub(crate) policy: RetryPolicy,
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
    /// Whether a task that asks to run again has a limit.
    pub(crate) fn counts_retries(&self, policy: &TaskPolicy) -> bool {
        self.policy.with(policy).retries_max != 0
    }

    /// Counts and records an attempt that failed, and puts the task off. It is not buried here:
    /// whoever runs the spool next does, if this was its last attempt. What cannot be written is
    /// lost, and the task runs again at once: nobody is left who could be told.
    pub(crate) fn apply(&self, task: &Ended<'_>, report: &Report) {
        let policy = self.policy.with(&task.policy);
        let now_ns = clock::now_ns();
        let ending = match report.outcome {
            Some(Outcome::Failed) => Ending::Exception,
            Some(Outcome::TimedOut) => Ending::Timeout,
            Some(Outcome::Retry) if policy.retries_max != 0 => Ending::Retry,
            Some(Outcome::Retry) => {
                let _ = postpone(task.file.as_fd(), now_ns.saturating_add(policy.delay_ns));
                return;
            }
            _ => return,
        };
        let failed = task.attempts.saturating_add(1);
        let random = host::random::<4>().map_or(0, u32::from_ne_bytes);
        let due_ns = now_ns.saturating_add(policy.delay_after(failed, random));
        let _ = count_failure(task.file.as_fd(), task.attempts, due_ns);
        if let Some(Ok(spool)) = self.spool.as_deref().map(SpoolDir::open) {
            let attempt = Attempt {
                duration: Some(report.duration_ns as f64 / 1e9),
                host: spool.host(),
                pid: host::pid(),
                output: report.output.clone(),
                peak_rss: (report.peak_rss > 0).then_some(report.peak_rss),
                ..Attempt::ended(ending, failed, now_ns, &report.text).again_at(due_ns)
            };
            let _ = note_attempt(&spool, task.name, &attempt);
        }
    }
}
