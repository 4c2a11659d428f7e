//! The bytes of a task file: uWSGI's format, with one pair of our own that proves it whole.
//!
//! Owns the layout and nothing else: file names, folders and system calls are elsewhere. The
//! specification is `docs/design/spool-format.md`.
//!
//! ```text
//! 0      modifier1, 17
//! 1..3   length of the pairs, u16 little endian
//! 3      modifier2: failed attempts so far, saturating
//! 4..    pairs: u16 key length, key, u16 value length, value
//! ..     body: the overflow pairs (u32 lengths), then the caller's body
//! ```

mod decode;
mod encode;
mod foreign;
mod intake;
mod mark;
mod signature;
mod words;

pub use decode::{Fields, Malformed, Peek, TaskFile, mark_of, origin_of, peek, peek_value};
pub use encode::{InvalidMessage, encode};
pub use foreign::encode_foreign;
pub use intake::{Intake, IntakeRules, NotTaken, Patch, Received};
pub use mark::{Mark, TaskId};
pub use signature::{BadSignature, signer, verify};

/// First byte of every task file and spool packet.
pub const MODIFIER1: u8 = 17;
/// Bytes before the pairs.
pub const HEADER_BYTES: usize = 4;
/// Where the count of failed attempts stands.
pub const ATTEMPTS_OFFSET: u64 = 3;

/// The key under which `uwsgidecorators` keeps a task's function.
pub const KEY_FUNCTION: &[u8] = b"ud_spool_func";
/// The key of the due time.
pub const KEY_AT: &[u8] = b"at";
/// The key of the priority.
pub const KEY_PRIORITY: &[u8] = b"priority";
/// The key of the spool's directory.
pub const KEY_SPOOLER: &[u8] = b"spooler";
