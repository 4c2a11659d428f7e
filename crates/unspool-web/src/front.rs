//! All connections of a worker, and the wait for the next request.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use unspool_http::Protocol;
use unspool_sys::poll::{Poll, Waker};
use unspool_sys::{clock, listen, socket, stream};

use crate::accept::Origins;
use crate::complaints::Complaints;
use crate::connection::{Connection, Reading, Rest, Stage, Step, Then};
use crate::exchange::Exchange;
use crate::hand_over::hand_over;
use crate::listening::listen_on;
use crate::seats::Seats;
use crate::settings::{FrontSettings, WebProtocol};

/// The keys that no connection has; beyond the last the sockets'.
const CONTROL: u64 = 1 << 63;
const WAKE: u64 = CONTROL + 1;
const BELL: u64 = CONTROL + 2;
pub(crate) const LISTENERS: u64 = CONTROL + 3;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Over TCP the system keeps a connection about so long until its request is there: one that was accepted
/// without would be its worker's, although another one may have nothing to do.
const DEFER_SECONDS: u32 = 1;
/// How often connections are looked at whose time is over, and whoever waits looks for signals.
const LOOK_NS: u64 = 1_000_000_000;
/// The same while a worker ends.
const DRAIN_LOOK_NS: u64 = 20_000_000;
/// How long an idle connection may still ask for something then.
const DRAIN_IDLE_NS: u64 = 1_000_000_000;
/// Bytes of a body that give their peer time for the next.
const MOVED_MIN: usize = 1024;
/// How long the peer's end is waited for.
const LINGER_NS: u64 = 1_000_000_000;
/// Bytes that are read then.
const LINGER_BYTES: usize = 1024 * 1024;
/// Bytes that all connections hold together.
const HELD_MAX: usize = 32 * 1024 * 1024;

/// What a thread of the application does next.
#[derive(Debug)]
pub enum Next {
    /// Answer this request.
    Request(Box<Exchange>),
    /// Read what is there besides requests.
    Control,
    /// Nothing, but signals may have come.
    Look,
    /// End: the worker takes no more requests and has none.
    Over,
}

/// All connections of a worker.
#[derive(Debug)]
pub struct Front {
    pub(crate) settings: FrontSettings,
    pub(crate) limits: unspool_http::Limits,
    pub(crate) complaints: Complaints,
    origins: Origins,
    pub(crate) poll: Poll,
    waker: Waker,
    lead: Mutex<Lead>,
    free: Condvar,
    pub(crate) seats: Mutex<Seats>,
    draining: AtomicBool,
    /// A connection was kept: the next one is for others first.
    keeps_more: AtomicBool,
    /// Requests that are being answered.
    pub(crate) running: AtomicUsize,
}

