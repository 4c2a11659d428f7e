//! A connection to one of ours, on which many tasks may be on their way.
//!
//! Owns the greeting, the frames, and which tasks wait for an answer. Sending reads what has come
//! meanwhile, so that two full buffers cannot stop each other. Any error ends the connection: what
//! became of the tasks that are on their way, nobody knows.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use unspool_core::signing::SigningKey;
use unspool_sys::{clock, host};
use unspool_wire::peer::{
    Answer, Begin, DATA_BYTES_MAX, Frame, Greeting, Hello, InvalidGreeting, Receiver, Sender, Side,
    WINDOW_MAX, Welcome,
};

use crate::error::{LinkError, RemoteError};
use crate::remote::Remote;
use crate::transport::{Deadline, Transport};

/// Bytes of the pairs of a welcome, or of a refusal.
const WELCOME_BYTES_MAX: u16 = 4096;
/// Bytes of one read.
const READ_BYTES: usize = 8192;

/// Who answered.
#[derive(Debug)]
pub enum Opened {
    /// One of ours.
    Peer(Box<Session>),
    /// A real uWSGI. The connection is closed.
    Uwsgi,
}

/// A connection to one of ours.
#[derive(Debug)]
pub struct Session {
    link: Transport,
    sender: Sender,
    receiver: Receiver,
    /// Frames that are not written yet, from `written` on.
    out: Vec<u8>,
    written: usize,
    piece: Vec<u8>,
    next: u32,
    waiting: Vec<u32>,
    answers: VecDeque<Answer>,
    window: usize,
    task_bytes_max: u64,
    answer_wait: Duration,
    is_over: bool,
}

impl Session {
    /// Connects, and greets.
    pub fn open(remote: &Remote) -> Result<Opened, RemoteError> {
        let mut link = Transport::connect(remote)?;
        let address = || remote.address.to_string();
        let lost = |source| RemoteError::Lost { address: address(), source };
        let options = &remote.options;
        let key = options.network_key.as_ref();
        let nonce = host::random().map_err(RemoteError::Random)?;
        let now_s = u64::try_from(clock::now_ns() / 1_000_000_000).unwrap_or(0);
        let hello = Hello::new(now_s, nonce, key);
        let deadline = Deadline::after(options.answer_wait);
        link.write_all(&hello.to_packet(), deadline).map_err(lost)?;
        let answer = match link.read_packet(WELCOME_BYTES_MAX, deadline) {
            Err(LinkError::Closed) if !remote.address.tls => {
                return Err(RemoteError::Shut { address: address() });
            }
            other => other.map_err(lost)?,
        };
        let stranger = |source| RemoteError::Stranger { address: address(), source };
        let Some((packet, rest)) = answer else {
            return Err(stranger(InvalidGreeting::LENGTH));
        };
        match Greeting::read(&packet).map_err(stranger)? {
            Greeting::Refused(reason) => Err(RemoteError::Unwelcome { address: address(), reason }),
            // What answers a ping could be anybody.
            Greeting::Uwsgi if !remote.may_be_uwsgi() => {
                Err(RemoteError::Keyless { address: address() })
            }
            Greeting::Uwsgi => Ok(Opened::Uwsgi),
            Greeting::Welcome(welcome) => {
                if let Some(key) = key {
                    let unproven = |source| RemoteError::Unproven { address: address(), source };
                    welcome.check(&hello, key).map_err(unproven)?;
                }
                let session = key.map(|key| welcome.session(&hello, key));
                let mut made = Self::new(link, &welcome, session, options.answer_wait);
                made.take(&rest).map_err(lost)?;
                Ok(Opened::Peer(Box::new(made)))
            }
        }
    }

    fn new(
        link: Transport,
        welcome: &Welcome,
        session: Option<SigningKey>,
        answer_wait: Duration,
    ) -> Self {
        Self {
            link,
            sender: Sender::new(Side::Client, session.clone()),
            receiver: Receiver::new(Side::Server, session),
            out: Vec::new(),
            written: 0,
            piece: Vec::new(),
            next: 0,
            waiting: Vec::new(),
            answers: VecDeque::new(),
            window: welcome.window.min(WINDOW_MAX - 1) as usize,
            task_bytes_max: welcome.task_bytes_max,
            answer_wait,
            is_over: false,
        }
    }

    /// Bytes of the longest task that the receiver takes.
    pub fn task_bytes_max(&self) -> u64 {
        self.task_bytes_max
    }

