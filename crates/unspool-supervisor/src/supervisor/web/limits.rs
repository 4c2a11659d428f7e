//! How long requests may take.
//!
//! A thread says in its row since when it answers one. With `harakiri` a row that shows a request has an
//! exact deadline; one that begins later is not due before the limit has passed once more. A limit that a
//! request gives itself (`uwsgi.set_user_harakiri`) is seen within a second, as uWSGI's master sees it.

use std::time::Duration;

use super::super::Supervisor;
use super::Thread;
use crate::events::{Cause, WorkerId};
use crate::uwsgi_lines;

/// How often a limit is looked for that a request gives itself.
const LOOK_NS: u64 = 1_000_000_000;

/// A request that takes too long: which option says so, and how long it may.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Late {
    option: &'static str,
    limit: Duration,
}

/// What a look at a thread says: it is late, or when it may be.
fn judge(thread: Thread, limit: Option<Duration>, now_ns: u64) -> Result<u64, Late> {
    if thread.since_ns == 0 {
        return Ok(u64::MAX);
    }
    let own_ns = Some(thread.until_ns).filter(|until_ns| *until_ns != 0);
    if own_ns.is_some_and(|until_ns| until_ns <= now_ns) {
        let ns = thread.until_ns.saturating_sub(thread.since_ns);
        return Err(Late { option: "set_user_harakiri", limit: Duration::from_nanos(ns) });
    }
    let by_ns = limit.map(|limit| thread.since_ns.saturating_add(limit.as_nanos() as u64));
    if let (Some(by_ns), Some(limit)) = (by_ns, limit)
        && by_ns <= now_ns
    {
        return Err(Late { option: "harakiri", limit });
    }
    Ok(own_ns.unwrap_or(u64::MAX).min(by_ns.unwrap_or(u64::MAX)))
}

impl Supervisor {
    /// Kills web workers of which a request takes too long.
    pub(super) fn end_late_requests(&mut self, now_ns: u64) {
        if self.web.look_ns > now_ns {
            return;
        }
        let harakiri = self.web.plan.as_ref().and_then(|plan| plan.setup.harakiri);
        let limit = harakiri.and_then(|limit_s| Duration::try_from_secs_f64(limit_s).ok());
        let mut next_ns = now_ns + LOOK_NS;
        let mut late: Vec<(WorkerId, usize, Late)> = Vec::new();
        for (id, worker) in &self.web.processes {
            if self.workers.get(id).is_none_or(|w| w.child.is_none() || w.cause != Cause::Own) {
                continue;
            }
            for (at, thread) in self.web.threads_of(worker).into_iter().enumerate() {
                match judge(thread, limit, now_ns) {
                    Ok(by_ns) => next_ns = next_ns.min(by_ns),
                    Err(is_late) => {
                        // A row is not written at once: the request may have ended in the middle.
                        let again = self.web.threads_of(worker).get(at).copied();
                        if again.is_some_and(|again| {
                            again.since_ns == thread.since_ns
                                && judge(again, limit, now_ns) == Err(is_late)
                        }) {
                            late.push((*id, at, is_late));
                        }
                    }
                }
            }
        }
        self.web.look_ns = next_ns.max(now_ns + 1);
        for (id, core, is_late) in late {
            self.end_web_worker_for_time(id, core, is_late, now_ns);
        }
    }

    fn end_web_worker_for_time(&mut self, id: WorkerId, core: usize, late: Late, now_ns: u64) {
        // Several requests of it may be late.
        if self.workers.get(&id).is_none_or(|worker| worker.cause != Cause::Own) {
            return;
        }
        let number = self.web.number_of(id);
        if let Some(seat) = self.web.seat(number) {
            seat.harakiris += 1;
        }
        uwsgi_lines::harakiri_worker(number, self.pid_of(id), core);
        self.end_for_time(id, "a request", late.option, late.limit, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sums;
    use super::*;

    fn thread(since_ns: u64, until_ns: u64) -> Thread {
        Thread { since_ns, until_ns, sums: Sums::default() }
    }

    #[test]
    fn an_idle_thread_is_never_late() {
        assert_eq!(judge(thread(0, 0), Some(Duration::from_nanos(1)), 100), Ok(u64::MAX));
        assert_eq!(judge(thread(0, 50), None, 100), Ok(u64::MAX));
    }

    #[test]
    fn a_request_is_late_once_its_time_is_over() {
        let limit = Some(Duration::from_nanos(30));
        assert_eq!(judge(thread(70, 0), limit, 99), Ok(100));
        let late = Late { option: "harakiri", limit: Duration::from_nanos(30) };
        assert_eq!(judge(thread(70, 0), limit, 100), Err(late));
        assert_eq!(judge(thread(70, 0), None, 100), Ok(u64::MAX));
    }

    #[test]
    fn the_shorter_one_of_two_limits_counts() {
        let limit = Some(Duration::from_nanos(30));
        let own = Late { option: "set_user_harakiri", limit: Duration::from_nanos(10) };
        assert_eq!(judge(thread(70, 80), limit, 79), Ok(80));
        assert_eq!(judge(thread(70, 80), limit, 80), Err(own));
        let general = Late { option: "harakiri", limit: Duration::from_nanos(30) };
        assert_eq!(judge(thread(70, 500), limit, 100), Err(general));
    }
}
