//! Frames: tasks in pieces one way, answers the other.
//!
//! ```text
//! u8 kind, u32 length (little endian), payload, and where a key is in use 32 bytes of MAC
//! ```
//!
//! The MAC is over the direction, the frame's number on its connection, its kind and its payload: a
//! frame can be neither changed, nor left out, nor repeated, nor sent back.

use unspool_core::limits::TASK_BYTES_MAX;
use unspool_core::signing::{MAC_BYTES, SigningKey};

use super::{Side, printable};

/// Bytes of a payload.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a task in one frame.
pub const DATA_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Bytes of the key `spooler`: a path.
const SPOOLER_BYTES_MAX: usize = 4096;
/// Bytes of the text of an answer.
const TEXT_BYTES_MAX: usize = 1024;
const HEAD_BYTES: usize = 5;

const KIND_BEGIN: u8 = 1;
const KIND_DATA: u8 = 2;
const KIND_ANSWER: u8 = 3;

/// What a MAC of a frame is made for.
const OF_FRAME: &[u8] = b"unspool network frame 1";

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client to server: a task follows.
    Begin(Begin),
    /// Client to server: the next bytes of the task that was begun last.
    Data(Vec<u8>),
    /// Server to client: what became of a task.
    Answer(Answer),
}

/// The start of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Counts the tasks of a connection; the answer has it.
    pub number: u32,
    /// Bytes of the task's file, all of which follow.
    pub bytes: u64,
    /// Which spool: the value of the key `spooler`, empty for the server's first one.
    pub spooler: Vec<u8>,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The task's number.
    pub number: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, for people.
    pub text: String,
}

/// What a server says of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored, and survives a power cut.
    Stored,
    /// It was stored before; it is not stored again.
    Known,
    /// It never will be: it is damaged, or not allowed.
    Refused,
    /// It cannot be now: the spool is full, or the disk fails.
    Later,
}

impl Verdict {
    fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Known => 1,
            Self::Refused => 2,
            Self::Later => 3,
        }
    }

    fn read(code: u8) -> Option<Self> {
        [Self::Stored, Self::Known, Self::Refused, Self::Later].into_iter().nth(code.into())
    }
}

/// Bytes that are no frame, or not the one that belongs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// A length beyond what is allowed.
    #[error("a frame of {0} bytes, more than {FRAME_BYTES_MAX}")]
    Length(u32),
    /// A kind that does not exist, or goes the other way.
    #[error("a frame of kind {0}, which does not belong here")]
    Kind(u8),
    /// Its payload does not read.
    #[error("a frame of kind {0} that cannot be read")]
    Payload(u8),
    /// Its MAC is wrong.
    #[error("a frame whose MAC is wrong: it was changed, or does not belong here")]
    Mac,
}

/// Makes the frames of one direction.
#[derive(Debug)]
pub struct Sender {
    session: Option<SigningKey>,
    side: Side,
    number: u64,
}

impl Sender {
    /// For the frames that this side sends.
    pub fn new(side: Side, session: Option<SigningKey>) -> Self {
        Self { session, side, number: 0 }
    }

    /// Appends a frame. Texts that are too long are cut.
    pub fn push(&mut self, frame: &Frame, to: &mut Vec<u8>) {
        match frame {
            Frame::Begin(begin) => {
                let spooler = &begin.spooler[..begin.spooler.len().min(SPOOLER_BYTES_MAX)];
                let mut payload = Vec::with_capacity(12 + spooler.len());
                payload.extend_from_slice(&begin.number.to_le_bytes());
                payload.extend_from_slice(&begin.bytes.to_le_bytes());
                payload.extend_from_slice(spooler);
                self.push_raw(KIND_BEGIN, &payload, to);
            }
            Frame::Data(bytes) => self.push_data(bytes, to),
            Frame::Answer(answer) => {
                let mut end = answer.text.len().min(TEXT_BYTES_MAX);
                while !answer.text.is_char_boundary(end) {
                    end -= 1;
                }
                let mut payload = Vec::with_capacity(5 + end);
                payload.extend_from_slice(&answer.number.to_le_bytes());
                payload.push(answer.verdict.code());
                payload.extend_from_slice(&answer.text.as_bytes()[..end]);
                self.push_raw(KIND_ANSWER, &payload, to);
            }
        }
    }

