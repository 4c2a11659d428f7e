//! Sockets that listen, and their names.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use unspool_sys::listen::{BACKLOG, SocketName, listen_abstract, listen_at, set_backlog};
use unspool_wire::address::Address;

/// The mode of a socket's file, unless it is given.
pub const SOCKET_MODE: u32 = 0o600;

/// How a socket listens.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// Of its file.
    pub mode: u32,
    /// User and group that its file is given to.
    pub owner: (Option<u32>, Option<u32>),
    /// Connections that the system keeps until they are accepted.
    pub backlog: u32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { mode: SOCKET_MODE, owner: (None, None), backlog: BACKLOG as u32 }
    }
}

/// A socket that listens. Its file, if it has one, goes with it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Socket,
    name: Option<SocketName>,
    shown: String,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
    /// Its socket was taken to be served.
    Taken,
}

/// Why nobody can listen there.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`{hint}")]
pub struct BindError {
    address: String,
    hint: &'static str,
    source: io::Error,
}

impl Listener {
    /// Binds and listens. Connections wait until somebody serves them.
    pub fn bind(address: &Address, options: ListenOptions) -> Result<Self, BindError> {
        let ListenOptions { mode, owner, .. } = options;
        let backlog = options.backlog as i32;
        let bound = match address {
            Address::Tcp { host, port } => bind_tcp(host, *port, backlog),
            Address::Path(path) => listen_at(path, mode, owner, backlog)
                .map(|(socket, name)| (Socket::Unix(UnixListener::from(socket)), Some(name))),
            Address::Abstract(name) => listen_abstract(name.as_bytes(), backlog)
                .map(|socket| (Socket::Unix(UnixListener::from(socket)), None)),
        };
        let (socket, name) = bound.map_err(|source| BindError {
            address: address.to_string(),
            hint: hint(address, &source),
            source,
        })?;
        let shown = match &socket {
            // With the port that the system chose.
            Socket::Tcp(socket) => socket.local_addr().map(|at| at.to_string()),
            _ => Ok(address.to_string()),
        };
        Ok(Self { socket, name, shown: shown.unwrap_or_else(|_| address.to_string()) })
    }

    /// The address, as it can be connected to.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether its connections are of TCP, and not of a Unix socket.
    pub fn is_tcp(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// The socket, for somebody else to serve. Its file goes with this all the same; `None` once it
    /// was taken.
    pub fn take_socket(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(&mut self.socket, Socket::Taken) {
            Socket::Tcp(socket) => Some(socket.into()),
            Socket::Unix(socket) => Some(socket.into()),
            Socket::Taken => None,
        }
    }

    /// The number of its descriptor; -1 once its socket was taken.
    pub fn number(&self) -> i32 {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_raw_fd(),
            Socket::Unix(socket) => socket.as_raw_fd(),
            Socket::Taken => -1,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // It may be gone already; whoever comes next replaces it in any case.
            let _ = name.remove();
        }
    }
}

fn bind_tcp(host: &str, port: u16, backlog: i32) -> io::Result<(Socket, Option<SocketName>)> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let socket = TcpListener::bind(addresses.as_slice())?;
    socket.set_nonblocking(true)?;
    set_backlog(socket.as_fd(), backlog)?;
    Ok((Socket::Tcp(socket), None))
}

fn hint(address: &Address, error: &io::Error) -> &'static str {
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Tcp { .. }) => {
            ": another process listens on that port; stop it or choose another one"
        }
        (io::ErrorKind::AddrInUse, _) => {
            ": another process listens there; stop it or choose another name"
        }
        (io::ErrorKind::AlreadyExists, _) => ": remove what is there or choose another name",
        (io::ErrorKind::NotFound, Address::Path(_)) => ": its directory has to be there",
        (io::ErrorKind::PermissionDenied, Address::Tcp { .. }) => {
            ": ports below 1024 need privileges; choose a higher one"
        }
        _ => "",
    }
}
