//! Signals to the daemon, as events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2,
};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGQUIT: stop at once.
    Quit,
    /// SIGHUP: reload the application.
    Reload,
    /// SIGUSR1: say how things are.
    State,
    /// SIGTSTP: pause.
    Pause,
    /// SIGCHLD: a child ended.
    ChildEnded,
}

/// Signals and what they ask for, in the order in which they are acted on.
const ANSWERED: [(i32, Asked); 7] = [
    (SIGTERM, Asked::Stop),
    (SIGINT, Asked::Stop),
    (SIGQUIT, Asked::Quit),
    (SIGHUP, Asked::Reload),
    (SIGUSR1, Asked::State),
    (SIGTSTP, Asked::Pause),
    (SIGCHLD, Asked::ChildEnded),
];

/// Signals that would end this process and mean nothing to it. A handler and not `SIG_IGN`, which
/// programs that it starts would inherit.
const PASSED_OVER: [i32; 2] = [SIGUSR2, SIGALRM];

/// The signals that this process answers to.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    flags: Vec<(Arc<AtomicBool>, Asked)>,
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Outlives Ctrl-C and Ctrl-\ from here on, as long as a program that it starts has the terminal: that one
/// decides what they mean. By handlers, for the reason that [`PASSED_OVER`] has them.
pub fn pass_over_interrupts() -> io::Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Stops this process, as Ctrl-Z does, until somebody continues it.
pub fn suspend() -> io::Result<()> {
    signal_hook::low_level::raise(signal_hook::consts::SIGSTOP)
}

impl Signals {
    /// Installs the handlers.
    pub fn install() -> io::Result<Self> {
        let (wake, sender) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let mut flags: Vec<(Arc<AtomicBool>, Asked)> = Vec::new();
        for (signal, asked) in ANSWERED {
            let flag = match flags.iter().find(|(_, other)| *other == asked) {
                Some((flag, _)) => Arc::clone(flag),
                None => Arc::new(AtomicBool::new(false)),
            };
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
            flags.push((flag, asked));
        }
        for signal in PASSED_OVER {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Self { wake, flags })
    }

    /// What was asked for since the last call.
    pub fn take(&self) -> Vec<Asked> {
        let mut bytes = [0u8; 64];
        // The flags hold the news; the bytes only woke us.
        while rustix::io::read(&self.wake, &mut bytes).is_ok_and(|got| got > 0) {}
        let set = self.flags.iter().filter(|(flag, _)| flag.swap(false, Ordering::SeqCst));
        set.map(|(_, asked)| *asked).collect()
    }
}
