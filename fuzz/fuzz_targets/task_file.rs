//! Any bytes as a task file. Those with our mark get the length and the checksum that they need, so
//! that what lies behind those two is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_core::limits::PEEK_BYTES;
use unspool_core::taskfile::{
    KEY_FUNCTION, KEY_PRIORITY, Malformed, TaskFile, encode, peek, peek_value, signer,
};
use unspool_fuzz::memory::bounded;

/// Where the digits of length and checksum stand: `docs/design/spool-format.md`.
const LENGTH_AT: usize = 64;
const CHECKSUM_AT: usize = 98;

fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    // The length is wrong at most once, then the checksum.
    for _ in 0..2 {
        match TaskFile::parse(&file) {
            Err(Malformed::Length { bytes, .. }) => {
                file[LENGTH_AT..][..16].copy_from_slice(format!("{bytes:016x}").as_bytes());
            }
            Err(Malformed::Checksum { actual, .. }) => {
                file[CHECKSUM_AT..][..8].copy_from_slice(format!("{actual:08x}").as_bytes());
            }
            _ => break,
        }
    }
    bounded(64 * file.len() + 4096, || check(&file));
});

fn check(file: &[u8]) {
    let head = &file[..file.len().min(PEEK_BYTES)];
    let _ = (peek(head), peek_value(head, KEY_PRIORITY), signer(file));
    let task = match TaskFile::parse(file) {
        Err(error) => {
            assert!(!matches!(error, Malformed::Length { .. } | Malformed::Checksum { .. }));
            return;
        }
        Ok(task) => task,
    };
    let seen = peek(file).expect("a task has a header");
    assert_eq!(seen.attempts, task.attempts);
    assert_eq!(seen.exact, task.mark.is_some());
    if seen.exact {
        assert_eq!(seen.announced, file.len() as u64);
    } else {
        assert!(seen.announced <= file.len() as u64);
    }
    let function = task.fields().find(|(key, _)| *key == KEY_FUNCTION).map(|(_, value)| value);
    assert!(seen.function.is_none() || seen.function == function);

    // What was read can be written, unless its keys are not for us, and is read again.
    let message = task.to_message();
    let id = unspool_core::taskfile::TaskId(1);
    if let Ok(again) = encode(&message, id, None) {
        let again = TaskFile::parse(&again).expect("our own file").to_message();
        for (key, _) in &message.pairs {
            assert_eq!(again.get(key), message.get(key));
        }
        assert_eq!((&again.body, &again.module), (&message.body, &message.module));
    }
}
