//! What is known of web workers, to be shown.

use unspool_sys::process::Child;

use super::super::Supervisor;
use super::{Seat, Sums, WebWorker};
use crate::snapshot::{WebSnapshot, WebSocketSnapshot, WebThreadSnapshot};

impl Supervisor {
    /// Each seat, in the order of their numbers.
    pub(in super::super) fn web_snapshots(&self, now_ns: u64) -> Vec<WebSnapshot> {
        let numbered = self.web.seats.iter().zip(1..);
        numbered.map(|(seat, number)| self.web_snapshot(seat, number, now_ns)).collect()
    }

    /// What they accept on.
    pub(in super::super) fn web_socket_snapshots(&self) -> Vec<WebSocketSnapshot> {
        let Some(plan) = &self.web.plan else { return Vec::new() };
        let sockets = plan.setup.sockets.iter();
        sockets
            .map(|socket| WebSocketSnapshot {
                address: socket.shown.clone(),
                protocol: socket.protocol,
                backlog: plan.settings.backlog,
            })
            .collect()
    }

    fn web_snapshot(&self, seat: &Seat, number: u32, now_ns: u64) -> WebSnapshot {
        let own = || self.web.processes.iter().filter(move |(_, w)| w.number == number);
        // The one that came last: others leave.
        let last = own().next_back();
        let process = last.and_then(|(id, _)| self.workers.get(id));
        let all = own().flat_map(|(_, worker)| self.web.threads_of(worker));
        let sums = all.fold(seat.sums, |sums, thread| sums.plus(thread.sums));
        let threads = last.map(|(_, worker)| self.web.threads_of(worker)).unwrap_or_default();
        let of_this = threads.iter().fold(Sums::default(), |sums, thread| sums.plus(thread.sums));
        let since_ms =
            |since_ns: u64| (since_ns != 0).then(|| now_ns.saturating_sub(since_ns) / 1_000_000);
        WebSnapshot {
            id: number,
            pid: process.and_then(|process| process.child.as_ref()).map_or(0, Child::pid),
            generation: process.map_or(0, |process| process.generation),
            ready: last.is_some_and(|(_, worker)| worker.ready),
            started_at: process.map(|process| process.asked_at),
            respawns: seat.respawns,
            spawned: seat.spawned,
            harakiris: seat.harakiris,
            leaving: own().filter(|(_, worker)| is_leaving(worker)).count(),
            requests: sums.requests,
            requests_of_process: of_this.requests,
            exceptions: sums.exceptions,
            run_time_us: sums.run_time_us,
            bytes: sums.bytes,
            threads: threads
                .iter()
                .map(|thread| WebThreadSnapshot {
                    requests: thread.sums.requests,
                    since_ms: since_ms(thread.since_ns),
                })
                .collect(),
        }
    }
}

fn is_leaving(worker: &WebWorker) -> bool {
    worker.kill_ns.is_some()
}
