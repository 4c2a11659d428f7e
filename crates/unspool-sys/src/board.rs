//! Rows of numbers that child processes write and their parent reads: memory without a name.
//!
//! A writer maps it and stores one aligned number at a time; the reader reads it as a file, so that
//! no mapping has to be kept here. What a row means is its users' business.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
    #[expect(clippy::host_endian_bytes, reason = "both ends run on this machine")]
    pub fn read(&self, row: usize) -> io::Result<[u64; NUMBERS]> {
        let mut bytes = [0u8; ROW_BYTES];
        let read = rustix::io::pread(&self.file, &mut bytes, (row * ROW_BYTES) as u64)?;
        if read != ROW_BYTES {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no such row"));
        }
        let mut numbers = [0; NUMBERS];
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *number = u64::from_ne_bytes(*bytes);
        }
        Ok(numbers)
    }

    /// Makes a row zeros again.
    pub fn clear(&self, row: usize) -> io::Result<()> {
        rustix::io::pwrite(&self.file, &[0u8; ROW_BYTES], (row * ROW_BYTES) as u64)?;
        Ok(())
    }
}

impl AsFd for Board {
    /// For the processes that write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
        board.clear(1).unwrap();
        assert_eq!(board.read(1).unwrap(), [0; NUMBERS]);
        assert!(board.read(2).is_err());
    }
}
