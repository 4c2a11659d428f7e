//! Folders whose names survive a power cut, so that their parents need no further flush.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;

use unspool_sys::Folder;

/// Folders whose own names are known to survive a power cut.
///
/// Not only those that this process made: a folder that is there may have been made a moment ago
/// by somebody who has not flushed its parent, or never does.
#[derive(Debug, Default)]
pub(crate) struct DurableFolders {
    /// Inode and birth time.
    known: Mutex<BTreeSet<(u64, i64)>>,
    /// The same of those whose parent once did not flush: it may say later that it did.
    failed: Mutex<BTreeSet<(u64, i64)>>,
}

/// Folders that are remembered.
const KNOWN_MAX: usize = 1024;

impl DurableFolders {
    /// Flushes `parent`, unless `folder` in it is known to be durable.
    pub(crate) fn ensure(&self, folder: &Folder, parent: &Folder) -> io::Result<()> {
        let stat = folder.stat(b".")?;
        let key = (stat.map_or(0, |stat| stat.inode), folder.birth_ns(b".").unwrap_or(0));
        // Never waits: a thread that a fork did away with may have held this lock.
        if self.known.try_lock().is_ok_and(|known| known.contains(&key)) {
            return Ok(());
        }
        if self.failed.try_lock().is_ok_and(|failed| failed.contains(&key)) {
            return Err(io::Error::other(
                "the folder's name did not flush before; restart when the disk is well again",
            ));
        }
        parent.sync().inspect_err(|_| {
            if let Ok(mut failed) = self.failed.try_lock()
                && failed.len() < KNOWN_MAX
            {
                failed.insert(key);
            }
        })?;
        if let Ok(mut known) = self.known.try_lock() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key);
        }
        Ok(())
    }
}
