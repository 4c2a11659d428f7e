//! The stacks of a worker: a file in memory that it writes them to, the signals that have it do so, and how
//! another process asks for them.
//!
//! The interpreter is asked first. If it does not answer, since its main thread is in C code, each thread is
//! asked for its own stack. What the worker writes is its interpreter's matter. Nobody is sent a signal who
//! does not catch it: by default these kill.
#![expect(unsafe_code, reason = "real-time signals have no names, and no library has tgkill")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{self, MemfdFlags, Mode, OFlags, fcntl_setfl, ftruncate, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::file::{read_at, stat_file, with_high_number};
use crate::folder::FileKind;
use crate::{clock, lock, process};

/// What `/proc` shows of the file of a worker.
const LINK: &str = "/memfd:unspool-stack (deleted)";
/// Before and after what an interpreter writes.
const BEGIN: &[u8] = b"unspool-stack begins\n";
const END: &[u8] = b"\nunspool-stack ends\n";
/// Bytes that are read: a hundred threads of a hundred calls have fewer.
const STACK_BYTES_MAX: u64 = 16 << 20;
/// Threads that are asked one by one.
const THREADS_MAX: usize = 100;
/// How long an interpreter may take before its threads are asked.
const INTERPRETER_WAIT: Duration = Duration::from_secs(1);
/// How long a thread may take that is not the main one.
const THREAD_WAIT: Duration = Duration::from_millis(500);
/// Between the first two looks whether a worker has written; each one after it is twice as long.
const LOOK_WAIT: Duration = Duration::from_millis(1);
/// Between two of the later ones.
const LOOK_WAIT_MAX: Duration = Duration::from_millis(20);

/// The signal that has a worker's interpreter write its stacks: one that no common program uses.
pub fn signal() -> i32 {
    libc::SIGRTMIN() + 7
}

/// The signal that has a thread of a worker write its own stack.
pub fn thread_signal() -> i32 {
    libc::SIGRTMIN() + 8
}

/// Makes the file of a worker, empty.
pub fn make_file() -> io::Result<OwnedFd> {
    let file = memfd_create(c"unspool-stack", MemfdFlags::CLOEXEC)?;
    // What was read is cut off, and what comes next stands at the start.
    fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(with_high_number(file))
}

/// Why a process cannot be asked for its stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mute {
    /// It has no such file: it is no worker, or its task has closed it.
    NoFile,
    /// It does not catch the signal.
    NoHandler,
    /// Its main thread has ended, or it is being taken apart.
    Ended,
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// What its interpreter wrote of all threads.
    Whole(Vec<u8>),
    /// What its threads wrote of themselves, the main one first. Not all, if it has very many.
    Threads(Vec<ThreadStack>),
    /// Nothing within the time.
    Silent,
    /// It has ended.
    Ended,
    /// Somebody else is asking.
    Busy,
}

/// What a thread wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadStack {
    /// Its number.
    pub tid: u32,
    /// Its name, as the kernel knows it.
    pub name: String,
    /// Empty for one that is none of the interpreter's; `None` if it did not answer.
    pub text: Option<Vec<u8>>,
}

/// A process that can be asked for its stacks.
#[derive(Debug)]
pub struct Stacks {
    pid: u32,
    process: OwnedFd,
    file: OwnedFd,
}

