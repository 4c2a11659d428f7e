//! Peers that are slow, cut, huge, or lie: each costs its place, and others notice nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use unspool_sys::clock;
use unspool_wire::packet::{SPOOL, STORED, write_packet};
use unspool_wire::peer::{Frame, Hello, Sender, Side, Verdict};

use crate::fixture::{Client, Fixture, file, keys, now_s, read_packet, rest};

fn task() -> Vec<u8> {
    write_packet(SPOOL, 0, &[(b"ud_spool_func", b"f"), (b"a", b"1")]).unwrap()
}

#[test]
fn a_packet_that_is_cut_stores_nothing() {
    let fixture = Fixture::new();
    let task = task();
    for cut in 0..task.len() {
        let mut stream = fixture.connect();
        stream.write_all(&task[..cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(rest(&mut stream).is_empty(), "{cut}");
    }
    assert!(fixture.tasks().is_empty());
    assert_eq!(fixture.exchange(&task), STORED);
}

#[test]
fn a_connection_of_ours_that_is_cut_leaves_nothing_behind() {
    let fixture = Fixture::with(|settings| settings.keys = Some(keys()));
    let sent = file(1, b"a body", Some(keys().first()));
    let whole = fixture.session(Some(keys().first())).frames_of(1, &sent, 40);
    for cut in (0..whole.len()).step_by(7) {
        let mut client = fixture.session(Some(keys().first()));
        let bytes = client.frames_of(1, &sent, 40);
        client.stream.write_all(&bytes[..cut]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.answer().is_none(), "{cut}");
    }
    assert!(fixture.tasks().is_empty());
    let mut client = fixture.session(Some(keys().first()));
    assert_eq!(client.store(1, &sent).0, Verdict::Stored);
    assert_eq!(fixture.incoming(), 0);
}

#[test]
fn changed_and_replayed_frames_end_the_connection() {
    let fixture = Fixture::with(|settings| settings.keys = Some(keys()));
    let sent = file(1, b"a body", None);
    let mut recorded = Vec::new();
    for place in [0, 3, 20, 60, 120] {
        let mut client = fixture.session(Some(keys().first()));
        recorded = client.frames_of(1, &sent, 60_000);
        let mut changed = recorded.clone();
        changed[place] ^= 1;
        client.stream.write_all(&changed).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.answer().is_none(), "{place}");
    }
    // A whole connection that somebody recorded, hello and all.
    let hello = Hello::new(now_s(), [7; 16], Some(keys().first()));
    let mut stream = fixture.connect();
    stream.write_all(&[hello.to_packet(), recorded].concat()).unwrap();
    assert!(read_packet(&mut stream).is_some());
    assert!(rest(&mut stream).is_empty());
    // A hello of another time.
    let old = Hello::new(now_s() - 1000, [7; 16], Some(keys().first()));
    let reply = fixture.exchange(&old.to_packet());
    assert!(String::from_utf8_lossy(&reply).contains("clock differs"));
    // Frames without a proof where one was given, and none at all.
    let mut client = fixture.session(Some(keys().first()));
    client.frames = Sender::new(Side::Client, None);
    client.send(1, &sent);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.answer().is_none());
    assert!(fixture.tasks().is_empty() && fixture.incoming() == 0);
}

#[test]
fn frames_that_do_not_belong_end_the_connection() {
    let fixture = Fixture::new();
    let mut more = fixture.session(None);
    let mut bytes = more.frames_of(1, &file(1, b"", None), 60_000);
    more.frames.push_data(b"more", &mut bytes);
    more.stream.write_all(&bytes).unwrap();
    // The task before it was whole.
    assert_eq!(more.answer().unwrap().verdict, Verdict::Stored);
    assert!(more.answer().is_none());
    for frame in
        [&[2, 1, 0, 0, 0, 7][..], &[9, 0, 0, 0, 0], &[1, 255, 255, 255, 255], &[3, 0, 0, 0, 0]]
    {
        let mut client = fixture.session(None);
        client.stream.write_all(frame).unwrap();
        assert!(client.answer().is_none(), "{frame:?}");
    }
}

