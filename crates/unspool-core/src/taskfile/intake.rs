//! A file of another machine, taken in piece by piece: its mark is written anew, the rest stays.
//!
//! Only the pairs are in memory, never the body. What depends on bytes still to come, the checksum
//! and the MAC, is written over zeros at the end.

use super::decode::{Malformed, check_pairs, find_mark, take_pair};
use super::encode::{
    InvalidMessage, check_keys, choose_overflow, pair_bytes, push_pairs, push_start,
};
use super::mark::{self, Mark, Tail};
use super::{ATTEMPTS_OFFSET, HEADER_BYTES, KEY_PRIORITY, TaskId, signature, words};
use crate::limits::TASK_BYTES_MAX;
use crate::signing::{Keyring, MAC_BYTES, Signing, SigningKey};
use crate::{Message, Origin};

use super::signature::BadSignature;

/// How a file is taken in.
#[derive(Debug, Clone, Copy)]
pub struct IntakeRules<'a> {
    /// What its mark says of where it came from, unless it says already that anybody may have sent it.
    pub origin: Origin,
    /// Keys that it may be signed with.
    pub verify: Option<&'a Keyring>,
    /// The key that signs it anew.
    pub sign: Option<&'a SigningKey>,
    /// The priority that it gets if it names none.
    pub priority: Option<&'a [u8]>,
}

/// Why a file cannot be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It is no task.
    #[error("it is no task")]
    Malformed(#[from] Malformed),
    /// No file of ours can hold it.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// It has no mark of ours.
    #[error("it is no task file of unspool's: its mark is missing")]
    Foreign,
}

/// A file that is being taken in.
#[derive(Debug)]
pub struct Intake {
    /// What its sender wrote.
    theirs: Mark,
    their_crc: u32,
    their_mac: Their,
    /// The start of the new file: header, pairs, those that moved.
    start: Vec<u8>,
    /// Of the new file after `start`.
    rest_crc: u32,
    rest_bytes: u64,
    missing: u64,
    sealing: Option<Sealing>,
    message: Message,
}

/// The signature that came.
#[derive(Debug)]
enum Their {
    /// Nobody asks for it.
    Unasked,
    Bad(BadSignature),
    Begun {
        key: String,
        mac: [u8; MAC_BYTES],
        signing: Signing,
    },
}

/// The signature that is made.
#[derive(Debug)]
struct Sealing {
    signing: Signing,
    mac_offset: usize,
}

/// Bytes that are to be written over what was written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where in the new file.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// A file that came whole.
#[derive(Debug)]
pub struct Received {
    /// What makes the new file one that reads.
    pub patches: Vec<Patch>,
    /// Whether its signature was one of the keys that were given; without keys it is not judged.
    pub signed: Result<(), BadSignature>,
}

impl Intake {
    /// Begins with the header and all pairs of a file of so many bytes.
    pub fn new(head: &[u8], file_bytes: u64, rules: IntakeRules<'_>) -> Result<Self, NotTaken> {
        let (theirs, found) = find_mark(head)?.ok_or(NotTaken::Foreign)?;
        let head_bytes = head_bytes(head);
        if head.len() as u64 != head_bytes {
            return Err(Malformed::Short { bytes: head.len() as u64, announced: head_bytes }.into());
        }
        if theirs.file_bytes != file_bytes {
            let written = theirs.file_bytes;
            return Err(Malformed::Length { bytes: file_bytes, written }.into());
        }
        let after = file_bytes.checked_sub(head_bytes).ok_or(Malformed::Mark)?;
        if u64::from(theirs.overflow_bytes) > after {
            return Err(Malformed::Mark.into());
        }
        let own = HEADER_BYTES + found.pair_bytes;
        let callers = head.get(own..).ok_or(Malformed::Mark)?;
        check_pairs(callers, own, 2)?;
        let mut message = Message {
            pairs: pairs_of(callers),
            body: Vec::new(),
            module: found.module.to_vec(),
            policy: found.policy,
            // A relay may say of a task that it proves nothing for it.
            origin: if found.origin == Origin::Network { found.origin } else { rules.origin },
        };
        check_keys(&message)?;
        if let Some(priority) = rules.priority
            && message.get(KEY_PRIORITY).is_none_or(<[u8]>::is_empty)
        {
            message.pairs.push((KEY_PRIORITY.to_vec(), priority.to_vec()));
        }
        let (start, mac_offset) = new_start(&message, &theirs, after, rules.sign)?;
        let rest_bytes = after;
        let sealing = rules.sign.zip(mac_offset).and_then(|(key, mac_offset)| {
            begin(&start, key, mac_offset, rest_bytes)
                .map(|signing| Sealing { signing, mac_offset })
        });
        Ok(Self {
            their_crc: mark::checksum(head),
            their_mac: begin_check(head, &found, rules.verify, after),
            theirs,
            start,
            rest_crc: 0,
            rest_bytes,
            missing: after,
            sealing,
            message,
        })
    }

