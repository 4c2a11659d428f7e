//! The listeners of the network: from options to sockets that are bound, and to what they serve.
//!
//! Whether they may be as they are is `network`'s to say, before anything is bound.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use tracing::warn;
use unspool_config::{Config, ListenSocket};
use unspool_core::Durability;
use unspool_server::{
    BindError, ListenOptions, Listener, NetworkSettings, NetworkSocket, NetworkSpool, SOCKET_MODE,
};
use unspool_spool::{OpenError, SpoolDir};
use unspool_sys::host;

use crate::bounds;
use crate::exit;
use crate::network::{self, Guard, NetworkError};
use crate::resolve::is_priority_of;
use crate::security::{self, SecurityError};

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
}

impl ListenError {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Network(error) => error.exit_status(),
            Self::Security(error) => error.exit_status(),
            Self::Bind(_) | Self::Spool(_) => exit::FAILED,
        }
    }
}

/// Binds the sockets of the network, by the user that the daemon becomes. `None`: there are none.
pub(crate) fn bind(config: &Config) -> Result<Option<NetworkSettings>, ListenError> {
    let options = &config.network;
    if options.sockets.is_empty() {
        return Ok(None);
    }
    let mut sockets = Vec::new();
    for socket in &options.sockets {
        sockets.extend(bind_one(config, socket)?);
    }
    let signing = security::keys(config)?;
    let proving = network::keys(config)?;
    let keys_sign = proving.is_none();
    let unsigned_uids = security::of_workers(config)?.unsigned_uids;
    Ok(Some(NetworkSettings {
        sockets,
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
    }))
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
fn bind_one(config: &Config, socket: &ListenSocket) -> Result<Vec<NetworkSocket>, ListenError> {
    let options = &config.network;
    let listen = ListenOptions {
        mode: options.socket_mode.unwrap_or(SOCKET_MODE),
        owner: network::owner(config)?,
        backlog: options.backlog,
    };
    let address = network::address(config, socket)?;
    let needs_key = network::check_trust(config, socket, &address)? == Guard::Keys;
    let tls = network::tls(socket)?;
    let twin = address.twin();
    let mut bound = Vec::new();
    for address in std::iter::once(address).chain(twin) {
        let listener = Listener::bind(&address, listen)?;
        bound.push(NetworkSocket { listener, tls: tls.clone(), needs_key });
    }
    Ok(bound)
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
