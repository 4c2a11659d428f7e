//! The task that this process runs: the module of its function, and who stands behind it.
//!
//! A handler's dictionary is uWSGI's and has no place for them, and handlers call each other: so they
//! are kept beside them. The module is given to whoever asks with that task's dictionary.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyPermissionError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use unspool_core::taskfile::TaskFile;
use unspool_spool::Standing;
use unspool_sys::host;

use crate::settings;

#[derive(Debug)]
struct Running {
    task: Vec<u8>,
    module: Vec<u8>,
    standing: Standing,
}

/// Never held while Python code runs, which might hand the interpreter to another thread that waits
/// for it; and only with the interpreter lock, so that no fork finds it taken.
static RUNNING: Mutex<Running> =
    Mutex::new(Running { task: Vec::new(), module: Vec::new(), standing: Standing::OWN });

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the task that begins.
pub(crate) fn begin(task: &[u8], module: &[u8], standing: Standing) {
    let mut running = running();
    running.standing = standing;
    running.module.clear();
    running.module.extend_from_slice(module);
    running.task.clear();
    running.task.extend_from_slice(task);
}

/// What uWSGI hands to a handler: pairs as bytes, and two keys that are str.
pub(crate) fn dictionary<'py>(
    py: Python<'py>,
    name: &[u8],
    task: &TaskFile<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let dictionary = PyDict::new(py);
    dictionary.set_item(pyo3::intern!(py, "spooler_task_name"), PyBytes::new(py, name))?;
    for (key, value) in task.fields() {
        dictionary.set_item(PyBytes::new(py, key), PyBytes::new(py, value))?;
    }
    if !task.body.is_empty() {
        dictionary.set_item(pyo3::intern!(py, "body"), PyBytes::new(py, task.body))?;
    }
    Ok(dictionary)
}

/// The module for this dictionary, if it is the running task's and its file names one.
pub(crate) fn module<'py>(items: &Bound<'py, PyDict>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = items.py();
    if running().module.is_empty() {
        return Ok(None);
    }
    let name = items.get_item(pyo3::intern!(py, "spooler_task_name"))?;
    let Some(Ok(name)) = name.map(Bound::cast_into::<PyBytes>) else { return Ok(None) };
    let module = {
        let running = running();
        if running.task != name.as_bytes() {
            return Ok(None);
        }
        running.module.clone()
    };
    // Printable ASCII, or the file would not have parsed.
    Ok(std::str::from_utf8(&module).ok().map(|module| PyString::new(py, module)))
}

/// Raises `PermissionError` if pickles of the task that this process runs must not be loaded, whatever
/// has become of its dictionary on the way. Elsewhere than in a worker they may.
#[pyfunction]
pub(crate) fn check_pickles() -> PyResult<()> {
    let standing = running().standing;
    match settings::trust().refuse_pickles(standing, host::uid()) {
        None => Ok(()),
        Some(why) => Err(PyPermissionError::new_err(why)),
    }
}
