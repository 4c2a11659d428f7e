//! The last that each worker printed: shared memory, a row for each worker.
//!
//! Its worker writes, and whoever has the table reads, also once that process is dead. A reader that
//! comes while it is written sees some of both; it is text for people.
#![expect(unsafe_code, reason = "the promise that a row is nothing but atomics")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::rows::{Row, Rows};

/// Bytes of output that are kept of a worker.
pub const TAIL_BYTES: usize = 8192;
/// Bytes of the traceback that a worker writes as it dies.
pub const LAST_WORDS_BYTES: usize = 16 * 1024;

/// One worker's row.
#[derive(Debug)]
#[repr(C)]
pub struct TailRow {
    /// Bytes ever noted.
    total: AtomicU64,
    /// What of them was there when the current task began.
    begun: AtomicU64,
    ring: [AtomicU8; TAIL_BYTES],
    last_words: [AtomicU8; LAST_WORDS_BYTES],
}

impl TailRow {
    /// Nothing is kept any more, of whatever worker had the row before.
    pub fn clear(&self) {
        self.begin();
        self.last_words[0].store(0, Ordering::Release);
        for byte in &self.last_words[1..] {
            byte.store(0, Ordering::Relaxed);
        }
    }

    /// What is noted from here on belongs to another task.
    pub fn begin(&self) {
        let total = self.total.load(Ordering::Relaxed);
        self.begun.store(total, Ordering::Release);
    }

    /// Keeps the end of what was printed. One writer at a time.
    pub fn note(&self, bytes: &[u8]) {
        let total = self.total.load(Ordering::Relaxed);
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let start = total + (bytes.len() - kept.len()) as u64;
        for (at, byte) in (start..).zip(kept) {
            self.ring[at as usize % TAIL_BYTES].store(*byte, Ordering::Relaxed);
        }
        self.total.store(start + kept.len() as u64, Ordering::Release);
    }

    /// The last that the current task printed, at most [`TAIL_BYTES`].
    pub fn output(&self) -> Vec<u8> {
        let total = self.total.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire).min(total);
        let start = begun.max(total.saturating_sub(TAIL_BYTES as u64));
        let byte = |at: u64| self.ring[at as usize % TAIL_BYTES].load(Ordering::Relaxed);
        (start..total).map(byte).collect()
    }

    /// What the worker wrote as it died; empty if nothing.
    pub fn last_words(&self) -> Vec<u8> {
        let bytes = self.last_words.iter().map(|byte| byte.load(Ordering::Relaxed));
        bytes.take_while(|byte| *byte != 0).collect()
    }
}

// SAFETY: nothing but atomics.
unsafe impl Row for TailRow {}

/// The rows of a spool's workers.
#[derive(Debug)]
pub struct TailTable(Rows<TailRow>);

impl TailTable {
    /// Memory for so many workers, which takes room only once it is used.
    pub fn new(rows: usize) -> io::Result<Self> {
        Rows::anonymous(c"unspool-tails", rows).map(Self)
    }

    /// Maps what [`TailTable::new`] made.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        Rows::map(fd).map(Self)
    }

    /// The memory, to hand it to a worker.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.0.file()
    }

    /// The row of a worker; `None` beyond the table.
    pub fn row(&self, row: usize) -> Option<&TailRow> {
        self.0.get(row)
    }

    /// Where in the file a worker of that row writes its last words.
    pub fn last_words_offset(row: usize) -> u64 {
        (Rows::<TailRow>::bytes(row) + std::mem::offset_of!(TailRow, last_words)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_a_task_printed_is_kept() {
        let table = TailTable::new(2).unwrap();
        let other = TailTable::open(table.file().try_clone_to_owned().unwrap()).unwrap();
        let (written, read) = (table.row(1).unwrap(), other.row(1).unwrap());
        written.note(b"before");
        written.begin();
        assert_eq!(read.output(), b"");
        written.note(b"one\n");
        written.note(b"two\n");
        assert_eq!(read.output(), b"one\ntwo\n");
        let long: Vec<u8> = (0..3 * TAIL_BYTES).map(|at| b'a' + (at % 23) as u8).collect();
        written.note(&long);
        written.note(b"end");
        let expect = [&long[2 * TAIL_BYTES + 3..], b"end"].concat();
        assert_eq!(read.output(), expect);
        assert!(table.row(2).is_none() && table.row(0).unwrap().output().is_empty());
    }

    #[test]
    fn last_words_are_what_was_written_into_the_file() {
        let table = TailTable::new(3).unwrap();
        let offset = TailTable::last_words_offset(1);
        rustix::io::pwrite(table.file(), b"File \"x.py\"", offset).unwrap();
        assert_eq!(table.row(1).unwrap().last_words(), b"File \"x.py\"");
        assert!(table.row(0).unwrap().last_words().is_empty());
        table.row(1).unwrap().clear();
        assert!(table.row(1).unwrap().last_words().is_empty());
    }
}
