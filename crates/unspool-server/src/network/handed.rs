//! Connections that web workers hand over: they accepted them on a socket of the application, and what came
//! first is no request. From here on each is as one that was accepted here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixDatagram, UnixStream};
use tracing::{error, warn};
use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::socket::{self, Received};
use unspool_wire::handover::Handover;

use super::{Listening, Shared};

/// After nothing could be received.
const RECEIVE_AGAIN: Duration = Duration::from_millis(100);

/// What web workers hand over, and what is known of the sockets that they accept on.
#[derive(Debug)]
pub struct HandedOver {
    /// Over which connections come.
    pub socket: OwnedFd,
    /// Of each socket of the application.
    pub sockets: Vec<HandedSocket>,
}

/// A socket of the application.
#[derive(Debug, Clone, Copy)]
pub struct HandedSocket {
    /// Whether its connections are of TCP, and not of a Unix socket.
    pub tcp: bool,
    /// Whether a peer has to prove a key.
    pub needs_key: bool,
}

/// The end of the socket over which connections come.
pub(crate) struct Receiving {
    /// One of whole packets, as those of datagrams are, though it has a connection too.
    socket: UnixDatagram,
    sockets: Vec<HandedSocket>,
}

impl HandedOver {
    /// Makes it ready, within a runtime.
    pub(super) fn start(self) -> io::Result<Receiving> {
        let socket = std::os::unix::net::UnixDatagram::from(self.socket);
        socket.set_nonblocking(true)?;
        Ok(Receiving { socket: UnixDatagram::from_std(socket)?, sockets: self.sockets })
    }
}

impl Receiving {
    /// Takes connections until nobody is left who could hand one over.
    pub(crate) async fn run(self, shared: Arc<Shared>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        let mut failing = false;
        loop {
            let mut connections = Vec::new();
            let received = self.receive(&mut buffer, &mut connections).await;
            match received {
                Ok(Received::Packet(bytes)) => {
                    failing = false;
                    self.take(&shared, &buffer[..bytes], connections);
                }
                Ok(Received::Nothing) => {}
                Ok(Received::Closed) => return,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        error!(%error, "cannot take connections over from web workers; trying again");
                    }
                    tokio::time::sleep(RECEIVE_AGAIN).await;
                }
            }
        }
    }

    async fn receive(
        &self,
        buffer: &mut [u8],
        connections: &mut Vec<OwnedFd>,
    ) -> io::Result<Received> {
        let receive = || match socket::receive(self.socket.as_fd(), buffer, connections, false)? {
            Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
            received => Ok(received),
        };
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Serves a connection, if it is one.
    fn take(&self, shared: &Arc<Shared>, packet: &[u8], connections: Vec<OwnedFd>) {
        let handover = Handover::decode(packet);
        let socket = handover.and_then(|handover| self.sockets.get(handover.socket as usize));
        let connection: Result<[OwnedFd; 1], _> = connections.try_into();
        let (Some(handover), Some(socket), Ok([connection])) = (handover, socket, connection)
        else {
            warn!("a web worker handed over what is no connection");
            return;
        };
        let read = handover.read.to_vec();
        let taken = if socket.tcp {
            Self::take_tcp(shared, *socket, connection, read)
        } else {
            Self::take_unix(shared, connection, read)
        };
        if let Err(error) = taken {
            // It has ended by now.
            tracing::debug!(%error, "a connection that was handed over cannot be served");
        }
    }

    fn take_tcp(
        shared: &Arc<Shared>,
        socket: HandedSocket,
        connection: OwnedFd,
        read: Vec<u8>,
    ) -> io::Result<()> {
        let stream = std::net::TcpStream::from(connection);
        let ip = stream.peer_addr()?.ip().to_canonical();
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream)?;
        let _ = stream.set_nodelay(true);
        let listening = Listening { tls: None, needs_key: socket.needs_key, knows_clients: false };
        if let Some((peer, place)) = listening.admit_address(shared, ip) {
            listening.begin(stream, shared, peer, place, read);
        }
        Ok(())
    }

    fn take_unix(shared: &Arc<Shared>, connection: OwnedFd, read: Vec<u8>) -> io::Result<()> {
        let stream = std::os::unix::net::UnixStream::from(connection);
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let listening = Listening { tls: None, needs_key: false, knows_clients: false };
        if let Some((peer, place)) = Listening::admit_user(shared, uid.ok()) {
            listening.begin(stream, shared, peer, place, read);
        }
        Ok(())
    }
}
