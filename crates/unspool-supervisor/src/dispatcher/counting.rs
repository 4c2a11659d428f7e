//! What the dispatcher tells submitters about how many tasks are pending, where somebody wants to know.
//!
//! Submitters add what they submit; here the count is set to what is there, at most every 10 ms and only
//! while something happens. Until the first scan is over nothing is told, and submitters list the spool.

use tracing::warn;
use unspool_core::limits::COUNT_SET_EVERY_NS;
use unspool_spool::{Keeper, Pending, SpoolDir};
use unspool_sys::clock;

/// Times in a row that the lock was another's, up to which the wait for it doubles: to 0.64 s.
const MISSED_MAX: u32 = 6;

/// The state of telling.
#[derive(Debug, Default)]
pub(super) struct Counting {
    keeper: Option<Keeper>,
    /// The index as it was told last.
    told: Option<u32>,
    told_ns: u64,
    /// How often in a row it could not be told, since somebody else held the lock.
    missed: u32,
    /// Something was heard of that may not show in the index: a task that somebody else has run.
    heard: bool,
}

impl Counting {
    /// A scan is over: all is known. Takes the count over, unless another daemon has it.
    pub(super) fn scanned(&mut self, dir: &SpoolDir) {
        if self.keeper.as_ref().is_some_and(|keeper| !keeper.is_in_place()) {
            self.keeper = None;
        }
        if self.keeper.is_none() && Keeper::is_wanted(dir) {
            match Keeper::new(dir) {
                Ok(keeper) => self.keeper = keeper,
                Err(error) => warn!(
                    spool = %dir.path().display(),
                    %error,
                    "cannot tell submitters how many tasks are pending; they list the spool instead"
                ),
            }
        }
        self.heard = true;
    }

    /// Not all tasks are known any more.
    pub(super) fn stop(&mut self) {
        self.keeper = None;
    }

    /// Something happened in the spool.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Tells what is pending, if that is new and it is time to.
    pub(super) fn tell(&mut self, (pending, edition): (Pending, u32)) {
        if self.next_ns(edition).is_none_or(|at_ns| at_ns > clock::monotonic_ns()) {
            return;
        }
        let Some(keeper) = &self.keeper else { return };
        self.told_ns = clock::monotonic_ns();
        match keeper.set(pending) {
            Ok(true) => (self.told, self.heard, self.missed) = (Some(edition), false, 0),
            Ok(false) => self.missed += 1,
            // Without the daemon's lock submitters list the spool when the count is old.
            Err(_) => self.keeper = None,
        }
    }

    /// When something is to be told, on the monotonic clock; `None`: not until something happens.
    pub(super) fn next_ns(&self, edition: u32) -> Option<u64> {
        let news = self.keeper.is_some() && (self.heard || self.told != Some(edition));
        // Whoever holds the lock for longer than moments was stopped.
        news.then_some(self.told_ns + (COUNT_SET_EVERY_NS << self.missed.min(MISSED_MAX)))
    }
}
