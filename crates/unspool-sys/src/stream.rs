//! Connections as streams of bytes: made within a time, read and written without waiting.
//!
//! No socket is switched to non-blocking: one that somebody else handed over is shared with them, and
//! that switch too.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sockopt,
};

/// Seconds of silence after which the kernel asks whether the other machine is still there.
const KEEPALIVE_IDLE_S: u64 = 30;
/// Seconds between two such questions.
const KEEPALIVE_EVERY_S: u64 = 10;
/// Questions without an answer after which the connection counts as gone.
const KEEPALIVE_COUNT: u32 = 3;

/// The addresses of a host. A name is asked for on a thread of its own: how long that takes the
/// system's resolver decides, and this waits no longer than it may.
pub fn resolve(host: &str, port: u16, wait: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (tell, told) = mpsc::sync_channel(1);
    let host = host.to_owned();
    std::thread::Builder::new().name("unspool-resolve".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more if it came late.
        let _ = tell.send(found);
    })?;
    told.recv_timeout(wait).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Connects by TCP. What is written goes at once, and a machine that is gone is noticed.
pub fn connect_tcp(to: &SocketAddr, wait: Duration) -> io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(to, wait.max(Duration::from_millis(1)))?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(KEEPALIVE_IDLE_S))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(KEEPALIVE_EVERY_S))?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_COUNT)?;
    Ok(stream.into())
}

/// Connects to a socket in the file system.
pub fn connect_path(path: &Path, wait: Duration) -> io::Result<OwnedFd> {
    connect_unix(&SocketAddrUnix::new(path)?, wait)
}

/// Connects to a name in the abstract namespace.
pub fn connect_abstract(name: &[u8], wait: Duration) -> io::Result<OwnedFd> {
    connect_unix(&SocketAddrUnix::new_abstract_name(name)?, wait)
}

fn connect_unix(address: &SocketAddrUnix, wait: Duration) -> io::Result<OwnedFd> {
    let socket =
        net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A listener with a full queue is waited for as long as a send would be.
    let bound = Some(wait.max(Duration::from_millis(1)));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, bound)?;
    match net::connect(&socket, address) {
        Ok(()) => Ok(socket),
        Err(rustix::io::Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a path is a socket.
pub fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Writes what there is room for. `WouldBlock` if there is none.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Writes what there is room for of two pieces, the second behind the first. `WouldBlock` if there is none.
pub fn send_both(socket: BorrowedFd<'_>, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(net::sendmsg(socket, &pieces, &mut SendAncillaryBuffer::default(), flags)?)
}

/// Writes from a file what there is room for, and moves `offset` on; 0 is the file's end. May wait where
/// the socket is one that blocks.
pub fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: &mut u64,
    most: usize,
) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(socket, file, Some(offset), most)?)
}

/// Accepts a connection that nothing waits on, and where it came from over TCP. `Ok(None)`: there is none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, Option<SocketAddr>)>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match net::acceptfrom_with(listener, flags) {
        Ok((socket, peer)) => Ok(Some((socket, peer.and_then(|peer| peer.try_into().ok())))),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a listener listens over TCP; `None` for others.
pub fn local_address(listener: BorrowedFd<'_>) -> Option<SocketAddr> {
    net::getsockname(listener).ok()?.try_into().ok()
}

/// What is written to connections that this listener accepts goes at once. Nothing for others than TCP.
pub fn send_at_once(listener: BorrowedFd<'_>) {
    // The system knows none of this for Unix sockets, and needs none.
    let _ = sockopt::set_tcp_nodelay(listener, true);
}

/// Reads what is there; 0 is the end. `WouldBlock` if nothing is.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (bytes, _) = net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(bytes)
}

/// Waits until there is something to read, or where that is wanted room to write. `Ok(false)`: neither
/// came in time, or a signal did.
pub fn wait(socket: BorrowedFd<'_>, room: bool, wait: Duration) -> io::Result<bool> {
    poll_for(socket, if room { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }, wait)
}

/// Waits until there is room to write.
pub fn wait_for_room(socket: BorrowedFd<'_>, wait: Duration) -> io::Result<bool> {
    poll_for(socket, PollFlags::OUT, wait)
}

fn poll_for(socket: BorrowedFd<'_>, flags: PollFlags, wait: Duration) -> io::Result<bool> {
    let wait = wait.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match poll(&mut [PollFd::new(&socket, flags)], Some(&wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(20);

    #[test]
    fn a_connection_reads_and_writes_without_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let socket = connect_tcp(&to, LATE).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut buffer = [0; 8];
        let nothing = receive(socket.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(!wait(socket.as_fd(), false, SOON).unwrap());
        assert!(wait(socket.as_fd(), true, LATE).unwrap());
        assert_eq!(send(socket.as_fd(), b"ask").unwrap(), 3);
        other.read_exact(&mut buffer[..3]).unwrap();
        other.write_all(b"tell").unwrap();
        assert!(wait(socket.as_fd(), false, LATE).unwrap());
        assert_eq!(receive(socket.as_fd(), &mut buffer).unwrap(), 4);
        drop(other);
        assert!(wait(socket.as_fd(), false, LATE).unwrap());
        assert_eq!(receive(socket.as_fd(), &mut buffer).unwrap(), 0);
        drop(listener);
        let refused = connect_tcp(&to, LATE).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn names_are_resolved_and_not_waited_for_beyond_the_time() {
        let at = |host| resolve(host, 7, LATE).unwrap();
        assert_eq!(at("::1"), ["[::1]:7".parse().unwrap()]);
        assert!(at("localhost").iter().all(|to| to.ip().is_loopback() && to.port() == 7));
        let late = resolve("localhost", 7, Duration::ZERO).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_listener_that_accepts_nobody_is_waited_for_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(!is_socket(&path) && !is_socket(folder.path()));
        let listener = UnixListener::bind(&path).unwrap();
        // Its queue has room for one more than it is given.
        net::listen(&listener, 0).unwrap();
        assert!(is_socket(&path));
        let _first = connect_path(&path, LATE).unwrap();
        let late = connect_path(&path, SOON).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
