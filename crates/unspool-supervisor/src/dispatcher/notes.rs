//! The notes of what runs, as the dispatcher keeps them: what it cancelled, and what a dead worker
//! ran. Workers note what they start, in the same file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;
use unspool_spool::{RunNotes, Trace};

use super::Dispatcher;

/// A spool's notes.
#[derive(Debug)]
pub(crate) struct Notes {
    file: Arc<RunNotes>,
    path: PathBuf,
    /// It was said that something cannot be noted.
    told: bool,
}

impl Notes {
    pub(crate) fn of(trace: &Trace) -> Self {
        let (file, path) = (Arc::clone(trace.notes()), trace.notes_path().to_owned());
        Self { file, path, told: false }
    }

    /// Says so once: a disk that fails does so for each task.
    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            let path = self.path.display();
            warn!(
                %path, %error,
                "cannot note what runs: should this daemon and its workers be killed together, what runs \
                 then does not count as an attempt; free some room, or see to the disk"
            );
        }
    }
}

impl Dispatcher {
    /// The task in a slot was cancelled while it runs.
    pub(super) fn note_cancelled(&mut self, row: usize, slot: u8) {
        let Some(notes) = &mut self.notes else { return };
        let Some(slot) = self.slots.row(row).and_then(|row| row.get(usize::from(slot))) else {
            return;
        };
        let (_, started_ns) = slot.task();
        if let Err(error) = notes.file.cancels(row, slot.named(), started_ns) {
            notes.failed(&error);
        }
    }

    /// The worker of a row is gone, and all of its tasks are accounted for.
    pub(super) fn note_end(&mut self, row: usize) {
        if let Some(notes) = &mut self.notes
            && let Err(error) = notes.file.ends(row)
        {
            notes.failed(&error);
        }
    }

    /// Says so if a worker could not note that it runs the task in a slot.
    pub(super) fn look_at_note(&mut self, row: usize, slot: u8) {
        let row = self.slots.row(row);
        let errno = row.and_then(|row| row.get(usize::from(slot))?.unnoted());
        if let (Some(notes), Some(errno)) = (&mut self.notes, errno) {
            notes.failed(&io::Error::from_raw_os_error(errno));
        }
    }
}
