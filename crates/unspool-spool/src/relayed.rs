//! Relayed: what is said of an outbox, a spool whose tasks are sent on to another machine.
//!
//! Owns two files in its internals: `relay`, what the forwarder says of itself, and `relay-lock`, held by
//! the one forwarder that works while it lives. Who reads them needs no daemon.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use unspool_sys::{clock, file, host, lock};

use crate::layout::OpenError;
use crate::{Access, SpoolDir, SpoolView};

pub(crate) const RELAY: &[u8] = b"relay";
pub(crate) const RELAY_LOCK: &[u8] = b"relay-lock";
/// What is being written under that lock.
pub(crate) const RELAY_NEW: &[u8] = b".relay-new";
/// What the names of all that is written aside begin with.
pub(crate) const RELAY_ASIDE: &[u8] = b".relay-";
/// More than any record of ours.
const BYTES_MAX: usize = 16 * 1024;
/// Characters of an error.
const ERROR_CHARS_MAX: usize = 1000;

/// How a forwarder is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It has not tried yet, or there is nothing to send.
    Idle,
    /// It is connected, and sends what there is.
    Connected,
    /// The receiver cannot be reached, or takes nothing now: it waits.
    Waiting,
}

/// What a forwarder says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayState {
    /// Where tasks go, as it was configured.
    pub address: String,
    /// The forwarder's process.
    pub pid: u32,
    /// Its machine.
    pub host: String,
    /// How it is doing.
    pub link: Link,
    /// Since when, in seconds since 1970.
    pub since: f64,
    /// What went wrong, where it waits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// When it tries again, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<f64>,
    /// Tasks that were sent on since it started.
    pub sent: u64,
}

impl RelayState {
    /// Of this process, idle from now on.
    pub fn new(address: &str, now_s: f64) -> Self {
        Self {
            address: address.to_owned(),
            pid: host::pid(),
            host: String::from_utf8_lossy(&host::hostname()).into_owned(),
            link: Link::Idle,
            since: now_s,
            error: String::new(),
            again_at: None,
            sent: 0,
        }
    }
}

impl SpoolDir {
    /// Opens an outbox, whose tasks go to this address, as [`SpoolDir::open_with`] opens a spool. Who
    /// looks at it learns that no forwarder has worked yet.
    ///
    /// # Errors
    /// As for that.
    pub fn open_outbox(path: &Path, access: &Access, address: &str) -> Result<Self, OpenError> {
        let opened = Self::open_with(path, access)?;
        let named = || {
            if opened.internal.stat(RELAY)?.is_some() {
                return Ok(());
            }
            // A process that lives sees to it; whoever comes second is as right.
            let state = RelayState { pid: 0, ..RelayState::new(address, now_s()) };
            let aside = format!(".relay-{}-new", host::pid()).into_bytes();
            write(&opened, &aside, &state)
        };
        named().map_err(|source| OpenError::Open { path: path.to_owned(), source })?;
        Ok(opened)
    }
}

/// Becomes the outbox's forwarder for as long as what is returned lives; `None`: another one is.
pub fn lead_relay(spool: &SpoolDir) -> io::Result<Option<OwnedFd>> {
    let file = spool.internal.open_or_create(RELAY_LOCK)?;
    Ok(lock::try_lock(file.as_fd())?.then_some(file))
}

/// Says how this forwarder is doing. Only who leads may.
pub fn say_relay(spool: &SpoolDir, state: &RelayState) -> io::Result<()> {
    let mut said = state.clone();
    if let Some((end, _)) = said.error.char_indices().nth(ERROR_CHARS_MAX) {
        said.error.truncate(end);
    }
    write(spool, RELAY_NEW, &said)
}

fn write(spool: &SpoolDir, aside: &[u8], state: &RelayState) -> io::Result<()> {
    let text = serde_json::to_vec(state)?;
    spool.internal.unlink(aside)?;
    let file = spool.internal.create(aside)?;
    file::write_all(file.as_fd(), &text)?;
    spool.internal.replace(aside, RELAY)
}

fn now_s() -> f64 {
    clock::now_ns() as f64 / 1e9
}

/// What a forwarder last said, and whether it lives; `None`: this is no outbox, or none ever worked.
pub fn read_relay(spool: &SpoolView) -> io::Result<Option<(RelayState, bool)>> {
    let Some(internal) = spool.internal()? else { return Ok(None) };
    let file = match internal.open_to_read(RELAY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = vec![0; BYTES_MAX];
    let got = file::read_at(file.as_fd(), &mut text, 0)?;
    let state = serde_json::from_slice(&text[..got])?;
    let lives = match internal.open_to_read(RELAY_LOCK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        other => lock::is_locked(other?.as_fd())?,
    };
    Ok(Some((state, lives)))
}
