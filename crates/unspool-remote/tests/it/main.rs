//! Sessions and submissions against a thread that speaks the codec over real sockets.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod answers;
mod cuts;
mod packets;
mod peer;
mod tls;
