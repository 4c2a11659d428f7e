//! Signals to the daemon, as events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP: reload the application.
    Reload,
    /// SIGCHLD: a child ended.
    ChildEnded,
}

/// The signals that this process answers to.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    child: Arc<AtomicBool>,
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Signals {
    /// Installs the handlers.
    pub fn install() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let reload = Arc::new(AtomicBool::new(false));
        let child = Arc::new(AtomicBool::new(false));
        for (signal, flag) in
            [(SIGTERM, &stop), (SIGINT, &stop), (SIGHUP, &reload), (SIGCHLD, &child)]
        {
            signal_hook::flag::register(signal, Arc::clone(flag))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        Ok(Self { wake, stop, reload, child })
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Vec<Asked> {
        let mut bytes = [0u8; 64];
        // The flags hold the news; the bytes only woke us.
        while rustix::io::read(&self.wake, &mut bytes).is_ok_and(|got| got > 0) {}
        let flags = [
            (&self.stop, Asked::Stop),
            (&self.reload, Asked::Reload),
            (&self.child, Asked::ChildEnded),
        ];
        flags
            .iter()
            .filter(|(flag, _)| flag.swap(false, Ordering::SeqCst))
            .map(|(_, a)| *a)
            .collect()
    }
}
