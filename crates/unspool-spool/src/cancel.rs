//! Cancel: a pending task is removed; of one that a daemon has, that daemon is asked to stop it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use unspool_sys::folder::Folder;
use unspool_sys::lock::Holder;
use unspool_sys::{clock, host};
use unspool_wire::cancel::{Cancel, Fate, GRACE_MAX};
use unspool_wire::request::Reply;

use crate::find::{Kept, Place, TaskName, Whereabouts, find_task};
use crate::hold::{Held, hold};
use crate::present::{Question, ask_daemons};
use crate::{SpoolDir, complete, forget_attempts};

/// What a daemon may need beyond the grace: to kill, to delete, to answer.
const MARGIN: Duration = Duration::from_secs(5);
/// How long a daemon may take to hear a question.
const HEAR_WAIT: Duration = Duration::from_secs(2);
/// How soon a task is tried again that nobody says to have. It doubles up to the second.
const AGAIN_NS: u64 = 10_000_000;
const AGAIN_NS_MAX: u64 = 320_000_000;

/// What a try to remove a task came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It is deleted, with its record.
    Removed,
    /// There is no such task any more.
    Gone,
    /// Somebody has it.
    Held(Holder),
}

/// Deletes a task that nobody has, whether or not it is due, and the record of its attempts.
///
/// A power cut may bring it back until the folder is flushed. A record that cannot be removed is left
/// behind: it tells of a task that is gone, and harms nobody.
///
/// # Errors
/// What the system says; the task is untouched.
pub fn remove_pending(spool: &SpoolDir, folder: &Folder, name: &[u8]) -> io::Result<Removal> {
    let _lease = match hold(folder, name)? {
        Held::Ours(lease) => lease,
        Held::Gone => return Ok(Removal::Gone),
        Held::Theirs(holder) => return Ok(Removal::Held(holder)),
    };
    // COMMIT POINT: from here on the task does not run.
    if !complete(folder, name)? {
        return Ok(Removal::Gone);
    }
    let _ = forget_attempts(spool, name);
    Ok(Removal::Removed)
}

/// What became of a task that was to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It had not been started, and is deleted.
    Removed,
    /// It was told to end.
    Stopping,
    /// It was told to end, has ended, and is deleted.
    Stopped,
    /// It did not end in time. Its worker was killed, and it is deleted.
    Killed,
    /// There is no such task, or no more.
    Gone,
    /// It is not pending, and stays where it is.
    Kept(Kept),
}

impl Became {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Gone => "gone",
            Self::Kept(kept) => kept.as_str(),
        }
    }
}

/// A task that was not cancelled, or not surely.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelError {
    /// The seconds make no sense.
    #[error("the grace is {seconds}: give seconds, from 0 to {GRACE_MAX}")]
    Grace {
        /// They.
        seconds: f64,
    },
    /// It belongs to somebody else.
    #[error(
        "cannot cancel `{path}`: uid {uid} may not write that file, which belongs to uid {owner}: \
         cancel as that user, or as the daemon's"
    )]
    NotPermitted {
        /// The task.
        path: PathBuf,
        /// Who we are.
        uid: u32,
        /// Whose it is.
        owner: u32,
    },
    /// The system refused.
    #[error("cannot cancel `{path}`")]
    Io {
        /// The task.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A process that is no unspool has it.
    #[error(
        "cannot cancel `{path}`: process {pid}, a uWSGI or another program, has it locked, and takes \
         no requests: end that process, or wait"
    )]
    Foreign {
        /// The task.
        path: PathBuf,
        /// The process.
        pid: u32,
    },
    /// Nobody who can be asked has it, and it is locked.
    #[error(
        "cannot cancel `{path}`: a process has it locked that cannot be asked: a worker whose daemon is \
         gone, or a daemon on another machine: wait until it ends"
    )]
    Unknown {
        /// The task.
        path: PathBuf,
    },
    /// A daemon cannot be asked.
    #[error(
        "cannot cancel `{path}`: somebody has it, and daemon {pid} cannot be asked: cancel as its user, \
         or wait"
    )]
    Deaf {
        /// The task.
        path: PathBuf,
        /// The daemon.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A daemon refuses.
    #[error("cannot cancel `{path}`: daemon {pid} answers: {error}")]
    Refused {
        /// The task.
        path: PathBuf,
        /// The daemon.
        pid: u32,
        /// Why.
        error: String,
    },
    /// A daemon was asked and does not answer.
    #[error(
        "daemon {pid} was asked to cancel `{path}` and has not answered: it may still do so; ask again"
    )]
    Silent {
        /// The task.
        path: PathBuf,
        /// The daemon.
        pid: u32,
    },
    /// It is deleted, and the folder cannot be flushed.
    #[error(
        "`{path}` is cancelled, and may come back after a power cut: its folder cannot be flushed"
    )]
    NotDurable {
        /// The task.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A cancellation that goes on, for whoever wants to look around meanwhile.
#[derive(Debug)]
pub struct Cancellation<'a> {
    spool: &'a SpoolDir,
    place: Place,
    /// `None`: it is gone.
    folder: Option<Folder>,
    request: Vec<u8>,
    questions: Vec<Question>,
    /// Why a daemon that may have it was of no help.
    refusal: Option<CancelError>,
    again_ns: u64,
    until_ns: u64,
}

