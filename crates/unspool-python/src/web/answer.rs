//! One request, answered.

use std::sync::Arc;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use unspool_web::Exchange;

use super::body;
use super::forked;
use super::server::Serving;
use super::shared::Shared;
use super::start_response::StartResponse;

const ERROR_STATUS: &[u8] = b"500 Internal Server Error";
const ERROR_TEXT: &[u8] = b"Internal Server Error";

/// What came of a request, for the log and the numbers.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: usize,
    pub(super) head_bytes: usize,
    pub(super) body_bytes: u64,
    /// The application raised.
    pub(super) has_raised: bool,
}

impl Answered {
    pub(super) fn of(exchange: &Exchange, has_raised: bool) -> Self {
        Self {
            status: exchange.status(),
            headers: exchange.headers(),
            head_bytes: exchange.head_bytes(),
            body_bytes: exchange.sent(),
            has_raised,
        }
    }
}

/// Has the application answer a request, and sends what it returns. What is left is to finish the exchange,
/// where there is one.
pub(super) fn answer(
    py: Python<'_>,
    serving: &Serving,
    application: Option<&Bound<'_, PyAny>>,
    shared: &Arc<Shared>,
    core: usize,
) -> (Answered, Option<Box<Exchange>>) {
    let done = if let Some(application) = application {
        call(py, serving, application, shared, core)
    } else {
        serving.say("--- no python application found, check your startup logs for errors ---");
        send_error(py, shared);
        Ok(())
    };
    if shared.is_childs() {
        forked::leave(py, done.err());
    }
    let failed = done.err().map(|error| fail(py, serving, shared, &error));
    let has_raised = failed.is_some_and(|failed| failed.is_the_applications);
    let Some(exchange) = shared.take() else {
        return (Answered { has_raised, ..Answered::default() }, None);
    };
    let answered = Answered::of(&exchange, has_raised);
    (answered, failed.is_none_or(|failed| failed.is_answered).then_some(exchange))
}

fn call(
    py: Python<'_>,
    serving: &Serving,
    application: &Bound<'_, PyAny>,
    shared: &Arc<Shared>,
    core: usize,
) -> PyResult<()> {
    let environ = shared.lend(|exchange| serving.environ.of(py, exchange, shared, core));
    let Some(environ) = environ.transpose()? else { return Ok(()) };
    let start_response = Bound::new(py, StartResponse { shared: Arc::clone(shared) })?;
    let body = application.call1((environ, start_response))?;
    if shared.is_childs() {
        return Ok(());
    }
    let sent = body::send(py, shared, &body);
    if body.is_instance_of::<PyList>() || body.is_instance_of::<PyTuple>() {
        return sent;
    }
    let Some(close) = body.getattr_opt(intern!(py, "close"))? else { return sent };
    // The client need not wait for what is done there, nor hear of it.
    let sent = sent.and_then(|()| shared.end(py));
    // PEP 3333: also where sending failed.
    let closed = close.call0();
    sent.and(closed.map(|_| ()))
}

/// How a request failed.
#[derive(Debug, Clone, Copy)]
struct Failed {
    /// The application raised.
    is_the_applications: bool,
    /// There is a whole answer; else the client has to see that its half is none.
    is_answered: bool,
}

/// Says what went wrong, and answers where nothing was sent.
fn fail(py: Python<'_>, serving: &Serving, shared: &Shared, error: &PyErr) -> Failed {
    let has_gone = shared.look(Exchange::has_failed).unwrap_or(true);
    if has_gone && error.is_instance_of::<PyOSError>(py) {
        let why = error.value(py);
        serving.say(&format!("the client has gone, or takes its answer too slowly: {why}"));
        return Failed { is_the_applications: false, is_answered: false };
    }
    print(py, error);
    if has_gone || shared.is_started() {
        let is_answered = shared.look(Exchange::is_whole).unwrap_or(false);
        return Failed { is_the_applications: true, is_answered };
    }
    send_error(py, shared);
    Failed { is_the_applications: true, is_answered: true }
}

fn send_error(py: Python<'_>, shared: &Shared) {
    let sent = shared.with(py, |exchange| {
        let headers = [(&b"Content-Type"[..], &b"text/plain"[..])];
        let length = Some(ERROR_TEXT.len() as u64);
        if exchange.start(ERROR_STATUS, headers.into_iter(), length).is_ok() {
            // Whoever has gone needs no answer.
            let _ = exchange.write(ERROR_TEXT, true);
        }
    });
    debug_assert!(sent.is_ok());
}

/// The traceback, on standard error. The interpreter's own way would end the process for `SystemExit`.
pub(super) fn print(py: Python<'_>, error: &PyErr) {
    let printed = py.import(intern!(py, "traceback")).and_then(|module| {
        let parts = (error.get_type(py), error.value(py), error.traceback(py));
        module.call_method1(intern!(py, "print_exception"), parts)
    });
    if let Err(error) = printed {
        error.write_unraisable(py, None);
    }
}
