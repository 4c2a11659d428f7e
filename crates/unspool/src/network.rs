//! Where the daemon listens and for whom: from options to addresses, numbers and keys.
//!
//! Owns the rule of trust: what strangers reach has something that keeps them out, or the
//! configuration says that it needs nothing. Binds nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use unspool_config::{Config, ListenSocket, NetworkUsers, Origin, SocketOwner};
use unspool_core::signing::Keyring;
use unspool_server::{TlsError, TlsFiles, TlsServer};
use unspool_spool::{KeysError, load_keys_of};
use unspool_wire::address::{Address, InvalidAddress};

use crate::cli::RemoteOptions;
use crate::remote::{self, ToError};
use crate::security::{self, SecurityError};
use crate::{exit, relays};

/// Options of the network that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NetworkError {
    #[error("{place}")]
    Address { place: Box<Place>, source: InvalidAddress },
    #[error("{place}")]
    Relay { place: Box<Place>, source: Box<ToError> },
    #[error(
        "{place}: TLS needs the certificates that the receiver's is signed by: `network-ca = FILE`"
    )]
    NoAuthority { place: Box<Place> },
    #[error("{place}: its host cannot be looked up")]
    Unresolved { place: Box<Place>, source: io::Error },
    #[error(
        "{place}: other machines reach this address{which}, and whoever connects there could have \
         tasks run. Let peers prove a key (`network-keys = FILE`, or sign their tasks: \
         `spooler-keys = FILE`), or listen with TLS (`suwsgi-socket = ADDRESS,CERTIFICATE,KEY`), or \
         write `network-open = true` if something else keeps strangers away"
    )]
    Open { place: Box<Place>, which: String },
    #[error("{place}")]
    Tls { place: Box<Place>, source: TlsError },
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Names(#[from] SecurityError),
}

/// An option with its value, and where it stands.
#[derive(Debug)]
pub(crate) struct Place {
    origin: Origin,
    option: &'static str,
    value: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, option, value } = self;
        write!(f, "{origin}: `{option} = {value}`")
    }
}

impl Place {
    fn of(socket: &ListenSocket) -> Self {
        let ListenSocket { address, option, origin, .. } = socket;
        Self { origin: origin.clone(), option, value: address.clone() }
    }
}

impl NetworkError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Unresolved { .. }
            | Self::Keys(KeysError::Read { .. })
            | Self::Tls { source: TlsError::Read { .. }, .. } => exit::FAILED,
            Self::Names(error) => error.exit_status(),
            Self::Relay { source, .. } => source.exit_status(),
            _ => exit::USAGE,
        }
    }
}

/// Finds what is wrong with these options, without creating anything.
pub(crate) fn check(config: &Config) -> Result<(), NetworkError> {
    check_relays(config)?;
    keys(config)?;
    users(config)?;
    owner(config)?;
    for socket in &config.network.sockets {
        let address = address(config, socket)?;
        tls(socket)?;
        check_trust(config, socket, &address)?;
    }
    // Those of HTTP take no tasks: whoever reaches them has nothing run but requests.
    for socket in &config.web.sockets {
        address(config, socket)?;
    }
    Ok(())
}

/// What a relay needs to send: an address, keys and certificates.
fn check_relays(config: &Config) -> Result<(), NetworkError> {
    for (spooler, address) in relays::relays(config) {
        let place = || {
            let value = spooler.name().to_string_lossy().into_owned();
            Box::new(Place { origin: spooler.origin.clone(), option: spooler.option(), value })
        };
        let keys = security::keys(config)?;
        let remote = remote::remote(address, &RemoteOptions::default(), Some(config), keys);
        let remote = remote
            .map_err(|source| NetworkError::Relay { place: place(), source: Box::new(source) })?;
        if remote.address.tls && config.network.ca.is_none() {
            return Err(NetworkError::NoAuthority { place: place() });
        }
    }
    Ok(())
}

/// Where one of them listens. A path is relative to `chdir`, as in uWSGI.
pub(crate) fn address(config: &Config, socket: &ListenSocket) -> Result<Address, NetworkError> {
    let directory = config.chdir.as_deref().unwrap_or(&config.start_directory);
    Address::parse(&socket.address, directory)
        .map_err(|source| NetworkError::Address { place: Place::of(socket).into(), source })
}

