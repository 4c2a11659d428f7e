//! A named pipe that somebody writes commands to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A FIFO that this process made and reads.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    fd: OwnedFd,
    device: u64,
    inode: u64,
}

impl AsFd for Fifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Fifo {
    /// Makes a FIFO of mode 0600 in the place of one that is there. Anything else of that name is
    /// an error and stays.
    pub fn create(path: &Path) -> io::Result<Self> {
        match fs::lstat(path) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo => {
                fs::unlink(path)?;
            }
            Ok(_) => {
                let what = "something that is no FIFO is in the way";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        fs::mknodat(fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Open for both, so that it never ends: writers come and go.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty())?;
        let stat = fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            return Err(io::Error::other("somebody put another file in its place"));
        }
        Ok(Self { path: path.to_owned(), fd, device: stat.st_dev, inode: stat.st_ino })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what there is, without waiting.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(got) => return Ok(got),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Deletes its name, unless somebody else's FIFO has it by now.
    pub fn remove(&self) -> io::Result<()> {
        match fs::lstat(&self.path) {
            Ok(stat) if stat.st_dev == self.device && stat.st_ino == self.inode => {
                Ok(fs::unlink(&self.path)?)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
