//! Hold: the lease of a task for a moment, in which its file is changed or moved.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use unspool_sys::clock;
use unspool_sys::file::{set_mtime, set_mtime_now, stat_file};
use unspool_sys::folder::{FileKind, Folder, Stat};
use unspool_sys::lock::{self, Holder};

/// A file whose lease is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) file: OwnedFd,
    /// As it was under the lock.
    pub(crate) stat: Stat,
}

impl Lease {
    /// Gives the task another due time. Of another user's task only "now" can be written.
    pub(crate) fn set_due(&self, due_ns: i64) -> io::Result<()> {
        let Err(error) = set_mtime(self.file.as_fd(), due_ns) else { return Ok(()) };
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        if due_ns <= clock::now_ns() {
            return set_mtime_now(self.file.as_fd());
        }
        let owner = self.stat.owner;
        let text = format!(
            "the task belongs to uid {owner}: only that user and root can put it off, others can make \
             it due now (--at now)"
        );
        Err(io::Error::new(error.kind(), text))
    }
}

impl Drop for Lease {
    /// Before the file is closed, which tells a watcher of it: who looks then finds it free.
    fn drop(&mut self) {
        let _ = lock::unlock(self.file.as_fd());
    }
}

/// What a try to hold a file came to.
#[derive(Debug)]
pub(crate) enum Held {
    Ours(Lease),
    /// There is no file of that name any more.
    Gone,
    /// Somebody else has it.
    Theirs(Holder),
}

/// How long a file is waited for that is not pending: nobody runs it, and whoever has it has just moved it
/// there or is about to be done with it.
const KEPT_WAIT: Duration = Duration::from_secs(1);
/// How often it is tried.
const KEPT_EVERY: Duration = Duration::from_millis(10);

/// Like [`hold`], of a file that was given up or put aside, and waits a moment for it.
pub(crate) fn hold_kept(folder: &Folder, name: &[u8]) -> io::Result<Held> {
    let deadline_ns = clock::monotonic_ns() + KEPT_WAIT.as_nanos() as u64;
    loop {
        match hold(folder, name)? {
            Held::Theirs(_) if clock::monotonic_ns() < deadline_ns => clock::pause(KEPT_EVERY),
            held => return Ok(held),
        }
    }
}

/// Locks a file, and looks again whether it has its name.
pub(crate) fn hold(folder: &Folder, name: &[u8]) -> io::Result<Held> {
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Gone),
        Err(error) => return Err(error),
    };
    if !lock::try_lock(file.as_fd())? {
        return Ok(Held::Theirs(lock::holder(file.as_fd())?));
    }
    // A holder before us may have finished, moved or rewritten it.
    let lease = Lease { stat: stat_file(file.as_fd())?, file };
    let named = folder.stat(name)?;
    let same = named.is_some_and(|n| (n.inode, n.device) == (lease.stat.inode, lease.stat.device));
    let is_task = same && lease.stat.kind == FileKind::File;
    Ok(if is_task { Held::Ours(lease) } else { Held::Gone })
}
