//! What becomes of a task whose attempt failed: counted, recorded, put off or buried.
//!
//! On the way to another attempt nothing needs a new file or a rename, so that a full disk cannot
//! stop it: the record and the move to `dead/` may fail, and the task stays.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use tracing::field::display;
use tracing::warn;
use unspool_core::RetryPolicy;
use unspool_core::taskfile::TaskId;
use unspool_spool::{
    Attempt, Ending, SpoolDir, bury_claimed, count_deaths, count_failure, note_attempt, postpone,
    read_attempts, recorded_names,
};
use unspool_sys::process::Exit;
use unspool_sys::{clock, host};
use unspool_wire::task::Report;

use super::Dispatcher;
use super::hand_out::unlock;
use super::outcome::{attempt_of, function_of, id_of};
use super::worker::Held;
use crate::events::Cause;
use crate::journal::journal;

/// When a task is looked at again that could not be moved to `dead/`.
const BURY_AGAIN_NS: i64 = 60_000_000_000;
/// Tasks whose failures are kept in memory because they could not be written down.
const UNWRITTEN_MAX: usize = 65_536;

const EXPIRED: &str = "it was not started before it expired";
const LOST: &str = "its worker and its daemon vanished while it ran";

/// Failures that no file tells of.
#[derive(Debug, Clone, Copy, Default)]
struct Unwritten {
    /// All failed attempts.
    attempts: u8,
    /// Deaths that the record lacks.
    deaths: u8,
}

/// Records whose names are known. Beyond that, each task that is done is looked up.
const RECORDED_MAX: usize = 65_536;

/// What is known of failures besides what the files of tasks tell.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Those that could not be written down, by the task's inode.
    unwritten: BTreeMap<u64, Unwritten>,
    /// Names of tasks that have a record.
    recorded: BTreeSet<Vec<u8>>,
}

impl Failures {
    /// Learns which tasks have a record.
    pub(super) fn read(dir: &SpoolDir) -> Self {
        let recorded = recorded_names(dir, RECORDED_MAX).unwrap_or_else(|error| {
            warn!(%error, "cannot list the records of failed tasks");
            Vec::new()
        });
        Self { unwritten: BTreeMap::new(), recorded: recorded.into_iter().collect() }
    }

    fn may_be_recorded(&self, name: &[u8]) -> bool {
        self.recorded.len() >= RECORDED_MAX || self.recorded.contains(name)
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) ending: Ending,
    pid: u32,
    duration_ns: Option<u64>,
    /// What went wrong: in a line, or with a traceback before that line.
    text: String,
    /// The traceback of a worker that died.
    last_words: String,
    output: String,
    peak_rss: Option<u64>,
}

impl Failure {
    /// One that the worker told of.
    pub(super) fn reported(ending: Ending, pid: u32, report: Report) -> Self {
        let text = match ending {
            Ending::Retry => "it asked to run again".to_owned(),
            _ => report.text,
        };
        let peak_rss = (report.peak_rss > 0).then_some(report.peak_rss);
        let duration_ns = Some(report.duration_ns);
        Self {
            ending,
            pid,
            duration_ns,
            text,
            last_words: String::new(),
            output: report.output,
            peak_rss,
        }
    }

    /// One of which nothing more is known.
    fn bare(ending: Ending, pid: u32, text: &str) -> Self {
        let (text, last_words, output) = (text.to_owned(), String::new(), String::new());
        Self { ending, pid, duration_ns: None, text, last_words, output, peak_rss: None }
    }

    fn log(&self, subject: &Subject, attempt: u8, again_s: Option<f64>) {
        let Subject { task, function, id } = subject;
        let id = id.map(display);
        let (pid, ms) = (self.pid, self.duration_ns.map(|ns| ns as f64 / 1e6));
        if self.ending.is_death() {
            journal!(
                TASK_FAILED, %task, %function, pid, attempt, again_s, ms, error = self.text, id,
                "task failed: {}", self.text
            );
        } else {
            journal!(
                TASK_FAILED, %task, %function, pid, attempt, again_s, ms, detail = self.text, id,
                "task failed"
            );
        }
    }
}

/// A task, as the log names it.
struct Subject {
    task: String,
    function: String,
    id: Option<TaskId>,
}

/// How the worker of a task ended.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) pid: u32,
    pub(super) exit: Exit,
    pub(super) cause: Cause,
    pub(super) running_ns: Option<u64>,
    pub(super) output: String,
    /// The traceback that it wrote as it died.
    pub(super) last_words: String,
    pub(super) peak_rss: Option<u64>,
}

impl Death {
    pub(super) fn new(exit: Exit, cause: Cause, peak_rss: Option<u64>) -> Self {
        Self {
            pid: 0,
            exit,
            cause,
            running_ns: None,
            output: String::new(),
            last_words: String::new(),
            peak_rss,
        }
    }

