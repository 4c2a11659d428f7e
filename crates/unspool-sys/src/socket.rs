//! Packet sockets between the daemon and its children, with descriptors in the packets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Descriptors in one packet.
pub const FDS_MAX: usize = 64;

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A packet of so many bytes.
    Packet(usize),
    /// Nothing for now, on a non-blocking receive.
    Nothing,
    /// The other end is closed.
    Closed,
}

/// A pair of connected sockets that keep packet boundaries.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet without waiting. `Ok(false)` means that the other end's buffer is full.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    send_with(socket, packet, fds, SendFlags::DONTWAIT)
}

/// Sends one packet, waiting for room.
pub fn send_wait(socket: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    send_with(socket, packet, &[], SendFlags::empty()).map(|_| ())
}

fn send_with(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    loop {
        let flags = flags | SendFlags::NOSIGNAL;
        match net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags) {
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet into `buffer` and its descriptors (close-on-exec) into `fds`.
///
/// A packet longer than the buffer is an error: both ends know the bound.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if !wait {
        flags |= RecvFlags::DONTWAIT;
    }
    let message = match net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)
    {
        Ok(message) => message,
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Received::Nothing),
        Err(rustix::io::Errno::CONNRESET) => return Ok(Received::Closed),
        Err(error) => return Err(error.into()),
    };
    for entry in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = entry {
            fds.extend(rights);
        }
    }
    if message.flags.intersects(net::ReturnFlags::TRUNC | net::ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a packet longer than its bound"));
    }
    if message.bytes == 0 { Ok(Received::Closed) } else { Ok(Received::Packet(message.bytes)) }
}
