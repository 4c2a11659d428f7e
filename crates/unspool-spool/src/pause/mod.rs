//! Pause: what of a spool does not run until somebody lets it: all of it, a folder, a function.
//!
//! Owns the record (`.unspool/paused`), which outlives daemons and is changed with and without one. It
//! is replaced by a rename, so that a crash leaves the one before or the one after. A record that cannot
//! be read never means that nothing is paused: it is an error, and daemons take the whole spool for paused.

mod record;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_core::Priority;
use unspool_core::limits::MODULE_BYTES_MAX;
use unspool_sys::folder::{Folder, os_str};
use unspool_sys::{clock, file, lock, user};

use crate::layout::INTERNAL;
use crate::{SpoolDir, SpoolView};

/// The record's name in the internals.
pub(crate) const PAUSED: &[u8] = b"paused";
/// Who holds its lock may replace the record.
pub(crate) const PAUSE_LOCK: &[u8] = b"pause-lock";
/// The record that is being written under that lock.
const NEW: &[u8] = b".paused-new";
/// A record that could not be read, after somebody resumed all.
pub(crate) const DAMAGED: &[u8] = b"paused.damaged";

/// Pauses of one spool.
const PAUSES_MAX: usize = 256;
/// Characters of a reason.
const WHY_CHARS_MAX: usize = 500;
/// How long a change waits for another one.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All tasks.
    Spool,
    /// Those of a priority; `None`: those without one.
    Folder(Option<Priority>),
    /// Those that name a function.
    Function(Vec<u8>),
}

impl Scope {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::Spool => "the spool".to_owned(),
            Self::Folder(None) => "tasks without a priority".to_owned(),
            Self::Folder(Some(priority)) => {
                format!("priority {}", String::from_utf8_lossy(priority.as_bytes()))
            }
            Self::Function(name) => format!("function {}", String::from_utf8_lossy(name)),
        }
    }

    /// Its kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Spool => "spool",
            Self::Folder(_) => "priority",
            Self::Function(_) => "function",
        }
    }

    /// The priority or the function; `.` for tasks without a priority.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Spool => None,
            Self::Folder(priority) => {
                let name = priority.as_ref().map_or(&b"."[..], Priority::as_bytes);
                Some(String::from_utf8_lossy(name).into_owned())
            }
            Self::Function(name) => Some(String::from_utf8_lossy(name).into_owned()),
        }
    }
}

/// A pause: of what, and who decided it, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What.
    pub scope: Scope,
    /// Who, as `user@host`, or the user alone.
    pub by: String,
    /// When, in nanoseconds since 1970.
    pub at_ns: i64,
    /// Why; may be empty.
    pub why: String,
}

impl Pause {
    /// A pause by this process's user, from now on.
    pub fn now(scope: Scope, why: &str) -> Self {
        let by = user::whoami();
        Self { scope, by, at_ns: clock::now_ns(), why: why.to_owned() }
    }
}

/// All pauses of a spool, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pauses(Vec<Pause>);

impl Pauses {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Pause> {
        self.0.iter()
    }

    /// Whether nothing is paused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The pause of exactly this.
    pub fn get(&self, scope: &Scope) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.scope == *scope)
    }

    /// The pause of all tasks.
    pub fn spool(&self) -> Option<&Pause> {
        self.get(&Scope::Spool)
    }

    /// The pause of a folder's tasks.
    pub fn folder(&self, priority: Option<&Priority>) -> Option<&Pause> {
        let is_it = |scope: &Scope| matches!(scope, Scope::Folder(it) if it.as_ref() == priority);
        self.0.iter().find(|pause| is_it(&pause.scope))
    }

    /// The pause of a function.
    pub fn function(&self, name: &[u8]) -> Option<&Pause> {
        let is_it = |scope: &Scope| matches!(scope, Scope::Function(it) if it == name);
        self.0.iter().find(|pause| is_it(&pause.scope))
    }

    /// What keeps a task of that folder and function from running.
    pub fn of_task<'a>(
        &'a self,
        priority: Option<&Priority>,
        function: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a Pause> {
        let function = function.and_then(|name| self.function(name));
        [self.spool(), self.folder(priority), function].into_iter().flatten()
    }
}

/// The record of pauses cannot be used, or not be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// The system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The record.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what this unspool writes.
    #[error(
        "`{path}`, which says what is paused, is damaged or of a newer unspool, so nothing of the spool \
         runs: update unspool, or let everything run by `unspool resume --all`"
    )]
    Damaged {
        /// The record.
        path: PathBuf,
    },
    /// Another process is writing it.
    #[error("another process pauses or resumes the same spool at this moment: try again")]
    Busy,
    /// It would grow without end.
    #[error(
        "{PAUSES_MAX} things of this spool are paused already: resume some, or pause all of it"
    )]
    TooMany,
    /// A reason that is a novel.
    #[error("the reason has {chars} characters: give {WHY_CHARS_MAX} at most")]
    LongWhy {
        /// How many.
        chars: usize,
    },
    /// A name that no function has.
    #[error("`{name}` is no name of a function")]
    BadFunction {
        /// It.
        name: String,
    },
}

