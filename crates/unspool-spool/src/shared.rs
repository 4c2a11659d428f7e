//! Files that the processes of a spool share beside its tasks: what `uwsgi.cache_*` and its kin
//! keep, and the numbered locks.
//!
//! Owns their names. What stands in the stores is the Python package's business. Nothing here is a
//! task, and nothing that a task needs is here: the folder may be removed while nobody uses it.

use std::io;
use std::path::PathBuf;

use unspool_sys::folder::{self, Folder};
use unspool_sys::host;

use crate::layout::SpoolDir;

const SHARED: &[u8] = b"shared";
const KEPT: &[u8] = b"kept.sqlite3";
const BOOT_PREFIX: &str = "boot-";

/// What becomes of a store when the machine starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It is gone: it is written without flushes, so a power cut may leave anything.
    Boot,
    /// It stays.
    Kept,
}

/// The path of a store, an empty file of mode 0600 if it is new. Those of earlier starts of the
/// machine are removed.
pub fn shared_store(dir: &SpoolDir, lifetime: Lifetime) -> io::Result<PathBuf> {
    let folder = open(dir)?;
    let name = match lifetime {
        Lifetime::Kept => KEPT.to_vec(),
        Lifetime::Boot => {
            let name = format!("{BOOT_PREFIX}{}.sqlite3", host::boot_id());
            remove_others(&folder, name.as_bytes())?;
            name.into_bytes()
        }
    };
    make(dir, &folder, &name)
}

/// The path of the file of a numbered lock.
pub fn shared_lock(dir: &SpoolDir, number: u32) -> io::Result<PathBuf> {
    make(dir, &open(dir)?, format!("lock-{number}").as_bytes())
}

fn open(dir: &SpoolDir) -> io::Result<Folder> {
    dir.internal.make_sub(SHARED)?;
    dir.internal.open_sub(SHARED)
}

fn make(dir: &SpoolDir, folder: &Folder, name: &[u8]) -> io::Result<PathBuf> {
    folder.open_or_create(name)?;
    let shared = dir.internal_path().join(folder::os_str(SHARED));
    Ok(shared.join(folder::os_str(name)))
}

/// The files beside a store begin with its name.
fn remove_others(folder: &Folder, current: &[u8]) -> io::Result<()> {
    for entry in folder.list()? {
        let (name, _) = entry?;
        if name.starts_with(BOOT_PREFIX.as_bytes()) && !name.starts_with(current) {
            folder.unlink(&name)?;
        }
    }
    Ok(())
}
