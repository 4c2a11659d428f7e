//! Cancelling: who asks for it, and the worker that is told and then killed.
//!
//! The dispatcher decides what becomes of the task. Here is what must not wait for a file system: the
//! signal, and the end of the grace.

use unspool_spool::Place;
use unspool_sys::clock;
use unspool_wire::cancel::{Cancel, Fate, GRACE_MAX};
use unspool_wire::request::Reply;

use super::Supervisor;
use super::requests::NoWait;
use crate::events::{CancelOrder, Cause, ToDispatcher, WorkerId};
use crate::journal::journal;

/// How long a client is kept beyond the grace: a worker has to be killed, and a file deleted.
const ANSWER_NS: u64 = 10_000_000_000;

/// A worker whose task was cancelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cancelling {
    slot: u8,
    /// When the task was started.
    since_ns: u64,
    /// When it is killed, on the monotonic clock.
    by_ns: u64,
    /// It had the signal.
    told: bool,
}

impl Supervisor {
    /// Somebody asks for a task to be cancelled; the dispatcher of the spool answers.
    pub(super) fn ask_to_cancel(
        &mut self,
        client: Option<u32>,
        cancel: Cancel,
        place: &[u8],
    ) -> Result<(), String> {
        let Some(client) = client else {
            return Err("to cancel takes a connection to the daemon's control socket".into());
        };
        if !(0.0..=GRACE_MAX).contains(&cancel.grace) {
            return Err(format!("{} s is no grace: give 0 to {GRACE_MAX}", cancel.grace));
        }
        let Some(place) = Place::parse(place) else {
            return Err(format!("`{}` is no task's place", String::from_utf8_lossy(place)));
        };
        let grace_ns = (cancel.grace * 1e9) as u64;
        let until_ns = clock::monotonic_ns() + grace_ns + ANSWER_NS;
        let spool = match self.requests.await_answer(client, until_ns, cancel.wait) {
            Ok(spool) => spool,
            Err(NoWait::Waits) => {
                return Err("one task at a time: wait for the answer, or connect once more".into());
            }
            Err(NoWait::Full) => {
                return Err(
                    "as many processes wait for cancelled tasks to end as may: cancel without \
                            waiting (`--no-wait`, `wait=False`), or try again later"
                        .into(),
                );
            }
        };
        let order = CancelOrder { client, place, grace_ns, wait: cancel.wait };
        let told = self.spools.get(spool).is_some_and(|s| s.tell(ToDispatcher::Cancel(order)));
        if told {
            return Ok(());
        }
        self.requests.awaits_no_more(client);
        Err("the spool's thread does not listen".into())
    }

    /// A dispatcher says what became of a task.
    pub(super) fn cancelled(&mut self, client: u32, answer: Result<Fate, String>) {
        if !self.requests.awaits_no_more(client) {
            return;
        }
        let reply = match answer {
            Ok(task) => Reply::Cancelled { task },
            Err(error) => Reply::Failed { error },
        };
        if !self.answer(client, &reply) {
            self.close_client(client);
        }
    }

    /// The task in a worker's slot is to end, and has a grace for that.
    pub(super) fn cancel_in(&mut self, id: WorkerId, slot: u8, by_ns: u64) {
        let Some(since_ns) = self.runs_cancelled(id, slot) else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // Of two who ask for the same, the less patient one counts.
        let known = worker.cancelling.filter(|known| known.since_ns == since_ns);
        let by_ns = known.map_or(by_ns, |known| known.by_ns.min(by_ns));
        let told = known.is_some_and(|known| known.told);
        worker.cancelling = Some(Cancelling { slot, since_ns, by_ns, told });
    }

    /// Tells workers that their tasks were cancelled, and kills those whose grace is over.
    pub(super) fn end_cancelled(&mut self) {
        let now_ns = clock::monotonic_ns();
        let mut overdue = Vec::new();
        let cancelling = self.workers.iter().filter_map(|(id, w)| Some((*id, w.cancelling?)));
        for (id, known) in cancelling.collect::<Vec<(WorkerId, Cancelling)>>() {
            let still = self.runs_cancelled(id, known.slot) == Some(known.since_ns);
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            let Some(cancelling) = worker.cancelling.as_mut().filter(|_| still) else {
                worker.cancelling = None;
                continue;
            };
            // A worker may run before the zygote has told its number.
            let Some(child) = &worker.child else { continue };
            if !std::mem::replace(&mut cancelling.told, true) {
                child.have_look();
            }
            if cancelling.by_ns <= now_ns {
                worker.cancelling = None;
                overdue.push(id);
            }
        }
        for id in overdue {
            let pid = self.pid_of(id);
            journal!(
                WORKER_KILLED,
                pid,
                "killing a worker: its task was cancelled, and does not end in time"
            );
            if let Some(worker) = self.workers.get_mut(&id).filter(|w| w.cause == Cause::Own) {
                worker.cause = Cause::Cancelled;
            }
            self.kill_worker(id);
        }
    }

    /// When the next grace is over.
    pub(super) fn next_cancel_ns(&self) -> Option<u64> {
        let known = self.workers.values().filter(|w| w.child.is_some());
        known.filter_map(|w| w.cancelling.map(|c| c.by_ns)).min()
    }

    /// Since when the worker runs a task in that slot that was cancelled, if it does.
    fn runs_cancelled(&self, id: WorkerId, slot: u8) -> Option<u64> {
        let slot = self.slots_of(self.workers.get(&id)?).get(usize::from(slot))?;
        let since_ns = slot.running_since()?;
        // A slot that is handed out anew is not marked.
        slot.is_cancelled().then_some(since_ns)
    }
}
