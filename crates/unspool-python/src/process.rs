//! What the operating system shows of this process.

use pyo3::prelude::*;
use unspool_sys::title;

/// Names this process: its first 15 bytes in `top`, all of it, as far as there is room, in `ps`.
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn set_title(name: &[u8]) {
    title::set(name);
}
