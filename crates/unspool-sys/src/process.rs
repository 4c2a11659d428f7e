//! Child processes: subreaper, pid descriptors, reaping, signals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::clock;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with a status.
    Status(i32),
    /// A signal killed it.
    Killed(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// What a daemon can be told by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// Whether an error means that there is no such process.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// A child, or a descendant that was adopted.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    fd: OwnedFd,
}

impl AsFd for Child {
    /// Readable once the process has ended.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Child {
    /// Gets hold of a child by its number. The number cannot have been reused as long as nobody
    /// has reaped the child.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid as i32)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "pid 0"))?;
        Ok(Self { pid, fd: process::pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    /// Kills it. A process that has ended already is no error.
    pub fn kill(&self) {
        let _ = process::pidfd_send_signal(&self.fd, Signal::KILL);
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let _ = process::pidfd_send_signal(&self.fd, Signal::TERM);
    }

    /// Ends it after it has shown its tracebacks: our Python processes write them for this signal.
    pub fn end_with_traceback(&self) {
        let _ = process::pidfd_send_signal(&self.fd, Signal::USR2);
    }

    /// Has it look whether its task is over its time or cancelled.
    #[expect(unsafe_code, reason = "real-time signals have no names")]
    pub fn have_look(&self) {
        // SAFETY: a real-time signal that the C library leaves to programs.
        let signal = unsafe { Signal::from_raw_unchecked(crate::timer::look_signal()) };
        let _ = process::pidfd_send_signal(&self.fd, signal);
    }

    /// Tells another daemon what to do.
    pub fn notify(&self, notice: Notice) -> io::Result<()> {
        let signal = match notice {
            Notice::Stop => Signal::INT,
            Notice::Reload => Signal::HUP,
        };
        Ok(process::pidfd_send_signal(&self.fd, signal)?)
    }

    /// Kills the process group that it leads: itself and what it started in it.
    pub fn kill_group(&self) {
        let _ = process::kill_process_group(self.pid, Signal::KILL);
        self.kill();
    }

    /// Whether it still runs. Works for processes that are no children, too.
    pub fn is_alive(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.fd, rustix::event::PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
    }

    /// How it ended, if it has. It is not reaped: its number is still its own.
    pub fn ended(&self) -> io::Result<Option<Exit>> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = process::waitid(WaitId::PidFd(self.fd.as_fd()), peek)?;
        Ok(status.map(|status| exit_of(&status)))
    }

    /// Bytes: the most memory that it had at once. `None` while it runs, and once it is reaped.
    #[expect(unsafe_code, reason = "no library passes on the usage that waitid reports")]
    pub fn peak_memory(&self) -> Option<u64> {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: all-zero bytes are a valid siginfo_t and a valid rusage, and the kernel writes no
        // more than one of each.
        let (info, usage) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let mut usage: libc::rusage = std::mem::zeroed();
            let fd = self.fd.as_raw_fd();
            let (info_at, usage_at) = (&raw mut info, &raw mut usage);
            if libc::syscall(libc::SYS_waitid, libc::P_PIDFD, fd, info_at, flags, usage_at) == -1 {
                return None;
            }
            (info, usage)
        };
        // SAFETY: waitid filled in the child's fields, or left the zeros that stand for "none".
        let ended = unsafe { info.si_pid() } > 0;
        u64::try_from(usage.ru_maxrss).ok().filter(|_| ended).map(|kib| kib * 1024)
    }

    /// Reaps it if it has ended.
    pub fn try_wait(&self) -> io::Result<Option<Exit>> {
        let status = process::waitid(
            WaitId::PidFd(self.fd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )?;
        Ok(status.map(|status| exit_of(&status)))
    }
}

/// Writes over the value of an environment variable in place, where other processes see it in
/// /proc, and so that all that this process forks or executes has it too. Returns whether there was
/// one of that length.
///
/// Only for a process with a single thread, since others may read the variable meanwhile.
#[expect(unsafe_code, reason = "the environment as the kernel sees it")]
pub fn overwrite_variable(name: &std::ffi::CStr, value: &[u8]) -> bool {
    // SAFETY: `getenv` returns null or a string that lives as long as nobody sets the variable;
    // nobody else runs here.
    unsafe {
        let place = libc::getenv(name.as_ptr());
        if place.is_null() || libc::strlen(place) != value.len() || value.contains(&0) {
            return false;
        }
        std::ptr::copy_nonoverlapping(value.as_ptr(), place.cast::<u8>(), value.len());
    }
    true
}

fn exit_of(status: &process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Killed(signal),
        (None, None) => Exit::Status(-1),
    }
}

/// Makes descendants whose parents die children of this process.
pub fn become_subreaper() -> io::Result<()> {
    Ok(process::set_child_subreaper(Some(process::getpid()))?)
}

/// Has this process sent SIGTERM when `parent` ends. Waits up to a second until that is its parent:
/// a process that was forked twice has another one first. `false` if it is not.
pub fn end_with_parent(parent: u32) -> io::Result<bool> {
    let is_ours = || process::getppid().is_some_and(|p| p.as_raw_nonzero().get() as u32 == parent);
    for _ in 0..1000 {
        if is_ours() {
            process::set_parent_process_death_signal(Some(Signal::TERM))?;
            return Ok(is_ours());
        }
        let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let _ = rustix::thread::nanosleep(&pause);
    }
    Ok(false)
}

/// Reaps one child that has ended and is not among `known`. Returns whether there was one.
///
/// Only peeks first: a known child's status belongs to whoever holds its [`Child`]. Such a child
/// hides strangers that ended after it until it is reaped.
pub fn reap_stranger(known: &dyn Fn(u32) -> bool) -> bool {
    let Some(pid) = peek_ended().filter(|pid| !known(*pid)) else { return false };
    let Some(pid) = Pid::from_raw(pid as i32) else { return false };
    process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).is_ok()
}

/// The number of a child that has ended and is not reaped.
#[expect(unsafe_code, reason = "rustix hides the pid that waitid reports")]
fn peek_ended() -> Option<u32> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all-zero bytes are a valid siginfo_t, and the kernel writes no more than one.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) == -1 {
            return None;
        }
        info
    };
    // SAFETY: waitid filled in the child's fields, or left the zeros that stand for "none".
    let pid = unsafe { info.si_pid() };
    (pid > 0).then_some(pid as u32)
}

/// The name of the file that a process executes, without its directory; `None` if there is no such
/// process, or it is not ours to look at.
pub fn executable(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_string_lossy().into_owned();
    // What the kernel says of one that was replaced meanwhile.
    Some(name.strip_suffix(" (deleted)").map_or(name.clone(), str::to_owned))
}

/// The user whose process it is; `None` if there is no such process.
pub fn owner(pid: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|entry| entry.uid())
}

/// Ticks of `/proc/PID/stat` in a second: the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Nanoseconds since a process was started; `None` if there is none, or nobody lets us look.
pub fn age_ns(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have blanks and brackets of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let started_ns = ticks.checked_mul(1_000_000_000 / TICKS_PER_SECOND)?;
    u64::try_from(clock::since_boot_ns()).ok()?.checked_sub(started_ns)
}
