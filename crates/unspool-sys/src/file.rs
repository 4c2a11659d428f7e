//! An open file: its bytes, its room, its times, and that they last.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

#[cfg(feature = "trace")]
use crate::clock;
use crate::folder::Stat;
#[cfg(feature = "trace")]
use crate::trace;

/// How often a call that a signal interrupts is made again. A file system that says so for ever has
/// failed.
const INTERRUPTIONS_MAX: u32 = 1000;

fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..INTERRUPTIONS_MAX {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Writes all bytes at the file's position.
pub fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match uninterrupted(|| write(file, bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(feature = "trace")]
    let bytes = &bytes[..trace::before_write(bytes.len())?];
    let written = rustix::io::write(file, bytes)?;
    #[cfg(feature = "trace")]
    trace::wrote(file, None, &bytes[..written]);
    Ok(written)
}

/// Reads at an offset until `buffer` is full or the file ends. Returns the bytes read.
pub fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(feature = "trace")]
    trace::before("pread")?;
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        match uninterrupted(|| Ok(rustix::io::pread(file, &mut *rest, offset + done as u64)?))? {
            0 => break,
            got => done += got,
        }
    }
    Ok(done)
}

/// Overwrites one byte in place.
pub fn write_byte_at(file: BorrowedFd<'_>, byte: u8, offset: u64) -> io::Result<()> {
    write_at(file, &[byte], offset)
}

/// Overwrites a few bytes in place, in one write or not at all.
pub fn write_at(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<()> {
    match uninterrupted(|| pwrite(file, bytes, offset))? {
        written if written == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

fn pwrite(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> io::Result<usize> {
    #[cfg(feature = "trace")]
    let bytes = &bytes[..trace::before_write(bytes.len())?];
    let written = rustix::io::pwrite(file, bytes, offset)?;
    #[cfg(feature = "trace")]
    trace::wrote(file, Some(offset), &bytes[..written]);
    Ok(written)
}

/// Gives an open file a number that is free for long: new files get the lowest ones. Where the limit of
/// open files is low, it keeps the one that it has.
pub fn with_high_number(file: OwnedFd) -> OwnedFd {
    const HIGH: std::os::fd::RawFd = 900;
    rustix::io::fcntl_dupfd_cloexec(&file, HIGH).unwrap_or(file)
}

/// Gives an empty file its length and all of its room, filled with zeros, for changes in place.
pub fn allocate(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    // Without it a btrfs writes each change to a new place, and has none when it is full
    // [ran: Linux 6.18]. Others do not know it.
    let _ = fs::ioctl_getflags(file)
        .and_then(|flags| fs::ioctl_setflags(file, flags | fs::IFlags::NOCOW));
    match fs::fallocate(file, fs::FallocateFlags::empty(), 0, bytes) {
        // A file system that cannot.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            const ZEROS: [u8; 4096] = [0; 4096];
            for offset in (0..bytes).step_by(ZEROS.len()) {
                let most = ZEROS.len().min((bytes - offset) as usize);
                write_at(file, &ZEROS[..most], offset)?;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Looks at an open file.
pub fn stat_file(file: BorrowedFd<'_>) -> io::Result<Stat> {
    #[cfg(feature = "trace")]
    trace::before("fstat")?;
    Ok(Stat::new(&fs::fstat(file)?))
}

/// Makes the content and the times of a file survive a power cut. A failure is final: the kernel
/// may report the next flush of the same file as successful though its data is gone.
pub fn sync_file(file: BorrowedFd<'_>) -> io::Result<()> {
    #[cfg(feature = "trace")]
    trace::before_sync(file)?;
    fs::fsync(file)?;
    #[cfg(feature = "trace")]
    trace::synced(file);
    Ok(())
}

/// Sets the modification time, and the access time with it, to now: the one change of times that who may
/// write the file is allowed, too.
pub fn set_mtime_now(file: BorrowedFd<'_>) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    #[cfg(feature = "trace")]
    trace::before("futimens")?;
    fs::futimens(file, &Timestamps { last_access: now, last_modification: now })?;
    #[cfg(feature = "trace")]
    trace::set_time(file, clock::now_ns());
    Ok(())
}

/// Sets the modification time and leaves the access time.
pub fn set_mtime(file: BorrowedFd<'_>, mtime_ns: i64) -> io::Result<()> {
    let last_modification = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    #[cfg(feature = "trace")]
    trace::before("futimens")?;
    fs::futimens(file, &Timestamps { last_access, last_modification })?;
    #[cfg(feature = "trace")]
    trace::set_time(file, mtime_ns);
    Ok(())
}
