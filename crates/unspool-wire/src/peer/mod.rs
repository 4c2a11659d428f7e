//! The protocol between two of ours: a hello and a welcome, then frames in both directions.
//!
//! The first packets are uwsgi's, so that it shares a socket with that protocol: a real uWSGI takes a
//! hello for a ping. `hello` has them and the keys of a connection, `frame` what follows. Owns bytes
//! and MACs; sockets, clocks and random numbers are its users'. The specification is
//! `docs/design/network-protocol.md`.

mod frame;
mod hello;
#[cfg(test)]
mod tests;

pub use frame::{
    Answer, Begin, Broken, DATA_BYTES_MAX, FRAME_BYTES_MAX, Frame, Receiver, Sender, Verdict,
};
pub use hello::{
    Greeting, Hello, HelloError, InvalidGreeting, NONCE_BYTES, Nonce, Side, TIME_WINDOW_S, Welcome,
    WelcomeError, refusal,
};

/// Tasks that a client may have sent and not yet heard of, whatever a server says.
pub const WINDOW_MAX: u32 = 256;