impl<'a> Cancellation<'a> {
    /// Begins to cancel a task that may be pending or running. A running one is told to end, and its
    /// worker killed after `grace` seconds. With `wait` it is over when the task has ended, which is
    /// bounded by the grace and a few seconds.
    pub fn new(
        spool: &'a SpoolDir,
        place: Place,
        grace: f64,
        wait: bool,
    ) -> Result<Self, CancelError> {
        if !(0.0..=GRACE_MAX).contains(&grace) {
            return Err(CancelError::Grace { seconds: grace });
        }
        let fail = |source| CancelError::Io { path: place.path(spool.view()), source };
        let folder = match &place.priority {
            None => Some(spool.top().try_clone().map_err(fail)?),
            Some(priority) => spool.priority_folder(priority).map_err(fail)?,
        };
        let mut request = serde_json::to_vec(&Cancel { grace, wait }).unwrap_or_default();
        request.push(0);
        request.extend_from_slice(&place.relative());
        let bound = MARGIN + if wait { Duration::from_secs_f64(grace) } else { Duration::ZERO };
        Ok(Self {
            spool,
            place,
            folder,
            request,
            questions: Vec::new(),
            refusal: None,
            again_ns: AGAIN_NS,
            until_ns: clock::monotonic_ns() + bound.as_nanos() as u64,
        })
    }

    /// Goes on for about so long; `None` if it is not over then, or a signal came.
    ///
    /// # Errors
    /// [`CancelError`]; the task is untouched unless the error says otherwise.
    pub fn step(&mut self, wait: Duration) -> Result<Option<Became>, CancelError> {
        let step_until_ns = clock::monotonic_ns() + wait.as_nanos() as u64;
        loop {
            let asked = !self.questions.is_empty();
            let over = if asked { self.hear(step_until_ns)? } else { self.try_to_remove()? };
            if over.is_some() {
                return Ok(over);
            }
            let now_ns = clock::monotonic_ns();
            if now_ns >= self.until_ns {
                return Err(self.late());
            }
            if asked && self.questions.is_empty() {
                let left_ns = step_until_ns.min(self.until_ns).saturating_sub(now_ns);
                clock::pause(Duration::from_nanos(self.again_ns.min(left_ns)));
                self.again_ns = (2 * self.again_ns).min(AGAIN_NS_MAX);
            }
            if clock::monotonic_ns() >= step_until_ns {
                return Ok(None);
            }
        }
    }

    fn try_to_remove(&mut self) -> Result<Option<Became>, CancelError> {
        let path = || self.place.path(self.spool.view());
        let Some(folder) = &self.folder else { return self.look_elsewhere().map(Some) };
        match remove_pending(self.spool, folder, &self.place.name) {
            Ok(Removal::Removed) => self.make_durable(Became::Removed).map(Some),
            Ok(Removal::Gone) => self.look_elsewhere().map(Some),
            Ok(Removal::Held(Holder::Process(pid))) => {
                Err(CancelError::Foreign { path: path(), pid })
            }
            Ok(Removal::Held(Holder::Nobody | Holder::Unnamed)) => {
                self.ask();
                self.refused().map_or(Ok(None), Err)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let owner = folder.stat(&self.place.name).ok().flatten().map(|stat| stat.owner);
                let uid = host::uid();
                Err(match owner {
                    Some(owner) => CancelError::NotPermitted { path: path(), uid, owner },
                    None => CancelError::Io { path: path(), source: error },
                })
            }
            Err(source) => Err(CancelError::Io { path: path(), source }),
        }
    }

