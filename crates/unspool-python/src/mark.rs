//! The mark of a worker in its environment, by which its daemon knows what it left behind.

use pyo3::prelude::*;
use unspool_sys::process::overwrite_variable;
use unspool_wire::control::{MARK_VARIABLE, mark_value};

/// Marks this process, just forked, as that worker of that daemon. Returns name and value of the
/// variable, or `None` where the environment has no room for it.
#[pyfunction]
#[pyo3(signature = (daemon, worker, /))]
pub(crate) fn mark_process(daemon: u32, worker: u32) -> Option<(&'static str, String)> {
    let name = std::ffi::CString::new(MARK_VARIABLE).ok()?;
    let value = mark_value(daemon, worker);
    overwrite_variable(&name, value.as_bytes()).then_some((MARK_VARIABLE, value))
}
