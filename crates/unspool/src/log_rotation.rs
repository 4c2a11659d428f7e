//! Rotation of a log file: when it is due, where the file is moved to, and the next one.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use unspool_config::LogFile;
use unspool_sys::{clock, files};

/// How long a file that cannot be moved grows before it is tried again.
const AGAIN_NS: u64 = 60_000_000_000;
/// Files that are moved away within one second.
const NAMES_MAX: u32 = 1000;

/// How one file is rotated and begun.
#[derive(Debug)]
pub(crate) struct Rotation {
    max_bytes: Option<u64>,
    backup: Option<PathBuf>,
    mode: Option<u32>,
    again_ns: u64,
}

impl Rotation {
    pub(crate) fn new(config: &LogFile) -> Self {
        let LogFile { max_bytes, backup, mode, .. } = config.clone();
        Self { max_bytes, backup, mode, again_ns: 0 }
    }

    /// Whether the file would grow beyond its size with so many bytes more. One that others append
    /// to as well counts whole; an empty one, and what is no regular file, stays.
    pub(crate) fn is_due(&self, file: &File, more: usize, now_ns: u64) -> bool {
        let Some(max_bytes) = self.max_bytes.filter(|_| self.again_ns <= now_ns) else {
            return false;
        };
        let Ok(found) = file.metadata() else { return false };
        found.is_file() && found.len() > 0 && found.len() + more as u64 > max_bytes
    }

    /// Moves the file away. One that somebody else has moved already stays where it is now.
    pub(crate) fn move_away(&self, path: &Path, file: &File) -> io::Result<()> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        if !files::is_at(file, path)? {
            return Ok(());
        }
        if let Some(backup) = &self.backup {
            return files::rename_over(path, backup);
        }
        // uWSGI's name. Two files of one second have different ones: nothing is written over.
        let seconds = clock::now_ns() / 1_000_000_000;
        for number in 0..NAMES_MAX {
            let mut name = OsString::from(path);
            name.push(format!(".{seconds}"));
            if number > 0 {
                name.push(format!(".{number}"));
            }
            match files::rename_new(path, Path::new(&name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                moved => return moved,
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Opens the file, or a new one.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let file = File::from(files::open_to_append(path)?);
        if let Some(mode) = self.mode
            && file.metadata()?.is_file()
        {
            files::set_mode(&file, mode)?;
        }
        Ok(file)
    }

    /// It could not be moved.
    pub(crate) fn failed(&mut self, now_ns: u64) {
        self.again_ns = now_ns + AGAIN_NS;
    }
}
