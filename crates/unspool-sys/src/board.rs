//! Rows of numbers that child processes write and their parent reads: memory without a name.
//!
//! A writer maps it and stores one aligned number at a time; the reader reads it as a file, so that
//! it keeps no mapping. What a row means is its users' business.
#![expect(unsafe_code, reason = "a row of shared memory")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rows::{Row, Rows};

/// Numbers in a row.
pub const NUMBERS: usize = 8;
const ROW_BYTES: usize = NUMBERS * size_of::<u64>();

/// The memory.
#[derive(Debug)]
pub struct Board {
    file: OwnedFd,
}

impl Board {
    /// Rows of zeros.
    pub fn new(rows: usize) -> io::Result<Self> {
        let file = rustix::fs::memfd_create(c"unspool-board", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&file, (rows * ROW_BYTES) as u64)?;
        Ok(Self { file })
    }

    /// What a row holds now, in the machine's byte order.
    pub fn read(&self, row: usize) -> io::Result<[u64; NUMBERS]> {
        let mut bytes = [0u8; ROW_BYTES];
        self.read_into(row, &mut bytes)?;
        Ok(numbers(&bytes))
    }

    /// The same for several rows.
    pub fn read_all(&self, first: usize, count: usize) -> io::Result<Vec<[u64; NUMBERS]>> {
        let mut bytes = vec![0u8; count * ROW_BYTES];
        self.read_into(first, &mut bytes)?;
        Ok(bytes.as_chunks::<ROW_BYTES>().0.iter().map(numbers).collect())
    }

    fn read_into(&self, row: usize, bytes: &mut [u8]) -> io::Result<()> {
        let read = rustix::io::pread(&self.file, &mut *bytes, (row * ROW_BYTES) as u64)?;
        if read != bytes.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no such row"));
        }
        Ok(())
    }

    /// Makes a row zeros again.
    pub fn clear(&self, row: usize) -> io::Result<()> {
        rustix::io::pwrite(&self.file, &[0u8; ROW_BYTES], (row * ROW_BYTES) as u64)?;
        Ok(())
    }
}

#[expect(clippy::host_endian_bytes, reason = "both ends run on this machine")]
fn numbers(row: &[u8; ROW_BYTES]) -> [u64; NUMBERS] {
    let mut numbers = [0; NUMBERS];
    for (number, bytes) in numbers.iter_mut().zip(row.as_chunks::<8>().0) {
        *number = u64::from_ne_bytes(*bytes);
    }
    numbers
}

impl AsFd for Board {
    /// For the processes that write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The memory as a process sees it that writes.
#[derive(Debug)]
pub struct BoardWriter {
    rows: Rows<Numbers>,
}

#[derive(Debug)]
#[repr(transparent)]
struct Numbers([AtomicU64; NUMBERS]);

// SAFETY: any bytes are numbers, there are some, and each is reached as an atomic.
unsafe impl Row for Numbers {}

impl BoardWriter {
    /// Maps the memory of a [`Board`].
    pub fn map(file: OwnedFd) -> io::Result<Self> {
        Ok(Self { rows: Rows::map(file)? })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.count()
    }

    /// Stores a number; nothing where there is no such row or number.
    pub fn set(&self, row: usize, number: usize, value: u64) {
        if let Some(cell) = self.cell(row, number) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to a number.
    pub fn add(&self, row: usize, number: usize, more: u64) {
        if let Some(cell) = self.cell(row, number) {
            cell.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// A number; 0 where there is none.
    pub fn get(&self, row: usize, number: usize) -> u64 {
        self.cell(row, number).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    fn cell(&self, row: usize, number: usize) -> Option<&AtomicU64> {
        self.rows.get(row)?.0.get(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_was_written_and_end() {
        let board = Board::new(2).unwrap();
        let row: Vec<u8> = (1..=8u64).flat_map(u64::to_ne_bytes).collect();
        rustix::io::pwrite(&board.file, &row, ROW_BYTES as u64).unwrap();
        assert_eq!(board.read(0).unwrap(), [0; NUMBERS]);
        assert_eq!(board.read(1).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(board.read_all(0, 2).unwrap(), [[0; NUMBERS], [1, 2, 3, 4, 5, 6, 7, 8]]);
        assert!(board.read_all(1, 2).is_err());
        board.clear(1).unwrap();
        assert_eq!(board.read(1).unwrap(), [0; NUMBERS]);
        assert!(board.read(2).is_err());
    }

    #[test]
    fn a_writer_is_read() {
        let board = Board::new(2).unwrap();
        let writer = BoardWriter::map(board.file.try_clone().unwrap()).unwrap();
        writer.set(1, 2, 7);
        writer.add(1, 2, 3);
        writer.set(2, 0, 1);
        writer.set(0, NUMBERS, 1);
        assert_eq!(writer.get(1, 2), 10);
        assert_eq!(board.read(1).unwrap(), [0, 0, 10, 0, 0, 0, 0, 0]);
        assert_eq!(board.read(0).unwrap(), [0; NUMBERS]);
    }
}
