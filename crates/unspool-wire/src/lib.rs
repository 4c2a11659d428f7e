//! The protocols between the daemon, its zygote and its workers, and between machines. Bytes in, values out: no sockets.
//!
//! `task` is the hot path, between dispatcher and worker: binary packets of a `SOCK_SEQPACKET`
//! pair. `control` is the cold one, between supervisor and zygote: a JSON object a packet. `request`
//! is what any process may ask of the daemon, `cancel` and `schedule` parts of that. `handover` is how a web
//! worker gives a connection away. The specification is `docs/design/worker-protocol.md`.
//!
//! Of the network are `packet`, uwsgi's protocol, `peer`, the one between two of ours, and `address`,
//! who is where.

pub mod address;
pub mod cancel;
pub mod control;
pub mod handover;
pub mod packet;
pub mod peer;
pub mod request;
pub mod schedule;
pub mod task;

/// Version of both protocols of workers. A worker says it first; a daemon refuses another one.
pub const PROTOCOL_VERSION: u16 = 1;
