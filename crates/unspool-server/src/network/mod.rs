//! The listeners of the network: uwsgi's packets, and the protocol between two of ours.
//!
//! `handed` are connections that web workers accepted, `connection` is what comes first on any of them, `session` the protocol between two of ours, `places`
//! who is let in and how many, `spools` where tasks go. No peer can make it cost more than a place: what
//! a connection may hold in memory is bounded, as are its times, and the file system is used by a few
//! threads beside this one.

mod complaints;
mod connection;
mod handed;
mod places;
mod session;
mod spools;

pub(crate) use self::connection::with_causes;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{error, warn};
use unspool_core::signing::Keyring;
use unspool_sys::host;

use self::complaints::Complaints;
use self::handed::Receiving;
pub use self::handed::{HandedOver, HandedSocket};
use self::places::{Place, Places, Who};
use self::spools::Spools;
pub use self::spools::{NetworkSpool, SpoolsError};
use crate::listener::{Listener, Socket};
use crate::tls::TlsServer;

/// Tasks that are stored at the same time.
pub(crate) const STORING_MAX: usize = 16;
/// How often what receivers that died have left is looked for.
const SETTLE_EVERY: Duration = Duration::from_mins(10);
/// After a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is served to the network, for whom, and how much of it.
#[derive(Debug)]
pub struct NetworkSettings {
    /// Where it is served.
    pub sockets: Vec<NetworkSocket>,
    /// Connections that web workers accepted; `None`: there are no web workers.
    pub handed: Option<HandedOver>,
    /// Where tasks go. The first one takes those that name none.
    pub spools: Vec<NetworkSpool>,
    /// Who may connect over TCP; `None`: everybody.
    pub allow_from: Option<Vec<IpNet>>,
    /// Users who may submit over Unix sockets besides root and our own; `None`: all.
    pub uids: Option<Vec<u32>>,
    /// Users whose tasks need no signature where there are keys.
    pub unsigned_uids: Vec<u32>,
    /// Whether tasks have to be signed.
    pub signed_only: bool,
    /// The keys that a peer may prove to have.
    pub keys: Option<Arc<Keyring>>,
    /// Whether those are the keys that tasks are signed with: then a task of who has one needs no
    /// signature.
    pub keys_sign: bool,
    /// Bytes of the pairs of a packet.
    pub packet_bytes_max: u16,
    /// Bytes of a task's file.
    pub task_bytes_max: u64,
    /// How long a peer may take for a packet or a frame, or to read an answer.
    pub packet_wait: Duration,
    /// How long it may be silent in between.
    pub idle_wait: Duration,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Those of one address, or of one user of a Unix socket.
    pub connections_per_peer_max: usize,
}

/// One socket of the network.
#[derive(Debug)]
pub struct NetworkSocket {
    /// It is bound.
    pub listener: Listener,
    /// Whether it is one of TLS.
    pub tls: Option<TlsServer>,
    /// Whether a peer has to prove a key.
    pub needs_key: bool,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    settings: NetworkSettings,
    places: Arc<Places>,
    spools: Spools,
    /// How many may use the file system.
    storing: Arc<Semaphore>,
    complaints: Complaints,
}

/// What is known of a peer before it has said anything.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    who: Who,
    /// For people.
    shown: String,
    /// Whether a certificate or a uid tells that it is allowed.
    is_known: bool,
    /// Whether its tasks need no signature.
    may_be_unsigned: bool,
    needs_key: bool,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl NetworkSettings {
    /// Makes the sockets ready, within a runtime, and returns what serves them.
    pub(crate) fn start(mut self) -> std::io::Result<Started> {
        let mut serving = Vec::new();
        let mut listeners = Vec::new();
        for mut socket in std::mem::take(&mut self.sockets) {
            let taken = std::mem::replace(&mut socket.listener.socket, Socket::Taken);
            let accepting = match taken {
                Socket::Tcp(socket) => Accepting::Tcp(TcpListener::from_std(socket)?),
                Socket::Unix(socket) => Accepting::Unix(UnixListener::from_std(socket)?),
                Socket::Taken => continue,
            };
            let needs_key = socket.needs_key;
            let knows_clients = socket.tls.as_ref().is_some_and(|tls| tls.knows_clients);
            let tls = socket.tls.map(|tls| TlsAcceptor::from(tls.config()));
            let listening = Listening { tls, needs_key, knows_clients };
            serving.push(Serving { accepting, listening });
            listeners.push(socket.listener);
        }
        let receiving = self.handed.take().map(HandedOver::start).transpose()?;
        let places = Places::new(self.connections_max, self.connections_per_peer_max);
        let shared = Shared {
            places: Arc::new(places),
            spools: Spools::new(std::mem::take(&mut self.spools)),
            storing: Arc::new(Semaphore::new(STORING_MAX)),
            complaints: Complaints::default(),
            settings: self,
        };
        Ok(Started { shared: Arc::new(shared), serving, receiving, listeners })
    }
}

