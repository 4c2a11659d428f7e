//! Adopt: which tasks of a directory that uWSGI used are held until somebody decides.
//!
//! Owns the record of the first look (`.unspool/adopted`), the rule that tells held tasks from
//! others, and what the decisions do to files. Tasks are not listed anywhere: the record keeps the
//! moment of the first look and what the old configuration ran, and each file is judged by its own
//! name, times and content. So the record is small however many tasks are held, one rename writes
//! it, and a crash leaves the one before or the one after.

mod record;
mod survey;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use unspool_core::Priority;
use unspool_sys::folder::{self, Folder, os_str};
use unspool_sys::{clock, file, host, lock};

pub use survey::{Group, HeldTask, Look, Survey, count_nested, look, survey, walk};

use crate::layout::INTERNAL;
use crate::{Listed, SpoolDir, SpoolView, TaskSummary, Whereabouts};

/// The record's name in the internals.
pub(crate) const ADOPTED: &[u8] = b"adopted";
/// Who holds its lock may replace the record.
const LOCK: &[u8] = b"adopt-lock";
/// The record that is being written under that lock.
const NEW: &[u8] = b".adopted-new";
/// Rules that a record may have.
const RULES_MAX: usize = 256;

/// What is decided about a held task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is held, and somebody is asked to decide.
    Undecided,
    /// It runs like any other.
    Run,
    /// It stays where it is.
    Hold,
}

impl Verdict {
    /// As it is written in the record and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Run => "run",
            Self::Hold => "hold",
        }
    }
}

/// Some of the held tasks, or all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of one folder; empty for the spool itself.
    pub folder: Option<Vec<u8>>,
    /// Those of one function; empty for tasks that name none.
    pub function: Option<Vec<u8>>,
}

impl Selection {
    /// Whether everything is meant.
    pub fn is_all(&self) -> bool {
        self.folder.is_none() && self.function.is_none()
    }

    /// Whether a task is meant.
    pub fn includes(&self, folder: &[u8], function: &[u8]) -> bool {
        self.folder.as_deref().is_none_or(|wanted| wanted == folder)
            && self.function.as_deref().is_none_or(|wanted| wanted == function)
    }
}

/// The record: what was there before unspool, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// When a daemon first looked. What was submitted later is never held.
    pub since_ns: i64,
    /// Whether the old configuration had `spooler-ordered`, and so ran folders that are numbers.
    pub ordered: bool,
    /// How long a task must have been overdue at that moment to be held in any folder.
    pub age_ns: i64,
    /// About everything for which no rule says otherwise.
    pub default: Verdict,
    /// Later ones win.
    pub rules: Vec<(Selection, Verdict)>,
}

impl Adoption {
    /// What a first look would record now.
    pub fn new(ordered: bool, age_ns: i64) -> Self {
        let (since_ns, default) = (clock::now_ns(), Verdict::Undecided);
        Self { since_ns, ordered, age_ns, default, rules: Vec::new() }
    }

    /// Whether nothing can be held any more.
    pub fn is_settled(&self) -> bool {
        self.default == Verdict::Run && self.rules.is_empty()
    }

    /// Whether a file, if it is not ours, is one that the old configuration would not have run.
    pub fn suspects(&self, folder: Option<&Priority>, submitted_ns: i64, due_ns: i64) -> bool {
        if submitted_ns > self.since_ns || self.is_settled() {
            return false;
        }
        let overdue = due_ns < self.since_ns.saturating_sub(self.age_ns);
        overdue || folder.is_some_and(|folder| !self.was_run(folder))
    }

    /// Whether uWSGI entered that folder.
    fn was_run(&self, folder: &Priority) -> bool {
        self.ordered && folder.as_bytes().iter().all(u8::is_ascii_digit)
    }

    /// What is decided about a task.
    pub fn verdict(&self, folder: &[u8], function: &[u8]) -> Verdict {
        let rule = self.rules.iter().rev().find(|(which, _)| which.includes(folder, function));
        rule.map_or(self.default, |(_, verdict)| *verdict)
    }

    /// Whether a task is held, by what its file says.
    pub fn holds(&self, task: &Listed, seen: &TaskSummary) -> io::Result<bool> {
        let Whereabouts::Pending(place) = task.whereabouts() else { return Ok(false) };
        let folder = place.priority.as_ref();
        if seen.id.is_some() || !self.suspects(folder, seen.submitted_ns, seen.due_ns) {
            return Ok(false);
        }
        let function = match &seen.function {
            Some(function) => function.clone(),
            None => match self::look(task.folder(), task.name()) {
                Err(error) if folder::is_failure(&error) => return Err(error),
                // It is gone, or may not be read.
                Err(_) => return Ok(false),
                Ok(look) if look.ours => return Ok(false),
                Ok(look) => look.function,
            },
        };
        let folder = folder.map_or(&[][..], Priority::as_bytes);
        Ok(self.verdict(folder, &function) != Verdict::Run)
    }

