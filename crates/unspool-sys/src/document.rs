//! Bytes for another process: a file in memory that a program inherits, or that a packet carries.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, SeekFrom, fcntl_add_seals, fcntl_get_seals, memfd_create,
    open, seek,
};

use crate::file::{read_at, stat_file, write_all};

/// A file in memory, at its start, that every program inherits which this process executes.
#[derive(Debug)]
pub struct Document(OwnedFd);

impl Document {
    /// Makes one.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let file = memfd_create(c"unspool-document", MemfdFlags::empty())?;
        write_all(file.as_fd(), bytes)?;
        seek(&file, SeekFrom::Start(0))?;
        Ok(Self(file))
    }

    /// The number that the program finds it under.
    pub fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

/// A file without a name, in the system's folder of temporary files; in memory where that cannot be.
pub fn unnamed() -> io::Result<OwnedFd> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match open("/tmp", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file),
        Err(_) => Ok(memfd_create(c"unspool-body", MemfdFlags::CLOEXEC)?),
    }
}

/// What keeps the length and the bytes of a file as they are.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// A file in memory that nobody can change any more.
pub fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(c"unspool-answer", flags)?;
    write_all(file.as_fd(), bytes)?;
    fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file)
}

/// The bytes of a file that [`sealed`] made, perhaps in another process.
///
/// # Errors
/// It is not sealed, so that it might change while it is read, or has more than `bytes_max` bytes.
pub fn read_sealed(file: &OwnedFd, bytes_max: usize) -> io::Result<Vec<u8>> {
    if !fcntl_get_seals(file)?.contains(SEALS) {
        return Err(io::Error::other("a file that may change while it is read"));
    }
    let bytes = usize::try_from(stat_file(file.as_fd())?.bytes).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(io::Error::other(format!("an answer of {bytes} bytes, more than {bytes_max}")));
    }
    let mut content = vec![0; bytes];
    let got = read_at(file.as_fd(), &mut content, 0)?;
    content.truncate(got);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_and_nothing_else() {
        let file = sealed(b"answer").unwrap();
        assert_eq!(read_sealed(&file, 6).unwrap(), b"answer");
        assert!(read_sealed(&file, 5).is_err());
        assert!(write_all(file.as_fd(), b"more").is_err());
        let open = memfd_create(c"t", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(read_sealed(&open, 6).is_err());
    }
}