/// What is ready to be served.
pub(crate) struct Started {
    pub(crate) shared: Arc<Shared>,
    pub(crate) serving: Vec<Serving>,
    pub(crate) receiving: Option<Receiving>,
    /// For their files.
    pub(crate) listeners: Vec<Listener>,
}

/// A socket that is served.
pub(crate) struct Serving {
    accepting: Accepting,
    listening: Listening,
}

/// How connections are served that come by one socket.
struct Listening {
    tls: Option<TlsAcceptor>,
    needs_key: bool,
    knows_clients: bool,
}

impl Serving {
    /// Accepts connections for ever.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let mut failing = false;
        loop {
            let accepted = match &self.accepting {
                Accepting::Tcp(socket) => socket.accept().await.map(|(stream, address)| {
                    // Answers are small, and somebody waits for each.
                    let _ = stream.set_nodelay(true);
                    let ip = address.ip().to_canonical();
                    if let Some((peer, place)) = self.listening.admit_address(&shared, ip) {
                        self.listening.begin(stream, &shared, peer, place, Vec::new());
                    }
                }),
                Accepting::Unix(socket) => socket.accept().await.map(|(stream, _)| {
                    let uid = stream.peer_cred().map(|peer| peer.uid());
                    if let Some((peer, place)) = Listening::admit_user(&shared, uid.ok()) {
                        self.listening.begin(stream, &shared, peer, place, Vec::new());
                    }
                }),
            };
            match accepted {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        error!(%error, "cannot accept connections; trying again");
                    }
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

impl Listening {
    fn admit_address(&self, shared: &Arc<Shared>, ip: IpAddr) -> Option<(Peer, Place)> {
        let allowed = shared.settings.allow_from.as_ref();
        if allowed.is_some_and(|networks| !networks.iter().any(|network| network.contains(&ip))) {
            shared.complaints.say(&ip.to_string(), "not in `allow-from`; closed");
            return None;
        }
        let peer = Peer {
            who: Who::address(ip),
            shown: ip.to_string(),
            is_known: self.knows_clients,
            may_be_unsigned: false,
            needs_key: self.needs_key,
        };
        Self::admit(shared, peer)
    }

    fn admit_user(shared: &Arc<Shared>, uid: Option<u32>) -> Option<(Peer, Place)> {
        let shown = uid.map_or_else(|| "a user".to_owned(), |uid| format!("uid {uid}"));
        let settings = &shared.settings;
        let is_ours = |uid| [0, host::uid()].contains(&uid);
        let listed = |uid| settings.uids.as_ref().is_some_and(|uids| uids.contains(&uid));
        let is_allowed = |uid: &u32| settings.uids.is_none() || is_ours(*uid) || listed(*uid);
        let Some(uid) = uid.filter(is_allowed) else {
            shared.complaints.say(
                &shown,
                "may not submit over a Unix socket; closed (`network-uids` lets other users)",
            );
            return None;
        };
        let peer = Peer {
            who: Who::User(uid),
            shown,
            // Where everybody may submit, nobody was named.
            is_known: is_ours(uid) || listed(uid),
            may_be_unsigned: settings.unsigned_uids.contains(&uid),
            needs_key: false,
        };
        Self::admit(shared, peer)
    }

    fn admit(shared: &Arc<Shared>, peer: Peer) -> Option<(Peer, Place)> {
        match shared.places.take(peer.who) {
            Ok(place) => Some((peer, place)),
            Err(full) => {
                shared.complaints.say(&peer.shown, &full.to_string());
                None
            }
        }
    }

    /// Serves a connection in a task of its own, which whoever needs its place may end. `read` are its
    /// first bytes, if somebody has read some.
    fn begin<S>(&self, stream: S, shared: &Arc<Shared>, peer: Peer, place: Place, read: Vec<u8>)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (shared, tls) = (Arc::clone(shared), self.tls.clone());
        let watched = place.watch();
        let task = tokio::spawn(async move {
            match tls {
                None => connection::serve(&shared, stream, &peer, &place, read).await,
                Some(tls) => {
                    let wait = shared.settings.packet_wait;
                    match tokio::time::timeout(wait, tls.accept(stream)).await {
                        Ok(Ok(stream)) => {
                            connection::serve(&shared, stream, &peer, &place, read).await;
                        }
                        Ok(Err(error)) => {
                            let text = format!("no TLS: {error}; closed");
                            shared.complaints.say(&peer.shown, &text);
                        }
                        Err(_) => shared.complaints.say(&peer.shown, "no TLS in time; closed"),
                    }
                }
            }
        });
        watched.ends_with(task.abort_handle());
    }
}

/// Stores what receivers that died have left, again and again.
pub(crate) async fn settle(shared: Arc<Shared>) {
    loop {
        let settling = Arc::clone(&shared);
        let settled = tokio::task::spawn_blocking(move || settling.spools.settle()).await;
        for error in settled.unwrap_or_default() {
            warn!("{error}");
        }
        tokio::time::sleep(SETTLE_EVERY).await;
    }
}
