//! The dictionary of a request.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule, PyString};
use unspool_web::Exchange;

use super::input::Input;
use super::shared::Shared;
use super::text::latin1;

/// Names of variables that are kept as texts: those that come again and again.
const NAMES_MAX: usize = 512;

/// What all requests of a worker have in common.
#[derive(Debug)]
pub(super) struct Environ {
    /// What stands in each of them.
    common: Py<PyDict>,
    /// Of the interpreter; the standard error of `sys` may change.
    sys: Py<PyModule>,
    names: Mutex<HashMap<Vec<u8>, Py<PyString>>>,
}

impl Environ {
    pub(super) fn new(
        py: Python<'_>,
        multithread: bool,
        multiprocess: bool,
        node: &[u8],
    ) -> PyResult<Self> {
        let common = PyDict::new(py);
        common.set_item("wsgi.version", (1, 0))?;
        common.set_item("wsgi.run_once", false)?;
        common.set_item("wsgi.multithread", multithread)?;
        common.set_item("wsgi.multiprocess", multiprocess)?;
        // What is read ends with the body, whether or not its length was said.
        common.set_item("wsgi.input_terminated", true)?;
        common.set_item("wsgi.file_wrapper", py.get_type::<super::FileWrapper>())?;
        common.set_item("uwsgi.version", PyBytes::new(py, env!("CARGO_PKG_VERSION").as_bytes()))?;
        common.set_item("uwsgi.node", PyBytes::new(py, node))?;
        Ok(Self {
            common: common.unbind(),
            sys: py.import("sys")?.unbind(),
            names: Mutex::default(),
        })
    }

    /// The dictionary of one request.
    pub(super) fn of<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        shared: &Arc<Shared>,
        core: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.common.bind(py).copy()?;
        for (name, value) in exchange.request().shown() {
            environ.set_item(self.name(py, name)?, latin1(py, value)?)?;
        }
        let is_https = exchange.request().is_https();
        let scheme = if is_https { intern!(py, "https") } else { intern!(py, "http") };
        environ.set_item(intern!(py, "wsgi.url_scheme"), scheme)?;
        environ.set_item(
            intern!(py, "wsgi.input"),
            Input::new(Arc::clone(shared)).into_pyobject(py)?,
        )?;
        environ.set_item(
            intern!(py, "wsgi.errors"),
            self.sys.bind(py).getattr(intern!(py, "stderr"))?,
        )?;
        environ.set_item(intern!(py, "uwsgi.core"), core)?;
        // An application's server in front may not say it, and PEP 3333 asks for it.
        if !environ.contains(intern!(py, "SCRIPT_NAME"))? {
            environ.set_item(intern!(py, "SCRIPT_NAME"), intern!(py, ""))?;
        }
        Ok(environ)
    }

    fn name<'py>(&self, py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyString>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return Ok(known.bind(py).clone());
        }
        let text = latin1(py, name)?;
        if names.len() < NAMES_MAX && name.len() < 64 {
            names.insert(name.to_vec(), text.clone().unbind());
        }
        Ok(text)
    }
}
