//! The control plane: what the daemon says to the network.
//!
//! The only crate that knows tokio and HTTP. It has one thread, started only if there is something
//! to serve, and talks to the daemon by messages: nothing that happens here can hold up a task, a
//! limit or a stop. Binding comes apart from serving, so that it can be done before privileges are
//! dropped.

mod document;
mod forward;
mod listener;
mod network;
mod server;
mod stats;
mod tls;
mod web_document;

pub use document::Identity;
pub use forward::{Forwarders, RelaySettings};
pub use listener::{BindError, ListenOptions, Listener, SOCKET_MODE};
pub use network::{
    HandedOver, HandedSocket, NetworkSettings, NetworkSocket, NetworkSpool, SpoolsError,
};
pub use server::{Serve, Server};
pub use stats::StatsSettings;
pub use tls::{TlsError, TlsFiles, TlsServer};
