//! Any uwsgi packet to anybody, and the bytes that come back: what `uwsgi.send_message` does.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use unspool_sys::stream;
use unspool_wire::packet::Header;

use crate::error::{LinkError, RemoteError};
use crate::remote::Remote;
use crate::transport::{Deadline, Transport};

/// Bytes of one piece of the answer.
const PIECE_BYTES: usize = 4096;
/// Bytes of one piece of what follows a packet.
const BODY_PIECE_BYTES: usize = 64 * 1024;

/// Where a packet goes.
#[derive(Debug)]
pub enum Destination {
    /// A new connection.
    Remote(Remote),
    /// A socket that is connected.
    Socket(OwnedFd),
}

/// A packet, and what follows it.
#[derive(Debug)]
pub struct Payload<'a> {
    /// Of the header.
    pub modifier1: u8,
    /// Of the header.
    pub modifier2: u8,
    /// What the header announces.
    pub block: &'a [u8],
    /// A file, and how many bytes of it follow.
    pub body: Option<(OwnedFd, u64)>,
}

/// Sends a packet. Each wait ends after `wait`, and the one for a connection after its own time.
pub fn send_packet(
    to: Destination,
    payload: Payload<'_>,
    wait: Duration,
) -> Result<Reply, RemoteError> {
    let (mut link, address) = match to {
        Destination::Remote(remote) => (Transport::connect(&remote)?, remote.address.to_string()),
        Destination::Socket(socket) => (Transport::over(socket), "the socket".to_owned()),
    };
    let bytes = payload.block.len();
    let Ok(length) = u16::try_from(bytes) else {
        return Err(RemoteError::Packet { bytes });
    };
    let Payload { modifier1, modifier2, block, body } = payload;
    let header = Header { modifier1, bytes: length, modifier2 };
    let packet = [&header.to_bytes()[..], block].concat();
    let sent = link.write_all(&packet, Deadline::after(wait)).and_then(|()| match body {
        Some((file, bytes)) => copy(&mut link, file, bytes, wait),
        None => Ok(()),
    });
    match sent {
        // It may have answered before it had read everything.
        Ok(()) | Err(LinkError::Closed) => Ok(Reply { link, wait, is_over: false }),
        Err(source) => Err(RemoteError::Lost { address, source }),
    }
}

fn copy(link: &mut Transport, file: OwnedFd, bytes: u64, wait: Duration) -> Result<(), LinkError> {
    let mut file = File::from(file);
    let mut piece = vec![0; BODY_PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        if !stream::wait(file.as_fd(), false, wait).map_err(LinkError::Source)? {
            return Err(LinkError::Source(io::ErrorKind::TimedOut.into()));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let count = file.read(&mut piece[..most]).map_err(LinkError::Source)?;
        if count == 0 {
            return Err(LinkError::Source(io::ErrorKind::UnexpectedEof.into()));
        }
        link.write_all(&piece[..count], Deadline::after(wait))?;
        left -= count as u64;
    }
    Ok(())
}

/// What comes back, in pieces, until the other end closes.
#[derive(Debug)]
pub struct Reply {
    link: Transport,
    wait: Duration,
    is_over: bool,
}

impl Iterator for Reply {
    type Item = Result<Vec<u8>, LinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let mut piece = vec![0; PIECE_BYTES];
        let read = self.link.read(&mut piece, Deadline::after(self.wait));
        match read {
            Ok(0) | Err(LinkError::Closed) => {
                self.is_over = true;
                None
            }
            Ok(count) => {
                piece.truncate(count);
                Some(Ok(piece))
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }
}
