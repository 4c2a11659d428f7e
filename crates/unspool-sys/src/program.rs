//! Programs that are no part of unspool: started as a line of shell in a session of their own.
#![expect(unsafe_code, reason = "the standard library has no stable way to start a session")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::clock;
use crate::process::{Child, Exit};

/// What is started, and as whom.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// A line for `/bin/sh`.
    pub command: &'a str,
    /// The directory that it starts in.
    pub directory: &'a Path,
    /// Variables to set.
    pub env: &'a [(String, String)],
    /// Variables to take away.
    pub unenv: &'a [String],
    /// Its user, if it is another one.
    pub uid: Option<u32>,
    /// Its group, if it is another one.
    pub gid: Option<u32>,
}

/// Starts a program. It leads a session and a process group; its output goes where the standard
/// error of this process goes, its input is empty.
pub fn start(program: &Program<'_>) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(program.command).current_dir(program.directory).stdin(Stdio::null());
    let stderr = io::stderr();
    command.stdout(stderr.as_fd().try_clone_to_owned()?);
    command.stderr(stderr.as_fd().try_clone_to_owned()?);
    for name in program.unenv {
        command.env_remove(name);
    }
    command.envs(program.env.iter().map(|(name, text)| (name, text)));
    if let Some(gid) = program.gid {
        command.gid(gid);
    }
    if let Some(uid) = program.uid {
        command.uid(uid);
    }
    let new_session = || rustix::process::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec it makes one system call, and touches no memory.
    unsafe { command.pre_exec(new_session) };
    let child = command.spawn()?;
    Child::open(child.id())
}

/// Runs a line of shell in this process's directory and session, and waits until it has ended.
/// Its output goes to `output`. `None`: it took longer than `most` and was killed.
pub fn run(
    command: &str,
    env: &[(String, String)],
    output: BorrowedFd<'_>,
    most: Option<Duration>,
) -> io::Result<Option<Exit>> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).envs(env.iter().map(|(name, text)| (name, text)));
    shell.stdout(output.try_clone_to_owned()?).stderr(output.try_clone_to_owned()?);
    let child = Child::open(shell.spawn()?.id())?;
    let in_time = wait(&child, most)?;
    if !in_time {
        child.kill();
        wait(&child, None)?;
    }
    let exit = child.try_wait()?.unwrap_or(Exit::Status(-1));
    Ok(in_time.then_some(exit))
}

/// Whether a child has ended within so long.
fn wait(child: &Child, most: Option<Duration>) -> io::Result<bool> {
    let until_ns = most.map(|most| clock::monotonic_ns() + most.as_nanos() as u64);
    loop {
        let left = until_ns.map(|until_ns| until_ns.saturating_sub(clock::monotonic_ns()));
        let left = left.map(|ns| Timespec::try_from(Duration::from_nanos(ns))).transpose();
        match poll(
            &mut [PollFd::new(child, PollFlags::IN)],
            left.map_err(io::Error::other)?.as_ref(),
        ) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// Signals the process group that a child leads. The child must not have been reaped: then its
/// number is its own.
pub fn signal_group(leader: &Child, signal: i32) {
    if let Ok(group) = i32::try_from(leader.pid()) {
        // SAFETY: takes two numbers. A group that is gone is no error of ours.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Signals a process, child or not, by its descriptor: never another one that got its number.
pub fn signal_process(process: &Child, signal: i32) {
    let fd = process.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open during the call, and a null pointer asks for the usual
    // siginfo_t.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}