    /// Appends bytes of a task, in as many frames as they need.
    pub fn push_data(&mut self, bytes: &[u8], to: &mut Vec<u8>) {
        for piece in bytes.chunks(DATA_BYTES_MAX) {
            self.push_raw(KIND_DATA, piece, to);
        }
    }

    fn push_raw(&mut self, kind: u8, payload: &[u8], to: &mut Vec<u8>) {
        to.push(kind);
        to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        to.extend_from_slice(payload);
        if let Some(session) = &self.session {
            to.extend_from_slice(&session.sign(&parts(
                self.side,
                &self.number.to_le_bytes(),
                &[kind],
                payload,
            )));
        }
        self.number += 1;
    }
}

/// Puts the frames of the other side together from bytes as they come. Keeps one frame at most.
#[derive(Debug)]
pub struct Receiver {
    session: Option<SigningKey>,
    from: Side,
    number: u64,
    held: Vec<u8>,
}

impl Receiver {
    /// For the frames that come from this side.
    pub fn new(from: Side, session: Option<SigningKey>) -> Self {
        Self { session, from, number: 0, held: Vec::new() }
    }

    /// Whether no part of a frame is held.
    pub fn is_between(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes what belongs to one frame from the start of `bytes`, and the frame once it is whole.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, Broken> {
        self.fill(bytes, HEAD_BYTES);
        let Some((&[kind, a, b, c, d], _)) = self.held.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        if length as usize > FRAME_BYTES_MAX {
            return Err(Broken::Length(length));
        }
        if !self.belongs(kind) {
            return Err(Broken::Kind(kind));
        }
        let end = HEAD_BYTES + length as usize;
        let mac_bytes = if self.session.is_some() { MAC_BYTES } else { 0 };
        self.fill(bytes, end + mac_bytes);
        if self.held.len() < end + mac_bytes {
            return Ok(None);
        }
        let payload = &self.held[HEAD_BYTES..end];
        if let Some(session) = &self.session {
            let mac = self.held[end..].try_into().map_err(|_| Broken::Mac)?;
            if !session.is_mac(&parts(self.from, &self.number.to_le_bytes(), &[kind], payload), mac)
            {
                return Err(Broken::Mac);
            }
        }
        let frame = read_payload(kind, payload).ok_or(Broken::Payload(kind))?;
        self.number += 1;
        self.held.clear();
        Ok(Some(frame))
    }

    fn belongs(&self, kind: u8) -> bool {
        match self.from {
            Side::Client => [KIND_BEGIN, KIND_DATA].contains(&kind),
            Side::Server => kind == KIND_ANSWER,
        }
    }

    /// Moves bytes until so many are held.
    fn fill(&mut self, bytes: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.held.len());
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.held.extend_from_slice(head);
        *bytes = rest;
    }
}

fn parts<'a>(side: Side, number: &'a [u8], kind: &'a [u8], payload: &'a [u8]) -> [&'a [u8]; 5] {
    let side: &[u8] = match side {
        Side::Client => b"client",
        Side::Server => b"server",
    };
    [OF_FRAME, side, number, kind, payload]
}

fn read_payload(kind: u8, payload: &[u8]) -> Option<Frame> {
    match kind {
        KIND_BEGIN => {
            let (number, rest) = payload.split_first_chunk::<4>()?;
            let (bytes, spooler) = rest.split_first_chunk::<8>()?;
            let bytes = u64::from_le_bytes(*bytes);
            let fits = bytes <= TASK_BYTES_MAX && spooler.len() <= SPOOLER_BYTES_MAX;
            fits.then(|| {
                let number = u32::from_le_bytes(*number);
                Frame::Begin(Begin { number, bytes, spooler: spooler.to_vec() })
            })
        }
        KIND_DATA => (!payload.is_empty()).then(|| Frame::Data(payload.to_vec())),
        _ => {
            let (number, rest) = payload.split_first_chunk::<4>()?;
            let (code, text) = rest.split_first()?;
            Some(Frame::Answer(Answer {
                number: u32::from_le_bytes(*number),
                verdict: Verdict::read(*code)?,
                text: printable(text),
            }))
        }
    }
}