fn failed(internal: &Path, action: &'static str) -> impl Fn(io::Error) -> PauseError + use<> {
    let path = internal.join(os_str(PAUSED));
    move |source| PauseError::Io { action, path: path.clone(), source }
}

/// What is paused in a spool.
///
/// # Errors
/// The record cannot be read: then everything is paused.
pub fn read_pauses(spool: &SpoolView) -> Result<Pauses, PauseError> {
    let path = spool.path().join(os_str(INTERNAL));
    match spool.internal().map_err(failed(&path, "read"))? {
        Some(internal) => read_in(&internal, &path),
        None => Ok(Pauses::default()),
    }
}

/// Reads the record in internals that have this path.
pub(crate) fn read_in(internal: &Folder, path: &Path) -> Result<Pauses, PauseError> {
    let fail = failed(path, "read");
    let file = match internal.open_to_read(PAUSED) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pauses::default()),
        Err(error) => return Err(fail(error)),
    };
    let mut text = vec![0u8; record::BYTES_MAX];
    let got = file::read_at(file.as_fd(), &mut text, 0).map_err(fail)?;
    let pauses = record::parse(&text[..got]);
    pauses.ok_or_else(|| PauseError::Damaged { path: path.join(os_str(PAUSED)) })
}

/// Pauses something, and returns the pause of the same that this one replaces. Daemons that watch the
/// spool notice at once.
///
/// # Durability
/// It survives a power cut once this returns.
pub fn pause(spool: &SpoolDir, pause: Pause) -> Result<Option<Pause>, PauseError> {
    let chars = pause.why.chars().count();
    if chars > WHY_CHARS_MAX {
        return Err(PauseError::LongWhy { chars });
    }
    if let Scope::Function(name) = &pause.scope
        && (name.is_empty() || name.len() > 4 * MODULE_BYTES_MAX)
    {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(PauseError::BadFunction { name });
    }
    let _lock = lock_record(spool)?;
    let mut pauses = read_in(&spool.internal, &spool.internal_path())?;
    let before = pauses.get(&pause.scope).cloned();
    pauses.0.retain(|known| known.scope != pause.scope);
    pauses.0.push(pause);
    if pauses.len() > PAUSES_MAX {
        return Err(PauseError::TooMany);
    }
    write(spool, &pauses)?;
    Ok(before)
}

/// Lets something run again that was paused. Returns its pause; `None` if there was none.
///
/// # Durability
/// As for [`pause`].
pub fn resume(spool: &SpoolDir, scope: &Scope) -> Result<Option<Pause>, PauseError> {
    let _lock = lock_record(spool)?;
    let mut pauses = read_in(&spool.internal, &spool.internal_path())?;
    let Some(before) = pauses.get(scope).cloned() else { return Ok(None) };
    pauses.0.retain(|known| known.scope != *scope);
    write(spool, &pauses)?;
    Ok(Some(before))
}

/// Lets everything run again, also where the record cannot be read: that is then kept as
/// `paused.damaged`. Returns what was paused, as far as that is known.
pub fn resume_all(spool: &SpoolDir) -> Result<Pauses, PauseError> {
    let _lock = lock_record(spool)?;
    let internal = &spool.internal;
    let fail = failed(&spool.internal_path(), "replace");
    match read_in(internal, &spool.internal_path()) {
        Ok(pauses) => {
            if !pauses.is_empty() {
                write(spool, &Pauses::default())?;
            }
            Ok(pauses)
        }
        Err(PauseError::Damaged { .. }) => {
            internal.replace(PAUSED, DAMAGED).map_err(&fail)?;
            internal.sync().map_err(&fail)?;
            Ok(Pauses::default())
        }
        Err(error) => Err(error),
    }
}

/// The lock ends with what is returned, also if the process dies.
fn lock_record(spool: &SpoolDir) -> Result<OwnedFd, PauseError> {
    let fail = failed(&spool.internal_path(), "lock");
    let file = spool.internal.open_or_create(PAUSE_LOCK).map_err(&fail)?;
    let taken = lock::within(LOCK_WAIT_MAX, || Ok(lock::try_lock(file.as_fd())?.then_some(())))
        .map_err(&fail)?;
    taken.map(|()| file).ok_or(PauseError::Busy)
}

