//! Whose tasks run and who may use the spools, between a configuration, Python and the core.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use unspool_config::{Config, FileMode};
use unspool_spool::{Access, Trust, load_keys};
use unspool_sys::folder::Sharing;
use unspool_sys::user;

use crate::errors::{ConfigError, config_error};

/// A dictionary of these settings as Python passes it on; the daemon's is of the same form.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
struct Settings {
    keys: Option<PathBuf>,
    unsigned_uids: Vec<u32>,
    mode: Option<u32>,
    group: Option<u32>,
    strict: bool,
    network_pickle: bool,
}

/// Reads the keys.
pub(crate) fn from_python(settings: &Bound<'_, PyAny>) -> PyResult<(Access, Trust)> {
    let py = settings.py();
    let Settings { keys, unsigned_uids, mode, group, strict, network_pickle } =
        settings.extract()?;
    let sharing = mode.map(|mode| match mode {
        0o660 => Sharing::GroupWrites,
        0o640 => Sharing::GroupReads,
        _ => Sharing::Private,
    });
    let keys = keys
        .map(|path| py.detach(|| load_keys(&path)))
        .transpose()
        .map_err(|error| config_error(py, &error))?;
    let trust = Trust { keys: keys.map(Arc::new), unsigned_uids, network_pickle };
    Ok((Access { sharing, group, strict }, trust))
}

/// What a configuration says, for a process that submits.
pub(crate) fn to_python<'py>(py: Python<'py>, config: &Config) -> PyResult<Bound<'py, PyDict>> {
    let options = &config.security;
    let mode = options.mode.map(|mode| match mode {
        FileMode::Owner => 0o600,
        FileMode::GroupReads => 0o640,
        FileMode::GroupWrites => 0o660,
    });
    let group = options.group.as_deref().map(group).transpose()?;
    let settings = dictionary(py, options.keys.clone(), mode, group, options.strict_permissions)?;
    settings.set_item("network_pickle", config.network.pickle)?;
    Ok(settings)
}

/// What holds where nothing is said.
pub(crate) fn nothing(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    dictionary(py, None, None, None, false)
}

fn dictionary(
    py: Python<'_>,
    keys: Option<PathBuf>,
    mode: Option<u32>,
    group: Option<u32>,
    strict: bool,
) -> PyResult<Bound<'_, PyDict>> {
    let settings = PyDict::new(py);
    settings.set_item("keys", keys)?;
    settings.set_item("unsigned_uids", Vec::<u32>::new())?;
    settings.set_item("mode", mode)?;
    settings.set_item("group", group)?;
    settings.set_item("strict", strict)?;
    settings.set_item("network_pickle", false)?;
    Ok(settings)
}

fn group(name: &str) -> PyResult<u32> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    user::group_by_name(name)?
        .ok_or_else(|| ConfigError::new_err(format!("`spooler-group`: there is no group `{name}`")))
}
