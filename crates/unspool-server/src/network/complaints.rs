//! What is logged of peers: a few lines in a while, whatever they do.

use std::sync::{Mutex, PoisonError};

use tracing::warn;
use unspool_core::Allowance;
use unspool_sys::clock;
use unspool_wire::peer::printable;

#[derive(Debug, Default)]
pub(super) struct Complaints {
    allowance: Mutex<Allowance>,
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
        let now_ns = clock::monotonic_ns();
        let room = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now_ns);
        if room.left_out > 0 {
            warn!("of the network: {} more lines like these were left out", room.left_out);
        }
        room.is_left
    }
}
