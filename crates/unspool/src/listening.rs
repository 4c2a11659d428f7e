//! The listeners of the network: from options to sockets that are bound, and to what they serve.
//!
//! Where there is an application, web workers accept on those of uwsgi's protocol without TLS and on those
//! of HTTP, and hand over what is no request.
//!
//! Whether they may be as they are is `network`'s to say, before anything is bound.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use tracing::warn;
use unspool_config::{Config, ListenSocket};
use unspool_core::Durability;
use unspool_server::{
    BindError, HandedOver, HandedSocket, ListenOptions, Listener, NetworkSettings, NetworkSocket,
    NetworkSpool, SOCKET_MODE,
};
use unspool_spool::{OpenError, SpoolDir};
use unspool_sys::{host, socket};
use unspool_wire::address::Address;
use unspool_wire::control::WebProtocol;

use crate::bounds;
use crate::exit;
use crate::network::{self, Guard, NetworkError};
use crate::resolve::is_priority_of;
use crate::security::{self, SecurityError};
use crate::web::{self, WebListening};

/// What keeps the daemon from listening.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ListenError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Spool(#[from] OpenError),
    #[error(
        "these are {sockets} sockets for web workers, more than they can be given; remove some"
    )]
    TooMany { sockets: usize },
    #[error("cannot make a socket for web workers")]
    Socket(#[source] std::io::Error),
}

/// Sockets that are bound.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// Those that the network's server accepts on.
    sockets: Vec<NetworkSocket>,
    /// Those that web workers accept on, and what is spoken there.
    requests: Vec<(Listener, WebProtocol)>,
    /// Of these the first ones, on which tasks may come.
    handed: Vec<HandedSocket>,
}

/// What listens, and what it serves.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// For tasks.
    pub(crate) network: Option<NetworkSettings>,
    /// For requests.
    pub(crate) web: Option<WebListening>,
}

impl ListenError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Network(error) => error.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::TooMany { .. } => exit::USAGE,
            Self::Bind(_) | Self::Spool(_) | Self::Socket(_) => exit::FAILED,
        }
    }
}

/// Ports below this one need privileges.
const PORTS_OF_ALL: u16 = 1024;

/// User and group of a socket's file.
pub(crate) type Owner = (Option<u32>, Option<u32>);

/// Binds, where there are web workers, before the user changes, if that user could not: with
/// `chown-socket`, as uWSGI does, and where a port needs privileges. Files are `owner`'s, unless an
/// option says whose.
pub(crate) fn bind_early(config: &Config, owner: Owner) -> Result<Option<Bound>, ListenError> {
    let changes = owner != (None, None) && config.has_web_workers();
    let mut needed = config.network.socket_owner.is_some();
    for socket in config.network.sockets.iter().chain(&config.web.sockets).filter(|_| changes) {
        let address = network::address(config, socket)?;
        needed |= matches!(address, Address::Tcp { port: 1..PORTS_OF_ALL, .. });
    }
    (changes && needed).then(|| bind(config, owner)).transpose()
}

/// Binds what is not bound yet, and says what is served on it.
pub(crate) fn settle(config: &Config, bound: Option<Bound>) -> Result<Listening, ListenError> {
    let Bound { sockets, requests, handed } =
        bound.map_or_else(|| bind(config, (None, None)), Ok)?;
    let mut listening = Listening::default();
    let mut handed_over = None;
    if !requests.is_empty() {
        let (ours, theirs) = socket::pair().map_err(ListenError::Socket)?;
        // No connection of HTTP is handed over.
        handed_over = (!handed.is_empty()).then_some(HandedOver { socket: ours, sockets: handed });
        listening.web = Some(WebListening::new(requests, theirs));
    }
    if !sockets.is_empty() || handed_over.is_some() {
        listening.network = Some(network_settings(config, sockets, handed_over)?);
    }
    Ok(listening)
}

/// Binds all sockets but that of the statistics.
fn bind(config: &Config, owner: Owner) -> Result<Bound, ListenError> {
    let has_web = config.has_web_workers();
    let mut all = Bound::default();
    for socket in &config.network.sockets {
        let bound = bind_one(config, socket, owner)?;
        if has_web && socket.tls.is_none() {
            for NetworkSocket { listener, needs_key, .. } in bound {
                all.handed.push(HandedSocket { tcp: listener.is_tcp(), needs_key });
                all.requests.push((listener, WebProtocol::Uwsgi));
            }
        } else {
            all.sockets.extend(bound);
        }
    }
    for socket in config.web.sockets.iter().filter(|_| has_web) {
        let listeners = bind_listeners(config, network::address(config, socket)?, owner)?;
        all.requests.extend(listeners.into_iter().map(|listener| (listener, WebProtocol::Http)));
    }
    match all.requests.len() {
        sockets if web::too_many(sockets) => Err(ListenError::TooMany { sockets }),
        _ => Ok(all),
    }
}

