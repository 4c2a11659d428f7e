//! Listening sockets with a name in the file system.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use rustix::fs::{Gid, Uid};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connections that wait to be accepted, where nobody says how many. One that does not block is refused
/// when all are taken.
pub const BACKLOG: i32 = 1024;

/// The name of a listening socket, to be removed by whoever made it.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    /// Open without access: so its inode's number is not given to the next socket of this name.
    file: OwnedFd,
}

impl SocketName {
    /// Removes the name, unless something else has it by now.
    pub fn remove(self) -> io::Result<()> {
        let (named, own) = (fs::lstat(&self.path)?, fs::fstat(&self.file)?);
        if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) {
            fs::unlink(&self.path)?;
        }
        Ok(())
    }
}

/// Listens on a socket with this name, mode and owner (user and group, where they are to change). A
/// socket of that name to which nobody listens any more is replaced.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if what has the name is no socket.
pub fn listen_at(
    path: &Path,
    mode: u32,
    owner: (Option<u32>, Option<u32>),
    backlog: i32,
) -> io::Result<(OwnedFd, SocketName)> {
    let address = SocketAddrUnix::new(path)?;
    remove_stale(path)?;
    let socket = unix_socket()?;
    net::bind(&socket, &address)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::empty())?;
    let name = SocketName { path: path.to_owned(), file };
    // Nobody can connect before it listens, so that its mode holds from the start.
    let listens = give(&name.file, mode, owner).and_then(|()| net::listen(&socket, backlog));
    match listens {
        Ok(()) => Ok((socket, name)),
        Err(error) => {
            let _ = name.remove();
            Err(error.into())
        }
    }
}

/// Gives the file of a socket its mode and owner: that file, and not what has its name by now, which may
/// be a link to another one where others write in the folder.
fn give(
    file: &OwnedFd,
    mode: u32,
    (user, group): (Option<u32>, Option<u32>),
) -> rustix::io::Result<()> {
    if !fs::FileType::from_raw_mode(fs::fstat(file)?.st_mode).is_socket() {
        return Err(rustix::io::Errno::NOENT);
    }
    if user.is_some() || group.is_some() {
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        fs::chownat(file, c"", user, group, AtFlags::EMPTY_PATH)?;
    }
    // A descriptor without access can be changed by this name alone.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// Listens on a socket in the abstract namespace, which needs no file.
///
/// # Errors
/// `AddrInUse` if somebody has that name.
pub fn listen_abstract(name: &[u8], backlog: i32) -> io::Result<OwnedFd> {
    let socket = unix_socket()?;
    net::bind(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Has a socket that listens keep so many connections until they are accepted.
pub fn set_backlog(socket: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    Ok(net::listen(socket, backlog)?)
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let stat = match fs::lstat(path) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
        let why = "there is a file of that name which is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::unlink(path)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Also where we may not connect: whoever made it may listen.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Has the system keep a connection over TCP to itself until its peer has sent something, or about so many
/// seconds are over. Nothing for others.
#[expect(unsafe_code, reason = "rustix does not have this option")]
pub fn defer_accept(socket: BorrowedFd<'_>, seconds: u32) {
    let value = seconds as libc::c_int;
    // SAFETY: the descriptor is open as long as it is borrowed, and the option's value is a number of the
    // length that is said. A socket that knows no such option is left as it is.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (socket, name) = listen_at(&path, 0o600, (None, None), BACKLOG).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(
            listen_at(&path, 0o600, (None, None), BACKLOG).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(socket);
        let (_socket, second) = listen_at(&path, 0o600, (None, None), BACKLOG).unwrap();
        // The first one's name is another's now.
        name.remove().unwrap();
        assert!(path.exists());
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::File::create(&path).unwrap();
        assert_eq!(
            listen_at(&path, 0o600, (None, None), BACKLOG).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(path.exists());
    }
}
