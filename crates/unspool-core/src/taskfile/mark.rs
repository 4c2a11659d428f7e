//! Our own pair: key `unspool`, printable ASCII, first of the file, fixed width at its start.
//!
//! ```text
//! unspool1[id=<32 hex> len=<16 hex> ext=<8 hex> crc=<8 hex>]1loopsnu
//! unspool1[id=<32 hex> len=<16 hex> ext=<8 hex> crc=<8 hex>]1loopsnu module=<name>
//! unspool1[id=<32 hex> len=<16 hex> ext=<8 hex> crc=<8 hex>]1loopsnu module=<name> attempts=<n> origin=<network or peer> kid=<key> mac=<64 hex>
//! ```
//!
//! `len` is the length of the whole file, `ext` that of the overflow pairs at the body's start,
//! `crc` the CRC-32C of the file without byte 3, its own digits read as zeros. The module, what
//! the task asks for itself (`words`), its origin and the signature may be there or not, each for
//! itself.

use std::fmt;

use super::{HEADER_BYTES, words};
use crate::limits::MODULE_BYTES_MAX;
use crate::signing::{MAC_BYTES, SigningKey, is_key_name};
use crate::{Origin, TaskPolicy};

/// Key of the pair.
pub(super) const KEY: &[u8] = b"unspool";
/// First bytes of its value. The digit is the format's version.
pub(super) const START: &[u8] = b"unspool1[";
/// Last bytes of its value.
pub(super) const END: &[u8] = b"]1loopsnu";

/// Offset of the value in the file: header, key length, key, value length.
pub(super) const VALUE_OFFSET: usize = HEADER_BYTES + 2 + KEY.len() + 2;
/// Offset of the CRC's digits in the value.
pub(super) const CRC_OFFSET: usize = START.len() + 3 + 32 + 5 + 16 + 5 + 8 + 5;
/// Digits of the CRC.
pub(super) const CRC_DIGITS: usize = 8;
/// Length of the part of the value that is always there.
pub(super) const FIXED_BYTES: usize = CRC_OFFSET + CRC_DIGITS + END.len();
/// What stands between that part and the name of a module.
const MODULE: &[u8] = b" module=";
/// What stands before how the task came.
const ORIGIN: &[u8] = b" origin=";
/// What stands before the name of the key that signed.
const SIGNER: &[u8] = b" kid=";
/// What stands between that name and the digits of the MAC.
const MAC: &[u8] = b" mac=";
/// Digits of the MAC.
const MAC_DIGITS: usize = 2 * MAC_BYTES;

/// What follows the fixed part of the value, without the signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail<'a> {
    /// Empty: none.
    pub(super) module: &'a [u8],
    /// What the task asks for itself, as words.
    pub(super) words: &'a [u8],
    pub(super) origin: Origin,
}

/// Length of the value with this tail, signed by this key.
pub(super) fn value_bytes(tail: Tail<'_>, key: Option<&SigningKey>) -> usize {
    let Tail { module, words, origin } = tail;
    let module = if module.is_empty() { 0 } else { MODULE.len() + module.len() };
    let origin = origin.word().map_or(0, |word| ORIGIN.len() + word.len());
    let signature = key.map_or(0, |key| SIGNER.len() + key.name().len() + MAC.len() + MAC_DIGITS);
    FIXED_BYTES + module + words.len() + origin + signature
}

/// Appends what follows the fixed part of the value. Returns where the digits of the MAC stand, which
/// are zeros.
pub(super) fn write_tail(
    out: &mut Vec<u8>,
    tail: Tail<'_>,
    key: Option<&SigningKey>,
) -> Option<usize> {
    if !tail.module.is_empty() {
        out.extend_from_slice(MODULE);
        out.extend_from_slice(tail.module);
    }
    out.extend_from_slice(tail.words);
    if let Some(word) = tail.origin.word() {
        out.extend_from_slice(ORIGIN);
        out.extend_from_slice(word.as_bytes());
    }
    key.map(|key| {
        out.extend_from_slice(SIGNER);
        out.extend_from_slice(key.name());
        out.extend_from_slice(MAC);
        let offset = out.len();
        out.extend_from_slice(&[b'0'; MAC_DIGITS]);
        offset
    })
}

