//! Signed files, damaged and forged: none counts as signed but what a key made, whatever the sizes and
//! checksums say; and any text as a file of keys.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{ATTEMPTS_OFFSET, Malformed, TaskFile, TaskId, encode, verify};
use unspool_fuzz::damage::damage;
use unspool_fuzz::memory::bounded;

const ATTEMPTS: usize = ATTEMPTS_OFFSET as usize;
/// Where the digits of length and checksum stand: `docs/design/spool-format.md`.
const LENGTH_AT: usize = 64;
const CHECKSUM_AT: usize = 98;

static KEYS: LazyLock<[Keyring; 2]> = LazyLock::new(|| {
    let ring = |lines: &[(&str, &str)]| {
        let text: String =
            lines.iter().map(|(name, digit)| format!("{name} {}\n", digit.repeat(64))).collect();
        Keyring::parse(text.as_bytes()).expect("keys of 32 bytes")
    };
    // `old` is another key in each.
    [ring(&[("new", "a"), ("old", "b")]), ring(&[("old", "c")])]
});

fuzz_target!(|data: &[u8]| {
    let [ours, others] = &*KEYS;
    bounded(16 * data.len() + 64 * 1024, || {
        let _ = Keyring::parse(data);
    });
    assert!(verify(data, ours).is_err(), "nobody signed it");
    // Too few bytes are no finding.
    let _ = check(&mut Unstructured::new(data), ours, others);
});

fn check(from: &mut Unstructured<'_>, ours: &Keyring, others: &Keyring) -> Result<()> {
    let id = TaskId(u128::from(from.arbitrary::<u64>()?));
    let damages = from.int_in_range(0..=2)?;
    let plan: [u8; 16] = from.arbitrary()?;
    let old = from.arbitrary()?;
    let key = if old { ours.find(b"old") } else { Some(ours.first()) };
    let message = unspool_fuzz::message::message(from)?;
    let Ok(whole) = encode(&message, id, key) else { return Ok(()) };
    assert_eq!(verify(&whole, ours), Ok(()));
    assert!(verify(&whole, others).is_err(), "another key of that name did not sign it");
    assert!(TaskFile::parse(&whole).is_ok());

    let mut plan = Unstructured::new(&plan);
    let mut file = whole.clone();
    for _ in 0..damages {
        damage(&mut file, &mut plan)?;
    }
    judge(&file, &whole, ours);
    forge(&mut file);
    judge(&file, &whole, ours);
    Ok(())
}

/// Signed is what has the bytes that were signed, in the count of attempts any.
fn judge(file: &[u8], whole: &[u8], keys: &Keyring) {
    let same = file.len() == whole.len()
        && (0..file.len()).all(|at| at == ATTEMPTS || file[at] == whole[at]);
    // The checksum is not signed: it covers the signature.
    assert_eq!(verify(file, keys).is_ok() && TaskFile::parse(file).is_ok(), same);
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
