//! A request as the objects have it that an application gets: the exchange, and what it said of its answer.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use unspool_sys::birthmark::Birthmark;
use unspool_web::Exchange;

/// What an application said of its answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) status: Vec<u8>,
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) was_called: bool,
}

/// Shared by all that belong to a request. Nothing here is held while the interpreter's lock is waited for.
#[derive(Debug)]
pub(super) struct Shared {
    exchange: Mutex<Option<Box<Exchange>>>,
    said: Mutex<Said>,
    /// The application has ended the answer itself.
    is_ended: AtomicBool,
    /// Of the process that answers.
    born: Arc<Birthmark>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(exchange: Box<Exchange>, born: &Arc<Birthmark>) -> Arc<Self> {
        Arc::new(Self {
            exchange: Mutex::new(Some(exchange)),
            said: Mutex::default(),
            is_ended: AtomicBool::new(false),
            born: Arc::clone(born),
        })
    }

    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        lock(&self.said)
    }

    /// Takes the exchange for good; `None` once the request is over.
    pub(super) fn take(&self) -> Option<Box<Exchange>> {
        lock(&self.exchange).take()
    }

    /// Looks at the exchange; `None` while another thread uses it, or once the request is over.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Exchange) -> R) -> Option<R> {
        lock(&self.exchange).as_deref().map(look)
    }

    /// Looks at the exchange where the interpreter may run anything, the application's finalizers too.
    pub(super) fn lend<R>(&self, look: impl FnOnce(&Exchange) -> R) -> Option<R> {
        let exchange = self.take()?;
        let done = look(&exchange);
        *lock(&self.exchange) = Some(exchange);
        Some(done)
    }

    /// Does something that may wait, without the interpreter's lock.
    pub(super) fn with<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Exchange) -> R + Send,
    ) -> PyResult<R> {
        let Some(mut exchange) = self.take() else {
            return Err(PyRuntimeError::new_err(
                "the request is over, or another thread reads or writes it now",
            ));
        };
        let (done, exchange) = py.detach(|| {
            let done = act(&mut exchange);
            (done, exchange)
        });
        *lock(&self.exchange) = Some(exchange);
        Ok(done)
    }

    /// Sends the head, as it was said, before the first bytes.
    pub(super) fn start(&self, length: Option<u64>) -> PyResult<()> {
        let said = self.said();
        if !said.was_called {
            return Err(PyRuntimeError::new_err(
                "the application returned a body and has not called start_response",
            ));
        }
        let mut exchange = lock(&self.exchange);
        let Some(exchange) = exchange.as_deref_mut() else { return Ok(()) };
        if exchange.is_started() {
            return Ok(());
        }
        let headers = said.headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        exchange
            .start(&said.status, headers, length)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Sends what ends the body, if anything does.
    pub(super) fn end(&self, py: Python<'_>) -> PyResult<()> {
        if self.look(Exchange::is_whole).unwrap_or(true) {
            return Ok(());
        }
        self.with(py, Exchange::end)?.map_err(os_error)
    }

    pub(super) fn is_started(&self) -> bool {
        self.look(Exchange::is_started).unwrap_or(true)
    }

    /// Whether this is a process that the application forked: the answer is not its own.
    pub(super) fn is_childs(&self) -> bool {
        !self.born.is_here()
    }

    /// Takes the exchange of an answer that the application ends itself: what it returns is no part of it.
    pub(super) fn take_ended(&self) -> Option<Box<Exchange>> {
        let exchange = self.take()?;
        self.is_ended.store(true, Ordering::Relaxed);
        Some(exchange)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// Sends a piece of the body.
    pub(super) fn write(&self, py: Python<'_>, data: &[u8], last: bool) -> PyResult<()> {
        if self.is_childs() {
            return Err(PyRuntimeError::new_err(
                "a process that was forked while a request is answered cannot answer it too",
            ));
        }
        if self.is_ended() {
            return Ok(());
        }
        self.with(py, |exchange| exchange.write(data, last))?.map_err(os_error)
    }
}

/// An error of a connection as Python has it.
pub(super) fn os_error(error: io::Error) -> PyErr {
    if error.raw_os_error().is_some() {
        return error.into();
    }
    PyOSError::new_err(error.to_string())
}
