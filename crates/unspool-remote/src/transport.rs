//! Bytes to and from a receiver, over TCP, a Unix socket or TLS. Each wait ends by a deadline.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustls::ClientConnection;
use unspool_sys::{clock, stream};
use unspool_wire::address::Address;
use unspool_wire::packet::{Assembly, Packet};

use crate::error::{LinkError, RemoteError, hint};
use crate::remote::Remote;

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

/// When waiting ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    wait: Duration,
    at_ns: u64,
}

impl Deadline {
    pub(crate) fn after(wait: Duration) -> Self {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self { wait, at_ns: clock::monotonic_ns().saturating_add(wait_ns) }
    }

    /// How long there is left.
    fn left(self) -> Option<Duration> {
        let left = self.at_ns.saturating_sub(clock::monotonic_ns());
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// A connection.
pub(crate) struct Transport {
    socket: OwnedFd,
    tls: Option<Box<ClientConnection>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Transport {
    /// A new one.
    pub(crate) fn connect(remote: &Remote) -> Result<Self, RemoteError> {
        let deadline = Deadline::after(remote.options.connect_wait);
        let address = || remote.address.to_string();
        if remote.address.tls && remote.options.tls.is_none() {
            return Err(RemoteError::NoTls { address: address() });
        }
        let socket =
            connect(&remote.address.address, deadline).map_err(|source| RemoteError::Connect {
                address: address(),
                hint: hint(&source, !matches!(remote.address.address, Address::Tcp { .. })),
                source,
            })?;
        let mut transport = Self::over(socket);
        if let (true, Some(tls)) = (remote.address.tls, &remote.options.tls) {
            let failed = |source| RemoteError::Tls { address: address(), source };
            let host = match &remote.address.address {
                Address::Tcp { host, .. } if !host.is_empty() => host,
                _ => "localhost",
            };
            transport.tls = Some(Box::new(tls.connection(host).map_err(failed)?));
            transport.shake_hands(deadline).map_err(failed)?;
        }
        Ok(transport)
    }

    /// One over a socket that is connected.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket, tls: None }
    }

    /// The socket, to wait on.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn shake_hands(&mut self, deadline: Deadline) -> io::Result<()> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(()) };
            let mut socket = Raw(self.socket.as_fd());
            let moved = if tls.wants_write() {
                tls.write_tls(&mut socket)
            } else if tls.is_handshaking() {
                match tls.read_tls(&mut socket) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    other => other,
                }
            } else {
                return Ok(());
            };
            match moved {
                Ok(_) => {
                    if let Err(error) = tls.process_new_packets() {
                        // Tells the other end why.
                        let _ = tls.write_tls(&mut socket);
                        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(false, deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what there is room for; `WouldBlock` if there is none.
    pub(crate) fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return stream::send(self.socket.as_fd(), bytes) };
        let mut socket = Raw(self.socket.as_fd());
        if tls.wants_write() {
            // First what was left: its own buffer stays small.
            tls.write_tls(&mut socket)?;
            if tls.wants_write() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let taken = tls.writer().write(&bytes[..bytes.len().min(READ_BYTES)])?;
        match tls.write_tls(&mut socket) {
            Ok(_) => Ok(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(taken),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes that were taken wait to be written. Goes on writing them.
    pub(crate) fn holds_some(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut socket = Raw(self.socket.as_fd());
        while tls.wants_write() {
            match tls.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Reads what is there; 0 is the end. `WouldBlock` if nothing is.
    pub(crate) fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return stream::receive(self.socket.as_fd(), buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // An end without TLS's own is found by the reader in the next round.
            tls.read_tls(&mut Raw(self.socket.as_fd()))?;
            tls.process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Waits for something to read, or where that is wanted for room. `Ok(false)`: it is too late.
    pub(crate) fn wait(&self, room: bool, deadline: Deadline) -> io::Result<bool> {
        let room = room || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        loop {
            let Some(left) = deadline.left() else { return Ok(false) };
            if stream::wait(self.socket.as_fd(), room, left)? {
                return Ok(true);
            }
        }
    }

    /// Writes all of it.
    pub(crate) fn write_all(
        &mut self,
        mut bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), LinkError> {
        loop {
            let written = match bytes.is_empty() {
                true if !self.holds_some().map_err(LinkError::of)? => return Ok(()),
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => self.write_some(bytes),
            };
            match written {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait_for_room(deadline).map_err(LinkError::of)? {
                        return Err(LinkError::Stalled(deadline.wait));
                    }
                }
                Err(error) => return Err(LinkError::of(error)),
            }
        }
    }

    /// Waits for room alone: what there is to read stays there.
    fn wait_for_room(&self, deadline: Deadline) -> io::Result<bool> {
        loop {
            let Some(left) = deadline.left() else { return Ok(false) };
            if stream::wait_for_room(self.socket.as_fd(), left)? {
                return Ok(true);
            }
        }
    }

    /// Reads once; 0 is the end.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        deadline: Deadline,
    ) -> Result<usize, LinkError> {
        loop {
            match self.read_some(buffer) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(false, deadline).map_err(LinkError::of)? {
                        return Err(LinkError::Silent(deadline.wait));
                    }
                }
                Err(error) => return Err(LinkError::of(error)),
            }
        }
    }

    /// Reads one packet of so many bytes at most, and what has come behind it.
    pub(crate) fn read_packet(
        &mut self,
        most: u16,
        deadline: Deadline,
    ) -> Result<Option<(Packet, Vec<u8>)>, LinkError> {
        let mut assembly = Assembly::new(most);
        let mut buffer = [0; 4096];
        loop {
            let count = self.read(&mut buffer, deadline)?;
            if count == 0 {
                return Err(LinkError::Closed);
            }
            let mut bytes = &buffer[..count];
            match assembly.take(&mut bytes) {
                Ok(Some(packet)) => return Ok(Some((packet, bytes.to_vec()))),
                Ok(None) => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

/// The socket as rustls wants it.
struct Raw<'a>(BorrowedFd<'a>);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        stream::receive(self.0, buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stream::send(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(address: &Address, deadline: Deadline) -> io::Result<OwnedFd> {
    let left = || deadline.left().ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut));
    match address {
        Address::Path(path) => stream::connect_path(path, left()?),
        Address::Abstract(name) => {
            stream::connect_abstract(name.as_bytes(), left()?).or_else(|error| {
                match address.twin() {
                    // uWSGI adds a NUL to its names.
                    Some(Address::Abstract(twin)) => {
                        stream::connect_abstract(twin.as_bytes(), left()?).map_err(|_| error)
                    }
                    _ => Err(error),
                }
            })
        }
        Address::Tcp { host, port } => {
            let host = if host.is_empty() { "127.0.0.1" } else { host };
            let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            let all = stream::resolve(host, *port, left()?)?;
            for (tried, to) in all.iter().take(ADDRESSES_MAX).enumerate() {
                // One that does not answer leaves time for the others.
                let share = (all.len().min(ADDRESSES_MAX) - tried) as u32;
                match stream::connect_tcp(to, left()? / share) {
                    Ok(socket) => return Ok(socket),
                    Err(error) => failed = error,
                }
            }
            Err(failed)
        }
    }
}
