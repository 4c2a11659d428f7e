//! Texts of WSGI: each character stands for a byte.
#![expect(unsafe_code, reason = "the one call of the interpreter's that makes such a text")]

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Bytes as a text.
pub(super) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the pointer and the length are those of a slice, no errors are asked for (a null pointer is
    // the default), and what is returned is a new reference or null with an exception set.
    let text = unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            std::ptr::null(),
        );
        Bound::from_owned_ptr_or_err(py, text)?
    };
    Ok(text.cast_into::<PyString>()?)
}

/// A text as bytes; an error where a character stands for none.
pub(super) fn bytes<'a>(text: &'a Bound<'_, PyString>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let utf8 = text.to_str()?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let byte = |character: char| u8::try_from(u32::from(character)).ok();
    utf8.chars().map(byte).collect::<Option<Vec<u8>>>().map(Cow::Owned).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{what} has a character beyond latin-1: {:?}; encode it first (PEP 3333)",
            utf8.chars().take(80).collect::<String>()
        ))
    })
}

/// The bytes of an object that an application gives as a part of a body.
pub(super) fn is_bytes<'a, 'py>(item: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().ok()
}
