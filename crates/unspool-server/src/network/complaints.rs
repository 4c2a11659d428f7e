//! What is logged of peers: a few lines a second, whatever they do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use unspool_wire::peer::printable;

/// Lines within each [`SPAN`]; what is beyond is counted.
const LINES_MAX: u32 = 20;
const SPAN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Complaints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Complaints {
    /// Logs what is wrong with a peer, unless there were many such lines just now.
    pub(super) fn say(&self, peer: &str, problem: &str) {
        if self.may_say() {
            // What a peer sent may be part of it.
            warn!(%peer, "network: {}", printable(problem.as_bytes()));
        }
    }

    /// Whether there is room for one more line about a peer. One that is left out is counted.
    pub(super) fn may_say(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| since.elapsed() >= SPAN) {
            let left_out = std::mem::take(&mut state.left_out);
            if left_out > 0 {
                warn!("of the network: {left_out} more lines like these were left out");
            }
            state.since = Some(Instant::now());
            state.lines = 0;
        }
        state.lines += 1;
        if state.lines > LINES_MAX {
            state.left_out += 1;
        }
        state.lines <= LINES_MAX
    }
}
