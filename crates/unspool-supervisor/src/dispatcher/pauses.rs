//! What of the spool is paused: folders are skipped, and tasks of a function are set aside when they are
//! claimed, since only then it is known.
//!
//! What is paused is decided by others and stands in the record of `unspool_spool::pause`. While that
//! cannot be read, everything is paused.

use std::io;

use tracing::warn;
use unspool_spool::{PauseError, Pauses, read_pauses};
use unspool_sys::clock;

use super::Dispatcher;
use super::hand_out::unlock;
use super::worker::Held;
use crate::events::WorkerId;
use crate::journal::journal;
use crate::snapshot::PauseSnapshot;

/// What is known of the record.
#[derive(Debug, Default)]
pub(super) struct Paused {
    known: Pauses,
    /// It cannot be read.
    failed: Option<String>,
    /// It was read at least once.
    is_read: bool,
}

impl Paused {
    pub(super) fn account(&self) -> Vec<PauseSnapshot> {
        let account = |pause: &unspool_spool::Pause| PauseSnapshot {
            scope: pause.scope.kind().to_owned(),
            name: pause.scope.name(),
            by: pause.by.clone(),
            at: pause.at_ns as f64 / 1e9,
            why: pause.why.clone(),
        };
        self.known.iter().map(account).collect()
    }

    pub(super) fn failed(&self) -> Option<String> {
        self.failed.clone()
    }
}

impl Dispatcher {
    /// Takes in what was paused or resumed.
    pub(super) fn reread_pauses(&mut self) {
        let spool = self.dir.path().display();
        let (known, failed) = match read_pauses(self.dir.view()) {
            Ok(known) => (known, None),
            // It has been read before, and may be again in a second.
            Err(PauseError::Io { source, .. })
                if source.kind() != io::ErrorKind::PermissionDenied && self.paused.is_read =>
            {
                warn!(%spool, error = %source, "cannot read what is paused; trying again");
                return self.scanner.scan_soon(clock::monotonic_ns());
            }
            Err(error) => {
                let failed = match &error {
                    PauseError::Io { source, .. } => format!("{error}: {source}"),
                    _ => error.to_string(),
                };
                (self.paused.known.clone(), Some(failed))
            }
        };
        self.paused.is_read |= failed.is_none();
        if known == self.paused.known && failed == self.paused.failed {
            return;
        }
        if let Some(error) = &failed {
            journal!(
                SPOOL_PAUSES_UNREAD, %spool, error,
                "no task runs, since it is not known what is paused"
            );
        } else if self.paused.failed.is_some() {
            journal!(SPOOL_PAUSES_READ, %spool, "it is known again what is paused");
        }
        for pause in known.iter().filter(|pause| self.paused.known.get(&pause.scope) != Some(pause))
        {
            let (what, by, why) = (pause.scope.describe(), &pause.by, &pause.why);
            journal!(SPOOL_PAUSED, %spool, %what, %by, %why, "paused");
        }
        for pause in self.paused.known.iter().filter(|pause| known.get(&pause.scope).is_none()) {
            journal!(SPOOL_RESUMED, %spool, what = pause.scope.describe(), "resumed");
        }
        (self.paused.known, self.paused.failed) = (known, failed);
        self.apply_pauses();
    }

    fn apply_pauses(&mut self) {
        self.pause_lanes();
        // Those whose functions are still paused are set aside again.
        self.index.release_paused();
        // What waits in a worker has not begun.
        let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in ids {
            self.revoke_all(id, 0);
        }
        self.demand.changed();
    }

    /// Decides which folders are paused; call when there is a new one, too.
    pub(super) fn pause_lanes(&mut self) {
        let Paused { known, failed, .. } = &self.paused;
        let all = failed.is_some() || known.spool().is_some();
        self.index.pause_lanes(|priority| all || known.folder(priority).is_some());
    }

    /// Gives up the lease of a task whose function is paused; else returns it.
    pub(super) fn is_set_aside(&mut self, held: Held) -> Option<Held> {
        let function = held.claim.function.as_deref();
        if function.is_none_or(|function| self.paused.known.function(function).is_none()) {
            return Some(held);
        }
        unlock(&held);
        self.index.set_aside(held.key);
        None
    }
}
