//! What a web worker is told about its connections.

use std::os::fd::OwnedFd;
use std::time::Duration;

use unspool_sys::poll::Waker;

/// What is spoken on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebProtocol {
    /// uwsgi packets, of which those with `modifier1` 0 are requests.
    Uwsgi,
    /// HTTP/1.0 and HTTP/1.1.
    Http,
}

/// A socket that listens.
#[derive(Debug)]
pub struct WebSocket {
    /// It.
    pub socket: OwnedFd,
    /// What is spoken there.
    pub protocol: WebProtocol,
    /// Its address, as it is shown.
    pub shown: String,
}

/// What [`Front::new`](crate::Front::new) takes.
#[derive(Debug)]
pub struct FrontSettings {
    /// In the order that the daemon knows them by.
    pub sockets: Vec<WebSocket>,
    /// Where connections go whose first packet is no request; `None`: they are closed.
    pub hand_over: Option<OwnedFd>,
    /// Becomes readable when there is something to do besides requests.
    pub control: Option<OwnedFd>,
    /// What all workers of these sockets hear, an eventfd that nobody reads: with it one that leaves them, or
    /// does something else first, has the others look.
    pub bell: Waker,
    /// Threads that call [`Front::next`](crate::Front::next).
    pub threads: usize,
    /// Bytes of the pairs of a packet.
    pub packet_bytes_max: u16,
    /// Bytes of the head of an HTTP request.
    pub head_bytes_max: usize,
    /// Bytes of a body; `None`: any.
    pub body_bytes_max: Option<u64>,
    /// Bodies are read to their end before the request is answered, and lie in a file beyond so many bytes.
    /// `None`: of a long one the start is read, and the rest by whoever asks for it.
    pub buffer_bodies: Option<usize>,
    /// How long a peer may take for a packet, for 1 KiB of a body, to take bytes of an answer.
    pub wait: Duration,
    /// How long one may take for the head of an HTTP request.
    pub head_wait: Duration,
    /// How long a connection stays between two requests; zero: it has one.
    pub keep_alive: Duration,
    /// Connections at a time.
    pub connections_max: usize,
    /// Takes a line about a peer that misbehaved.
    pub say: fn(&str),
}

impl FrontSettings {
    /// Whether of those workers that wait one alone hears of a connection.
    pub(crate) fn hears_alone(&self) -> bool {
        self.threads == 1
    }
}
