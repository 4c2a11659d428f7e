//! The count of pending tasks that submitters share, so that none has to list the spool to know it.
//!
//! A file in `.unspool` holds how many tasks and bytes are pending, as of the last time that somebody
//! looked, and what was submitted since. Whoever looks sets it: a daemon that knows its spool, several
//! times a second while anything happens; a submitter by listing, where no daemon keeps the count and
//! it is old, or says that the spool is full. Nobody subtracts what is done: the next look does. It is
//! worth nothing after the machine's next start, and may be removed at any moment.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use unspool_core::limits::{
    COUNT_EVERY_NS_MIN, COUNT_LOCK_NS_MAX, COUNT_QUIET_NS, COUNT_SHARE_FULL, COUNT_SHARE_QUIET,
    COUNT_SMALL_TASKS, COUNT_WAIT_NS_MAX,
};
use unspool_sys::folder::Folder;
use unspool_sys::{clock, file, host, lock};

use crate::{Found, Scan, SpoolDir, is_task_name};

const PENDING: &[u8] = b"pending";
/// The bytes of the file that are locked: by whoever changes it, for as long as that takes,
const CHANGING: u8 = 0;
/// by the daemon that keeps the count right,
const KEEPING: u8 = 1;
/// and by the submitter that lists the spool.
const LISTING: u8 = 2;
/// Looks at the record for one task, before it passes uncounted: others undo what each look does.
const LOOKS_MAX: usize = 8;
const MAGIC: [u8; 8] = *b"unspool#";
const RECORD_BYTES: usize = 64;
/// Entries of a folder that are looked at in one go.
const STEP_ENTRIES: usize = 4096;

/// Pending tasks, and the bytes of their files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Waiting, delayed or running.
    pub tasks: u64,
    /// Of all of their files.
    pub bytes: u64,
}

/// What the file holds. Times are on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    pending: Pending,
    /// When somebody last looked.
    set_ns: u64,
    /// When the spool was last listed, and how long that took.
    listed_ns: u64,
    list_cost_ns: u64,
}

impl Record {
    fn to_bytes(self, boot: u128) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let fields = [
            self.pending.tasks,
            self.pending.bytes,
            self.set_ns,
            self.listed_ns,
            self.list_cost_ns,
        ];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&boot.to_le_bytes());
        for (place, field) in bytes[24..].as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        bytes
    }

    /// `None` for what is of another start of the machine, or nothing of ours.
    fn from_bytes(bytes: &[u8; RECORD_BYTES], boot: u128, now_ns: u64) -> Option<Self> {
        let (fields, _) = bytes[24..].as_chunks::<8>();
        let field = |at: usize| u64::from_le_bytes(fields[at]);
        let record = Self {
            pending: Pending { tasks: field(0), bytes: field(1) },
            set_ns: field(2),
            listed_ns: field(3),
            list_cost_ns: field(4),
        };
        let ours = bytes[..8] == MAGIC && bytes[8..24] == boot.to_le_bytes();
        (ours && record.set_ns <= now_ns).then_some(record)
    }

    /// Whether somebody should look again, unless a daemon does.
    fn is_old(&self, now_ns: u64) -> bool {
        let age_ns = now_ns.saturating_sub(self.set_ns);
        age_ns > COUNT_QUIET_NS.max(self.list_cost_ns.saturating_mul(COUNT_SHARE_QUIET))
    }

    /// Whether it was listed too short a time ago to do so again.
    fn is_just_listed(&self, now_ns: u64) -> bool {
        let age_ns = now_ns.saturating_sub(self.listed_ns);
        age_ns < COUNT_EVERY_NS_MIN.max(self.list_cost_ns.saturating_mul(COUNT_SHARE_FULL))
    }
}

/// The open file of the count.
#[derive(Debug, Default)]
pub(crate) struct PendingCount {
    file: OnceLock<CountFile>,
}

#[derive(Debug)]
struct CountFile {
    file: OwnedFd,
    boot: u128,
    /// Threads share an open file, and with it the locks.
    changing: Mutex<()>,
    listing: Mutex<()>,
}

/// A place that was taken for a task, as of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    bytes: u64,
    set_ns: u64,
}

