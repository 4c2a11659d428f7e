//! One request and its answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use unspool_http::{Framing, InvalidHeader, Request, chunk_head};
use unspool_sys::{clock, stream};

use crate::body::{Body, BodyError};
use crate::connection::{Connection, FileRest, Rest, Stage, Then};
use crate::front::Front;

/// Bytes that are read of a body at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a piece that are rather copied behind the head than sent beside it.
const JOINED_MAX: usize = 2048;
/// The rest of an answer that is kept for a peer that takes it slowly, so that nobody has to wait for that.
const REST_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a body that nobody has read, and that are read so that the connection can be kept.
const UNREAD_MAX: u64 = 256 * 1024;

/// A request that is to be answered. Dropped without [`Exchange::finish`], it ends its connection.
#[derive(Debug)]
pub struct Exchange {
    front: Arc<Front>,
    /// Absent once it was given back.
    connection: Option<Box<Connection>>,
    request: Request,
    body: Body,
    framing: Framing,
    /// The connection stays after this answer.
    keeps: bool,
    progress: Progress,
    /// To be sent before anything else.
    pending: Vec<u8>,
    /// Bytes of a body with a length that are still to come.
    left: u64,
    /// Bytes beyond that length, which are not sent.
    excess: u64,
    /// The rest of the last piece, which the peer has no room for.
    rest: Rest,
    sent: u64,
    head_bytes: usize,
    status: u16,
    headers: usize,
    failed: bool,
}

/// How far an answer is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Head,
    /// All of it: nothing more belongs to it.
    End,
}

/// Why an answer cannot be begun.
pub type StartError = InvalidHeader;

