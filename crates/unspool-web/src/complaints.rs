//! What is logged of peers: a few lines in ten seconds, whatever they do.

use std::sync::{Mutex, PoisonError};

use unspool_sys::clock;

/// Lines within each span; what is beyond is counted.
const LINES_MAX: u32 = 20;
const SPAN_NS: u64 = 10_000_000_000;

#[derive(Debug)]
pub(crate) struct Complaints {
    say: fn(&str),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since_ns: u64,
    lines: u32,
    left_out: u64,
}

impl Complaints {
    pub(crate) fn new(say: fn(&str)) -> Self {
        Self { say, state: Mutex::default() }
    }

    /// Says what is wrong with a peer, unless there were many such lines just now.
    pub(crate) fn say(&self, peer: &str, problem: &str) {
        let now_ns = clock::monotonic_ns();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if state.since_ns == 0 || now_ns.saturating_sub(state.since_ns) >= SPAN_NS {
            left_out = state.left_out;
            *state = State { since_ns: now_ns, ..State::default() };
        }
        state.lines += 1;
        let is_too_much = state.lines > LINES_MAX;
        state.left_out += u64::from(is_too_much);
        drop(state);
        if left_out > 0 {
            (self.say)(&format!("of connections: {left_out} more lines like these were left out"));
        }
        if !is_too_much {
            (self.say)(&format!("{problem} (from {peer})"));
        }
    }
}
