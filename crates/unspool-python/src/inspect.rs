//! Looking at spools and tasks: `spooler_jobs`, `spooler_get_task`, `parsefile`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use unspool_core::Message;

use crate::errors::spool_error;
use crate::settings;

/// Paths that one call returns: a spool may hold millions of tasks.
const JOBS_MAX: usize = 1_000_000;

/// The canonical path of the first spool, which is created if it is missing.
#[pyfunction]
pub(crate) fn open_first_spool(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let spool = settings::first(py)?;
    Ok(PyBytes::new(py, spool.path().as_os_str().as_bytes()))
}

/// The paths of the tasks without a priority in the first spool, as a list of bytes.
#[pyfunction]
pub(crate) fn spooler_jobs(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let spool = settings::first(py)?;
    let jobs = py
        .detach(|| unspool_spool::list_jobs(&spool, JOBS_MAX))
        .map_err(|error| spool_error(py, &error))?;
    PyList::new(py, jobs.iter().map(|path| PyBytes::new(py, path.as_os_str().as_bytes())))
}

/// The dictionary that the handler of this task is given, but that `spooler_task_name` is the path;
/// None if there is no such task.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn spooler_get_task<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let path = path_of(path)?;
    let Some(message) = read(py, &path) else { return Ok(None) };
    let task = PyDict::new(py);
    task.set_item("spooler_task_name", PyBytes::new(py, path.as_os_str().as_bytes()))?;
    add_pairs(&task, &message)?;
    if !message.body.is_empty() {
        task.set_item("body", PyBytes::new(py, &message.body))?;
    }
    Ok(Some(task))
}

/// The pairs of a task file as a dictionary of bytes; None if it is no task file.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn parsefile<'py>(
    py: Python<'py>,
    path: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let path = path_of(path)?;
    let Some(message) = read(py, &path) else { return Ok(None) };
    let pairs = PyDict::new(py);
    add_pairs(&pairs, &message)?;
    Ok(Some(pairs))
}

/// A file that is missing, unreadable or no task is no error here, as in uWSGI.
fn read(py: Python<'_>, path: &Path) -> Option<Message> {
    py.detach(|| unspool_spool::read_task(path)).ok().flatten()
}

fn add_pairs(dictionary: &Bound<'_, PyDict>, message: &Message) -> PyResult<()> {
    let py = dictionary.py();
    for (key, value) in &message.pairs {
        dictionary.set_item(PyBytes::new(py, key), PyBytes::new(py, value))?;
    }
    Ok(())
}

/// Text as `os.fsencode` would have it, bytes or an `os.PathLike`; uWSGI takes text only.
fn path_of(path: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    if let Ok(bytes) = path.cast::<PyBytes>() {
        return Ok(PathBuf::from(OsString::from_vec(bytes.as_bytes().to_vec())));
    }
    if let Ok(text) = path.cast::<PyString>() {
        return text.extract();
    }
    path.extract()
}
