//! The module of the function of the task that this process runs.
//!
//! A handler's dictionary is uWSGI's and has no place for it, and handlers call each other: so it is
//! kept beside them, under the task's name, and given to whoever asks with that task's dictionary.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

#[derive(Debug)]
struct Running {
    task: Vec<u8>,
    module: Vec<u8>,
}

/// Never held while Python code runs, which might hand the interpreter to another thread that waits
/// for it; and only with the interpreter lock, so that no fork finds it taken.
static RUNNING: Mutex<Running> = Mutex::new(Running { task: Vec::new(), module: Vec::new() });

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes the task that begins.
pub(crate) fn begin(task: &[u8], module: &[u8]) {
    let mut running = running();
    running.module.clear();
    running.module.extend_from_slice(module);
    running.task.clear();
    running.task.extend_from_slice(task);
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
