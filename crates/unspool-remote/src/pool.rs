//! Connections of this process that nobody uses for the moment, and addresses where uWSGIs are.
//!
//! Each place has a lock that nobody waits for: a process that forked while another thread held one
//! has a place less, and never stands still.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use unspool_sys::{clock, host};
use unspool_wire::address::PeerAddress;

use crate::remote::{Options, Remote};
use crate::session::Session;

/// Connections that are kept.
const SESSIONS_MAX: usize = 8;
/// How long one is kept.
const IDLE_NS: u64 = 30_000_000_000;
/// Addresses that are remembered.
const UWSGIS_MAX: usize = 16;
/// How long an address counts as a uWSGI's.
const UWSGI_WAIT: Duration = Duration::from_mins(1);

static SESSIONS: [Mutex<Option<Idle>>; SESSIONS_MAX] = [const { Mutex::new(None) }; SESSIONS_MAX];
static UWSGIS: [Mutex<Option<Uwsgi>>; UWSGIS_MAX] = [const { Mutex::new(None) }; UWSGIS_MAX];

/// A connection that nobody uses.
#[derive(Debug)]
struct Idle {
    session: Box<Session>,
    address: PeerAddress,
    options: Arc<Options>,
    /// The process that opened it: a child shares its socket and not its count of frames.
    pid: u32,
    since_ns: u64,
}

#[derive(Debug)]
struct Uwsgi {
    address: PeerAddress,
    until_ns: u64,
}

/// A connection that was used before, if one is left that seems to be good. Closes those that are old.
pub(crate) fn take(remote: &Remote) -> Option<Box<Session>> {
    let (pid, now_ns) = (host::pid(), clock::monotonic_ns());
    for place in &SESSIONS {
        let found = with(place, |idle| {
            let kept = idle.as_ref()?;
            let is_old = kept.pid != pid || now_ns.saturating_sub(kept.since_ns) > IDLE_NS;
            let is_meant =
                kept.address == remote.address && Arc::ptr_eq(&kept.options, &remote.options);
            if is_old || is_meant { idle.take().filter(|_| !is_old) } else { None }
        });
        if let Some(mut idle) = found.flatten()
            && idle.session.is_idle()
        {
            return Some(idle.session);
        }
    }
    None
}

/// Keeps a connection for the next task, unless all places are taken.
pub(crate) fn keep(remote: &Remote, mut session: Box<Session>) {
    if !session.is_idle() {
        return;
    }
    let (pid, now_ns) = (host::pid(), clock::monotonic_ns());
    let mut made = Some(Idle {
        session,
        address: remote.address.clone(),
        options: Arc::clone(&remote.options),
        pid,
        since_ns: now_ns,
    });
    for place in &SESSIONS {
        with(place, |idle| {
            let is_free = idle.as_ref().is_none_or(|kept| {
                kept.pid != pid || now_ns.saturating_sub(kept.since_ns) > IDLE_NS
            });
            if is_free && made.is_some() {
                *idle = made.take();
            }
        });
        if made.is_none() {
            return;
        }
    }
}

/// Whether a uWSGI answered there a moment ago.
pub(crate) fn is_uwsgi(address: &PeerAddress) -> bool {
    let now_ns = clock::monotonic_ns();
    UWSGIS.iter().any(|place| {
        with(place, |known| {
            known.as_ref().is_some_and(|known| known.until_ns > now_ns && known.address == *address)
        })
        .unwrap_or(false)
    })
}

/// Remembers that a uWSGI is there.
pub(crate) fn remember_uwsgi(address: &PeerAddress) {
    let now_ns = clock::monotonic_ns();
    let until_ns = now_ns + UWSGI_WAIT.as_nanos() as u64;
    let mut made = Some(Uwsgi { address: address.clone(), until_ns });
    for place in &UWSGIS {
        with(place, |known| {
            let is_free = known
                .as_ref()
                .is_none_or(|known| known.until_ns <= now_ns || known.address == *address);
            if is_free && made.is_some() {
                *known = made.take();
            }
        });
    }
}

/// Forgets that.
pub(crate) fn forget_uwsgi(address: &PeerAddress) {
    for place in &UWSGIS {
        with(place, |known| known.take_if(|known| known.address == *address));
    }
}

/// Does something with a place, unless somebody else is at it.
fn with<T, R>(place: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> Option<R> {
    match place.try_lock() {
        Ok(mut held) => Some(work(&mut held)),
        Err(TryLockError::Poisoned(held)) => Some(work(&mut held.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}
