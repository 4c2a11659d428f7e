//! Open-file-description locks: leases that the kernel releases when their last holder dies.
//!
//! They exclude the POSIX locks of a real uWSGI and are excluded by them, in both directions.
//! A duplicate of the descriptor, also in another process, holds the same lock.
#![expect(unsafe_code, reason = "F_OFD_SETLK is in no safe wrapper that we use")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use crate::clock;

/// Takes the exclusive lock of a whole file. Returns `false` if somebody else holds it.
///
/// The file must be open for writing.
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    try_set(file, Range::WHOLE)
}

/// Takes the exclusive lock of one byte of a file, which need not have it. Each
/// byte is a lock of its own.
pub fn try_lock_byte(file: BorrowedFd<'_>, byte: u8) -> io::Result<bool> {
    try_set(file, Range::byte(byte))
}

fn try_set(file: BorrowedFd<'_>, range: Range) -> io::Result<bool> {
    match set(file, libc::F_WRLCK, range) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

/// Takes a lock that is held for moments only, looking again and again; `None` if it is not free within
/// `limit`. `attempt` may ask for more than one lock.
pub fn within<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let started_ns = clock::monotonic_ns();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(taken) = attempt()? {
            return Ok(Some(taken));
        }
        let waited = Duration::from_nanos(clock::monotonic_ns().saturating_sub(started_ns));
        let Some(left) = limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        #[expect(clippy::disallowed_methods, reason = "the kernel's own wait has no limit")]
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Between two looks at a lock that somebody else holds.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
/// See [`FIRST_PAUSE`].
const LAST_PAUSE: Duration = Duration::from_millis(1);

/// Releases the lock for all holders of the open file description.
pub fn unlock(file: BorrowedFd<'_>) -> io::Result<()> {
    set(file, libc::F_UNLCK, Range::WHOLE)
}

/// The same for the lock of a byte.
pub fn unlock_byte(file: BorrowedFd<'_>, byte: u8) -> io::Result<()> {
    set(file, libc::F_UNLCK, Range::byte(byte))
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The process of a POSIX lock: a uWSGI.
    Process(u32),
    /// Somebody whose lock is one of these, or who is not seen from here.
    Unnamed,
}

/// Whether somebody else holds the lock. Takes nothing, so that two who ask do not see each other.
pub fn is_locked(file: BorrowedFd<'_>) -> io::Result<bool> {
    is_set(file, Range::WHOLE)
}

/// The same for the lock of a byte.
pub fn is_byte_locked(file: BorrowedFd<'_>, byte: u8) -> io::Result<bool> {
    is_set(file, Range::byte(byte))
}

/// Who else holds the lock. Takes nothing.
pub fn holder(file: BorrowedFd<'_>) -> io::Result<Holder> {
    holder_of(file, Range::WHOLE)
}

fn is_set(file: BorrowedFd<'_>, range: Range) -> io::Result<bool> {
    Ok(holder_of(file, range)? != Holder::Nobody)
}

fn holder_of(file: BorrowedFd<'_>, range: Range) -> io::Result<Holder> {
    let mut answer = range.flock(libc::F_WRLCK);
    // SAFETY: the descriptor is open for the call's duration, and `answer` is a valid flock that
    // the kernel fills in.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut answer) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(match u32::try_from(answer.l_pid) {
        _ if libc::c_int::from(answer.l_type) == libc::F_UNLCK => Holder::Nobody,
        Ok(pid) if pid != 0 => Holder::Process(pid),
        _ => Holder::Unnamed,
    })
}

/// Whether another open file description of this file exists on this machine: somebody reads or writes
/// it, perhaps without a lock. `None` where the system does not say.
///
/// Asks for a lease, which only one can have who is alone with a file that is his own.
pub fn is_open_elsewhere(file: BorrowedFd<'_>) -> Option<bool> {
    let fd = file.as_raw_fd();
    // SAFETY: these calls take numbers alone, and the descriptor is open for their duration. Whoever
    // opens the file in between raises a signal in this process: one that does nothing by default.
    unsafe {
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) == -1 {
            return None;
        }
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) == 0 {
            let _ = libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
            return Some(false);
        }
    }
    (io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)).then_some(true)
}

/// Of `fcntl`: the same on every architecture, and in `libc` only for some.
const F_SETSIG: libc::c_int = 10;

fn set(file: BorrowedFd<'_>, kind: libc::c_int, range: Range) -> io::Result<()> {
    #[cfg(feature = "trace")]
    crate::trace::before("fcntl")?;
    let request = range.flock(kind);
    // SAFETY: the descriptor is open for the call's duration, and `request` is a valid flock that
    // the kernel only reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes of a file; a length of 0 is up to its end, wherever that is.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u8,
    bytes: u8,
}

impl Range {
    const WHOLE: Self = Self { start: 0, bytes: 0 };

    fn byte(start: u8) -> Self {
        Self { start, bytes: 1 }
    }

    fn flock(self, kind: libc::c_int) -> libc::flock {
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.start.into(),
            l_len: self.bytes.into(),
            l_pid: 0,
        }
    }
}
