//! Retry: a task that was given up is pending again, or one that waits is due at once.
//!
//! The record goes before its task: if something comes in between, the record of a buried task lies
//! where that of a pending one belongs, and the next sweep brings it back (`records`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use unspool_core::limits::PAIRS_BYTES_MAX;
use unspool_core::taskfile::{ATTEMPTS_OFFSET, HEADER_BYTES, KEY_PRIORITY, peek_value};
use unspool_core::{Durability, Priority};
use unspool_sys::file::{read_at, stat_file, write_byte_at};
use unspool_sys::folder::Folder;
use unspool_sys::lock::Holder;
use unspool_sys::{clock, host, user};

use crate::attempts::{
    Attempt, Ending, last_attempt, note_buried, settle_buried_attempts, unbury_attempts,
};
use crate::find::{Kept, Place, Whereabouts};
use crate::hold::{Held, Lease, hold, hold_kept};
use crate::list::listed;
use crate::submit::priority_folder;
use crate::{SpoolDir, SpoolView};

/// What became of a task that was to be tried again.
#[derive(Debug)]
pub enum Retried {
    /// It had been given up, or put aside as corrupt, and is pending there, due now.
    Pending {
        /// Its place.
        place: Place,
        /// Its record could not be written or moved.
        incomplete: Option<io::Error>,
    },
    /// It was pending, and is due now.
    Hurried,
    /// It is pending and was due already.
    Due,
    /// There is no such task any more.
    Gone,
    /// Somebody has it.
    Held(Holder),
    /// A pending task has its name: a copy of it, perhaps.
    Taken(Place),
}

/// Makes a task pending and due now. Its attempts are counted anew, and their record stays.
///
/// A power cut may undo it until [`SpoolDir::flush`].
///
/// # Errors
/// What the system says; the task is where it was.
pub fn retry(spool: &SpoolDir, task: &Whereabouts) -> io::Result<Retried> {
    let Some(listed) = listed(spool.view(), task)? else { return Ok(Retried::Gone) };
    let held = match task {
        Whereabouts::Pending(_) => hold(listed.folder(), listed.name())?,
        Whereabouts::Kept(..) => hold_kept(listed.folder(), listed.name())?,
    };
    let lease = match held {
        Held::Ours(lease) => lease,
        Held::Gone => return Ok(Retried::Gone),
        Held::Theirs(holder) => return Ok(Retried::Held(holder)),
    };
    match task {
        Whereabouts::Pending(_) => hurry(&lease),
        Whereabouts::Kept(kept, name) => unbury(spool, *kept, listed.folder(), name, &lease),
    }
}

fn hurry(lease: &Lease) -> io::Result<Retried> {
    let now_ns = clock::now_ns();
    if lease.stat.mtime_ns <= now_ns {
        return Ok(Retried::Due);
    }
    // COMMIT POINT: from here on it is due.
    lease.set_due(now_ns)?;
    Ok(Retried::Hurried)
}

fn unbury(
    spool: &SpoolDir,
    kept: Kept,
    from: &Folder,
    name: &[u8],
    lease: &Lease,
) -> io::Result<Retried> {
    if kept == Kept::Dead {
        // As a sweep ends a burial that a crash has cut: its count, then its record.
        reset(lease)?;
        settle_buried_attempts(spool, from, name)?;
    }
    let (file, bytes) = (lease.file.as_fd(), lease.stat.bytes);
    let priority = origin_in(from, kept, name, file, bytes)?;
    let place = Place { priority, name: name.to_vec() };
    let sub = (place.priority.as_ref())
        .map(|priority| priority_folder(spool, priority, Durability::File))
        .transpose()?;
    let to = sub.as_ref().unwrap_or(spool.top());
    if to.stat(name)?.is_some() {
        return Ok(Retried::Taken(place));
    }
    let mut incomplete = None;
    if kept == Kept::Dead {
        let now_ns = clock::now_ns();
        let noted = note_buried(from, name, &retried_line(spool, place.priority.as_ref(), now_ns));
        // A full disk has no room for the line, and moves the record all the same.
        let moved = unbury_attempts(spool, from, name);
        incomplete = noted.and(moved).err();
    }
    // The last of what changes its bytes: each write sets this time too.
    let due = lease.set_due(clock::now_ns());
    // COMMIT POINT: given up before, pending after.
    match due.and_then(|()| from.rename(name, to, name)) {
        Ok(()) => Ok(Retried::Pending { place, incomplete }),
        Err(error) => {
            if kept == Kept::Dead {
                let _ = settle_buried_attempts(spool, from, name);
            }
            match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(Retried::Taken(place)),
                _ => Err(error),
            }
        }
    }
}

/// The priority of a task; of one that was given up that from whose folder it was moved away: as its
/// record says, else as it says itself.
///
/// # Errors
/// Neither may be read, too.
pub fn origin(spool: &SpoolView, task: &Whereabouts) -> io::Result<Option<Priority>> {
    let (kept, name) = match task {
        Whereabouts::Pending(place) => return Ok(place.priority.clone()),
        Whereabouts::Kept(kept, name) => (*kept, name),
    };
    let Some(listed) = listed(spool, task)? else { return Ok(None) };
    if let Some(folder) = recorded_origin(listed.folder(), kept, name)? {
        return Ok(Priority::new(folder.as_bytes()).ok());
    }
    let Some(file) = listed.open()? else { return Ok(None) };
    let bytes = stat_file(file.as_fd())?.bytes;
    origin_by_file(file.as_fd(), bytes)
}

fn origin_in(
    from: &Folder,
    kept: Kept,
    name: &[u8],
    file: BorrowedFd<'_>,
    bytes: u64,
) -> io::Result<Option<Priority>> {
    match recorded_origin(from, kept, name)? {
        Some(folder) => Ok(Priority::new(folder.as_bytes()).ok()),
        None => origin_by_file(file, bytes),
    }
}

/// The folder from which it was moved away, as the record says; `None` if it does not.
fn recorded_origin(from: &Folder, kept: Kept, name: &[u8]) -> io::Result<Option<String>> {
    let recorded = (kept == Kept::Dead).then(|| last_attempt(from, name)).transpose()?.flatten();
    Ok(recorded.and_then(|attempt| attempt.priority))
}

/// As the task says itself.
fn origin_by_file(file: BorrowedFd<'_>, bytes: u64) -> io::Result<Option<Priority>> {
    let mut head = vec![0; (HEADER_BYTES + PAIRS_BYTES_MAX).min(bytes as usize)];
    let got = read_at(file, &mut head, 0)?;
    let asked = peek_value(&head[..got], KEY_PRIORITY);
    Ok(asked.and_then(|priority| Priority::new(priority).ok()))
}

/// A burial that a crash has cut leaves its count.
fn reset(lease: &Lease) -> io::Result<()> {
    let mut count = [0u8];
    let got = read_at(lease.file.as_fd(), &mut count, ATTEMPTS_OFFSET)?;
    if got == 1 && count[0] != 0 {
        write_byte_at(lease.file.as_fd(), 0, ATTEMPTS_OFFSET)?;
    }
    Ok(())
}

/// The line of the record that says who has done this, and that its attempts begin anew.
fn retried_line(spool: &SpoolDir, priority: Option<&Priority>, now_ns: i64) -> Attempt {
    Attempt {
        host: spool.host(),
        pid: host::pid(),
        again_at: Some((now_ns / 1_000_000) as f64 / 1e3),
        ..Attempt::ended(Ending::Retried, 0, now_ns, &format!("tried again by {}", user::whoami()))
    }
    .of_priority(priority)
}
