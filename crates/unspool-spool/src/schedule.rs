//! Which daemon of a configuration fires its crons and timers, and the minute that it fired last.
//!
//! Owns the files for it: `leader`, locked by that daemon while it lives, and `fired`. They lie in
//! the internals of the first spool, or in a state folder where there is no spool. When crons fire
//! is not decided here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use unspool_sys::folder::{self, Folder};
use unspool_sys::{FileKind, file, host, lock};

use crate::layout::SpoolDir;

pub(crate) const SCHEDULE: &[u8] = b"schedule";
pub(crate) const LEADER: &[u8] = b"leader";
pub(crate) const FIRED: &[u8] = b"fired";
/// The length of a record: a number with blanks before it, and a newline. One write of it cannot
/// tear.
const RECORD_BYTES: usize = 21;
/// A clock that was set back further than this starts over: better twice than never.
const BACK_MINUTES_MAX: i64 = 60;

/// Where the files of a configuration lie.
#[derive(Debug)]
pub struct SchedulePlace {
    parent: Parent,
    key: String,
    /// Where the pauses are, if that is not the folder of the configuration.
    pauses: Option<String>,
}

#[derive(Debug)]
enum Parent {
    Spool(Folder),
    State { candidates: Vec<PathBuf>, temporary: PathBuf },
}

impl SchedulePlace {
    /// In a spool. `key` tells configurations apart; it is a plain name.
    pub fn in_spool(dir: &SpoolDir, key: String) -> io::Result<Self> {
        Ok(Self { parent: Parent::Spool(dir.internal.try_clone()?), key, pauses: None })
    }

    /// In the first of these folders that can be used, or, if none can, in a folder of this user in
    /// `temporary`, where others may write.
    pub fn in_state(candidates: Vec<PathBuf>, temporary: PathBuf, key: String) -> Self {
        Self { parent: Parent::State { candidates, temporary }, key, pauses: None }
    }

    /// Keeps the pauses in a folder of this name, whichever of several configurations fires.
    #[must_use]
    pub fn pausing_in(self, key: String) -> Self {
        Self { pauses: Some(key).filter(|key| *key != self.key), ..self }
    }

    /// What tells the configuration from others.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Opens the files, making what is missing.
    pub fn open(&self) -> io::Result<ScheduleStore> {
        let (folder, pauses) = match &self.parent {
            Parent::Spool(internal) => self.within(internal)?,
            Parent::State { candidates, temporary } => candidates
                .iter()
                .find_map(|path| self.in_candidate(path).ok())
                .map_or_else(|| self.within(&own_folder(temporary)?), Ok)?,
        };
        let leader = folder.open_or_create(LEADER)?;
        let fired = folder.open_or_create(FIRED)?;
        Ok(ScheduleStore { folder, pauses, leader, fired, seen: None })
    }

    fn in_candidate(&self, path: &Path) -> io::Result<(Folder, Option<Folder>)> {
        folder::make_path(path)?;
        self.within(&Folder::open(path)?)
    }

    /// The folder of the configuration, and that of the pauses if it is another one.
    fn within(&self, parent: &Folder) -> io::Result<(Folder, Option<Folder>)> {
        // What is taken must not be lost with the folder that it is noted in.
        if parent.make_sub(SCHEDULE)? {
            parent.sync()?;
        }
        let schedule = parent.open_sub(SCHEDULE)?.giving();
        let open = |key: &str| {
            if schedule.make_sub(key.as_bytes())? {
                schedule.sync()?;
            }
            schedule.open_sub(key.as_bytes())
        };
        Ok((open(&self.key)?, self.pauses.as_deref().map(open).transpose()?))
    }
}

/// `unspool-UID` in a folder where others may write: only if it is ours alone.
fn own_folder(temporary: &Path) -> io::Result<Folder> {
    let name = format!("unspool-{}", host::uid()).into_bytes();
    let parent = Folder::open(temporary)?;
    parent.make_sub(&name)?;
    let own = parent.open_sub(&name)?;
    let stat = own.stat(b".")?;
    let alone = |stat: folder::Stat| stat.owner == host::uid() && stat.mode.trailing_zeros() >= 6;
    if stat.is_some_and(alone) {
        return Ok(own);
    }
    let path = temporary.join(folder::os_str(&name));
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("`{}` is not a folder of this user alone", path.display()),
    ))
}

