//! What the daemon serves: from options to sockets that are bound, and to a server on them.

use std::io;

use unspool_config::{Config, UWSGI_VERSION};
use unspool_server::{BindError, Identity, Listener, SOCKET_MODE, Server, StatsSettings};
use unspool_supervisor::{Settings, inquiries};
use unspool_wire::address::{Address, InvalidAddress};

/// Where statistics are to be served. A path is relative to `chdir`, as in uWSGI.
pub(crate) fn stats_address(config: &Config) -> Result<Option<Address>, InvalidAddress> {
    let directory = config.chdir.as_deref().unwrap_or(&config.start_directory);
    config.stats.address.as_deref().map(|text| Address::parse(text, directory)).transpose()
}

/// Binds what is to be served; as in uWSGI, by the user that the daemon becomes.
pub(crate) fn bind(config: &Config) -> Result<Vec<Listener>, BindError> {
    // One that is no address was refused before.
    let address = stats_address(config).ok().flatten();
    let mode = config.network.socket_mode.unwrap_or(SOCKET_MODE);
    let twin = address.as_ref().and_then(Address::twin);
    address.into_iter().chain(twin).map(|address| Listener::bind(&address, mode)).collect()
}

/// Starts the server, if there is something to serve, and lets it ask the daemon.
pub(crate) fn start(
    config: &Config,
    listeners: Vec<Listener>,
    settings: &mut Settings,
) -> io::Result<Option<Server>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let (inquirer, inquiries) = inquiries()?;
    settings.inquiries = Some(inquiries);
    let external = config.spoolers.iter().filter(|spooler| spooler.external);
    let identity = Identity {
        uwsgi_version: UWSGI_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        cwd: config.chdir.clone().unwrap_or_else(|| config.start_directory.clone()),
        external: external.map(|spooler| spooler.path.clone()).collect(),
    };
    let stats =
        StatsSettings { http: config.stats.http, minified: config.stats.minified, identity };
    Server::start(listeners, stats, inquirer).map(Some)
}
