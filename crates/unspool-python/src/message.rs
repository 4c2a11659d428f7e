//! A Python dictionary as a message.
//!
//! Keys are text or bytes; values are bytes and whatever holds bytes, text, int, float or bool (stored
//! as `str(value)` in UTF-8). Which keys mean something is not decided here,
//! but for `body`, which is no pair, and for the four keys that may be `None`: not given.

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyMemoryView, PyString};
use unspool_core::Message;

use crate::errors::SpoolError;
use crate::running;

const KEY_BODY: &[u8] = b"body";
/// uWSGI's documentation gives the task's own pairs under this key; its code never took them.
const KEY_MESSAGE: &[u8] = b"message_dict";
/// Keys whose value `None` means that they are not given.
const OPTIONAL: [&[u8]; 4] = [b"at", b"priority", b"spooler", KEY_BODY];

/// What to do about a key that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeated {
    /// The message is empty, so that there is none.
    Impossible,
    /// The new value takes its place.
    Replaces,
}

/// Adds the items of a dictionary. Returns whether it has the key `b"body"` with a value of bytes,
/// which uWSGI takes out of the caller's dictionary.
pub(crate) fn add_items(
    message: &mut Message,
    items: &Bound<'_, PyDict>,
    repeated: Repeated,
) -> PyResult<bool> {
    add(message, items, repeated, Nested::Allowed)
}

/// Whether a dictionary may hold another one; it might be itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nested {
    Allowed,
    Refused,
}

fn add(
    message: &mut Message,
    items: &Bound<'_, PyDict>,
    repeated: Repeated,
    nested: Nested,
) -> PyResult<bool> {
    message.pairs.reserve(items.len());
    let mut bytes_body = false;
    // A copy, because a value's own `__str__` or `__bytes__` may change the dictionary.
    for (key, value) in items.iter().collect::<Vec<_>>() {
        let name = key_bytes(&key)?;
        if value.is_none() && OPTIONAL.contains(&name.as_slice()) {
            continue;
        }
        if let (Nested::Allowed, KEY_MESSAGE, Ok(inner)) =
            (nested, name.as_slice(), value.cast::<PyDict>())
        {
            add(message, inner, Repeated::Replaces, Nested::Refused)?;
            continue;
        }
        let content = value_bytes(&name, &value)?;
        if name == KEY_BODY {
            message.body = content;
            bytes_body |= key.is_instance_of::<PyBytes>() && value.is_instance_of::<PyBytes>();
            continue;
        }
        let old = match repeated {
            Repeated::Impossible => None,
            Repeated::Replaces => message.pairs.iter_mut().find(|(old, _)| *old == name),
        };
        match old {
            Some((_, old)) => *old = content,
            None => message.pairs.push((name, content)),
        }
    }
    Ok(bytes_body)
}

/// Adds the items of a dictionary as they are, whatever their keys are called.
pub(crate) fn add_plain(message: &mut Message, items: &Bound<'_, PyDict>) -> PyResult<()> {
    for (key, value) in items.iter().collect::<Vec<_>>() {
        let name = key_bytes(&key)?;
        let content = value_bytes(&name, &value)?;
        message.pairs.push((name, content));
    }
    Ok(())
}

fn key_bytes(key: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(text) = key.cast::<PyString>() {
        return Ok(text_of(text, || "a key of the task".to_owned())?.into());
    }
    Err(SpoolError::new_err(format!(
        "a key of the task is a {}: keys are str or bytes",
        key.get_type().name()?
    )))
}

fn value_bytes(key: &[u8], value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let named = || format!("the value of `{}`", String::from_utf8_lossy(key));
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text_of(text, named)?.into());
    }
    if value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyBool>()
    {
        return Ok(text_of(&value.str()?, named)?.into());
    }
    match bytes_of(value) {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(error)
            if error.is_instance_of::<PyTypeError>(value.py())
                || error.is_instance_of::<PyAttributeError>(value.py()) =>
        {
            Err(SpoolError::new_err(format!(
                "{} is a {}: a task holds bytes, str, int, float and bool; convert it, or submit \
                 it as an argument of a function decorated with @spool(pass_arguments=True)",
                named(),
                value.get_type().name()?
            )))
        }
        Err(error) => Err(error),
    }
}

/// The object's content by the buffer protocol or `__bytes__`. What `bytes()` makes of a number or
/// of a collection is never meant.
fn bytes_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let made = match PyMemoryView::from(value) {
        Ok(view) => view.call_method0("tobytes")?,
        Err(_) => value.call_method0("__bytes__")?,
    };
    Ok(made.cast_into()?)
}

/// The module that a dictionary names beside its items, as the decorators' own kind of dictionary
/// does; a plain one has none.
pub(crate) fn module_of(items: &Bound<'_, PyDict>) -> PyResult<Vec<u8>> {
    if items.is_exact_instance_of::<PyDict>() {
        return Ok(Vec::new());
    }
    let module = items.getattr_opt(pyo3::intern!(items.py(), "unspool_module"))?;
    Ok(module
        .and_then(|name| name.cast_into::<PyBytes>().ok())
        .map_or_else(Vec::new, |name| name.as_bytes().to_vec()))
}

/// The dictionary with text for all bytes, in keys and values, that are UTF-8, what else it holds as
/// it is; and the module of the task's function, where this worker runs that task and its file says.
#[pyfunction]
#[pyo3(signature = (items, /))]
pub(crate) fn decoded<'py>(
    items: &Bound<'py, PyDict>,
) -> PyResult<(Bound<'py, PyDict>, Option<Bound<'py, PyString>>)> {
    let texts = PyDict::new(items.py());
    // No Python code runs in here that could change the dictionary.
    for (key, value) in items {
        texts.set_item(decoded_one(key), decoded_one(value))?;
    }
    Ok((texts, running::module(items)?))
}

fn decoded_one(value: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    let text = match value.cast::<PyBytes>() {
        Ok(bytes) => std::str::from_utf8(bytes.as_bytes()).ok(),
        Err(_) => None,
    };
    match text {
        Some(text) => PyString::new(value.py(), text).into_any(),
        None => value,
    }
}

fn text_of<'a>(text: &'a Bound<'_, PyString>, named: impl FnOnce() -> String) -> PyResult<&'a str> {
    text.to_str().map_err(|error| {
        let raised = SpoolError::new_err(format!("{} is no valid Unicode text", named()));
        raised.set_cause(text.py(), Some(error));
        raised
    })
}
