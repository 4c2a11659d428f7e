//! Signatures: nothing but the bytes that were signed passes, and nothing is read before.

use proptest::prelude::*;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{BadSignature, TaskFile, TaskId, encode, peek, verify};
use unspool_core::{Message, TaskPolicy};

const OLD: &str = "old 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW: &str = "new 8899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677";

fn keys(lines: &[&str]) -> Keyring {
    Keyring::parse(lines.join("\n").as_bytes()).unwrap()
}

fn message(module: &[u8]) -> Message {
    Message {
        pairs: vec![
            (b"ud_spool_func".to_vec(), b"f".to_vec()),
            (b"args".to_vec(), b"\x80\x04)\x94.".to_vec()),
        ],
        body: b"body".to_vec(),
        module: module.to_vec(),
        policy: TaskPolicy { attempts: Some(3), ..TaskPolicy::default() },
        ..Message::default()
    }
}

fn id() -> TaskId {
    TaskId::new(1_795_417_858_508, [9; 10])
}

fn signed(message: &Message, keys: &Keyring) -> Vec<u8> {
    encode(message, id(), Some(keys.first())).unwrap()
}

#[test]
fn a_signed_file_verifies_parses_and_is_printable() {
    let keys = keys(&[NEW]);
    for module in [&b""[..], b"shop.tasks", &[b'm'; 200]] {
        let file = signed(&message(module), &keys);
        verify(&file, &keys).unwrap();
        let task = TaskFile::parse(&file).unwrap();
        assert_eq!(task.to_message(), message(module));
        let value = &file[15..15 + usize::from(u16::from_le_bytes([file[13], file[14]]))];
        assert!(value.iter().all(|byte| (0x20..0x7f).contains(byte)));
        let peeked = peek(&file[..file.len().min(1024)]).unwrap();
        assert_eq!((peeked.function, peeked.exact), (Some(&b"f"[..]), true));
    }
}

/// The bytes are fixed: other versions of this code verify them.
#[test]
fn the_signature_is_the_one_it_always_was() {
    let plain = Message { policy: TaskPolicy::default(), ..message(b"shop.tasks") };
    let file = signed(&plain, &keys(&[NEW]));
    // Computed with Python's hmac, from the specification.
    let expected = b" module=shop.tasks kid=new mac=\
        370922137b24b5115189a1e9fb39e0c0513e683ddc5d9d68b8b4db80467d1e0e";
    assert_eq!(file[115..115 + expected.len()], *expected);
}

#[test]
fn no_bit_of_a_signed_file_can_be_flipped_but_in_the_attempt_count() {
    let keys = keys(&[NEW, OLD]);
    for module in [&b""[..], b"shop.tasks"] {
        let file = signed(&message(module), &keys);
        for byte in 0..file.len() {
            for bit in 0..8 {
                let mut bad = file.clone();
                bad[byte] ^= 1 << bit;
                let verified = verify(&bad, &keys);
                let parsed = TaskFile::parse(&bad);
                if byte == 3 {
                    assert_eq!(verified, Ok(()));
                    assert_eq!(parsed.unwrap().attempts, 1 << bit);
                } else {
                    // The digits of the checksum are the one thing that the MAC cannot cover.
                    let checksum = (98..106).contains(&byte);
                    assert_eq!(verified.is_ok(), checksum, "byte {byte} bit {bit}");
                    assert!(parsed.is_err(), "byte {byte} bit {bit}");
                }
            }
        }
    }
}

/// Whoever has no key can make the checksum right again.
#[test]
fn a_change_with_a_right_checksum_parses_and_does_not_verify() {
    let keys = keys(&[NEW]);
    let file = signed(&message(b"shop.tasks"), &keys);
    let whole = TaskFile::parse(&file).unwrap().mark.unwrap();
    for at in (4..98).chain(106..file.len()) {
        let mut forged = file.clone();
        forged[at] = forged[at].wrapping_add(1);
        // The checksum of the changed bytes, from the complaint about the old one.
        let Err(unspool_core::taskfile::Malformed::Checksum { actual, .. }) =
            TaskFile::parse(&forged)
        else {
            continue;
        };
        forged[98..106].copy_from_slice(format!("{actual:08x}").as_bytes());
        assert!(verify(&forged, &keys).is_err(), "byte {at}");
        if let Ok(parsed) = TaskFile::parse(&forged) {
            assert_ne!(parsed.mark.unwrap().crc, whole.crc);
        }
    }
}

#[test]
fn files_that_are_cut_or_grow_do_not_verify() {
    let keys = keys(&[NEW]);
    let file = signed(&message(b""), &keys);
    for cut in 0..file.len() {
        assert!(verify(&file[..cut], &keys).is_err(), "cut at {cut}");
    }
    assert!(verify(&[&file[..], b"\0"].concat(), &keys).is_err());
}

#[test]
fn every_field_counts() {
    let keys = keys(&[NEW]);
    let given = message(b"shop.tasks");
    let value = |file: &[u8]| file[15..15 + usize::from(file[13])].to_vec();
    let original = value(&signed(&given, &keys));
    let mut others = vec![given.clone(); 6];
    others[0].pairs[0].1 = b"g".to_vec();
    others[1].pairs[1].1.push(b'x');
    others[2].pairs.push((b"at".to_vec(), b"1".to_vec()));
    others[3].body.push(b'x');
    others[4].module = b"shop.task5".to_vec();
    others[5].pairs.reverse();
    for other in &others {
        // The MAC of one over the bytes of the other.
        let mut file = signed(other, &keys);
        let end = 15 + usize::from(file[13]);
        file[end - 64..end].copy_from_slice(&original[original.len() - 64..]);
        assert!(matches!(verify(&file, &keys), Err(BadSignature::Wrong { .. })));
    }
    let with_another_id = encode(&given, TaskId::new(1, [9; 10]), Some(keys.first())).unwrap();
    assert_ne!(value(&with_another_id)[150..], original[150..]);
}

