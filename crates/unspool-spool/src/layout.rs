//! Names and folders of a spool. The specification is `docs/design/spool-format.md`.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use unspool_core::signing::Keyring;
use unspool_core::{Priority, SpoolBounds};
use unspool_sys::folder::{self, Folder, Stat};
use unspool_sys::space::{FileSystem, Network, file_system};
use unspool_sys::{clock, file, host};

use crate::access::Access;
use crate::durable::DurableFolders;
use crate::find::Kept;
use crate::pending::PendingCount;
use crate::view::SpoolView;

/// What every task's name starts with. What follows is free.
pub const PREFIX: &[u8] = b"uwsgi_spoolfile_on_";

/// What the name of a task starts with while it is written: [`PREFIX`] behind a dot, which no
/// reader takes for a task.
pub(crate) const ASIDE: &[u8] = b".uwsgi_spoolfile_on_";

pub(crate) const INTERNAL: &[u8] = b".unspool";
const VERSION: &[u8] = b"version";
pub(crate) const DAEMONS: &[u8] = b"daemons";
pub(crate) const CORRUPT: &[u8] = b"corrupt";
pub(crate) const DEAD: &[u8] = b"dead";

/// Version of the directory's layout that this code reads and writes.
const FORMAT_VERSION: u32 = 1;

/// How often a submitter looks whether the spool is in its place.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// An open spool directory.
///
/// Shared between threads as it is. After a fork the child opens its own: a thread of the parent
/// may have held a lock in this one.
#[derive(Debug)]
pub struct SpoolDir {
    view: SpoolView,
    pub(crate) internal: Folder,
    pub(crate) host: Vec<u8>,
    counter: AtomicU64,
    pub(crate) durable: DurableFolders,
    open_to_others: Option<u32>,
    /// Signs what is submitted.
    pub(crate) keys: Option<Arc<Keyring>>,
    pub(crate) bounds: SpoolBounds,
    pub(crate) pending: PendingCount,
    /// Device and inode.
    identity: (u64, u64),
    parent: Option<Folder>,
    /// When it was last seen in place, on the monotonic clock.
    looked_ns: AtomicU64,
}

/// A spool directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is missing and cannot be made.
    #[error("spool directory `{path}` is missing and cannot be created")]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is there and cannot be opened.
    #[error("spool directory `{path}` cannot be opened")]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has its name.
    #[error(
        "spool directory `{path}` is not a directory: move that file away or name another path"
    )]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// No files can be created in it.
    #[error(
        "spool directory `{path}` is not writable for uid {uid}: change its owner or mode \
         (`chown {uid} {path}`), or run as another user"
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// Who we are.
        uid: u32,
    },
    /// It is shared with a group that we are not in.
    #[error(
        "spool directory `{path}` is shared with group {group}, in which uid {uid} is not: make that \
         user a member (`usermod -a -G {group}`, or `add-gid` for the daemon), or name another \
         `spooler-group`"
    )]
    NotInGroup {
        /// The directory.
        path: PathBuf,
        /// The group.
        group: u32,
        /// Who we are.
        uid: u32,
    },
    /// It is to be shared with a group, and is not.
    #[error(
        "spool directory `{path}` has mode {found:04o} and group {group}, not {wanted:04o} and group \
         {wanted_group}, as `spooler-mode` and `spooler-group` ask: run `chgrp -R {wanted_group} \
         {path}; chmod -R {letters} {path}; find {path} -type d -exec chmod g+s {{}} +`"
    )]
    NotShared {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        found: u32,
        /// Its group.
        group: u32,
        /// The mode that it should have.
        wanted: u32,
        /// The group that it should have.
        wanted_group: u32,
        /// That mode, as `chmod -R` takes it.
        letters: &'static str,
    },
    /// Somebody else can write in it, and it is to be used only if nobody can.
    #[error(
        "folder `{path}` of the spool {problem}, and who can write there decides what your workers \
         run: run `{cure} {path}`, or leave `spooler-strict-permissions` out"
    )]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// The command that makes it right, without the path.
        cure: String,
    },
    /// The version of its format cannot be read.
    #[error("cannot read `{path}`, which says of what format the spool directory is")]
    Unread {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The version of its format is none.
    #[error(
        "`{path}` says `{found}`, which is no version of a spool directory's format: \
         `unspool fsck --repair` writes it anew"
    )]
    BadVersion {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A newer unspool made it.
    #[error(
        "spool directory `{path}` has format version {found}, newer than this unspool's \
         {FORMAT_VERSION}: update unspool"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The version found.
        found: String,
    },
}

