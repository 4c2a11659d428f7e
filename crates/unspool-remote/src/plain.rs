//! A task as a plain packet, for a real uWSGI.

use unspool_core::Message;
use unspool_core::taskfile::TaskId;
use unspool_wire::packet::{HEADER_BYTES, REFUSED, SPOOL, STORED, write_packet};

use crate::error::{LinkError, RemoteError};
use crate::remote::Remote;
use crate::transport::{Deadline, Transport};

/// The packet of a message, without what our own mark alone could carry. A body is more than a packet
/// holds.
pub(crate) fn packet(remote: &Remote, message: &Message) -> Result<Vec<u8>, RemoteError> {
    let address = || remote.address.to_string();
    if !message.body.is_empty() {
        return Err(RemoteError::Body { address: address() });
    }
    let pairs: Vec<_> = message.pairs.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    write_packet(SPOOL, 0, &pairs)
        .map_err(|source| RemoteError::Pairs { address: address(), source })
}

/// Sends it and reads the answer. It is never sent twice: a uWSGI would store it twice.
pub(crate) fn send(remote: &Remote, packet: &[u8], id: TaskId) -> Result<(), RemoteError> {
    let address = || remote.address.to_string();
    let mut link = Transport::connect(remote)?;
    let deadline = Deadline::after(remote.options.answer_wait);
    match link.write_all(packet, deadline) {
        // It closes before it has read a packet that is too long, and may have said why.
        Ok(()) | Err(LinkError::Closed) => {}
        Err(source) => return Err(RemoteError::Lost { address: address(), source }),
    }
    let mut answer = [0; HEADER_BYTES];
    let mut came = 0;
    while came < answer.len() {
        match link.read(&mut answer[came..], deadline) {
            Ok(0) | Err(LinkError::Closed) => {
                let bytes = packet.len() - HEADER_BYTES;
                return Err(RemoteError::UwsgiClosed { address: address(), bytes });
            }
            Ok(count) => came += count,
            Err(source) => return Err(RemoteError::Unanswered { address: address(), id, source }),
        }
    }
    match answer {
        STORED => Ok(()),
        REFUSED => Err(RemoteError::UwsgiRefused { address: address() }),
        _ => Err(RemoteError::UwsgiStrange { address: address() }),
    }
}
