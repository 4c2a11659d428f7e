//! What daemons leave behind that died: a folder for each in the spool, with the notes of what ran.
//!
//! Owns the rule that tells a dead daemon from one that lives or starts. What becomes of the tasks
//! that it ran is not decided here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use unspool_sys::file::stat_file;
use unspool_sys::folder::{Folder, os_str};
use unspool_sys::{host, lock};

use crate::SpoolDir;
use crate::layout::{DAEMONS, INTERNAL};
use crate::present::forget_present;
use crate::running::{Run, RunNotes, read_runs};

/// The notes of what runs. Locked while the daemon or one of its workers lives: they share the open
/// file.
pub(crate) const RUNNING: &[u8] = b"running";

/// What stood in their place in early versions: what it says is not read, but its lock counts.
const SLOTS: &[u8] = b"slots";

/// A folder younger than this and without notes may be one that its daemon is still making.
const DEAD_AGE_NS: i64 = 60_000_000_000;

/// How long a folder may take to be empty.
const REMOVE_WAIT: Duration = Duration::from_millis(300);

/// Whose folder it is.
#[derive(Debug)]
pub(crate) enum Whose {
    /// A daemon that lives, or one that starts, or a worker that outlived its daemon.
    Living,
    /// A dead one. What it ran when it died, as far as its notes can be read.
    Dead(io::Result<Vec<Run>>),
    /// One that died before it had notes.
    Abandoned,
}

/// The traces of a daemon that lives.
#[derive(Debug)]
pub struct Trace {
    folder: Folder,
    name: Vec<u8>,
    daemons: Folder,
    notes: Arc<RunNotes>,
    notes_path: PathBuf,
}

impl Trace {
    /// Makes a daemon's folder, and notes with so many rows. Where there is no room for them now, the
    /// error says why: then each note needs room of its own.
    pub fn make(dir: &SpoolDir, rows: usize) -> io::Result<(Self, Option<io::Error>)> {
        let random: [u8; 16] = host::random()?;
        let name = format!("{:032x}", u128::from_le_bytes(random)).into_bytes();
        let folder = dir.make_daemon_folder(&name)?;
        let file = folder.open_or_create(RUNNING)?;
        if !lock::try_lock(file.as_fd())? {
            return Err(io::Error::other("somebody holds the lock of new notes of what runs"));
        }
        let notes = Arc::new(RunNotes::from(file));
        let error = notes.make_room(rows).err();
        let daemons = dir.daemons_folder()?;
        let within: PathBuf = [INTERNAL, DAEMONS, &name, RUNNING].map(os_str).iter().collect();
        let notes_path = dir.path().join(within);
        Ok((Self { folder, name, daemons, notes, notes_path }, error))
    }

    /// Whether the lock of its notes keeps others out that open them.
    pub fn locks_exclude(&self) -> io::Result<bool> {
        lock::is_locked(self.folder.open_file(RUNNING)?.as_fd())
    }

    /// The daemon's folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The name of that folder.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The notes of what runs.
    pub fn notes(&self) -> &Arc<RunNotes> {
        &self.notes
    }

    /// Where they lie.
    pub fn notes_path(&self) -> &std::path::Path {
        &self.notes_path
    }

    /// Removes all.
    pub fn remove(self) -> io::Result<()> {
        let Self { folder, name, daemons, notes, .. } = self;
        // A file system of several machines keeps what is open under another name when it is deleted.
        drop(notes);
        remove(&daemons, &name, &folder)
    }
}

/// The file whose lock says that a daemon lives.
#[derive(Debug)]
struct Life {
    file: OwnedFd,
    /// It has notes of ours, or room for them.
    is_notes: bool,
}

