//! Connections that are the daemon's: their first packet is a task, a ping, or a peer of ours.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use unspool_sys::socket;
use unspool_wire::handover::Handover;

/// Sends a connection to the daemon with the number of the socket that it came by and what was read of it.
/// `Ok(false)`: the daemon has too many to look at.
pub(crate) fn hand_over(
    to: &OwnedFd,
    listener: usize,
    read: &[u8],
    connection: &OwnedFd,
) -> io::Result<bool> {
    let mut packet = Vec::with_capacity(4 + read.len());
    if !(Handover { socket: listener as u32, read }.encode(&mut packet)) {
        return Err(io::Error::other("too much was read of it"));
    }
    socket::send(to.as_fd(), &packet, &[connection.as_fd()])
}
