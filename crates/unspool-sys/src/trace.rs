//! What this thread does to a file system, call by call, and calls that fail on purpose.
//!
//! Only with the feature `trace`, which tests of crashes and of failing calls turn on. Of each call
//! that changes something it keeps what a crash may undo; what a crash leaves of it is the tests'
//! business.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, SeekFrom};

/// A file or a directory, for as long as a trace runs: none of those in it is reused.
pub type Node = u64;

/// A call that succeeded, or a flush that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A name for a new, empty file.
    Create {
        /// The directory.
        folder: Node,
        /// The name.
        name: Vec<u8>,
        /// The new file.
        node: Node,
    },
    /// A name for a new directory.
    MakeFolder {
        /// The directory.
        folder: Node,
        /// The name.
        name: Vec<u8>,
        /// The new one.
        node: Node,
    },
    /// A file has another name, and what had that name has lost it.
    Rename {
        /// The directory.
        folder: Node,
        /// The old name.
        name: Vec<u8>,
        /// The directory of the new one.
        to: Node,
        /// The new name.
        new_name: Vec<u8>,
    },
    /// A name is gone.
    Unlink {
        /// The directory.
        folder: Node,
        /// The name.
        name: Vec<u8>,
    },
    /// Content.
    Write {
        /// The file.
        node: Node,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The modification time.
    SetTime {
        /// The file.
        node: Node,
        /// Since 1970.
        mtime_ns: i64,
    },
    /// A flush that succeeded.
    Sync {
        /// File or directory.
        node: Node,
    },
    /// A flush that failed: what was not flushed before may never be, whatever later ones say.
    SyncFailed {
        /// File or directory.
        node: Node,
    },
    /// What the test says of this moment.
    Note(String),
}

/// Which calls fail, counted from 0 over all that a trace sees.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The first one.
    pub at: usize,
    /// How many in a row; `usize::MAX` is all.
    pub times: usize,
    /// What they return.
    pub how: How,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With this number, having done nothing.
    Errno(i32),
    /// A write stores half, and the next one fails with this number; other calls fail at once.
    Short(i32),
}

/// What a trace saw.
#[derive(Debug, Default)]
pub struct Trace {
    /// In their order.
    pub calls: Vec<Call>,
    /// All calls that could have failed, by name.
    pub names: Vec<&'static str>,
    /// Whether the fault struck.
    pub struck: bool,
}

#[derive(Debug, Default)]
struct Recorder {
    trace: Trace,
    fault: Option<Fault>,
    /// Keeps inode numbers from being reused.
    open: Vec<OwnedFd>,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Starts a trace of this thread.
pub fn start(fault: Option<Fault>) {
    RECORDER.set(Some(Recorder { fault, ..Recorder::default() }));
}

/// Ends it.
pub fn end() -> Trace {
    RECORDER.take().map(|recorder| recorder.trace).unwrap_or_default()
}

/// Notes what the test did or heard.
pub fn note(text: impl Into<String>) {
    push(Call::Note(text.into()));
}

/// No call fails any more.
pub fn heal() {
    with(|recorder| recorder.fault = None);
}

fn with<T>(act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    RECORDER.with_borrow_mut(|recorder| recorder.as_mut().map(act))
}

fn push(call: Call) {
    with(|recorder| recorder.trace.calls.push(call));
}

/// A call is about to be made: an error if it is to fail.
pub(crate) fn before(name: &'static str) -> io::Result<()> {
    match strike(name) {
        Some(How::Errno(errno) | How::Short(errno)) => Err(io::Error::from_raw_os_error(errno)),
        None => Ok(()),
    }
}

/// Like [`before`] for a write: how much of it to make, if it is to fall short.
pub(crate) fn before_write(bytes: usize) -> io::Result<usize> {
    match strike("write") {
        Some(How::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(How::Short(errno)) if bytes < 2 => Err(io::Error::from_raw_os_error(errno)),
        Some(How::Short(errno)) => {
            with(|recorder| {
                let at = recorder.trace.names.len();
                recorder.fault = Some(Fault { at, times: 1, how: How::Errno(errno) });
            });
            Ok(bytes / 2)
        }
        None => Ok(bytes),
    }
}

fn strike(name: &'static str) -> Option<How> {
    with(|recorder| {
        let number = recorder.trace.names.len();
        recorder.trace.names.push(name);
        let fault = recorder.fault?;
        let strikes = number >= fault.at && number - fault.at < fault.times;
        recorder.trace.struck |= strikes;
        strikes.then_some(fault.how)
    })
    .flatten()
}

/// The node behind a descriptor.
fn node(file: BorrowedFd<'_>) -> Node {
    // Opened anew: a duplicate would hold its lock.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = fs::OFlags::PATH | fs::OFlags::CLOEXEC;
    with(|recorder| recorder.open.extend(fs::open(path, flags, fs::Mode::empty())));
    fs::fstat(file).map_or(0, |stat| stat.st_ino)
}

/// Does it only while a trace runs: the questions cost calls.
fn tell(call: impl FnOnce() -> Call) {
    if RECORDER.with_borrow(Option::is_some) {
        push(call());
    }
}

pub(crate) fn created(folder: impl AsFd, name: &[u8], file: impl AsFd) {
    let (folder, file) = (folder.as_fd(), file.as_fd());
    tell(|| Call::Create { folder: node(folder), name: name.to_vec(), node: node(file) });
}

pub(crate) fn made_folder(folder: impl AsFd, name: &[u8]) {
    let folder = folder.as_fd();
    tell(|| {
        let flags = fs::OFlags::RDONLY | fs::OFlags::DIRECTORY | fs::OFlags::CLOEXEC;
        let made = fs::openat(folder, name, flags, fs::Mode::empty());
        let made = made.map_or(0, |made| node(made.as_fd()));
        Call::MakeFolder { folder: node(folder), name: name.to_vec(), node: made }
    });
}

pub(crate) fn renamed(folder: impl AsFd, name: &[u8], to: impl AsFd, new_name: &[u8]) {
    let (folder, to) = (folder.as_fd(), to.as_fd());
    tell(|| Call::Rename {
        folder: node(folder),
        name: name.to_vec(),
        to: node(to),
        new_name: new_name.to_vec(),
    });
}

pub(crate) fn unlinked(folder: impl AsFd, name: &[u8]) {
    let folder = folder.as_fd();
    tell(|| Call::Unlink { folder: node(folder), name: name.to_vec() });
}

/// `offset`: where it was written; `None` is before the file's position.
pub(crate) fn wrote(file: BorrowedFd<'_>, offset: Option<u64>, bytes: &[u8]) {
    tell(|| {
        let behind = || fs::seek(file, SeekFrom::Current(0)).unwrap_or(0);
        let offset = offset.unwrap_or_else(|| behind().saturating_sub(bytes.len() as u64));
        Call::Write { node: node(file), offset, bytes: bytes.to_vec() }
    });
}

pub(crate) fn set_time(file: BorrowedFd<'_>, mtime_ns: i64) {
    tell(|| Call::SetTime { node: node(file), mtime_ns });
}

/// A flush is about to be made.
pub(crate) fn before_sync(file: BorrowedFd<'_>) -> io::Result<()> {
    let failing = before("fsync");
    if failing.is_err() {
        tell(|| Call::SyncFailed { node: node(file) });
    }
    failing
}

pub(crate) fn synced(file: BorrowedFd<'_>) {
    tell(|| Call::Sync { node: node(file) });
}
