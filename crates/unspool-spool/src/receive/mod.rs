//! Receive: a task of another machine into the spool, once, however often it is sent.
//!
//! A file is written in `.unspool/incoming` under the name that follows from its id, and flushed. Its id
//! in the log of those that were seen is what makes it a task: from then on it is moved to its place,
//! by whoever comes first after a crash. So an id that was seen is never stored again, and one that was
//! not is never lost. Several receivers may work on one spool. Sockets are not known here.

mod arriving;
mod commit;
mod seen;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use unspool_core::due::{self, InvalidAt};
use unspool_core::limits::PAIRS_BYTES_MAX;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{
    BadSignature, HEADER_BYTES, Intake, IntakeRules, KEY_AT, KEY_PRIORITY, Malformed, NotTaken,
    TaskId, peek_value,
};
use unspool_core::{InvalidPriority, Origin, Priority};
use unspool_sys::file::{read_at, set_mtime, stat_file, sync_file, write_all, write_at};
use unspool_sys::{Folder, clock, lock};

use self::arriving::Arriving;
use self::commit::Ready;
use self::seen::{DAYS_KEPT, SeenLog};
use crate::SpoolDir;
use crate::admit::{AdmitError, SpoolFull};
use crate::layout::PREFIX;
use crate::pending::Place;

pub(crate) const INCOMING: &[u8] = b"incoming";
pub(crate) const SEEN: &[u8] = b"seen";
/// Names that are remembered.
const DOUBTFUL_MAX: usize = 1024;
/// How long a receiver may take from creating a file to its lock.
const LOCK_WAIT_NS: i64 = 10_000_000_000;
/// Bytes that are read at once of a file that a receiver left.
const READ_BYTES: usize = 64 * 1024;

/// A task that is not received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// What was sent is no task that can be stored here.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    /// What came is not what its sender wrote.
    #[error("it is no task")]
    Malformed(#[from] Malformed),
    /// It is not signed as it has to be.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// It may be a recording of one that was stored and has been forgotten.
    #[error(
        "its id is {days} days old, and ids are known for {DAYS_KEPT}: since nothing but its signature says \
         where it comes from, it may have been stored before; prove a key, too (`network-keys` on both sides)"
    )]
    Old {
        /// By how much the time in its id differs from now.
        days: u64,
    },
    /// The key `at` is no time.
    #[error(transparent)]
    At(#[from] InvalidAt),
    /// The key `priority` is no folder of the spool.
    #[error(transparent)]
    Priority(#[from] InvalidPriority),
    /// The spool takes no more for now.
    #[error(transparent)]
    Full(Box<SpoolFull>),
    /// Another connection brings the same task.
    #[error("another connection brings this task just now")]
    Twice,
    /// The disk fails, or is full.
    #[error("cannot {action} in spool `{spool}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The spool.
        spool: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReceiveError {
    /// Whether the same task may be received another time.
    pub fn is_for_now(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Twice | Self::Io { .. })
    }
}

/// What became of a task that came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is in the spool, and survives a power cut.
    New,
    /// It was before.
    Known,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// What the task says of it.
    pub origin: Origin,
    /// Whether, where the spool has keys, a task without a signature is taken all the same.
    pub may_be_unsigned: bool,
}

/// What a spool receives. Shared between threads as it is.
#[derive(Debug)]
pub struct Reception {
    spool: Arc<SpoolDir>,
    incoming: Folder,
    /// What is written and waits for whoever commits next.
    waiting: Mutex<Vec<Ready>>,
    seen: Mutex<SeenLog>,
    arriving: Arriving,
    /// Names in `incoming` of which a flush failed, and which could not be removed.
    doubtful: Mutex<BTreeSet<Vec<u8>>>,
}

/// A task that begins to come.
#[derive(Debug)]
pub enum Begun {
    /// Its bytes are wanted.
    Incoming(Box<Incoming>),
    /// It is stored already; its bytes need not be kept.
    Stored(Stored),
}

/// A task that is coming. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    reception: Arc<Reception>,
    intake: Option<Intake>,
    may_be_unsigned: bool,
    due_ns: Option<i64>,
    priority: Option<Priority>,
    name: Vec<u8>,
    place: Option<Place>,
    /// Locked, so that nobody takes it for one that was left.
    file: Option<OwnedFd>,
}

impl Reception {
    /// Opens what is needed, making it where it is missing, and stores what a receiver that died had
    /// whole.
    pub fn open(spool: Arc<SpoolDir>) -> io::Result<Self> {
        let incoming = sub(&spool, INCOMING)?;
        let seen = SeenLog::open(sub(&spool, SEEN)?)?;
        let made = Self {
            spool,
            incoming,
            waiting: Mutex::new(Vec::new()),
            seen: Mutex::new(seen),
            arriving: Arriving::default(),
            doubtful: Mutex::default(),
        };
        made.settle()?;
        Ok(made)
    }