impl SpoolDir {
    /// Opens a spool, creating the directory (mode 0700) and its internals where they are missing.
    ///
    /// # Errors
    /// [`OpenError`] names the path and what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, &Access::default())
    }

    /// Opens a spool that has to be as `access` says, creating what is missing so.
    ///
    /// # Errors
    /// As for [`SpoolDir::open`].
    pub fn open_with(path: &Path, access: &Access) -> Result<Self, OpenError> {
        let opening = |source| OpenError::Open { path: path.to_owned(), source };
        access.make(path)?;
        let path = folder::canonical(path).map_err(opening)?;
        let opening = |source| OpenError::Open { path: path.clone(), source };
        let top = Folder::open(&path).map_err(opening)?;
        match top.check_writable() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(OpenError::NotWritable { path, uid: host::uid() });
            }
            other => other.map_err(opening)?,
        }
        let stat = file::stat_file(top.as_fd()).map_err(opening)?;
        access.check(&path, &stat)?;
        let top = top.shared(access.sharing_of(&stat));
        if top.make_sub(INTERNAL).map_err(opening)? {
            // What lies in it has promises of its own.
            top.sync().map_err(opening)?;
        }
        let internal = top.open_sub(INTERNAL).map_err(opening)?.giving();
        let inside = file::stat_file(internal.as_fd()).map_err(opening)?;
        access.check_inside(&path.join(folder::os_str(INTERNAL)), &inside)?;
        check_version(&internal, &path)?;
        Ok(Self {
            internal,
            keys: None,
            bounds: SpoolBounds::default(),
            pending: PendingCount::default(),
            host: file_safe(&host::hostname()),
            counter: AtomicU64::new(0),
            durable: DurableFolders::default(),
            open_to_others: access.is_open_to_others(&stat).then_some(stat.mode),
            parent: path.parent().map(Folder::open_to_look).transpose().map_err(opening)?,
            looked_ns: AtomicU64::new(0),
            identity: (stat.device, stat.inode),
            view: SpoolView::new(path, top),
        })
    }

    /// Signs what is submitted through this, with the first of these keys.
    #[must_use]
    pub fn sign_with(self, keys: Option<Arc<Keyring>>) -> Self {
        Self { keys, ..self }
    }

    /// Refuses what would pass these bounds.
    #[must_use]
    pub fn bounded(self, bounds: SpoolBounds) -> Self {
        Self { bounds, ..self }
    }

    /// The canonical absolute path.
    pub fn path(&self) -> &Path {
        self.view.path()
    }

    /// Whether the directory that was opened still has its name in its parent. It has as long as
    /// nothing tells otherwise: a disk that fails says nothing.
    pub fn is_in_place(&self) -> bool {
        let (Some(parent), Some(name)) = (&self.parent, self.path().file_name()) else {
            return true;
        };
        parent.stat(name.as_bytes()).map_or(true, |named| {
            named.is_some_and(|named| (named.device, named.inode) == self.identity)
        })
    }

    /// The same, looked at no more often than every 100 ms: a directory that was replaced since might
    /// as well have been replaced a moment later.
    pub fn was_in_place(&self) -> bool {
        let now_ns = clock::monotonic_ns();
        if now_ns < self.looked_ns.load(Ordering::Relaxed) + LOOK_EVERY_NS {
            return true;
        }
        let in_place = self.is_in_place();
        if in_place {
            self.looked_ns.store(now_ns, Ordering::Relaxed);
        }
        in_place
    }

    /// The permission bits, if others than the owner and whom `access` let in may enter the directory.
    pub fn open_to_others(&self) -> Option<u32> {
        self.open_to_others
    }

    /// The folder of tasks without a priority.
    pub fn top(&self) -> &Folder {
        self.view.top()
    }

    /// The same, to be looked at.
    pub fn view(&self) -> &SpoolView {
        &self.view
    }

    /// The folder of a priority; `None` while there is none.
    pub fn priority_folder(&self, priority: &Priority) -> io::Result<Option<Folder>> {
        self.view.priority_folder(priority)
    }

    /// The path of a priority's folder, or of the spool itself.
    pub fn folder_path(&self, priority: Option<&Priority>) -> PathBuf {
        self.view.folder_path(priority)
    }

    /// A folder for files that are moved out of the way, made if it is missing. Its name survives a
    /// power cut before anything is moved into it: the moves may, and with them the files.
    pub(crate) fn kept_folder(&self, name: &[u8]) -> io::Result<Folder> {
        self.top().make_sub(name)?;
        let folder = self.top().open_sub(name)?.giving();
        self.durable.ensure(&folder, self.top())?;
        Ok(folder)
    }

    /// Makes what was moved between these folders survive a power cut; `None` is the spool itself.
    /// Folders that are gone are left out.
    pub fn flush<'p>(
        &self,
        folders: impl IntoIterator<Item = Option<&'p Priority>>,
        kept: &[Kept],
    ) -> io::Result<()> {
        for kept in kept {
            if let Some(folder) = self.view.sub(kept.folder())? {
                folder.sync()?;
            }
        }
        for priority in folders {
            match priority {
                None => self.top().sync()?,
                Some(priority) => {
                    if let Some(folder) = self.priority_folder(priority)? {
                        folder.sync()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The path of the internals.
    pub(crate) fn internal_path(&self) -> PathBuf {
        self.path().join(folder::os_str(INTERNAL))
    }

    /// The file system of several machines that it is on; `None` if it is on another kind, or that cannot
    /// be told.
    pub fn network(&self) -> Option<Network> {
        match file_system(self.top().as_fd()) {
            Ok(FileSystem::Network(network)) => Some(network),
            _ => None,
        }
    }

    /// The folder with the folders of all daemons.
    pub fn daemons_folder(&self) -> io::Result<Folder> {
        self.internal.make_sub(DAEMONS)?;
        self.internal.open_sub(DAEMONS)
    }

    /// A folder of its own for one daemon's slots and socket.
    pub fn make_daemon_folder(&self, name: &[u8]) -> io::Result<Folder> {
        let daemons = self.daemons_folder()?;
        daemons.make_sub(name)?;
        daemons.open_sub(name)
    }

    /// The folders of the daemons that are or were here.
    pub fn daemon_folders(&self) -> io::Result<Vec<(Vec<u8>, Folder)>> {
        let daemons = self.daemons_folder()?;
        let mut found = Vec::new();
        for entry in daemons.list()? {
            let (name, _) = entry?;
            if let Ok(folder) = daemons.open_sub(&name) {
                found.push((name, folder));
            }
        }
        Ok(found)
    }

    /// A name that no task had before. Its random number is that of the task's id, so that the end of
    /// the id tells the name.
    pub(crate) fn next_name(&self, now_ns: i64, random: u32) -> Vec<u8> {
        use std::io::Write;
        let number = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let mut name = Vec::with_capacity(PREFIX.len() + self.host.len() + 64);
        name.extend_from_slice(PREFIX);
        name.extend_from_slice(&self.host);
        let (sec, usec) = (now_ns / 1_000_000_000, now_ns / 1_000 % 1_000_000);
        let pid = host::pid();
        // Writing into a Vec cannot fail.
        let _ = write!(name, "_{pid}_{number}_{}_{sec}_{usec}", random >> 1);
        name
    }
}

fn check_version(internal: &Folder, path: &Path) -> Result<(), OpenError> {
    let opening = |source| OpenError::Open { path: path.to_owned(), source };
    match known_version(internal, path)? {
        Version::Missing => write_version(internal).map_err(opening),
        _ => Ok(()),
    }
}

/// The version, if this code can use a spool of it.
fn known_version(internal: &Folder, path: &Path) -> Result<Version, OpenError> {
    let file = || path.join(folder::os_str(INTERNAL)).join(folder::os_str(VERSION));
    let unread = |source| OpenError::Unread { path: file(), source };
    match read_version(internal).map_err(unread)? {
        known @ (Version::Known | Version::Missing) => Ok(known),
        Version::Newer(found) => Err(OpenError::Newer { path: path.to_owned(), found }),
        Version::Damaged(found) => Err(OpenError::BadVersion { path: file(), found }),
    }
}

/// Whether this code can read a spool, without a version too.
pub(crate) fn check_readable_version(internal: &Folder, path: &Path) -> Result<(), OpenError> {
    known_version(internal, path).map(|_| ())
}

/// What the file of the version says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Version {
    /// One that this code reads. Also an empty file, from a power cut soon after it was written: there
    /// was no other version then.
    Known,
    /// There is no such file.
    Missing,
    /// One of a later unspool.
    Newer(String),
    /// No version at all.
    Damaged(String),
}

pub(crate) fn read_version(internal: &Folder) -> io::Result<Version> {
    let file = match internal.open_to_read(VERSION) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Version::Missing),
        other => other?,
    };
    let mut text = [0u8; 16];
    let got = file::read_at(file.as_fd(), &mut text, 0)?;
    let found = String::from_utf8_lossy(&text[..got]).trim().to_owned();
    let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
    Ok(match digits.parse::<u32>() {
        _ if found.is_empty() => Version::Known,
        // A later one may say more than a number.
        Ok(version) if version > FORMAT_VERSION => Version::Newer(found),
        Ok(_) if digits == found => Version::Known,
        _ => Version::Damaged(found),
    })
}

/// Writes the version aside and gives it its name, unless another process was faster.
fn write_version(internal: &Folder) -> io::Result<()> {
    let random: [u8; 8] = host::random()?;
    let aside = format!(".version-{:016x}", u64::from_le_bytes(random)).into_bytes();
    let file = internal.create(&aside)?;
    file::write_all(file.as_fd(), format!("{FORMAT_VERSION}\n").as_bytes())?;
    // Else a power cut can leave a name with zeros behind it, and no start would take them.
    file::sync_file(file.as_fd())?;
    match internal.rename(&aside, internal, VERSION) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            internal.unlink(&aside).map(|_| ())
        }
        other => other,
    }
}

