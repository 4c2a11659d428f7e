//! Check: whether a spool directory is as the specification says, and what can be put right.
//!
//! Looks at everything, one file at a time, beside daemons, submitters and uWSGIs that go on. Looking
//! takes no lock and creates nothing. A repair takes the lock of a file before it touches it and looks
//! again under it; what somebody holds is left alone. No repair deletes a task.
//!
//! Each module makes the checks of one part; [`Check`] lists them all.

mod dead;
mod internals;
mod owners;
mod pending;
mod records;
mod report;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use unspool_core::RetryPolicy;
use unspool_sys::folder::{self, Folder, Stat, os_str};
use unspool_sys::{clock, file, host};

use self::pending::{Repeats, Twins};
use self::report::Reporter;
pub use self::report::{Check, Finding, Level, Remedy, Summary, Told};
use crate::layout::{INTERNAL, Version, read_version};
use crate::{OpenError, SpoolDir, Trust};

/// How a spool is checked.
#[derive(Debug, Clone)]
pub struct FsckOptions {
    /// Put right what can be put right.
    pub repair: bool,
    /// How long a damaged file must not have changed before it is one for `corrupt/`.
    pub settle_ns: i64,
    /// Whose tasks run.
    pub trust: Trust,
    /// How often tasks may fail; `None` where no configuration says it.
    pub retry: Option<RetryPolicy>,
    /// The time by which ages are told.
    pub now_ns: i64,
}

impl Default for FsckOptions {
    /// Looks now, trusts everybody, and takes no file for one in the making that nobody holds.
    fn default() -> Self {
        let (trust, retry) = (Trust::default(), None);
        Self { repair: false, settle_ns: 0, trust, retry, now_ns: clock::now_ns() }
    }
}

/// A spool that cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsckError {
    /// There is none.
    #[error("spool directory `{path}` is missing")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be opened, or is of a newer unspool.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Checks a spool, and repairs it if asked to. Findings are told as they are found.
///
/// # Errors
/// The spool as a whole cannot be looked at. What cannot be read in it is a finding.
pub fn fsck(
    path: &Path,
    options: &FsckOptions,
    each: &mut dyn FnMut(Told<'_>),
) -> Result<Summary, FsckError> {
    let mut fsck = Fsck::open(path, options, each)?;
    fsck.check_directory();
    fsck.check_owners();
    fsck.check_adoption();
    fsck.check_pauses();
    fsck.check_schedule();
    fsck.look_at_daemons();
    fsck.check_tasks();
    fsck.check_dead();
    fsck.check_records();
    fsck.finish_daemons();
    fsck.check_repeats();
    Ok(fsck.reporter.summary)
}

#[derive(Debug)]
struct Fsck<'a> {
    path: PathBuf,
    top: Folder,
    /// `None` where no unspool has been.
    internal: Option<Folder>,
    /// What repairs need; `None`: only look.
    spool: Option<Arc<SpoolDir>>,
    options: &'a FsckOptions,
    now_ns: i64,
    reporter: Reporter<'a>,
    /// Folders of priorities, and their names.
    priorities: Vec<(Vec<u8>, Folder)>,
    lost: Lost,
    /// Something could not be read: what was not met may well be there.
    incomplete: bool,
    twins: Twins,
    repeats: Repeats,
}

/// What ran when its daemon died, by inode and change time: its process, the number of its daemon,
/// and whether its file was met.
#[derive(Debug, Default)]
struct Lost {
    runs: BTreeMap<(u64, i64), (u32, usize, bool)>,
    /// Folders of dead daemons.
    daemons: Vec<(Vec<u8>, Folder)>,
}

