//! Records of attempts whose task is not pending any more: what a crash left between two steps of a
//! burial is brought to its end, and what belongs to nothing goes after a week.
//!
//! Only records are moved and removed here, never a task. What `attempts` writes is judged here, not
//! changed.

use std::io;
use std::os::fd::AsFd;

use unspool_core::taskfile::ATTEMPTS_OFFSET;
use unspool_sys::file::{read_at, stat_file, write_byte_at};
use unspool_sys::folder::{FileKind, Folder, Listing, Stat};
use unspool_sys::lock;

use crate::SpoolDir;
use crate::attempts::{ATTEMPTS, bury_attempts, ends_with_retry, forget_attempts};
use crate::is_task_name;
use crate::layout::{CORRUPT, DEAD};
use crate::view::sub;

/// A record whose task is nowhere is kept for so long: the task may have been moved away by hand, to
/// come back. Counted from the last attempt.
const ORPHAN_AGE_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// The same for one that was tried again and did not fail since: the daemon that runs it does not know of
/// its record. While a task is moved it may be nowhere for a moment.
const RETRIED_AGE_NS: i64 = 3600 * 1_000_000_000;

/// Names in `dead/` that a task of one name can have.
const NAMES_MAX: u32 = 100;

/// The task of a record: where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// In the spool or in a priority's folder.
    Pending,
    /// In `dead/`, under this name.
    Dead(Vec<u8>),
    /// In `corrupt/`.
    Corrupt,
    /// In none of them.
    Nowhere,
}

/// Looks for the task of a record. `folders` are the spool and its priorities' folders.
pub(crate) fn find_owner<'f>(
    top: &Folder,
    folders: impl IntoIterator<Item = &'f Folder>,
    name: &[u8],
) -> io::Result<Owner> {
    for folder in folders {
        if is_file(folder, name)? {
            return Ok(Owner::Pending);
        }
    }
    if let Some(dead) = sub(top, DEAD)?
        && let Some(last) = last_name(&dead, name)?
    {
        return Ok(Owner::Dead(last));
    }
    match sub(top, CORRUPT)? {
        Some(corrupt) if is_file(&corrupt, name)? => Ok(Owner::Corrupt),
        _ => Ok(Owner::Nowhere),
    }
}

/// The name under which a task of this name was buried last.
pub(crate) fn last_name(dead: &Folder, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if !is_file(dead, name)? {
        return Ok(None);
    }
    let mut last = name.to_vec();
    for number in 2..NAMES_MAX {
        let next = [name, format!(".{number}").as_bytes()].concat();
        if !is_file(dead, &next)? {
            break;
        }
        last = next;
    }
    Ok(Some(last))
}

fn is_file(folder: &Folder, name: &[u8]) -> io::Result<bool> {
    Ok(folder.stat(name)?.is_some_and(|stat| stat.kind == FileKind::File))
}

/// Whether the record of a task that is nowhere has been kept for long enough.
pub(crate) fn is_over(folder: &Folder, name: &[u8], stat: &Stat, now_ns: i64) -> io::Result<bool> {
    let age_ns = now_ns.saturating_sub(stat.mtime_ns);
    if age_ns < RETRIED_AGE_NS {
        return Ok(false);
    }
    Ok(age_ns >= ORPHAN_AGE_NS || ends_with_retry(folder, name)?)
}

/// Ends a burial that a crash cut: the task in `dead/` counts anew, and its record follows it. `false`
/// if somebody holds the task, who may be burying it, or it is gone.
pub(crate) fn finish_burial(spool: &SpoolDir, name: &[u8], buried: &[u8]) -> io::Result<bool> {
    let Some(dead) = sub(spool.top(), DEAD)? else { return Ok(false) };
    let Some(_held) = reset_count(&dead, buried)? else { return Ok(false) };
    bury_attempts(spool, name, &dead, buried)?;
    Ok(true)
}

/// Begins the count of a buried task anew, and keeps its lock. `None` if somebody holds it, or it is
/// gone.
pub(crate) fn reset_count(dead: &Folder, name: &[u8]) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let file = match dead.open_file(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !lock::try_lock(file.as_fd())? {
        return Ok(None);
    }
    let (open, named) = (stat_file(file.as_fd())?, dead.stat(name)?);
    if named.is_none_or(|named| (named.inode, named.device) != (open.inode, open.device)) {
        return Ok(None);
    }
    let mut count = [0u8];
    let got = read_at(file.as_fd(), &mut count, ATTEMPTS_OFFSET)?;
    if got == 1 && count[0] != 0 {
        write_byte_at(file.as_fd(), 0, ATTEMPTS_OFFSET)?;
    }
    Ok(Some(file))
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tidied {
    /// It lies where it should.
    InPlace,
    /// It followed its task to `dead/`.
    Followed,
    /// It was of a task that is nowhere, and old.
    Removed,
    /// It stays for now: somebody holds its task, or the task is nowhere and it is not old.
    Left,
}

/// Puts one record of the internals where its task is.
pub(crate) fn tidy<'f>(
    spool: &SpoolDir,
    folders: impl IntoIterator<Item = &'f Folder>,
    name: &[u8],
    now_ns: i64,
) -> io::Result<Tidied> {
    match find_owner(spool.top(), folders, name)? {
        Owner::Pending | Owner::Corrupt => Ok(Tidied::InPlace),
        Owner::Dead(buried) => {
            let done = finish_burial(spool, name, &buried)?;
            Ok(if done { Tidied::Followed } else { Tidied::Left })
        }
        Owner::Nowhere => {
            let Some(folder) = sub(&spool.internal, ATTEMPTS)? else { return Ok(Tidied::Left) };
            let stat = folder.stat(name)?;
            let Some(stat) = stat else { return Ok(Tidied::Left) };
            if !is_over(&folder, name, &stat, now_ns)? {
                return Ok(Tidied::Left);
            }
            forget_attempts(spool, name)?;
            Ok(Tidied::Removed)
        }
    }
}

/// A walk through all records of the internals, a few at a time.
#[derive(Debug)]
pub struct RecordSweep {
    listing: Option<Listing>,
}

impl RecordSweep {
    /// Starts at the beginning.
    pub fn start(spool: &SpoolDir) -> io::Result<Self> {
        let listing = sub(&spool.internal, ATTEMPTS)?.map(|folder| folder.list()).transpose()?;
        Ok(Self { listing })
    }

    /// Tidies up to `count` records and tells what became of each. `folders` are the spool and its
    /// priorities' folders. Returns `false` when there are no more.
    pub fn step(
        &mut self,
        spool: &SpoolDir,
        folders: &[Option<Folder>],
        now_ns: i64,
        count: usize,
        mut each: impl FnMut(&[u8], io::Result<Tidied>),
    ) -> io::Result<bool> {
        let Some(listing) = &mut self.listing else { return Ok(false) };
        for _ in 0..count {
            let Some(entry) = listing.next() else { return Ok(false) };
            let (name, _) = entry?;
            if is_task_name(&name) {
                each(&name, tidy(spool, folders.iter().flatten(), &name, now_ns));
            }
        }
        Ok(true)
    }
}
