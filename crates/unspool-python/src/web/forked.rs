//! The end of a process that an application forked while it answered a request, and that came back from
//! there: it has the worker's connections and its poll, and would take the worker's requests.

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use super::answer::print;

/// Ends this process as `sys.exit` would, or with what it failed with.
pub(super) fn leave(py: Python<'_>, error: Option<PyErr>) -> ! {
    let status = error.map_or(0, |error| status_of(py, &error));
    for name in ["stdout", "stderr"] {
        // Nobody could be told that this failed.
        let _ = py.import("sys").and_then(|sys| sys.getattr(name)?.call_method0("flush"));
    }
    let _ = py.import("os").and_then(|os| os.call_method1("_exit", (status,)));
    std::process::abort()
}

fn status_of(py: Python<'_>, error: &PyErr) -> i32 {
    if error.is_instance_of::<PySystemExit>(py)
        && let Ok(code) = error.value(py).getattr("code")
    {
        if code.is_none() {
            return 0;
        }
        if let Ok(status) = code.extract() {
            return status;
        }
    }
    print(py, error);
    1
}
