//! Submitting to other machines: from options of the command line and of a configuration.

use std::path::Path;
use std::sync::Arc;

use unspool_config::Config;
use unspool_core::signing::Keyring;
use unspool_remote::{Options, Remote, RemoteError, TlsClient, TlsError, TlsFiles};
use unspool_spool::{KeysError, load_keys_of};
use unspool_wire::address::{InvalidAddress, PeerAddress};

use crate::cli::RemoteOptions;
use crate::exit;

/// Nothing was sent, or not surely.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ToError {
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("`network-certificate` and `network-certificate-key` belong together: give both")]
    Half,
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

impl ToError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Remote(
                RemoteError::At(_)
                | RemoteError::Priority(_)
                | RemoteError::Message(_)
                | RemoteError::NoTls { .. },
            ) => exit::USAGE,
            Self::Remote(_)
            | Self::Keys(KeysError::Read { .. })
            | Self::Tls(TlsError::Read { .. }) => exit::FAILED,
            _ => exit::USAGE,
        }
    }
}

/// The receiver at an address. What an option does not say, the configuration does.
pub(crate) fn remote(
    to: &str,
    given: &RemoteOptions,
    config: Option<&Config>,
    keys: Option<Arc<Keyring>>,
) -> Result<Remote, ToError> {
    let address = PeerAddress::parse(to, Path::new(""))?;
    let network = config.map(|config| &config.network);
    let network_keys = given
        .network_keys
        .as_deref()
        .or_else(|| network.and_then(|network| network.keys.as_deref()));
    let network_key = network_keys.map(|path| load_keys_of("network-keys", path)).transpose()?;
    let ca =
        given.network_ca.as_deref().or_else(|| network.and_then(|network| network.ca.as_deref()));
    let tls = match (ca, address.tls) {
        (Some(ca), true) => {
            Some(TlsClient::load(&TlsFiles { ca: ca.to_owned(), own: own(config)? })?)
        }
        _ => None,
    };
    let network_key = network_key.map(|keys| keys.first().clone());
    Ok(Remote::new(address, Arc::new(Options { network_key, keys, tls, ..Options::default() })))
}

/// The certificate that is shown, and the file of its key.
fn own(
    config: Option<&Config>,
) -> Result<Option<(std::path::PathBuf, std::path::PathBuf)>, ToError> {
    let Some(network) = config.map(|config| &config.network) else { return Ok(None) };
    match (&network.certificate, &network.certificate_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate.clone(), key.clone()))),
        _ => Err(ToError::Half),
    }
}
