//! Tasks of an outbox: how far they are on their way to another machine.

use unspool_spool::{Link, RelayState};
use unspool_sys::lock::Holder;

use super::waiting::paused;
use super::{Facts, Reason};
use crate::display;

/// Why a task has not left yet.
pub(super) fn reasons(facts: &Facts, relay: &RelayState, lives: bool) -> Vec<Reason> {
    let RelayState { address, pid, .. } = relay;
    if !lives {
        let text = format!(
            "It is to be sent on to {address}, and no daemon on this machine does that: start the one with \
             `spooler = relay:{address}` (`unspool run`)."
        );
        return vec![Reason::new("no_forwarder", text).with("address", address.clone())];
    }
    if facts.holder != Holder::Nobody {
        let text = format!(
            "It is on its way to {address}: daemon {pid} has sent it, or sends it, and waits until the \
             receiver says that it is stored."
        );
        return vec![
            Reason::new("relay_sending", text)
                .with("address", address.clone())
                .with("daemon", *pid),
        ];
    }
    let mut reasons = paused(facts);
    reasons.push(match relay.link {
        Link::Waiting => {
            let again = relay.again_at.map(|at| (at - facts.now_ns as f64 / 1e9).max(0.0));
            let then = again.map_or_else(String::new, |again| {
                format!("; daemon {pid} tries again in {}", display::span(again))
            });
            let since = display::span((facts.now_ns as f64 / 1e9 - relay.since).max(0.0));
            let text = format!(
                "It waits to be sent on to {address}, which takes nothing since {since}: {}{then}.",
                relay.error
            );
            Reason::new("relay_waiting", text).with("address", address.clone())
                .with("daemon", *pid)
                .with("error", relay.error.clone())
                .with("again_s", again)
        }
        Link::Connected | Link::Idle => {
            let text = format!(
                "It waits to be sent on to {address}: daemon {pid} does that, those with a priority and \
                 older ones first."
            );
            Reason::new("relay_queued", text).with("address", address.clone()).with("daemon", *pid)
        }
    });
    reasons
}
