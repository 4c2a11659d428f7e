//! An open directory and what is done to the files in it.
//!
//! Every call names a file by one component relative to the open directory, and follows no link, so
//! that a spool which is moved while it is open stays the same spool, and no name can leave it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};

use crate::file::sync_file;
use crate::host;
pub use crate::sharing::Sharing;
#[cfg(feature = "trace")]
use crate::trace;

/// What kind of thing a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else; never followed, never opened.
    Other,
}

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Names that the file has; 0 once it is deleted.
    pub links: u64,
    /// Length.
    pub bytes: u64,
    /// Modification time: the due time of a task.
    pub mtime_ns: i64,
    /// Time of the last change of content or attributes.
    pub ctime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// The user it belongs to.
    pub owner: u32,
    /// The group it belongs to.
    pub group: u32,
    /// Kind of file.
    pub kind: FileKind,
}

impl Stat {
    pub(crate) fn new(stat: &fs::Stat) -> Self {
        let kind = match fs::FileType::from_raw_mode(stat.st_mode) {
            fs::FileType::RegularFile => FileKind::File,
            fs::FileType::Directory => FileKind::Directory,
            _ => FileKind::Other,
        };
        Self {
            inode: stat.st_ino,
            device: stat.st_dev,
            links: stat.st_nlink as _,
            bytes: stat.st_size as u64,
            mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            group: stat.st_gid,
            kind,
        }
    }
}

/// Times beyond the year 2262 are as far away as the type allows: "never" stays never.
fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// An open directory. What is made in it, and in what is opened beneath it, gets the modes of its
/// [`Sharing`].
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    sharing: Sharing,
    /// Files that root makes are given to its owner, as directories always are.
    gives: bool,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Folder {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, sharing: Sharing::Private, gives: false }
    }
}

