//! Ask: what the daemons of a spool know, as JSON documents. What stands in them is not known here.

use std::io;
use std::path::Path;
use std::time::Duration;

use unspool_sys::{clock, document};
use unspool_wire::request::Reply;

use crate::present::{Question, ask_daemons};

/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// A request that is answered with a document.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// How the daemon and the spool are.
    Status,
    /// What it knows of the task in this place, relative to the spool.
    Explain(&'a [u8]),
    /// Where tasks are whose names may stand for this part of an id or of a name.
    Find(&'a [u8]),
}

impl Asked<'_> {
    fn packet(self) -> Vec<u8> {
        let (object, data) = match self {
            Self::Status => (r#"{"type":"status"}"#, None),
            Self::Explain(place) => (r#"{"type":"explain"}"#, Some(place)),
            Self::Find(part) => (r#"{"type":"find"}"#, Some(part)),
        };
        let data = data.map(|data| [b"\0", data].concat()).unwrap_or_default();
        [object.as_bytes(), &data].concat()
    }
}

/// The answer of each daemon, by its process.
pub type Documents = Vec<(u32, io::Result<Vec<u8>>)>;

/// Asks each daemon on this machine that runs a spool, and waits `wait` at most for all of them. Empty if
/// none runs it.
pub fn ask_documents(spool: &Path, asked: Asked<'_>, wait: Duration) -> Documents {
    let until_ns = clock::monotonic_ns().saturating_add(wait.as_nanos() as u64);
    let questions = ask_daemons(spool, &asked.packet(), wait);
    let answers = questions.into_iter().map(|(pid, question)| {
        let left_ns = until_ns.saturating_sub(clock::monotonic_ns());
        (pid, question.and_then(|question| document(&question, Duration::from_nanos(left_ns))))
    });
    answers.collect()
}

fn document(question: &Question, wait: Duration) -> io::Result<Vec<u8>> {
    let mut fds = Vec::new();
    let Some(packet) = question.receive(wait, &mut fds)? else {
        return Err(io::Error::from(io::ErrorKind::TimedOut));
    };
    // JSON has no zero bytes.
    let end = packet.iter().position(|byte| *byte == 0);
    let (object, data) = packet.split_at(end.unwrap_or(packet.len()));
    let content = match serde_json::from_slice(object)? {
        Reply::Document { bytes } => {
            let content = match (data.get(1..), fds.first()) {
                (Some(data), _) => data.to_vec(),
                (None, Some(file)) => document::read_sealed(file, DOCUMENT_BYTES_MAX)?,
                (None, None) => Vec::new(),
            };
            (content.len() as u64 == bytes).then_some(content)
        }
        Reply::Refused { error } | Reply::Failed { error } => return Err(io::Error::other(error)),
        Reply::Done | Reply::Cancelled { .. } | Reply::Log { .. } | Reply::Schedule(_) => None,
    };
    content.ok_or_else(|| io::Error::other("the daemon answers what makes no sense"))
}
