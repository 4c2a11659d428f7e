//! The protocol between two of ours: bodies of any size, many tasks, and an answer that lasts.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use unspool_core::Origin;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::encode;
use unspool_wire::peer::Verdict;

use crate::fixture::{Client, Fixture, file, id, keys, message};

#[test]
fn tasks_of_any_size_travel_on_one_connection() {
    let fixture = Fixture::new();
    let mut client = fixture.session(None);
    let sizes = [0, 1, 1000, 65_000, 66_000, 200_000, 5_000_000];
    for (number, bytes) in (0..).zip(sizes) {
        let sent = file(number, &vec![b'x'; bytes], None);
        assert_eq!(client.store(number, &sent).0, Verdict::Stored, "{bytes}");
        assert_eq!(client.store(number, &sent).0, Verdict::Known, "{bytes}");
    }
    let mut bodies: Vec<_> = fixture.tasks().iter().map(|task| task.body.len()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, sizes);
    assert!(fixture.tasks().iter().all(|task| task.origin == Origin::Network));
    assert_eq!(fixture.incoming(), 0);
}

#[test]
fn pairs_may_come_in_any_pieces() {
    let fixture = Fixture::new();
    let mut client = fixture.session(None);
    let long = "v".repeat(40_000);
    let sent = encode(&message(&[("a", &long), ("b", &long)], b"body"), id(1), None).unwrap();
    for (number, piece) in [(1, 1000), (2, 39_000), (3, 64_000)] {
        let bytes = client.frames_of(number, &sent, piece);
        std::io::Write::write_all(&mut client.stream, &bytes).unwrap();
        let verdict = client.answer().unwrap().verdict;
        assert_eq!(verdict, if number == 1 { Verdict::Stored } else { Verdict::Known });
    }
    assert_eq!(fixture.tasks()[0].body, b"body");
}

#[test]
fn many_tasks_are_on_their_way_at_once() {
    let fixture = Fixture::new();
    let mut client = fixture.session(None);
    let window = client.welcome.window;
    assert!((16..=256).contains(&window));
    let mut open = std::collections::BTreeSet::new();
    for number in 0..500 {
        client.send(number, &file(number, b"x", None));
        open.insert(number);
        while open.len() >= window as usize {
            let answer = client.answer().unwrap();
            assert_eq!(answer.verdict, Verdict::Stored, "{}", answer.text);
            assert!(open.remove(&answer.number));
        }
    }
    while !open.is_empty() {
        assert!(open.remove(&client.answer().unwrap().number));
    }
    assert_eq!(fixture.tasks().len(), 500);
}

#[test]
fn what_a_peer_proves_is_noted() {
    let other = "b 8899aabbccddeeff00112233445566778899aabbccddeeff0011223344556677";
    let others = Keyring::parse(other.as_bytes()).unwrap();
    let fixture = Fixture::with(|settings| settings.keys = Some(keys()));
    let mut client = fixture.session(Some(keys().first()));
    assert_eq!(client.store(1, &file(1, b"", None)).0, Verdict::Stored);
    assert_eq!(fixture.tasks()[0].origin, Origin::Peer);
    let refused = Client::begin(fixture.connect(), Some(others.first())).err().unwrap();
    assert!(refused.contains("key `b` is not known"), "{refused}");
    // Without a proof it is one of many.
    let mut client = fixture.session(None);
    assert_eq!(client.store(2, &file(2, b"", None)).0, Verdict::Stored);
    assert!(fixture.tasks().iter().any(|task| task.origin == Origin::Network));
    let without = Fixture::new();
    let refused = Client::begin(without.connect(), Some(others.first())).err().unwrap();
    assert!(refused.contains("this server has none"), "{refused}");
}

#[test]
fn where_a_key_is_needed_nobody_gets_by_without() {
    let fixture = Fixture::with(|settings| {
        settings.keys = Some(keys());
        settings.sockets.iter_mut().for_each(|socket| socket.needs_key = true);
    });
    let refused = Client::begin(fixture.connect(), None).err().unwrap();
    assert!(refused.contains("a key is needed here"), "{refused}");
    let mut client = fixture.session(Some(keys().first()));
    assert_eq!(client.store(1, &file(1, b"", None)).0, Verdict::Stored);
    // The file's permissions and its user are enough.
    let local = UnixStream::connect(&fixture.socket).unwrap();
    assert!(Client::begin(local, None).is_ok());
}

#[test]
fn where_tasks_are_signed_the_proof_of_that_key_is_as_good() {
    for keys_sign in [true, false] {
        let fixture = Fixture::with(|settings| {
            settings.keys = Some(keys());
            settings.keys_sign = keys_sign;
            settings.signed_only = true;
            let spool = &mut settings.spools[0];
            let signing = unspool_spool::SpoolDir::open(&spool.path).unwrap();
            spool.spool = Arc::new(signing.sign_with(Some(keys())));
        });
        let mut client = fixture.session(Some(keys().first()));
        let (verdict, text) = client.store(1, &file(1, b"", None));
        if keys_sign {
            assert_eq!(verdict, Verdict::Stored);
        } else {
            assert_eq!((verdict, text.as_str()), (Verdict::Refused, "it is not signed"));
        }
        let signed = file(2, b"", Some(keys().first()));
        assert_eq!(client.store(2, &signed).0, Verdict::Stored);
        let mut bare = fixture.session(None);
        assert_eq!(bare.store(3, &file(3, b"", None)).0, Verdict::Refused);
        assert_eq!(bare.store(4, &file(4, b"", Some(keys().first()))).0, Verdict::Stored);
    }
}

#[test]
fn what_cannot_be_stored_is_answered_and_the_connection_goes_on() {
    let fixture = Fixture::with(|settings| settings.task_bytes_max = 100_000);
    let mut client = fixture.session(None);
    assert_eq!(client.welcome.task_bytes_max, 100_000);
    let (verdict, text) = client.store(1, &file(1, &vec![0; 200_000], None));
    assert!(verdict == Verdict::Refused && text.contains("network-task-bytes-max"), "{text}");
    let mut damaged = file(2, b"body", None);
    *damaged.last_mut().unwrap() ^= 1;
    let (verdict, text) = client.store(2, &damaged);
    assert!(verdict == Verdict::Refused && text.contains("checksum"), "{text}");
    for junk in [&b""[..], b"\x11", b"\x11\0\0\0", &[17; 5000], &vec![0; 70_000]] {
        assert_eq!(client.store(3, junk).0, Verdict::Refused, "{}", junk.len());
    }
    assert_eq!(client.store(4, &file(4, b"", None)).0, Verdict::Stored);
    assert_eq!((fixture.tasks().len(), fixture.incoming()), (1, 0));
}