/// What is served to the network on these sockets.
fn network_settings(
    config: &Config,
    sockets: Vec<NetworkSocket>,
    handed: Option<HandedOver>,
) -> Result<NetworkSettings, ListenError> {
    let options = &config.network;
    let signing = security::keys(config)?;
    let proving = network::keys(config)?;
    let keys_sign = proving.is_none();
    let unsigned_uids = security::of_workers(config)?.unsigned_uids;
    Ok(NetworkSettings {
        sockets,
        handed,
        spools: spools(config)?,
        allow_from: options.allow_from.as_ref().map(|list| list.networks().to_vec()),
        uids: network::users(config)?,
        unsigned_uids,
        signed_only: signing.is_some(),
        keys: proving.or(signing),
        keys_sign,
        packet_bytes_max: options.buffer_size,
        task_bytes_max: options.task_bytes_max,
        packet_wait: options.socket_timeout,
        idle_wait: options.idle_timeout,
        connections_max: connections_max(options.connections as usize),
        connections_per_peer_max: options.connections_per_peer as usize,
    })
}

/// Connections that leave the rest of the daemon as many descriptors as they may take.
fn connections_max(wanted: usize) -> usize {
    host::raise_open_files_limit();
    let most = host::open_files_limit() / 2;
    if wanted > most {
        warn!(
            "`network-connections` is {wanted}, and this process may open {} files: {most} connections              are taken; raise `LimitNOFILE` for more",
            host::open_files_limit()
        );
    }
    wanted.min(most)
}

/// One socket, and its twin where it has one.
fn bind_one(
    config: &Config,
    socket: &ListenSocket,
    owner: Owner,
) -> Result<Vec<NetworkSocket>, ListenError> {
    let address = network::address(config, socket)?;
    let needs_key = network::check_trust(config, socket, &address)? == Guard::Keys;
    let tls = network::tls(socket)?;
    let listeners = bind_listeners(config, address, owner)?.into_iter();
    Ok(listeners.map(|listener| NetworkSocket { listener, tls: tls.clone(), needs_key }).collect())
}

/// What listens at an address, and at its twin.
fn bind_listeners(
    config: &Config,
    address: Address,
    (user, group): Owner,
) -> Result<Vec<Listener>, ListenError> {
    let options = &config.network;
    let named = network::owner(config)?;
    let listen = ListenOptions {
        mode: options.socket_mode.unwrap_or(SOCKET_MODE),
        owner: (named.0.or(user), named.1.or(group)),
        backlog: options.backlog,
    };
    let twin = address.twin();
    let addresses = std::iter::once(address).chain(twin);
    Ok(addresses.map(|address| Listener::bind(&address, listen)).collect::<Result<_, _>>()?)
}

/// The spools that take tasks: those that are run here, and those that others run.
fn spools(config: &Config) -> Result<Vec<NetworkSpool>, ListenError> {
    let access = security::access(config)?;
    let keys = security::keys(config)?;
    let bounds = bounds::own(&config.bounds);
    // A word that is none was refused before.
    let durability = config.spooler_durability.parse().unwrap_or(Durability::Group);
    let local: Vec<_> = config.spoolers.iter().filter(|spool| spool.relay.is_none()).collect();
    let mut spools: Vec<NetworkSpool> = Vec::new();
    for spooler in &local {
        let path = spooler.path.clone();
        let (folder, priority) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if is_priority_of(spooler, &local) => {
                (parent, Some(name.as_bytes().to_vec()))
            }
            _ => (path.as_path(), None),
        };
        let known = spools.iter().find(|known| known.path == folder);
        let spool = if let Some(known) = known {
            Arc::clone(&known.spool)
        } else {
            let open = SpoolDir::open_with(folder, &access)?;
            Arc::new(open.sign_with(keys.clone()).bounded(bounds))
        };
        spools.push(NetworkSpool { path, priority, spool, durability });
    }
    Ok(spools)
}
