//! Where connections come from and where they arrive, as requests say it.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use unspool_sys::{host, stream};

use crate::connection::Connection;
use crate::settings::WebSocket;

/// Names of the sockets.
#[derive(Debug)]
pub(crate) struct Origins {
    /// This machine's.
    host: String,
    /// Of each socket, a port or nothing.
    ports: Vec<String>,
}

/// What uWSGI says of connections over Unix sockets, where PEP 3333 wants something to be said.
const UNIX_ADDRESS: &str = "0.0.0.0";
/// See [`UNIX_ADDRESS`].
const UNIX_PORT: &str = "80";

/// Where a connection comes from, as texts.
#[derive(Debug)]
pub(crate) struct Remote {
    address: String,
    port: Option<u16>,
}

impl Origins {
    pub(crate) fn new(sockets: &[WebSocket]) -> Self {
        let port = |socket: &WebSocket| {
            let address = stream::local_address(socket.socket.as_fd());
            address.map_or_else(|| UNIX_PORT.to_owned(), |address| address.port().to_string())
        };
        Self {
            host: String::from_utf8_lossy(&host::hostname()).into_owned(),
            ports: sockets.iter().map(port).collect(),
        }
    }

    pub(crate) fn remote(connection: &Connection) -> Remote {
        let text = |peer: SocketAddr| Remote {
            address: peer.ip().to_canonical().to_string(),
            port: Some(peer.port()),
        };
        connection
            .peer
            .map_or_else(|| Remote { address: UNIX_ADDRESS.to_owned(), port: None }, text)
    }

    pub(crate) fn about<'a>(
        &'a self,
        connection: &Connection,
        remote: &'a Remote,
    ) -> unspool_http::Connection<'a> {
        unspool_http::Connection {
            remote_addr: &remote.address,
            remote_port: remote.port,
            server_name: &self.host,
            server_port: self.ports.get(connection.listener).map_or("", String::as_str),
            https: false,
        }
    }
}