/// Our pair, found in a file.
#[derive(Debug)]
pub(super) struct FoundMark<'a> {
    /// The fixed part of its value.
    pub(super) fixed: &'a [u8],
    /// Empty: none.
    pub(super) module: &'a [u8],
    pub(super) policy: TaskPolicy,
    pub(super) origin: Origin,
    pub(super) signature: Option<Signature<'a>>,
    /// Where the digits of its MAC stand in the file.
    pub(super) mac_offset: usize,
    /// Bytes of the whole pair.
    pub(super) pair_bytes: usize,
}

/// Who signed a file, and the MAC.
#[derive(Debug)]
pub(super) struct Signature<'a> {
    pub(super) key: &'a [u8],
    pub(super) mac: [u8; MAC_BYTES],
}

/// Part of our pair is there and the rest is not.
#[derive(Debug)]
pub(super) struct Damaged;

/// Looks for our pair at its fixed place. Any of its three marks demands the others, and that the
/// value is exactly what `write` and `write_tail` make.
pub(super) fn find(file: &[u8]) -> Result<Option<FoundMark<'_>>, Damaged> {
    let at = |offset: usize, what: &[u8]| {
        file.get(offset..offset + what.len()).is_some_and(|found| found == what)
    };
    let key = at(HEADER_BYTES + 2, KEY) && at(HEADER_BYTES, &(KEY.len() as u16).to_le_bytes());
    let start = at(VALUE_OFFSET, START);
    let end = at(VALUE_OFFSET + FIXED_BYTES - END.len(), END);
    if !key && !start && !end {
        return Ok(None);
    }
    if !(key && start && end) {
        return Err(Damaged);
    }
    read_value(file).map(Some).ok_or(Damaged)
}

fn read_value(file: &[u8]) -> Option<FoundMark<'_>> {
    let (length, rest) = file.get(VALUE_OFFSET - 2..)?.split_first_chunk::<2>()?;
    let value_bytes = usize::from(u16::from_le_bytes(*length));
    let (fixed, tail) = rest.get(..value_bytes)?.split_at_checked(FIXED_BYTES)?;
    let (module, tail) = match tail.strip_prefix(MODULE) {
        None => (&[][..], tail),
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            let (module, tail) = rest.split_at(end);
            (Some(module).filter(|name| is_module(name))?, tail)
        }
    };
    let (policy, tail) = words::take(tail)?;
    let (origin, tail) = read_origin(tail)?;
    let signature = match tail {
        [] => None,
        _ => Some(read_signature(tail)?),
    };
    let pair_bytes = VALUE_OFFSET - HEADER_BYTES + value_bytes;
    let mac_offset = HEADER_BYTES + pair_bytes - MAC_DIGITS;
    Some(FoundMark { fixed, module, policy, origin, signature, mac_offset, pair_bytes })
}

/// How the task came, and what follows.
fn read_origin(tail: &[u8]) -> Option<(Origin, &[u8])> {
    let Some(rest) = tail.strip_prefix(ORIGIN) else { return Some((Origin::Local, tail)) };
    let (word, rest) = rest.split_at(rest.iter().position(|b| *b == b' ').unwrap_or(rest.len()));
    Some((Origin::read(word)?, rest))
}

fn read_signature(tail: &[u8]) -> Option<Signature<'_>> {
    let (names, digits) = tail.split_at_checked(tail.len().checked_sub(MAC_DIGITS)?)?;
    let key = names.strip_prefix(SIGNER)?.strip_suffix(MAC)?;
    let mut mac = [0; MAC_BYTES];
    for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(take_hex(pair, 2)?.0).ok()?;
    }
    is_key_name(key).then_some(Signature { key, mac })
}

/// Writes bytes as digits over what stands there.
pub(super) fn write_hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_mut(2).zip(bytes) {
        let digits = b"0123456789abcdef";
        pair.copy_from_slice(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
    }
}

