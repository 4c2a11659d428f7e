//! Where log lines go: standard error, files, the machine's log, sockets.
//!
//! Used by the log's own thread alone. A sink that fails costs lines, which are counted and told
//! about as soon as it works again; it never fails its caller.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use unspool_config::Logger;
use unspool_supervisor::journal::{EventKind, LOG_LINES_LOST, LOG_UNMOVED};
use unspool_sys::{clock, files, host};

use crate::log_record::Record;
use crate::log_rotation::Rotation;

/// The machine's log.
const SYSLOG: &str = "/dev/log";
/// How often a file that cannot be opened is tried again.
const AGAIN_NS: u64 = 1_000_000_000;
/// "informational"
const SEVERITY: u8 = 6;

/// One of them.
#[derive(Debug)]
pub(crate) struct Sink {
    kind: Kind,
    /// Lines that could not be written since the last one that could.
    lost: u64,
    again_ns: u64,
    /// Lines are JSON.
    json: bool,
}

#[derive(Debug)]
enum Kind {
    Stderr(File),
    File { path: PathBuf, file: File, rotation: Option<Rotation> },
    Syslog { name: String, facility: u8, socket: Option<UnixDatagram> },
    Unix { path: PathBuf, socket: Option<UnixDatagram> },
    Udp { address: String, socket: Option<UdpSocket> },
}

impl Sink {
    fn new(kind: Kind) -> Self {
        Self { kind, lost: 0, again_ns: 0, json: false }
    }

    /// The standard error of the start.
    pub(crate) fn stderr(file: File) -> Self {
        Self::new(Kind::Stderr(file))
    }

    /// A file that is open already; `None`: it is not rotated.
    pub(crate) fn file(path: &Path, file: File, rotation: Option<Rotation>) -> Self {
        Self::new(Kind::File { path: path.to_owned(), file, rotation })
    }

    /// Opens what a `logger` names. A socket that nobody reads yet is no error.
    pub(crate) fn open(logger: &Logger, stderr: &File) -> io::Result<Self> {
        Ok(match logger {
            Logger::Stdio => Self::stderr(stderr.try_clone()?),
            Logger::File { path, rotation } => {
                let rotation = rotation.max_bytes.map(|_| Rotation::new(rotation));
                Self::file(path, files::open_to_append(path)?.into(), rotation)
            }
            Logger::Syslog { name, facility } => {
                let (name, facility) = (name.clone(), *facility);
                Self::new(Kind::Syslog { name, facility, socket: None })
            }
            Logger::UnixSocket(path) => Self::new(Kind::Unix { path: path.clone(), socket: None }),
            Logger::UdpSocket(address) => {
                Self::new(Kind::Udp { address: address.clone(), socket: None })
            }
        })
    }

    /// Writes a line, or several that belong together.
    pub(crate) fn write(&mut self, text: &[u8]) {
        let now_ns = clock::monotonic_ns();
        if let Kind::File { file, rotation: Some(rotation), .. } = &self.kind
            && rotation.is_due(file, text.len(), now_ns)
        {
            self.rotate();
        }
        if now_ns < self.again_ns {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let note = lost_note(self.lost, "the log could not be written", self.json);
            if self.put(note.as_bytes()).is_err() {
                self.failed(now_ns);
                return;
            }
            self.lost = 0;
        }
        if self.put(text).is_err() {
            self.failed(now_ns);
        }
    }

    fn failed(&mut self, now_ns: u64) {
        self.lost += 1;
        // A standard error costs no more to try than to skip.
        if !matches!(self.kind, Kind::Stderr(_)) {
            self.again_ns = now_ns + AGAIN_NS;
        }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Stderr(file) | Kind::File { file, .. } => file.write_all(text),
            Kind::Syslog { name, facility, socket } => {
                let tag =
                    format!("<{}>{} {name}[{}]: ", *facility * 8 + SEVERITY, stamp(), host::pid());
                for line in lines(text) {
                    send_to(socket, Path::new(SYSLOG), &[tag.as_bytes(), line].concat())?;
                }
                Ok(())
            }
            Kind::Unix { path, socket } => send_to(socket, path, text),
            Kind::Udp { address, socket } => {
                let open = match socket {
                    Some(open) => open,
                    None => socket.insert(connect_udp(address)?),
                };
                open.send(text).map(|_| ())
            }
        }
    }

    /// Has what it says itself written as JSON.
    pub(crate) fn speak_json(&mut self) {
        self.json = true;
    }

    /// Moves a file that is rotated away and begins a new one. What is open stays if that fails.
    pub(crate) fn rotate(&mut self) {
        let Kind::File { path, file, rotation: Some(rotation) } = &mut self.kind else {
            return;
        };
        let begun = rotation.move_away(path, file).and_then(|()| rotation.open(path));
        match begun {
            Ok(begun) => {
                *file = begun;
                self.again_ns = 0;
            }
            Err(error) => {
                rotation.failed(clock::monotonic_ns());
                let message = format!("cannot rotate the log {}: {error}", path.display());
                let note = note(&LOG_UNMOVED, message, self.json);
                let _ = self.put(note.as_bytes());
            }
        }
    }

    pub(crate) fn is_rotated(&self) -> bool {
        matches!(&self.kind, Kind::File { rotation: Some(_), .. })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    /// Opens the file anew: an outside tool has moved it. What is open stays if that fails.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Kind::File { path, file, rotation } = &mut self.kind {
            *file = match rotation {
                Some(rotation) => rotation.open(path)?,
                None => files::open_to_append(path)?.into(),
            };
            self.again_ns = 0;
        }
        Ok(())
    }
}

/// A line that tells of lines that are not there.
pub(crate) fn lost_note(lost: u64, why: &str, json: bool) -> String {
    note(&LOG_LINES_LOST, format!("{lost} log lines were lost: {why}"), json)
}

/// A line about the log itself, which no event of the daemon's tells of.
pub(crate) fn note(kind: &EventKind, message: String, json: bool) -> String {
    if json {
        return Record::about_log(clock::now_ns(), kind, message).to_json() + "\n";
    }
    format!("unspool: {message}\n")
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Sends a datagram to a socket file, over a new socket if its reader was replaced.
fn send_to(socket: &mut Option<UnixDatagram>, path: &Path, text: &[u8]) -> io::Result<()> {
    let connect = || {
        let open = UnixDatagram::unbound()?;
        open.connect(path)?;
        open.set_nonblocking(true)?;
        Ok::<_, io::Error>(open)
    };
    if let Some(open) = socket {
        match open.send(text) {
            Ok(_) => return Ok(()),
            // Its reader is slow.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => *socket = None,
        }
    }
    let open = connect()?;
    open.send(text)?;
    *socket = Some(open);
    Ok(())
}

fn connect_udp(address: &str) -> io::Result<UdpSocket> {
    let mut failure = io::Error::other("the address has no host");
    for to in address.to_socket_addrs()? {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let connected = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// `Nov 25 20:04:03`, which every reader of the machine's log knows.
fn stamp() -> String {
    let mut text = String::new();
    let time = crate::logging::local_time();
    let _ = write!(text, "{}", time.strftime("%b %e %H:%M:%S"));
    text
}
