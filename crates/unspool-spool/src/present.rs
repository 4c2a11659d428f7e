//! Which daemon runs a spool, and how to talk to it: a file in the daemon's folder that it holds
//! locked while it lives, and a socket beside it. What is said over that is `unspool-wire`'s matter.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_sys::folder::{Folder, os_str};
use unspool_sys::socket::{self, Received};
use unspool_sys::{file, host, lock};

use crate::SpoolDir;
use crate::layout::{DAEMONS, INTERNAL};

const PID: &[u8] = b"pid";
const CONTROL: &[u8] = b"control";
const PID_BYTES_MAX: usize = 512;

/// Daemon folders that are looked at: there is one for each daemon, and those of dead ones go.
const FOLDERS_MAX: usize = 1000;

/// Says in a daemon's folder that this process is the daemon, for as long as the file is open.
pub fn say_present(folder: &Folder) -> io::Result<OwnedFd> {
    let file = folder.open_or_create(PID)?;
    if !lock::try_lock(file.as_fd())? {
        return Err(io::Error::other("somebody holds the lock of a new pid file"));
    }
    file::write_all(file.as_fd(), &text(host::pid()))?;
    Ok(file)
}

/// Removes what [`say_present`] made.
pub fn forget_present(folder: &Folder) -> io::Result<()> {
    folder.unlink(PID)?;
    folder.unlink(CONTROL).map(|_| ())
}

/// Opens the socket on which the daemon of this folder takes requests.
pub fn listen_control(folder: &Folder) -> io::Result<OwnedFd> {
    socket::listen(folder, CONTROL)
}

/// Asks the daemon that runs a spool, and returns its answer; `None` if no daemon runs it.
///
/// # Errors
/// The daemon does not take the packet, or does not answer within `wait` for each step.
pub fn ask_daemon(spool: &Path, request: &[u8], wait: Duration) -> io::Result<Option<Vec<u8>>> {
    let Some((pid, folder)) = live_folders(spool).next() else { return Ok(None) };
    match ask(pid, &folder, request, wait)?.answer(wait)? {
        Some(answer) => Ok(Some(answer)),
        None => Err(io::Error::from(io::ErrorKind::TimedOut)),
    }
}

/// A daemon that was asked something.
#[derive(Debug)]
pub struct Question {
    /// Its process.
    pub pid: u32,
    socket: OwnedFd,
}

impl Question {
    /// Asks something else, once the answer is there.
    pub fn ask(&self, request: &[u8]) -> io::Result<()> {
        socket::send_wait(self.socket.as_fd(), request)
    }

    /// Waits for the answer; `None` if it does not come within `wait`, or a signal comes first.
    ///
    /// # Errors
    /// The daemon has ended, or does not answer at all.
    pub fn answer(&self, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        self.receive(wait, &mut Vec::new())
    }

