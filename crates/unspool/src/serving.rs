//! What the daemon serves: from options to sockets that are bound, and to a server on them.

use std::io;

use unspool_config::{Config, UWSGI_VERSION};
use unspool_server::{
    BindError, Identity, ListenOptions, Listener, NetworkSettings, SOCKET_MODE, Serve, Server,
    StatsSettings,
};
use unspool_supervisor::{Settings, inquiries};
use unspool_wire::address::{Address, InvalidAddress};

/// Where statistics are to be served. A path is relative to `chdir`, as in uWSGI.
pub(crate) fn stats_address(config: &Config) -> Result<Option<Address>, InvalidAddress> {
    let directory = config.chdir.as_deref().unwrap_or(&config.start_directory);
    config.stats.address.as_deref().map(|text| Address::parse(text, directory)).transpose()
}

/// Binds where statistics are to be served; as in uWSGI, by the user that the daemon becomes.
pub(crate) fn bind(config: &Config) -> Result<Vec<Listener>, BindError> {
    // One that is no address was refused before.
    let address = stats_address(config).ok().flatten();
    let mode = config.network.socket_mode.unwrap_or(SOCKET_MODE);
    let options = ListenOptions { mode, ..ListenOptions::default() };
    let twin = address.as_ref().and_then(Address::twin);
    address.into_iter().chain(twin).map(|address| Listener::bind(&address, options)).collect()
}

/// Starts the server, if there is something to serve, and lets it ask the daemon.
pub(crate) fn start(
    config: &Config,
    listeners: Vec<Listener>,
    network: Option<NetworkSettings>,
    settings: &mut Settings,
) -> io::Result<Server> {
    if listeners.is_empty() {
        return Server::start(Serve { stats: None, network });
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
    Server::start(Serve { stats: Some((listeners, stats, inquirer)), network })
}