/// The certificate of one that has TLS.
pub(crate) fn tls(socket: &ListenSocket) -> Result<Option<TlsServer>, NetworkError> {
    let Some(files) = &socket.tls else { return Ok(None) };
    let files = TlsFiles {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        client_ca: files.client_ca.clone(),
    };
    TlsServer::load(&files)
        .map(Some)
        .map_err(|source| NetworkError::Tls { place: Place::of(socket).into(), source })
}

/// The keys of which peers have to prove one.
pub(crate) fn keys(config: &Config) -> Result<Option<Arc<Keyring>>, NetworkError> {
    let path = config.network.keys.as_deref();
    let keys = path.map(|path| load_keys_of("network-keys", path)).transpose()?;
    Ok(keys.map(Arc::new))
}

/// Users who may submit over Unix sockets besides root and the daemon's own; `None`: all.
pub(crate) fn users(config: &Config) -> Result<Option<Vec<u32>>, NetworkError> {
    let NetworkUsers::Listed(names) = &config.network.users else { return Ok(None) };
    let uids: Result<_, _> = names.iter().map(|name| security::uid("network-uids", name)).collect();
    Ok(Some(uids?))
}

/// Whom the files of sockets are given to: user and group.
pub(crate) fn owner(config: &Config) -> Result<(Option<u32>, Option<u32>), NetworkError> {
    let Some(SocketOwner { user, group }) = &config.network.socket_owner else {
        return Ok((None, None));
    };
    let user = user.as_deref().map(|name| security::uid("chown-socket", name)).transpose()?;
    let group = group.as_deref().map(|name| security::group("chown-socket", name)).transpose()?;
    Ok((user, group))
}

/// What keeps strangers from a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Only this machine reaches it, or it is a Unix socket, whose peers' users are known.
    Local,
    /// Peers prove a key.
    Keys,
    /// Tasks without a signature do not run.
    Signatures,
    /// Clients show a certificate.
    Certificates,
    /// TLS, which says who the listener is, and nothing of its clients.
    Tls,
    /// Nothing, and that is meant so.
    Open,
}

/// The rule of trust, for one listener; an error if it is broken.
pub(crate) fn check_trust(
    config: &Config,
    socket: &ListenSocket,
    address: &Address,
) -> Result<Guard, NetworkError> {
    let network = &config.network;
    // Of a Unix socket the system knows the user of the other end.
    let Address::Tcp { host, port } = address else { return Ok(Guard::Local) };
    let stranger = first_stranger(host, *port)
        .map_err(|source| NetworkError::Unresolved { place: Place::of(socket).into(), source })?;
    if network.keys.is_some() {
        return Ok(Guard::Keys);
    }
    let Some(reached_at) = stranger else { return Ok(Guard::Local) };
    match &socket.tls {
        Some(tls) if tls.client_ca.is_some() => Ok(Guard::Certificates),
        _ if config.security.keys.is_some() => Ok(Guard::Signatures),
        Some(_) => Ok(Guard::Tls),
        None if network.open => Ok(Guard::Open),
        None => {
            let number = reached_at.to_string();
            let named = socket.address.contains(&number) || reached_at.is_unspecified();
            let which = if named { String::new() } else { format!(" ({number})") };
            Err(NetworkError::Open { place: Place::of(socket).into(), which })
        }
    }
}

/// The first address of a host at which others than this machine reach it. A name may have several.
fn first_stranger(host: &str, port: u16) -> io::Result<Option<IpAddr>> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let mut addresses = (host, port).to_socket_addrs()?.map(|at| at.ip().to_canonical());
    Ok(addresses.find(|address| !address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_and_all_else_is_not() {
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert_eq!(first_stranger(host, 1).unwrap(), None, "{host}");
        }
        for host in ["", "0.0.0.0", "::", "10.1.2.3", "fd00::1", "169.254.0.1", "::ffff:10.0.0.1"] {
            assert!(first_stranger(host, 1).unwrap().is_some(), "{host}");
        }
        assert!(first_stranger("no-such-host.invalid", 1).is_err());
    }

    #[test]
    fn the_longest_task_is_that_of_a_file() {
        let default = unspool_config::NetworkOptions::default().task_bytes_max;
        assert_eq!(default, unspool_core::limits::TASK_BYTES_MAX);
    }
}