/// The look of which a count is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    set_ns: u64,
}

impl Place {
    /// Whether the count of this look has the place. A later look has found its task, or has not if
    /// that was not there yet.
    pub(crate) fn is_in(self, look: Look) -> bool {
        self.set_ns == look.set_ns
    }

    /// What the task takes.
    pub(crate) fn pending(self) -> Pending {
        Pending { tasks: 1, bytes: self.bytes }
    }
}

/// What asking for a place gave.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A place is taken, or nobody could take the lock, and it fits by what was read.
    Taken(Option<Place>),
    /// The spool holds so much, and the task does not fit.
    Full(Pending),
}

impl PendingCount {
    fn file(&self, internal: &Folder) -> io::Result<&CountFile> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = CountFile::open(internal)?;
        Ok(self.file.get_or_init(|| file))
    }
}

impl CountFile {
    fn open(internal: &Folder) -> io::Result<Self> {
        let file = match internal.open_or_create(PENDING) {
            // Another user's, as root leaves it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                internal.unlink(PENDING)?;
                internal.open_or_create(PENDING)?
            }
            other => other?,
        };
        let boot = u128::from_str_radix(&host::boot_id().replace('-', ""), 16).unwrap_or(0);
        Ok(Self { file, boot, changing: Mutex::new(()), listing: Mutex::new(()) })
    }

    fn read(&self, now_ns: u64) -> io::Result<Option<Record>> {
        let mut bytes = [0; RECORD_BYTES];
        let got = file::read_at(self.file.as_fd(), &mut bytes, 0)?;
        Ok(Record::from_bytes(&bytes, self.boot, now_ns).filter(|_| got == RECORD_BYTES))
    }

    fn write(&self, record: Record) -> io::Result<()> {
        file::write_at(self.file.as_fd(), &record.to_bytes(self.boot), 0)
    }

    /// Reads the record, changes it and writes it, while nobody else does. `None` if the lock was not
    /// to be had in time: somebody who held it was stopped.
    fn update<T>(
        &self,
        change: impl FnOnce(Option<Record>, u64) -> (Option<Record>, T),
    ) -> io::Result<Option<T>> {
        self.update_within(Duration::from_nanos(COUNT_LOCK_NS_MAX), change)
    }

    fn update_within<T>(
        &self,
        limit: Duration,
        change: impl FnOnce(Option<Record>, u64) -> (Option<Record>, T),
    ) -> io::Result<Option<T>> {
        let file = self.file.as_fd();
        let turn = lock::within(limit, || {
            let Ok(turn) = self.changing.try_lock() else { return Ok(None) };
            Ok(lock::try_lock_byte(file, CHANGING)?.then_some(turn))
        })?;
        let Some(_turn) = turn else { return Ok(None) };
        let now_ns = clock::monotonic_ns();
        let result = self.read(now_ns).and_then(|before| {
            let (after, told) = change(before, now_ns);
            after.map_or(Ok(()), |record| self.write(record)).map(|()| Some(told))
        });
        lock::unlock_byte(file, CHANGING)?;
        result
    }

    fn is_kept(&self) -> bool {
        lock::is_byte_locked(self.file.as_fd(), KEEPING).unwrap_or(false)
    }
}

/// What is to be done after a look at the record.
enum Next {
    Done(Asked),
    /// Nothing is known.
    Unknown,
    /// It fits by a count that is old.
    Old,
    /// It does not fit by a count that may be wrong.
    Doubt(Record),
}

