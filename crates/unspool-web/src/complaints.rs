//! What is logged of peers: a few lines in a while, whatever they do.

use std::sync::{Mutex, PoisonError};

use unspool_core::Allowance;
use unspool_sys::clock;

#[derive(Debug)]
pub(crate) struct Complaints {
    say: fn(&str),
    allowance: Mutex<Allowance>,
}

impl Complaints {
    pub(crate) fn new(say: fn(&str)) -> Self {
        Self { say, allowance: Mutex::default() }
    }

    /// Says what is wrong with a peer, unless there were many such lines just now.
    pub(crate) fn say(&self, peer: &str, problem: &str) {
        let now_ns = clock::monotonic_ns();
        let room = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now_ns);
        if room.left_out > 0 {
            let left_out = room.left_out;
            (self.say)(&format!("of connections: {left_out} more lines like these were left out"));
        }
        if room.is_left {
            (self.say)(&format!("{problem} (from {peer})"));
        }
    }
}