    fn ask(&mut self) {
        self.refusal = None;
        for (pid, asked) in ask_daemons(self.spool.path(), &self.request, HEAR_WAIT) {
            match asked {
                Ok(question) => self.questions.push(question),
                Err(source) => {
                    let path = self.place.path(self.spool.view());
                    self.refusal = Some(CancelError::Deaf { path, pid, source });
                }
            }
        }
        if self.questions.is_empty() {
            clock::pause(Duration::from_nanos(self.again_ns));
            self.again_ns = (2 * self.again_ns).min(AGAIN_NS_MAX);
        }
    }

    /// Waits for the daemons.
    fn hear(&mut self, until_ns: u64) -> Result<Option<Became>, CancelError> {
        let path = self.place.path(self.spool.view());
        let mut left = Vec::new();
        let mut questions = std::mem::take(&mut self.questions).into_iter();
        while let Some(question) = questions.next() {
            let wait_ns = until_ns.min(self.until_ns).saturating_sub(clock::monotonic_ns());
            let others = questions.len() as u64 + 1;
            let answer = match question.answer(Duration::from_nanos(wait_ns / others)) {
                Ok(None) => {
                    left.push(question);
                    continue;
                }
                Ok(Some(answer)) => answer,
                // It has ended: then nobody has the task, or a worker that outlives it.
                Err(_) => continue,
            };
            let pid = question.pid;
            let refused = match serde_json::from_slice(&answer) {
                Ok(Reply::Cancelled { task }) => match task {
                    Fate::Removed => return self.make_durable(Became::Removed).map(Some),
                    Fate::Stopped => return self.make_durable(Became::Stopped).map(Some),
                    Fate::Killed => return self.make_durable(Became::Killed).map(Some),
                    Fate::Stopping => return Ok(Some(Became::Stopping)),
                    Fate::Gone => return Ok(Some(Became::Gone)),
                    Fate::Elsewhere => continue,
                },
                Ok(Reply::Failed { error } | Reply::Refused { error }) => error,
                Ok(
                    Reply::Done | Reply::Log { .. } | Reply::Document { .. } | Reply::Schedule(_),
                )
                | Err(_) => "what makes no sense".to_owned(),
            };
            let path = path.clone();
            self.refusal = Some(CancelError::Refused { path, pid, error: refused });
        }
        self.questions = left;
        self.refused().map_or(Ok(None), Err)
    }

    /// Why nobody is left to ask, and none will be: a daemon that was only about to end or to begin
    /// is asked again.
    fn refused(&mut self) -> Option<CancelError> {
        let nobody = self.questions.is_empty();
        self.refusal.take_if(|refusal| match refusal {
            CancelError::Deaf { source, .. } => {
                nobody && source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => nobody,
        })
    }

    /// Nobody has it any more, and a power cut does not bring it back.
    fn make_durable(&self, became: Became) -> Result<Became, CancelError> {
        let synced = self.folder.as_ref().map_or(Ok(()), Folder::sync);
        let fail =
            |source| CancelError::NotDurable { path: self.place.path(self.spool.view()), source };
        synced.map(|()| became).map_err(fail)
    }

    /// It is not in its place: it was given up, or it is done.
    fn look_elsewhere(&self) -> Result<Became, CancelError> {
        let fail = |source| CancelError::Io { path: self.place.path(self.spool.view()), source };
        let wanted = TaskName::Place(self.place.clone());
        let found = find_task(self.spool.view(), &wanted).into_found().map_err(fail)?;
        Ok(match found.first() {
            Some(Whereabouts::Kept(kept, _)) => Became::Kept(*kept),
            _ => Became::Gone,
        })
    }

    fn late(&mut self) -> CancelError {
        let path = self.place.path(self.spool.view());
        match (self.questions.first(), self.refusal.take()) {
            (Some(question), _) => CancelError::Silent { path, pid: question.pid },
            (None, Some(refusal)) => refusal,
            (None, None) => CancelError::Unknown { path },
        }
    }
}