/// A name that is one component: with it no call can leave its directory.
fn component(name: &[u8]) -> io::Result<&[u8]> {
    if name.contains(&b'/') || name == b".." {
        let text = "this is not the name of a file in a directory";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(name)
}

/// How often a file is looked for and made that others make and remove.
const OPEN_TRIES: usize = 8;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a directory by its path.
    pub fn open(path: &Path) -> io::Result<Self> {
        #[cfg(feature = "trace")]
        trace::before("open")?;
        Ok(fs::open(path, DIRECTORY, Mode::empty())?.into())
    }

    /// Opens a directory only to look up names in it: needs no right to read it.
    pub fn open_to_look(path: &Path) -> io::Result<Self> {
        Ok(fs::open(path, DIRECTORY | OFlags::PATH, Mode::empty())?.into())
    }

    /// The same directory, with other modes for what is made in it.
    #[must_use]
    pub fn shared(self, sharing: Sharing) -> Self {
        Self { sharing, ..self }
    }

    /// The same directory, in which and beneath which files that root makes are given to the owner of
    /// their directory: they are the bookkeeping of whose spool it is. Of a task the owner says more.
    #[must_use]
    pub fn giving(self) -> Self {
        Self { gives: true, ..self }
    }

    /// Who may use what is made here.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Opens a sub-directory; a symbolic link is refused.
    pub fn open_sub(&self, name: &[u8]) -> io::Result<Self> {
        #[cfg(feature = "trace")]
        trace::before("openat")?;
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        let fd = fs::openat(&self.fd, component(name)?, flags, Mode::empty())?;
        Ok(Self { fd, sharing: self.sharing, gives: self.gives })
    }

    /// Makes a sub-directory. Returns whether it was not there before.
    pub fn make_sub(&self, name: &[u8]) -> io::Result<bool> {
        let name = component(name)?;
        if self.sharing != Sharing::Private && self.stat(name)?.is_none() {
            return self.make_shared_sub(name, None);
        }
        #[cfg(feature = "trace")]
        trace::before("mkdirat")?;
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                #[cfg(feature = "trace")]
                trace::made_folder(self, name);
                self.give_to_owner(name)?;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory that root makes in another user's is that user's, or nobody but root could use it.
    fn give_to_owner(&self, name: &[u8]) -> io::Result<()> {
        let Some((uid, gid)) = self.heir()? else { return Ok(()) };
        let flags = fs::AtFlags::SYMLINK_NOFOLLOW;
        Ok(fs::chownat(&self.fd, name, Some(uid), Some(gid), flags)?)
    }

    /// Owner and group of the directory, if it is another user's and we are root.
    fn heir(&self) -> io::Result<Option<(fs::Uid, fs::Gid)>> {
        if !host::is_root() {
            return Ok(None);
        }
        let whole = fs::fstat(&self.fd)?;
        let heir = (fs::Uid::from_raw(whole.st_uid), fs::Gid::from_raw(whole.st_gid));
        Ok((whole.st_uid != 0).then_some(heir))
    }

    /// Gives a file or directory that lies here to a user and a group, following no link. A file of
    /// several names is refused: it may be one of another directory.
    pub fn give_name(&self, name: &[u8], owner: u32, group: u32) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = fs::openat(&self.fd, component(name)?, flags, Mode::empty())?;
        let stat = Stat::new(&fs::fstat(&found)?);
        if stat.kind != FileKind::Directory && (stat.kind != FileKind::File || stat.links != 1) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has several names"));
        }
        let (uid, gid) = (fs::Uid::from_raw(owner), fs::Gid::from_raw(group));
        Ok(fs::chownat(&found, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Makes a sub-directory aside, and gives it its name once others can use it: they would be
    /// refused in the meantime. `group`: this one, not that of the directory.
    fn make_shared_sub(&self, name: &[u8], group: Option<u32>) -> io::Result<bool> {
        let random: [u8; 8] = host::random()?;
        let end = format!("-{:016x}", u64::from_le_bytes(random));
        let aside = [b".", name, end.as_bytes()].concat();
        #[cfg(feature = "trace")]
        trace::before("mkdirat")?;
        fs::mkdirat(&self.fd, aside.as_slice(), Mode::RWXU)?;
        #[cfg(feature = "trace")]
        trace::made_folder(self, &aside);
        let made = self.open_sub(&aside).and_then(|made| {
            if group.is_none() {
                self.give_to_owner(&aside)?;
            }
            made.give(self.sharing, None, group)?;
            self.rename(&aside, self, name)
        });
        match made {
            Ok(()) => Ok(true),
            Err(error) => {
                let _ = self.remove_sub(&aside);
                let taken = error.kind() == io::ErrorKind::AlreadyExists;
                if taken { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Gives the directory itself to a user and a group, and the mode of that sharing.
    pub(crate) fn give(
        &self,
        sharing: Sharing,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> io::Result<()> {
        if owner.is_some() || group.is_some() {
            fs::fchown(&self.fd, owner.map(fs::Uid::from_raw), group.map(fs::Gid::from_raw))?;
        }
        // In this order: a change of the group may take the bit away that hands it on.
        if sharing != Sharing::Private {
            fs::fchmod(&self.fd, Mode::from_raw_mode(sharing.folder_mode()))?;
        }
        Ok(())
    }

    /// A second descriptor of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, sharing: self.sharing, gives: self.gives })
    }

    /// Creates a file for writing; an existing name is an error.
    pub fn create(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.open_new(name, flags | OFlags::NOFOLLOW)
    }

    /// Creates a file that must not exist, for writing, which others may read as far as the mask
    /// lets them.
    pub fn create_readable(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        Ok(fs::openat(&self.fd, component(name)?, flags | OFlags::NOFOLLOW, mode)?)
    }

    /// Opens a file for reading and writing, creating it if it is missing.
    pub fn open_or_create(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if self.sharing == Sharing::Private && !(self.gives && host::is_root()) {
            return self.open_new(name, flags | OFlags::CREATE);
        }
        // Only what was made here is given its mode and owner: another one's may not be changed.
        for _ in 0..OPEN_TRIES {
            match fs::openat(&self.fd, component(name)?, flags, Mode::empty()) {
                Err(rustix::io::Errno::NOENT) => {}
                other => return Ok(other?),
            }
            match self.open_new(name, flags | OFlags::CREATE | OFlags::EXCL) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn open_new(&self, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        #[cfg(feature = "trace")]
        trace::before("openat")?;
        #[cfg(feature = "trace")]
        let was_there = !flags.contains(OFlags::EXCL) && self.stat(name)?.is_some();
        let mode = Mode::from_raw_mode(self.sharing.file_mode());
        let file = fs::openat(&self.fd, component(name)?, flags, mode)?;
        #[cfg(feature = "trace")]
        if !was_there {
            trace::created(self, name, &file);
        }
        if self.sharing != Sharing::Private {
            fs::fchmod(&file, mode)?;
        }
        if self.gives
            && let Some((uid, gid)) = self.heir()?
        {
            fs::fchown(&file, Some(uid), Some(gid)).inspect_err(|_| {
                let _ = fs::unlinkat(&self.fd, name, AtFlags::empty());
            })?;
        }
        Ok(file)
    }

    /// Gives what was made here by other means the mode of files, following no link.
    pub(crate) fn share(&self, name: &[u8]) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = fs::openat(&self.fd, component(name)?, flags, Mode::empty())?;
        // A descriptor of this kind can be changed by this name alone.
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        Ok(fs::chmod(path, Mode::from_raw_mode(self.sharing.file_mode()))?)
    }

    /// Opens an existing file for reading and writing, without following a link, waiting for a
    /// FIFO's other end, or (where we own the file) dirtying its access time.
    pub fn open_file(&self, name: &[u8]) -> io::Result<OwnedFd> {
        self.open_existing(name, OFlags::RDWR)
    }

    /// Like [`Folder::open_file`], for reading alone: needs no right to write, and closing it
    /// raises no hint.
    pub fn open_to_read(&self, name: &[u8]) -> io::Result<OwnedFd> {
        self.open_existing(name, OFlags::RDONLY)
    }

    fn open_existing(&self, name: &[u8], access: OFlags) -> io::Result<OwnedFd> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        #[cfg(feature = "trace")]
        trace::before("openat")?;
        let name = component(name)?;
        match fs::openat(&self.fd, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => Ok(fs::openat(&self.fd, name, flags, Mode::empty())?),
            other => Ok(other?),
        }
    }

    /// Moves a file to a name that must be free.
    pub fn rename(&self, name: &[u8], to: &Folder, new_name: &[u8]) -> io::Result<()> {
        #[cfg(feature = "trace")]
        trace::before("renameat2")?;
        let (name, new_name) = (component(name)?, component(new_name)?);
        match fs::renameat_with(&self.fd, name, &to.fd, new_name, RenameFlags::NOREPLACE) {
            // A file system without RENAME_NOREPLACE (some network ones).
            Err(rustix::io::Errno::INVAL) => {
                if to.stat(new_name)?.is_some() {
                    return Err(rustix::io::Errno::EXIST.into());
                }
                fs::renameat(&self.fd, name, &to.fd, new_name)?;
            }
            other => other?,
        }
        #[cfg(feature = "trace")]
        trace::renamed(self, name, to, new_name);
        Ok(())
    }

    /// Gives a file another name in this folder, in the place of the file that has it.
    pub fn replace(&self, name: &[u8], new_name: &[u8]) -> io::Result<()> {
        self.replace_to(name, self, new_name)
    }

    /// The same, with a name in another directory of the file system.
    pub fn replace_to(&self, name: &[u8], to: &Self, new_name: &[u8]) -> io::Result<()> {
        #[cfg(feature = "trace")]
        trace::before("renameat")?;
        fs::renameat(&self.fd, component(name)?, &to.fd, component(new_name)?)?;
        #[cfg(feature = "trace")]
        trace::renamed(self, name, to, new_name);
        Ok(())
    }

    /// Deletes a name. Returns whether it was there.
    pub fn unlink(&self, name: &[u8]) -> io::Result<bool> {
        #[cfg(feature = "trace")]
        trace::before("unlinkat")?;
        match fs::unlinkat(&self.fd, component(name)?, AtFlags::empty()) {
            Ok(()) => {
                #[cfg(feature = "trace")]
                trace::unlinked(self, name);
                Ok(true)
            }
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes an empty sub-directory.
    pub fn remove_sub(&self, name: &[u8]) -> io::Result<()> {
        #[cfg(feature = "trace")]
        trace::before("unlinkat")?;
        fs::unlinkat(&self.fd, component(name)?, AtFlags::REMOVEDIR)?;
        #[cfg(feature = "trace")]
        trace::unlinked(self, name);
        Ok(())
    }

    /// Looks at a name without following it; `None` if there is none.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        #[cfg(feature = "trace")]
        trace::before("fstatat")?;
        match fs::statat(&self.fd, component(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Stat::new(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// When the file was created, where the file system knows.
    pub fn birth_ns(&self, name: &[u8]) -> Option<i64> {
        let wanted = fs::StatxFlags::BTIME;
        let stat = fs::statx(&self.fd, component(name).ok()?, AtFlags::SYMLINK_NOFOLLOW, wanted);
        let stat = stat.ok()?;
        let known = stat.stx_mask & wanted.bits() != 0;
        let time = stat.stx_btime;
        known.then(|| time.tv_sec * 1_000_000_000 + i64::from(time.tv_nsec))
    }

    /// Asks whether this process may create files here.
    pub fn check_writable(&self) -> io::Result<()> {
        let access = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
        Ok(fs::accessat(&self.fd, c".", access, AtFlags::EACCESS)?)
    }

    /// Makes names created, moved or deleted here survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        sync_file(self.as_fd())?;
        // An xfs that has shut down, as it does when its journal cannot be written, lets the flush
        // of a directory succeed [ran: Linux 6.18], and refuses to be asked about it.
        fs::fstat(&self.fd)?;
        Ok(())
    }

    /// Makes this the working directory of the process.
    pub fn enter(&self) -> io::Result<()> {
        Ok(rustix::process::fchdir(&self.fd)?)
    }

    /// Sets the directory's own times to now.
    pub fn touch(&self) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        Ok(fs::futimens(&self.fd, &Timestamps { last_access: now, last_modification: now })?)
    }

    /// Starts to read the directory; see [`Listing`].
    pub fn list(&self) -> io::Result<Listing> {
        #[cfg(feature = "trace")]
        trace::before("getdents")?;
        Ok(Listing { dir: fs::Dir::read_from(&self.fd)? })
    }
}

/// The entries of a directory, read as they are asked for, in the file system's order.
#[derive(Debug)]
pub struct Listing {
    dir: fs::Dir,
}

impl Iterator for Listing {
    type Item = io::Result<(Vec<u8>, Option<FileKind>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.dir.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                fs::FileType::RegularFile => Some(FileKind::File),
                fs::FileType::Directory => Some(FileKind::Directory),
                fs::FileType::Unknown => None,
                _ => Some(FileKind::Other),
            };
            return Some(Ok((name.to_vec(), kind)));
        }
    }
}

/// Whether an error of looking at a path leaves open what is there.
pub fn is_failure(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    !matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// Makes a directory of mode 0700 and those above it. What is made survives a power cut; existing
/// ones are left as they are.
pub fn make_path(path: &Path) -> io::Result<()> {
    make_shared_path(path, Sharing::Private, None)
}

/// Like [`make_path`], of this sharing and group.
pub fn make_shared_path(path: &Path, sharing: Sharing, group: Option<u32>) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Err(error) if is_failure(&error) => return Err(error),
        _ => {}
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made = match make_one(path, parent, sharing, group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent != Path::new(".") => {
            make_shared_path(parent, sharing, group)?;
            make_one(path, parent, sharing, group)
        }
        other => other,
    };
    match made {
        Ok(()) => {
            let parent = Folder::open(parent)?;
            #[cfg(feature = "trace")]
            if sharing == Sharing::Private {
                trace::made_folder(&parent, path.file_name().map_or(b"", OsStrExt::as_bytes));
            }
            parent.sync()
        }
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_one(path: &Path, parent: &Path, sharing: Sharing, group: Option<u32>) -> io::Result<()> {
    let name = path.file_name().filter(|_| sharing != Sharing::Private);
    let Some(name) = name else {
        #[cfg(feature = "trace")]
        trace::before("mkdir")?;
        return Ok(fs::mkdir(path, Mode::RWXU)?);
    };
    let made = Folder::open(parent)?.shared(sharing).make_shared_sub(name.as_bytes(), group)?;
    if made { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
}

/// Looks at a path, following links; `None` if there is nothing.
pub fn look(path: &Path) -> io::Result<Option<Stat>> {
    match fs::stat(path) {
        Ok(stat) => Ok(Some(Stat::new(&stat))),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The canonical form of a path: absolute, without links.
pub fn canonical(path: &Path) -> io::Result<std::path::PathBuf> {
    path.canonicalize()
}

/// A name as the standard library wants it.
pub fn os_str(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}
