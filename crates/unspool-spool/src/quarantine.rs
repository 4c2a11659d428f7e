//! Quarantine: a file that is no task goes to `corrupt/`. Never deleted, never run.

use std::io;
use std::path::PathBuf;

use unspool_sys::Folder;
use unspool_sys::folder::os_str;

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
pub fn quarantine(
    spool: &SpoolDir,
    folder: &Folder,
    name: &[u8],
) -> Result<PathBuf, QuarantineError> {
    let fail = |source| QuarantineError {
        name: String::from_utf8_lossy(name).into_owned(),
        spool: spool.path().to_owned(),
        source,
    };
    spool.top.make_sub(CORRUPT).map_err(fail)?;
    let corrupt = spool.top.open_sub(CORRUPT).map_err(fail)?;
    let mut new_name = name.to_vec();
    for number in 2..TRIES_MAX {
        match folder.rename(name, &corrupt, &new_name) {
            Ok(()) => return Ok(spool.path().join(os_str(CORRUPT)).join(os_str(&new_name))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                new_name = [name, format!(".{number}").as_bytes()].concat();
            }
            Err(error) => return Err(fail(error)),
        }
    }
    Err(fail(io::ErrorKind::AlreadyExists.into()))
}
