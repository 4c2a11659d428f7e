//! What a worker needs so that others can have it show its stacks.

use std::os::fd::IntoRawFd;

use pyo3::prelude::*;
use unspool_sys::stack;

/// The signals that ask its interpreter and one of its threads for them, and a new file to write them
/// to, which stays open.
#[pyfunction]
pub(crate) fn stack_channel() -> PyResult<(i32, i32, i32)> {
    Ok((stack::signal(), stack::thread_signal(), stack::make_file()?.into_raw_fd()))
}
