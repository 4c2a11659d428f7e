//! Steps of the wall clock, which the machine's owner or a time service sets.
//!
//! Due times are times of files, so they are wall clock. But what waits for its next attempt waits
//! for a while and not for a time: when the clock is set, such tasks are moved with it.

use tracing::warn;
use unspool_spool::move_due;
use unspool_sys::clock;

use super::Dispatcher;
use crate::journal::journal;

/// Less is not worth moving anything.
const STEP_NS_MIN: i64 = 1_000_000_000;
/// Looks at the clocks, of which the quickest counts.
const LOOKS_MAX: u32 = 5;

/// Where the wall clock stood beside one that is never set, when that was last looked at.
#[derive(Debug)]
pub(super) struct Steps {
    offset_ns: i64,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self { offset_ns: offset_ns() }
    }

    /// By how much the clock was set since this was last asked, if it was.
    fn next(&mut self) -> Option<i64> {
        let before_ns = std::mem::replace(&mut self.offset_ns, offset_ns());
        let step_ns = self.offset_ns - before_ns;
        (step_ns.abs() >= STEP_NS_MIN).then_some(step_ns)
    }
}

fn offset_ns() -> i64 {
    let look = || {
        let (before_ns, wall_ns) = (clock::since_boot_ns(), clock::now_ns());
        (clock::since_boot_ns() - before_ns, wall_ns - before_ns)
    };
    // A thread that is kept waiting between two clocks sees no step.
    let (mut span_ns, mut offset_ns) = look();
    for _ in 1..LOOKS_MAX {
        if span_ns < STEP_NS_MIN / 1000 {
            break;
        }
        (span_ns, offset_ns) = (span_ns, offset_ns).min(look());
    }
    offset_ns
}

impl Dispatcher {
    /// The wall clock, for all that has to do with due times. A step counts from [`heed_steps`] on:
    /// within a turn a wait that has begun on one side of it does not end on the other.
    ///
    /// [`heed_steps`]: Self::heed_steps
    pub(super) fn now_ns(&self) -> i64 {
        clock::since_boot_ns() + self.steps.offset_ns
    }

    /// Sees whether the clock was set. Call at the begin of each turn.
    pub(super) fn heed_steps(&mut self) {
        let Some(step_ns) = self.steps.next() else { return };
        let by_s = step_ns as f64 / 1e9;
        journal!(
            CLOCK_SET,
            by_s,
            "the machine's clock was set; tasks that wait to run again are moved with it"
        );
        for (key, due_ns) in self.index.waits() {
            let Some((lane, name)) = self.index.name(key) else { continue };
            let Some(Some(folder)) = self.folders.get(lane as usize) else { continue };
            let moved_ns = due_ns.saturating_add(step_ns);
            match move_due(folder, &name, due_ns, moved_ns) {
                Ok(true) => self.index.move_wait(key, moved_ns, self.now_ns()),
                // Somebody else has it, or has changed it: that is looked at like anything new.
                Ok(false) => {}
                Err(error) => {
                    let name = String::from_utf8_lossy(&name);
                    warn!(%name, %error, "cannot move the due time of a task with the clock");
                }
            }
        }
        if step_ns < 0 {
            // Those are looked at again at once: their waits are short.
            self.index.release_held(self.now_ns());
        }
        // What is not known, for want of memory, may be due by now.
        self.start_scan();
    }
}
