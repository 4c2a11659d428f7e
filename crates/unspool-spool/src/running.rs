//! The notes of what runs: a file in a daemon's folder, with a row for each of its workers.
//!
//! They say which attempts were lost when a daemon died together with its workers. They are written
//! and not mapped: a disk that fails, or a btrfs without room, refuses a write with an error, and a
//! store into a page with the death of whoever does it. Nothing is flushed: they are for the death of
//! processes, which the page cache outlives.
//!
//! A worker runs one task at a time and notes it as it starts. Beside that the dispatcher notes what
//! it cancelled, so that each record has one writer. Whether a daemon is dead is `daemons`' matter.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_core::limits::WORKERS_MAX;
use unspool_sys::file::{self, read_at, stat_file, write_at};
use unspool_sys::slots::HandedTask;

/// Inode, change time, start, process, checksum; little endian.
const RECORD_BYTES: usize = 32;
/// What runs, and what was cancelled.
const ROW_BYTES: usize = 2 * RECORD_BYTES;
/// Rows that are read: more than any daemon makes.
const ROWS_MAX: usize = 8 * WORKERS_MAX;

/// A task that a worker of a dead daemon ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its file.
    pub inode: u64,
    /// When the file had last changed as it was claimed.
    pub ctime_ns: i64,
    /// The worker's process.
    pub pid: u32,
    /// Somebody had cancelled it.
    pub cancelled: bool,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    inode: u64,
    ctime_ns: i64,
    /// On the monotonic clock: tells two runs of one file apart.
    started_ns: u64,
    pid: u32,
}

/// The places of a row. What is written for one is no record in the other.
#[derive(Debug, Clone, Copy)]
enum Place {
    Runs = 0,
    Cancelled = 1,
}

impl Place {
    fn offset(self) -> usize {
        self as usize * RECORD_BYTES
    }

    fn checksum(self, fields: &[u8]) -> u32 {
        let label: &[u8] = match self {
            Self::Runs => b"runs",
            Self::Cancelled => b"cancelled",
        };
        crc32c::crc32c_append(crc32c::crc32c(label), fields)
    }
}

impl Record {
    fn of(task: HandedTask, started_ns: u64, pid: u32) -> Self {
        Self { inode: task.inode, ctime_ns: task.ctime_ns, started_ns, pid }
    }

    fn encode(&self, place: Place) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ctime_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.started_ns.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.pid.to_le_bytes());
        let checksum = place.checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The record at a place of a row, if one stands there.
    fn decode(row: &[u8; ROW_BYTES], place: Place) -> Option<Self> {
        let (inode, rest) = row[place.offset()..].split_first_chunk()?;
        let (ctime_ns, rest) = rest.split_first_chunk()?;
        let (started_ns, rest) = rest.split_first_chunk()?;
        let (pid, rest) = rest.split_first_chunk()?;
        let (checksum, _) = rest.split_first_chunk()?;
        let record = Self {
            inode: u64::from_le_bytes(*inode),
            ctime_ns: i64::from_le_bytes(*ctime_ns),
            started_ns: u64::from_le_bytes(*started_ns),
            pid: u32::from_le_bytes(*pid),
        };
        let fields = &row[place.offset()..place.offset() + RECORD_BYTES - 4];
        (u32::from_le_bytes(*checksum) == place.checksum(fields)).then_some(record)
    }
}

/// The file, of a daemon that lives. Its lock is that of the daemon's life: see `daemons`.
#[derive(Debug)]
pub struct RunNotes(OwnedFd);

