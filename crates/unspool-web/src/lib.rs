//! The connections of one web worker: from sockets that it inherited to whole requests, and back.
//!
//! Owns accepting, reading, buffering and writing, and every bound on them. Does not know what answers a
//! request: the Python binding does. There is no thread for connections. The threads of the application ask for
//! requests, and one of them at a time looks after all connections while it waits for one
//! ([`Front::next`]). So no request is passed between threads, a process accepts only while it has a thread
//! to answer, and slow or idle peers cost memory that is bounded and no thread.

mod accept;
mod body;
mod complaints;
mod connection;
mod exchange;
mod front;
mod hand_over;
mod listening;
mod seats;
mod settings;
mod static_files;

pub use exchange::{Exchange, StartError};
pub use front::{Front, Next};
pub use settings::{FrontSettings, WebProtocol, WebSocket};
pub use static_files::StaticFiles;
