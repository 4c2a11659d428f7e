//! A line for the log when something takes too long, written by a thread of its own: the interpreter
//! may hang.

use std::io::{self, Write};
use std::sync::Arc;

use pyo3::prelude::*;
use unspool_sys::AsFd;
use unspool_sys::poll::{Poll, Waker};

/// Has a line written to standard error after so many seconds, unless `end` is called before. A
/// process that is forked meanwhile has no such thread, and must not call `end`: it would be that of
/// its parent.
#[pyclass(frozen)]
#[derive(Debug)]
pub(crate) struct LateNote {
    ended: Arc<Waker>,
}

#[pymethods]
impl LateNote {
    #[new]
    fn new(seconds: f64, line: String) -> PyResult<Self> {
        let ended = Arc::new(Waker::new()?);
        let poll = Poll::new()?;
        poll.add(ended.as_fd(), 0)?;
        let after_ns = (seconds * 1e9) as u64;
        // The thread holds the descriptor that it waits for.
        let waits_for = Arc::clone(&ended);
        std::thread::Builder::new().name("limit".to_owned()).spawn(move || {
            let mut keys = Vec::new();
            let waited = poll.wait(&mut keys, Some(after_ns));
            if waited.is_ok() && keys.is_empty() {
                // A log that takes nothing is no reason to keep the process.
                let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
            }
            drop(waits_for);
        })?;
        Ok(Self { ended })
    }

    fn end(&self) {
        self.ended.wake();
    }
}
