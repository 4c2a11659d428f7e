//! Claim: take the lease of one task, and look at everything again under it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use unspool_core::TaskPolicy;
use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{TaskId, peek};
use unspool_sys::file;
use unspool_sys::folder::{FileKind, Folder, Stat};
use unspool_sys::lock;

/// A task that is ours until `file` and all of its duplicates are closed or unlocked.
#[derive(Debug)]
pub struct Claim {
    /// The locked file, open for reading and writing.
    pub file: OwnedFd,
    /// As it was under the lock.
    pub stat: Stat,
    /// Its identity; `None` for a foreign file.
    pub id: Option<TaskId>,
    /// Failed attempts so far.
    pub attempts: u8,
    /// What it asks for itself, if that is anything.
    pub policy: Option<Box<TaskPolicy>>,
    /// The function, if its pair stands at the file's start.
    pub function: Option<Vec<u8>>,
}

impl Claim {
    /// What it asks for itself.
    pub fn asked(&self) -> TaskPolicy {
        self.policy.as_deref().copied().unwrap_or_default()
    }
}

/// What a try to claim came to.
#[derive(Debug)]
pub enum Claimed {
    /// It is ours.
    Task(Claim),
    /// There is no such task any more.
    Gone,
    /// Somebody else holds it. As it is now: closing our descriptor raises a hint although nothing
    /// about the file has changed.
    Busy(Stat),
    /// Due at this time.
    NotDue(i64),
    /// It cannot be a whole task, or not yet. Not locked.
    Suspect(Stat),
    /// A directory, a link, a device: never run.
    NotATask,
}

/// Whether a task is due. One that once was stays due on a clock that was set back: up to where
/// the clock had come, the last change of its file says.
///
/// Some file systems (sshfs) have no change time and show the due time for it, in whole seconds: it says
/// nothing then.
pub fn is_due(stat: &Stat, now_ns: i64) -> bool {
    let is_shown_twice = stat.ctime_ns == stat.mtime_ns && stat.ctime_ns % 1_000_000_000 == 0;
    stat.mtime_ns <= if is_shown_twice { now_ns } else { now_ns.max(stat.ctime_ns) }
}

/// Tries to claim a task that should be due at `now_ns`.
///
/// # Errors
/// What the system says where it is none of the cases of [`Claimed`], for example no permission
/// or too many open files; the task is untouched.
pub fn claim(folder: &Folder, name: &[u8], now_ns: i64) -> io::Result<Claimed> {
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(error) => {
            return match error.raw_os_error() {
                Some(ENOENT) => Ok(Claimed::Gone),
                Some(ELOOP | EISDIR | ENXIO) => Ok(Claimed::NotATask),
                _ => Err(error),
            };
        }
    };
    if !lock::try_lock(file.as_fd())? {
        return Ok(Claimed::Busy(file::stat_file(file.as_fd())?));
    }
    // Whatever was true before the lock may have changed: a holder before us may have finished
    // it, moved it or put it off.
    let stat = file::stat_file(file.as_fd())?;
    if stat.kind != FileKind::File {
        return Ok(Claimed::NotATask);
    }
    let named = folder.stat(name)?;
    if stat.links == 0 || named.is_none_or(|n| n.inode != stat.inode || n.device != stat.device) {
        return Ok(Claimed::Gone);
    }
    if !is_due(&stat, now_ns) {
        return Ok(Claimed::NotDue(stat.mtime_ns));
    }
    let mut head = [0u8; PEEK_BYTES];
    let wanted = PEEK_BYTES.min(stat.bytes as usize);
    let got = file::read_at(file.as_fd(), &mut head[..wanted], 0)?;
    let Some(seen) = peek(&head[..got]) else { return Ok(Claimed::Suspect(stat)) };
    let whole =
        if seen.exact { stat.bytes == seen.announced } else { stat.bytes >= seen.announced };
    if !whole {
        return Ok(Claimed::Suspect(stat));
    }
    let attempts = seen.attempts;
    let policy = (seen.policy != TaskPolicy::default()).then(|| Box::new(seen.policy));
    let function = seen.function.map(<[u8]>::to_vec);
    Ok(Claimed::Task(Claim { file, stat, id: seen.id, attempts, policy, function }))
}

const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const EISDIR: i32 = 21;
const ELOOP: i32 = 40;
