//! The listeners of the network: who may use each, and whether somebody listens there.

use std::io;
use std::path::Path;
use std::time::Duration;

use unspool_config::{Config, ListenSocket, NetworkUsers};
use unspool_spool::{SpoolView, live_daemon, read_relay};
use unspool_sys::stream;
use unspool_wire::address::Address;

use super::Findings;
use crate::network::{self, Guard};
use crate::{relays, resolve};

/// A listener of this machine takes a connection at once.
const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// What is wrong with the options themselves, the configuration's check has told.
pub(super) fn look(config: &Config) -> Option<Findings> {
    let sockets = &config.network.sockets;
    let has_web = config.has_web_workers();
    if sockets.is_empty() && !has_web {
        return None;
    }
    let mut found = Findings::of("network");
    let daemon = daemon(config);
    if config.spoolers.iter().all(|spooler| spooler.relay.is_some()) {
        found.warning(
            "there is no spool for tasks that come: they are refused, or wait where they are",
            "add `spooler = DIR`, or `spooler-external` for one that others run; a relay takes no tasks of \
             the network",
        );
    }
    for socket in sockets {
        let Ok(address) = network::address(config, socket) else { continue };
        if let Ok(guard) = network::check_trust(config, socket, &address) {
            tell_guard(&mut found, config, socket, &address, guard);
        }
        look_at_listener(&mut found, &address, daemon);
    }
    if has_web {
        if config.web_sockets().next().is_some() {
            found.note("requests are answered there whoever connects; this is about tasks");
        }
        for socket in &config.web.sockets {
            let Ok(address) = network::address(config, socket) else { continue };
            found.fine(format!(
                "`{} = {}`: answers requests, and takes no tasks",
                socket.option, socket.address
            ));
            look_at_listener(&mut found, &address, daemon);
        }
    }
    Some(found)
}

/// What is known of the daemon that is to listen.
#[derive(Debug, Clone, Copy)]
enum Daemon {
    Runs(u32),
    None,
    /// It runs nothing by which it would be found.
    Unknown,
}

fn daemon(config: &Config) -> Daemon {
    let spools = resolve::spool_paths(config);
    let mut outboxes = relays::relays(config).map(|(spooler, _)| spooler.path.as_path()).peekable();
    if spools.is_empty() && outboxes.peek().is_none() {
        return Daemon::Unknown;
    }
    let found = spools.iter().find_map(|path| live_daemon(path));
    found.or_else(|| outboxes.find_map(forwarder)).map_or(Daemon::None, Daemon::Runs)
}

/// The process that sends on what is in an outbox.
fn forwarder(outbox: &Path) -> Option<u32> {
    let (state, lives) = read_relay(&SpoolView::open(outbox).ok()?).ok()??;
    lives.then_some(state.pid)
}

fn tell_guard(
    found: &mut Findings,
    config: &Config,
    socket: &ListenSocket,
    address: &Address,
    guard: Guard,
) {
    let place = format!("`{} = {}`", socket.option, socket.address);
    match (guard, address) {
        (Guard::Local, Address::Tcp { .. }) => {
            found.fine(format!("{place}: only this machine reaches it, any user of it"));
        }
        (Guard::Local, Address::Path(_) | Address::Abstract(_)) => {
            let users = match &config.network.users {
                NetworkUsers::All => "any user of this machine".to_owned(),
                NetworkUsers::Listed(names) if names.is_empty() => {
                    "root and the daemon's own user".to_owned()
                }
                NetworkUsers::Listed(names) => {
                    format!("root, the daemon's own user and {}", names.join(", "))
                }
            };
            found.fine(format!("{place}: for {users}"));
        }
        (Guard::Keys, _) => found.fine(format!("{place}: peers prove a key of `network-keys`")),
        (Guard::Signatures, _) => {
            found.fine(format!("{place}: takes tasks that a key of `spooler-keys` has signed"));
        }
        (Guard::Certificates, _) => {
            found.fine(format!("{place}: clients show a certificate"));
        }
        (Guard::Tls, _) => found.warning(
            format!("{place}: TLS keeps others from listening in, and asks nobody who he is"),
            "name the authority of the clients' certificates \
             (`suwsgi-socket = ADDRESS,CERTIFICATE,KEY,,CLIENT_CA`), or set `network-keys`",
        ),
        (Guard::Open, _) => found.warning(
            format!("{place}: whoever reaches it can have tasks run, as `network-open` says"),
            "see that nothing but what is meant to can reach it, or set `network-keys`",
        ),
    }
}

fn look_at_listener(found: &mut Findings, address: &Address, daemon: Daemon) {
    let Some(connected) = connect(address) else { return };
    match (connected, daemon) {
        (Ok(()), Daemon::Runs(_) | Daemon::Unknown) => {
            found.fine(format!("{address}: somebody listens"));
        }
        (Ok(()), Daemon::None) => found.warning(
            format!("{address}: somebody listens, and no daemon of this configuration runs here"),
            "another program has the address: choose another one, or stop that",
        ),
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => found.note(format!(
            "{address}: this user may not connect (see `chmod-socket`, `chown-socket`)"
        )),
        (Err(error), Daemon::None) => {
            found.note(format!("{address}: nobody listens, since no daemon runs: {error}"));
        }
        (Err(error), Daemon::Unknown) => found.note(format!("{address}: nobody listens: {error}")),
        (Err(error), Daemon::Runs(pid)) => found.warning(
            format!("{address}: nobody listens, though process {pid} runs: {error}"),
            "it was started with other options: restart it",
        ),
    }
}

/// Connects and hangs up. `None`: the system is to choose the port, so nobody knows where.
fn connect(address: &Address) -> Option<io::Result<()>> {
    let connected = match address {
        Address::Tcp { port: 0, .. } => return None,
        Address::Tcp { host, port } => {
            let host = match host.as_str() {
                "" | "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            connect_tcp(host, *port)
        }
        Address::Path(path) => stream::connect_path(path, CONNECT_WAIT).map(drop),
        Address::Abstract(name) => {
            stream::connect_abstract(name.as_bytes(), CONNECT_WAIT).map(drop)
        }
    };
    Some(connected)
}

fn connect_tcp(host: &str, port: u16) -> io::Result<()> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in stream::resolve(host, port, CONNECT_WAIT)? {
        match stream::connect_tcp(&address, CONNECT_WAIT) {
            Ok(_) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
