//! Tasks that are done and whose files cannot be deleted: they are tried again each second, and their
//! leases are kept, so that nobody runs them again.
//!
//! Each of them holds a descriptor, and runs again if this process ends first. So of a folder in which
//! too many are, no more is run; other folders go on, up to a bound of all of them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use unspool_spool::complete;
use unspool_sys::{clock, lock};

use super::Dispatcher;
use super::worker::Held;
use crate::journal::journal;

/// When deleting them is tried again.
const DELETE_AGAIN_NS: u64 = 1_000_000_000;
/// Of one folder, at which no more of its tasks are run.
const UNDELETED_MAX: usize = 64;
/// Of all folders, at which no task is run.
const UNDELETED_ALL_MAX: usize = 4 * UNDELETED_MAX;

/// What waits to be deleted.
#[derive(Debug, Default)]
pub(super) struct Undeleted {
    held: Vec<Held>,
    again_ns: u64,
    /// Lanes of which no more is run.
    stopped: BTreeSet<u32>,
    all_stopped: bool,
}

impl Undeleted {
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    /// When they are tried again, on the monotonic clock.
    pub(super) fn next_ns(&self) -> Option<u64> {
        (!self.held.is_empty()).then_some(self.again_ns)
    }

    /// Whether no task of any folder is run.
    pub(super) fn stops_all(&self) -> bool {
        self.all_stopped
    }

    /// Whether no task of some lane is run.
    pub(super) fn stops_some(&self) -> bool {
        !self.stopped.is_empty()
    }

    /// Whether no task of a lane is run.
    pub(super) fn stops(&self, lane: u32) -> bool {
        self.stopped.contains(&lane)
    }
}

impl Dispatcher {
    /// A task is done, or cancelled, and its file cannot be deleted.
    pub(super) fn keep_undeleted(&mut self, held: Held, error: &io::Error) {
        self.undeleted.again_ns = clock::monotonic_ns() + DELETE_AGAIN_NS;
        let lane = self.index.lane_of(held.key);
        self.undeleted.held.push(held);
        let Some(lane) = lane else { return };
        if self.undeleted_in(lane) >= UNDELETED_MAX && self.undeleted.stopped.insert(lane) {
            let folder = self.dir.folder_path(self.index.priority(lane));
            journal!(
                SPOOL_STOPPED, folder = %folder.display(), %error, tasks = UNDELETED_MAX,
                "no more tasks of this folder run: so many of it are done and cannot be deleted, and \
                 would run again after a restart. Let the daemon's user delete files there \
                 (permissions, `chattr -i -a`, a file system that is read-only), or delete them: \
                 within a second the others go on"
            );
        }
        if self.undeleted.held.len() >= UNDELETED_ALL_MAX
            && !std::mem::replace(&mut self.undeleted.all_stopped, true)
        {
            journal!(
                SPOOL_STOPPED, spool = %self.dir.path().display(), %error, tasks = UNDELETED_ALL_MAX,
                "no more tasks run: so many are done and cannot be deleted, in several folders. Let \
                 the daemon's user delete files there, or delete them: within a second the others go on"
            );
        }
    }

    fn undeleted_in(&self, lane: u32) -> usize {
        self.undeleted.iter().filter(|held| self.index.lane_of(held.key) == Some(lane)).count()
    }

    /// Tries again to delete finished tasks.
    pub(super) fn retry_deletes(&mut self) {
        let now_ns = clock::monotonic_ns();
        if self.undeleted.next_ns().is_none_or(|at_ns| at_ns > now_ns) {
            return;
        }
        self.undeleted.again_ns = now_ns + DELETE_AGAIN_NS;
        for held in std::mem::take(&mut self.undeleted.held) {
            let deleted = self.index.name(held.key).is_none_or(|(lane, name)| {
                match self.folders.get(lane as usize) {
                    Some(Some(folder)) => complete(folder, &name).is_ok(),
                    _ => true,
                }
            });
            if deleted {
                self.forget_attempts(&held);
                let _ = lock::unlock(held.claim.file.as_fd());
                self.index.remove(held.key);
            } else {
                self.undeleted.held.push(held);
            }
        }
        self.go_on();
    }

    /// Runs tasks again of folders in which few enough are left.
    fn go_on(&mut self) {
        let stopped = std::mem::take(&mut self.undeleted.stopped);
        for lane in stopped {
            if self.undeleted_in(lane) >= UNDELETED_MAX {
                self.undeleted.stopped.insert(lane);
                continue;
            }
            let folder = self.dir.folder_path(self.index.priority(lane));
            journal!(
                SPOOL_GOES_ON, folder = %folder.display(),
                "tasks of this folder run again: files can be deleted"
            );
        }
        self.undeleted.all_stopped &= self.undeleted.held.len() >= UNDELETED_ALL_MAX;
    }
}
