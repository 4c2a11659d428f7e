//! Both sides together, and what comes of bytes that neither sent.

use unspool_core::signing::{Keyring, SigningKey};

use super::*;
use crate::packet::{Assembly, PONG, Packet};

fn keys(text: &str) -> Keyring {
    Keyring::parse(text.as_bytes()).unwrap()
}

fn ours() -> Keyring {
    keys(&format!("a {}\nb {}\n", "11".repeat(32), "22".repeat(32)))
}

fn packet(bytes: &[u8]) -> Packet {
    let mut rest = bytes;
    let packet = Assembly::new(u16::MAX).take(&mut rest).unwrap().unwrap();
    assert!(rest.is_empty());
    packet
}

/// The keys of both sides of a connection, which are the same.
fn session(keys: &Keyring) -> [SigningKey; 2] {
    let hello = Hello::new(1000, [1; NONCE_BYTES], Some(keys.first()));
    let heard = Hello::read(&packet(&hello.to_packet())).unwrap().unwrap();
    let key = heard.check(keys, 1000 + TIME_WINDOW_S).unwrap();
    let welcome = Welcome::new(&heard, [2; NONCE_BYTES], 1 << 20, 64, Some(key));
    let server = welcome.session(&heard, key);
    let Greeting::Welcome(told) = Greeting::read(&packet(&welcome.to_packet())).unwrap() else {
        panic!("no welcome");
    };
    assert_eq!((told.task_bytes_max, told.window), (1 << 20, 64));
    told.check(&hello, keys.first()).unwrap();
    [told.session(&hello, keys.first()), server]
}

fn frames() -> Vec<Frame> {
    vec![
        Frame::Begin(Begin { number: 7, bytes: 3, spooler: b"/var/spool/a".to_vec() }),
        Frame::Data(vec![1, 2, 3]),
        Frame::Data(vec![0; FRAME_BYTES_MAX]),
    ]
}

fn all(receiver: &mut Receiver, mut bytes: &[u8]) -> Result<Vec<Frame>, Broken> {
    let mut found = Vec::new();
    while let Some(frame) = receiver.take(&mut bytes)? {
        found.push(frame);
    }
    Ok(found)
}

#[test]
fn frames_come_as_they_were_sent() {
    let [client, server] = session(&ours());
    for (sends, takes) in [(None, None), (Some(client), Some(server))] {
        let mut bytes = Vec::new();
        let mut sender = Sender::new(Side::Client, sends.clone());
        for frame in &frames() {
            sender.push(frame, &mut bytes);
        }
        let mut receiver = Receiver::new(Side::Client, takes.clone());
        assert_eq!(all(&mut receiver, &bytes), Ok(frames()));
        // Byte by byte, too.
        let mut receiver = Receiver::new(Side::Client, takes.clone());
        let mut found = Vec::new();
        for byte in bytes.chunks(1) {
            found.extend(all(&mut receiver, byte).unwrap());
        }
        assert_eq!(found, frames());
        assert!(receiver.is_between());

        let answer = Answer { number: 9, verdict: Verdict::Later, text: "full".to_owned() };
        let mut bytes = Vec::new();
        Sender::new(Side::Server, takes).push(&Frame::Answer(answer.clone()), &mut bytes);
        let mut receiver = Receiver::new(Side::Server, sends);
        assert_eq!(all(&mut receiver, &bytes), Ok(vec![Frame::Answer(answer)]));
    }
}

