//! Configurations as dictionaries: from a file, and from the environment.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use unspool_config::{
    BoundsOptions, CONFIG_VARIABLE, ConfigError, Environment, Loaded, NetworkOptions, Origin,
    ProducerSource, load_file, spool_from_environment,
};

use crate::errors::config_error;
use crate::{bounds, network, security};

/// What a configuration file, or `FILE:SECTION`, and the variables amount to.
///
/// A dictionary: `spoolers` (absolute paths in their order, external ones too), `relays` (of those the
/// outboxes: pairs of `relay:ADDRESS` and the path), `opt` (pairs for
/// `uwsgi.opt`, with None for an option without a value), `shared` (options of caches and their
/// kin), `durability`, `frequency` (seconds), `security` and `bounds`
/// (what `configure` takes), `network` (what `configure_network` takes).
#[pyfunction]
#[pyo3(signature = (file, /))]
pub(crate) fn load_config(py: Python<'_>, file: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let environment = Environment::current();
    found(py, py.detach(|| load_file(&file, &Origin::Call, &environment)))
}

/// The same for what `UNSPOOL_SPOOL` or `UNSPOOL_CONFIG` name; None if neither is set.
#[pyfunction]
pub(crate) fn environment_config(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let environment = Environment::current();
    let file = match spool_from_environment(&environment) {
        None => return Ok(None),
        Some(ProducerSource::Config(file)) => file,
        Some(ProducerSource::Spool(directory)) => {
            // Not through the options: those of `UWSGI_*` variables are not meant here.
            let absolute = environment
                .current_directory()
                .map_or_else(|| directory.clone(), |start| start.join(&directory));
            return one_spool(py, &absolute).map(Some);
        }
    };
    let origin = Origin::Environment { variable: CONFIG_VARIABLE.into() };
    found(py, py.detach(|| load_file(&file, &origin, &environment))).map(Some)
}

fn found(py: Python<'_>, loaded: Result<Loaded, ConfigError>) -> PyResult<Bound<'_, PyDict>> {
    let Loaded { config, .. } = loaded.map_err(|error| config_error(py, &error))?;
    let spoolers: Vec<_> =
        config.spoolers.iter().map(|spooler| path_bytes(py, &spooler.path)).collect();
    let opt = as_bytes(py, config.opt());
    let found = PyDict::new(py);
    let relays: Vec<_> = config
        .spoolers
        .iter()
        .filter(|spooler| spooler.relay.is_some())
        .map(|spooler| (path_bytes(py, &spooler.name()), path_bytes(py, &spooler.path)))
        .collect();
    found.set_item("spoolers", spoolers)?;
    found.set_item("relays", relays)?;
    found.set_item("opt", opt)?;
    found.set_item("shared", as_bytes(py, config.shared_state()))?;
    found.set_item("durability", &config.spooler_durability)?;
    found.set_item("frequency", config.spooler_frequency.as_secs_f64())?;
    found.set_item("security", security::to_python(py, &config)?)?;
    found.set_item("bounds", bounds::to_python(py, &config.bounds)?)?;
    found.set_item("network", network::to_python(py, &config.network)?)?;
    Ok(found)
}

type Options<T> = Vec<(String, Option<T>)>;

fn as_bytes(py: Python<'_>, options: Options<String>) -> Options<Bound<'_, PyBytes>> {
    options
        .into_iter()
        .map(|(name, value)| (name, value.map(|text| PyBytes::new(py, text.as_bytes()))))
        .collect()
}

fn one_spool<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyDict>> {
    let path = path_bytes(py, path);
    let found = PyDict::new(py);
    found.set_item("spoolers", [path.clone()])?;
    found.set_item("relays", PyList::empty(py))?;
    found.set_item("opt", [("spooler", path)])?;
    found.set_item("shared", PyList::empty(py))?;
    found.set_item("durability", "group")?;
    found.set_item("frequency", 30.0)?;
    found.set_item("security", security::nothing(py)?)?;
    found.set_item("bounds", bounds::to_python(py, &BoundsOptions::default())?)?;
    found.set_item("network", network::to_python(py, &NetworkOptions::default())?)?;
    Ok(found)
}

fn path_bytes<'py>(py: Python<'py>, path: &Path) -> Bound<'py, PyBytes> {
    PyBytes::new(py, path.as_os_str().as_bytes())
}
