//! Bury: a task that is given up goes to `dead/`, with the record of its attempts. Also moves one out of
//! a nested folder.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use unspool_core::taskfile::ATTEMPTS_OFFSET;
use unspool_sys::file::write_byte_at;
use unspool_sys::folder::{Folder, os_str};

use crate::SpoolDir;
use crate::attempts::bury_attempts;
use crate::hold::{Held, hold};
use crate::layout::DEAD;

/// Names tried when the file's own is taken.
const TRIES_MAX: u32 = 100;

/// Moves a task to `dead/` and returns its new path; `None` if it is gone, or somebody runs it.
pub fn bury(spool: &SpoolDir, folder: &Folder, name: &[u8]) -> io::Result<Option<PathBuf>> {
    let Held::Ours(_lease) = hold(folder, name)? else { return Ok(None) };
    let dead = spool.kept_folder(DEAD)?;
    let new_name = rename(folder, name, &dead)?;
    Ok(Some(spool.path().join(os_str(DEAD)).join(os_str(&new_name))))
}

/// A task that was buried.
#[derive(Debug)]
pub struct Buried {
    /// Its new path.
    pub path: PathBuf,
    /// What could not be done besides: its record lies where it was, or its count of attempts stands.
    pub incomplete: Option<io::Error>,
}

/// Moves a task that the caller holds, and its record, to `dead/`; `None` if it is gone. Its count of
/// attempts begins anew, so that it can be moved back and run.
pub fn bury_claimed(
    spool: &SpoolDir,
    folder: &Folder,
    name: &[u8],
    file: &OwnedFd,
) -> io::Result<Option<Buried>> {
    let dead = spool.kept_folder(DEAD)?;
    let new_name = match rename(folder, name, &dead) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // After the move: a crash in between leaves a task with its count in `dead/`, where it harms
    // nobody, and none without it among the pending ones.
    // The record comes last: where it stays behind, a later sweep ends the burial.
    let ended = write_byte_at(file.as_fd(), 0, ATTEMPTS_OFFSET)
        .and_then(|()| bury_attempts(spool, name, &dead, &new_name));
    let path = spool.path().join(os_str(DEAD)).join(os_str(&new_name));
    Ok(Some(Buried { path, incomplete: ended.err() }))
}

/// Moves a task from a nested folder into the priority's folder above. `false` if it is gone, or
/// somebody runs it.
pub fn lift(from: &Folder, name: &[u8], to: &Folder) -> io::Result<bool> {
    let Held::Ours(_lease) = hold(from, name)? else { return Ok(false) };
    rename(from, name, to)?;
    Ok(true)
}

/// Moves a file under its own name, or one with a number where that is taken.
fn rename(from: &Folder, name: &[u8], to: &Folder) -> io::Result<Vec<u8>> {
    let mut new_name = name.to_vec();
    for number in 2..TRIES_MAX {
        // COMMIT POINT: at one place before, at the other after.
        match from.rename(name, to, &new_name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                new_name = [name, format!(".{number}").as_bytes()].concat();
            }
            other => return other.map(|()| new_name),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