    /// What it is for the task that ran; `None`: an interruption, which does not count.
    pub(super) fn failure(&self) -> Option<Failure> {
        let (ending, text) = match &self.cause {
            Cause::Interrupted { .. } | Cause::Cancelled => return None,
            Cause::Limit { why } => (Ending::Killed, format!("its worker was killed: {why}")),
            Cause::OutOfMemory => {
                (Ending::Oom, "the kernel killed its worker for want of memory".to_owned())
            }
            Cause::Own => (Ending::Died, format!("its worker {}", self.exit)),
        };
        Some(self.as_failure(ending, text))
    }

    fn as_failure(&self, ending: Ending, text: String) -> Failure {
        Failure {
            ending,
            pid: self.pid,
            duration_ns: self.running_ns,
            text,
            last_words: self.last_words.clone(),
            output: self.output.clone(),
            peak_rss: self.peak_rss,
        }
    }
}

fn failed_attempts(count: u8) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} attempt{plural} failed")
}

impl Dispatcher {
    /// Learns the last that a dead worker printed, and shows the traceback that it died with.
    pub(super) fn read_tail(&self, row: usize, death: &mut Death) {
        let Some(tail) = self.tails.row(row) else { return };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        death.output = text(tail.output());
        death.last_words = text(tail.last_words());
        if !death.last_words.is_empty() {
            let detail = death.last_words.trim_end();
            journal!(
                WORKER_LAST_WORDS,
                pid = death.pid,
                detail,
                "a worker told what its threads did as it died"
            );
        }
    }

    /// How often a task may fail, and when it runs again.
    pub(super) fn policy_of(&self, held: &Held) -> RetryPolicy {
        let spool = RetryPolicy { delay_ns: self.retry_delay_ns(), ..self.retry };
        spool.with(&held.claim.asked())
    }

    /// Nanoseconds between attempts: `spooler-frequency`, which the application may change.
    fn retry_delay_ns(&self) -> i64 {
        self.retry_delay_ns.unwrap_or(self.frequency_ns)
    }

    fn subject(&self, held: &Held) -> Subject {
        Subject { task: self.display(held.key), function: function_of(held), id: held.claim.id }
    }

    /// Counts a failed attempt, records it, and puts the task off or buries it.
    pub(super) fn failed(&mut self, held: Held, failure: Failure) {
        let subject = self.subject(&held);
        self.tally.failed(&subject.task, &subject.function, &failure.text);
        if failure.ending.is_death() {
            self.tally.outcomes.died += 1;
        }
        let policy = self.policy_of(&held);
        let attempt = self.attempts_of(&held).saturating_add(1);
        let limit = self.passed_limit(&held, &failure, &policy, attempt);
        let random = host::random::<4>().map_or(0, u32::from_ne_bytes);
        let delay_ns = policy.delay_after(attempt, random);
        let due_ns = self.now_ns().saturating_add(delay_ns);
        let again_s = limit.is_none().then_some(delay_ns as f64 / 1e9);
        // Before the log tells of it: who reads that may look for the record and the count.
        self.record(&held, &failure, attempt, limit.is_none().then_some(due_ns));
        let Some(why) = limit else {
            self.count(held, attempt, due_ns);
            return failure.log(&subject, attempt, again_s);
        };
        failure.log(&subject, attempt, again_s);
        self.bury(held, attempt, &why);
    }

    /// Which limit a task has passed with this attempt.
    fn passed_limit(
        &self,
        held: &Held,
        failure: &Failure,
        policy: &RetryPolicy,
        attempt: u8,
    ) -> Option<String> {
        let over = |limit: u8| limit != 0 && attempt >= limit;
        if failure.ending == Ending::Retry {
            return over(policy.retries_max).then(|| format!("it asked {attempt} times"));
        }
        if failure.ending.is_death() && policy.deaths_max != 0 {
            let deaths = self.deaths_of(held).saturating_add(1);
            if deaths >= policy.deaths_max {
                return Some(format!("{deaths} of its workers died"));
            }
        }
        over(policy.attempts_max).then(|| failed_attempts(attempt))
    }