#[test]
fn the_first_key_signs_and_all_verify() {
    let (before, during, after) = (keys(&[OLD]), keys(&[NEW, OLD]), keys(&[NEW]));
    let (old, new) = (signed(&message(b""), &before), signed(&message(b""), &during));
    for (file, ring, verified) in [
        (&old, &before, Ok(())),
        (&old, &during, Ok(())),
        (&new, &during, Ok(())),
        (&new, &after, Ok(())),
        (&old, &after, Err(BadSignature::UnknownKey { key: "old".into() })),
        (&new, &before, Err(BadSignature::UnknownKey { key: "new".into() })),
    ] {
        assert_eq!(verify(file, ring), verified);
    }
}

#[test]
fn another_secret_of_that_name_does_not_verify() {
    let other = keys(&[&OLD.replace("old", "new")]);
    let file = signed(&message(b""), &keys(&[NEW]));
    assert_eq!(verify(&file, &other), Err(BadSignature::Wrong { key: "new".into() }));
}

#[test]
fn a_name_is_part_of_what_is_signed() {
    let same_secret = keys(&[NEW, &NEW.replace("new", "old")]);
    let file = signed(&message(b""), &same_secret);
    let text = b" kid=new ";
    let at = file.windows(text.len()).position(|window| window == text).unwrap();
    let mut renamed = file.clone();
    renamed[at..at + text.len()].copy_from_slice(b" kid=old ");
    assert_eq!(verify(&renamed, &same_secret), Err(BadSignature::Wrong { key: "old".into() }));
}

#[test]
fn what_is_not_signed_says_so() {
    let keys = keys(&[NEW]);
    let unsigned = encode(&message(b"shop.tasks"), id(), None).unwrap();
    for file in [&unsigned[..], b"\x11\0\0\0", b"", b"\x11\x06\0\0\x01\0a\x01\0b"] {
        assert_eq!(verify(file, &keys), Err(BadSignature::Missing));
    }
    let mut damaged = unsigned;
    damaged[15] = b'U';
    assert_eq!(verify(&damaged, &keys), Err(BadSignature::Mark));
}

/// The values that a reader must not take: each a change of the end of the pair.
#[test]
fn the_pair_has_one_form() {
    let mac = "0".repeat(64);
    for (tail, good) in [
        (format!(" kid=a mac={mac}"), true),
        (format!(" module=m kid=a mac={mac}"), true),
        (format!(" kid=a mac={mac} module=m"), false),
        (format!(" module=m  kid=a mac={mac}"), false),
        (format!(" kid= mac={mac}"), false),
        (format!(" kid=a/b mac={mac}"), false),
        (format!(" kid={} mac={mac}", "k".repeat(33)), false),
        (format!(" kid=a mac={}", "A".repeat(64)), false),
        (format!(" kid=a mac={}", "0".repeat(63)), false),
        (format!(" kid=a mac={}", "0".repeat(65)), false),
        (format!(" mac={mac}"), false),
        (" kid=a".to_owned(), false),
        (format!("x kid=a mac={mac}"), false),
    ] {
        let plain = encode(&message(b""), id(), None).unwrap();
        let mut file = plain[..115].to_vec();
        file.extend_from_slice(tail.as_bytes());
        file.extend_from_slice(&plain[115..]);
        file[13..15].copy_from_slice(&(100 + tail.len() as u16).to_le_bytes());
        let found = verify(&file, &keys(&[NEW]));
        let is_form = matches!(found, Err(BadSignature::UnknownKey { .. }));
        assert_eq!(is_form, good, "{tail}: {found:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_signed_verifies(
        pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..9000)),
            0..12),
        body in prop::collection::vec(any::<u8>(), 0..2000),
        module in "[!-~]{0,200}",
        attempts in any::<u8>(),
        soft in any::<Option<u64>>(),
    ) {
        prop_assume!(pairs.iter().all(|(k, _)| k != b"unspool"));
        let keys = keys(&[NEW]);
        let policy = TaskPolicy { soft_limit_ms: soft, ..TaskPolicy::default() };
        let message = Message { pairs, body, module: module.into_bytes(), policy, ..Message::default() };
        let mut file = signed(&message, &keys);
        file[3] = attempts;
        prop_assert_eq!(verify(&file, &keys), Ok(()));
        prop_assert!(TaskFile::parse(&file).is_ok());
    }

    #[test]
    fn arbitrary_bytes_never_verify_or_panic(
        mut file in prop::collection::vec(any::<u8>(), 0..600),
        start in any::<prop::sample::Index>(),
    ) {
        let keys = keys(&[NEW]);
        prop_assert!(verify(&file, &keys).is_err());
        let whole = signed(&message(b"m"), &keys);
        let start = start.index(whole.len());
        file.splice(..0, whole[..start].iter().copied());
        prop_assert!(file == whole || verify(&file, &keys).is_err());
    }
}
