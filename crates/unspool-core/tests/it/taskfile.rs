//! The bytes of a task file, against uWSGI's own and against damage.

use proptest::prelude::*;
use unspool_core::taskfile::{Malformed, TaskFile, TaskId, encode, peek};
use unspool_core::{Message, TaskPolicy};

fn message(pairs: &[(&[u8], &[u8])], body: &[u8]) -> Message {
    Message {
        pairs: pairs.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect(),
        body: body.to_vec(),
        ..Message::default()
    }
}

fn with_module(module: &[u8]) -> Message {
    let given = message(&[(b"ud_spool_func", b"f"), (b"a", b"1")], b"body");
    Message { module: module.to_vec(), ..given }
}

fn id() -> TaskId {
    TaskId::new(1_795_417_858_508, [9; 10])
}

/// A file that uWSGI 2.0.31 wrote for `{ud_spool_func: f, a: 1, at, priority}` and a body.
const FOREIGN: &[u8] =
    b"\x11\x35\x00\x00\x0d\x00ud_spool_func\x01\x00f\x01\x00a\x01\x001\x02\x00at\
\x0a\x002000000000\x08\x00priority\x01\x005BODY\x00bytes";

#[test]
fn a_file_of_uwsgi_parses() {
    let task = TaskFile::parse(FOREIGN).unwrap();
    assert!(task.mark.is_none());
    let parsed = task.to_message();
    assert_eq!(parsed.get(b"ud_spool_func"), Some(&b"f"[..]));
    assert_eq!(parsed.get(b"priority"), Some(&b"5"[..]));
    assert_eq!(parsed.body, b"BODY\0bytes");
}

#[test]
fn the_empty_task_is_legal() {
    let task = TaskFile::parse(b"\x11\0\0\0").unwrap();
    assert_eq!(task.fields().count(), 0);
}