impl Stacks {
    /// Gets hold of a process by its number.
    ///
    /// # Errors
    /// There is none, or this process may not look into it.
    pub fn of(pid: u32) -> io::Result<Result<Self, Mute>> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(number, PidfdFlags::empty())?;
        let Some(file) = find_file(pid)? else { return Ok(Err(Mute::NoFile)) };
        let stacks = Self { pid, process, file };
        Ok(if !stacks.is_alive() {
            Err(Mute::Ended)
        } else if stacks.catches() {
            Ok(stacks)
        } else {
            Err(Mute::NoHandler)
        })
    }

    /// Has it write its stacks, and waits for them: so long at most for each of the two ways.
    ///
    /// # Errors
    /// It may not be signalled, or what it wrote cannot be read.
    pub fn ask(&self, wait: Duration) -> io::Result<Answer> {
        let lock = || lock::try_lock(self.file.as_fd()).map(|taken| taken.then_some(()));
        if lock::within(wait, lock)?.is_none() {
            return Ok(Answer::Busy);
        }
        let answer = self.ask_alone(wait);
        // Nothing stays in memory, and somebody else may ask.
        let _ = ftruncate(&self.file, 0);
        let _ = lock::unlock(self.file.as_fd());
        answer
    }

    fn ask_alone(&self, wait: Duration) -> io::Result<Answer> {
        ftruncate(&self.file, 0)?;
        // One that was sent before and is not taken yet does as well.
        if !self.sets().is_some_and(|sets| sets.has("ShdPnd:", signal())) {
            // Looked at as late as can be: the task may execute another program.
            if !self.catches() || !self.is_alive() {
                return Ok(Answer::Ended);
            }
            // SAFETY: a real-time signal that the C library leaves to programs.
            let signal = unsafe { Signal::from_raw_unchecked(signal()) };
            match pidfd_send_signal(&self.process, signal) {
                Err(rustix::io::Errno::SRCH) => return Ok(Answer::Ended),
                sent => sent?,
            }
        }
        if self.wait_until(INTERPRETER_WAIT.min(wait), || Ok(self.whole()?.is_some()))? {
            return Ok(self.whole()?.map_or(Answer::Silent, Answer::Whole));
        }
        let limit_ns = clock::monotonic_ns().saturating_add(wait.as_nanos() as u64);
        let mut answers: Vec<ThreadStack> = Vec::new();
        for tid in self.threads() {
            let left = limit_ns.saturating_sub(clock::monotonic_ns());
            let own = if answers.is_empty() { wait } else { THREAD_WAIT };
            let text = self.ask_thread(tid, own.min(Duration::from_nanos(left)))?;
            // By now it may have come to the interpreter.
            if let Some(whole) = self.whole()? {
                return Ok(Answer::Whole(whole));
            }
            answers.push(ThreadStack { tid, name: self.name(tid), text });
        }
        if !self.is_alive() {
            return Ok(Answer::Ended);
        }
        let answered = answers.iter().any(|thread| thread.text.is_some());
        Ok(if answered { Answer::Threads(answers) } else { Answer::Silent })
    }

    /// Has a thread write its stack; `None` if it does not within the time, or is gone.
    fn ask_thread(&self, tid: u32, wait: Duration) -> io::Result<Option<Vec<u8>>> {
        let number = thread_signal();
        let Some(before) = self.thread_sets(tid) else { return Ok(None) };
        if before.has("SigBlk:", number) || !before.has("SigCgt:", number) || !self.is_alive() {
            return Ok(None);
        }
        let start = self.bytes()?;
        let is_sent = before.has("SigPnd:", number) || self.send(tid, number)?;
        // A handler runs with its signal blocked: what was written before it is not is all. Nothing is
        // written of a thread without Python: of two looks both must find it done.
        let mut seen = 0;
        let is_done = is_sent
            && self.wait_until(wait, || {
                let Some(sets) = self.thread_sets(tid) else { return Ok(true) };
                let is_under_way = sets.has("SigPnd:", number) || sets.has("SigBlk:", number);
                seen = if is_under_way { 0 } else { seen + 1 };
                Ok(seen > 1 || (seen == 1 && self.bytes()? > start))
            })?;
        Ok(if is_done { Some(self.read(start)?) } else { None })
    }

    /// Whether the signal is on its way to the thread; `false` if that is gone.
    fn send(&self, tid: u32, number: i32) -> io::Result<bool> {
        // SAFETY: a call on numbers alone. Thread and process are looked up together, and the process was
        // alive a moment ago, so that its number is not given anew before all others were.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, self.pid, tid, number) };
        let error = io::Error::last_os_error();
        match sent {
            0 => Ok(true),
            _ if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            _ => Err(error),
        }
    }

    /// Looks until something is so, the process has ended or the time is over.
    fn wait_until(
        &self,
        wait: Duration,
        mut is_so: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<bool> {
        let limit_ns = clock::monotonic_ns().saturating_add(wait.as_nanos() as u64);
        let mut pause = LOOK_WAIT;
        loop {
            clock::pause(pause);
            pause = (pause * 2).min(LOOK_WAIT_MAX);
            if is_so()? {
                return Ok(true);
            }
            if clock::monotonic_ns() >= limit_ns || !self.is_alive() {
                return Ok(false);
            }
        }
    }

    /// What the interpreter has written, once that is all.
    fn whole(&self) -> io::Result<Option<Vec<u8>>> {
        let mut text = self.read(0)?;
        let find = |text: &[u8], part: &[u8]| text.windows(part.len()).position(|at| at == part);
        let Some(start) = find(&text, BEGIN) else { return Ok(None) };
        text.drain(..start + BEGIN.len());
        let end = find(&text, END);
        Ok(end.map(|end| {
            text.truncate(end + 1);
            text
        }))
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(stat_file(self.file.as_fd())?.bytes)
    }

    /// What was written from an offset on.
    fn read(&self, start: u64) -> io::Result<Vec<u8>> {
        let bytes = self.bytes()?.saturating_sub(start).min(STACK_BYTES_MAX);
        let mut text = vec![0; bytes as usize];
        let got = read_at(self.file.as_fd(), &mut text, start)?;
        text.truncate(got);
        Ok(text)
    }

    /// Whether it has not ended: until then its number is its own.
    fn is_alive(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(&self.process, rustix::event::PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
    }

    fn catches(&self) -> bool {
        let all = [signal(), thread_signal()];
        self.sets().is_some_and(|sets| all.iter().all(|number| sets.has("SigCgt:", *number)))
    }

    /// Its threads, in the order in which they were started; the main one has the number of the process.
    fn threads(&self) -> Vec<u32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        let threads = threads.into_iter().flatten().flatten();
        let numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
        let mut numbers: Vec<u32> = numbers.take(THREADS_MAX).collect();
        numbers.sort_by_key(|tid| (*tid != self.pid, *tid));
        numbers
    }

    fn name(&self, tid: u32) -> String {
        let name = std::fs::read(format!("/proc/{}/task/{tid}/comm", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&name).trim_end().to_owned()
    }

    fn sets(&self) -> Option<SignalSets> {
        SignalSets::read(&format!("/proc/{}/status", self.pid))
    }

    fn thread_sets(&self, tid: u32) -> Option<SignalSets> {
        SignalSets::read(&format!("/proc/{}/task/{tid}/status", self.pid))
    }
}

/// What the kernel says of the signals of a process or a thread.
struct SignalSets(String);

impl SignalSets {
    fn read(path: &str) -> Option<Self> {
        std::fs::read(path).ok().map(|bytes| Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn has(&self, set: &str, number: i32) -> bool {
        let mask = self.0.lines().find_map(|line| line.strip_prefix(set));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        mask >> (number - 1) & 1 == 1
    }
}

/// The file of a process, opened anew.
fn find_file(pid: u32) -> io::Result<Option<OwnedFd>> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        if !is_link(&path) {
            continue;
        }
        // A process of ill will may put another file there meanwhile, and this one may be root's: what was
        // opened is looked at before it is opened to write. Its own, and without a name, it may lose.
        let open = |path: &Path, flags| fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let found = open(&path, OFlags::PATH)?;
        let again = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
        let stat = stat_file(found.as_fd())?;
        let is_its_own = stat.kind == FileKind::File && stat.links == 0;
        if is_its_own && process::owner(pid) == Some(stat.owner) && is_link(&again) {
            return Ok(Some(open(&again, OFlags::RDWR)?));
        }
    }
    Ok(None)
}

fn is_link(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.as_os_str() == LINK)
}