/// The open files.
#[derive(Debug)]
pub struct ScheduleStore {
    folder: Folder,
    pauses: Option<Folder>,
    leader: OwnedFd,
    fired: OwnedFd,
    /// What tells the file of pauses from another one, when it was last read: inode and times.
    pub(crate) seen: Option<Seen>,
}

/// What tells a file from another one of its name; `None`: there was none.
pub(crate) type Seen = Option<(u64, i64, i64)>;

impl ScheduleStore {
    /// The folder of the pauses.
    pub(crate) fn pauses(&self) -> &Folder {
        self.pauses.as_ref().unwrap_or(&self.folder)
    }

    /// Tries to become the one that fires, until this is dropped. `false`: another one is.
    pub fn lead(&self) -> io::Result<bool> {
        lock::try_lock(self.leader.as_fd())
    }

    /// Whether the files still have their names: nobody removed or replaced them.
    pub fn is_in_place(&self) -> bool {
        let pauses = file::stat_file(self.pauses().as_fd());
        pauses.is_ok_and(|folder| folder.links > 0) && self.are_files_in_place()
    }

    fn are_files_in_place(&self) -> bool {
        [(LEADER, &self.leader), (FIRED, &self.fired)].into_iter().all(|(name, file)| {
            let named = self.folder.stat(name).ok().flatten();
            let open = file::stat_file(file.as_fd()).ok();
            matches!((named, open), (Some(named), Some(open))
                if named.kind == FileKind::File && named.inode == open.inode)
        })
    }

    /// Takes a minute since 1970 for this daemon, which must lead. `false` if it is taken, by this
    /// one or one before. When it returns `true`, that survives a power cut.
    pub fn take(&self, minute: i64) -> io::Result<bool> {
        let mut record = [0u8; RECORD_BYTES];
        let got = file::read_at(self.fired.as_fd(), &mut record, 0)?;
        // What is no number is from a power cut before the first flush.
        let last = std::str::from_utf8(&record[..got]).ok().and_then(|s| s.trim().parse().ok());
        let taken = |last: i64| minute <= last && minute >= last.saturating_sub(BACK_MINUTES_MAX);
        if last.is_some_and(taken) {
            return Ok(false);
        }
        let record = format!("{minute:>20}\n");
        file::write_at(self.fired.as_fd(), record.as_bytes(), 0)?;
        file::sync_file(self.fired.as_fd())?;
        if last.is_none() {
            self.folder.sync()?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn place(temporary: &Path) -> SchedulePlace {
        let missing = PathBuf::from("/proc/no/such");
        SchedulePlace::in_state(vec![missing], temporary.to_owned(), "key".to_owned())
    }

    #[test]
    fn a_folder_where_others_may_write_must_be_ours_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let own = temporary.path().join(format!("unspool-{}", host::uid()));
        assert!(place(temporary.path()).open().unwrap().lead().unwrap());
        assert!(own.join("schedule/key/leader").exists());
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o750)).unwrap();
        let error = place(temporary.path()).open().unwrap_err();
        assert!(error.to_string().contains("is not a folder of this user alone"), "{error}");
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let own = temporary.path().join(format!("unspool-{}", host::uid()));
        symlink(elsewhere.path(), own).unwrap();
        assert!(place(temporary.path()).open().is_err());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_number_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let here = vec![folder.path().to_owned()];
        let store = SchedulePlace::in_state(here, PathBuf::new(), "key".to_owned()).open().unwrap();
        file::write_at(store.fired.as_fd(), b"\0\0\0", 0).unwrap();
        assert!(store.take(29_000_000).unwrap());
        file::write_at(store.fired.as_fd(), b" -9223372036854775808", 0).unwrap();
        assert!(store.take(29_000_000).unwrap());
        assert!(!store.take(29_000_000).unwrap());
        let text = std::fs::read_to_string(folder.path().join("schedule/key/fired")).unwrap();
        assert_eq!(text.trim(), "29000000");
    }
}
