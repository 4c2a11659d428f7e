//! A message into the bytes of a file.

use std::collections::HashSet;

use super::mark::{self, Mark, Tail, TaskId};
use super::{
    HEADER_BYTES, KEY_AT, KEY_FUNCTION, KEY_PRIORITY, KEY_SPOOLER, MODIFIER1, signature, words,
};
use crate::Message;
use crate::limits::{KEY_BYTES_MAX, MODULE_BYTES_MAX, PAIRS_BYTES_MAX, TASK_BYTES_MAX};
use crate::signing::SigningKey;

/// A message that no task file can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// A key of no bytes: every reader would take the file for damaged.
    #[error("a key of the task is empty")]
    EmptyKey,
    /// A key that does not fit its length field.
    #[error("the key `{key}...` has {bytes} bytes, more than {KEY_BYTES_MAX}")]
    KeyTooLong {
        /// The key's first bytes.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// The key that marks our own files.
    #[error("the key `unspool` is kept for unspool itself: use another one")]
    ReservedKey,
    /// A key that must stay in the pairs has a value too long for them.
    #[error("the value of `{key}` has {bytes} bytes, too many for this key")]
    ReservedValueTooLong {
        /// The key.
        key: String,
        /// Bytes of its value.
        bytes: usize,
    },
    /// A module's name that the file cannot hold.
    #[error(
        "the name of the function's module is not of 1 to {MODULE_BYTES_MAX} printable ASCII characters"
    )]
    Module,
    /// The whole file would be too long.
    #[error("the task has {bytes} bytes, more than {TASK_BYTES_MAX}")]
    TooLong {
        /// Bytes of the task.
        bytes: u64,
    },
}

/// Keys that every reader needs, among them a real uWSGI: they never move to the body.
fn stays(key: &[u8]) -> bool {
    [KEY_FUNCTION, KEY_AT, KEY_PRIORITY, KEY_SPOOLER, b"ud_spool_ret"].contains(&key)
}

/// Builds the file of a message, attempts 0, signed if there is a key.
pub fn encode(
    message: &Message,
    id: TaskId,
    key: Option<&SigningKey>,
) -> Result<Vec<u8>, InvalidMessage> {
    check_keys(message)?;
    let asks = words::write(&message.policy);
    let tail = Tail { module: &message.module, words: &asks, origin: message.origin };
    let value_bytes = mark::value_bytes(tail, key);
    let own_bytes = 4 + mark::KEY.len() + value_bytes;
    let moved = choose_overflow(message, own_bytes)?;

    let overflow_bytes: usize =
        moved.iter().map(|i| 8 + message.pairs[*i].0.len() + message.pairs[*i].1.len()).sum();
    let pair_bytes = own_bytes + pair_bytes(message, &moved);
    let file_bytes = HEADER_BYTES + pair_bytes + overflow_bytes + message.body.len();
    if file_bytes as u64 > TASK_BYTES_MAX {
        return Err(InvalidMessage::TooLong { bytes: file_bytes as u64 });
    }
    let too_long = || InvalidMessage::TooLong { bytes: file_bytes as u64 };
    let mark = Mark {
        id,
        file_bytes: file_bytes as u64,
        overflow_bytes: u32::try_from(overflow_bytes).map_err(|_| too_long())?,
        crc: 0,
    };

    let mut out = Vec::with_capacity(file_bytes);
    let pair_bytes = u16::try_from(pair_bytes).map_err(|_| too_long())?;
    push_start(&mut out, pair_bytes, value_bytes, &mark);
    let mac_offset = mark::write_tail(&mut out, tail, key);
    push_pairs(&mut out, message, &moved);
    out.extend_from_slice(&message.body);
    if let (Some(key), Some(offset)) = (key, mac_offset) {
        signature::sign(&mut out, key, offset);
    }
    let crc = mark::checksum(&out);
    mark::patch_crc(&mut out[mark::VALUE_OFFSET..], crc);
    Ok(out)
}

/// Bytes of the pairs that do not move.
pub(super) fn pair_bytes(message: &Message, moved: &[usize]) -> usize {
    let stay = message.pairs.iter().enumerate().filter(|(i, _)| moved.binary_search(i).is_err());
    stay.map(|(_, (key, value))| 4 + key.len() + value.len()).sum()
}