#[test]
fn every_truncation_of_ours_is_recognised() {
    for module in [&b""[..], b"shop.tasks"] {
        let file = encode(&with_module(module), id(), None).unwrap();
        for cut in 0..file.len() {
            assert!(TaskFile::parse(&file[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(matches!(TaskFile::parse(&longer), Err(Malformed::Length { .. })));
    }
}

#[test]
fn every_flipped_bit_of_ours_is_recognised_but_in_the_attempt_count() {
    for module in [&b""[..], b"shop.tasks"] {
        let file = encode(&with_module(module), id(), None).unwrap();
        for byte in 0..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[byte] ^= 1 << bit;
                let parsed = TaskFile::parse(&bad);
                if byte == 3 {
                    assert_eq!(parsed.unwrap().attempts, 1 << bit);
                } else {
                    assert!(parsed.is_err(), "byte {byte} bit {bit}");
                }
            }
        }
    }
}

/// Written by `unspool spool --spooler /tmp/x f a=1` before our pair could name a module.
const OURS: &[u8] = b"\x11\x87\0\0\x07\0unspool\x64\0unspool1[id=01a208e3c94e8445e34cc3a966d06a57 \
len=000000000000008b ext=00000000 crc=125c4e3f]1loopsnu\x0d\0ud_spool_func\x01\0f\x01\0a\x01\x001";

#[test]
fn a_file_without_a_module_is_as_it_always_was() {
    let task = TaskFile::parse(OURS).unwrap();
    assert_eq!(task.module, b"");
    let again = encode(&task.to_message(), task.mark.unwrap().id, None).unwrap();
    assert_eq!(again, OURS);
}

#[test]
fn a_module_is_told_and_is_no_pair() {
    let file = encode(&with_module(b"shop.tasks"), id(), None).unwrap();
    let task = TaskFile::parse(&file).unwrap();
    assert_eq!(task.module, b"shop.tasks");
    assert_eq!(task.to_message(), with_module(b"shop.tasks"));
    assert_eq!(task.fields().count(), 2);
    let peeked = peek(&file).unwrap();
    assert_eq!((peeked.function, peeked.exact), (Some(&b"f"[..]), true));
    for bad in [&b"a b"[..], b"\xff", b"a\0", &[b'm'; 201]] {
        assert!(encode(&with_module(bad), id(), None).is_err(), "{bad:?}");
    }
}

#[test]
fn the_longest_module_leaves_the_function_within_what_is_peeked() {
    let file = encode(&with_module(&[b'm'; 200]), id(), None).unwrap();
    assert_eq!(peek(&file[..file.len().min(1024)]).unwrap().function, Some(&b"f"[..]));
}

#[test]
fn foreign_files_are_parsed_strictly() {
    for (file, why) in [
        (&b""[..], "empty"),
        (b"\x11\0\0", "three bytes"),
        (b"\0\0\0\0\0\0\0\0", "zeros, as a power cut may leave them"),
        (b"\x11\x05\0\0\x01", "fewer pairs than announced"),
        (b"\x11\x04\0\0\0\0\x01\0", "an empty key"),
        (b"\x11\x04\0\0\x09\0ab", "a key that runs past the end"),
        (b"\x11\x07\0\0\x01\0a\x05\0xx", "a value that runs past the end"),
        (b"\x11\x02\0\0\x01\0", "a lone length"),
    ] {
        assert!(TaskFile::parse(file).is_err(), "{why}");
    }
}

#[test]
fn long_values_move_to_the_body_and_come_back() {
    let long = vec![b'x'; 70_000];
    let given = message(&[(b"ud_spool_func", b"f"), (b"big", &long), (b"a", b"1")], b"tail");
    let file = encode(&given, id(), None).unwrap();
    let task = TaskFile::parse(&file).unwrap();
    let parsed = task.to_message();
    assert_eq!(parsed.get(b"big"), Some(long.as_slice()));
    assert_eq!(parsed.get(b"a"), Some(&b"1"[..]));
    assert_eq!(parsed.body, b"tail");
    assert_eq!(peek(&file[..200]).unwrap().function, Some(&b"f"[..]));
}

#[test]
fn the_last_one_of_a_key_wins_wherever_the_longest_ones_move() {
    let long = vec![b'x'; 70_000];
    let given = message(&[(b"a", &long), (b"b", b"1"), (b"a", b"short"), (b"a", b"last")], b"");
    let parsed = TaskFile::parse(&encode(&given, id(), None).unwrap()).unwrap().to_message();
    assert_eq!(parsed.get(b"a"), Some(&b"last"[..]));
    let of_a = |message: &Message| -> Vec<Vec<u8>> {
        message.pairs.iter().filter(|(k, _)| k == b"a").map(|(_, v)| v.clone()).collect()
    };
    assert_eq!(of_a(&parsed), of_a(&given));
}

#[test]
fn keys_are_checked() {
    assert!(encode(&message(&[(b"", b"x")], b""), id(), None).is_err());
    assert!(encode(&message(&[(b"unspool", b"x")], b""), id(), None).is_err());
    assert!(encode(&message(&[(&vec![b'k'; 65_536], b"x")], b""), id(), None).is_err());
    assert!(encode(&message(&[(b"at", &vec![b'1'; 65_536])], b""), id(), None).is_err());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..9000)),
            0..12),
        body in prop::collection::vec(any::<u8>(), 0..2000),
        module in "[!-~]{0,200}",
        deaths in any::<Option<u8>>(),
        expires_ms in any::<Option<u64>>(),
    ) {
        prop_assume!(pairs.iter().all(|(k, _)| k != b"unspool"));
        let policy = TaskPolicy { deaths, expires_ms, ..TaskPolicy::default() };
        let given = Message { pairs, body, module: module.into_bytes(), policy, ..Message::default() };
        let file = encode(&given, id(), None).unwrap();
        let task = TaskFile::parse(&file).unwrap();
        prop_assert_eq!(task.mark.unwrap().id, id());
        let mut parsed = task.to_message();
        let mut expected = given;
        parsed.pairs.sort();
        expected.pairs.sort();
        prop_assert_eq!(parsed, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(file in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = peek(&file);
        if let Ok(task) = TaskFile::parse(&file) {
            let _ = task.fields().count();
        }
    }
}