impl Exchange {
    pub(crate) fn new(front: &Arc<Front>, mut connection: Box<Connection>) -> Option<Box<Self>> {
        let Stage::Body(both) = std::mem::replace(&mut connection.stage, Stage::Head) else {
            return None;
        };
        let (request, body) = *both;
        front.running.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(Self {
            front: Arc::clone(front),
            connection: Some(connection),
            request,
            body,
            framing: Framing::Close,
            keeps: false,
            progress: Progress::Nothing,
            pending: Vec::new(),
            left: 0,
            excess: 0,
            rest: Rest::default(),
            sent: 0,
            head_bytes: 0,
            status: 0,
            headers: 0,
            failed: false,
        }))
    }

    /// What is asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The connection, for those who wait on it.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.connection.as_ref()?.socket.as_fd())
    }

    /// Bytes of the answer's body that were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of the answer's head.
    pub fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// The answer's status; 0 before it was said.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Headers of the answer.
    pub fn headers(&self) -> usize {
        self.headers
    }

    /// Whether the peer did not take what was written.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Appends at most so many bytes of the body to `to`; 0 is its end. Waits for them.
    pub fn read(&mut self, to: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        if most == 0 {
            return Ok(0);
        }
        loop {
            if self.body.untaken() > 0 {
                return self.body.take(to, most);
            }
            if self.body.has_come() {
                return Ok(0);
            }
            self.read_more()?;
        }
    }

    /// Reads more of the body from the connection.
    fn read_more(&mut self) -> io::Result<()> {
        let front = Arc::clone(&self.front);
        let Some(connection) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut buffer = vec![0; READ_BYTES];
        let deadline_ns = clock::monotonic_ns() + front.settings.wait.as_nanos() as u64;
        let got = loop {
            match stream::receive(connection.socket.as_fd(), &mut buffer) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the client has gone",
                    ));
                }
                Ok(bytes) => break bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let left = deadline_ns.saturating_sub(clock::monotonic_ns());
            if left == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client has sent nothing of the body for `socket-timeout`",
                ));
            }
            stream::wait(connection.socket.as_fd(), false, Duration::from_nanos(left))?;
        };
        connection.bytes.extend_from_slice(&buffer[..got]);
        match self.body.feed(&connection.bytes, front.settings.body_bytes_max) {
            Ok(bytes) => {
                connection.bytes.drain(..bytes);
                Ok(())
            }
            Err(BodyError::File(error)) => Err(error),
            Err(BodyError::TooLarge) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the body is longer than `limit-post`",
            )),
            Err(BodyError::Chunk) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk of the body is not valid"))
            }
        }
    }

    /// Says the head. `length` is that of the whole body where it is known. It goes with the first bytes.
    pub fn start<'a>(
        &mut self,
        status: &[u8],
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        length: Option<u64>,
    ) -> Result<(), StartError> {
        let may_keep = !(self.front.is_draining() || self.front.settings.keep_alive.is_zero());
        let head = unspool_http::response_head(&self.request, status, headers, length, may_keep)?;
        self.pending = head.bytes;
        self.head_bytes = self.pending.len();
        self.status = head.status;
        self.headers = head.headers;
        self.framing = head.framing;
        self.keeps = head.keep_alive;
        self.progress = Progress::Head;
        self.left = if let Framing::Length(bytes) = self.framing { bytes } else { 0 };
        Ok(())
    }

    /// Whether [`Exchange::start`] was called.
    pub fn is_started(&self) -> bool {
        self.progress != Progress::Nothing
    }

    /// How many bytes of the body may still be written; `None`: any.
    pub fn room(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(_) => Some(self.left),
            Framing::None => Some(0),
            Framing::Chunked | Framing::Close => None,
        }
    }

    /// Sends a piece of the body, the `last` one or not, and the head before the first. Waits until the peer
    /// takes it, but for a last one of which the rest is short.
    pub fn write(&mut self, data: &[u8], last: bool) -> io::Result<()> {
        self.check_goes_on()?;
        let data = match self.room() {
            // Who announces a length and sends more breaks the next answer.
            Some(room) if room < data.len() as u64 => {
                self.excess += data.len() as u64 - room;
                &data[..room as usize]
            }
            _ => data,
        };
        if data.is_empty()
            && !self.pending.is_empty()
            && matches!(self.framing, Framing::Chunked)
            && !last
        {
            return Ok(());
        }
        if matches!(self.framing, Framing::Chunked) && !data.is_empty() {
            let (head, bytes) = chunk_head(data.len());
            self.pending.extend_from_slice(&head[..bytes]);
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.left = self.left.saturating_sub(data.len() as u64);
        let joins = data.len() <= JOINED_MAX;
        if joins {
            pending.extend_from_slice(data);
        }
        let sent = self.send_all(&pending, if joins { &[] } else { data }, last);
        self.failed |= sent.is_err();
        sent?;
        if matches!(self.framing, Framing::Chunked) && !data.is_empty() {
            self.pending.extend_from_slice(unspool_http::CHUNK_END);
        }
        self.sent += data.len() as u64;
        Ok(())
    }

    /// What comes behind the end would be taken for the next answer.
    fn check_goes_on(&self) -> io::Result<()> {
        if self.progress == Progress::End {
            return Err(io::Error::other("the answer has ended, and more of it was written"));
        }
        Ok(())
    }

    /// Whether more was written than its length allows: the rest is not needed.
    pub fn is_overfull(&self) -> bool {
        self.excess > 0
    }

    /// Whether a file may be the body as it is: one in chunks is made of pieces.
    pub fn takes_files(&self) -> bool {
        !matches!(self.framing, Framing::Chunked)
    }

    fn send_all(&mut self, first: &[u8], second: &[u8], last: bool) -> io::Result<()> {
        let Some(connection) = &self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let socket = connection.socket.as_fd();
        let (mut first, mut second) = (first, second);
        while !(first.is_empty() && second.is_empty()) {
            let sent = if second.is_empty() {
                stream::send(socket, first)
            } else {
                stream::send_both(socket, first, second)
            };
            match sent {
                Ok(bytes) => {
                    let of_first = bytes.min(first.len());
                    first = &first[of_first..];
                    second = &second[bytes - of_first..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if last && first.len() + second.len() <= REST_MAX {
                self.rest.bytes.extend_from_slice(first);
                self.rest.bytes.extend_from_slice(second);
                return Ok(());
            }
            wait_for_room(socket, self.front.settings.wait)?;
        }
        Ok(())
    }

    /// Sends so many bytes of a file from `offset` on, as the body or its rest. For what the peer has no room
    /// for nobody waits: it goes once there is some.
    pub fn write_file(&mut self, file: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
        debug_assert!(self.takes_files());
        self.check_goes_on()?;
        let bytes = self.room().map_or(bytes, |room| room.min(bytes));
        let pending = std::mem::take(&mut self.pending);
        let sent = self.send_all(&pending, &[], true).and_then(|()| {
            let file =
                Some(FileRest { file: file.try_clone_to_owned()?, offset, end: offset + bytes });
            let mut rest = Rest { bytes: std::mem::take(&mut self.rest.bytes), sent: 0, file };
            let socket = self.socket().ok_or(io::ErrorKind::NotConnected)?;
            match rest.send(socket) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            self.rest = rest;
            Ok(())
        });
        self.failed |= sent.is_err();
        sent?;
        self.sent += bytes;
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }

    /// Sends what ends the body: what becomes of the application behind it is no part of the answer.
    pub fn end(&mut self) -> io::Result<()> {
        if self.progress != Progress::Head || self.failed {
            return Ok(());
        }
        self.progress = Progress::End;
        if matches!(self.framing, Framing::Chunked) {
            self.pending.extend_from_slice(unspool_http::LAST_CHUNK);
        }
        let pending = std::mem::take(&mut self.pending);
        if !self.rest.is_empty() {
            self.rest.bytes.extend_from_slice(&pending);
            return Ok(());
        }
        let sent = self.send_all(&pending, &[], true);
        self.failed |= sent.is_err();
        sent
    }

    /// Whether the answer is said from its head to its end.
    pub fn is_whole(&self) -> bool {
        let is_ended = match self.framing {
            Framing::None | Framing::Length(_) => self.is_started() && self.pending.is_empty(),
            Framing::Chunked | Framing::Close => self.progress == Progress::End,
        };
        is_ended && self.left == 0 && !self.failed
    }

    /// Ends the answer. Its connection waits for the next request, or ends.
    pub fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.end()?;
        let Some(connection) = self.connection.take() else { return Ok(()) };
        self.say_lengths(&connection);
        let is_read = self.skip_body(&connection);
        let then = match (self.is_whole() && self.keeps, is_read) {
            (true, true) => Then::Keep,
            (_, false) if !self.failed => Then::Linger,
            // Requests that it sent ahead, and that nobody answers, would reset it before it has read this.
            (_, true) if self.is_whole() && self.has_more(&connection) => Then::Linger,
            _ => Then::Close,
        };
        let rest = std::mem::take(&mut self.rest);
        self.front.give_back(connection, rest, then);
        Ok(())
    }

    /// Says that an application was wrong about the length of its answer: the client sees it cut, and
    /// nothing else tells why.
    fn say_lengths(&self, connection: &Connection) {
        if self.failed || !matches!(self.framing, Framing::Length(_)) {
            return;
        }
        let (bytes, what) = if self.left > 0 { (self.left, "less") } else { (self.excess, "more") };
        if bytes > 0 {
            let problem =
                format!("the application returned {bytes} bytes {what} than its Content-Length");
            self.front.complain(connection, &problem);
        }
    }

    /// Whether all of the request's body was read, or is here to be thrown away.
    fn skip_body(&mut self, connection: &Connection) -> bool {
        let mut buffer = vec![0; if self.body.has_come() { 0 } else { READ_BYTES }];
        let mut skipped = 0;
        while !self.body.has_come() && skipped < UNREAD_MAX {
            let Ok(got @ 1..) = stream::receive(connection.socket.as_fd(), &mut buffer) else {
                return false;
            };
            skipped += got as u64;
            // A connection whose next request came with this is not worth more care.
            match self.body.feed(&buffer[..got], None) {
                Ok(used) if used == got => {}
                _ => return false,
            }
        }
        self.body.has_come()
    }

    /// Whether something came behind the request. Who has said that this is the last one is not asked.
    fn has_more(&self, connection: &Connection) -> bool {
        let asked = || stream::receive(connection.socket.as_fd(), &mut [0]);
        !connection.bytes.is_empty() || self.request.keep_alive() && matches!(asked(), Ok(1..))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.front.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the peer has taken something.
fn wait_for_room(socket: BorrowedFd<'_>, wait: Duration) -> io::Result<()> {
    let deadline_ns = clock::monotonic_ns() + wait.as_nanos() as u64;
    loop {
        let left = deadline_ns.saturating_sub(clock::monotonic_ns());
        if stream::wait_for_room(socket, Duration::from_nanos(left))? {
            return Ok(());
        }
        if left == 0 {
            let problem = "the client has taken nothing of the answer for `socket-timeout`";
            return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
        }
    }
}
