//! `start_response`, and the function `write` that it returns.

use std::sync::Arc;

use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::shared::Shared;
use super::text;

/// What an application calls to say the status and the headers of its answer.
#[pyclass(module = "unspool._native", frozen)]
#[derive(Debug)]
pub(crate) struct StartResponse {
    pub(super) shared: Arc<Shared>,
}

#[pymethods]
impl StartResponse {
    /// PEP 3333: a second call needs `exc_info`, which is raised if the head has gone already.
    #[pyo3(signature = (status, headers, exc_info=None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let shared = &slf.get().shared;
        if let Some(exc_info) = exc_info.filter(|given| !given.is_none()) {
            if shared.is_started() {
                let error = exc_info.get_item(1)?;
                if !error.is_none() {
                    return Err(PyErr::from_value(error));
                }
            }
        } else if shared.said().was_called {
            return Err(PyAssertionError::new_err(
                "start_response was called before, and a second call needs exc_info (PEP 3333)",
            ));
        }
        let status = status.cast::<PyString>().map_err(|_| wrong("the status", "a str", status))?;
        let status = text::bytes(status, "the status")?.into_owned();
        let list = headers
            .cast::<PyList>()
            .map_err(|_| wrong("the headers", "a list of tuples", headers))?;
        let mut read = Vec::with_capacity(list.len());
        for header in list.iter() {
            read.push(header_of(&header)?);
        }
        // Here, so that the traceback leads to who says it.
        let pairs = read.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        unspool_http::check_head(&status, pairs)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let mut said = shared.said();
        said.status = status;
        said.headers = read;
        said.was_called = true;
        drop(said);
        slf.getattr(intern!(slf.py(), "write"))
    }

    /// Sends bytes at once, before what the application returns.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        let data = data.as_bytes();
        if data.is_empty() {
            return Ok(());
        }
        self.shared.start(None)?;
        self.shared.write(py, data, false)
    }
}

fn header_of(header: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, Vec<u8>)> {
    let pair = header.cast::<PyTuple>().map_err(|_| wrong("a header", "a tuple", header))?;
    if pair.len() != 2 {
        return Err(PyTypeError::new_err("a header is a tuple of a name and a value"));
    }
    let part = |place: usize, what: &str| -> PyResult<Vec<u8>> {
        let item = pair.get_borrowed_item(place)?;
        let text = item.cast::<PyString>().map_err(|_| wrong(what, "a str", &item))?;
        Ok(text::bytes(&text, what)?.into_owned())
    };
    Ok((part(0, "the name of a header")?, part(1, "the value of a header")?))
}

fn wrong(what: &str, wanted: &str, got: &Bound<'_, PyAny>) -> PyErr {
    let kind = got.get_type();
    let name = kind.name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{what} has to be {wanted}, not {name} (PEP 3333)"))
}