/// Whether a module's name can stand in the value.
pub(super) fn is_module(name: &[u8]) -> bool {
    (1..=MODULE_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

/// The identity of a task: 48 bits of milliseconds since 1970, then 80 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u128);

impl TaskId {
    /// Builds an id from the time and random bytes.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0u8; 16];
        bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The values of our pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Identity of the task.
    pub id: TaskId,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Bytes of the overflow pairs.
    pub overflow_bytes: u32,
    /// CRC-32C of the file, byte 3 left out.
    pub crc: u32,
}

impl Mark {
    /// Appends the fixed part of the value to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(START);
        out.extend_from_slice(b"id=");
        push_hex(out, self.id.0, 32);
        out.extend_from_slice(b" len=");
        push_hex(out, u128::from(self.file_bytes), 16);
        out.extend_from_slice(b" ext=");
        push_hex(out, u128::from(self.overflow_bytes), 8);
        out.extend_from_slice(b" crc=");
        push_hex(out, u128::from(self.crc), 8);
        out.extend_from_slice(END);
    }

    /// Reads the fixed part of a value; `None` if it is not exactly what `write` makes.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let rest = value.strip_prefix(START)?.strip_suffix(END)?;
        let (id, rest) = take_hex(rest.strip_prefix(b"id=")?, 32)?;
        let (len, rest) = take_hex(rest.strip_prefix(b" len=")?, 16)?;
        let (ext, rest) = take_hex(rest.strip_prefix(b" ext=")?, 8)?;
        let (crc, rest) = take_hex(rest.strip_prefix(b" crc=")?, 8)?;
        rest.is_empty().then_some(Self {
            id: TaskId(id),
            file_bytes: u64::try_from(len).ok()?,
            overflow_bytes: u32::try_from(ext).ok()?,
            crc: u32::try_from(crc).ok()?,
        })
    }
}

/// Writes the digits of the CRC into a value in place.
pub(super) fn patch_crc(value: &mut [u8], crc: u32) {
    let mut digits = Vec::with_capacity(8);
    push_hex(&mut digits, u128::from(crc), 8);
    value[CRC_OFFSET..CRC_OFFSET + 8].copy_from_slice(&digits);
}

fn push_hex(out: &mut Vec<u8>, value: u128, digits: u32) {
    for place in (0..digits).rev() {
        let nibble = (value >> (4 * place)) & 15;
        out.push(b"0123456789abcdef"[nibble as usize]);
    }
}

fn take_hex(bytes: &[u8], digits: usize) -> Option<(u128, &[u8])> {
    let (head, rest) = bytes.split_at_checked(digits)?;
    let mut value = 0u128;
    for byte in head {
        let nibble = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = (value << 4) | u128::from(nibble);
    }
    Some((value, rest))
}

/// CRC-32C of a whole file: byte 3 is left out, the CRC's own digits count as zeros.
pub(super) fn checksum(file: &[u8]) -> u32 {
    let digits = VALUE_OFFSET + CRC_OFFSET;
    let crc = crc32c::crc32c(&file[..3]);
    let crc = crc32c::crc32c_append(crc, &file[4..digits]);
    let crc = crc32c::crc32c_append(crc, b"00000000");
    crc32c::crc32c_append(crc, &file[digits + 8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_what_it_writes() {
        let mark = Mark {
            id: TaskId::new(0x0123_4567_89ab, [7; 10]),
            file_bytes: 1 << 33,
            overflow_bytes: 70_000,
            crc: 0xdead_beef,
        };
        let mut value = Vec::new();
        mark.write(&mut value);
        assert_eq!(value.len(), FIXED_BYTES);
        assert!(value.iter().all(|b| (0x20..0x7f).contains(b)));
        assert_eq!(Mark::read(&value), Some(mark));
        patch_crc(&mut value, 1);
        assert_eq!(Mark::read(&value).unwrap().crc, 1);
        for cut in 0..value.len() {
            assert_eq!(Mark::read(&value[..cut]), None);
        }
    }
}
