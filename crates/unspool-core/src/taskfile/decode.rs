//! The bytes of a file into a message, ours and foreign ones.

use super::mark::{self, FoundMark, Mark, TaskId};
use super::{HEADER_BYTES, KEY_FUNCTION, MODIFIER1};
use crate::limits::TASK_BYTES_MAX;
use crate::{Message, Origin, TaskPolicy};

/// Why a file is no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Fewer bytes than the header and the pairs it announces.
    #[error("it has {bytes} bytes and its header announces at least {announced}")]
    Short {
        /// Bytes there are.
        bytes: u64,
        /// Bytes there should be.
        announced: u64,
    },
    /// More bytes than any task has.
    #[error("it has {bytes} bytes, and no task has more than {TASK_BYTES_MAX}")]
    Long {
        /// Bytes there are.
        bytes: u64,
    },
    /// The first byte is not that of a spool packet: a file of zeros, perhaps.
    #[error("its first byte is {found} and not {MODIFIER1}")]
    Modifier {
        /// The byte.
        found: u8,
    },
    /// A pair that is empty, cut or runs past the end.
    #[error("its pair at byte {offset} {why}")]
    Pair {
        /// Offset in the file.
        offset: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Part of our mark is there and the rest is not.
    #[error("its unspool mark is damaged")]
    Mark,
    /// Longer or shorter than its mark says.
    #[error("it has {bytes} bytes and was written with {written}")]
    Length {
        /// Bytes there are.
        bytes: u64,
        /// Bytes that the writer wrote.
        written: u64,
    },
    /// Bytes differ from those written.
    #[error("its checksum is {actual:08x} and was written as {written:08x}")]
    Checksum {
        /// Of the bytes there are.
        actual: u32,
        /// Of the bytes written.
        written: u32,
    },
}

/// A file that parsed. Borrows its bytes.
#[derive(Clone, Copy)]
pub struct TaskFile<'a> {
    /// Our mark; `None` for a foreign file.
    pub mark: Option<Mark>,
    /// Failed attempts so far.
    pub attempts: u8,
    /// Module of the task's function; empty where its writer did not say.
    pub module: &'a [u8],
    /// What the task asks for itself.
    pub policy: TaskPolicy,
    /// How it came to its spool.
    pub origin: Origin,
    pairs: &'a [u8],
    overflow: &'a [u8],
    /// The caller's body; empty if there is none.
    pub body: &'a [u8],
}

impl std::fmt::Debug for TaskFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskFile")
            .field("mark", &self.mark)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl<'a> TaskFile<'a> {
    /// Parses a whole file: ours by length and checksum, a foreign one strictly by its pairs.
    pub fn parse(file: &'a [u8]) -> Result<Self, Malformed> {
        let (pairs, rest) = split(file)?;
        let found = find_mark(file)?;
        let (mut own, mut overflow_bytes, mut module) = (0, 0, &[][..]);
        let (mut policy, mut origin) = (TaskPolicy::default(), Origin::Local);
        if let Some((mark, found)) = &found {
            verify(file, mark)?;
            (own, overflow_bytes) = (found.pair_bytes, mark.overflow_bytes as usize);
            (module, policy, origin) = (found.module, found.policy, found.origin);
        }
        let mark = found.map(|(mark, _)| mark);
        // Our pair may claim to reach beyond the pairs.
        let callers = pairs.get(own..).ok_or(Malformed::Mark)?;
        let (overflow, body) = rest.split_at_checked(overflow_bytes).ok_or(Malformed::Mark)?;
        let attempts = file[3];
        let task = Self { mark, attempts, module, policy, origin, pairs: callers, overflow, body };
        check_pairs(task.pairs, HEADER_BYTES + own, 2)?;
        check_pairs(task.overflow, HEADER_BYTES + pairs.len(), 4)?;
        Ok(task)
    }

    /// The caller's pairs, in the file's order, those that overflowed last.
    pub fn fields(&self) -> Fields<'a> {
        Fields { pairs: self.pairs, overflow: self.overflow }
    }

    /// An owned copy.
    pub fn to_message(&self) -> Message {
        Message {
            pairs: self.fields().map(|(k, v)| (k.to_vec(), v.to_vec())).collect(),
            body: self.body.to_vec(),
            module: self.module.to_vec(),
            policy: self.policy,
            origin: self.origin,
        }
    }
}

/// Iterator over the pairs of a file that parsed.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    pairs: &'a [u8],
    overflow: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((key, value, rest)) = take_pair(self.pairs, 2) {
            self.pairs = rest;
            return Some((key, value));
        }
        let (key, value, rest) = take_pair(self.overflow, 4)?;
        self.overflow = rest;
        Some((key, value))
    }
}

