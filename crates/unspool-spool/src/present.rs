//! Which daemon runs a spool, and how to talk to it: a file in the daemon's folder that it holds
//! locked while it lives, and a socket beside it. What is said over that is `unspool-wire`'s matter.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use unspool_sys::folder::{self, Folder};
use unspool_sys::socket::{self, Received};
use unspool_sys::{host, lock};

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
    folder::write_all(file.as_fd(), &text(host::pid()))?;
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
    let Some(folder) = live_folder(spool) else { return Ok(None) };
    let socket = socket::connect(&folder, CONTROL, wait)?;
    socket::send_wait(socket.as_fd(), request)?;
    let mut buffer = vec![0; unspool_core::limits::PACKET_BYTES_MAX];
    match socket::receive(socket.as_fd(), &mut buffer, &mut Vec::new(), true)? {
        Received::Packet(bytes) => {
            buffer.truncate(bytes);
            Ok(Some(buffer))
        }
        Received::Closed => Err(io::Error::other("the daemon closed the connection")),
        Received::Nothing => Err(io::Error::from(io::ErrorKind::TimedOut)),
    }
}

/// The process of a daemon on this machine that runs the spool. Creates nothing, and takes whatever
/// cannot be read for no daemon.
pub fn live_daemon(spool: &Path) -> Option<u32> {
    pid_of(&live_folder(spool)?)
}

fn live_folder(spool: &Path) -> Option<Folder> {
    let internal = Folder::open_to_look(spool).ok()?.open_sub(INTERNAL).ok()?;
    let daemons = internal.open_sub(DAEMONS).ok()?;
    daemons
        .list()
        .ok()?
        .take(FOLDERS_MAX)
        .filter_map(Result::ok)
        .filter_map(|(name, _)| daemons.open_sub(&name).ok())
        .find(|folder| pid_of(folder).is_some())
}

fn pid_of(folder: &Folder) -> Option<u32> {
    let file = folder.open_to_read(PID).ok()?;
    if !lock::is_locked(file.as_fd()).ok()? {
        return None;
    }
    let mut bytes = [0u8; PID_BYTES_MAX];
    let got = folder::read_at(file.as_fd(), &mut bytes, 0).ok()?;
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