/// What a process does, in words; `None` if there is none.
pub fn state(pid: u32) -> Option<&'static str> {
    let sets = SignalSets::read(&format!("/proc/{pid}/status"))?;
    let state = sets.0.lines().find_map(|line| line.strip_prefix("State:"))?;
    Some(match state.trim().as_bytes().first()? {
        b'R' => "running",
        b'S' | b'I' => "sleeping",
        b'D' => "in uninterruptible sleep",
        b'T' => "stopped",
        b't' => "traced",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_signals_are_read() {
        let bit = 1u64 << (signal() - 1);
        let text = format!("Name:\tx\nSigBlk:\t{:016x}\nSigCgt:\t{bit:016x}\n", !bit);
        let sets = SignalSets(text);
        assert!(sets.has("SigCgt:", signal()) && sets.has("SigBlk:", thread_signal()));
        assert!(!sets.has("SigBlk:", signal()) && !sets.has("ShdPnd:", signal()));
    }

    #[test]
    fn who_does_not_catch_the_signal_is_not_sent_it() {
        let pid = crate::host::pid();
        assert_eq!(Stacks::of(pid).unwrap().unwrap_err(), Mute::NoFile);
        let file = make_file().unwrap();
        assert_eq!(Stacks::of(pid).unwrap().unwrap_err(), Mute::NoHandler);
        drop(file);
        assert_eq!(Stacks::of(pid).unwrap().unwrap_err(), Mute::NoFile);
        // A file that only has the name.
        let folder = tempfile::tempdir().unwrap();
        let _named =
            std::fs::File::create(folder.path().join("memfd:unspool-stack (deleted)")).unwrap();
        assert_eq!(Stacks::of(pid).unwrap().unwrap_err(), Mute::NoFile);
        assert!(matches!(state(pid), Some("running" | "sleeping")));
    }
}