impl Life {
    fn open(folder: &Folder) -> io::Result<Self> {
        match folder.open_file(RUNNING) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { file: folder.open_file(SLOTS)?, is_notes: false })
            }
            other => Ok(Self { file: other?, is_notes: true }),
        }
    }

    /// Whether the daemon came to have notes, before it died or found no room for them.
    fn has_notes(&self) -> io::Result<bool> {
        Ok(self.is_notes && stat_file(self.file.as_fd())?.bytes > 0)
    }

    /// Takes the lock. `false`: somebody lives, or cannot be asked.
    fn take(&self) -> bool {
        lock::try_lock(self.file.as_fd()).unwrap_or(false)
    }
}

/// Whose a daemon's folder is. Takes no lock: a daemon that starts would take the dead one for one
/// that lives.
pub(crate) fn whose(folder: &Folder, now_ns: i64) -> Whose {
    let life = match Life::open(folder) {
        Ok(life) => life,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if is_old(folder, now_ns) { Whose::Abandoned } else { Whose::Living };
        }
        Err(error) => return Whose::Dead(Err(error)),
    };
    if lock::is_locked(life.file.as_fd()).unwrap_or(true) {
        return Whose::Living;
    }
    match life.has_notes() {
        Ok(true) => Whose::Dead(read_runs(life.file.as_fd())),
        Ok(false) if is_old(folder, now_ns) => Whose::Abandoned,
        Ok(false) => Whose::Living,
        Err(error) => Whose::Dead(Err(error)),
    }
}

/// A daemon that lives, or a worker that outlived it: its notes, open to see when they have died.
#[derive(Debug)]
pub struct LivingDaemon {
    name: Vec<u8>,
    life: Life,
}

impl LivingDaemon {
    /// The one of this folder; `None` if none lives there.
    pub fn open(name: Vec<u8>, folder: &Folder) -> Option<Self> {
        let living = Self { name, life: Life::open(folder).ok()? };
        living.lives().then_some(living)
    }

    /// The name of its folder.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether it lives still.
    pub fn lives(&self) -> bool {
        lock::is_locked(self.life.file.as_fd()).unwrap_or(true)
    }
}

/// The notes of a daemon that is dead. What is locked keeps others from collecting them.
#[derive(Debug)]
pub struct DeadNotes(OwnedFd);

/// The notes of a daemon that is dead, locked.
pub fn take_dead_notes(folder: &Folder) -> Option<DeadNotes> {
    let life = Life::open(folder).ok()?;
    (life.take() && life.has_notes().unwrap_or(false)).then_some(DeadNotes(life.file))
}

/// What ran, by the notes of a daemon that is dead.
pub fn runs_in(notes: &DeadNotes) -> io::Result<Vec<Run>> {
    read_runs(notes.0.as_fd())
}

