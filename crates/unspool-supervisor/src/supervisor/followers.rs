//! Who reads the log over a control socket: everybody gets what is kept, and a few may wait for what
//! comes. A reader asks for one packet after the other, so that a slow one costs nothing here; what
//! it misses it finds by the numbers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use unspool_core::limits::PACKET_BYTES_MAX;
use unspool_sys::AsFd;
use unspool_sys::poll::{Poll, Waker};
use unspool_wire::request::Reply;

use super::requests::SILENT;
use super::{KEY_LOG, Supervisor};
use crate::journal::LineRing;

/// Connections that follow the log at the same time.
const FOLLOWERS_MAX: usize = 16;
/// Bytes of lines in an answer; beside them its object needs some.
const ANSWER_BYTES_MAX: usize = PACKET_BYTES_MAX - 256;

/// The log's lines and who follows them.
#[derive(Debug)]
pub(super) struct Followers {
    ring: Arc<LineRing>,
    /// By connection.
    known: BTreeMap<u32, Follower>,
}

#[derive(Debug, Clone, Copy)]
struct Follower {
    /// The number of the line that it gets next.
    next: u64,
    /// It has asked for it.
    waits: bool,
}

impl Followers {
    pub(super) fn new(ring: Arc<LineRing>, poll: &Poll) -> io::Result<Self> {
        let waker = Waker::new()?;
        if let Some(waker) = ring.wakes(waker) {
            poll.add(waker.as_fd(), KEY_LOG)?;
        }
        Ok(Self { ring, known: BTreeMap::new() })
    }
}

impl Supervisor {
    /// A connection asks for the lines from a number on. `wait`: it waits for one if there is none, and
    /// follows the log from now on.
    pub(super) fn ask_for_log(
        &mut self,
        client: Option<u32>,
        from: u64,
        wait: bool,
    ) -> Result<(), String> {
        let client = client.ok_or("the log is read over a control socket")?;
        if wait {
            self.begin_to_follow(client, from)?;
        }
        if !self.send_lines(client, from, !wait) && wait {
            let _ = self.requests.await_answer(client, SILENT, false);
            self.followers.known.insert(client, Follower { next: from, waits: true });
        }
        Ok(())
    }

    fn begin_to_follow(&mut self, client: u32, from: u64) -> Result<(), String> {
        let Self { followers, requests, .. } = self;
        followers.known.retain(|known, _| requests.has(*known));
        match followers.known.get(&client) {
            Some(known) if known.waits => return Err("it waits for an answer already".into()),
            None if followers.known.len() >= FOLLOWERS_MAX => {
                return Err(format!("{FOLLOWERS_MAX} others follow the log already"));
            }
            _ => {}
        }
        requests.let_last(client);
        followers.known.insert(client, Follower { next: from, waits: false });
        Ok(())
    }

    /// Sends the lines from a number on, also none if `all`. Returns whether an answer was sent.
    fn send_lines(&mut self, client: u32, from: u64, all: bool) -> bool {
        // Before the look: a line that comes in between wakes.
        if !self.followers.known.is_empty() {
            self.followers.ring.await_next();
        }
        let found = self.followers.ring.after(from, ANSWER_BYTES_MAX);
        if found.count == 0 && found.first == from && !all {
            return false;
        }
        if let Some(known) = self.followers.known.get_mut(&client) {
            *known = Follower { next: found.first + found.count, waits: false };
        }
        let reply = Reply::Log { first: found.first, count: found.count };
        if !self.answer_data(client, &reply, &found.text) {
            self.close_client(client);
        }
        true
    }

    /// There may be lines that somebody waits for.
    pub(super) fn feed_followers(&mut self) {
        self.followers.ring.woken();
        for (client, Follower { next, waits }) in self.followers.known.clone() {
            if waits && self.send_lines(client, next, false) {
                self.requests.awaits_no_more(client);
            }
        }
    }

    /// The daemon ends: who follows gets the last lines unasked, since there is nobody to ask any more.
    pub(super) fn end_followers(&mut self) {
        for (client, Follower { next, .. }) in self.followers.known.clone() {
            self.send_lines(client, next, false);
        }
    }
}
