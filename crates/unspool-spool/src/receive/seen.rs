//! The log of ids that were received: a file a day, 24 bytes an id, kept for 7 days.
//!
//! ```text
//! 16 bytes id (big endian), u32 seconds since 1970, u32 CRC-32C of the 20 bytes (little endian)
//! ```
//!
//! Records are only appended. One that is torn or was never flushed fails its CRC and counts as none.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hashbrown::HashSet;
use unspool_core::taskfile::TaskId;
use unspool_sys::file::{read_at, stat_file, sync_file, write_at};
use unspool_sys::{Folder, clock, lock};

/// Bytes of a record.
const RECORD_BYTES: usize = 24;
/// Days for which an id is known, besides the day that is not over.
pub(super) const DAYS_KEPT: i64 = 7;
/// How long another receiver may take with the log.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const CHUNK_BYTES: usize = RECORD_BYTES * 4096;
const LOCK: &[u8] = b"lock";

/// The ids that were received, in memory and on disk. An id takes about 30 bytes of memory.
#[derive(Debug)]
pub(super) struct SeenLog {
    folder: Folder,
    /// Locked by whoever appends.
    lock: OwnedFd,
    days: BTreeMap<i64, Day>,
}

#[derive(Debug)]
struct Day {
    file: OwnedFd,
    /// How far it was read.
    bytes: u64,
    ids: HashSet<u128>,
}

/// The log, with its lock.
#[derive(Debug)]
pub(super) struct Held<'a> {
    log: &'a mut SeenLog,
}

impl SeenLog {
    /// Opens the log and reads what is in it.
    pub(super) fn open(folder: Folder) -> io::Result<Self> {
        let lock = folder.open_or_create(LOCK)?;
        let mut log = Self { folder, lock, days: BTreeMap::new() };
        log.refresh()?;
        Ok(log)
    }

    /// Whether an id was received, here or by another receiver.
    pub(super) fn knows(&mut self, id: TaskId) -> io::Result<bool> {
        self.refresh()?;
        Ok(self.has(id))
    }

    fn has(&self, id: TaskId) -> bool {
        self.days.values().any(|day| day.ids.contains(&id.0))
    }

    /// Takes the lock and learns what others noted meanwhile.
    pub(super) fn hold(&mut self) -> io::Result<Held<'_>> {
        let lock = self.lock.as_fd();
        let taken = lock::within(LOCK_WAIT, || Ok(lock::try_lock(lock)?.then_some(())))?;
        if taken.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "another receiver has held the log of ids for 10 s",
            ));
        }
        let held = Held { log: self };
        held.log.refresh()?;
        Ok(held)
    }

    /// Forgets the days that are over for long.
    pub(super) fn forget_old(&mut self) -> io::Result<()> {
        let oldest = today() - DAYS_KEPT;
        // Also those of which another receiver has removed the file.
        self.days.retain(|day, _| *day >= oldest);
        for day in self.list()?.into_iter().filter(|day| *day < oldest) {
            self.folder.unlink(&name_of(day))?;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<i64>> {
        let mut days = Vec::new();
        for entry in self.folder.list()? {
            let (name, _) = entry?;
            days.extend(day_of(&name));
        }
        Ok(days)
    }

    /// Reads days that are new, and on in those that are known.
    fn refresh(&mut self) -> io::Result<()> {
        for day in self.list()? {
            if !self.days.contains_key(&day) {
                self.add(day)?;
            }
        }
        self.read_on()
    }

    fn add(&mut self, day: i64) -> io::Result<()> {
        let file = self.folder.open_or_create(&name_of(day))?;
        self.days.insert(day, Day { file, bytes: 0, ids: HashSet::new() });
        Ok(())
    }

    fn read_on(&mut self) -> io::Result<()> {
        self.days.values_mut().try_for_each(Day::read_on)
    }
}

impl Held<'_> {
    pub(super) fn knows(&self, id: TaskId) -> bool {
        self.log.has(id)
    }

    /// Appends ids, which survive a power cut then. What an append that fails leaves is nobody's.
    pub(super) fn note(&mut self, ids: &[TaskId]) -> io::Result<()> {
        let now_ns = clock::now_ns();
        let today = day_at(now_ns);
        if !self.log.days.contains_key(&today) {
            self.log.add(today)?;
            self.log.folder.sync()?;
        }
        let Some(day) = self.log.days.get_mut(&today) else { return Ok(()) };
        let seconds = (now_ns / 1_000_000_000) as u32;
        let records: Vec<u8> = ids.iter().flat_map(|id| record(*id, seconds)).collect();
        // Behind what a receiver may have torn.
        let offset = stat_file(day.file.as_fd())?.bytes.next_multiple_of(RECORD_BYTES as u64);
        write_at(day.file.as_fd(), &records, offset)?;
        sync_file(day.file.as_fd())?;
        day.ids.extend(ids.iter().map(|id| id.0));
        day.bytes = offset + records.len() as u64;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It goes with its descriptor in any case.
        let _ = lock::unlock(self.log.lock.as_fd());
    }
}

