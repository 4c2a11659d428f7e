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

/// Characters of a peer's text that are kept.
const TEXT_CHARS_MAX: usize = 300;

/// A text of a peer's as it can stand in a log or on a terminal: one short line, without what would
/// command either.
pub fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == TEXT_CHARS_MAX {
            shown.push('…');
            break;
        }
        let is_safe = !letter.is_control()
            && !matches!(letter, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}' | '\u{2029}')
            && !('\u{202a}'..='\u{202e}').contains(&letter)
            && !('\u{2066}'..='\u{2069}').contains(&letter);
        if is_safe {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_unicode());
        }
    }
    shown
}

/// Tasks that a client may have sent and not yet heard of, whatever a server says.
pub const WINDOW_MAX: u32 = 256;
