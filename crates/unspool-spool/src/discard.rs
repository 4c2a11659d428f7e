//! Discard: a task that was given up, or a corrupt file, is deleted for good, with its record.

use std::io;

use crate::SpoolDir;
use crate::attempts::{BURIED, buried_name};
use crate::cancel::Removal;
use crate::find::{Kept, priorities};
use crate::hold::{Held, hold_kept};
use crate::is_task_name;
use crate::records::{Owner, find_owner};

/// Deletes a file that is kept. Its record goes after it: one that is left behind is found by
/// [`discard_records`].
///
/// # Errors
/// What the system says; the file is untouched.
pub fn discard(spool: &SpoolDir, kept: Kept, name: &[u8]) -> io::Result<Removal> {
    let Some(folder) = spool.view().sub(kept.folder())? else { return Ok(Removal::Gone) };
    let _lease = match hold_kept(&folder, name)? {
        Held::Ours(lease) => lease,
        Held::Gone => return Ok(Removal::Gone),
        Held::Theirs(holder) => return Ok(Removal::Held(holder)),
    };
    // COMMIT POINT.
    if !folder.unlink(name)? {
        return Ok(Removal::Gone);
    }
    if kept == Kept::Dead {
        let _ = folder.unlink(&buried_name(name));
    }
    Ok(Removal::Removed)
}

/// Deletes the records in `dead/` whose tasks are nowhere, and returns how many. One whose task was
/// moved back by hand stays.
pub fn discard_records(spool: &SpoolDir) -> io::Result<u64> {
    let Some(dead) = spool.view().sub(Kept::Dead.folder())? else { return Ok(0) };
    let mut folders = vec![spool.top().try_clone()?];
    for priority in priorities(spool.view())? {
        folders.extend(spool.priority_folder(&priority).ok().flatten());
    }
    let mut removed = 0;
    for entry in dead.list()? {
        let (record, _) = entry?;
        let Some(task) = record.strip_prefix(BURIED).filter(|task| is_task_name(task)) else {
            continue;
        };
        // One that was buried under another name has a record of its own.
        let is_here = dead.stat(task)?.is_some();
        if !is_here && find_owner(spool.top(), &folders, task)? == Owner::Nowhere {
            removed += u64::from(dead.unlink(&record)?);
        }
    }
    Ok(removed)
}
