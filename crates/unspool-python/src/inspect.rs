//! Looking at spools and tasks: `spooler_jobs`, `spooler_get_task`, `parsefile`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use unspool_core::Message;
use unspool_spool::Lifetime;

use crate::errors::spool_error;
use crate::settings;

/// How long each step of talking to a daemon may take.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// Paths that one call returns: a spool may hold millions of tasks.
const JOBS_MAX: usize = 1_000_000;

/// The canonical path of the first spool, which is created if it is missing.
#[pyfunction]
pub(crate) fn open_first_spool(py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
    let spool = settings::first(py)?;
    Ok(PyBytes::new(py, spool.path().as_os_str().as_bytes()))
}

/// The path of the store that the processes of the first spool share; `kept` for the one that
/// outlives a start of the machine. The file and the spool are created if they are missing.
#[pyfunction]
#[pyo3(signature = (kept, /))]
pub(crate) fn shared_store(py: Python<'_>, kept: bool) -> PyResult<Bound<'_, PyBytes>> {
    let spool = settings::first(py)?;
    let lifetime = if kept { Lifetime::Kept } else { Lifetime::Boot };
    let path = py.detach(|| unspool_spool::shared_store(&spool, lifetime))?;
    Ok(PyBytes::new(py, path.as_os_str().as_bytes()))
}

/// The path of the file of a numbered lock of the first spool, which is created.
#[pyfunction]
#[pyo3(signature = (number, /))]
pub(crate) fn shared_lock(py: Python<'_>, number: u32) -> PyResult<Bound<'_, PyBytes>> {
    let spool = settings::first(py)?;
    let path = py.detach(|| unspool_spool::shared_lock(&spool, number))?;
    Ok(PyBytes::new(py, path.as_os_str().as_bytes()))
}

/// The process of a daemon that runs the spool of this path, 0 if there is none.
#[pyfunction]
#[pyo3(signature = (spool, /))]
pub(crate) fn live_daemon(py: Python<'_>, spool: &[u8]) -> u32 {
    let path = Path::new(std::ffi::OsStr::from_bytes(spool));
    py.detach(|| unspool_spool::live_daemon(path)).unwrap_or(0)
}

/// Sends a request to the daemon that runs the spool of this path. Returns its answer, `None` if no
/// daemon runs it.
#[pyfunction]
#[pyo3(signature = (spool, request, /))]
pub(crate) fn ask_daemon<'py>(
    py: Python<'py>,
    spool: &[u8],
    request: &[u8],
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let path = Path::new(std::ffi::OsStr::from_bytes(spool));
    let answer = py.detach(|| unspool_spool::ask_daemon(path, request, ASK_WAIT))?;
    Ok(answer.map(|answer| PyBytes::new(py, &answer)))
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
pub(crate) fn path_of(path: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    if let Ok(bytes) = path.cast::<PyBytes>() {
        return Ok(PathBuf::from(OsString::from_vec(bytes.as_bytes().to_vec())));
    }
    if let Ok(text) = path.cast::<PyString>() {
        return text.extract();
    }
    path.extract()
}
