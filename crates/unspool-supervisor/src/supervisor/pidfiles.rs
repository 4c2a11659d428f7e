//! A thread that reads and writes pidfiles and looks at files that are touched: the supervisor does
//! no file I/O.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tracing::warn;
use unspool_sys::{files, folder};

use crate::dispatcher::Outbox;
use crate::events::ToSupervisor;

/// Requests that wait.
const REQUESTS_MAX: usize = 4096;
/// How often touched files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// More than any number has digits.
const PIDFILE_BYTES_MAX: u64 = 64;

/// What is asked for, by the number of a daemon.
#[derive(Debug)]
pub(super) enum Request {
    /// Who its pidfile names.
    Read(usize),
    /// Its process, for its pidfile.
    Write(usize, u32),
}

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Pidfiles {
    requests: SyncSender<Request>,
}

/// A daemon's files.
type Files = (Option<PathBuf>, Vec<PathBuf>);

impl Pidfiles {
    /// Starts the thread, if there is any file to look at.
    pub(super) fn start(files: Vec<Files>, outbox: Outbox) -> Option<Self> {
        if files.iter().all(|(pidfile, touch)| pidfile.is_none() && touch.is_empty()) {
            return None;
        }
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let started = std::thread::Builder::new()
            .name("pidfiles".to_owned())
            .spawn(move || Thread::new(files, outbox).run(&inbox));
        if let Err(error) = started {
            warn!(%error, "attached daemons with a pidfile are not started");
        }
        Some(Self { requests })
    }

    /// `false` if the thread is busy or gone.
    pub(super) fn send(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

struct Thread {
    files: Vec<Files>,
    outbox: Outbox,
    /// The daemons and files that are touched, and when they were changed last.
    touched: Vec<(usize, PathBuf, Option<i64>)>,
}

impl Thread {
    fn new(files: Vec<Files>, outbox: Outbox) -> Self {
        let touched = files.iter().enumerate().flat_map(|(number, (_, touch))| {
            touch.iter().map(move |path| (number, path.clone(), changed_ns(path)))
        });
        Self { touched: touched.collect(), files, outbox }
    }

    fn run(mut self, inbox: &Receiver<Request>) {
        let mut look_ns = unspool_sys::clock::monotonic_ns();
        loop {
            match inbox.recv_timeout(LOOK_EVERY) {
                Ok(request) => self.answer(&request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now_ns = unspool_sys::clock::monotonic_ns();
            if now_ns >= look_ns {
                look_ns = now_ns + LOOK_EVERY.as_nanos() as u64;
                self.look();
            }
        }
    }

    fn answer(&self, request: &Request) {
        let (Request::Read(daemon) | Request::Write(daemon, _)) = *request;
        let Some(path) = self.files.get(daemon).and_then(|files| files.0.as_deref()) else {
            return;
        };
        let done = match *request {
            Request::Read(_) => read(path).map(|pid| {
                self.outbox.send(ToSupervisor::Pidfile { daemon, pid });
            }),
            Request::Write(_, pid) => write(path, pid),
        };
        if let Err(error) = done {
            let problem = error.to_string();
            self.outbox.send(ToSupervisor::PidfileFailed { daemon, problem });
        }
    }

    fn look(&mut self) {
        for (daemon, path, last_ns) in &mut self.touched {
            let now_ns = changed_ns(path);
            if now_ns.is_some() && std::mem::replace(last_ns, now_ns) != now_ns {
                let (daemon, path) = (*daemon, path.clone());
                self.outbox.send(ToSupervisor::Touched { daemon, path });
            }
        }
    }
}

fn changed_ns(path: &Path) -> Option<i64> {
    folder::look(path).ok().flatten().map(|stat| stat.mtime_ns)
}

/// The number in a pidfile; `None` if it is missing or holds none.
fn read(path: &Path) -> io::Result<Option<u32>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(PIDFILE_BYTES_MAX).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()))
}

fn write(path: &Path, pid: u32) -> io::Result<()> {
    files::replace(path, format!("{pid}\n").as_bytes())
}
