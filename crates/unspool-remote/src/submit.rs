//! One task to a receiver, whoever that is.

use std::borrow::Cow;

use unspool_core::taskfile::{KEY_AT, KEY_PRIORITY, KEY_SPOOLER, TaskId, encode};
use unspool_core::{Message, Priority, due};
use unspool_sys::{clock, host};
use unspool_wire::peer::{Answer, Verdict};

use crate::error::{LinkError, RemoteError};
use crate::remote::Remote;
use crate::session::{Opened, Session};
use crate::{plain, pool};

/// A task that a receiver has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id; a uWSGI knows none.
    pub id: Option<TaskId>,
    /// Bytes of its file, or of its packet.
    pub bytes: u64,
}

/// Sends a task and waits until the receiver has stored it. To one of ours: durably.
///
/// The keys `at` and `priority` are checked as for a spool of this machine. A key `spooler` is the
/// address and no business of the receiver's: it is left out. A real uWSGI gets a plain packet, without
/// the function's module and what the task asks for itself.
///
/// # Errors
/// [`RemoteError::Unanswered`] means that it may be stored or not; any other error that it is not, as
/// far as the receiver said.
pub fn submit(remote: &Remote, message: &Message) -> Result<Submitted, RemoteError> {
    message.get(KEY_AT).map(due::parse_at).transpose()?;
    match message.get(KEY_PRIORITY) {
        None | Some(b"") => {}
        Some(name) => drop(Priority::new(name)?),
    }
    let mut message = Cow::Borrowed(message);
    if message.get(KEY_SPOOLER).is_some() {
        message.to_mut().pairs.retain(|(key, _)| key != KEY_SPOOLER);
    }

    let random = host::random().map_err(RemoteError::Random)?;
    let id = TaskId::new((clock::now_ns() / 1_000_000) as u64, random);
    if remote.may_be_uwsgi()
        && pool::is_uwsgi(&remote.address)
        && let Ok(packet) = plain::packet(remote, &message)
    {
        match send_plain(remote, &packet, id) {
            // Nothing is stored, and one of ours may be there by now.
            Err(RemoteError::UwsgiRefused { .. }) => pool::forget_uwsgi(&remote.address),
            sent => return sent,
        }
    }
    let key = remote.options.keys.as_ref().map(|keys| keys.first());
    let file = encode(&message, id, key)?;
    if deliver(remote, id, &file)? == Receiver::Ours {
        return Ok(Submitted { id: Some(id), bytes: file.len() as u64 });
    }
    pool::remember_uwsgi(&remote.address);
    send_plain(remote, &plain::packet(remote, &message)?, id)
}

fn send_plain(remote: &Remote, packet: &[u8], id: TaskId) -> Result<Submitted, RemoteError> {
    plain::send(remote, packet, id)?;
    Ok(Submitted { id: None, bytes: packet.len() as u64 })
}

/// Who was there.
#[derive(Debug, PartialEq, Eq)]
enum Receiver {
    /// One of ours, which has the task.
    Ours,
    /// A uWSGI, which got nothing.
    Uwsgi,
}

/// Sends a task's file. If its connection is lost it is sent once more: a receiver stores an id once.
fn deliver(remote: &Remote, id: TaskId, file: &[u8]) -> Result<Receiver, RemoteError> {
    let address = || remote.address.to_string();
    let unanswered = |source| RemoteError::Unanswered { address: address(), id, source };
    let mut used = pool::take(remote);
    let mut sent_again = false;
    // How it failed once it was sent whole: from then on it may be stored.
    let mut unsure = None;
    loop {
        let is_used = used.is_some();
        let opened = match used.take() {
            Some(session) => Ok(Opened::Peer(session)),
            None => Session::open(remote),
        };
        let mut session = match (opened, unsure.take()) {
            (Ok(Opened::Peer(session)), kept) => {
                unsure = kept;
                session
            }
            (_, Some(source)) => return Err(unanswered(source)),
            (Ok(Opened::Uwsgi), None) => return Ok(Receiver::Uwsgi),
            (Err(error), None) => return Err(error),
        };
        let (bytes, most) = (file.len() as u64, session.task_bytes_max());
        if bytes > most {
            if let Some(source) = unsure {
                return Err(unanswered(source));
            }
            return Err(RemoteError::TooLong { address: address(), bytes, most });
        }
        let Failed { was_whole, error } = match attempt(&mut session, file, remote) {
            Ok(answer) => {
                pool::keep(remote, session);
                return match (judged(answer, remote), unsure) {
                    (Ok(()), _) => Ok(Receiver::Ours),
                    // It may be stored from the first time, whatever is said of the second.
                    (Err(_), Some(source)) => Err(unanswered(source)),
                    (Err(error), None) => Err(error),
                };
            }
            Err(failed) => failed,
        };
        // A connection that had died before it was used again costs no attempt.
        let is_free = is_used && !was_whole;
        let goes_on = error.is_lost() && (is_free || !sent_again);
        sent_again |= !is_free;
        match (was_whole, goes_on, unsure.take()) {
            (true, true, _) => unsure = Some(error),
            (false, true, kept) => unsure = kept,
            (true, false, _) => return Err(unanswered(error)),
            (false, false, Some(source)) => return Err(unanswered(source)),
            (false, false, None) => {
                return Err(RemoteError::Lost { address: address(), source: error });
            }
        }
    }
}

/// An attempt that brought no answer.
#[derive(Debug)]
struct Failed {
    /// Whether all of the task was sent.
    was_whole: bool,
    error: LinkError,
}

fn attempt(session: &mut Session, file: &[u8], remote: &Remote) -> Result<Answer, Failed> {
    // Which spool, the receiver decides: its first one.
    let sent = session.send(b"", file.len() as u64, &mut &file[..]);
    sent.map_err(|error| Failed { was_whole: false, error })?;
    let wait = remote.options.answer_wait;
    let received = session.receive(wait).and_then(|answer| answer.ok_or(LinkError::Silent(wait)));
    received.map_err(|error| Failed { was_whole: true, error })
}

/// What an answer means.
fn judged(answer: Answer, remote: &Remote) -> Result<(), RemoteError> {
    let (address, reason) = (remote.address.to_string(), answer.text);
    match answer.verdict {
        // Known: the answer of the first time did not arrive.
        Verdict::Stored | Verdict::Known => Ok(()),
        Verdict::Refused => Err(RemoteError::Refused { address, reason }),
        Verdict::Later => Err(RemoteError::Later { address, reason }),
    }
}
