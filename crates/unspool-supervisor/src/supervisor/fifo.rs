//! The master FIFO: commands of one byte each, as uWSGI's master takes them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info, warn};
use unspool_sys::clock;
use unspool_sys::fifo::Fifo;
use unspool_sys::poll::Poll;

use super::{KEY_FIFO, Supervisor};
use crate::settings::WatchSettings;

/// The FIFO that is open, of those that are configured.
#[derive(Debug, Default)]
pub(super) struct MasterFifo {
    paths: Vec<PathBuf>,
    open: Option<Fifo>,
    remove: bool,
    /// It is not waited for before this.
    rest_until_ns: Option<u64>,
}

/// Commands that are looked at together.
const READ_BYTES: usize = 256;
/// The time between two reads: whoever floods the FIFO gets no more of the daemon than this.
const REST: Duration = Duration::from_millis(100);

impl MasterFifo {
    /// Makes the FIFO of slot 0, if one is configured.
    ///
    /// # Errors
    /// With the path, if it cannot be made there.
    pub(super) fn new(settings: &WatchSettings) -> Result<Self, (PathBuf, io::Error)> {
        let open = match settings.fifos.first() {
            Some(path) => Some(Fifo::create(path).map_err(|error| (path.clone(), error))?),
            None => None,
        };
        let (paths, remove) = (settings.fifos.clone(), settings.remove_fifo);
        Ok(Self { paths, open, remove, rest_until_ns: None })
    }

    /// Has the loop wait for commands, if there is a FIFO.
    pub(super) fn watch(&self, poll: &Poll) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |fifo| poll.add_once(fifo.as_fd(), KEY_FIFO))
    }

    /// When it is waited for again.
    pub(super) fn rest_until_ns(&self) -> Option<u64> {
        self.rest_until_ns
    }

    /// Removes it, with `vacuum`.
    pub(super) fn clean_up(&self) {
        if let Some(fifo) = self.open.as_ref().filter(|_| self.remove)
            && let Err(error) = fifo.remove()
        {
            warn!(path = %fifo.path().display(), %error, "cannot remove the master FIFO");
        }
    }
}

impl Supervisor {
    /// Reads commands and obeys them.
    pub(super) fn read_fifo(&mut self) {
        let mut buffer = [0u8; READ_BYTES];
        let Some(fifo) = &self.fifo.open else { return };
        self.fifo.rest_until_ns = Some(clock::monotonic_ns() + REST.as_nanos() as u64);
        let commands = match fifo.read(&mut buffer) {
            Ok(bytes) => &buffer[..bytes],
            Err(error) => {
                warn!(path = %fifo.path().display(), %error, "cannot read the master FIFO");
                return;
            }
        };
        // Twice the same at the same time asks for nothing more, and a flood for nothing at all.
        let mut done = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for &command in commands {
            if done.insert(command) && !self.obey(command) {
                unknown.insert(command);
            }
        }
        if !unknown.is_empty() {
            let unknown: Vec<u8> = unknown.into_iter().collect();
            let commands = unknown.escape_ascii().to_string();
            warn!(commands, "master FIFO: no such command");
        }
    }

    /// Waits for commands again once its rest is over.
    pub(super) fn rearm_fifo(&mut self) {
        if self.fifo.rest_until_ns.is_none_or(|until_ns| until_ns > clock::monotonic_ns()) {
            return;
        }
        self.fifo.rest_until_ns = None;
        if let Some(fifo) = &self.fifo.open
            && let Err(error) = self.poll.rearm(fifo.as_fd(), KEY_FIFO)
        {
            error!(%error, "cannot wait for the master FIFO");
        }
    }

    /// Carries a command out. `false` if there is no such command.
    fn obey(&mut self, command: u8) -> bool {
        let shown = char::from(command);
        match command {
            // Graceful or brutal, the workers or all of it: a reload here is one thing, and it
            // kills nothing that ends in time.
            b'r' | b'R' | b'w' | b'W' | b'c' => {
                info!(command = %shown, "master FIFO: reload");
                self.reload();
            }
            b'q' => {
                if self.ladder.is_none() {
                    self.stop();
                }
            }
            b'Q' => self.stop_now(),
            b'l' => self.reopen_log(),
            b'L' => self.rotate_log(),
            b's' => self.log_state(),
            b'P' => {
                if !self.moments.write_pidfiles.reached() {
                    info!("master FIFO: no pidfile is configured");
                }
            }
            b'0'..=b'9' => self.select_fifo(usize::from(command - b'0')),
            b'p' if self.web.is_empty() => {
                info!("master FIFO: there are no web workers to pause or resume");
            }
            b'p' => info!("master FIFO: web workers are not paused: they and tasks go on"),
            b'+' | b'-' | b'B' | b'C' | b'E' | b'f' | b'S' => {
                info!(command = %shown, "master FIFO: the command has no effect");
            }
            b'\n' | b'\r' | b' ' | b'\t' | b'\0' => {}
            _ => return false,
        }
        true
    }

    fn select_fifo(&mut self, slot: usize) {
        let Some(path) = self.fifo.paths.get(slot) else {
            warn!(slot, "master FIFO: no FIFO is configured for this slot");
            return;
        };
        if self.fifo.open.as_ref().is_some_and(|fifo| fifo.path() == path) {
            return;
        }
        let made = Fifo::create(path).and_then(|fifo| {
            self.poll.add_once(fifo.as_fd(), KEY_FIFO)?;
            Ok(fifo)
        });
        match made {
            Ok(fifo) => {
                info!(path = %path.display(), slot, "master FIFO: this one is active now");
                if let Some(old) = self.fifo.open.replace(fifo) {
                    let _ = self.poll.remove(old.as_fd());
                    // Nobody reads it any more: whoever opened it would wait for ever.
                    let _ = old.remove();
                }
                self.fifo.rest_until_ns = None;
            }
            Err(error) => {
                error!(path = %path.display(), %error, "master FIFO: cannot make it");
            }
        }
    }
}
