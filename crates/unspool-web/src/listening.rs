//! The sockets that a worker shares with others: which of them hears of a connection.
//!
//! Accepts nothing.

use std::io;
use std::os::fd::AsFd;

use unspool_sys::poll::Poll;

use crate::front::{Front, LISTENERS};
use crate::settings::FrontSettings;

/// Waits for connections. Of one, one idle worker hears: if it does not take it, it rings the bell; if it
/// cannot, being killed, the daemon does. Where another thread waits on while one answers, all workers hear:
/// the first would have the next one too, although others have nothing to do.
pub(crate) fn listen_on(poll: &Poll, settings: &FrontSettings, place: usize) -> io::Result<()> {
    let Some(socket) = settings.sockets.get(place) else { return Ok(()) };
    let (socket, key) = (socket.socket.as_fd(), LISTENERS + place as u64);
    if settings.hears_alone() { poll.add_shared(socket, key) } else { poll.add(socket, key) }
}

impl Front {
    /// Leaves the sockets to other workers, which have not heard of what this one has heard of.
    pub(crate) fn stop_listening(&self) {
        for socket in &self.settings.sockets {
            // One that could not be added again is none.
            let _ = self.poll.remove(socket.socket.as_fd());
        }
        self.ring();
    }

    /// Hears of connections of which another worker alone has heard, and of new ones after all others.
    pub(crate) fn listen_anew(&self) -> io::Result<()> {
        if !self.settings.hears_alone() {
            return Ok(());
        }
        for (place, socket) in self.settings.sockets.iter().enumerate() {
            self.poll.remove(socket.socket.as_fd())?;
            listen_on(&self.poll, &self.settings, place)?;
        }
        Ok(())
    }

    /// Has all workers listen anew.
    pub(crate) fn ring(&self) {
        if self.settings.hears_alone() {
            self.settings.bell.wake();
        }
    }
}