fn write(spool: &SpoolDir, pauses: &Pauses) -> Result<(), PauseError> {
    let internal = &spool.internal;
    let fail = failed(&spool.internal_path(), "write");
    let text = record::encode(pauses);
    // What is too long to be read back must not be written: nothing would run.
    if text.len() >= record::BYTES_MAX {
        return Err(PauseError::TooMany);
    }
    internal.unlink(NEW).map_err(&fail)?;
    let written = write_aside(internal, &text).and_then(|()| {
        // COMMIT POINT: the old record before, the new one after.
        internal.replace(NEW, PAUSED)
    });
    if let Err(error) = written {
        let _ = internal.unlink(NEW);
        return Err(fail(error));
    }
    internal.sync().map_err(&fail)
}

fn write_aside(internal: &Folder, text: &[u8]) -> io::Result<()> {
    let file = internal.create(NEW)?;
    file::write_all(file.as_fd(), text)?;
    file::sync_file(file.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, SpoolDir) {
        let root = tempfile::tempdir().unwrap();
        let spool = SpoolDir::open(&root.path().join("spool")).unwrap();
        (root, spool)
    }

    #[test]
    fn what_is_paused_is_known_until_it_is_resumed() {
        let (_root, spool) = spool();
        let five = Priority::new(b"5").unwrap();
        assert!(read_pauses(spool.view()).unwrap().is_empty());
        let scopes = [
            Scope::Folder(None),
            Scope::Folder(Some(five.clone())),
            Scope::Function(b"mail.send".to_vec()),
        ];
        for scope in &scopes {
            assert_eq!(pause(&spool, Pause::now(scope.clone(), "")).unwrap(), None);
        }
        let known = read_pauses(spool.view()).unwrap();
        assert!(known.len() == 3 && known.spool().is_none());
        assert!(known.folder(Some(&five)).is_some() && known.function(b"mail").is_none());
        let of_task = |function: &[u8]| known.of_task(Some(&five), Some(function)).count();
        assert_eq!((of_task(b"mail.send"), of_task(b"other")), (2, 1));
        // Of two who pause the same, the later one counts.
        let again = pause(&spool, Pause::now(scopes[1].clone(), "the printer")).unwrap().unwrap();
        assert!(again.why.is_empty() && again.by == user::whoami());
        let resumed = resume(&spool, &scopes[1]).unwrap().unwrap();
        assert_eq!(resumed.why, "the printer");
        assert_eq!(resume(&spool, &scopes[1]).unwrap(), None);
        assert_eq!(resume_all(&spool).unwrap().len(), 2);
        assert!(read_pauses(spool.view()).unwrap().is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_never_nothing() {
        let (_root, spool) = spool();
        let path = spool.internal_path().join("paused");
        pause(&spool, Pause::now(Scope::Spool, "why")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for bytes in 0..whole.len() {
            spool.internal.unlink(PAUSED).unwrap();
            let file = spool.internal.create(PAUSED).unwrap();
            file::write_all(file.as_fd(), &whole[..bytes]).unwrap();
            assert!(
                matches!(read_pauses(spool.view()), Err(PauseError::Damaged { .. })),
                "{bytes}"
            );
            assert!(resume(&spool, &Scope::Spool).is_err());
            assert!(pause(&spool, Pause::now(Scope::Spool, "")).is_err());
        }
        resume_all(&spool).unwrap();
        assert!(read_pauses(spool.view()).unwrap().is_empty());
        assert!(spool.internal_path().join("paused.damaged").exists());
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        let (_root, spool) = spool();
        let long = "x".repeat(WHY_CHARS_MAX + 1);
        let error = pause(&spool, Pause::now(Scope::Spool, &long)).unwrap_err();
        assert!(matches!(error, PauseError::LongWhy { chars } if chars == long.len()));
        assert!(pause(&spool, Pause::now(Scope::Function(Vec::new()), "")).is_err());
        let why = "\u{1F600}".repeat(WHY_CHARS_MAX);
        let name = |number| format!("{number:0800}").into_bytes();
        let full = (0..PAUSES_MAX).map(|number| Pause::now(Scope::Function(name(number)), &why));
        let full = Pauses(full.collect());
        write(&spool, &full).unwrap();
        assert_eq!(read_pauses(spool.view()).unwrap(), full);
        let error = pause(&spool, Pause::now(Scope::Spool, "")).unwrap_err();
        assert!(matches!(error, PauseError::TooMany), "{error}");
        // One that is there may be paused anew.
        pause(&spool, Pause::now(Scope::Function(name(7)), "")).unwrap();
        assert_eq!(read_pauses(spool.view()).unwrap().len(), PAUSES_MAX);
    }
}