/// What the first bytes of a file tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    /// Function of `uwsgidecorators`, if its pair is within the bytes.
    pub function: Option<&'a [u8]>,
    /// Its identity; `None` for a foreign file.
    pub id: Option<TaskId>,
    /// Failed attempts so far.
    pub attempts: u8,
    /// What the task asks for itself.
    pub policy: TaskPolicy,
    /// Bytes that the file must have, exactly (`true`) or at least.
    pub announced: u64,
    /// Whether `announced` is exact: a file of ours.
    pub exact: bool,
}

/// Reads what the first bytes of a file tell, without judging the rest.
///
/// `None` where they are fewer than a header or begin with another byte, or our mark is damaged.
pub fn peek(head: &[u8]) -> Option<Peek<'_>> {
    let header = head.first_chunk::<HEADER_BYTES>().filter(|header| header[0] == MODIFIER1)?;
    let pair_bytes = usize::from(u16::from_le_bytes([header[1], header[2]]));
    let mark = find_mark(head).ok()?;
    let end = head.len().min(HEADER_BYTES + pair_bytes);
    let fields = Fields { pairs: &head[HEADER_BYTES..end], overflow: &[] };
    let function = fields.into_iter().find(|(k, _)| *k == KEY_FUNCTION).map(|(_, v)| v);
    let id = mark.as_ref().map(|(mark, _)| mark.id);
    let (announced, exact, policy) = match mark {
        Some((mark, found)) => (mark.file_bytes, true, found.policy),
        None => ((HEADER_BYTES + pair_bytes) as u64, false, TaskPolicy::default()),
    };
    Some(Peek { function, id, attempts: header[3], policy, announced, exact })
}

/// The last value of a key among the pairs that stand whole in the first bytes of a file, without judging
/// the rest; those that overflowed are left out.
pub fn peek_value<'a>(head: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let header = head.first_chunk::<HEADER_BYTES>().filter(|header| header[0] == MODIFIER1)?;
    let pair_bytes = usize::from(u16::from_le_bytes([header[1], header[2]]));
    let end = head.len().min(HEADER_BYTES + pair_bytes);
    let fields = Fields { pairs: &head[HEADER_BYTES..end], overflow: &[] };
    fields.filter(|(found, _)| *found == key).last().map(|(_, value)| value)
}

/// How a task came to its spool, from the first bytes of its file, without judging the rest.
pub fn origin_of(head: &[u8]) -> Origin {
    mark::find(head).ok().flatten().map_or(Origin::Local, |found| found.origin)
}

/// Our mark in the first bytes of a file; `None` where it is not there, or damaged.
pub fn mark_of(head: &[u8]) -> Option<Mark> {
    find_mark(head).ok()?.map(|(mark, _)| mark)
}

fn split(file: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let bytes = file.len() as u64;
    let Some((header, rest)) = file.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Malformed::Short { bytes, announced: HEADER_BYTES as u64 });
    };
    if header[0] != MODIFIER1 {
        return Err(Malformed::Modifier { found: header[0] });
    }
    let pair_bytes = usize::from(u16::from_le_bytes([header[1], header[2]]));
    rest.split_at_checked(pair_bytes)
        .ok_or(Malformed::Short { bytes, announced: (HEADER_BYTES + pair_bytes) as u64 })
}

pub(super) fn find_mark(file: &[u8]) -> Result<Option<(Mark, FoundMark<'_>)>, Malformed> {
    let Some(found) = mark::find(file).map_err(|_| Malformed::Mark)? else { return Ok(None) };
    let mark = Mark::read(found.fixed).ok_or(Malformed::Mark)?;
    Ok(Some((mark, found)))
}

fn verify(file: &[u8], mark: &Mark) -> Result<(), Malformed> {
    let bytes = file.len() as u64;
    if bytes != mark.file_bytes {
        return Err(Malformed::Length { bytes, written: mark.file_bytes });
    }
    let actual = mark::checksum(file);
    if actual != mark.crc {
        return Err(Malformed::Checksum { actual, written: mark.crc });
    }
    Ok(())
}

/// Takes one pair whose lengths have `width` bytes; `None` at the end or where it is cut.
pub(super) fn take_pair(block: &[u8], width: usize) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = take_sized(block, width)?;
    let (value, rest) = take_sized(rest, width)?;
    Some((key, value, rest))
}

fn take_sized(block: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = block.split_at_checked(width)?;
    let length = length.iter().rev().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length)
}

pub(super) fn check_pairs(block: &[u8], base: usize, width: usize) -> Result<(), Malformed> {
    let mut rest = block;
    while !rest.is_empty() {
        let offset = base + block.len() - rest.len();
        let Some((key, _, after)) = take_pair(rest, width) else {
            return Err(Malformed::Pair { offset, why: "runs past the end" });
        };
        if key.is_empty() {
            return Err(Malformed::Pair { offset, why: "has an empty key" });
        }
        rest = after;
    }
    Ok(())
}
