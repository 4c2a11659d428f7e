//! One connection: what was read of it, and what that makes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_http::{BadRequest, Request, read_http, read_uwsgi};
use unspool_sys::stream;
use unspool_wire::packet::{HEADER_BYTES, Header, Packet};

use crate::body::{Body, BodyError};
use crate::settings::WebProtocol;

/// Bytes of a body that are read before somebody asks for them.
pub(crate) const BODY_AHEAD: usize = 64 * 1024;
/// Bytes of a file that are sent at once.
const SEND_BYTES: usize = 1024 * 1024;
/// `modifier1` of a request.
const REQUEST: u8 = 0;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// The place of the socket that it came by.
    pub(crate) listener: usize,
    /// `None` over Unix sockets.
    pub(crate) peer: Option<SocketAddr>,
    /// Read, and not understood yet.
    pub(crate) bytes: Vec<u8>,
    pub(crate) stage: Stage,
    /// When what it waits for began.
    pub(crate) since_ns: u64,
    /// When it is closed.
    pub(crate) deadline_ns: u64,
    /// Bytes of a body that came since that was said.
    pub(crate) moved: usize,
    /// It is a member of the poll.
    pub(crate) polled: bool,
    /// Its bytes came with the last request, and nobody has looked at them.
    pub(crate) is_unread: bool,
}

/// What it waits for.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A head, or its rest.
    Head,
    /// The rest of what is read of a body before the request is answered.
    Body(Box<(Request, Body)>),
    /// Room for the rest of an answer.
    Answer(Rest, Then),
    /// The peer's end: closed with bytes unread it would be reset, and the peer might lose the answer.
    End { read: usize },
}

/// What is still to be sent of an answer.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    /// What comes behind the bytes.
    pub(crate) file: Option<FileRest>,
}

/// A part of a file.
#[derive(Debug)]
pub(crate) struct FileRest {
    pub(crate) file: OwnedFd,
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

impl Rest {
    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
            && self.file.as_ref().is_none_or(|file| file.offset >= file.end)
    }

    /// Sends what there is room for. `WouldBlock` if that was not all.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.sent < self.bytes.len() {
            self.sent += stream::send(socket, &self.bytes[self.sent..])?;
        }
        let Some(rest) = &mut self.file else { return Ok(()) };
        while rest.offset < rest.end {
            let most = SEND_BYTES.min((rest.end - rest.offset) as usize);
            if stream::send_file(socket, rest.file.as_fd(), &mut rest.offset, most)? == 0 {
                let problem = "the file became shorter while it was sent";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
        }
        Ok(())
    }
}

/// What comes behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request.
    Keep,
    /// The end.
    Close,
    /// The end, once the peer has seen that.
    Linger,
}

/// What is to be done with it.
#[derive(Debug)]
pub(crate) enum Step {
    /// More has to come.
    More,
    /// There is a request, in [`Stage::Body`].
    Ready,
    /// It is not a request.
    HandOver,
    /// The peer sends a body once it hears that somebody takes it.
    Continue,
    Refused(BadRequest),
    Broken(String),
}

/// Bounds and what a request does not say itself.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) protocol: WebProtocol,
    pub(crate) about: unspool_http::Connection<'a>,
    pub(crate) limits: &'a unspool_http::Limits,
    pub(crate) packet_bytes_max: u16,
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) buffer_bodies: Option<usize>,
}

impl Connection {
    /// Bytes that it holds in memory.
    pub(crate) fn bytes_held(&self) -> usize {
        let more = match &self.stage {
            Stage::Body(body) => body.1.bytes_held(),
            Stage::Answer(rest, _) => rest.bytes.capacity(),
            Stage::Head | Stage::End { .. } => 0,
        };
        self.bytes.capacity() + more
    }