    /// The task's identity.
    pub fn id(&self) -> TaskId {
        self.theirs.id
    }

    /// What is wrong with its signature, as far as its start tells.
    pub fn bad_signature(&self) -> Option<&BadSignature> {
        match &self.their_mac {
            Their::Bad(error) => Some(error),
            Their::Unasked | Their::Begun { .. } => None,
        }
    }

    /// The pairs that stand at the file's start, what else its mark says, and no body.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The first bytes of the new file.
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// Bytes of the new file.
    pub fn file_bytes(&self) -> u64 {
        self.start.len() as u64 + self.rest_bytes
    }

    /// Bytes that are still to come.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Takes the next bytes, which go into the new file as they are. No more than are missing.
    pub fn push(&mut self, bytes: &[u8]) {
        self.missing = self.missing.saturating_sub(bytes.len() as u64);
        self.their_crc = crc32c::crc32c_append(self.their_crc, bytes);
        self.rest_crc = crc32c::crc32c_append(self.rest_crc, bytes);
        if let Their::Begun { signing, .. } = &mut self.their_mac {
            signing.push(bytes);
        }
        if let Some(sealing) = &mut self.sealing {
            sealing.signing.push(bytes);
        }
    }

    /// Ends with the last byte: what is to be patched, if the file is what its sender wrote.
    pub fn finish(mut self) -> Result<Received, Malformed> {
        if self.missing > 0 {
            let written = self.theirs.file_bytes;
            return Err(Malformed::Length { bytes: written - self.missing, written });
        }
        if self.their_crc != self.theirs.crc {
            let (actual, written) = (self.their_crc, self.theirs.crc);
            return Err(Malformed::Checksum { actual, written });
        }
        let signed = match self.their_mac {
            Their::Unasked => Ok(()),
            Their::Bad(error) => Err(error),
            Their::Begun { key, mac, signing } => {
                signing.is(&mac).then_some(()).ok_or(BadSignature::Wrong { key })
            }
        };
        let mut patches = Vec::new();
        if let Some(Sealing { signing, mac_offset }) = self.sealing {
            let place = mac_offset..mac_offset + 2 * MAC_BYTES;
            mark::write_hex(&mut self.start[place.clone()], &signing.finish());
            let bytes = self.start[place].to_vec();
            patches.push(Patch { offset: mac_offset as u64, bytes });
        }
        let start_crc = mark::checksum(&self.start);
        let crc = crc32c::crc32c_combine(start_crc, self.rest_crc, self.rest_bytes as usize);
        mark::patch_crc(&mut self.start[mark::VALUE_OFFSET..], crc);
        let offset = mark::VALUE_OFFSET + mark::CRC_OFFSET;
        let bytes = self.start[offset..offset + mark::CRC_DIGITS].to_vec();
        patches.push(Patch { offset: offset as u64, bytes });
        Ok(Received { patches, signed })
    }
}