/// A host name as part of a file name.
fn file_safe(host: &[u8]) -> Vec<u8> {
    host.iter().take(64).map(|b| if *b == b'/' || *b == 0 { b'-' } else { *b }).collect()
}

/// Whether a name is a task's.
pub fn is_task_name(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a name is that of a task in the making, or of one whose submitter died.
pub fn is_aside_name(name: &[u8]) -> bool {
    name.starts_with(ASIDE)
}

/// When a task was submitted, from the end of its name `_<sec>_<usec>`; `None` for other names.
pub fn submitted_ns(name: &[u8]) -> Option<i64> {
    let mut parts = name.rsplit(|b| *b == b'_');
    let usec = number(parts.next()?)?;
    let sec = number(parts.next()?)?;
    if usec >= 1_000_000 {
        return None;
    }
    sec.checked_mul(1_000_000_000)?.checked_add(usec * 1000)
}

/// Who submitted a task, from the start of its name: the machine, which may have no name, and the
/// process; `None` for other names, as of tasks that another machine sent.
pub fn submitter(name: &[u8]) -> Option<(&[u8], u32)> {
    let mut parts = name.strip_prefix(PREFIX)?.rsplitn(6, |b| *b == b'_');
    let pid = u32::try_from(number(parts.nth(4)?)?).ok().filter(|pid| *pid > 0)?;
    Some((parts.next()?, pid))
}

/// The random number in a name, which stands before the time; `None` for other names.
pub(crate) fn random_in(name: &[u8]) -> Option<u32> {
    let digits =
        name.rsplit(|b| *b == b'_').nth(2).filter(|digits| (1..=10).contains(&digits.len()))?;
    let mut random = 0u64;
    for digit in digits {
        random = 10 * random + u64::from(digit.is_ascii_digit().then_some(digit - b'0')?);
    }
    u32::try_from(random).ok().filter(|random| *random <= u32::MAX >> 1)
}

/// When a file became a task: by its name, else its birth. Where the file system keeps no births it is
/// the earlier of its other times, so that a `chmod` does not make an old task new.
pub fn submitted_at_ns(folder: &Folder, name: &[u8], stat: &Stat) -> i64 {
    submitted_ns(name)
        .or_else(|| folder.birth_ns(name))
        .unwrap_or_else(|| stat.ctime_ns.min(stat.mtime_ns))
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time on which a new task's name and id are built.
pub(crate) fn stamp() -> i64 {
    clock::now_ns()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_submitter_is_in_the_name() {
        for (name, expect) in [
            (&b"uwsgi_spoolfile_on_my_web_4623_1_12_5_7"[..], Some((&b"my_web"[..], 4623))),
            (b"uwsgi_spoolfile_on__4623_1_12_5_7", Some((b"", 4623))),
            (b"uwsgi_spoolfile_on_4623_1_12_5_7", None),
            (b"uwsgi_spoolfile_on_web_x_1_12_5_7", None),
            (b"uwsgi_spoolfile_on_01a2_0_0_12_5_7", None),
        ] {
            assert_eq!(submitter(name), expect, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn submission_time_is_in_the_name() {
        for (name, expect) in [
            (
                &b"uwsgi_spoolfile_on_vm_4623_1_1293001755_1795417858_508096"[..],
                Some(1_795_417_858_508_096_000),
            ),
            (b"uwsgi_spoolfile_on_vm_1_1_1_5_7", Some(5_000_007_000)),
            (b"uwsgi_spoolfile_on_", None),
            (b"uwsgi_spoolfile_on_15.tmp", None),
            (b"uwsgi_spoolfile_on_a_1_9999999", None),
        ] {
            assert_eq!(submitted_ns(name), expect, "{}", String::from_utf8_lossy(name));
        }
    }
}