impl SpoolDir {
    /// Takes a place for a task of so many bytes, if `fits` says so of what is pending without it:
    /// the count, and what `beside` says of places that a look passed over; see [`Place::is_in`].
    pub(crate) fn ask_place(
        &self,
        bytes: u64,
        beside: impl Fn(Look) -> Pending,
        fits: impl Fn(Pending) -> bool,
    ) -> io::Result<Asked> {
        let file = self.pending.file(&self.internal)?;
        let mut looked = false;
        for _ in 0..LOOKS_MAX {
            let all = |record: Record| record.pending + beside(Look { set_ns: record.set_ns });
            let asks = Asks { bytes, looked, all: &all, fits: &fits };
            let next = match file.update(|record, now| look(record, now, &asks))? {
                Some(next) => next,
                None => unlocked(file, &asks)?,
            };
            match next {
                Next::Done(asked) => return Ok(asked),
                Next::Unknown => self.list_or_wait(file)?,
                Next::Old if file.is_kept() => {}
                Next::Doubt(record)
                    if record.is_just_listed(clock::monotonic_ns())
                        || record.pending.tasks > COUNT_SMALL_TASKS && file.is_kept() =>
                {
                    return Ok(Asked::Full(all(record)));
                }
                Next::Old | Next::Doubt(_) => {
                    self.list_unless_locked(file)?;
                }
            }
            looked = true;
        }
        Ok(Asked::Taken(None))
    }

    /// Gives a place back: the task was not submitted. Not if somebody has looked since, and has not
    /// counted it.
    pub(crate) fn give_place_back(&self, place: Place) {
        let Some(file) = self.pending.file.get() else { return };
        // What cannot be written is one too many until the next look.
        let _ = file.update(|record, _| {
            let given =
                record.filter(|record| record.set_ns == place.set_ns).map(|record| Record {
                    pending: Pending {
                        tasks: record.pending.tasks.saturating_sub(1),
                        bytes: record.pending.bytes.saturating_sub(place.bytes),
                    },
                    ..record
                });
            (given, ())
        });
    }

    /// Counts a task that is about to appear, if a look has passed its place over since that was taken.
    pub(crate) fn count_passed_over(&self, place: Place) {
        let Some(file) = self.pending.file.get() else { return };
        // What cannot be written is one too few until the next look.
        let _ = file.update(|record, _| {
            let passed = record.filter(|record| record.set_ns != place.set_ns);
            (
                passed.map(|record| Record { pending: record.pending + place.pending(), ..record }),
                (),
            )
        });
    }

    /// Lists the spool and sets the count, unless somebody else is doing so.
    fn list_unless_locked(&self, file: &CountFile) -> io::Result<bool> {
        let Ok(_turn) = file.listing.try_lock() else { return Ok(false) };
        if !lock::try_lock_byte(file.file.as_fd(), LISTING)? {
            return Ok(false);
        }
        let result = self.list_and_set(file);
        lock::unlock_byte(file.file.as_fd(), LISTING)?;
        result.map(|()| true)
    }

    /// The same where nothing is known yet: waits for whoever is doing so.
    fn list_or_wait(&self, file: &CountFile) -> io::Result<()> {
        let known = lock::within(Duration::from_nanos(COUNT_WAIT_NS_MAX), || {
            let known = file.read(clock::monotonic_ns())?.is_some();
            Ok((known || self.list_unless_locked(file)?).then_some(()))
        })?;
        known.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn list_and_set(&self, file: &CountFile) -> io::Result<()> {
        let began_ns = clock::monotonic_ns();
        let before = file.read(began_ns)?;
        let found = self.count_pending()?;
        file.update(|now, now_ns| {
            let cost_ns = now_ns.saturating_sub(began_ns);
            // Somebody who looked later knows better.
            let passed = now.filter(|now| before.is_none_or(|before| before.set_ns != now.set_ns));
            let mut record = passed.unwrap_or_else(|| Record {
                pending: found + since(before, now),
                set_ns: now_ns,
                listed_ns: 0,
                list_cost_ns: 0,
            });
            (record.listed_ns, record.list_cost_ns) = (now_ns, cost_ns);
            (Some(record), ())
        })?;
        Ok(())
    }

    /// Lists the spool: its tasks, and the bytes of their files. Takes about a microsecond for each.
    pub fn count_pending(&self) -> io::Result<Pending> {
        let mut priorities = Vec::new();
        let mut found = count_folder(self.top(), |priority| priorities.push(priority))?;
        for priority in priorities {
            if let Some(folder) = self.priority_folder(&priority)? {
                found = found + count_folder(&folder, |_| {})?;
            }
        }
        Ok(found)
    }
}

/// The daemon's part: it knows what is pending and says so.
#[derive(Debug)]
pub struct Keeper {
    file: CountFile,
}

impl Keeper {
    /// Becomes the one that keeps a spool's count right, for as long as this lives; `None` if another
    /// daemon does.
    pub fn new(spool: &SpoolDir) -> io::Result<Option<Self>> {
        let file = CountFile::open(&spool.internal)?;
        Ok(lock::try_lock_byte(file.file.as_fd(), KEEPING)?.then_some(Self { file }))
    }

