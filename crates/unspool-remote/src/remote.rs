//! Where tasks are sent, and how.

use std::sync::Arc;
use std::time::Duration;

use unspool_core::signing::{Keyring, SigningKey};
use unspool_wire::address::PeerAddress;

use crate::tls::TlsClient;

/// Until a connection is there, names looked up and TLS agreed on.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Until an answer is there, and until 64 KiB are taken.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// How connections are made, and how long they are waited for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Proved to the receiver, which has to prove it too.
    pub network_key: Option<SigningKey>,
    /// The first of these signs tasks.
    pub keys: Option<Arc<Keyring>>,
    /// For addresses of TLS.
    pub tls: Option<TlsClient>,
    /// Until a connection is there.
    pub connect_wait: Duration,
    /// Until an answer is there, and until 64 KiB are taken.
    pub answer_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network_key: None,
            keys: None,
            tls: None,
            connect_wait: CONNECT_WAIT,
            answer_wait: ANSWER_WAIT,
        }
    }
}

/// A receiver.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where it is.
    pub address: PeerAddress,
    /// Shared, since connections are reused among those with the same ones.
    pub options: Arc<Options>,
}

impl Remote {
    /// With these options.
    pub fn new(address: PeerAddress, options: Arc<Options>) -> Self {
        Self { address, options }
    }

    /// Whether a task may go to whoever answers as a uWSGI: where a key is to be proved, which that
    /// cannot, only what is on this machine, or has proved itself by a certificate.
    pub(crate) fn may_be_uwsgi(&self) -> bool {
        self.options.network_key.is_none() || self.address.tls || self.address.is_local()
    }
}
