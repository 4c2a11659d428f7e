//! Who may use a spool directory: what a configuration asks for, and whether the directory is so.
//!
//! Whether a task may run is `trust`'s matter.

use std::path::Path;

use unspool_core::Priority;
use unspool_sys::folder::{self, Sharing, Stat};
use unspool_sys::host;

use crate::SpoolDir;
use crate::layout::{CORRUPT, DEAD, OpenError};

/// What a configuration says about a spool directory. By default one that is missing is made for
/// its owner alone, and one that is there is used as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Who besides the owner may use it (`spooler-mode`); `None`: its group, if the directory says so,
    /// else nobody.
    pub sharing: Option<Sharing>,
    /// The group that may (`spooler-group`); `None`: that of the directory it is made in, or that it
    /// has.
    pub group: Option<u32>,
    /// A directory in which others can write is refused (`spooler-strict-permissions`).
    pub strict: bool,
}

/// Permission to write for the group and for everybody else.
const OTHERS_WRITE: u32 = 0o022;
const EVERYBODY_WRITES: u32 = 0o002;

impl Access {
    /// Makes the directory if it is missing.
    pub(crate) fn make(&self, path: &Path) -> Result<(), OpenError> {
        let sharing = self.sharing.unwrap_or_default();
        let Err(source) = folder::make_shared_path(path, sharing, self.group) else {
            return Ok(());
        };
        let path = path.to_owned();
        Err(match (std::fs::metadata(&path).map(|found| found.is_dir()), self.group) {
            (Ok(false), _) => OpenError::NotADirectory { path },
            // It may well be there, on a disk that fails.
            (Err(error), _) if folder::is_failure(&error) => OpenError::Open { path, source },
            (_, Some(group)) if source.raw_os_error() == Some(EPERM) => {
                Self::not_in_group(&path, group)
            }
            _ => OpenError::Create { path, source },
        })
    }

    /// Whether the directory is as it has to be.
    pub(crate) fn check(&self, path: &Path, stat: &Stat) -> Result<(), OpenError> {
        let wanted = self.sharing.unwrap_or_default();
        let group = self.group.unwrap_or(stat.group);
        let shared = Sharing::of_folder(stat.mode) == wanted && stat.group == group;
        if wanted != Sharing::Private && !shared {
            return Err(OpenError::NotShared {
                path: path.to_owned(),
                found: stat.mode,
                group: stat.group,
                wanted: wanted.folder_mode(),
                wanted_group: group,
                letters: if wanted == Sharing::GroupReads { "g=rX,o=" } else { "g+rwX,o=" },
            });
        }
        // Without being in it we could make no folder that hands the group on.
        let sharing = self.sharing_of(stat);
        if sharing != Sharing::Private && !host::is_root() && !host::is_in_group(stat.group) {
            return Err(Self::not_in_group(path, stat.group));
        }
        self.check_inside(path, stat)
    }

    /// Who may use what is made in the directory. One that its group may only read need not be meant
    /// so: uWSGI makes such in a directory that hands on its group.
    pub(crate) fn sharing_of(&self, stat: &Stat) -> Sharing {
        match Sharing::of_folder(stat.mode) {
            Sharing::GroupReads => self.sharing.unwrap_or_default(),
            says => says,
        }
    }

    fn not_in_group(path: &Path, group: u32) -> OpenError {
        OpenError::NotInGroup { path: path.to_owned(), group, uid: host::uid() }
    }

    /// Whether nobody can write in a folder but its owner, root or ourselves, and whom it is shared
    /// with.
    pub(crate) fn check_inside(&self, path: &Path, stat: &Stat) -> Result<(), OpenError> {
        if !self.strict {
            return Ok(());
        }
        let (problem, cure) = if ![0, host::uid()].contains(&stat.owner) {
            (format!("belongs to uid {}", stat.owner), format!("chown {}", host::uid()))
        } else if stat.mode & EVERYBODY_WRITES != 0 {
            (format!("has mode {:04o}", stat.mode), "chmod o-w".to_owned())
        } else if stat.mode & OTHERS_WRITE != 0 && self.sharing != Some(Sharing::GroupWrites) {
            (format!("has mode {:04o}", stat.mode), "chmod go-w".to_owned())
        } else if stat.mode & OTHERS_WRITE != 0 && self.group.is_some_and(|id| id != stat.group) {
            (format!("can be written by group {}", stat.group), "chmod g-w".to_owned())
        } else {
            return Ok(());
        };
        Err(OpenError::Unsafe { path: path.to_owned(), problem, cure })
    }

    /// Whether others than those it is meant for may enter.
    pub(crate) fn is_open_to_others(&self, stat: &Stat) -> bool {
        let meant = self.sharing.unwrap_or_default().folder_mode();
        stat.mode & 0o077 & !meant != 0
    }

    /// Checks the folders of all priorities that are there. Reads the whole directory.
    ///
    /// # Errors
    /// [`OpenError::Unsafe`] for the first one in which others can write.
    pub fn check_folders(&self, spool: &SpoolDir) -> Result<(), OpenError> {
        if !self.strict {
            return Ok(());
        }
        let opening = |source| OpenError::Open { path: spool.path().to_owned(), source };
        for entry in spool.top().list().map_err(opening)? {
            let (name, kind) = entry.map_err(opening)?;
            let counts = Priority::new(&name).is_ok() || [CORRUPT, DEAD].contains(&&*name);
            if !counts || matches!(kind, Some(kind) if kind != folder::FileKind::Directory) {
                continue;
            }
            let stat = spool.top().stat(&name).map_err(opening)?;
            if let Some(stat) = stat.filter(|stat| stat.kind == folder::FileKind::Directory) {
                self.check_inside(&spool.path().join(folder::os_str(&name)), &stat)?;
            }
        }
        Ok(())
    }
}

const EPERM: i32 = 1;