#[test]
fn slow_peers_are_closed_in_time() {
    let fixture = Fixture::with(|settings| {
        settings.packet_wait = Duration::from_millis(300);
        settings.idle_wait = Duration::from_millis(600);
    });
    let began_ns = clock::monotonic_ns();
    // Silence, part of a header, a packet byte by byte, part of a frame, a task without its end.
    let mut silent = fixture.connect();
    let mut part = fixture.connect();
    part.write_all(&task()[..3]).unwrap();
    let mut frame = fixture.session(None);
    frame.stream.write_all(&[2, 9]).unwrap();
    let mut cut = fixture.session(None);
    let bytes = cut.frames_of(1, &file(1, &[0; 9000], None), 100);
    cut.stream.write_all(&bytes[..700]).unwrap();
    let mut idle = fixture.session(None);
    for stream in [&mut silent, &mut part, &mut frame.stream, &mut cut.stream, &mut idle.stream] {
        assert!(rest(stream).is_empty());
    }
    assert!(clock::monotonic_ns() - began_ns < 10_000_000_000);
    assert_eq!(fixture.incoming(), 0);
    // Small frames, each in time, do not keep a place either.
    let mut trickle = fixture.session(None);
    let bytes = trickle.frames_of(3, &file(3, &vec![0; 9000], None), 10);
    let mut sent = 0;
    for frame in bytes.chunks(15) {
        if trickle.stream.write_all(frame).is_err() {
            break;
        }
        sent += frame.len();
        clock::pause(Duration::from_millis(20));
    }
    assert!(sent < bytes.len() && trickle.answer().is_none());
    // One that sends a long task in many frames, each in time, is not slow.
    let mut steady = fixture.session(None);
    let bytes = steady.frames_of(2, &file(2, &vec![0; 90_000], None), 10_000);
    for piece in bytes.chunks(11_000) {
        steady.stream.write_all(piece).unwrap();
        clock::pause(Duration::from_millis(20));
    }
    assert_eq!(steady.answer().unwrap().verdict, Verdict::Stored);
}

#[test]
fn who_does_not_read_answers_has_its_tasks_stored_all_the_same() {
    let fixture = Fixture::with(|settings| settings.packet_wait = Duration::from_millis(500));
    let mut client = fixture.session(None);
    for number in 0..30 {
        client.send(number, &file(number, b"x", None));
    }
    let deadline_ns = clock::monotonic_ns() + 20_000_000_000;
    while fixture.tasks().len() < 30 && clock::monotonic_ns() < deadline_ns {
        clock::pause(Duration::from_millis(10));
    }
    assert_eq!(fixture.tasks().len(), 30);
}

#[test]
fn a_flood_of_idle_connections_keeps_nobody_out() {
    let fixture = Fixture::with(|settings| {
        settings.connections_max = 40;
        settings.connections_per_peer_max = 30;
    });
    let mut worker = fixture.session(None);
    let mut flood: Vec<TcpStream> = Vec::new();
    for number in 0..2000 {
        flood.push(TcpStream::connect(fixture.address).unwrap());
        if number % 500 == 0 {
            assert_eq!(fixture.exchange(&task()), STORED, "{number}");
        }
    }
    assert_eq!(fixture.exchange(&task()), STORED);
    // A session that was silent may have lost its place; it is told by the end of its connection.
    worker.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = worker.stream.write_all(&[2]);
    let mut byte = [0];
    assert!(!matches!(worker.stream.read(&mut byte), Ok(1)));
    assert!(Client::begin(fixture.connect(), None).is_ok());
}

#[test]
fn only_listed_networks_are_served() {
    let fixture = Fixture::with(|settings| {
        settings.allow_from = Some(vec!["10.0.0.0/8".parse().unwrap()]);
    });
    assert!(fixture.exchange(&task()).is_empty());
    let fixture = Fixture::with(|settings| {
        settings.allow_from = Some(vec!["127.0.0.0/8".parse().unwrap()]);
    });
    assert_eq!(fixture.exchange(&task()), STORED);
}

#[test]
fn a_packet_longer_than_allowed_is_closed_by_its_header() {
    let fixture = Fixture::with(|settings| settings.packet_bytes_max = 4096);
    let long = write_packet(SPOOL, 0, &[(b"a", &[b'x'; 4100])]).unwrap();
    assert!(fixture.exchange(&long[..4]).is_empty());
    let fits = write_packet(SPOOL, 0, &[(b"a", &[b'x'; 4091])]).unwrap();
    assert_eq!(fits.len(), 4 + 4096);
    assert_eq!(fixture.exchange(&fits), STORED);
}

#[test]
fn a_frame_of_a_server_is_none_of_a_client() {
    let fixture = Fixture::new();
    let mut client = fixture.session(None);
    let mut bytes = Vec::new();
    let answer =
        unspool_wire::peer::Answer { number: 1, verdict: Verdict::Stored, text: String::new() };
    client.frames.push(&Frame::Answer(answer), &mut bytes);
    client.stream.write_all(&bytes).unwrap();
    assert!(client.answer().is_none());
}
