//! How this process submits to other machines: its keys and its TLS, and sending packets.
//!
//! One set of options for the process. Its files are read when the first task goes to another machine:
//! a daemon's worker may never do that, and may not be allowed to read them.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use unspool_config::NetworkOptions;
use unspool_core::Message;
use unspool_remote::{
    Destination, LinkError, Options, Payload, Remote, RemoteError, Reply, TlsClient, TlsFiles,
    send_packet,
};
use unspool_spool::load_keys_of;
use unspool_wire::address::PeerAddress;
use unspool_wire::packet::{HEADER_BYTES, write_packet};

use crate::errors::{ConfigError, SpoolError, config_error, spool_error, text};
use crate::message::add_plain;
use crate::settings;

static SETTINGS: Mutex<Settings> = Mutex::new(Settings {
    paths: Paths { keys: None, ca: None, certificate: None, certificate_key: None },
    read: None,
    edition: 0,
});

/// Its lock is taken with the interpreter lock held, and released before that is.
#[derive(Debug)]
struct Settings {
    paths: Paths,
    /// What the files say, once they are read. The same object as long as they are: connections are
    /// reused by it.
    read: Option<Arc<Options>>,
    /// Counts configurations, so that slow reading cannot put old keys into new settings.
    edition: u64,
}

/// A dictionary as Python passes it on; the daemon's is of the same form.
#[derive(Debug, Clone, FromPyObject)]
#[pyo3(from_item_all)]
struct Paths {
    keys: Option<PathBuf>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    certificate_key: Option<PathBuf>,
}

/// What a configuration says.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    options: &NetworkOptions,
) -> PyResult<Bound<'py, PyDict>> {
    let settings = PyDict::new(py);
    settings.set_item("keys", options.keys.as_deref())?;
    settings.set_item("ca", options.ca.as_deref())?;
    settings.set_item("certificate", options.certificate.as_deref())?;
    settings.set_item("certificate_key", options.certificate_key.as_deref())?;
    Ok(settings)
}

/// Names the files by which this process submits to other machines; with `now` they are read, else
/// when they are needed.
#[pyfunction]
#[pyo3(signature = (network, now, /))]
pub(crate) fn configure_network(
    py: Python<'_>,
    network: &Bound<'_, PyAny>,
    now: bool,
) -> PyResult<()> {
    let paths: Paths = network.extract()?;
    locked().paths = paths;
    forget();
    if now {
        options(py)?;
    }
    Ok(())
}

/// Files or the keys that sign have changed: what was read holds others.
pub(crate) fn forget() {
    let mut settings = locked();
    settings.read = None;
    settings.edition += 1;
}

fn locked() -> MutexGuard<'static, Settings> {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How connections are made.
fn options(py: Python<'_>) -> PyResult<Arc<Options>> {
    let (paths, edition) = {
        let settings = locked();
        if let Some(read) = &settings.read {
            return Ok(Arc::clone(read));
        }
        (settings.paths.clone(), settings.edition)
    };
    let keys = paths
        .keys
        .as_deref()
        .map(|path| py.detach(|| load_keys_of("network-keys", path)))
        .transpose()
        .map_err(|error| config_error(py, &error))?;
    let tls = files(paths)?
        .map(|files| py.detach(|| TlsClient::load(&files)))
        .transpose()
        .map_err(|error| config_error(py, &error))?;
    let made = Arc::new(Options {
        network_key: keys.map(|keys| keys.first().clone()),
        keys: settings::trust().keys,
        tls,
        ..Options::default()
    });
    let mut settings = locked();
    if settings.edition == edition {
        settings.read = Some(Arc::clone(&made));
    }
    Ok(made)
}

fn files(paths: Paths) -> PyResult<Option<TlsFiles>> {
    let own = match (paths.certificate, paths.certificate_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => {
            return Err(ConfigError::new_err(
                "`network-certificate` and `network-certificate-key` belong together: give both",
            ));
        }
    };
    match (paths.ca, own) {
        (Some(ca), own) => Ok(Some(TlsFiles { ca, own })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(ConfigError::new_err(
            "`network-certificate` is of no use without `network-ca`, the authorities that servers \
             are checked by: give that, too",
        )),
    }
}

/// The receiver at an address.
pub(crate) fn remote(py: Python<'_>, text: &str) -> PyResult<Remote> {
    Ok(Remote::new(address(text)?, options(py)?))
}

fn address(text: &str) -> PyResult<PeerAddress> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    PeerAddress::parse(text, &here).map_err(|error| SpoolError::new_err(error.to_string()))
}