/// Whether a daemon died before it had notes.
pub fn is_abandoned(folder: &Folder, now_ns: i64) -> bool {
    is_old(folder, now_ns)
        && match Life::open(folder) {
            Ok(life) => life.take() && matches!(life.has_notes(), Ok(false)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
}

fn is_old(folder: &Folder, now_ns: i64) -> bool {
    let stat = folder.stat(b".").ok().flatten();
    stat.is_some_and(|stat| now_ns.saturating_sub(stat.ctime_ns) >= DEAD_AGE_NS)
}

/// Removes what is left of a daemon that is dead, whose notes the caller holds if it has any.
pub fn remove_daemon(dir: &SpoolDir, name: &[u8], folder: &Folder) -> io::Result<()> {
    remove(&dir.daemons_folder()?, name, folder)
}

fn remove(daemons: &Folder, name: &[u8], folder: &Folder) -> io::Result<()> {
    forget_present(folder)?;
    folder.unlink(RUNNING)?;
    folder.unlink(SLOTS)?;
    // And is told late that it was closed.
    let removed = lock::within(REMOVE_WAIT, || match daemons.remove_sub(name) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(None),
        other => other.map(Some),
    })?;
    removed.ok_or_else(|| io::Error::from(io::ErrorKind::DirectoryNotEmpty))
}

#[cfg(test)]
mod tests {
    use unspool_sys::clock;
    use unspool_sys::slots::HandedTask;

    use super::*;

    const TASK: HandedTask = HandedTask { inode: 42, ctime_ns: 7, limit_ms: 0 };

    fn spool() -> (tempfile::TempDir, SpoolDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = SpoolDir::open(&root.path().join("spool")).unwrap();
        (root, dir)
    }

    fn only(dir: &SpoolDir) -> (Vec<u8>, Folder) {
        dir.daemon_folders().unwrap().pop().unwrap()
    }

    fn later_ns() -> i64 {
        clock::now_ns() + 2 * DEAD_AGE_NS
    }

    #[test]
    fn a_daemon_lives_as_long_as_it_or_a_worker_has_the_notes() {
        let (_root, dir) = spool();
        let (trace, error) = Trace::make(&dir, 4).unwrap();
        assert!(error.is_none());
        let (name, folder) = only(&dir);
        trace.notes().starts(3, TASK, 5, 77).unwrap();
        let worker = trace.notes().file().try_clone_to_owned().unwrap();
        for _ in 0..2 {
            assert!(matches!(whose(&folder, later_ns()), Whose::Living));
            assert!(take_dead_notes(&folder).is_none() && !is_abandoned(&folder, later_ns()));
        }
        let living = LivingDaemon::open(name.clone(), &folder).unwrap();
        assert!(trace.locks_exclude().unwrap());
        drop(trace);
        assert!(matches!(whose(&folder, later_ns()), Whose::Living) && living.lives());
        assert!(take_dead_notes(&folder).is_none());
        drop(worker);
        assert!(!living.lives() && LivingDaemon::open(name.clone(), &folder).is_none());
        let expected = Run { inode: 42, ctime_ns: 7, pid: 77, cancelled: false };
        assert!(matches!(whose(&folder, 0), Whose::Dead(Ok(runs)) if runs == [expected]));
        let notes = take_dead_notes(&folder).unwrap();
        assert_eq!(runs_in(&notes).unwrap(), [expected]);
        assert!(take_dead_notes(&folder).is_none(), "they are collected once");
        remove_daemon(&dir, &name, &folder).unwrap();
        assert!(dir.daemon_folders().unwrap().is_empty());
    }

    #[test]
    fn a_folder_without_notes_is_abandoned_once_it_is_old() {
        for early in [None, Some(RUNNING), Some(SLOTS)] {
            let (_root, dir) = spool();
            let folder = dir.make_daemon_folder(b"early").unwrap();
            let life = early.map(|name| folder.open_or_create(name).unwrap());
            if early == Some(SLOTS) {
                // As an early version left them: mapped, 4096 bytes a worker.
                unspool_sys::file::allocate(life.as_ref().unwrap().as_fd(), 8192).unwrap();
            }
            if let Some(life) = &life {
                assert!(lock::try_lock(life.as_fd()).unwrap());
                assert!(matches!(whose(&folder, later_ns()), Whose::Living));
                assert!(!is_abandoned(&folder, later_ns()));
            }
            drop(life);
            assert!(take_dead_notes(&folder).is_none());
            assert!(matches!(whose(&folder, clock::now_ns()), Whose::Living));
            assert!(matches!(whose(&folder, later_ns()), Whose::Abandoned));
            assert!(is_abandoned(&folder, later_ns()));
            remove_daemon(&dir, b"early", &folder).unwrap();
            assert!(dir.daemon_folders().unwrap().is_empty());
        }
    }

    #[test]
    fn notes_have_their_room_from_the_start() {
        use std::os::unix::fs::MetadataExt;
        let (_root, dir) = spool();
        let (trace, _) = Trace::make(&dir, 100).unwrap();
        let metadata = std::fs::metadata(trace.notes_path()).unwrap();
        assert!(metadata.len() == 6400 && metadata.blocks() * 512 >= metadata.len());
        trace.remove().unwrap();
        assert!(dir.daemon_folders().unwrap().is_empty());
    }
}