/// What the thread has that waits for all.
#[derive(Debug, Default)]
struct Lead {
    is_taken: bool,
    ready: VecDeque<u64>,
    looked_ns: u64,
    stopped: bool,
    /// The socket that was looked at last: another one has its turn first.
    listened: u64,
    /// What is read goes here first.
    buffer: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    /// Begins to wait on the sockets.
    pub fn new(settings: FrontSettings) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new()?;
        poll.add(waker.as_fd(), WAKE)?;
        if let Some(control) = &settings.control {
            poll.add(control.as_fd(), CONTROL)?;
        }
        poll.add_edge(settings.bell.as_fd(), BELL)?;
        for (place, socket) in settings.sockets.iter().enumerate() {
            stream::send_at_once(socket.socket.as_fd());
            listen::defer_accept(socket.socket.as_fd(), DEFER_SECONDS);
            listen_on(&poll, &settings, place)?;
        }
        Ok(Self {
            limits: unspool_http::Limits {
                head_bytes_max: settings.head_bytes_max,
                headers_max: 128,
            },
            complaints: Complaints::new(settings.say),
            origins: Origins::new(&settings.sockets),
            settings,
            poll,
            waker,
            lead: Mutex::default(),
            free: Condvar::new(),
            seats: Mutex::default(),
            draining: AtomicBool::new(false),
            keeps_more: AtomicBool::new(false),
            running: AtomicUsize::new(0),
        })
    }

    /// Accepts nothing more; what is there is answered, and connections end with their next answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.waker.wake();
        self.free.notify_all();
    }

    /// Whether it was told to drain.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits for the next request. Comes back without one at least each second if there is nothing to do.
    pub fn next(self: &Arc<Self>) -> io::Result<Next> {
        let mut lead = lock(&self.lead);
        if lead.is_taken {
            let wait =
                Duration::from_nanos(if self.is_draining() { DRAIN_LOOK_NS } else { LOOK_NS });
            let waited = self.free.wait_timeout_while(lead, wait, |lead| lead.is_taken);
            lead = waited.unwrap_or_else(PoisonError::into_inner).0;
            if lead.is_taken {
                return Ok(Next::Look);
            }
        }
        let mut mine = std::mem::take(&mut *lead);
        lead.is_taken = true;
        drop(lead);
        mine.buffer.resize(READ_BYTES, 0);
        let next = self.wait(&mut mine);
        mine.is_taken = false;
        *lock(&self.lead) = mine;
        if self.settings.threads > 1 {
            self.free.notify_one();
        }
        next
    }

    fn wait(self: &Arc<Self>, lead: &mut Lead) -> io::Result<Next> {
        let mut keys = Vec::new();
        // While a request was answered, the daemon may have said to accept no more.
        lead.ready.retain(|key| *key < LISTENERS);
        loop {
            lead.ready.extend(lock(&self.seats).waiting());
            while let Some(key) = lead.ready.pop_front() {
                if key >= LISTENERS {
                    lead.listened = key;
                }
                if let Some(next) = self.look_at(key, &mut lead.buffer)? {
                    if lead.ready.iter().any(|key| *key >= LISTENERS) {
                        // Another worker may have nothing to do, and only this one has heard of them.
                        self.ring();
                    }
                    return Ok(next);
                }
                lead.ready.extend(lock(&self.seats).waiting());
            }
            let draining = self.is_draining();
            if draining && !lead.stopped {
                lead.stopped = true;
                self.stop_listening();
                lock(&self.seats).end_by(clock::monotonic_ns() + DRAIN_IDLE_NS, self.deadline());
            }
            self.look_at_times(lead)?;
            let is_empty = lock(&self.seats).len() == 0;
            if draining && is_empty && self.running.load(Ordering::Relaxed) == 0 {
                return Ok(Next::Over);
            }
            if !draining && self.keeps_more.swap(false, Ordering::Relaxed) {
                self.listen_anew()?;
            }
            self.poll.wait(&mut keys, Some(if draining { DRAIN_LOOK_NS } else { LOOK_NS }))?;
            if keys.is_empty() {
                self.look_at_times(lead)?;
                return Ok(Next::Look);
            }
            // Connections that are there, then the daemon's word, and then new ones, of each socket in turn.
            keys.sort_unstable();
            let first = keys.partition_point(|key| *key < LISTENERS);
            let sockets = &mut keys[first..];
            sockets.rotate_left(sockets.partition_point(|key| *key <= lead.listened));
            lead.ready.extend(&keys);
        }
    }

    fn look_at(self: &Arc<Self>, key: u64, buffer: &mut [u8]) -> io::Result<Option<Next>> {
        match key {
            CONTROL => return Ok(Some(Next::Control)),
            WAKE => self.waker.clear(),
            BELL if self.is_draining() => {}
            BELL => self.listen_anew()?,
            key if key >= LISTENERS => {
                return Ok(self.accept((key - LISTENERS) as usize, buffer));
            }
            key => {
                let taken = lock(&self.seats).take(key);
                if let Some(connection) = taken {
                    return Ok(self.attend(connection, buffer));
                }
            }
        }
        Ok(None)
    }

    /// Accepts one, if there is one.
    fn accept(self: &Arc<Self>, place: usize, buffer: &mut [u8]) -> Option<Next> {
        if self.is_draining() {
            return None;
        }
        let listener = self.settings.sockets.get(place)?;
        let (socket, peer) = match stream::accept(listener.socket.as_fd()) {
            Ok(accepted) => accepted?,
            Err(error) => {
                self.complaints.say(&listener.shown, &format!("cannot accept: {error}"));
                if !self.make_room(false) {
                    // No descriptor is free, and none of them is a connection's: the application has them.
                    self.ring();
                    clock::pause(Duration::from_nanos(DRAIN_LOOK_NS));
                }
                return None;
            }
        };
        let now_ns = clock::monotonic_ns();
        let connection = Box::new(Connection {
            socket,
            listener: place,
            peer,
            bytes: Vec::new(),
            stage: Stage::Head,
            since_ns: now_ns,
            deadline_ns: self.head_deadline(place),
            moved: 0,
            polled: false,
            is_unread: false,
        });
        self.attend(connection, buffer)
    }

    /// Goes on with a connection of which something may be read, or that may be written to.
    fn attend(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
        buffer: &mut [u8],
    ) -> Option<Next> {
        match &mut connection.stage {
            Stage::Answer(..) => {
                self.go_on_answering(connection);
                return None;
            }
            Stage::End { read } => {
                loop {
                    match stream::receive(connection.socket.as_fd(), buffer) {
                        Ok(bytes @ 1..) if *read < LINGER_BYTES => *read += bytes,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        _ => return None,
                    }
                }
                self.seat(connection);
                return None;
            }
            Stage::Head | Stage::Body(_) => {}
        }
        let mut new = if connection.is_unread { connection.bytes.len() } else { 0 };
        connection.is_unread = false;
        loop {
            if new > 0 {
                match self.advance(connection, new) {
                    Advanced::Next(next) => return Some(next),
                    Advanced::Gone => return None,
                    Advanced::More(same) => connection = same,
                }
            }
            match stream::receive(connection.socket.as_fd(), buffer) {
                Ok(0) => {
                    self.say_cut(&connection);
                    return None;
                }
                Ok(bytes) => {
                    if connection.is_idle() {
                        connection.deadline_ns = self.head_deadline(connection.listener);
                    }
                    connection.bytes.extend_from_slice(&buffer[..bytes]);
                    new = bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return None,
            }
        }
        self.seat(connection);
        None
    }

    /// When a peer that moves now is closed unless it moves again.
    fn deadline(&self) -> u64 {
        clock::monotonic_ns() + self.settings.wait.as_nanos() as u64
    }

    /// When a peer that connects, or begins a request, is closed unless its head is there.
    fn head_deadline(&self, listener: usize) -> u64 {
        let wait = match self.settings.sockets[listener].protocol {
            WebProtocol::Uwsgi => self.settings.wait,
            WebProtocol::Http => self.settings.head_wait,
        };
        clock::monotonic_ns() + wait.as_nanos() as u64
    }

    fn say_cut(&self, connection: &Connection) {
        if !connection.is_idle() {
            self.complain(connection, "the connection ended within a request");
        }
    }

    pub(crate) fn complain(&self, connection: &Connection, problem: &str) {
        let shown = &self.settings.sockets[connection.listener].shown;
        match connection.peer {
            Some(peer) => self.complaints.say(&peer.to_string(), problem),
            None => self.complaints.say(shown, problem),
        }
    }

    fn advance(self: &Arc<Self>, mut connection: Box<Connection>, new: usize) -> Advanced {
        let settings = &self.settings;
        let was_head = matches!(connection.stage, Stage::Head);
        let step = {
            let remote = Origins::remote(&connection);
            let reading = Reading {
                protocol: settings.sockets[connection.listener].protocol,
                about: self.origins.about(&connection, &remote),
                limits: &self.limits,
                packet_bytes_max: settings.packet_bytes_max,
                body_bytes_max: settings.body_bytes_max,
                buffer_bodies: settings.buffer_bodies,
            };
            connection.advance(&reading, new)
        };
        match step {
            Step::More => {
                if matches!(connection.stage, Stage::Body(_)) {
                    connection.moved += new;
                    // A body may take as long as it moves.
                    if was_head || connection.moved >= MOVED_MIN {
                        connection.moved = 0;
                        connection.deadline_ns = self.deadline();
                    }
                }
                Advanced::More(connection)
            }
            Step::Continue => {
                // Whoever has no room for this does without, as the standard has it.
                let _ = stream::send(connection.socket.as_fd(), unspool_http::CONTINUE);
                Advanced::More(connection)
            }
            Step::Ready => Exchange::new(self, connection)
                .map_or(Advanced::Gone, |exchange| Advanced::Next(Next::Request(exchange))),
            Step::HandOver => {
                self.hand_over(&connection);
                Advanced::Gone
            }
            Step::Refused(bad) => {
                self.complain(&connection, &bad.to_string());
                let protocol = self.protocol(&connection);
                let answer = unspool_http::refusal(protocol, bad.status, bad.reason);
                if protocol != Protocol::Uwsgi || bad.status == 413 {
                    let rest = Rest { bytes: answer, ..Rest::default() };
                    self.give_back(connection, rest, Then::Linger);
                }
                Advanced::Gone
            }
            Step::Broken(problem) => {
                self.complain(&connection, &problem);
                let protocol = self.protocol(&connection);
                if protocol != Protocol::Uwsgi {
                    let text = "the body cannot be kept now";
                    let bytes = unspool_http::refusal(protocol, 503, text);
                    self.give_back(connection, Rest { bytes, ..Rest::default() }, Then::Linger);
                }
                Advanced::Gone
            }
        }
    }

    fn protocol(&self, connection: &Connection) -> Protocol {
        match self.settings.sockets[connection.listener].protocol {
            WebProtocol::Uwsgi => Protocol::Uwsgi,
            WebProtocol::Http => Protocol::Http11,
        }
    }

    fn hand_over(&self, connection: &Connection) {
        let Some(to) = &self.settings.hand_over else {
            let modifier = connection.bytes.first().copied().unwrap_or_default();
            let problem = format!("-- unavailable modifier requested: {modifier} --");
            return self.complain(connection, &problem);
        };
        let handed = hand_over(to, connection.listener, &connection.bytes, &connection.socket);
        match handed {
            Ok(true) => {}
            Ok(false) => self.complain(connection, "the daemon takes no more connections now"),
            Err(error) => {
                self.complain(connection, &format!("the daemon cannot be reached: {error}"));
            }
        }
    }

    fn go_on_answering(&self, mut connection: Box<Connection>) {
        let Stage::Answer(rest, then) = &mut connection.stage else { return };
        match rest.send(connection.socket.as_fd()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.deadline_ns = self.deadline();
                return self.seat(connection);
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    self.complain(&connection, &error.to_string());
                }
                return;
            }
        }
        let then = *then;
        connection.stage = Stage::Head;
        self.give_back(connection, Rest::default(), then);
    }

    /// Takes a connection back whose request was answered, but for `rest`.
    pub(crate) fn give_back(&self, mut connection: Box<Connection>, rest: Rest, then: Then) {
        let now_ns = clock::monotonic_ns();
        connection.since_ns = now_ns;
        if !rest.is_empty() {
            connection.stage = Stage::Answer(rest, then);
            return self.go_on_answering(connection);
        }
        match then {
            Then::Close => {}
            Then::Linger => {
                if socket::end_sending(connection.socket.as_fd()).is_ok() {
                    connection.bytes = Vec::new();
                    connection.stage = Stage::End { read: 0 };
                    connection.deadline_ns = now_ns + LINGER_NS;
                    self.seat(connection);
                }
            }
            Then::Keep => {
                if !connection.polled {
                    self.keeps_more.store(true, Ordering::Relaxed);
                }
                connection.stage = Stage::Head;
                connection.deadline_ns = now_ns + self.settings.keep_alive.as_nanos() as u64;
                connection.is_unread = !connection.bytes.is_empty();
                self.seat(connection);
            }
        }
    }

    /// Has a connection wait for its next event.
    fn seat(&self, mut connection: Box<Connection>) {
        self.keep_bounds();
        // Who waits holds no more memory than it has use for.
        connection.bytes.shrink_to_fit();
        let mut seats = lock(&self.seats);
        let key = seats.next_key();
        let socket = connection.socket.as_fd();
        let is_kept = match (&connection.stage, connection.polled) {
            (Stage::Answer(..), polled) => {
                let added = if polled { Ok(()) } else { self.poll.add_once(socket, key) };
                added.and_then(|()| self.poll.rearm_for_room(socket, key))
            }
            (_, true) => self.poll.rearm(socket, key),
            (_, false) => self.poll.add_once(socket, key),
        };
        if is_kept.is_err() {
            return;
        }
        connection.polled = true;
        // No event tells of what came with the last request.
        let is_unread = connection.is_unread;
        seats.put(connection);
        if is_unread {
            seats.look_at(key);
            drop(seats);
            if self.settings.threads > 1 {
                self.waker.wake();
            }
        }
    }

    fn keep_bounds(&self) {
        loop {
            let (connections, bytes) = {
                let seats = lock(&self.seats);
                (seats.len() + self.running.load(Ordering::Relaxed), seats.bytes())
            };
            let is_full = connections >= self.settings.connections_max;
            if !(is_full || bytes > HELD_MAX) || !self.make_room(bytes > HELD_MAX) {
                return;
            }
        }
    }

    /// Closes the connection that is missed least; whether there was one.
    fn make_room(&self, by_bytes: bool) -> bool {
        let mut seats = lock(&self.seats);
        let Some(connection) = seats.least_worthy(by_bytes).and_then(|key| seats.take(key)) else {
            return false;
        };
        drop(seats);
        if !connection.is_idle() {
            self.complain(&connection, "closed unanswered: there are too many connections");
        }
        true
    }

    /// Closes connections whose time is over, if it is time for a look.
    fn look_at_times(&self, lead: &mut Lead) -> io::Result<()> {
        let now_ns = clock::monotonic_ns();
        if now_ns.saturating_sub(lead.looked_ns) < LOOK_NS && !self.is_draining() {
            return Ok(());
        }
        lead.looked_ns = now_ns;
        if !self.is_draining() {
            // Nobody rings for a worker that is stopped.
            self.listen_anew()?;
        }
        self.end_late(now_ns);
        Ok(())
    }

    fn end_late(&self, now_ns: u64) {
        let late = lock(&self.seats).late(now_ns);
        for key in late {
            let Some(connection) = lock(&self.seats).take(key) else { continue };
            match &connection.stage {
                Stage::Head | Stage::Body(_) if !connection.is_idle() => {
                    self.complain(&connection, "no whole request in time; closed");
                    let protocol = self.protocol(&connection);
                    if protocol != Protocol::Uwsgi {
                        let answer =
                            unspool_http::refusal(protocol, 408, "the request came too slowly");
                        let _ = stream::send(connection.socket.as_fd(), &answer);
                    }
                }
                Stage::Answer(..) => {
                    self.complain(&connection, "reads its answer too slowly; closed");
                }
                _ => {}
            }
        }
    }
}

enum Advanced {
    Next(Next),
    More(Box<Connection>),
    Gone,
}
