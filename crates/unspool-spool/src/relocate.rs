//! Relocate: a pending task gets another priority, another due time, or both.

use std::io;

use unspool_core::{Durability, Priority};
use unspool_sys::lock::Holder;

use crate::SpoolDir;
use crate::find::{Place, Whereabouts};
use crate::hold::{Held, hold};
use crate::list::listed;
use crate::submit::priority_folder;

/// What of a task is to be otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relocation {
    /// Its folder; `Some(None)`: that of tasks without a priority.
    pub priority: Option<Option<Priority>>,
    /// When it is due, in nanoseconds since 1970.
    pub due_ns: Option<i64>,
}

/// What became of a task that was to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relocated {
    /// It lies there, and is as it was to be.
    Done(Place),
    /// There is no such task any more.
    Gone,
    /// Somebody has it.
    Held(Holder),
    /// Another task has its name there.
    Taken(Place),
}

/// Changes the place and the due time of a pending task. Its bytes stay as they are, also those that
/// say which priority it was submitted with.
///
/// A power cut may undo it until [`SpoolDir::flush`].
///
/// # Errors
/// What the system says. The task is whole; its due time may be the new one already.
pub fn relocate(spool: &SpoolDir, place: &Place, to: &Relocation) -> io::Result<Relocated> {
    let whereabouts = Whereabouts::Pending(place.clone());
    let Some(from) = listed(spool.view(), &whereabouts)? else { return Ok(Relocated::Gone) };
    let lease = match hold(from.folder(), &place.name)? {
        Held::Ours(lease) => lease,
        Held::Gone => return Ok(Relocated::Gone),
        Held::Theirs(holder) => return Ok(Relocated::Held(holder)),
    };
    let priority = to.priority.as_ref().unwrap_or(&place.priority);
    let new = Place { priority: priority.clone(), name: place.name.clone() };
    let moves = new.priority != place.priority;
    let sub = (new.priority.as_ref().filter(|_| moves))
        .map(|priority| priority_folder(spool, priority, Durability::File))
        .transpose()?;
    let folder = sub.as_ref().unwrap_or(spool.top());
    if moves && folder.stat(&new.name)?.is_some() {
        return Ok(Relocated::Taken(new));
    }
    if let Some(due_ns) = to.due_ns {
        // COMMIT POINT of the due time.
        lease.set_due(due_ns)?;
    }
    if moves {
        // COMMIT POINT of the priority: at one place before, at the other after.
        match from.folder().rename(&place.name, folder, &new.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Relocated::Taken(new));
            }
            other => other?,
        }
    }
    Ok(Relocated::Done(new))
}