impl Day {
    fn read_on(&mut self) -> io::Result<()> {
        let end = stat_file(self.file.as_fd())?.bytes;
        let mut buffer = Vec::new();
        while self.bytes + RECORD_BYTES as u64 <= end {
            let left = (end - self.bytes) / RECORD_BYTES as u64 * RECORD_BYTES as u64;
            buffer.resize((left as usize).min(CHUNK_BYTES), 0);
            let got = read_at(self.file.as_fd(), &mut buffer, self.bytes)?;
            let (records, _) = buffer[..got].as_chunks::<RECORD_BYTES>();
            if records.is_empty() {
                break;
            }
            self.ids.extend(records.iter().filter_map(id_of));
            self.bytes += (records.len() * RECORD_BYTES) as u64;
        }
        Ok(())
    }
}

fn record(id: TaskId, seconds: u32) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..16].copy_from_slice(&id.0.to_be_bytes());
    record[16..20].copy_from_slice(&seconds.to_le_bytes());
    let crc = crc32c::crc32c(&record[..20]);
    record[20..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn id_of(record: &[u8; RECORD_BYTES]) -> Option<u128> {
    let (facts, crc) = record.split_first_chunk::<20>()?;
    let (id, _) = facts.split_first_chunk::<16>()?;
    let whole = *crc == crc32c::crc32c(facts).to_le_bytes();
    // Zeros, which a power cut can leave, are no id either.
    whole.then(|| u128::from_be_bytes(*id)).filter(|id| *id != 0)
}

fn today() -> i64 {
    day_at(clock::now_ns())
}

fn day_at(now_ns: i64) -> i64 {
    now_ns.div_euclid(86_400 * 1_000_000_000)
}

fn name_of(day: i64) -> Vec<u8> {
    day.to_string().into_bytes()
}

fn day_of(name: &[u8]) -> Option<i64> {
    let day = std::str::from_utf8(name).ok()?.parse().ok()?;
    (name_of(day) == name).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpoolDir;

    #[test]
    fn a_day_is_forgotten_whoever_removes_its_file() {
        let root = tempfile::tempdir().unwrap();
        let spool = SpoolDir::open(&root.path().join("spool")).unwrap();
        let folder = || {
            spool.internal.make_sub(b"seen").unwrap();
            spool.internal.open_sub(b"seen").unwrap()
        };
        let id = TaskId(7);
        SeenLog::open(folder()).unwrap().hold().unwrap().note(&[id]).unwrap();
        let [new, old] = [today(), today() - DAYS_KEPT - 1].map(name_of);
        folder().rename(&new, &folder(), &old).unwrap();
        let mut logs = [SeenLog::open(folder()).unwrap(), SeenLog::open(folder()).unwrap()];
        for log in &mut logs {
            assert!(log.knows(id).unwrap());
        }
        for log in &mut logs {
            log.forget_old().unwrap();
            assert!(log.days.is_empty() && !log.knows(id).unwrap());
        }
    }
}