/// Appends the header and our pair as far as its length is fixed.
pub(super) fn push_start(out: &mut Vec<u8>, pair_bytes: u16, value_bytes: usize, mark: &Mark) {
    out.push(MODIFIER1);
    out.extend_from_slice(&pair_bytes.to_le_bytes());
    out.push(0);
    push_u16(out, mark::KEY.len());
    out.extend_from_slice(mark::KEY);
    push_u16(out, value_bytes);
    mark.write(out);
}

/// Appends the pairs that stay, then those that move to the body.
pub(super) fn push_pairs(out: &mut Vec<u8>, message: &Message, moved: &[usize]) {
    for (index, (key, value)) in message.pairs.iter().enumerate() {
        if moved.binary_search(&index).is_err() {
            push_u16(out, key.len());
            out.extend_from_slice(key);
            push_u16(out, value.len());
            out.extend_from_slice(value);
        }
    }
    for (key, value) in moved.iter().map(|index| &message.pairs[*index]) {
        push_u32(out, key.len());
        out.extend_from_slice(key);
        push_u32(out, value.len());
        out.extend_from_slice(value);
    }
}

pub(super) fn check_keys(message: &Message) -> Result<(), InvalidMessage> {
    if !message.module.is_empty() && !mark::is_module(&message.module) {
        return Err(InvalidMessage::Module);
    }
    for (key, _) in &message.pairs {
        if key.is_empty() {
            return Err(InvalidMessage::EmptyKey);
        }
        if key.as_slice() == mark::KEY {
            return Err(InvalidMessage::ReservedKey);
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(InvalidMessage::KeyTooLong {
                key: String::from_utf8_lossy(&key[..32]).into_owned(),
                bytes: key.len(),
            });
        }
    }
    Ok(())
}

/// The pairs that move to the body, by index, ascending: the longest first, until the rest fits.
pub(super) fn choose_overflow(
    message: &Message,
    own_bytes: usize,
) -> Result<Vec<usize>, InvalidMessage> {
    let cost = |i: usize| 4 + message.pairs[i].0.len() + message.pairs[i].1.len();
    let mut total = own_bytes + (0..message.pairs.len()).map(cost).sum::<usize>();
    let mut moved = Vec::new();
    if total <= PAIRS_BYTES_MAX {
        return Ok(moved);
    }
    let mut candidates: Vec<usize> =
        (0..message.pairs.len()).filter(|i| !stays(&message.pairs[*i].0)).collect();
    candidates.sort_by_key(|i| std::cmp::Reverse(cost(*i)));
    for index in candidates {
        if total <= PAIRS_BYTES_MAX {
            break;
        }
        total -= cost(index);
        moved.push(index);
    }
    if total > PAIRS_BYTES_MAX {
        let longest = (0..message.pairs.len())
            .filter(|i| stays(&message.pairs[*i].0))
            .max_by_key(|i| cost(*i))
            .map(|i| &message.pairs[i]);
        let (key, bytes) = longest.map_or((String::new(), 0), |(k, v)| {
            (String::from_utf8_lossy(k).into_owned(), v.len())
        });
        return Err(InvalidMessage::ReservedValueTooLong { key, bytes });
    }
    moved.sort_unstable();
    Ok(with_later_ones(message, moved))
}

/// With what is moved, the later pairs of the same key: a reader gets those of the body last, and
/// the last one of a key wins.
fn with_later_ones(message: &Message, moved: Vec<usize>) -> Vec<usize> {
    let Some(first) = moved.first() else { return moved };
    let mut keys = HashSet::new();
    (*first..message.pairs.len())
        .filter(|index| {
            let key = message.pairs[*index].0.as_slice();
            let goes = moved.binary_search(index).is_ok() || keys.contains(key);
            if goes {
                keys.insert(key);
            }
            goes
        })
        .collect()
}

/// Lengths here were checked against [`PAIRS_BYTES_MAX`] before.
pub(super) fn push_u16(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u16).to_le_bytes());
}

/// Lengths here were checked against [`TASK_BYTES_MAX`] before.
fn push_u32(out: &mut Vec<u8>, value: usize) {
    out.extend_from_slice(&(value as u32).to_le_bytes());
}
