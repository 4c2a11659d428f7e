//! `wsgi.file_wrapper`: a file as a body, which is sent by the kernel where it can be.

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;

/// Bytes of a block unless it is told.
const BLOCK: usize = 32 * 1024;

/// A file that an application returns as a body; also an iterable of its blocks.
#[pyclass(module = "unspool._native", frozen)]
#[derive(Debug)]
pub(crate) struct FileWrapper {
    #[pyo3(get)]
    pub(super) filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize=BLOCK))]
    fn new(filelike: Py<PyAny>, blksize: usize) -> Self {
        Self { filelike, blksize: blksize.max(1) }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.blksize,))?;
        if block.is_truthy()? { Ok(block) } else { Err(PyStopIteration::new_err(())) }
    }

    /// Closes the file, if it can be.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.filelike.bind(py);
        if let Some(close) = file.getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        Ok(())
    }
}
