//! What the document says of web workers: uWSGI 2.0.31's fields in its order.

use std::path::Path;

use serde::Serialize;
use unspool_supervisor::snapshot::{WebSnapshot, WebSocketSnapshot, WebThreadSnapshot};
use unspool_wire::control::WebProtocol;

use crate::document::{memory, text};

/// A socket that web workers accept on.
#[derive(Serialize)]
pub(crate) struct WebSocket<'a> {
    name: &'a str,
    proto: WebProtocol,
    queue: u64,
    max_queue: u32,
    shared: u8,
    can_offload: u8,
}

/// A web worker. Times are in microseconds.
#[derive(Serialize)]
pub(crate) struct WebWorker {
    id: u32,
    pid: u32,
    accepting: u8,
    requests: u64,
    /// Of the process that is there now.
    delta_requests: u64,
    exceptions: u64,
    harakiri_count: u64,
    signals: u64,
    signal_queue: u64,
    status: &'static str,
    rss: u64,
    vsz: u64,
    running_time: u64,
    last_spawn: i64,
    respawn_count: u64,
    tx: u64,
    avg_rt: u64,
    apps: [App; 1],
    cores: Vec<Core>,
}

/// The application, which each worker has once.
#[derive(Serialize)]
struct App {
    id: u32,
    modifier1: u8,
    mountpoint: &'static str,
    startup_time: u64,
    requests: u64,
    exceptions: u64,
    chdir: String,
}

/// A thread.
#[derive(Serialize)]
struct Core {
    id: usize,
    requests: u64,
    static_requests: u64,
    routed_requests: u64,
    offloaded_requests: u64,
    write_errors: u64,
    read_errors: u64,
    in_request: u8,
    vars: [(); 0],
    req_info: Nothing,
}

/// An object without fields.
#[derive(Serialize)]
struct Nothing {}

impl<'a> WebSocket<'a> {
    pub(crate) fn of(socket: &'a WebSocketSnapshot) -> Self {
        Self {
            name: &socket.address,
            proto: socket.protocol,
            queue: 0,
            max_queue: socket.backlog,
            shared: 0,
            can_offload: 0,
        }
    }
}

impl WebWorker {
    /// `cwd` is where the application runs.
    pub(crate) fn of(worker: &WebSnapshot, cwd: &Path) -> Self {
        let (rss, vsz) = memory(worker.pid);
        let busy = worker.threads.iter().any(|thread| thread.since_ms.is_some());
        Self {
            id: worker.id,
            pid: worker.pid,
            accepting: u8::from(worker.ready),
            requests: worker.requests,
            delta_requests: worker.requests_of_process,
            exceptions: worker.exceptions,
            harakiri_count: worker.harakiris,
            signals: 0,
            signal_queue: 0,
            status: if busy { "busy" } else { "idle" },
            rss,
            vsz,
            running_time: worker.run_time_us,
            last_spawn: worker.started_at.unwrap_or_default(),
            respawn_count: worker.spawned,
            tx: worker.bytes,
            avg_rt: worker.run_time_us.checked_div(worker.requests).unwrap_or_default(),
            apps: [App {
                id: 0,
                modifier1: 0,
                mountpoint: "",
                startup_time: 0,
                requests: worker.requests,
                exceptions: worker.exceptions,
                chdir: text(cwd),
            }],
            cores: worker.threads.iter().enumerate().map(core).collect(),
        }
    }
}

fn core((id, thread): (usize, &WebThreadSnapshot)) -> Core {
    Core {
        id,
        requests: thread.requests,
        static_requests: 0,
        routed_requests: 0,
        offloaded_requests: 0,
        write_errors: 0,
        read_errors: 0,
        in_request: u8::from(thread.since_ms.is_some()),
        vars: [],
        req_info: Nothing {},
    }
}