    /// The spool.
    pub fn spool(&self) -> &Arc<SpoolDir> {
        &self.spool
    }

    /// Stores what receivers that died had whole, removes the rest of theirs, and forgets ids of long
    /// ago.
    pub fn settle(&self) -> io::Result<()> {
        let mut left = Vec::new();
        for entry in self.incoming.list()? {
            let (name, _) = entry?;
            left.push(name);
        }
        for name in left {
            // One that cannot be settled now is tried again; the others need not wait for it.
            if let Some(id) = id_in(&name)
                && !self.was_just_created(&name)
            {
                let _ = self.settle_one(&name, id);
            }
        }
        self.seen().forget_old()
    }

    /// Whether whoever created a file may be about to lock it, before a byte is written.
    fn was_just_created(&self, name: &[u8]) -> bool {
        let young = |ctime_ns: i64| clock::now_ns() - ctime_ns < LOCK_WAIT_NS;
        let stat = self.incoming.stat(name).ok().flatten();
        stat.is_some_and(|stat| stat.bytes == 0 && young(stat.ctime_ns))
    }

    /// What became of a file that lies in `incoming`; `None` where it is gone or of no use.
    fn settle_one(&self, name: &[u8], id: TaskId) -> Result<Option<Stored>, ReceiveError> {
        let fail = |action| move |source| self.io(action, source);
        let file = match self.incoming.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(fail("open a file that was left"))?,
        };
        if !self.own(name, &file).map_err(fail("lock a file that was left"))? {
            return Err(ReceiveError::Twice);
        }
        let is_known = self.seen().knows(id).map_err(fail("read the ids that were seen"))?;
        if !is_known && self.is_doubtful(name) {
            // Another file of that name may last.
            self.incoming.unlink(name).map_err(fail("remove a file that was left"))?;
            self.doubtful().remove(name);
            return Ok(None);
        }
        if !is_whole(&file).map_err(fail("read a file that was left"))? {
            // Of a known one this is another copy, which was begun as the first one ended: that one was
            // whole before its id was known.
            self.incoming.unlink(name).map_err(fail("remove a file that was left"))?;
            return Ok(is_known.then_some(Stored::Known));
        }
        let head = head_of(&file).map_err(fail("read a file that was left"))?;
        let priority = value_in(&head, KEY_PRIORITY).and_then(|name| Priority::new(name).ok());
        if is_known {
            // The lock is for receivers; whoever runs the task must not meet it.
            drop(file);
            self.publish(name, priority.as_ref())?;
            return Ok(Some(Stored::Known));
        }
        // Its time is set last, and a crash may have come between.
        let due_ns = value_in(&head, KEY_AT).and_then(|at| due::parse_at(at).ok().flatten());
        let flushed = due_ns
            .map_or(Ok(()), |due_ns| set_mtime(file.as_fd(), due_ns))
            .and_then(|()| sync_file(file.as_fd()));
        if let Err(error) = flushed {
            // Whatever a later flush says, it may never be durable: it has to be sent again.
            self.discard(name);
            return Err(self.io("flush a file that was left", error));
        }
        self.commit(Ready::new(id, name.to_vec(), priority, file, None)).map(Some)
    }

    fn doubtful(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a file that is locked here and not to be stored. Of one that stays a flush may have failed.
    fn discard(&self, name: &[u8]) {
        if self.incoming.unlink(name).is_err() {
            self.doubt(name);
        }
    }

    /// Notes a name that no later flush can be trusted to keep.
    fn doubt(&self, name: &[u8]) {
        let mut doubtful = self.doubtful();
        if doubtful.len() < DOUBTFUL_MAX {
            doubtful.insert(name.to_vec());
        }
    }

    /// A folder of which so many names are in doubt is in doubt as a whole.
    fn is_doubtful(&self, name: &[u8]) -> bool {
        let doubtful = self.doubtful();
        doubtful.contains(name) || doubtful.len() >= DOUBTFUL_MAX
    }

    /// Locks a file of `incoming`. Only who has the lock may remove or move what has that name:
    /// `false` if another one has it, or had it and has done so.
    fn own(&self, name: &[u8], file: &OwnedFd) -> io::Result<bool> {
        if !lock::try_lock(file.as_fd())? {
            return Ok(false);
        }
        let ours = stat_file(file.as_fd())?.inode;
        Ok(self.incoming.stat(name)?.is_some_and(|named| named.inode == ours))
    }

    /// Begins with the header and the pairs of a file of so many bytes.
    pub fn begin(
        self: &Arc<Self>,
        head: &[u8],
        file_bytes: u64,
        source: Source,
    ) -> Result<Begun, ReceiveError> {
        self.begin_in(head, file_bytes, source, None)
    }

    /// The same with a priority for a task that names none.
    pub fn begin_in(
        self: &Arc<Self>,
        head: &[u8],
        file_bytes: u64,
        source: Source,
        priority: Option<&[u8]>,
    ) -> Result<Begun, ReceiveError> {
        let keys = self.spool.keys.as_deref();
        let rules = IntakeRules {
            origin: source.origin,
            verify: keys,
            sign: keys.map(Keyring::first),
            priority,
        };
        let intake = Intake::new(head, file_bytes, rules)?;
        if let Some(error) = intake.bad_signature()
            && !(source.may_be_unsigned && *error == BadSignature::Missing)
        {
            // Before a byte of it is written.
            return Err(error.clone().into());
        }
        let id = intake.id();
        let name = name_of(id);
        if self.seen().knows(id).map_err(|source| self.io("read the ids that were seen", source))? {
            // It may have been seen and not have got to its place.
            self.settle_one(&name, id)?;
            return Ok(Begun::Stored(Stored::Known));
        }
        // What is signed and sent in the open may be recorded, and sent again once its id is forgotten.
        let days = days_from_now(id);
        if keys.is_some() && source.origin == Origin::Network && days >= DAYS_KEPT as u64 {
            return Err(ReceiveError::Old { days });
        }
        let message = intake.message();
        let due_ns = message.get(KEY_AT).map(due::parse_at).transpose()?.flatten();
        let priority = priority_in(message)?;
        let place =
            self.arriving.admit(&self.spool, intake.file_bytes()).map_err(|error| match error {
                AdmitError::Full(full) => ReceiveError::Full(full),
                AdmitError::Io(action, source) => self.io(action, source),
            })?;
        let mut incoming = Box::new(Incoming {
            reception: Arc::clone(self),
            intake: Some(intake),
            may_be_unsigned: source.may_be_unsigned,
            due_ns,
            priority,
            name,
            place,
            file: None,
        });
        match incoming.create()? {
            Some(stored) => {
                // One that was left is in the spool now, where it is counted.
                if let Some(place) = incoming.place.take_if(|_| stored == Stored::New) {
                    self.arriving.remove(place);
                }
                Ok(Begun::Stored(stored))
            }
            None => Ok(Begun::Incoming(incoming)),
        }
    }

    fn give_place_back(&self, place: Place) {
        self.arriving.remove(place);
        self.spool.give_place_back(place);
    }

    fn seen(&self) -> MutexGuard<'_, SeenLog> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, action: &'static str, source: io::Error) -> ReceiveError {
        ReceiveError::Io { action, spool: self.spool.path().to_owned(), source }
    }
}

