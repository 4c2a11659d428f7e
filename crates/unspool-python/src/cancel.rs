//! Cancelling: `unspool.cancel`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unspool_spool::{
    CancelError, Cancellation, FindError, SpoolDir, Whereabouts, find_one, spool_of, task_name,
};
use unspool_sys::stream::is_socket;
use unspool_wire::address::PeerAddress;

use crate::errors::cancel_error;
use crate::inspect::path_of;
use crate::settings;

/// How long signals wait.
const STEP: Duration = Duration::from_millis(100);

/// Cancels a task, named by its path, its file's name, or its id: what became of it, in a word.
#[pyfunction]
#[pyo3(signature = (task, grace, wait, /))]
pub(crate) fn cancel(
    py: Python<'_>,
    task: &Bound<'_, PyAny>,
    grace: f64,
    wait: bool,
) -> PyResult<&'static str> {
    let named = path_of(task)?;
    if let Some((address, id)) = elsewhere(&named) {
        return Err(PyValueError::new_err(format!(
            "the task {id} is not of this machine: cancel it at `{address}`, `unspool cancel {id}`"
        )));
    }
    let (spool, place) = match find(py, &named)? {
        None => return Ok("gone"),
        Some((_, Whereabouts::Kept(kept, _))) => return Ok(kept.as_str()),
        Some((spool, Whereabouts::Pending(place))) => (spool, place),
    };
    let error = |error: CancelError| match error {
        CancelError::Grace { .. } => PyValueError::new_err(error.to_string()),
        _ => cancel_error(py, &error),
    };
    let mut cancellation = Cancellation::new(&spool, place, grace, wait).map_err(error)?;
    loop {
        if let Some(became) = py.detach(|| cancellation.step(STEP)).map_err(error)? {
            return Ok(became.as_str());
        }
        py.check_signals()?;
    }
}

/// Address and id of a task that was sent to another machine, as submitting it returned them.
fn elsewhere(named: &Path) -> Option<(&str, &str)> {
    let (address, id) = named.to_str()?.rsplit_once('/')?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_address = PeerAddress::is_meant_by(address) || is_socket(Path::new(address));
    (is_id && is_address).then_some((address, id))
}

/// The spool of a task, and where in it the task lies; `None`: nowhere.
fn find(py: Python<'_>, named: &Path) -> PyResult<Option<(Arc<SpoolDir>, Whereabouts)>> {
    let given = named.as_os_str().as_bytes();
    let by_path = || {
        if !given.contains(&b'/') {
            return Ok(None);
        }
        py.detach(|| spool_of(named)).map_err(|error| find_error(py, &error))
    };
    let (spools, name) = if let Some((path, name)) = by_path()? {
        (vec![settings::spool_at(py, &path)?], name)
    } else {
        let all = settings::all(py)?;
        // Opening them has made spools of directories that only a uWSGI had used.
        match by_path()? {
            Some((path, name)) => (vec![settings::spool_at(py, &path)?], name),
            None => (all, task_name(given).map_err(|error| find_error(py, &error))?),
        }
    };
    let found = py.detach(|| find_one(spools.iter().map(|spool| spool.view()), given, &name));
    let found = found.map_err(|error| find_error(py, &error))?;
    Ok(found.map(|(index, task)| (Arc::clone(&spools[index]), task)))
}

fn find_error(py: Python<'_>, error: &FindError) -> PyErr {
    match error {
        FindError::Io { .. } | FindError::Path { .. } => cancel_error(py, error),
        _ => PyValueError::new_err(error.to_string()),
    }
}