/// The address that a value of `spooler` means, if it can mean no directory, or is a socket.
pub(crate) fn address_in(py: Python<'_>, value: &Path) -> Option<String> {
    let text = value.to_str()?;
    let is_socket = || value.is_absolute() && py.detach(|| unspool_sys::stream::is_socket(value));
    (PeerAddress::is_meant_by(text) || is_socket()).then(|| text.to_owned())
}

/// Seconds that an answer is waited for at most.
const SECONDS_MAX: f64 = 86_400.0;

/// Sends a uwsgi packet to an address or an open socket, and after it bytes of a file. Returns an
/// iterator over the reply, or None if there is no connection.
///
/// `both` are the modifiers; `block` is bytes or the dictionary that they are made of. The numbers of a socket and of a file are
/// given up by the caller.
#[pyfunction]
#[pyo3(signature = (to, both, block, timeout, body, /))]
#[expect(unsafe_code, reason = "descriptors come as numbers")]
pub(crate) fn send_message(
    py: Python<'_>,
    to: &Bound<'_, PyAny>,
    both: (u8, u8),
    block: &Bound<'_, PyAny>,
    timeout: f64,
    body: Option<(RawFd, u64)>,
) -> PyResult<Option<Replies>> {
    // SAFETY: Python duplicated this descriptor for us and gives up its number.
    let body = body.map(|(file, bytes)| (unsafe { OwnedFd::from_raw_fd(file) }, bytes));
    let socket = to.extract::<RawFd>().ok();
    // SAFETY: as above.
    let socket = socket.map(|socket| unsafe { OwnedFd::from_raw_fd(socket) });
    if !(0.0..=SECONDS_MAX).contains(&timeout) {
        return Err(PyValueError::new_err(format!(
            "timeout is {timeout}: give seconds, from 0 to {SECONDS_MAX}"
        )));
    }
    let wait = Duration::from_secs_f64(timeout);
    let to = if let Some(socket) = socket {
        Destination::Socket(socket)
    } else {
        let address = address(to.extract()?)?;
        // A packet proves no key: without TLS nothing has to be read.
        let mut made =
            if address.tls { Options::clone(&*options(py)?) } else { Options::default() };
        made.connect_wait = made.connect_wait.min(wait);
        let options = Arc::new(made);
        Destination::Remote(Remote { address, options })
    };
    let block = match block.cast::<PyDict>() {
        Ok(pairs) => pairs_block(pairs)?,
        Err(_) => block.extract()?,
    };
    let (modifier1, modifier2) = both;
    let payload = Payload { modifier1, modifier2, block: &block, body };
    match py.detach(|| send_packet(to, payload, wait)) {
        Ok(reply) => Ok(Some(Replies(Mutex::new(reply)))),
        Err(RemoteError::Connect { .. }) => Ok(None),
        Err(error @ (RemoteError::Packet { .. } | RemoteError::NoTls { .. })) => {
            Err(spool_error(py, &error))
        }
        Err(error) => Err(PyOSError::new_err(text(&error))),
    }
}

fn pairs_block(pairs: &Bound<'_, PyDict>) -> PyResult<Vec<u8>> {
    let mut message = Message::default();
    add_plain(&mut message, pairs)?;
    let pairs: Vec<_> = message.pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let mut packet =
        write_packet(0, 0, &pairs).map_err(|error| SpoolError::new_err(error.to_string()))?;
    packet.drain(..HEADER_BYTES);
    Ok(packet)
}

/// What comes back, as pieces of bytes. Raises `TimeoutError` when nothing comes in time.
#[pyclass(module = "unspool._native", frozen)]
#[derive(Debug)]
pub(crate) struct Replies(Mutex<Reply>);

#[pymethods]
impl Replies {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let next = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).next());
        match next {
            None => Ok(None),
            Some(Ok(piece)) => Ok(Some(PyBytes::new(py, &piece))),
            Some(Err(LinkError::Io(error))) => Err(error.into()),
            Some(Err(error)) => Err(PyTimeoutError::new_err(error.to_string())),
        }
    }
}