    /// Whether there is a count that somebody could keep right.
    pub fn is_wanted(spool: &SpoolDir) -> bool {
        spool.bounds.count() || spool.internal.stat(PENDING).is_ok_and(|stat| stat.is_some())
    }

    /// Whether the file still has its name: if not, others use another one.
    pub fn is_in_place(&self) -> bool {
        file::stat_file(self.file.file.as_fd()).is_ok_and(|stat| stat.links > 0)
    }

    /// Sets the count, unless somebody else is changing it: waits for nobody. Whether it is set.
    pub fn set(&self, pending: Pending) -> io::Result<bool> {
        let set = self.file.update_within(Duration::ZERO, |record, now_ns| {
            let (listed_ns, list_cost_ns) =
                record.map_or((0, 0), |record| (record.listed_ns, record.list_cost_ns));
            (Some(Record { pending, set_ns: now_ns, listed_ns, list_cost_ns }), ())
        })?;
        Ok(set.is_some())
    }
}

/// Who asks for a place.
struct Asks<'a> {
    bytes: u64,
    /// Whether the record was made anew for this one.
    looked: bool,
    /// What is pending as of a record.
    all: &'a dyn Fn(Record) -> Pending,
    fits: &'a dyn Fn(Pending) -> bool,
}

/// Looks at the record, and takes a place in it.
fn look(record: Option<Record>, now_ns: u64, asks: &Asks<'_>) -> (Option<Record>, Next) {
    let Some(record) = record else { return (None, Next::Unknown) };
    let all = (asks.all)(record);
    if !(asks.fits)(all) {
        let full = || Next::Done(Asked::Full(all));
        return (None, if asks.looked { full() } else { Next::Doubt(record) });
    }
    if !asks.looked && record.is_old(now_ns) {
        return (None, Next::Old);
    }
    let pending = record.pending + Pending { tasks: 1, bytes: asks.bytes };
    let place = Place { bytes: asks.bytes, set_ns: record.set_ns };
    (Some(Record { pending, ..record }), Next::Done(Asked::Taken(Some(place))))
}

/// Decides by what is there, without taking a place.
fn unlocked(file: &CountFile, asks: &Asks<'_>) -> io::Result<Next> {
    let all = file.read(clock::monotonic_ns())?.map(asks.all);
    Ok(match all {
        None => Next::Unknown,
        Some(all) if (asks.fits)(all) => Next::Done(Asked::Taken(None)),
        Some(all) => Next::Done(Asked::Full(all)),
    })
}

/// What was submitted between two looks at one record.
fn since(before: Option<Record>, now: Option<Record>) -> Pending {
    let (Some(before), Some(now)) = (before, now) else { return Pending::default() };
    Pending {
        tasks: now.pending.tasks.saturating_sub(before.pending.tasks),
        bytes: now.pending.bytes.saturating_sub(before.pending.bytes),
    }
}

fn count_folder(
    folder: &Folder,
    mut each_priority: impl FnMut(unspool_core::Priority),
) -> io::Result<Pending> {
    let mut scan = Scan::start(folder)?;
    let mut pending = Pending::default();
    while scan.step(folder, STEP_ENTRIES, |found| match found {
        Found::Task { stat, .. } => {
            pending = pending + Pending { tasks: 1, bytes: stat.bytes };
        }
        Found::Priority(priority) => each_priority(priority),
        // One that cannot be looked at is there, and must not keep others out.
        Found::Unknown { name, .. } if is_task_name(&name) => {
            pending = pending + Pending { tasks: 1, bytes: 0 };
        }
        Found::Aside { .. } | Found::Unknown { .. } => {}
    })? {}
    Ok(pending)
}

impl std::ops::Add for Pending {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tasks: self.tasks.saturating_add(other.tasks),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}