    /// Whether a task that was just claimed must not run any more: if so, what became of it is done.
    pub(super) fn is_given_up(&mut self, held: Held) -> Option<Held> {
        if self.lost.others_changed() {
            self.lost.look(&self.dir, self.scanner.is_running());
        }
        if !self.lost.is_empty()
            && let Some(run) = self.lost.take(&self.dir, &held.claim.stat)
        {
            if run.cancelled {
                self.cancelled_and_lost(held, run.pid);
            } else {
                self.failed(held, Failure::bare(Ending::Lost, run.pid, LOST));
            }
            return None;
        }
        let attempts = self.attempts_of(&held);
        if held.claim.asked().is_expired(clock::now_ns()) && !self.was_started(&held) {
            let name = self.index.name(held.key).map(|(_, name)| name).unwrap_or_default();
            // Once, also where it cannot be moved and is looked at again.
            if !self.failures.recorded.contains(&name) {
                self.tally.outcomes.expired += 1;
                self.record(&held, &Failure::bare(Ending::Expired, 0, EXPIRED), attempts, None);
            }
            self.bury(held, attempts, EXPIRED);
            return None;
        }
        if attempts == 0 {
            return Some(held);
        }
        // Its last attempt was counted, and then something came between.
        match self.spent(&held, attempts) {
            Some(why) => {
                self.bury(held, attempts, &why);
                None
            }
            None => Some(held),
        }
    }

    /// Whether a task has run before: one that has does not expire.
    fn was_started(&self, held: &Held) -> bool {
        if self.attempts_of(held) > 0 {
            return true;
        }
        let Some((_, name)) = self.index.name(held.key) else { return false };
        // An interruption counts in no file but its record. So does that somebody wants it to be tried
        // again, of which this daemon has not heard.
        read_attempts(self.dir.view(), &name)
            .is_ok_and(|attempts| attempts.iter().any(|attempt| attempt.outcome != Ending::Expired))
    }

    /// Which limit the failed attempts of a task have reached.
    fn spent(&self, held: &Held, attempts: u8) -> Option<String> {
        let policy = self.policy_of(held);
        let over = |limit: u8| limit != 0 && attempts >= limit;
        if over(policy.attempts_max) {
            return Some(failed_attempts(attempts));
        }
        // The rest only the record tells.
        if over(policy.deaths_max) && self.deaths_of(held) >= policy.deaths_max {
            return Some(format!("{} of its workers died", self.deaths_of(held)));
        }
        let asked = || {
            let (_, name) = self.index.name(held.key)?;
            Some(read_attempts(self.dir.view(), &name).ok()?.last()?.outcome == Ending::Retry)
        };
        let retried = over(policy.retries_max) && asked() == Some(true);
        retried.then(|| format!("it asked {attempts} times"))
    }

    /// A stop or a reload ended the task's worker: it runs again, and that is no failure of its own.
    pub(super) fn interrupted(&mut self, held: Held, death: &Death) {
        let by = match death.cause {
            Cause::Interrupted { by } => by,
            // It ran a task that was cancelled, and began this one as it was killed.
            _ => "the cancellation of another task",
        };
        let (task, function) = (self.display(held.key), function_of(&held));
        self.tally.outcomes.interrupted += 1;
        journal!(
            TASK_INTERRUPTED, %task, %function, pid = death.pid, attempt = attempt_of(&held),
            id = id_of(&held),
            "task interrupted by {by}; it runs again"
        );
        let failure = death.as_failure(Ending::Interrupted, format!("interrupted by {by}"));
        let attempt = self.attempts_of(&held);
        self.record(&held, &failure, attempt, Some(clock::now_ns()));
        unlock(&held);
        self.index.put_back(held.key);
    }

    /// Failed attempts of a task, also those that could not be written into its file.
    fn attempts_of(&self, held: &Held) -> u8 {
        let unwritten = self.failures.unwritten.get(&held.claim.stat.inode);
        held.claim.attempts.max(unwritten.map_or(0, |unwritten| unwritten.attempts))
    }

    fn deaths_of(&self, held: &Held) -> u8 {
        let unwritten = self.failures.unwritten.get(&held.claim.stat.inode);
        let recorded = self.index.name(held.key).and_then(|(_, name)| {
            count_deaths(&self.dir, &name).map(|deaths| deaths.min(255) as u8).ok()
        });
        recorded.unwrap_or(0).saturating_add(unwritten.map_or(0, |unwritten| unwritten.deaths))
    }

    /// Counts a failed attempt in the task's file and puts it off. What cannot be written is kept in
    /// memory.
    fn count(&mut self, mut held: Held, attempt: u8, due_ns: i64) {
        let noted = count_failure(held.claim.file.as_fd(), attempt - 1, due_ns);
        let inode = held.claim.stat.inode;
        if noted.is_err() {
            self.remember(inode, |unwritten| unwritten.attempts = attempt);
        } else if let Some(unwritten) = self.failures.unwritten.get_mut(&inode) {
            unwritten.attempts = 0;
            if unwritten.deaths == 0 {
                self.failures.unwritten.remove(&inode);
            }
        }
        held.claim.attempts = attempt;
        self.put_off(held, due_ns, noted.map(|_| ()));
    }