    /// Tasks that wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Whether one more may be sent before an answer is received.
    pub fn has_room(&self) -> bool {
        !self.is_over && self.waiting.len() + self.answers.len() < self.window
    }

    /// Whether it failed: nothing more can be sent, nothing will come.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What to wait on for answers, beside other things. `receive` may have one without it.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.link.socket()
    }

    /// Sends a task, of which `source` has so many bytes, and returns its number, which its answer
    /// will have. It does not wait for that, only until the bytes are taken.
    ///
    /// An answer may come before all bytes have gone: then the rest stays unsent, and the connection
    /// is over once its answers are received.
    pub fn send(
        &mut self,
        spooler: &[u8],
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<u32, LinkError> {
        if self.is_over {
            return Err(LinkError::Closed);
        }
        if !self.has_room() {
            return Err(LinkError::Full);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.waiting.push(number);
        let begin = Begin { number, bytes, spooler: spooler.to_vec() };
        self.sender.push(&Frame::Begin(begin), &mut self.out);
        match self.send_bytes(number, bytes, source) {
            Ok(()) => Ok(number),
            Err(_) if !self.waiting.contains(&number) => {
                self.is_over = true;
                Ok(number)
            }
            Err(error) => {
                self.is_over = true;
                Err(error)
            }
        }
    }

    fn send_bytes(
        &mut self,
        number: u32,
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(), LinkError> {
        let mut left = bytes;
        loop {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(DATA_BYTES_MAX);
            self.piece.resize(wanted, 0);
            source.read_exact(&mut self.piece).map_err(LinkError::Source)?;
            self.sender.push_data(&self.piece, &mut self.out);
            left -= wanted as u64;
            self.flush()?;
            if left == 0 {
                return Ok(());
            }
            if !self.waiting.contains(&number) {
                // Refused meanwhile.
                self.is_over = true;
                return Ok(());
            }
        }
    }

    /// The next answer; `None` if none comes within this time.
    pub fn receive(&mut self, wait: Duration) -> Result<Option<Answer>, LinkError> {
        if let Some(answer) = self.answers.pop_front() {
            return Ok(Some(answer));
        }
        if self.is_over {
            return Err(LinkError::Closed);
        }
        let deadline = Deadline::after(wait);
        let came = self.drive(deadline, |session| !session.answers.is_empty());
        self.is_over |= came.is_err();
        came.map(|_| self.answers.pop_front())
    }

    /// Whether another task may be sent: the other end has neither closed it nor said anything.
    pub(crate) fn is_idle(&mut self) -> bool {
        let is_quiet = self.waiting.is_empty() && self.answers.is_empty() && !self.is_over;
        is_quiet
            && matches!(self.link.read_some(&mut [0]), Err(error)
                if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Until all is written.
    fn flush(&mut self) -> Result<(), LinkError> {
        let deadline = Deadline::after(self.answer_wait);
        let is_written = self.drive(deadline, |session| session.out.is_empty())?;
        if is_written { Ok(()) } else { Err(LinkError::Stalled(self.answer_wait)) }
    }

    /// Writes and reads until it is done; `Ok(false)` if it is not in time.
    fn drive(
        &mut self,
        deadline: Deadline,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<bool, LinkError> {
        loop {
            // A receiver that closes may have said why.
            let written = self.write_out();
            let read = self.read_in();
            if is_done(self) {
                return Ok(true);
            }
            written?;
            read?;
            let room = !self.out.is_empty();
            if !self.link.wait(room, deadline).map_err(LinkError::of)? {
                return Ok(false);
            }
        }
    }

    fn write_out(&mut self) -> Result<(), LinkError> {
        while self.written < self.out.len() {
            match self.link.write_some(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(LinkError::of(error)),
            }
        }
        if !self.link.holds_some().map_err(LinkError::of)? {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    fn read_in(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.link.read_some(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => self.take(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(LinkError::of(error)),
            }
        }
    }

    /// Takes what has come.
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            // The receiver knows which frames a server sends.
            let Some(Frame::Answer(answer)) = self.receiver.take(&mut bytes)? else { continue };
            let place = self.waiting.iter().position(|number| *number == answer.number);
            self.waiting.remove(place.ok_or(LinkError::Unasked(answer.number))?);
            self.answers.push_back(answer);
        }
        Ok(())
    }
}