impl Incoming {
    /// Bytes that are still to come.
    pub fn missing(&self) -> u64 {
        self.intake.as_ref().map_or(0, Intake::missing)
    }

    /// The task's identity.
    pub fn id(&self) -> Option<TaskId> {
        self.intake.as_ref().map(Intake::id)
    }

    /// Creates the file, or stores the one of that name that was left whole.
    fn create(&mut self) -> Result<Option<Stored>, ReceiveError> {
        let reception = &*self.reception;
        let fail = |action| move |source| reception.io(action, source);
        let Some(intake) = &self.intake else { return Ok(None) };
        let mut created = self.reception.incoming.create(&self.name);
        if matches!(&created, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
            if let Some(stored) = self.reception.settle_one(&self.name, intake.id())? {
                return Ok(Some(stored));
            }
            created = self.reception.incoming.create(&self.name);
        }
        let file = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ReceiveError::Twice);
            }
            other => other.map_err(fail("create a file"))?,
        };
        if !self.reception.own(&self.name, &file).map_err(fail("lock a file"))? {
            return Err(ReceiveError::Twice);
        }
        // From here on the file is this one's to remove.
        let file = self.file.insert(file);
        // Another one may have ended between the look at the ids and this file, which keeps all others
        // from the id now.
        if reception.seen().knows(intake.id()).map_err(fail("read the ids that were seen"))? {
            return Ok(Some(Stored::Known));
        }
        write_all(file.as_fd(), intake.start()).map_err(fail("write a file"))?;
        Ok(None)
    }

    /// Takes the next bytes; no more than are missing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ReceiveError> {
        if let (Some(intake), Some(file)) = (&mut self.intake, &self.file) {
            intake.push(bytes);
            write_all(file.as_fd(), bytes)
                .map_err(|source| self.reception.io("write a file", source))?;
        }
        Ok(())
    }

    /// Stores a task of which all bytes came.
    ///
    /// # Errors
    /// Of those for now the same task may be sent again; it is stored once.
    pub fn store(mut self: Box<Self>) -> Result<Stored, ReceiveError> {
        let reception = Arc::clone(&self.reception);
        let fail = |action| {
            let reception = &reception;
            move |source| reception.io(action, source)
        };
        let (Some(intake), Some(file)) = (self.intake.take(), &self.file) else {
            return Err(ReceiveError::Twice);
        };
        let id = intake.id();
        let received = intake.finish()?;
        if !self.may_be_unsigned || !matches!(received.signed, Err(BadSignature::Missing)) {
            received.signed?;
        }
        for patch in &received.patches {
            write_at(file.as_fd(), &patch.bytes, patch.offset).map_err(fail("write a file"))?;
        }
        if let Some(due_ns) = self.due_ns {
            set_mtime(file.as_fd(), due_ns).map_err(fail("set a file's time"))?;
        }
        sync_file(file.as_fd()).map_err(fail("flush a file"))?;
        let Some(file) = self.file.take() else { return Err(ReceiveError::Twice) };
        // Its place and its file are the commit's from here on.
        let (name, priority) = (std::mem::take(&mut self.name), self.priority.take());
        reception.commit(Ready::new(id, name, priority, file, self.place.take()))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.file.is_some() {
            // While it is locked. One that stays is settled by whoever opens the spool next.
            self.reception.discard(&self.name);
        }
        if let Some(place) = self.place.take() {
            self.reception.give_place_back(place);
        }
    }
}

