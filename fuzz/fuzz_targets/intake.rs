//! Files of other machines, whole, damaged and forged, taken in piece by piece: what is taken reads as
//! what was sent, is signed as the sender's was, and of the rest nothing is in memory.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use unspool_core::Origin;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{
    Intake, IntakeRules, Malformed, Received, TaskFile, TaskId, encode, verify,
};
use unspool_fuzz::damage::damage;
use unspool_fuzz::memory::bounded;

/// Where the digits of length and checksum stand: `docs/design/spool-format.md`.
const LENGTH_AT: usize = 64;
const CHECKSUM_AT: usize = 98;

static KEYS: LazyLock<[Keyring; 2]> = LazyLock::new(|| {
    ["a", "b"].map(|digit| {
        let text = format!("{digit} {}\n", digit.repeat(64));
        Keyring::parse(text.as_bytes()).expect("a key of 32 bytes")
    })
});

fuzz_target!(|data: &[u8]| {
    // Any bytes: as they are, and with a length and a checksum that are right.
    let mut file = data.to_vec();
    bounded(64 * data.len() + 256 * 1024, || judge(&file, 7, false));
    forge(&mut file);
    bounded(64 * file.len() + 256 * 1024, || judge(&file, 100, true));
    // Too few bytes are no finding.
    let _ = made(&mut Unstructured::new(data));
});

fn made(from: &mut Unstructured<'_>) -> Result<()> {
    let (damages, cut, signs) =
        (from.int_in_range(0..=2)?, from.arbitrary::<u16>()?, from.arbitrary()?);
    let plan: [u8; 16] = from.arbitrary()?;
    let message = unspool_fuzz::message::message(from)?;
    let [theirs, _] = &*KEYS;
    let key = if signs { Some(theirs.first()) } else { None };
    let Ok(mut file) = encode(&message, TaskId(u128::from(cut)), key) else { return Ok(()) };
    let cut = usize::from(cut).max(1);
    judge(&file, cut, signs);
    let mut plan = Unstructured::new(&plan);
    for _ in 0..damages {
        damage(&mut file, &mut plan)?;
    }
    judge(&file, cut, signs);
    forge(&mut file);
    judge(&file, cut, signs);
    Ok(())
}

/// Takes a file in, and compares with what reads and signs whole ones.
fn judge(file: &[u8], cut: usize, signs: bool) {
    let [theirs, ours] = &*KEYS;
    let sign = if signs { Some(ours.first()) } else { None };
    let rules = IntakeRules { origin: Origin::Peer, verify: Some(theirs), sign, priority: None };
    let Some((id, taken, received)) = take(file, cut, rules) else { return };
    let before = TaskFile::parse(file);
    let after = TaskFile::parse(&taken);
    assert_eq!(before.is_ok(), after.is_ok(), "{before:?} {after:?}");
    let (Ok(before), Ok(after)) = (before, after) else { return };
    assert_eq!(received.signed.is_ok(), verify(file, theirs).is_ok());
    assert_eq!(after.mark.as_ref().map(|mark| mark.id), Some(id));
    assert_eq!(before.mark.as_ref().map(|mark| mark.id), Some(id));
    assert_eq!(after.attempts, 0);
    let (sent, stored) = (before.to_message(), after.to_message());
    // A relay may say that it proves nothing for a task, and never that it proves more.
    let is_unknown = sent.origin == Origin::Network;
    assert_eq!(stored.origin, if is_unknown { Origin::Network } else { Origin::Peer });
    assert_eq!((&stored.body, &stored.module), (&sent.body, &sent.module));
    assert_eq!(stored.policy, sent.policy);
    for (key, _) in &sent.pairs {
        assert_eq!(stored.get(key), sent.get(key));
    }
    if signs {
        assert_eq!(verify(&taken, ours), Ok(()));
    }
}

fn take(file: &[u8], cut: usize, rules: IntakeRules<'_>) -> Option<(TaskId, Vec<u8>, Received)> {
    let length = file.get(1..3)?;
    let head_bytes = 4 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    let (head, rest) = file.split_at_checked(head_bytes)?;
    let mut intake = Intake::new(head, file.len() as u64, rules).ok()?;
    assert_eq!(intake.missing(), rest.len() as u64);
    let mut taken = intake.start().to_vec();
    let (id, bytes) = (intake.id(), intake.file_bytes());
    for piece in rest.chunks(cut) {
        intake.push(piece);
        taken.extend_from_slice(piece);
    }
    assert_eq!(taken.len() as u64, bytes);
    let received = intake.finish().ok()?;
    for patch in &received.patches {
        let at = patch.offset as usize;
        taken[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    Some((id, taken, received))
}

/// Makes length and checksum right, as anybody can.
fn forge(file: &mut [u8]) {
    for _ in 0..2 {
        match TaskFile::parse(file) {
            Err(Malformed::Length { bytes, .. }) => {
                file[LENGTH_AT..][..16].copy_from_slice(format!("{bytes:016x}").as_bytes());
            }
            Err(Malformed::Checksum { actual, .. }) => {
                file[CHECKSUM_AT..][..8].copy_from_slice(format!("{actual:08x}").as_bytes());
            }
            _ => break,
        }
    }
}
