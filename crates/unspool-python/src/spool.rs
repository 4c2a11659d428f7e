//! Submitting: `uwsgi.spool` and `unspool.spool`.

use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use unspool_core::taskfile::{KEY_PRIORITY, KEY_SPOOLER};
use unspool_core::{Durability, Message};
use unspool_remote::Remote;

use crate::errors::{SpoolError, remote_error, submit_error};
use crate::message::{Repeated, add_items, module_of};
use crate::policy::Asked;
use crate::settings::{self, Here, Target};

/// Submits a task and returns the absolute path of its file, as bytes: deleting it cancels the task.
/// Where `spooler` is an address, as in `127.0.0.1:10001`, it returns that and the task's id.
///
/// The task is a dictionary, or keyword arguments, or both. `at`, `priority`, `spooler` and `body`
/// mean what they mean in uWSGI. As there, `b"body"` is taken out of the dictionary.
#[pyfunction]
#[pyo3(signature = (*message, **pairs), text_signature = "(message=None, /, **pairs)")]
pub(crate) fn spool<'py>(
    py: Python<'py>,
    message: &Bound<'py, PyTuple>,
    pairs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyBytes>> {
    if message.is_empty() {
        return publish(py, None, pairs, None);
    }
    // uWSGI ignores further arguments without a word.
    let first = message.get_item(0)?;
    publish(py, Some(&first), pairs, None)
}

/// Like `spool`, with what this task asks for itself, as `unspool/_policy.py` makes it.
#[pyfunction]
#[pyo3(signature = (message, pairs, options, /))]
pub(crate) fn submit<'py>(
    py: Python<'py>,
    message: Option<&Bound<'py, PyAny>>,
    pairs: &Bound<'py, PyDict>,
    options: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyBytes>> {
    publish(py, message, Some(pairs), Some(Asked::read(options)?))
}

fn publish<'py>(
    py: Python<'py>,
    dictionary: Option<&Bound<'py, PyAny>>,
    pairs: Option<&Bound<'py, PyDict>>,
    asked: Option<Asked>,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut message = Message::default();
    let mut consumed = None;
    let mut beside = Asked::default();
    if let Some(object) = dictionary {
        let Ok(items) = object.cast::<PyDict>() else {
            return Err(SpoolError::new_err(
                "The argument of spooler callable must be a dictionary",
            ));
        };
        if add_items(&mut message, items, Repeated::Impossible)? {
            consumed = Some(items);
        }
        message.module = module_of(items)?;
        beside = Asked::beside(items)?;
    }
    if let Some(pairs) = pairs {
        add_items(&mut message, pairs, Repeated::Replaces)?;
    }
    let Asked { policy, durability } = asked.unwrap_or(beside);
    message.policy = policy;
    let (path, bytes) = match settings::target(py, message.get(KEY_SPOOLER))? {
        Target::Here(here) => store(py, here, message, durability)?,
        Target::There(remote) => send(py, &remote, message)?,
    };
    if let Some(items) = consumed {
        items.del_item(PyBytes::new(py, b"body"))?;
    }
    let path = PyBytes::new(py, &path);
    if let Some(report) = reporter(py) {
        report.call1((bytes, &path))?;
    }
    Ok(path)
}

/// Returns the path of the task's file, and its length.
fn store(
    py: Python<'_>,
    here: Here,
    mut message: Message,
    durability: Option<Durability>,
) -> PyResult<(Vec<u8>, u64)> {
    let Here { spool, priority, durability: default, is_outbox } = here;
    let mut durability = durability.unwrap_or(default);
    if is_outbox {
        // It is the address, and no business of the receiver's.
        message.pairs.retain(|(key, _)| key != KEY_SPOOLER);
        // What is not stored to stay on either side would be nowhere.
        if durability == Durability::None {
            durability = Durability::Group;
        }
    }
    if let Some(priority) = priority {
        name_priority(&mut message, priority)?;
    }
    let submitted = py
        .detach(|| unspool_spool::submit_measured(&spool, &message, durability))
        .map_err(|error| submit_error(py, &error))?;
    Ok((submitted.path.into_os_string().into_vec(), submitted.bytes))
}

/// Returns `ADDRESS/ID` (a real uWSGI tells no id: `ADDRESS`), and the bytes that were sent. How durable
/// it is there, the receiver decides: one of ours, always.
fn send(py: Python<'_>, remote: &Remote, mut message: Message) -> PyResult<(Vec<u8>, u64)> {
    message.pairs.retain(|(key, _)| key != KEY_SPOOLER);
    let submitted = py
        .detach(|| unspool_remote::submit(remote, &message))
        .map_err(|error| remote_error(py, &error))?;
    let mut shown = remote.address.to_string();
    if let Some(id) = submitted.id {
        shown.push('/');
        shown.push_str(&id.to_string());
    }
    Ok((shown.into_bytes(), submitted.bytes))
}

/// Who is told of submissions.
static REPORTER: Mutex<Option<Py<PyAny>>> = Mutex::new(None);
/// Whether there is somebody: most processes never need to take the lock.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Has each submission of this process told to a function, with its size in bytes and its path;
/// `None`: to nobody.
#[pyfunction]
#[pyo3(signature = (reporter, /))]
pub(crate) fn report_submissions(reporter: Option<Py<PyAny>>) {
    REPORTED.store(reporter.is_some(), Ordering::Release);
    *REPORTER.lock().unwrap_or_else(PoisonError::into_inner) = reporter;
}

fn reporter(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    if !REPORTED.load(Ordering::Acquire) {
        return None;
    }
    let reporter = REPORTER.lock().unwrap_or_else(PoisonError::into_inner);
    reporter.as_ref().map(|reporter| reporter.bind(py).clone())
}

/// The `spooler` named is a priority's folder of a spool.
fn name_priority(message: &mut Message, priority: Vec<u8>) -> PyResult<()> {
    match message.get(KEY_PRIORITY) {
        None | Some(b"") => {
            message.pairs.push((KEY_PRIORITY.to_vec(), priority));
            Ok(())
        }
        Some(given) if given == priority => Ok(()),
        Some(given) => Err(SpoolError::new_err(format!(
            "`spooler` names the folder of the priority `{}`, and `priority` is `{}`: give one of \
             them",
            String::from_utf8_lossy(&priority),
            String::from_utf8_lossy(given),
        ))),
    }
}
