//! Directory flushes that are shared between the threads of one process, or saved.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use unspool_sys::Folder;

/// One flush at a time; who asks while it runs shares the next one.
#[derive(Debug, Default)]
pub(crate) struct SharedFlush {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    finished: u64,
    running: bool,
    /// The last flush that failed, and how.
    failed: Option<(u64, Arc<io::Error>)>,
}

impl SharedFlush {
    /// Returns once a flush that started after this call was made has finished.
    pub(crate) fn run(&self, flush: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        let wanted = state.started + 1;
        while state.finished < wanted {
            if state.running {
                state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let number = state.started;
            drop(state);
            let result = flush();
            state = self.lock();
            state.running = false;
            state.finished = number;
            if let Err(error) = result {
                state.failed = Some((number, Arc::new(error)));
            }
            self.finished.notify_all();
        }
        // A later flush may have failed too: that also leaves ours in doubt.
        match &state.failed {
            Some((number, error)) if *number >= wanted => {
                Err(io::Error::new(error.kind(), error.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Folders whose own names are known to survive a power cut.
///
/// Not only those that this process made: a folder that is there may have been made a moment ago
/// by somebody who has not flushed its parent, or never does.
#[derive(Debug, Default)]
pub(crate) struct DurableFolders {
    /// Inode and birth time.
    known: Mutex<BTreeSet<(u64, i64)>>,
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
        parent.sync()?;
        if let Ok(mut known) = self.known.try_lock() {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_caller_is_covered_by_a_flush_that_started_after_its_call() {
        let shared = SharedFlush::default();
        let written = AtomicU64::new(0);
        let durable = AtomicU64::new(0);
        let flushes = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        shared
                            .run(|| {
                                flushes.fetch_add(1, Ordering::SeqCst);
                                let seen = written.load(Ordering::SeqCst);
                                std::thread::yield_now();
                                durable.fetch_max(seen, Ordering::SeqCst);
                                Ok(())
                            })
                            .unwrap();
                        assert!(durable.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(flushes.load(Ordering::SeqCst) <= 1600);
    }

    #[test]
    fn a_failed_flush_is_no_acknowledgement() {
        let shared = SharedFlush::default();
        assert!(shared.run(|| Err(io::Error::other("no"))).is_err());
        assert!(shared.run(|| Ok(())).is_ok());
    }
}
