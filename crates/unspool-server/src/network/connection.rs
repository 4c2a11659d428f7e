//! One connection: its first packet, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::{debug, info};
use unspool_core::taskfile::KEY_SPOOLER;
use unspool_core::{Message, Origin};
use unspool_spool::SubmitError;
use unspool_wire::packet::{Assembly, PING, PONG, Packet, REFUSED, SPOOL, STORED, read_pairs};
use unspool_wire::peer::Hello;

use super::places::Place;
use super::{Peer, Shared, session};

/// Bytes that are read at once.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// How long what a peer sent is read before its connection is closed: closed with bytes unread, it is
/// reset, and the peer may lose the answer.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// The key under which our own pair stands in a file: nobody else may bring one.
const KEY_OWN: &[u8] = b"unspool";

/// Serves a connection to its end. `read` was read of it before.
pub(super) async fn serve<S>(
    shared: &Arc<Shared>,
    mut stream: S,
    peer: &Peer,
    place: &Place,
    read: Vec<u8>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let wait = shared.settings.packet_wait;
    let Ok(first) = timeout(wait, read_first(shared, &mut stream, peer, read)).await else {
        return shared
            .complaints
            .say(&peer.shown, "no whole packet within `socket-timeout`; closed");
    };
    let Some((packet, rest)) = first else { return };
    place.set_busy(true);
    let answer = match packet.header.modifier1 {
        SPOOL => spool(shared, &packet, peer).await,
        PING => match Hello::read(&packet) {
            Ok(None) => {
                if shared.complaints.may_say() {
                    info!(target: "uwsgi", "PING");
                }
                PONG
            }
            Ok(Some(hello)) => {
                return session::serve(shared, stream, peer, place, hello, rest).await;
            }
            Err(error) => return refuse(shared, stream, peer, &error.to_string()).await,
        },
        other => {
            let problem = format!("-- unavailable modifier requested: {other} --; closed");
            return shared.complaints.say(&peer.shown, &problem);
        }
    };
    let _ = timeout(wait, send_last(&mut stream, &answer)).await;
}

/// Reads the first packet and what came behind it; `None` where there is nothing to be served.
async fn read_first<S: AsyncRead + Unpin>(
    shared: &Shared,
    stream: &mut S,
    peer: &Peer,
    read: Vec<u8>,
) -> Option<(Packet, Vec<u8>)> {
    let mut assembly = Assembly::new(shared.settings.packet_bytes_max);
    let mut got = read.len();
    let mut buffer = read;
    let mut was_read = got > 0;
    buffer.resize(got.max(READ_BYTES), 0);
    loop {
        if !std::mem::take(&mut was_read) {
            got = stream.read(&mut buffer).await.unwrap_or(0);
        }
        if got == 0 {
            // Who connects and says nothing looks whether somebody listens.
            if !assembly.is_empty() {
                shared.complaints.say(&peer.shown, "the connection ended within a packet");
            }
            return None;
        }
        let mut bytes = &buffer[..got];
        match assembly.take(&mut bytes) {
            Ok(None) => {}
            Ok(Some(packet)) => return Some((packet, bytes.to_vec())),
            Err(error) => {
                shared.complaints.say(&peer.shown, &format!("{error}...skip"));
                return None;
            }
        }
    }
}

/// Sends the last that is sent, and waits a moment for the peer to have read it.
async fn send_last<S>(stream: &mut S, answer: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 1024];
    let _ =
        timeout(DRAIN_WAIT, async { while let Ok(1..) = stream.read(&mut buffer).await {} }).await;
    Ok(())
}

/// Refuses a peer that speaks our protocol, with the reason.
pub(super) async fn refuse<S>(shared: &Shared, mut stream: S, peer: &Peer, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    shared.complaints.say(&peer.shown, &format!("refused: {reason}"));
    let refusal = unspool_wire::peer::refusal(reason);
    let _ = timeout(shared.settings.packet_wait, send_last(&mut stream, &refusal)).await;
}

/// Stores a task that came as a packet.
async fn spool(shared: &Arc<Shared>, packet: &Packet, peer: &Peer) -> [u8; 4] {
    let refused = |problem: &str| {
        shared.complaints.say(&peer.shown, &format!("task refused: {problem}"));
        REFUSED
    };
    if peer.needs_key {
        return refused(
            "a key is needed on this socket, which a plain packet cannot prove: submit with unspool \
             and `network-keys`",
        );
    }
    if shared.settings.signed_only && !peer.may_be_unsigned {
        return refused("it is not signed, and `spooler-keys` asks for that");
    }
    let pairs = match read_pairs(&packet.block) {
        Ok(pairs) => pairs,
        Err(error) => return refused(&error.to_string()),
    };
    let spooler = pairs.iter().rev().find(|(key, _)| *key == KEY_SPOOLER);
    let taking = match shared.spools.find(spooler.map_or(&[][..], |(_, value)| value)) {
        Ok(taking) => taking,
        Err(error) => return refused(&error.to_string()),
    };
    let callers = pairs.into_iter().filter(|(key, _)| *key != KEY_OWN);
    let message = Message {
        pairs: callers.map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
        origin: if peer.is_known { Origin::Peer } else { Origin::Network },
        ..Message::default()
    };
    let Ok(permit) = Arc::clone(&shared.storing).acquire_owned().await else { return REFUSED };
    let submitted = tokio::task::spawn_blocking(move || {
        let submitted = taking.submit(message);
        drop(permit);
        submitted
    });
    match submitted.await {
        Ok(Ok(submitted)) => {
            debug!(peer = %peer.shown, path = %submitted.path.display(), "task received");
            STORED
        }
        // It is there, and will run unless the machine fails first. Told "no", the peer sends it again.
        Ok(Err(SubmitError::Unknown { .. })) => STORED,
        Ok(Err(error)) => refused(&with_causes(&error)),
        Err(_) => REFUSED,
    }
}

/// An error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