impl From<OwnedFd> for RunNotes {
    fn from(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl RunNotes {
    /// The file as a worker got it. A task may close what it did not open, and then open a file of its
    /// own: the number must not be that one's, or notes would be written into it.
    pub fn of_worker(file: OwnedFd) -> Self {
        Self(file::with_high_number(file))
    }

    /// Gives the file its room, so that no note needs any later.
    pub(crate) fn make_room(&self, rows: usize) -> io::Result<()> {
        file::allocate(self.file(), (rows * ROW_BYTES) as u64)
    }

    /// The file, to hand it to a worker.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Worker: it starts a task.
    pub fn starts(
        &self,
        row: usize,
        task: HandedTask,
        started_ns: u64,
        pid: u32,
    ) -> io::Result<()> {
        self.write(row, Place::Runs, &Record::of(task, started_ns, pid).encode(Place::Runs))
    }

    /// Dispatcher: the task that a worker started then is cancelled.
    pub fn cancels(&self, row: usize, task: HandedTask, started_ns: u64) -> io::Result<()> {
        let record = Record::of(task, started_ns, 0).encode(Place::Cancelled);
        self.write(row, Place::Cancelled, &record)
    }

    /// Worker, or the dispatcher once that is gone: what was started has ended, and whatever became of
    /// it is noted elsewhere.
    pub fn ends(&self, row: usize) -> io::Result<()> {
        self.write(row, Place::Runs, &[0; RECORD_BYTES])
    }

    fn write(&self, row: usize, place: Place, record: &[u8; RECORD_BYTES]) -> io::Result<()> {
        write_at(self.file(), record, (row * ROW_BYTES + place.offset()) as u64)
    }
}

/// What ran, by the notes of a daemon that is dead. What is torn or no record is left out.
pub(crate) fn read_runs(file: BorrowedFd<'_>) -> io::Result<Vec<Run>> {
    let run = |(record, cancelled): (Record, bool)| {
        let Record { inode, ctime_ns, pid, .. } = record;
        Run { inode, ctime_ns, pid, cancelled }
    };
    Ok(records(file)?.into_iter().map(run).collect())
}

/// The worker that was the last to note that it runs this file, and when it started that.
pub(crate) fn latest_run(
    file: BorrowedFd<'_>,
    inode: u64,
    ctime_ns: i64,
) -> io::Result<Option<(u32, u64)>> {
    let mut records = records(file)?.into_iter().map(|(record, _)| record);
    let found = records.rfind(|record| (record.inode, record.ctime_ns) == (inode, ctime_ns));
    Ok(found.map(|record| (record.pid, record.started_ns)))
}

/// What runs and whether it was cancelled, in the order in which it was started.
fn records(file: BorrowedFd<'_>) -> io::Result<Vec<(Record, bool)>> {
    let rows = usize::try_from(stat_file(file)?.bytes).map_or(ROWS_MAX, |b| b.div_ceil(ROW_BYTES));
    let mut notes = vec![0; rows.min(ROWS_MAX) * ROW_BYTES];
    let got = read_at(file, &mut notes, 0)?;
    // A row that is cut is one with zeros at its end.
    notes.truncate(got.next_multiple_of(ROW_BYTES));
    let (rows, _) = notes.as_chunks::<ROW_BYTES>();
    let mut runs: Vec<(Record, bool)> = rows.iter().filter_map(run_in).collect();
    // Of two workers that ran one file, the later one counts.
    runs.sort_unstable_by_key(|(record, _)| record.started_ns);
    Ok(runs)
}

/// What a row says that runs, and whether it was cancelled.
fn run_in(row: &[u8; ROW_BYTES]) -> Option<(Record, bool)> {
    let record = Record::decode(row, Place::Runs)?;
    let cancelled = Record::decode(row, Place::Cancelled)
        .is_some_and(|cancelled| Record { pid: record.pid, ..cancelled } == record);
    Some((record, cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: HandedTask = HandedTask { inode: 42, ctime_ns: -5, limit_ms: 9 };
    const RUN: Run = Run { inode: 42, ctime_ns: -5, pid: 77, cancelled: false };

    fn notes(rows: usize) -> RunNotes {
        let notes = RunNotes(tempfile::tempfile().unwrap().into());
        notes.make_room(rows).unwrap();
        notes
    }

    fn runs(notes: &RunNotes) -> Vec<Run> {
        read_runs(notes.file()).unwrap()
    }

    #[test]
    fn what_was_started_and_has_not_ended_runs() {
        let notes = notes(3);
        assert_eq!(runs(&notes), []);
        notes.starts(1, TASK, 10, 77).unwrap();
        notes.starts(2, HandedTask { inode: 43, ..TASK }, 5, 78).unwrap();
        assert_eq!(runs(&notes), [Run { inode: 43, pid: 78, ..RUN }, RUN]);
        notes.ends(2).unwrap();
        assert_eq!(runs(&notes), [RUN]);
        // A worker that starts another one has ended the one before.
        notes.starts(1, HandedTask { inode: 44, ..TASK }, 11, 77).unwrap();
        assert_eq!(runs(&notes), [Run { inode: 44, ..RUN }]);
        let latest = |inode, ctime_ns| latest_run(notes.file(), inode, ctime_ns).unwrap();
        assert_eq!((latest(44, -5), latest(44, -4), latest(42, -5)), (Some((77, 11)), None, None));
    }

    #[test]
    fn a_cancellation_is_for_one_run_of_one_file() {
        let notes = notes(2);
        notes.starts(0, TASK, 10, 77).unwrap();
        notes.cancels(0, TASK, 10).unwrap();
        assert_eq!(runs(&notes), [Run { cancelled: true, ..RUN }]);
        notes.starts(0, TASK, 11, 77).unwrap();
        assert_eq!(runs(&notes), [RUN]);
        notes.cancels(0, HandedTask { ctime_ns: -4, ..TASK }, 11).unwrap();
        assert_eq!(runs(&notes), [RUN]);
        // What was cancelled in another row, or is no run at all, counts for nothing.
        notes.cancels(1, TASK, 11).unwrap();
        assert_eq!(runs(&notes), [RUN]);
    }

    #[test]
    fn a_record_that_is_torn_or_changed_in_any_bit_is_none() {
        let record = Record::of(TASK, 10, 77);
        let mut row = [0; ROW_BYTES];
        row[..RECORD_BYTES].copy_from_slice(&record.encode(Place::Runs));
        assert_eq!(Record::decode(&row, Place::Runs), Some(record));
        for bit in 0..RECORD_BYTES * 8 {
            row[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&row, Place::Runs), None, "bit {bit}");
            row[bit / 8] ^= 1 << (bit % 8);
        }
        let old = Record { inode: 99, ctime_ns: 98, started_ns: 97, pid: 96 }.encode(Place::Runs);
        for cut in 1..RECORD_BYTES {
            for before in [[0; RECORD_BYTES], [0xff; RECORD_BYTES], old] {
                let mut torn = row;
                torn[cut..RECORD_BYTES].copy_from_slice(&before[cut..]);
                assert_eq!(Record::decode(&torn, Place::Runs), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_record_is_none_in_the_place_of_the_other() {
        let mut row = [0; ROW_BYTES];
        row[RECORD_BYTES..].copy_from_slice(&Record::of(TASK, 10, 77).encode(Place::Runs));
        assert_eq!(Record::decode(&row, Place::Cancelled), None);
        row[..RECORD_BYTES].copy_from_slice(&Record::of(TASK, 10, 77).encode(Place::Cancelled));
        assert_eq!(Record::decode(&row, Place::Runs), None);
        assert_eq!(run_in(&[0; ROW_BYTES]), None);
        assert_eq!(run_in(&[0xff; ROW_BYTES]), None);
    }

    #[test]
    fn a_file_of_any_length_is_read() {
        let notes = RunNotes(tempfile::tempfile().unwrap().into());
        assert_eq!(runs(&notes), []);
        // Where no room could be made before.
        notes.starts(1, TASK, 10, 77).unwrap();
        assert_eq!(stat_file(notes.file()).unwrap().bytes, (ROW_BYTES + RECORD_BYTES) as u64);
        assert_eq!(runs(&notes), [RUN]);
        let file = std::fs::File::from(notes.0);
        file.set_len((ROW_BYTES + RECORD_BYTES - 1) as u64).unwrap();
        assert_eq!(read_runs(file.as_fd()).unwrap(), []);
        file.set_len(1 << 40).unwrap();
        assert_eq!(read_runs(file.as_fd()).unwrap(), []);
    }
}