    /// The same with the descriptors that come with it.
    pub(crate) fn receive(
        &self,
        wait: Duration,
        fds: &mut Vec<OwnedFd>,
    ) -> io::Result<Option<Vec<u8>>> {
        socket::wait_for(self.socket.as_fd(), wait)?;
        let mut buffer = vec![0; unspool_core::limits::PACKET_BYTES_MAX];
        let mut received = socket::receive(self.socket.as_fd(), &mut buffer, fds, true);
        if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset) {
            // A daemon that ended with a question unread. What it said before is still there.
            received = socket::receive(self.socket.as_fd(), &mut buffer, fds, true);
        }
        match received {
            Ok(Received::Packet(bytes)) => {
                buffer.truncate(bytes);
                Ok(Some(buffer))
            }
            Ok(Received::Closed) => Err(io::Error::other("the daemon closed the connection")),
            Ok(Received::Nothing) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What can be read once the answer is there.
impl AsFd for Question {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks each daemon that runs a spool, waiting `wait` at most to be heard by one. With each its
/// process, and the question or why it cannot be asked.
pub fn ask_daemons(
    spool: &Path,
    request: &[u8],
    wait: Duration,
) -> Vec<(u32, io::Result<Question>)> {
    live_folders(spool).map(|(pid, folder)| (pid, ask(pid, &folder, request, wait))).collect()
}

/// The processes of all daemons on this machine that run the spool.
pub fn live_daemons(spool: &Path) -> Vec<u32> {
    live_folders(spool).map(|(pid, _)| pid).collect()
}

/// Whether this user may look for the daemons of a spool: [`live_daemons`] finds none where it may not.
///
/// # Errors
/// What the system says; nothing of it where there is no daemon.
pub fn look_for_daemons(spool: &Path) -> io::Result<()> {
    let folder = Folder::open_to_look(spool)
        .and_then(|top| top.open_sub(INTERNAL))
        .and_then(|internal| internal.open_sub(DAEMONS));
    match folder {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Asks the daemon of this process; `None` if it does not run the spool any more.
pub fn ask_daemon_of(
    spool: &Path,
    pid: u32,
    request: &[u8],
    wait: Duration,
) -> io::Result<Option<Question>> {
    let found = live_folders(spool).find(|(other, _)| *other == pid);
    found.map(|(pid, folder)| ask(pid, &folder, request, wait)).transpose()
}

fn ask(pid: u32, folder: &Folder, request: &[u8], wait: Duration) -> io::Result<Question> {
    let socket = socket::connect(folder, CONTROL, wait)?;
    socket::send_wait(socket.as_fd(), request)?;
    Ok(Question { pid, socket })
}

/// The process of a daemon on this machine that runs the spool. Creates nothing, and takes whatever
/// cannot be read for no daemon.
pub fn live_daemon(spool: &Path) -> Option<u32> {
    live_folders(spool).next().map(|(pid, _)| pid)
}

/// The folders of the daemons on this machine that run the spool, and their processes.
fn live_folders(spool: &Path) -> impl Iterator<Item = (u32, Folder)> {
    let daemons = Folder::open_to_look(spool)
        .and_then(|top| top.open_sub(INTERNAL))
        .and_then(|internal| internal.open_sub(DAEMONS));
    let names = daemons.as_ref().ok().and_then(|daemons| daemons.list().ok());
    let names = names.into_iter().flatten().take(FOLDERS_MAX).filter_map(Result::ok);
    names.filter_map(move |(name, _)| {
        let folder = daemons.as_ref().ok()?.open_sub(&name).ok()?;
        Some((pid_of(&folder)?, folder))
    })
}

pub(crate) fn pid_of(folder: &Folder) -> Option<u32> {
    let file = folder.open_to_read(PID).ok()?;
    if lock::is_locked(file.as_fd()).ok()? { written_pid(&file) } else { None }
}

/// Whether the folder is that of a daemon of this machine, dead or alive.
pub(crate) fn is_of_this_host(folder: &Folder) -> bool {
    folder.open_to_read(PID).ok().and_then(|file| written_pid(&file)).is_some()
}

/// A daemon of another machine that runs a spool, or may do so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherHost {
    /// The machine's name.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// What it has in the spool; a daemon that ends removes that.
    pub folder: PathBuf,
}

/// A daemon of another machine that runs the spool. Where locks are those of one machine alone they
/// do not tell whether it lives: then it may.
pub fn daemon_of_another_host(
    dir: &SpoolDir,
    locks_are_shared: bool,
) -> io::Result<Option<OtherHost>> {
    for (name, folder) in dir.daemon_folders()? {
        let Some((host, pid, is_locked)) = foreign(&folder) else { continue };
        if is_locked || !locks_are_shared {
            let within: PathBuf = [INTERNAL, DAEMONS, &name].map(os_str).iter().collect();
            return Ok(Some(OtherHost { host, pid, folder: dir.path().join(within) }));
        }
    }
    Ok(None)
}

/// Whether the folder is that of a daemon of another machine, dead or alive.
pub fn is_of_another_host(folder: &Folder) -> bool {
    foreign(folder).is_some()
}

/// Host and process of a daemon's folder of another machine, and whether its file is locked.
fn foreign(folder: &Folder) -> Option<(String, u32, bool)> {
    let file = folder.open_file(PID).or_else(|_| folder.open_to_read(PID)).ok()?;
    let mut bytes = [0u8; PID_BYTES_MAX];
    let got = file::read_at(file.as_fd(), &mut bytes, 0).ok()?;
    let (line, rest) =
        bytes[..got].split_at_checked(bytes[..got].iter().position(|b| *b == b'\n')?)?;
    let host = rest.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
    let pid = std::str::from_utf8(line).ok()?.parse().ok()?;
    if host == host::hostname() {
        return None;
    }
    let is_locked = lock::is_locked(file.as_fd()).unwrap_or(true);
    Some((String::from_utf8_lossy(host).into_owned(), pid, is_locked))
}

fn written_pid(file: &OwnedFd) -> Option<u32> {
    let mut bytes = [0u8; PID_BYTES_MAX];
    let got = file::read_at(file.as_fd(), &mut bytes, 0).ok()?;
    let line = std::str::from_utf8(&bytes[..got]).ok()?.lines().next()?;
    let pid = line.parse().ok()?;
    // On a file system of several machines the number means something on one of them alone.
    (bytes[..got] == text(pid)).then_some(pid)
}

fn text(pid: u32) -> Vec<u8> {
    let mut text = format!("{pid}\n").into_bytes();
    text.extend_from_slice(&host::hostname());
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_of_another_host_is_told_by_its_lock_where_that_is_shared() {
        let root = tempfile::tempdir().unwrap();
        let dir = SpoolDir::open(&root.path().join("spool")).unwrap();
        let own = dir.make_daemon_folder(b"own").unwrap();
        let _present = say_present(&own).unwrap();
        assert!(!is_of_another_host(&own));
        assert_eq!(daemon_of_another_host(&dir, false).unwrap(), None);
        let folder = dir.make_daemon_folder(b"other").unwrap();
        let file = folder.open_or_create(PID).unwrap();
        file::write_all(file.as_fd(), b"77\nelse where\n").unwrap();
        assert!(is_of_another_host(&folder));
        assert_eq!(daemon_of_another_host(&dir, true).unwrap(), None, "it is dead");
        let found = daemon_of_another_host(&dir, false).unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.pid), ("else where", 77));
        assert_eq!(found.folder, dir.path().join(".unspool/daemons/other"));
        assert!(lock::try_lock(file.as_fd()).unwrap());
        assert_eq!(daemon_of_another_host(&dir, true).unwrap(), Some(found));
        // What is torn or of an early version says nothing.
        for (name, text) in [(b"a", &b"78"[..]), (b"b", b"\n\n"), (b"c", b"x\nhost\n")] {
            let torn = dir.make_daemon_folder(name).unwrap();
            let file = torn.open_or_create(PID).unwrap();
            file::write_all(file.as_fd(), text).unwrap();
            assert!(!is_of_another_host(&torn));
        }
    }
}
