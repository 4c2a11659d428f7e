//! Open-file-description locks: leases that the kernel releases when their last holder dies.
//!
//! They exclude the POSIX locks of a real uWSGI and are excluded by them, in both directions.
//! A duplicate of the descriptor, also in another process, holds the same lock.
#![expect(unsafe_code, reason = "F_OFD_SETLK is in no safe wrapper that we use")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Takes the exclusive lock of a whole file. Returns `false` if somebody else holds it.
///
/// The file must be open for writing.
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    match set(file, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Releases the lock for all holders of the open file description.
pub fn unlock(file: BorrowedFd<'_>) -> io::Result<()> {
    set(file, libc::F_UNLCK)
}

/// Whether somebody else holds the lock. Takes nothing, so that two who ask do not see each other.
pub fn is_locked(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut answer = whole_file(libc::F_WRLCK);
    // SAFETY: the descriptor is open for the call's duration, and `answer` is a valid flock that
    // the kernel fills in.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut answer) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(answer.l_type) != libc::F_UNLCK)
}

fn set(file: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    #[cfg(feature = "trace")]
    crate::trace::before("fcntl")?;
    let request = whole_file(kind);
    // SAFETY: the descriptor is open for the call's duration, and `request` is a valid flock that
    // the kernel only reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
