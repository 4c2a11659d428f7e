//! A task as its handler sees it.

use crate::{Origin, TaskPolicy};

/// Pairs in the order given, and the body. The same key may stand twice; the last one wins.
///
/// The handler is given neither `module`, which tells functions of one name apart, nor `policy` and
/// `origin`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Key and value, both raw bytes.
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Raw bytes; empty means that there is no body.
    pub body: Vec<u8>,
    /// Module of the function that the pairs name, printable ASCII; empty where it is not known.
    pub module: Vec<u8>,
    /// What the task asks for itself.
    pub policy: TaskPolicy,
    /// How the task came to its spool.
    pub origin: Origin,
}

impl Message {
    /// The last value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice())
    }
}

/// Payloads never reach a log: only sizes are shown.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("pairs", &self.pairs.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