impl<'a> Fsck<'a> {
    fn open(
        path: &Path,
        options: &'a FsckOptions,
        each: &'a mut dyn FnMut(Told<'_>),
    ) -> Result<Self, FsckError> {
        let opening = |source| OpenError::Open { path: path.to_owned(), source };
        match folder::look(path).map_err(opening)? {
            None => return Err(FsckError::Missing { path: path.to_owned() }),
            Some(stat) if stat.kind != unspool_sys::FileKind::Directory => {
                return Err(OpenError::NotADirectory { path: path.to_owned() }.into());
            }
            Some(_) => {}
        }
        let path = folder::canonical(path).map_err(opening)?;
        let mut reporter = Reporter::new(each);
        let top = Folder::open(&path).map_err(opening)?;
        let internal = check_version(&path, &top, options.repair, &mut reporter)?;
        let spool = options.repair.then(|| SpoolDir::open(&path)).transpose()?.map(Arc::new);
        // It is made by the first repair.
        let internal = internal.or_else(|| top.open_sub(INTERNAL).ok());
        Ok(Self {
            path,
            top,
            internal,
            spool,
            options,
            now_ns: options.now_ns,
            reporter,
            priorities: Vec::new(),
            lost: Lost::default(),
            incomplete: false,
            twins: Twins::default(),
            repeats: Repeats::default(),
        })
    }

    fn note(&mut self, check: Check, path: &Path, what: impl Into<String>, then: &str) {
        self.reporter.say(check, Level::Note, path, what, Remedy::Nothing(then.to_owned()));
    }

    fn by_hand(&mut self, check: Check, path: &Path, what: impl Into<String>, how: &str) {
        self.reporter.say(check, Level::Problem, path, what, Remedy::Hands(how.to_owned()));
    }

    /// Says what was found, after its repair if one was asked for. `act` tells what it did; `None`: what
    /// it was to do cannot be done now, since somebody holds the file, or it has changed.
    fn repair(
        &mut self,
        (check, level): (Check, Level),
        path: &Path,
        what: impl Into<String>,
        would: &str,
        act: impl FnOnce(&SpoolDir) -> io::Result<Option<String>>,
    ) {
        let remedy = match self.spool.clone() {
            None => Remedy::Possible(would.to_owned()),
            Some(spool) => match act(&spool) {
                Ok(Some(done)) => Remedy::Done(done),
                Ok(None) => {
                    Remedy::Failed("left alone: somebody holds it, or it changes".to_owned())
                }
                Err(error) => Remedy::Failed(format!("not repaired: {error}")),
            },
        };
        self.reporter.say(check, level, path, what, remedy);
    }

    /// The spool's own mode and owner.
    fn check_directory(&mut self) {
        let path = self.path.clone();
        match file::stat_file(self.top.as_fd()) {
            Ok(stat) => self.check_mode(&path, &stat),
            Err(error) => self.unreadable(&path, &error),
        }
        if self.internal.is_none() {
            self.note(Check::Directory, &path, "no unspool has opened it yet", "");
        }
    }

    /// Whether others can write in a folder and so decide what runs.
    fn check_mode(&mut self, path: &Path, stat: &Stat) {
        let shown = path.display();
        let (owner, mode) = (stat.owner, stat.mode);
        if ![0, host::uid()].contains(&owner) {
            let what = format!("it belongs to uid {owner}, who decides what runs");
            self.note(Check::Directory, path, what, "");
        }
        // A directory that hands on its group is shared with it on purpose.
        let others = if mode & 0o2070 == 0o2070 { 0o002 } else { 0o022 };
        if mode & others != 0 {
            let what =
                format!("its mode is {mode:04o}: others can write in it and decide what runs");
            let letters = if others == 0o002 { "o-w" } else { "go-w" };
            self.note(Check::Directory, path, what, &format!("run `chmod {letters} {shown}`"));
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.incomplete = true;
        let what = format!("it cannot be read: {error}");
        let how = if error.kind() == io::ErrorKind::PermissionDenied {
            "run as the spool's owner, or change owner and mode of the file"
        } else {
            "look at the disk; nothing was changed"
        };
        self.by_hand(Check::Readable, path, what, how);
    }

    /// The spool and the folders of its priorities.
    fn folders(&self) -> impl Iterator<Item = &Folder> {
        std::iter::once(&self.top).chain(self.priorities.iter().map(|(_, folder)| folder))
    }
}

/// Checks the version, and removes one that is none if that is to be repaired: opening writes it anew.
/// Returns the internals, if there are any.
fn check_version(
    path: &Path,
    top: &Folder,
    repair: bool,
    reporter: &mut Reporter<'_>,
) -> Result<Option<Folder>, FsckError> {
    let opening = |source| OpenError::Open { path: path.to_owned(), source };
    let internal = match top.open_sub(INTERNAL) {
        Ok(internal) => internal,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(OpenError::Open { path: path.join(os_str(INTERNAL)), source }.into());
        }
    };
    let place = path.join(os_str(INTERNAL)).join("version");
    let version = match read_version(&internal) {
        Ok(version) => version,
        // Nothing is changed in a spool of which nobody knows the format.
        Err(source) if repair => return Err(OpenError::Unread { path: place, source }.into()),
        Err(error) => {
            let what = format!("it cannot be read: {error}");
            let how = Remedy::Hands("run as the spool's owner, or look at the file".to_owned());
            reporter.say(Check::Readable, Level::Problem, &place, what, how);
            return Ok(Some(internal));
        }
    };
    match version {
        Version::Known => {}
        Version::Missing => {
            let then = Remedy::Nothing("whoever opens the spool next writes it".to_owned());
            reporter.say(Check::Version, Level::Note, &place, "it is missing", then);
        }
        Version::Newer(found) => {
            return Err(OpenError::Newer { path: path.to_owned(), found }.into());
        }
        Version::Damaged(found) => {
            let what = format!("it says `{}`, which is no version", found.escape_debug());
            let remedy = if repair {
                internal.unlink(b"version").map_err(opening)?;
                Remedy::Done("written anew".to_owned())
            } else {
                Remedy::Possible("--repair writes it anew".to_owned())
            };
            reporter.say(Check::Version, Level::Problem, &place, what, remedy);
        }
    }
    Ok(Some(internal))
}
