//! What an application returns, sent piece by piece.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use unspool_sys::FileKind;
use unspool_sys::file::stat_file;
use unspool_web::Exchange;

use super::file_wrapper::FileWrapper;
use super::shared::{Shared, os_error};
use super::text::is_bytes;

/// Sends all of a body, and the head before it.
pub(super) fn send(py: Python<'_>, shared: &Shared, body: &Bound<'_, PyAny>) -> PyResult<()> {
    if shared.is_ended() {
        return Ok(());
    }
    if let Ok(list) = body.cast::<PyList>() {
        return send_items(py, shared, list.iter(), list.len());
    }
    if let Ok(tuple) = body.cast::<PyTuple>() {
        return send_items(py, shared, tuple.iter(), tuple.len());
    }
    if let Ok(bytes) = body.cast::<PyBytes>() {
        // An iterable of numbers, strictly; what is meant is clear.
        return send_items(py, shared, std::iter::once(bytes.as_any().clone()), 1);
    }
    if let Ok(wrapper) = body.cast::<FileWrapper>()
        && send_file(py, shared, wrapper.get())?
    {
        return Ok(());
    }
    for item in body.try_iter()? {
        send_item(py, shared, &item?, None)?;
        if shared.is_ended() || shared.look(Exchange::is_overfull).unwrap_or(false) {
            // PEP 3333: nobody needs the rest, of which there may be no end.
            return Ok(());
        }
    }
    shared.start(None)
}

/// Sends a body of which the number of parts is known.
fn send_items<'py>(
    py: Python<'py>,
    shared: &Shared,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    count: usize,
) -> PyResult<()> {
    for (place, item) in items.enumerate() {
        let length =
            (count == 1).then(|| is_bytes(&item).map_or(0, |bytes| bytes.as_bytes().len()));
        send_part(py, shared, &item, length.map(|length| length as u64), place + 1 == count)?;
    }
    shared.start((count == 0).then_some(0))
}

fn send_item(
    py: Python<'_>,
    shared: &Shared,
    item: &Bound<'_, PyAny>,
    length: Option<u64>,
) -> PyResult<()> {
    send_part(py, shared, item, length, false)
}

fn send_part(
    py: Python<'_>,
    shared: &Shared,
    item: &Bound<'_, PyAny>,
    length: Option<u64>,
    last: bool,
) -> PyResult<()> {
    let Some(bytes) = is_bytes(item) else {
        let kind = item.get_type();
        return Err(PyTypeError::new_err(format!(
            "a part of the body has to be bytes, not {} (PEP 3333)",
            kind.name()?
        )));
    };
    let data = bytes.as_bytes();
    if data.is_empty() && length.is_none() {
        return Ok(());
    }
    shared.start(length)?;
    shared.write(py, data, last)
}

/// Has the kernel send a file. `false`: it is none that it could.
fn send_file(py: Python<'_>, shared: &Shared, wrapper: &FileWrapper) -> PyResult<bool> {
    let file = wrapper.filelike.bind(py);
    if !is_plain(py, file)? {
        return Ok(false);
    }
    let Some(fileno) = file.getattr_opt(intern!(py, "fileno"))? else { return Ok(false) };
    // Files in memory have the method, and no number.
    let Ok(number) = fileno.call0().and_then(|number| number.extract::<RawFd>()) else {
        return Ok(false);
    };
    let Ok(offset) =
        file.call_method0(intern!(py, "tell")).and_then(|place| place.extract::<u64>())
    else {
        return Ok(false);
    };
    // The descriptor is the application's, which has the file open while its wrapper is alive; a wrong
    // number is an error of the system calls.
    let Some(size) = regular_size(number) else { return Ok(false) };
    let bytes = size.saturating_sub(offset);
    shared.start(Some(bytes))?;
    if !shared.look(Exchange::takes_files).unwrap_or(true) {
        // The application has written something before it.
        return Ok(false);
    }
    shared
        .with(py, |exchange| with_file(number, |file| exchange.write_file(file, offset, bytes)))?
        .map_err(os_error)?;
    Ok(true)
}

/// Whether what a file gives is what its descriptor has: those of gzip and its like name that of the packed
/// file.
fn is_plain(py: Python<'_>, file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let io = py.import(intern!(py, "io"))?;
    let is = |what: &Bound<'_, PyAny>, class| what.is_instance(&io.getattr(class)?);
    if is(file, "BufferedReader")? || is(file, "BufferedRandom")? {
        return is(&file.getattr(intern!(py, "raw"))?, "FileIO");
    }
    Ok(is(file, "FileIO")? || !is(file, "IOBase")?)
}

/// How long a file is; `None` where it is no regular one.
fn regular_size(number: RawFd) -> Option<u64> {
    with_file(number, stat_file)
        .ok()
        .filter(|stat| stat.kind == FileKind::File)
        .map(|stat| stat.bytes)
}

#[expect(unsafe_code, reason = "a descriptor that an application has is a number")]
fn with_file<R>(number: RawFd, act: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and is borrowed only while the wrapper, which is alive, keeps its file open;
    // an application that closes it meanwhile gets an error, or another file of its own sent.
    act(unsafe { BorrowedFd::borrow_raw(number) })
}
