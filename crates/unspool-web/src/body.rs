//! The body of a request as it comes: what was read and not taken yet, in memory or in a file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use unspool_http::{BadChunk, BodyLength, Chunk, Chunks};
use unspool_sys::{document, file};

/// What is still to come.
#[derive(Debug)]
enum Coming {
    Bytes(u64),
    Chunks(Chunks),
    Nothing,
}

/// A body.
#[derive(Debug)]
pub(crate) struct Body {
    coming: Coming,
    /// Decoded; of it `taken` bytes were taken.
    held: Vec<u8>,
    taken: usize,
    /// What did not fit into memory: how much was written, how much was taken. Comes before `held`.
    spilled: Option<Spilled>,
    /// Bytes that came, decoded.
    came: u64,
}

#[derive(Debug)]
struct Spilled {
    file: OwnedFd,
    written: u64,
    taken: u64,
}

/// Why a body ends before its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    Chunk,
    TooLarge,
    File(io::Error),
}

impl From<BadChunk> for BodyError {
    fn from(_: BadChunk) -> Self {
        Self::Chunk
    }
}

impl Body {
    pub(crate) fn new(length: BodyLength) -> Self {
        let coming = match length {
            BodyLength::Bytes(0) => Coming::Nothing,
            BodyLength::Bytes(bytes) => Coming::Bytes(bytes),
            BodyLength::Chunked => Coming::Chunks(Chunks::new()),
        };
        Self { coming, held: Vec::new(), taken: 0, spilled: None, came: 0 }
    }

    /// Whether all of it has come.
    pub(crate) fn has_come(&self) -> bool {
        matches!(self.coming, Coming::Nothing)
    }

    /// Bytes in memory.
    pub(crate) fn bytes_held(&self) -> usize {
        self.held.capacity()
    }

    /// Bytes that have come and were not taken.
    pub(crate) fn untaken(&self) -> u64 {
        let spilled = self.spilled.as_ref().map_or(0, |spilled| spilled.written - spilled.taken);
        spilled + (self.held.len() - self.taken) as u64
    }

    /// Takes what belongs to the body from the start of `bytes`; returns how much that was.
    pub(crate) fn feed(&mut self, bytes: &[u8], most: Option<u64>) -> Result<usize, BodyError> {
        let mut rest = bytes;
        loop {
            match &mut self.coming {
                Coming::Nothing => break,
                Coming::Bytes(left) => {
                    let part = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    self.held.extend_from_slice(&rest[..part]);
                    self.came += part as u64;
                    *left -= part as u64;
                    rest = &rest[part..];
                    if *left > 0 {
                        break;
                    }
                    self.coming = Coming::Nothing;
                }
                Coming::Chunks(chunks) => match chunks.take(&mut rest)? {
                    Chunk::Data(data) => {
                        self.came += data.len() as u64;
                        if most.is_some_and(|most| self.came > most) {
                            return Err(BodyError::TooLarge);
                        }
                        self.held.extend_from_slice(data);
                    }
                    Chunk::More => break,
                    Chunk::End => self.coming = Coming::Nothing,
                },
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Moves what is in memory to a file.
    pub(crate) fn spill(&mut self) -> Result<(), BodyError> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            empty => empty.insert(Spilled {
                file: document::unnamed().map_err(BodyError::File)?,
                written: 0,
                taken: 0,
            }),
        };
        let bytes = &self.held[self.taken..];
        file::write_all(spilled.file.as_fd(), bytes).map_err(BodyError::File)?;
        spilled.written += bytes.len() as u64;
        self.held = Vec::new();
        self.taken = 0;
        Ok(())
    }

    /// Appends at most so many bytes of what has come to `to`; returns how many.
    pub(crate) fn take(&mut self, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        if let Some(spilled) =
            self.spilled.as_mut().filter(|spilled| spilled.taken < spilled.written)
        {
            let left = usize::try_from(spilled.written - spilled.taken).unwrap_or(usize::MAX);
            let start = to.len();
            to.resize(start + most.min(left), 0);
            let got = file::read_at(spilled.file.as_fd(), &mut to[start..], spilled.taken)?;
            to.truncate(start + got);
            spilled.taken += got as u64;
            return if got == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(got) };
        }
        let part = most.min(self.held.len() - self.taken);
        to.extend_from_slice(&self.held[self.taken..self.taken + part]);
        self.taken += part;
        if self.taken == self.held.len() {
            self.held.clear();
            self.taken = 0;
        }
        Ok(part)
    }
}
