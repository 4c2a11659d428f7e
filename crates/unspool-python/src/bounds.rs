//! How much a spool may hold, between a configuration, Python and the core.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unspool_config::{BoundsOptions, MinFree, parse_size};
use unspool_core::{FreeFloor, SpoolBounds};

use crate::errors::ConfigError;

/// A dictionary of these settings as Python passes it on; the daemon's is of the same form. Sizes are
/// texts, as in a configuration.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
struct Settings {
    max_pending: u64,
    max_pending_bytes: String,
    min_free: String,
}

/// What a process that submits is told.
pub(crate) fn from_python(settings: &Bound<'_, PyAny>) -> PyResult<SpoolBounds> {
    let Settings { max_pending, max_pending_bytes, min_free } = settings.extract()?;
    let bytes = parse_size(&max_pending_bytes).map_err(|error| {
        ConfigError::new_err(format!("max_pending_bytes `{max_pending_bytes}`: {error}"))
    })?;
    let free = min_free.parse().map_err(|error| {
        ConfigError::new_err(format!("min_free `{min_free}`: {error}, or a share, as in 5%"))
    })?;
    let some = |limit: u64| Some(limit).filter(|limit| *limit > 0);
    Ok(SpoolBounds {
        tasks: some(max_pending),
        bytes: some(bytes),
        free: match free {
            MinFree::Bytes(0) | MinFree::Share(0) => None,
            MinFree::Bytes(bytes) => Some(FreeFloor::Bytes(bytes)),
            MinFree::Share(share) => Some(FreeFloor::Share(share)),
        },
    })
}

/// What a configuration says.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    options: &BoundsOptions,
) -> PyResult<Bound<'py, PyDict>> {
    let settings = PyDict::new(py);
    settings.set_item("max_pending", options.max_pending)?;
    settings.set_item("max_pending_bytes", options.max_pending_bytes.to_string())?;
    settings.set_item("min_free", options.min_free.to_string())?;
    Ok(settings)
}
