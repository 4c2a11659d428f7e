//! A task that runs once more in the foreground, without a spool.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use unspool_core::taskfile::TaskFile;
use unspool_spool::Standing;

use crate::running;

/// Begins a task that the caller trusts: from the bytes of its file, the dictionary that its handler is
/// given. Raises `ValueError` for bytes that are no whole task.
#[pyfunction]
#[pyo3(signature = (name, content, /))]
pub(crate) fn begin_task<'py>(
    py: Python<'py>,
    name: &[u8],
    content: &[u8],
) -> PyResult<Bound<'py, PyDict>> {
    let task =
        TaskFile::parse(content).map_err(|error| PyValueError::new_err(error.to_string()))?;
    running::begin(name, task.module, Standing::OWN);
    running::dictionary(py, name, &task)
}

/// Whether a value of this name is better not shown.
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn is_secret_name(name: &str) -> bool {
    unspool_config::is_secret_name(name)
}

/// A text as it may be shown: without what stands behind names of secrets.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn without_secrets(text: &str) -> String {
    unspool_config::without_secrets(text)
}
