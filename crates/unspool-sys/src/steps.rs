//! Single steps that a configuration asks for, by path, as this process stands: its directory, user
//! and mask.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{self, Gid, Mode, OFlags, Uid};

/// Changes to a directory, for the whole process.
pub fn enter(path: &Path) -> io::Result<()> {
    Ok(rustix::process::chdir(path)?)
}

/// Has a file contain this text alone; mode 0666 less the mask, if it is new.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    File::create(path)?.write_all(text.as_bytes())
}

/// Adds a text to the end of a file.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// Writes to a FIFO, and waits for no reader. `false`: nobody reads.
pub fn write_fifo(path: &Path, text: &str) -> io::Result<bool> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(mut fifo) => fifo.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file.
pub fn unlink(path: &Path) -> io::Result<()> {
    Ok(fs::unlink(path)?)
}

/// Makes a directory, of mode 0777 less the mask.
pub fn make_directory(path: &Path) -> io::Result<()> {
    Ok(fs::mkdir(path, Mode::from_raw_mode(0o777))?)
}

/// Changes the mode of a file.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// Gives a file to a user and a group.
pub fn give(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    Ok(fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}
