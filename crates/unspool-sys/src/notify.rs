//! inotify: hints that something changed in a folder. The scan is the truth.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

/// An inotify instance.
#[derive(Debug)]
pub struct Watcher {
    fd: OwnedFd,
    interest: WatchFlags,
    buffer: Vec<MaybeUninit<u8>>,
}

/// What a [`Watcher`] hears of. Whoever wants to hear of both has two of them, so that it can wait
/// for one without being woken by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Everything but the creation of names.
    Changes,
    /// The creation of names: [`Hint::Created`], and [`Hint::Look`] for directories.
    Creations,
    /// Whatever changes names, contents or attributes, each change as it is made.
    Everything,
}

/// Something that happened in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A name appeared complete, or its attributes changed: look at it.
    Look {
        /// The folder's watch.
        watch: i32,
        /// The name in it.
        name: Vec<u8>,
        /// Whether the name is a directory.
        directory: bool,
    },
    /// A file's name was created: empty, and a [`Hint::Look`] follows when it is closed; or another
    /// name of a file that is whole, and nothing follows.
    Created {
        /// The folder's watch.
        watch: i32,
        /// The name in it.
        name: Vec<u8>,
    },
    /// A name is gone.
    Gone {
        /// The folder's watch.
        watch: i32,
        /// The name in it.
        name: Vec<u8>,
        /// Whether the name was a directory.
        directory: bool,
    },
    /// The folder itself is gone, and with it its watch. Not before the last process that has it
    /// open closes it.
    FolderGone {
        /// The folder's watch.
        watch: i32,
    },
    /// The folder itself has another name now. Its watch goes on.
    FolderMoved {
        /// The folder's watch.
        watch: i32,
    },
    /// The kernel dropped events: everything has to be looked at.
    Overflow,
}

const NAMES: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Watcher {
    /// A new instance, non-blocking.
    pub fn new(interest: Interest) -> io::Result<Self> {
        let interest = match interest {
            Interest::Creations => WatchFlags::CREATE,
            Interest::Changes => WatchFlags::CLOSE_WRITE | NAMES,
            Interest::Everything => WatchFlags::CREATE | WatchFlags::MODIFY | NAMES,
        };
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { fd, interest, buffer: vec![MaybeUninit::uninit(); 64 * 1024] })
    }

    /// Watches a folder. `EXCL_UNLINK` keeps silent about files that are deleted while open: else
    /// closing each finished task would raise a false `CLOSE_WRITE`.
    pub fn add(&self, path: &Path) -> io::Result<i32> {
        let how = WatchFlags::EXCL_UNLINK | WatchFlags::ONLYDIR;
        Ok(inotify::add_watch(&self.fd, path, self.interest | how)?)
    }

    /// Ends a watch. One that is gone already is no error.
    pub fn remove(&self, watch: i32) {
        let _ = inotify::remove_watch(&self.fd, watch);
    }

    /// Reads what there is, at most a buffer of it, without waiting, and calls `each` for it.
    pub fn read(&mut self, mut each: impl FnMut(Hint)) -> io::Result<()> {
        let mut reader = inotify::Reader::new(&self.fd, &mut self.buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(hint) = hint(&event) {
                each(hint);
            }
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

/// Magic numbers of file systems that other machines or programs change without an event here: NFS,
/// SMB and CIFS, FUSE, 9p, AFS, Ceph, Coda, and the folders that `VirtualBox` shares.
const WITHOUT_EVENTS: &[u64] = &[
    0x6969,
    0xFE53_4D42,
    0xFF53_4D42,
    0x517B,
    0x6573_5546,
    0x0102_1997,
    0x5346_414F,
    0x00C3_6400,
    0x7375_7245,
    0x786F_4256,
];

/// Whether every change in a directory raises an event: not where others change it from outside.
pub fn hears_all(path: &Path) -> io::Result<bool> {
    let kind = rustix::fs::statfs(path)?.f_type;
    // The type of the field differs between machines.
    Ok(!WITHOUT_EVENTS.contains(&(u64::from(kind as u32))))
}

fn hint(event: &inotify::Event<'_>) -> Option<Hint> {
    let flags = event.events();
    let watch = event.wd();
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Hint::Overflow);
    }
    if flags.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF) {
        return Some(Hint::FolderGone { watch });
    }
    if flags.contains(ReadFlags::MOVE_SELF) {
        return Some(Hint::FolderMoved { watch });
    }
    let name = event.file_name()?.to_bytes().to_vec();
    let directory = flags.contains(ReadFlags::ISDIR);
    if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        return Some(Hint::Gone { watch, name, directory });
    }
    if flags.contains(ReadFlags::CREATE) && !directory {
        return Some(Hint::Created { watch, name });
    }
    Some(Hint::Look { watch, name, directory })
}
