//! Packet sockets between the daemon and its children, with descriptors in the packets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use crate::folder::{self, Folder, Sharing};

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

/// A queue of datagrams: what is sent on the first end waits in the kernel until somebody receives
/// on the second, whoever of the two is still there. It holds about `bytes` where that is permitted,
/// else what the machine allows everybody.
pub fn queue(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (in_end, out_end) =
        net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if net::sockopt::set_socket_send_buffer_size_force(&in_end, bytes).is_err() {
        net::sockopt::set_socket_send_buffer_size(&in_end, bytes)?;
    }
    Ok((in_end, out_end))
}

/// Sends one packet without waiting. `Ok(false)` means that the other end's buffer is full.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    send_with(socket, packet, fds, SendFlags::DONTWAIT)
}

/// Sends no more: the other end reads what was sent, and then the end. It can still answer.
pub fn end_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(net::shutdown(socket, net::Shutdown::Write)?)
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

/// Has the kernel say with each packet which process sent it.
pub fn tell_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_socket_passcred(socket, true)?)
}

/// Receives one packet without waiting, and the process that sent it; 0 where the kernel does not
/// tell. Descriptors in the packet are closed.
pub fn receive_from(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(Received, u32)> {
    const SPACE: usize = rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1));
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = match net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)
    {
        Ok(message) => message,
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok((Received::Nothing, 0)),
        Err(rustix::io::Errno::CONNRESET) => return Ok((Received::Closed, 0)),
        Err(error) => return Err(error.into()),
    };
    let mut sender = 0;
    for entry in ancillary.drain() {
        if let RecvAncillaryMessage::ScmCredentials(credentials) = entry {
            sender = credentials.pid.as_raw_nonzero().get() as u32;
        }
    }
    if message.flags.contains(net::ReturnFlags::TRUNC) {
        return Err(io::Error::other("a packet longer than its bound"));
    }
    let received =
        if message.bytes == 0 { Received::Closed } else { Received::Packet(message.bytes) };
    Ok((received, sender))
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A socket of this name in a folder, for [`connect`]. By the folder's descriptor, since the path of
/// a socket is bounded and that of a folder is not.
pub fn listen(folder: &Folder, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    net::bind(&socket, &address(folder, name)?)?;
    // Who may write in the folder may connect, whatever the mask says.
    if folder.sharing() == Sharing::GroupWrites {
        folder.share(name)?;
    }
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection, if there is one.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Ok(Some(socket)),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Connects to a socket in a folder. Each wait on it is bounded.
pub fn connect(folder: &Folder, name: &[u8], wait: Duration) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(wait))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(wait))?;
    net::connect(&socket, &address(folder, name)?)?;
    Ok(socket)
}

/// Changes how long a receive on a connection waits.
pub fn wait_for(socket: BorrowedFd<'_>, wait: Duration) -> io::Result<()> {
    // 0 would be for ever.
    let wait = wait.max(Duration::from_millis(1));
    Ok(sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(wait))?)
}

fn address(folder: &Folder, name: &[u8]) -> io::Result<SocketAddrUnix> {
    use std::os::fd::AsFd;
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    Ok(SocketAddrUnix::new(folder::os_str(&path))?)
}
