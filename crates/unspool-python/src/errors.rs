//! Errors of the core as Python exceptions: one text with all causes, and the `OSError` behind it.

use std::error::Error;
use std::io;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use unspool_remote::RemoteError;
use unspool_spool::{Bound as SpoolBound, SpoolFull, SubmitError};

pyo3::create_exception!(
    unspool,
    SpoolError,
    PyValueError,
    "The task was not submitted; the text says why and what to do."
);
pyo3::create_exception!(
    unspool,
    NotDurableError,
    SpoolError,
    "The task at `path` is submitted and will run, but may not survive a power cut."
);
pyo3::create_exception!(
    unspool,
    UnansweredError,
    SpoolError,
    "The task was sent to another machine and no answer came: it may be stored there or not. `task_id` is its id."
);
pyo3::create_exception!(
    unspool,
    CancelError,
    PyRuntimeError,
    "The task was not cancelled, or not surely; the text says why and what to do."
);
pyo3::create_exception!(
    unspool,
    SpoolFullError,
    SpoolError,
    "The spool takes no more for now. `option` is the bound, `limit` its value, `present` what is there \
     and `excess` by how much the task would pass it: tasks, bytes or inodes (`unit`)."
);
pyo3::create_exception!(
    unspool,
    ConfigError,
    PyValueError,
    "The configuration cannot be used; the text says where and what to do."
);

/// The exception for a task that was not submitted.
pub(crate) fn submit_error(py: Python<'_>, error: &SubmitError) -> PyErr {
    use std::os::unix::ffi::OsStrExt;
    let path = match error {
        SubmitError::Unknown { path, .. } => path,
        SubmitError::Full(full) => return full_error(py, full).unwrap_or_else(|failed| failed),
        _ => return spool_error(py, error),
    };
    let raised = NotDurableError::new_err(text(error));
    let path = PyBytes::new(py, path.as_os_str().as_bytes());
    if let Err(failed) = raised.value(py).setattr("path", path) {
        return failed;
    }
    with_cause(py, raised, error)
}

/// The exception for a task that another machine has not, or not surely.
pub(crate) fn remote_error(py: Python<'_>, error: &RemoteError) -> PyErr {
    let RemoteError::Unanswered { id, .. } = error else { return spool_error(py, error) };
    let raised = UnansweredError::new_err(text(error));
    match raised.value(py).setattr("task_id", id.to_string()) {
        Ok(()) => with_cause(py, raised, error),
        Err(failed) => failed,
    }
}

fn full_error(py: Python<'_>, full: &SpoolFull) -> PyResult<PyErr> {
    let raised = SpoolFullError::new_err(full.to_string());
    let value = raised.value(py);
    value.setattr("option", full.bound.option())?;
    value.setattr("limit", full.limit)?;
    value.setattr("present", full.present)?;
    value.setattr("excess", full.excess())?;
    let unit = match full.bound {
        SpoolBound::Tasks => "tasks",
        SpoolBound::Bytes | SpoolBound::Space => "bytes",
        SpoolBound::Inodes => "inodes",
    };
    value.setattr("unit", unit)?;
    Ok(raised)
}

/// A `SpoolError` that carries the text and the cause of an error.
pub(crate) fn spool_error(py: Python<'_>, error: &(dyn Error + 'static)) -> PyErr {
    with_cause(py, SpoolError::new_err(text(error)), error)
}

/// A `CancelError` that carries the text and the cause of an error.
pub(crate) fn cancel_error(py: Python<'_>, error: &(dyn Error + 'static)) -> PyErr {
    with_cause(py, CancelError::new_err(text(error)), error)
}

/// The exception for a configuration that cannot be used.
pub(crate) fn config_error(py: Python<'_>, error: &(dyn Error + 'static)) -> PyErr {
    with_cause(py, ConfigError::new_err(text(error)), error)
}

/// The error and its causes in one line.
pub(crate) fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn with_cause(py: Python<'_>, raised: PyErr, error: &(dyn Error + 'static)) -> PyErr {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(code) = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            raised.set_cause(py, Some(io::Error::from_raw_os_error(code).into()));
            break;
        }
        next = cause.source();
    }
    raised
}
