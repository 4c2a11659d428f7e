//! Finish: what is done to a task's file after a run. All of it in place: no new file, no rename,
//! so that a full disk cannot stop it.

use std::io;
use std::os::fd::BorrowedFd;

use unspool_core::taskfile::ATTEMPTS_OFFSET;
use unspool_sys::folder::{self, Folder};

/// Deletes a task that is done. Returns `false` if somebody had deleted it, which is no error: a
/// task may delete its own file.
///
/// The caller still holds the lease: unlocking first would let another daemon run it again.
pub fn complete(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    // COMMIT POINT: from here on the task does not run again.
    folder.unlink(name)
}

/// Puts a task off until a time.
pub fn postpone(file: BorrowedFd<'_>, due_ns: i64) -> io::Result<()> {
    folder::set_mtime(file, due_ns)
}

/// Writes one more failed attempt into the file's header and returns the new count.
///
/// The due time is set first, so that it stands even where the byte cannot be written (a full
/// btrfs). Writing the byte moves the modification time to now, so it is set again after it. Where
/// the file is another user's, only its owner may set its time: the attempt is counted all the same.
pub fn count_failure(file: BorrowedFd<'_>, attempts: u8, due_ns: i64) -> io::Result<u8> {
    match postpone(file, due_ns) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let attempts = attempts.saturating_add(1);
    folder::write_byte_at(file, attempts, ATTEMPTS_OFFSET)?;
    postpone(file, due_ns)?;
    Ok(attempts)
}
