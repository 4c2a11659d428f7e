//! Quarantine: a file that is no task goes to `corrupt/`. Never deleted, never run.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use unspool_sys::file::stat_file;
use unspool_sys::folder::os_str;
use unspool_sys::{Folder, Stat, lock};

use crate::SpoolDir;
use crate::layout::CORRUPT;

/// A damaged file that could not be moved.
#[derive(Debug, thiserror::Error)]
#[error("cannot move the damaged file `{name}` to `{spool}/corrupt`; it stays where it is")]
pub struct QuarantineError {
    /// The file.
    pub name: String,
    /// The spool.
    pub spool: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Names tried when the file's own is taken.
const TRIES_MAX: u32 = 100;

/// Moves a file to `corrupt/` and returns its new path.
///
/// `None`: it is not as it was `seen` any more, or somebody holds it or has it open, the caller too. Its
/// writer may go on, stopped for however long it was, or another file has its name now, so it stays and
/// has to be looked at again. Where the system does not say who has a file open, only locks count.
pub fn quarantine(
    spool: &SpoolDir,
    folder: &Folder,
    name: &[u8],
    seen: &Stat,
) -> Result<Option<PathBuf>, QuarantineError> {
    let fail = |source| QuarantineError {
        name: String::from_utf8_lossy(name).into_owned(),
        spool: spool.path().to_owned(),
        source,
    };
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    // Held until it is moved: nobody starts to write or to run it in between.
    if !lock::try_lock(file.as_fd()).map_err(fail)? {
        return Ok(None);
    }
    let now = stat_file(file.as_fd()).map_err(fail)?;
    let unchanged = |stat: &Stat| {
        (stat.device, stat.inode, stat.ctime_ns) == (seen.device, seen.inode, seen.ctime_ns)
    };
    let named = folder.stat(name).map_err(fail)?;
    if !unchanged(&now) || !named.as_ref().is_some_and(unchanged) {
        return Ok(None);
    }
    if lock::is_open_elsewhere(file.as_fd()) == Some(true) {
        return Ok(None);
    }
    let corrupt = spool.kept_folder(CORRUPT).map_err(fail)?;
    let mut new_name = name.to_vec();
    for number in 2..TRIES_MAX {
        match folder.rename(name, &corrupt, &new_name) {
            Ok(()) => return Ok(Some(spool.path().join(os_str(CORRUPT)).join(os_str(&new_name)))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                new_name = [name, format!(".{number}").as_bytes()].concat();
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Err(fail(io::ErrorKind::AlreadyExists.into()))
}
