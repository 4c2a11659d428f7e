//! Finish: what is done to a task's file after a run. All of it in place: no new file, no rename,
//! so that a full disk cannot stop it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use unspool_core::taskfile::ATTEMPTS_OFFSET;
use unspool_sys::file;
use unspool_sys::folder::Folder;
use unspool_sys::lock;

/// Deletes a task that is done. Returns `false` if somebody had deleted it, which is no error: a
/// task may delete its own file.
///
/// The caller still holds the lease: unlocking first would let another daemon run it again.
pub fn complete(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    // COMMIT POINT: from here on the task does not run again.
    folder.unlink(name)
}

/// What stands for a lost lease where an error number says what became of a task: `ESTALE`.
pub const LEASE_LOST: i32 = 116;

/// Whether the lease of a task was lost to another machine. A file system of several machines gives a
/// lock to somebody else when its holder has not been heard of for long (90 s on NFS 4), and from then on
/// refuses what the holder does with the file.
pub fn has_lost_lease(file: BorrowedFd<'_>) -> bool {
    let error = file::read_at(file, &mut [0u8; 1], 0).err().and_then(|error| error.raw_os_error());
    matches!(error, Some(EIO | LEASE_LOST))
}

const EIO: i32 = 5;

/// Puts a task off until a time.
pub fn postpone(file: BorrowedFd<'_>, due_ns: i64) -> io::Result<()> {
    file::set_mtime(file, due_ns)
}

/// Moves the due time of a task that nobody has, if it is `from_ns` still. `false`: it is not, or
/// somebody has the task, or it is gone.
pub fn move_due(folder: &Folder, name: &[u8], from_ns: i64, to_ns: i64) -> io::Result<bool> {
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !lock::try_lock(file.as_fd())? || file::stat_file(file.as_fd())?.mtime_ns != from_ns {
        return Ok(false);
    }
    postpone(file.as_fd(), to_ns)?;
    Ok(true)
}

/// Puts a task off that nobody has, and that is as it was at its change time `ctime_ns`. `false`: it is
/// not, or somebody has it.
pub fn postpone_waiting(
    folder: &Folder,
    name: &[u8],
    ctime_ns: i64,
    due_ns: i64,
) -> io::Result<bool> {
    let file = folder.open_file(name)?;
    if !lock::try_lock(file.as_fd())? {
        return Ok(false);
    }
    let stat = file::stat_file(file.as_fd())?;
    if stat.links == 0 || stat.ctime_ns != ctime_ns {
        return Ok(false);
    }
    postpone(file.as_fd(), due_ns)?;
    Ok(true)
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
    file::write_byte_at(file, attempts, ATTEMPTS_OFFSET)?;
    postpone(file, due_ns)?;
    Ok(attempts)
}