#[test]
fn a_frame_that_was_changed_moved_or_repeated_is_refused() {
    let [client, server] = session(&ours());
    let sent = |frame: &Frame| {
        let mut bytes = Vec::new();
        Sender::new(Side::Client, Some(client.clone())).push(frame, &mut bytes);
        bytes
    };
    let takes = || Receiver::new(Side::Client, Some(server.clone()));
    let data = sent(&Frame::Data(b"abc".to_vec()));
    for place in 0..data.len() {
        let mut changed = data.clone();
        changed[place] ^= 1;
        let read = all(&mut takes(), &changed);
        // A length that grew waits for bytes that do not come.
        assert!(read.is_err() || read == Ok(Vec::new()), "{place}");
    }
    assert_eq!(all(&mut takes(), &[&data[..], &data[..]].concat()), Err(Broken::Mac));
    // The same frame of another connection, of another key, or without one.
    let mut other = Receiver::new(Side::Client, Some(ours().first().clone()));
    assert_eq!(all(&mut other, &data), Err(Broken::Mac));
    let mut bare = Vec::new();
    Sender::new(Side::Client, None).push(&Frame::Data(vec![0; 100]), &mut bare);
    bare.extend_from_slice(&[0; 32]);
    assert_eq!(all(&mut takes(), &bare), Err(Broken::Mac));
}

#[test]
fn what_is_too_long_or_goes_the_wrong_way_is_refused_by_its_head() {
    let mut receiver = Receiver::new(Side::Client, None);
    assert_eq!(all(&mut receiver, &[2, 1, 0, 1, 0]), Err(Broken::Length(65_537)));
    let mut receiver = Receiver::new(Side::Client, None);
    assert_eq!(all(&mut receiver, &[3, 1, 0, 0, 0]), Err(Broken::Kind(3)));
    let mut receiver = Receiver::new(Side::Server, None);
    assert_eq!(all(&mut receiver, &[1, 1, 0, 0, 0]), Err(Broken::Kind(1)));
    let mut receiver = Receiver::new(Side::Client, None);
    assert_eq!(all(&mut receiver, &[1, 1, 0, 0, 0, 7]), Err(Broken::Payload(1)));
}

#[test]
fn a_hello_needs_its_key_and_its_time() {
    let keys = ours();
    let hello = Hello::new(1000, [1; NONCE_BYTES], Some(keys.find(b"b").unwrap()));
    assert_eq!(hello.check(&keys, 1000).unwrap().name(), b"b");
    assert_eq!(hello.check(&keys, 1301).unwrap_err(), HelloError::Time(301));
    let others = self::keys(&format!("b {}", "33".repeat(32)));
    assert_eq!(hello.check(&others, 1000).unwrap_err(), HelloError::Wrong("b".to_owned()));
    let none = self::keys(&format!("c {}", "33".repeat(32)));
    assert_eq!(hello.check(&none, 1000).unwrap_err(), HelloError::UnknownKey("b".to_owned()));
    assert_eq!(Hello::new(1, [1; 16], None).check(&keys, 1).unwrap_err(), HelloError::NoKey);
    // A server that has another key of that name.
    let welcome = Welcome::new(&hello, [2; 16], 1, 1, Some(others.first()));
    assert_eq!(welcome.check(&hello, keys.find(b"b").unwrap()), Err(WelcomeError));
    assert_eq!(
        Welcome::new(&hello, [2; 16], 1, 1, None).check(&hello, keys.first()),
        Err(WelcomeError)
    );
}

#[test]
fn texts_of_peers_are_one_short_line() {
    let text = printable("a\nb\u{1b}[31m\u{202e}é\u{0}".as_bytes());
    assert_eq!(text, r"a\u{a}b\u{1b}[31m\u{202e}é\u{0}");
    assert_eq!(printable(&[0xff; 3]), "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(printable(&[b'x'; 5000]).chars().count(), 301);
    let hello = Greeting::read(&packet(&refusal("no\nyes")));
    assert_eq!(hello, Ok(Greeting::Refused(r"no\u{a}yes".to_owned())));
}

#[test]
fn pings_and_a_real_uwsgi_are_told_from_ours() {
    assert_eq!(Hello::read(&packet(&[100, 0, 0, 0])), Ok(None));
    assert_eq!(Greeting::read(&packet(&PONG)), Ok(Greeting::Uwsgi));
    let reason = "no";
    assert_eq!(Greeting::read(&packet(&refusal(reason))), Ok(Greeting::Refused(reason.to_owned())));
    let later = crate::packet::write_packet(100, 0, &[(b"unspool", b"2")]).unwrap();
    assert!(Hello::read(&packet(&later)).is_err() && Greeting::read(&packet(&later)).is_err());
}
