//! The commit: ids of files that are written and flushed go into the log, all that wait at once, and
//! the files to their places.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, PoisonError};

use unspool_core::taskfile::TaskId;
use unspool_core::{Durability, Priority};

use super::seen::SeenLog;
use super::{ReceiveError, Reception, Stored};
use crate::pending::Place;
use crate::submit::priority_folder;

/// A file that is whole and flushed.
#[derive(Debug)]
pub(super) struct Ready {
    id: TaskId,
    name: Vec<u8>,
    priority: Option<Priority>,
    /// Locked until its id is in the log.
    file: OwnedFd,
    /// In the count of pending tasks.
    place: Option<Place>,
    outcome: Arc<OnceLock<Result<Stored, ReceiveError>>>,
}

impl Ready {
    pub(super) fn new(
        id: TaskId,
        name: Vec<u8>,
        priority: Option<Priority>,
        file: OwnedFd,
        place: Option<Place>,
    ) -> Self {
        Self { id, name, priority, file, place, outcome: Arc::default() }
    }

    /// Says that it is not in the spool on account of this.
    fn end(self, reception: &Reception, outcome: Result<Stored, ReceiveError>) {
        drop(self.file);
        if let Some(place) = self.place {
            reception.give_place_back(place);
        }
        // Nobody else sets it.
        let _ = self.outcome.set(outcome);
    }
}

impl Reception {
    /// Commits a file. Whoever comes while another one flushes shares the next flush.
    pub(super) fn commit(&self, ready: Ready) -> Result<Stored, ReceiveError> {
        let outcome = Arc::clone(&ready.outcome);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(ready);
        let mut seen = self.seen();
        if outcome.get().is_none() {
            let batch =
                std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            self.commit_all(&mut seen, batch);
        }
        drop(seen);
        // The other holder, if there was one, has dropped its own with the batch.
        match Arc::try_unwrap(outcome).map(OnceLock::into_inner) {
            Ok(Some(outcome)) => outcome,
            _ => Err(ReceiveError::Twice),
        }
    }

    fn commit_all(&self, seen: &mut SeenLog, batch: Vec<Ready>) {
        let mut held = match seen.hold() {
            Ok(held) => held,
            Err(error) => return self.fail_all(batch, "read the ids that were seen", &error),
        };
        let (known, new): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|ready| held.knows(ready.id));
        for ready in known {
            // It came on two connections, or to two daemons.
            let removed = self.incoming.unlink(&ready.name);
            let stored = removed.map(|_| Stored::Known);
            ready.end(self, stored.map_err(|source| self.io("remove a file", source)));
        }
        if new.is_empty() {
            return;
        }
        if let Err(error) = self.incoming.sync() {
            // Whatever a later flush says, these names may never be durable. Others are made when the
            // tasks are sent again.
            for ready in &new {
                self.discard(&ready.name);
            }
            return self.fail_all(new, "flush the names of files", &error);
        }
        // COMMIT POINT: from the log's flush on these tasks exist. Of a log that does not flush nobody
        // knows what it has: the files stay, and who sends them again commits them.
        let ids: Vec<TaskId> = new.iter().map(|ready| ready.id).collect();
        if let Err(error) = held.note(&ids) {
            return self.fail_all(new, "note the ids of tasks", &error);
        }
        for Ready { name, priority, file, place, outcome, .. } in new {
            // Whoever runs the task must not meet the lock.
            drop(file);
            let publish = || self.publish(&name, priority.as_ref());
            let published = self.arriving.publish(&self.spool, place, publish);
            if let (Err(_), Some(place)) = (&published, place) {
                self.give_place_back(place);
            }
            // Nobody else sets it.
            let _ = outcome.set(published.map(|()| Stored::New));
        }
    }

    /// Moves a file whose id is in the log to its place. A power cut may undo that: then it is done
    /// again.
    pub(super) fn publish(
        &self,
        name: &[u8],
        priority: Option<&Priority>,
    ) -> Result<(), ReceiveError> {
        let made = priority
            .map(|priority| priority_folder(&self.spool, priority, Durability::Group))
            .transpose();
        let made = made.map_err(|source| self.io("make the priority's folder", source))?;
        let folder = made.as_ref().unwrap_or(self.spool.top());
        match self.incoming.rename(name, folder, name) {
            Ok(()) => Ok(()),
            // Another receiver was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => self
                .incoming
                .unlink(name)
                .map(|_| ())
                .map_err(|source| self.io("remove a file", source)),
            Err(source) => Err(self.io("publish a file", source)),
        }
    }

    fn fail_all(&self, batch: Vec<Ready>, action: &'static str, error: &std::io::Error) {
        for ready in batch {
            let again = std::io::Error::new(error.kind(), error.to_string());
            ready.end(self, Err(self.io(action, again)));
        }
    }
}