    fn remember(&mut self, inode: u64, change: impl FnOnce(&mut Unwritten)) {
        if self.failures.unwritten.len() < UNWRITTEN_MAX {
            change(self.failures.unwritten.entry(inode).or_default());
        }
    }

    /// Writes an attempt into the task's record, as far as there is room.
    fn record(&mut self, held: &Held, failure: &Failure, attempt: u8, again_ns: Option<i64>) {
        let Some((lane, name)) = self.index.name(held.key) else { return };
        let function = held.claim.function.as_deref().unwrap_or_default();
        let mut attempt = Attempt {
            duration: failure.duration_ns.map(|ns| ns as f64 / 1e9),
            host: self.dir.host(),
            pid: failure.pid,
            function: String::from_utf8_lossy(function).into_owned(),
            output: failure.output.clone(),
            peak_rss: failure.peak_rss,
            ..Attempt::ended(failure.ending, attempt, clock::now_ns(), &failure.text)
        }
        .of_priority(self.index.priority(lane));
        if attempt.traceback.is_empty() {
            attempt.traceback.clone_from(&failure.last_words);
        }
        if let Some(due_ns) = again_ns {
            attempt = attempt.again_at(due_ns);
        }
        let noted = note_attempt(&self.dir, &name, &attempt);
        if self.failures.recorded.len() < RECORDED_MAX {
            self.failures.recorded.insert(name);
        }
        if let Err(error) = noted {
            let task = self.display(held.key);
            journal!(
                TASK_UNRECORDED, %task, %error, id = id_of(held),
                "cannot write the record of an attempt; the task is not affected"
            );
            if failure.ending.is_death() {
                self.remember(held.claim.stat.inode, |unwritten| {
                    unwritten.deaths = unwritten.deaths.saturating_add(1);
                });
            }
        }
    }

    /// Moves a task to `dead/`. One that cannot be moved stays, and does not run.
    fn bury(&mut self, held: Held, attempts: u8, why: &str) {
        let Some((lane, name)) = self.index.name(held.key) else { return unlock(&held) };
        let Some(Some(folder)) = self.folders.get(lane as usize) else { return unlock(&held) };
        let Subject { task, function, id } = self.subject(&held);
        let id = id.map(display);
        match bury_claimed(&self.dir, folder, &name, &held.claim.file) {
            Ok(Some(buried)) => {
                self.tally.outcomes.dead += 1;
                let path = buried.path.display();
                if why == EXPIRED {
                    journal!(
                        TASK_EXPIRED, %task, %function, attempts, error = why, id, moved_to = %path,
                        "task given up: {why}"
                    );
                } else {
                    journal!(
                        TASK_BURIED, %task, %function, attempts, error = why, id, moved_to = %path,
                        "task given up: {why}"
                    );
                }
                if let Some(error) = buried.incomplete {
                    journal!(
                        TASK_UNRECORDED, %task, %error, id,
                        "its record or its count could not follow it"
                    );
                }
                self.failures.unwritten.remove(&held.claim.stat.inode);
                self.failures.recorded.remove(&name);
                unlock(&held);
                self.index.remove(held.key);
            }
            Ok(None) => {
                unlock(&held);
                self.index.remove(held.key);
            }
            Err(error) => {
                let due_ns = self.now_ns() + BURY_AGAIN_NS;
                if attempts > 0 {
                    self.count(held, attempts, due_ns);
                } else {
                    let noted = postpone(held.claim.file.as_fd(), due_ns);
                    self.put_off(held, due_ns, noted);
                }
                let again_s = BURY_AGAIN_NS / 1_000_000_000;
                journal!(TASK_UNBURIED,
                    %task, %function, %error, again_s, id,
                    "task is to be given up ({why}) and cannot be moved to dead/: it stays, and does \
                     not run"
                );
            }
        }
    }

    /// A task that is done needs no record of earlier attempts.
    pub(super) fn forget_attempts(&mut self, held: &Held) {
        let unwritten = &mut self.failures.unwritten;
        let failed = held.claim.attempts > 0
            || (!unwritten.is_empty() && unwritten.remove(&held.claim.stat.inode).is_some());
        if !failed && self.failures.recorded.is_empty() {
            return;
        }
        let Some((_, name)) = self.index.name(held.key) else { return };
        if !failed && !self.failures.may_be_recorded(&name) {
            return;
        }
        self.failures.recorded.remove(&name);
        if let Err(error) = unspool_spool::forget_attempts(&self.dir, &name) {
            let task = self.display(held.key);
            journal!(
                TASK_UNRECORDED, %task, %error, id = id_of(held),
                "cannot remove the record of a task that is done"
            );
        }
    }
}
