//! Directory flushes shared between the threads of one process.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

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