/// A folder in the internals, whose name survives a power cut.
fn sub(spool: &SpoolDir, name: &[u8]) -> io::Result<Folder> {
    spool.internal.make_sub(name)?;
    let folder = spool.internal.open_sub(name)?;
    spool.durable.ensure(&folder, &spool.internal)?;
    Ok(folder)
}

fn priority_in(message: &unspool_core::Message) -> Result<Option<Priority>, InvalidPriority> {
    match message.get(KEY_PRIORITY) {
        None | Some(b"") => Ok(None),
        Some(name) => Priority::new(name).map(Some),
    }
}

/// Whether a file is a task's, to its last byte. One that was not ended has no checksum yet.
fn is_whole(file: &OwnedFd) -> io::Result<bool> {
    let bytes = stat_file(file.as_fd())?.bytes;
    let head = head_of(file)?;
    let rules = IntakeRules { origin: Origin::Peer, verify: None, sign: None, priority: None };
    let Ok(mut intake) = Intake::new(&head, bytes, rules) else { return Ok(false) };
    let mut piece = vec![0; READ_BYTES];
    let mut offset = head.len() as u64;
    while intake.missing() > 0 {
        let got = read_at(file.as_fd(), &mut piece, offset)?;
        if got == 0 {
            return Ok(false);
        }
        intake.push(&piece[..got]);
        offset += got as u64;
    }
    Ok(intake.finish().is_ok())
}

/// The header and the pairs of a file, or as much of them as there is.
fn head_of(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEADER_BYTES + PAIRS_BYTES_MAX];
    let got = read_at(file.as_fd(), &mut head, 0)?;
    head.truncate(got);
    if let Some([low, high]) = head.get(1..3) {
        let end = HEADER_BYTES + usize::from(u16::from_le_bytes([*low, *high]));
        head.truncate(end);
    }
    Ok(head)
}

/// A value in the pairs of a file, which was found good before. These never move to the body.
fn value_in<'a>(head: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    peek_value(head, key).filter(|value| !value.is_empty())
}

/// By how many days the time in an id differs from now.
fn days_from_now(id: TaskId) -> u64 {
    let now_ms = u64::try_from(clock::now_ns() / 1_000_000).unwrap_or(0);
    ((id.0 >> 80) as u64).abs_diff(now_ms) / 86_400_000
}

/// The name of a received task: its id where others have their host, then the time and the random
/// number of that id, so that it sorts and is found as others are.
fn name_of(id: TaskId) -> Vec<u8> {
    let ms = (id.0 >> 80) as u64;
    let random = (id.0 as u32) >> 1;
    // Within a millisecond the order is nobody's.
    let usec = ms % 1000 * 1000 + u64::from(random % 1000);
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(format!("{id}_0_0_{random}_{}_{usec}", ms / 1000).as_bytes());
    name
}

/// The id of which [`name_of`] made a name.
fn id_in(name: &[u8]) -> Option<TaskId> {
    let digits = name.strip_prefix(PREFIX)?.get(..32)?;
    let id = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(TaskId)?;
    (name_of(id) == name).then_some(id)
}
