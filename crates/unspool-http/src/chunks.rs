//! Bodies that come in chunks.
//!
//! Owns where in a chunk the bytes are. Keeps none of them, and drops extensions and trailers.

use crate::target::digit;

/// Bytes of the line before a chunk: its size and extensions.
const SIZE_LINE_BYTES_MAX: usize = 1024;
/// Bytes of the extensions of all chunks of a body, which are read for nothing.
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of all trailers.
const TRAILERS_BYTES_MAX: usize = 8 * 1024;
/// Digits of a size: more than 64 bits do not count.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes that are no chunks. The answer is 400, and the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadChunk {
    /// What is wrong.
    pub reason: &'static str,
}

/// What came of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk<'b> {
    /// So much of the body. It may be a part of a chunk; it is never empty.
    Data(&'b [u8]),
    /// All bytes are taken, and the body goes on.
    More,
    /// The body is whole. What is left of the bytes is not of it.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind them, where blanks may stand before the extensions.
    SizeBlank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataFeed,
    /// Where a trailer may begin, or the end.
    Line,
    Trailer,
    TrailerFeed,
    EndFeed,
    End,
    Bad(BadChunk),
}

/// Takes the bytes of one body apart, as they come.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of the line before a chunk so far.
    line: usize,
    extensions: usize,
    trailers: usize,
    received: u64,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// At the start of a body.
    pub fn new() -> Self {
        let state = State::Size { digits: 0, size: 0 };
        Self { state, line: 0, extensions: 0, trailers: 0, received: 0 }
    }

    /// Bytes of the body that were given so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes bytes off the start of `bytes`, up to the next data. After an error it stays one.
    pub fn take<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Chunk<'b>, BadChunk> {
        loop {
            match self.state {
                State::End => return Ok(Chunk::End),
                State::Bad(bad) => return Err(bad),
                _ if bytes.is_empty() => return Ok(Chunk::More),
                State::Data { left } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let (data, rest) = bytes.split_at(most.min(bytes.len()));
                    *bytes = rest;
                    self.received = self.received.saturating_add(data.len() as u64);
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::DataReturn } else { State::Data { left } };
                    return Ok(Chunk::Data(data));
                }
                _ => {}
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(Chunk::More) };
            *bytes = rest;
            self.state = match self.step(byte) {
                Ok(state) => state,
                Err(reason) => State::Bad(BadChunk { reason }),
            };
        }
    }

    /// What follows one byte that is not of the data.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        match self.state {
            State::Size { digits, size } => self.in_size(byte, digits, size),
            State::SizeBlank { size } => self.behind_size(byte, size),
            State::Extension { size } => self.in_extension(byte, size),
            State::SizeFeed { size } => {
                self.line = 0;
                match byte {
                    b'\n' if size == 0 => Ok(State::Line),
                    b'\n' => Ok(State::Data { left: size }),
                    _ => Err("the line of a chunk does not end in CR LF"),
                }
            }
            State::DataReturn if byte == b'\r' => Ok(State::DataFeed),
            State::DataFeed if byte == b'\n' => Ok(State::Size { digits: 0, size: 0 }),
            State::DataReturn | State::DataFeed => Err("a chunk is longer than its size"),
            State::Line | State::Trailer => self.in_trailers(byte),
            State::TrailerFeed if byte == b'\n' => {
                self.trailers += 1;
                Ok(State::Line)
            }
            State::EndFeed if byte == b'\n' => Ok(State::End),
            State::TrailerFeed | State::EndFeed => Err("a trailer does not end in CR LF"),
            State::Data { .. } | State::End | State::Bad(_) => Ok(self.state),
        }
    }

    fn in_size(&mut self, byte: u8, digits: u8, size: u64) -> Result<State, &'static str> {
        match digit(byte) {
            Some(_) if digits == SIZE_DIGITS_MAX => Err("the size of a chunk is too large"),
            Some(digit) => {
                self.line += 1;
                Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            None if digits == 0 => Err("the size of a chunk is no number"),
            None => self.behind_size(byte, size),
        }
    }

    fn behind_size(&mut self, byte: u8, size: u64) -> Result<State, &'static str> {
        match (self.state, byte) {
            (State::Size { .. }, b'\r') => Ok(State::SizeFeed { size }),
            (_, b' ' | b'\t') => self.extend().map(|()| State::SizeBlank { size }),
            (_, b';') => self.extend().map(|()| State::Extension { size }),
            _ => Err("the size of a chunk is no number"),
        }
    }

    fn in_extension(&mut self, byte: u8, size: u64) -> Result<State, &'static str> {
        match byte {
            b'\r' => Ok(State::SizeFeed { size }),
            byte if is_control(byte) => Err("an extension of a chunk is invalid"),
            _ => self.extend().map(|()| State::Extension { size }),
        }
    }

    /// Counts a byte of extensions.
    fn extend(&mut self) -> Result<(), &'static str> {
        self.line += 1;
        self.extensions += 1;
        if self.line > SIZE_LINE_BYTES_MAX || self.extensions > EXTENSIONS_BYTES_MAX {
            return Err("the extensions of chunks are too long");
        }
        Ok(())
    }

    fn in_trailers(&mut self, byte: u8) -> Result<State, &'static str> {
        self.trailers += 1;
        if self.trailers > TRAILERS_BYTES_MAX {
            return Err("the trailers of a body are too long");
        }
        match byte {
            b'\r' if self.state == State::Line => Ok(State::EndFeed),
            b'\r' => Ok(State::TrailerFeed),
            byte if is_control(byte) => Err("a trailer is invalid"),
            _ => Ok(State::Trailer),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}