/// Bytes of the header and the pairs that it announces.
fn head_bytes(head: &[u8]) -> u64 {
    let length = head.get(1..3).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    (HEADER_BYTES + usize::from(length)) as u64
}

fn pairs_of(mut block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    while let Some((key, value, rest)) = take_pair(block, 2) {
        pairs.push((key.to_vec(), value.to_vec()));
        block = rest;
    }
    pairs
}

/// The start of the new file, and where the digits of its MAC stand. Our pair may have grown, so that
/// some of the others have to move to the body.
fn new_start(
    message: &Message,
    theirs: &Mark,
    after: u64,
    key: Option<&SigningKey>,
) -> Result<(Vec<u8>, Option<usize>), InvalidMessage> {
    let asks = words::write(&message.policy);
    let tail = Tail { module: &message.module, words: &asks, origin: message.origin };
    let value_bytes = mark::value_bytes(tail, key);
    let own_bytes = 4 + mark::KEY.len() + value_bytes;
    let moved = choose_overflow(message, own_bytes)?;
    let moved_bytes: usize =
        moved.iter().map(|i| 8 + message.pairs[*i].0.len() + message.pairs[*i].1.len()).sum();
    let pair_bytes = own_bytes + pair_bytes(message, &moved);
    let file_bytes = (HEADER_BYTES + pair_bytes + moved_bytes) as u64 + after;
    let too_long = InvalidMessage::TooLong { bytes: file_bytes };
    let overflow_bytes = u32::try_from(moved_bytes).ok();
    let overflow_bytes = overflow_bytes.and_then(|moved| moved.checked_add(theirs.overflow_bytes));
    let (Some(overflow_bytes), Ok(pair_bytes)) = (overflow_bytes, u16::try_from(pair_bytes)) else {
        return Err(too_long);
    };
    if file_bytes > TASK_BYTES_MAX {
        return Err(too_long);
    }
    let mark = Mark { id: theirs.id, file_bytes, overflow_bytes, crc: 0 };
    let mut start = Vec::with_capacity((file_bytes - after) as usize);
    push_start(&mut start, pair_bytes, value_bytes, &mark);
    let mac_offset = mark::write_tail(&mut start, tail, key);
    push_pairs(&mut start, message, &moved);
    Ok((start, mac_offset))
}

/// Begins the MAC of a file whose start this is.
fn begin(start: &[u8], key: &SigningKey, mac_offset: usize, rest_bytes: u64) -> Option<Signing> {
    let attempts = ATTEMPTS_OFFSET as usize;
    let crc = mark::VALUE_OFFSET + mark::CRC_OFFSET;
    let behind = start.get(mac_offset + 2 * MAC_BYTES..)?;
    let parts = [
        signature::DOMAIN,
        key.name(),
        start.get(..attempts)?,
        start.get(HEADER_BYTES..crc)?,
        start.get(crc + mark::CRC_DIGITS..mac_offset)?,
    ];
    let mut signing = key.begin(&parts, behind.len() as u64 + rest_bytes);
    signing.push(behind);
    Some(signing)
}

fn begin_check(
    head: &[u8],
    found: &mark::FoundMark<'_>,
    keys: Option<&Keyring>,
    after: u64,
) -> Their {
    let Some(keys) = keys else { return Their::Unasked };
    let Some(given) = &found.signature else { return Their::Bad(BadSignature::Missing) };
    let name = String::from_utf8_lossy(given.key).into_owned();
    let Some(key) = keys.find(given.key) else {
        return Their::Bad(BadSignature::UnknownKey { key: name });
    };
    match begin(head, key, found.mac_offset, after) {
        Some(signing) => Their::Begun { key: name, mac: given.mac, signing },
        None => Their::Bad(BadSignature::Mark),
    }
}
