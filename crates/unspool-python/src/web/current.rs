//! The request that this thread answers, for functions of the module `uwsgi` that are about it.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;
use unspool_web::Exchange;

use super::answer::Answered;
use super::log_line::Asked;
use super::server::Serving;
use super::shared::Shared;

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Current {
    shared: Arc<Shared>,
    serving: Arc<Serving>,
    row: usize,
    /// No other request of this process has it.
    serial: u64,
    /// What a line says of it, where the application has asked for one.
    asked: Option<Asked>,
    /// What was answered, where the application has ended that.
    ended: Option<Answered>,
}

/// What the application did about its request besides answering it.
#[derive(Debug, Default)]
pub(super) struct Did {
    pub(super) asked: Option<Asked>,
    pub(super) ended: Option<Answered>,
}

/// Answers a request.
pub(super) fn during<R>(
    shared: &Arc<Shared>,
    serving: &Arc<Serving>,
    row: usize,
    serial: u64,
    act: impl FnOnce() -> R,
) -> (R, Did) {
    let (shared, serving) = (Arc::clone(shared), Arc::clone(serving));
    let current = Current { shared, serving, row, serial, asked: None, ended: None };
    CURRENT.with_borrow_mut(|place| *place = Some(current));
    let done = act();
    let was = CURRENT.take();
    let did = was.map(|was| Did { asked: was.asked, ended: was.ended });
    (done, did.unwrap_or_default())
}

fn with<R>(act: impl FnOnce(&mut Current) -> R) -> Option<R> {
    CURRENT.with_borrow_mut(|current| current.as_mut().map(act))
}

/// A number that is this request's alone; 0 in a thread that answers none.
#[pyfunction]
pub(crate) fn request_serial() -> u64 {
    with(|current| current.serial).unwrap_or(0)
}

/// Bytes of this request's body, as its head says; 0 if it does not.
#[pyfunction]
pub(crate) fn request_length() -> u64 {
    let length = |exchange: &Exchange| {
        let text = str::from_utf8(exchange.request().get(b"CONTENT_LENGTH")?).ok()?;
        text.parse().ok()
    };
    with(|current| current.shared.look(length).flatten().unwrap_or(0)).unwrap_or(0)
}

/// Has a line logged of this request, whatever the options say.
#[pyfunction]
pub(crate) fn log_request() {
    with(|current| current.asked = current.shared.look(|exchange| Asked::of(exchange.request())));
}

/// Ends the answer now, as far as it was sent; what runs on writes nothing more to it. Whether there was one.
#[pyfunction]
pub(crate) fn end_request(py: Python<'_>) -> bool {
    let Some(shared) = with(|current| Arc::clone(&current.shared)) else { return false };
    let Some(exchange) = shared.take_ended() else { return false };
    with(|current| current.ended = Some(Answered::of(&exchange, false)));
    // Whoever has gone needs no end.
    let _ = py.detach(|| exchange.finish());
    true
}

/// Has the daemon end this worker if the request has not ended at that time of the monotonic clock, in ns; 0:
/// no limit of its own. Whether there is a request.
#[pyfunction]
pub(crate) fn limit_request(until_ns: u64) -> bool {
    with(|current| current.serving.limit(current.row, until_ns)).is_some()
}

/// Requests that this worker has answered, and that all have; `None` in a thread that answers none.
#[pyfunction]
pub(crate) fn requests_answered() -> Option<(u64, u64)> {
    with(|current| current.serving.counts())
}
