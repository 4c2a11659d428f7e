//! Files of other machines: what is taken in reads as it was sent, and says where it came from.

use proptest::prelude::*;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{
    BadSignature, Intake, IntakeRules, KEY_PRIORITY, NotTaken, Received, TaskFile, TaskId, encode,
    encode_foreign, origin_of, peek_value, verify,
};
use unspool_core::{Message, Origin, TaskPolicy};

const THEIRS: &str = "web 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OURS: &str = "a-name-of-thirty-two-characters. \
                    8899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677";

fn keys(lines: &[&str]) -> Keyring {
    Keyring::parse(lines.join("\n").as_bytes()).unwrap()
}

fn id() -> TaskId {
    TaskId::new(1_795_417_858_508, [9; 10])
}

fn head_bytes(file: &[u8]) -> usize {
    4 + usize::from(u16::from_le_bytes([file[1], file[2]]))
}

/// Takes a file in, its body in pieces of so many bytes; returns the new file.
fn take(
    file: &[u8],
    piece: usize,
    rules: IntakeRules<'_>,
) -> Result<(Vec<u8>, Result<(), BadSignature>), String> {
    let (head, rest) = file.split_at(head_bytes(file));
    let mut intake =
        Intake::new(head, file.len() as u64, rules).map_err(|error| error.to_string())?;
    let mut made = intake.start().to_vec();
    for piece in rest.chunks(piece) {
        intake.push(piece);
        made.extend_from_slice(piece);
    }
    assert_eq!(intake.missing(), 0);
    assert_eq!(intake.file_bytes(), made.len() as u64);
    let Received { patches, signed } = intake.finish().map_err(|error| error.to_string())?;
    for patch in patches {
        let start = patch.offset as usize;
        made[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    Ok((made, signed))
}

fn sorted(mut message: Message) -> Message {
    message.pairs.sort();
    message
}

fn small() -> Message {
    Message {
        pairs: vec![(b"ud_spool_func".to_vec(), b"f".to_vec()), (b"a".to_vec(), b"1".to_vec())],
        body: b"a body".to_vec(),
        module: b"shop.tasks".to_vec(),
        policy: TaskPolicy { attempts: Some(3), ..TaskPolicy::default() },
        origin: Origin::Local,
    }
}

#[test]
fn a_sender_cannot_choose_its_origin() {
    for claimed in [Origin::Local, Origin::Peer, Origin::Network] {
        let sent = encode(&Message { origin: claimed, ..small() }, id(), None).unwrap();
        let rules =
            IntakeRules { origin: Origin::Network, verify: None, sign: None, priority: None };
        let (made, _) = take(&sent, 3, rules).unwrap();
        assert_eq!(origin_of(&made), Origin::Network);
        assert_eq!(TaskFile::parse(&made).unwrap().mark.unwrap().id, id());
    }
    assert_eq!(origin_of(&encode(&small(), id(), None).unwrap()), Origin::Local);
}

#[test]
fn a_task_without_a_priority_gets_one() {
    let origin = Origin::Peer;
    for (given, expected) in [(None, "7"), (Some(""), "7"), (Some("3"), "3")] {
        let mut message = small();
        let pair = |value: &str| (KEY_PRIORITY.to_vec(), value.as_bytes().to_vec());
        message.pairs.extend(given.map(pair));
        let sent = encode(&message, id(), None).unwrap();
        let rules = IntakeRules { origin, verify: None, sign: None, priority: Some(b"7") };
        let (made, _) = take(&sent, 3, rules).unwrap();
        let read = TaskFile::parse(&made).unwrap().to_message();
        assert_eq!(read.get(KEY_PRIORITY), Some(expected.as_bytes()), "{given:?}");
        assert_eq!(peek_value(&made, KEY_PRIORITY), Some(expected.as_bytes()));
    }
}

#[test]
fn signatures_are_judged_and_made_anew() {
    let (theirs, ours) = (keys(&[THEIRS]), keys(&[OURS]));
    let both = keys(&[OURS, THEIRS]);
    let rules = IntakeRules {
        origin: Origin::Network,
        verify: Some(&both),
        sign: Some(both.first()),
        priority: None,
    };
    let signed = encode(&small(), id(), Some(theirs.first())).unwrap();
    let (made, standing) = take(&signed, 1, rules).unwrap();
    assert_eq!(standing, Ok(()));
    verify(&made, &ours).unwrap();

    let bare = encode(&small(), id(), None).unwrap();
    assert_eq!(take(&bare, 1, rules).unwrap().1, Err(BadSignature::Missing));
    let only_ours = IntakeRules { verify: Some(&ours), ..rules };
    let unknown = BadSignature::UnknownKey { key: "web".to_owned() };
    assert_eq!(take(&signed, 1, only_ours).unwrap().1, Err(unknown));
    let other = keys(&[&THEIRS.replace("00", "99")]);
    let forged = encode(&small(), id(), Some(other.first())).unwrap();
    let wrong = BadSignature::Wrong { key: "web".to_owned() };
    assert_eq!(take(&forged, 1, rules).unwrap().1, Err(wrong));
}

#[test]
fn what_is_no_task_of_ours_is_refused() {
    let rules = IntakeRules { origin: Origin::Network, verify: None, sign: None, priority: None };
    let foreign = encode_foreign(&small()).unwrap();
    let (head, _) = foreign.split_at(head_bytes(&foreign));
    assert_eq!(Intake::new(head, 100, rules).unwrap_err(), NotTaken::Foreign);
    let file = encode(&small(), id(), None).unwrap();
    let head = &file[..head_bytes(&file)];
    for cut in 0..head.len() {
        assert!(Intake::new(&head[..cut], file.len() as u64, rules).is_err(), "{cut}");
    }
    for bytes in [0, head.len() as u64, file.len() as u64 - 1, file.len() as u64 + 1, u64::MAX] {
        assert!(Intake::new(head, bytes, rules).is_err(), "{bytes}");
    }
    let mut short = Intake::new(head, file.len() as u64, rules).unwrap();
    short.push(b"a");
    assert!(short.finish().is_err());
}

#[test]
fn a_changed_byte_is_noticed() {
    let rules = IntakeRules { origin: Origin::Network, verify: None, sign: None, priority: None };
    let file = encode(&small(), id(), None).unwrap();
    for place in (0..file.len()).filter(|place| *place != 3) {
        let mut changed = file.clone();
        changed[place] ^= 4;
        if head_bytes(&changed) <= changed.len() {
            assert!(take(&changed, 5, rules).is_err(), "{place}");
        }
    }
}

proptest! {
    #[test]
    fn what_is_taken_in_is_what_was_sent(
        pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..9000)),
            0..12),
        body in prop::collection::vec(any::<u8>(), 0..2000),
        // Around the length at which our own pair pushes others to the body.
        fill in prop::option::of(65_200usize..65_500),
        module in "[!-~]{0,200}",
        piece in 1usize..3000,
        signs in any::<bool>(),
    ) {
        prop_assume!(pairs.iter().all(|(k, _)| k != b"unspool"));
        let mut pairs = pairs;
        if let Some(fill) = fill {
            pairs.truncate(2);
            let used: usize = pairs.iter().map(|(k, v)| 4 + k.len() + v.len()).sum();
            pairs.push((b"fill".to_vec(), vec![b'x'; fill.saturating_sub(used)]));
        }
        let message = Message { pairs, body, module: module.into_bytes(), ..Message::default() };
        let sent = encode(&message, id(), None).unwrap();
        let ours = keys(&[OURS]);
        let sign = signs.then(|| ours.first());
        let rules = IntakeRules { origin: Origin::Peer, verify: None, sign, priority: None };
        let (made, _) = take(&sent, piece, rules).unwrap();
        let task = TaskFile::parse(&made).unwrap();
        let expected = Message { origin: Origin::Peer, ..message };
        let read = task.to_message();
        for (key, _) in &expected.pairs {
            prop_assert_eq!(read.get(key), expected.get(key));
        }
        prop_assert_eq!(sorted(read), sorted(expected));
        prop_assert_eq!(signs, verify(&made, &ours).is_ok());
    }

    #[test]
    fn arbitrary_heads_never_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        start in any::<prop::sample::Index>(),
        bytes in any::<u64>(),
    ) {
        let rules = IntakeRules { origin: Origin::Peer, verify: None, sign: None, priority: None };
        let whole = encode(&small(), id(), None).unwrap();
        let mut file = whole[..start.index(whole.len())].to_vec();
        file.extend_from_slice(&noise);
        let _ = Intake::new(&file, bytes, rules);
        let _ = Intake::new(&file, file.len() as u64, rules);
    }
}