    /// Nothing of a request has come, and it answered one before or never began.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Head) && self.bytes.is_empty()
    }

    /// Looks at what was read; `new` bytes of it for the first time.
    pub(crate) fn advance(&mut self, reading: &Reading<'_>, new: usize) -> Step {
        if matches!(self.stage, Stage::Head) {
            let read = match reading.protocol {
                WebProtocol::Uwsgi => self.read_packet(reading),
                WebProtocol::Http => self.read_head(reading, new),
            };
            match read {
                Ok(Some(request)) => self.begin_body(request, reading),
                Ok(None) => Step::More,
                Err(step) => step,
            }
        } else {
            self.read_body(reading)
        }
    }

    fn read_packet(&mut self, reading: &Reading<'_>) -> Result<Option<Request>, Step> {
        let Some(head) = self.bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::read(*head);
        if header.modifier1 != REQUEST {
            return Err(Step::HandOver);
        }
        let (bytes, most) = (header.bytes, reading.packet_bytes_max);
        if bytes > most {
            let problem = format!("invalid request block size: {bytes} (max {most})...skip");
            return Err(Step::Broken(problem));
        }
        let end = HEADER_BYTES + usize::from(bytes);
        if self.bytes.len() < end {
            return Ok(None);
        }
        let packet = Packet { header, block: self.bytes[HEADER_BYTES..end].to_vec() };
        self.bytes.drain(..end);
        read_uwsgi(packet).map(Some).map_err(Step::Refused)
    }

    fn read_head(&mut self, reading: &Reading<'_>, new: usize) -> Result<Option<Request>, Step> {
        // A head that comes byte by byte is not read again with each.
        let looked = self.bytes.len() - new;
        let is_worth_it = looked == 0
            || self.bytes.len() > reading.limits.head_bytes_max
            || self.bytes[looked..].contains(&b'\n');
        if !is_worth_it {
            return Ok(None);
        }
        match read_http(&self.bytes, &reading.about, reading.limits) {
            Ok(Some((request, bytes))) => {
                self.bytes.drain(..bytes);
                Ok(Some(request))
            }
            Ok(None) => Ok(None),
            Err(bad) => Err(Step::Refused(bad)),
        }
    }

    fn begin_body(&mut self, request: Request, reading: &Reading<'_>) -> Step {
        let length = request.body();
        if let (unspool_http::BodyLength::Bytes(bytes), Some(most)) =
            (length, reading.body_bytes_max)
            && bytes > most
        {
            return Step::Refused(too_large());
        }
        let waits = request.expects_continue();
        self.stage = Stage::Body(Box::new((request, Body::new(length))));
        match self.read_body(reading) {
            Step::More if waits && self.bytes.is_empty() => Step::Continue,
            step => step,
        }
    }

    fn read_body(&mut self, reading: &Reading<'_>) -> Step {
        let Stage::Body(both) = &mut self.stage else { return Step::More };
        let body = &mut both.1;
        let fed = match body.feed(&self.bytes, reading.body_bytes_max) {
            Ok(bytes) => {
                self.bytes.drain(..bytes);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let fed = fed.and_then(|()| match reading.buffer_bodies {
            Some(most) if body.bytes_held() > most.min(BODY_AHEAD) && !body.has_come() => {
                body.spill()
            }
            _ => Ok(()),
        });
        match fed {
            Ok(()) if body.has_come() => Step::Ready,
            Ok(()) if reading.buffer_bodies.is_none() && body.untaken() >= BODY_AHEAD as u64 => {
                Step::Ready
            }
            Ok(()) => Step::More,
            Err(BodyError::Chunk) => Step::Refused(BadRequest {
                status: 400,
                reason: "a chunk of the body is not valid",
            }),
            Err(BodyError::TooLarge) => Step::Refused(too_large()),
            Err(BodyError::File(error)) => Step::Broken(format!("cannot keep a body: {error}")),
        }
    }
}

fn too_large() -> BadRequest {
    BadRequest { status: 413, reason: "the body is longer than `limit-post`" }
}
