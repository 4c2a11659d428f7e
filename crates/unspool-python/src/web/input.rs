//! `wsgi.input`: the body of a request as a file that is read once.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::shared::{Shared, os_error};

/// Bytes that are asked for at once where a line or all is wanted.
const PART: usize = 64 * 1024;

/// The body of a request. After its end, reading gives nothing; before it, an error is an `OSError`.
#[pyclass(module = "unspool._native", frozen)]
#[derive(Debug)]
pub(crate) struct Input {
    shared: Arc<Shared>,
    /// Read, and not given yet.
    ahead: Mutex<Ahead>,
}

#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    at: usize,
}

impl Ahead {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Gives up the first so many bytes.
    fn give<'py>(&mut self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        let end = self.at + most.min(self.bytes.len() - self.at);
        let given = PyBytes::new(py, &self.bytes[self.at..end]);
        self.at = end;
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
        given
    }
}

impl Input {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, ahead: Mutex::default() }
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads more; 0 is the end of the body.
    fn more(&self, py: Python<'_>, most: usize) -> PyResult<usize> {
        let mut part = Vec::new();
        let got =
            self.shared.with(py, |exchange| exchange.read(&mut part, most))?.map_err(os_error)?;
        let mut ahead = self.ahead();
        if ahead.bytes.is_empty() {
            ahead.bytes = part;
        } else {
            // What was given is kept no longer: the rest is a part of a line, and the body may be long.
            let given = std::mem::take(&mut ahead.at);
            ahead.bytes.drain(..given);
            ahead.bytes.extend_from_slice(&part);
        }
        Ok(got)
    }

    /// Reads on until so many bytes are there, or all.
    fn fill(&self, py: Python<'_>, wanted: usize) -> PyResult<()> {
        loop {
            let there = self.ahead().rest().len();
            if there >= wanted || self.more(py, (wanted - there).min(PART))? == 0 {
                return Ok(());
            }
        }
    }

    fn line<'py>(&self, py: Python<'py>, most: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut looked = 0;
        loop {
            let length = {
                let ahead = self.ahead();
                let rest = ahead.rest();
                let found = rest[looked.min(rest.len())..].iter().position(|byte| *byte == b'\n');
                let from = looked;
                looked = rest.len();
                found.map(|at| from + at + 1)
            };
            if let Some(length) = length.map(|length| length.min(most)) {
                return Ok(self.ahead().give(py, length));
            }
            if looked >= most || self.more(py, PART)? == 0 {
                return Ok(self.ahead().give(py, most));
            }
        }
    }
}

/// A number of bytes as files take it: nothing and less than 0 are all.
fn wanted(size: Option<isize>) -> usize {
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX)
}

#[pymethods]
impl Input {
    /// So many bytes, or all that are left.
    #[pyo3(signature = (size=None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let wanted = wanted(size);
        self.fill(py, wanted)?;
        Ok(self.ahead().give(py, wanted))
    }

    /// A line with its end, or so many bytes of it.
    #[pyo3(signature = (size=None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.line(py, wanted(size))
    }

    /// All lines; with a hint no more once so many bytes are read.
    #[pyo3(signature = (hint=None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let hint = match hint {
            Some(1..) => wanted(hint),
            _ => usize::MAX,
        };
        let lines = PyList::empty(py);
        let mut read = 0;
        while read < hint {
            let line = self.line(py, usize::MAX)?;
            let bytes = line.as_bytes().len();
            if bytes == 0 {
                break;
            }
            read += bytes;
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let line = self.line(py, usize::MAX)?;
        if line.as_bytes().is_empty() { Err(PyStopIteration::new_err(())) } else { Ok(line) }
    }

    /// The descriptor of the connection, as uWSGI's has it: some packages wait on it.
    fn fileno(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.shared
            .look(|exchange| exchange.socket().map_or(-1, |socket| socket.as_raw_fd()))
            .unwrap_or(-1)
    }

    /// Nothing: the body is the server's.
    #[expect(clippy::unused_self, reason = "a method of files")]
    fn close(&self) {}
}