    /// Takes in a decision. `false` if there are too many rules for one more.
    pub fn decide(&mut self, which: Selection, verdict: Verdict) -> bool {
        if which.is_all() {
            self.default = verdict;
            self.rules.clear();
            return true;
        }
        self.rules.retain(|(known, _)| *known != which);
        self.rules.push((which, verdict));
        self.rules.len() <= RULES_MAX
    }
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
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
        "`{path}` is damaged or of a newer unspool: update unspool, or delete the file to have old \
         tasks looked at anew"
    )]
    Damaged {
        /// The record.
        path: PathBuf,
    },
    /// Another process is writing it.
    #[error("another process decides about the same spool at this moment: try again")]
    Busy,
    /// It would grow without end.
    #[error(
        "there are {RULES_MAX} decisions on single folders and functions, or their names are too \
         long: decide about the rest"
    )]
    TooMany,
}

/// Reads the record; `None` where no daemon has looked at the directory yet.
pub fn read_adoption(spool: &SpoolDir) -> Result<Option<Adoption>, AdoptError> {
    read_record(&spool.internal, &spool.internal_path())
}

/// The same of a spool that is only looked at.
pub fn view_adoption(spool: &SpoolView) -> Result<Option<Adoption>, AdoptError> {
    let path = spool.path().join(os_str(INTERNAL));
    let fail = |source| AdoptError::Io { action: "read", path: path.join(os_str(ADOPTED)), source };
    match spool.internal().map_err(fail)? {
        Some(internal) => read_record(&internal, &path),
        None => Ok(None),
    }
}

/// Reads it in internals that have this path.
pub(crate) fn read_record(internal: &Folder, path: &Path) -> Result<Option<Adoption>, AdoptError> {
    let path = || path.join(os_str(ADOPTED));
    let fail = |source| AdoptError::Io { action: "read", path: path(), source };
    let file = match internal.open_to_read(ADOPTED) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut text = vec![0u8; record::BYTES_MAX];
    let got = file::read_at(file.as_fd(), &mut text, 0).map_err(fail)?;
    let parsed = record::parse(&text[..got]);
    parsed.map(Some).ok_or_else(|| AdoptError::Damaged { path: path() })
}

/// Makes the record, unless it is there: then that one counts, whoever made it.
pub fn begin_adoption(spool: &SpoolDir, new: Adoption) -> Result<Adoption, AdoptError> {
    if let Some(known) = read_adoption(spool)? {
        return Ok(known);
    }
    let fail = |source| failed(spool, "write", source);
    let random: [u8; 8] = host::random().map_err(fail)?;
    let aside = format!(".adopted-{:016x}", u64::from_le_bytes(random)).into_bytes();
    let internal = &spool.internal;
    let made = write_aside(internal, &aside, &new).and_then(|_open| {
        // COMMIT POINT: of several daemons that start, one decides what was there before.
        internal.rename(&aside, internal, ADOPTED)
    });
    if let Err(error) = made {
        let _ = internal.unlink(&aside);
        if error.kind() == io::ErrorKind::AlreadyExists
            && let Some(known) = read_adoption(spool)?
        {
            return Ok(known);
        }
        return Err(fail(error));
    }
    internal.sync().map_err(fail)?;
    Ok(new)
}

/// Changes the record in one step. Daemons that watch the directory notice at once.
///
/// # Durability
/// The change survives a power cut once this returns.
pub fn change_adoption(
    spool: &SpoolDir,
    change: impl FnOnce(&mut Adoption) -> bool,
) -> Result<Adoption, AdoptError> {
    let fail = |source| failed(spool, "write", source);
    let internal = &spool.internal;
    // Closing it releases the lock, also if the process dies.
    let lock_file = internal.open_or_create(LOCK).map_err(fail)?;
    if !lock::try_lock(lock_file.as_fd()).map_err(fail)? {
        return Err(AdoptError::Busy);
    }
    let mut record =
        read_adoption(spool)?.ok_or_else(|| fail(io::Error::from(io::ErrorKind::NotFound)))?;
    // What is too long to be read back must not be written: every daemon would refuse the spool.
    if !change(&mut record) || record::encode(&record).len() > record::BYTES_MAX {
        return Err(AdoptError::TooMany);
    }
    internal.unlink(NEW).map_err(fail)?;
    let written = write_aside(internal, NEW, &record).and_then(|_open| {
        // COMMIT POINT: the old record before, the new one after.
        internal.replace(NEW, ADOPTED)
    });
    if let Err(error) = written {
        let _ = internal.unlink(NEW);
        return Err(fail(error));
    }
    internal.sync().map_err(fail)?;
    Ok(record)
}

fn write_aside(internal: &Folder, name: &[u8], record: &Adoption) -> io::Result<OwnedFd> {
    let file = internal.create(name)?;
    file::write_all(file.as_fd(), &record::encode(record))?;
    file::sync_file(file.as_fd())?;
    Ok(file)
}

fn record_path(spool: &SpoolDir) -> PathBuf {
    spool.internal_path().join(os_str(ADOPTED))
}

fn failed(spool: &SpoolDir, action: &'static str, source: io::Error) -> AdoptError {
    AdoptError::Io { action, path: record_path(spool), source }
}
