//! The signature of a task file: which bytes it covers, making it and checking it.
//!
//! It is judged on the bytes as they are, before a pair is parsed: all that is read of the file for
//! it is our own pair at its fixed place.

use super::mark::{self, FoundMark};
use super::{ATTEMPTS_OFFSET, HEADER_BYTES};
use crate::signing::{Keyring, MAC_BYTES, SigningKey};

/// What is signed before anything else: a MAC of these keys over other things is none of a task.
pub(super) const DOMAIN: &[u8] = b"unspool task file 1";

/// Why a file does not count as signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// There is none.
    #[error("it is not signed")]
    Missing,
    /// It names a key that is not among ours.
    #[error("it is signed with the key `{key}`, which is not known here")]
    UnknownKey {
        /// Name of the key.
        key: String,
    },
    /// It is not the MAC of these bytes.
    #[error(
        "its signature with the key `{key}` is wrong: its bytes were changed, or whoever wrote it has \
         another key of that name"
    )]
    Wrong {
        /// Name of the key.
        key: String,
    },
    /// Our pair is there in part: the file is no task, signed or not.
    #[error("its unspool mark is damaged")]
    Mark,
}

/// Checks that one of the keys has signed the bytes of a file, all but its count of attempts.
pub fn verify(file: &[u8], keys: &Keyring) -> Result<(), BadSignature> {
    let found = mark::find(file).map_err(|_| BadSignature::Mark)?;
    let Some(FoundMark { signature: Some(signature), mac_offset, .. }) = found else {
        return Err(BadSignature::Missing);
    };
    let name = || String::from_utf8_lossy(signature.key).into_owned();
    let key = keys.find(signature.key).ok_or_else(|| BadSignature::UnknownKey { key: name() })?;
    let parts = parts(file, key.name(), mac_offset).ok_or(BadSignature::Mark)?;
    let is_mac = key.is_mac(&parts, &signature.mac);
    is_mac.then_some(()).ok_or_else(|| BadSignature::Wrong { key: name() })
}

/// The name of the key that a file says it is signed with, whether or not that is true.
pub fn signer(file: &[u8]) -> Option<&[u8]> {
    Some(mark::find(file).ok()??.signature?.key)
}

/// Writes the MAC of a file that is whole but for it and its checksum.
pub(super) fn sign(file: &mut [u8], key: &SigningKey, mac_offset: usize) {
    let Some(parts) = parts(file, key.name(), mac_offset) else { return };
    let mac = key.sign(&parts);
    mark::write_hex(&mut file[mac_offset..], &mac);
}

/// What is signed. Left out are the count of attempts, which changes, the MAC itself and the
/// checksum, which covers the MAC.
fn parts<'a>(file: &'a [u8], key: &'a [u8], mac_offset: usize) -> Option<[&'a [u8]; 6]> {
    let attempts = ATTEMPTS_OFFSET as usize;
    let crc = mark::VALUE_OFFSET + mark::CRC_OFFSET;
    Some([
        DOMAIN,
        key,
        file.get(..attempts)?,
        file.get(HEADER_BYTES..crc)?,
        file.get(crc + mark::CRC_DIGITS..mac_offset)?,
        file.get(mac_offset + 2 * MAC_BYTES..)?,
    ])
}
