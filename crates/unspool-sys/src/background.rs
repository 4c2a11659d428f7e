//! Going into the background: two forks, a session, other standard streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid, WaitOptions};

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Side {
    /// The one that was started. It hears how the other one does.
    Launcher(Heard),
    /// The one that goes on in the background.
    Daemon(Launcher),
}

/// The launcher's end.
#[derive(Debug)]
pub struct Heard(OwnedFd);

/// The daemon's way to its launcher.
#[derive(Debug)]
pub struct Launcher(OwnedFd);

impl Heard {
    /// Waits for the status that the daemon tells; `None` if it ends without a word.
    pub fn wait(self) -> Option<u8> {
        let mut byte = [0u8; 1];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Ok(1) => return Some(byte[0]),
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

impl Launcher {
    /// Ends the launcher's wait. A launcher that was killed meanwhile is no error.
    pub fn tell(self, status: u8) {
        let _ = rustix::io::write(&self.0, &[status]);
    }
}

/// Goes on in a child of a child, which leads no session and has no terminal.
///
/// # Errors
/// If this process has more than one thread: only one of them would go on.
#[expect(unsafe_code, reason = "fork has no safe form")]
pub fn fork_away() -> io::Result<Side> {
    if threads() != Some(1) {
        return Err(io::Error::other("the process has threads already"));
    }
    let (heard, tells) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: there is one thread, so that the child has all there is.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        child => {
            drop(tells);
            if let Some(child) = Pid::from_raw(child) {
                // The middle one, which ends at once.
                let _ = process::waitpid(Some(child), WaitOptions::empty());
            }
            return Ok(Side::Launcher(Heard(heard)));
        }
    }
    drop(heard);
    let _ = process::setsid();
    // SAFETY: as above.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Daemon(Launcher(tells))),
        failed_or_child => {
            // SAFETY: leaves without running what the launcher registered for its own end.
            unsafe { libc::_exit(i32::from(failed_or_child == -1)) }
        }
    }
}

fn threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// Puts `/dev/null` in the place of standard input.
pub fn forget_input() -> io::Result<()> {
    let null = fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::stdio::dup2_stdin(null)?)
}

/// Puts a file in the place of standard output and standard error.
pub fn redirect_output(to: impl AsFd) -> io::Result<()> {
    rustix::stdio::dup2_stdout(&to)?;
    Ok(rustix::stdio::dup2_stderr(&to)?)
}

/// A second descriptor of standard error, which later redirections leave alone.
pub fn keep_error_output() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?)
}

/// A pipe whose reading end does not wait.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reads, writes) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&reads, true)?;
    Ok((reads, writes))
}

/// Reads what there is: `None` if that is nothing for now, `Some(0)` if nobody can write any more.
pub fn read_some(from: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match rustix::io::read(from, &mut *buffer) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
