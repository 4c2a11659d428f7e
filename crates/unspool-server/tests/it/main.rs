//! Tests of the listeners over real sockets.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod fixture;
mod handed;
mod hostile;
mod packets;
mod sessions;
