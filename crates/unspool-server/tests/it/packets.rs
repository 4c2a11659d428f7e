//! uwsgi's packets, as a real uWSGI answers them.

use std::io::Write;
use std::os::unix::net::UnixStream;

use unspool_core::{Message, Origin};
use unspool_wire::packet::{PONG, REFUSED, SPOOL, STORED, write_packet};

use crate::fixture::{Fixture, message, rest};

fn packet(pairs: &[(&str, &str)]) -> Vec<u8> {
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect();
    write_packet(SPOOL, 0, &pairs).unwrap()
}

#[test]
fn a_task_is_stored_before_it_is_answered() {
    let fixture = Fixture::new();
    let sent = packet(&[("ud_spool_func", "f"), ("body", "a pair"), ("unspool", "forged")]);
    assert_eq!(fixture.exchange(&sent), STORED);
    let expected = Message {
        origin: Origin::Network,
        ..message(&[("ud_spool_func", "f"), ("body", "a pair")], b"")
    };
    assert_eq!(fixture.tasks(), [expected]);
}

#[test]
fn the_users_of_a_unix_socket_are_known() {
    let fixture = Fixture::new();
    let mut stream = UnixStream::connect(&fixture.socket).unwrap();
    stream.write_all(&packet(&[("a", "1")])).unwrap();
    assert_eq!(rest(&mut stream), STORED);
    assert_eq!(fixture.tasks()[0].origin, Origin::Peer);
}

#[test]
fn spools_are_named_as_a_submitter_on_the_machine_names_them() {
    let fixture = Fixture::new();
    let path = fixture.spool().to_str().unwrap().to_owned();
    let slash = format!("{path}/");
    for (name, answer) in [
        (path.as_str(), STORED),
        (&slash, STORED),
        ("", STORED),
        ("spool", STORED),
        ("./spool", STORED),
        ("/elsewhere", REFUSED),
        ("pool", REFUSED),
    ] {
        assert_eq!(fixture.exchange(&packet(&[("spooler", name)])), answer, "{name}");
    }
    assert_eq!(fixture.tasks().len(), 5);
}

#[test]
fn priorities_and_due_times_are_obeyed_and_bad_ones_refused() {
    let fixture = Fixture::new();
    let later = packet(&[("priority", "5"), ("at", "4000000000")]);
    assert_eq!(fixture.exchange(&later), STORED);
    let folder = std::fs::read_dir(fixture.spool().join("5")).unwrap();
    let task = folder.map(|entry| entry.unwrap().path()).next().unwrap();
    let due = task.metadata().unwrap().modified().unwrap();
    assert_eq!(due.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 4_000_000_000);
    for pairs in [[("priority", "../x")], [("at", "soon")], [("", "no key")]] {
        assert_eq!(fixture.exchange(&packet(&pairs)), REFUSED, "{pairs:?}");
    }
    assert!(fixture.tasks().is_empty());
}

#[test]
fn pings_are_answered_and_what_is_not_served_is_closed() {
    let fixture = Fixture::new();
    assert_eq!(fixture.exchange(&[100, 0, 0, 0]), PONG);
    for modifier in [0, 1, 5, 110, 173, 255] {
        assert!(fixture.exchange(&[modifier, 0, 0, 0]).is_empty(), "{modifier}");
    }
}

#[test]
fn where_tasks_have_to_be_signed_a_packet_is_none() {
    let fixture = Fixture::with(|settings| settings.signed_only = true);
    assert_eq!(fixture.exchange(&packet(&[("a", "1")])), REFUSED);
    let fixture = Fixture::with(|settings| {
        settings.sockets.iter_mut().for_each(|socket| socket.needs_key = true);
    });
    assert_eq!(fixture.exchange(&packet(&[("a", "1")])), REFUSED);
    assert!(fixture.tasks().is_empty());
}
