use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use unspool_remote::{Destination, LinkError, Options, Payload, RemoteError, send_packet, submit};
use unspool_wire::packet::{PONG, REFUSED, SPOOL, STORED, read_pairs};
use unspool_wire::peer::Verdict;

use crate::peer::{Connection, LATE, Played, SOON, key, message, read_packet};

/// Answers as a real uWSGI does.
fn uwsgi(mut stream: TcpStream, answer: &[u8]) -> Option<Vec<u8>> {
    let packet = read_packet(&mut stream);
    if packet.header.modifier1 == 100 {
        stream.write_all(&PONG).unwrap();
        return None;
    }
    assert_eq!(packet.header.modifier1, SPOOL);
    stream.write_all(answer).unwrap();
    Some(packet.block)
}

#[test]
fn a_uwsgi_gets_a_plain_packet_and_is_remembered() {
    let (tell, told) = channel();
    // A hello, a task, a task.
    let played = Played::new(3, move |number, stream| {
        let block = uwsgi(stream, &STORED);
        assert_eq!(block.is_some(), number > 0);
        if let Some(block) = block {
            tell.send(block).unwrap();
        }
    });
    let to = played.remote(Options::default());
    for _ in 0..2 {
        let submitted = submit(&to, &message(0)).unwrap();
        let block = told.recv_timeout(LATE).unwrap();
        assert_eq!((submitted.id, submitted.bytes), (None, 4 + block.len() as u64));
        let pairs = read_pairs(&block).unwrap();
        assert_eq!(pairs, [(&b"ud_spool_func"[..], &b"f"[..]), (b"k", b"v")]);
    }
    played.finish();
}

#[test]
fn one_of_ours_in_the_place_of_a_uwsgi_is_found() {
    let played = Played::new(4, |number, stream| match number {
        0 | 1 => drop(uwsgi(stream, &STORED)),
        // One of ours takes no plain packet where a key is to be proved.
        2 => drop(uwsgi(stream, &REFUSED)),
        _ => {
            let mut ours = Connection::welcome(stream, None, 1 << 20, 4);
            let (begin, _) = ours.task().unwrap();
            ours.answer(begin.number, Verdict::Stored, "");
        }
    });
    let to = played.remote(Options::default());
    assert_eq!(submit(&to, &message(0)).unwrap().id, None);
    assert!(submit(&to, &message(0)).unwrap().id.is_some());
    played.finish();
}

#[test]
fn what_a_uwsgi_cannot_take_or_does_not_is_said() {
    let mut long = message(0);
    long.pairs.push((b"long".to_vec(), vec![b'x'; 65_520]));
    let mut longer = message(0);
    longer.pairs.push((b"long".to_vec(), vec![b'x'; 5000]));
    for (task, answer, connections, text) in [
        (message(1), &STORED[..], 1, "takes no `body` over the network"),
        (long, &STORED, 1, "leave something out, or run unspool there"),
        (message(0), &REFUSED, 2, "did not store the task"),
        (message(0), b"", 2, "it does not take tasks"),
        (longer, b"", 2, "more than its `buffer-size`"),
        (message(0), b"HTTP", 2, "is no answer to a task"),
    ] {
        let played = Played::new(connections, move |_, stream| drop(uwsgi(stream, answer)));
        let error = submit(&played.remote(Options::default()), &task).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        played.finish();
    }
}

#[test]
fn a_key_that_is_to_be_proved_keeps_tasks_from_a_uwsgi_far_away() {
    let played = Played::new(2, |_, stream| drop(uwsgi(stream, &STORED)));
    let mut to = played.remote(Options { network_key: Some(key("a", b'1')), ..Options::default() });
    // On this machine nobody is in between.
    submit(&to, &message(0)).unwrap();
    played.finish();
    let played = Played::new(1, |_, stream| drop(uwsgi(stream, &STORED)));
    let port = played.address.rsplit_once(':').unwrap().1;
    // Not a loopback address by its text.
    to.address.address = unspool_wire::address::Address::Tcp {
        host: "localhost.".into(),
        port: port.parse().unwrap(),
    };
    match submit(&to, &message(0)) {
        Err(RemoteError::Keyless { .. }) => played.finish(),
        // Where that name is not known.
        other => assert!(matches!(other, Err(RemoteError::Connect { .. })), "{other:?}"),
    }
}

#[test]
fn any_packet_goes_with_a_body_and_its_reply_comes_in_pieces() {
    let played = Played::new(1, |_, mut stream| {
        let packet = read_packet(&mut stream);
        assert_eq!((packet.header.modifier1, packet.header.modifier2), (5, 6));
        assert_eq!(packet.block, b"block");
        let mut body = [0; 4];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"body");
        stream.write_all(&[b'r'; 10_000]).unwrap();
    });
    let (mut file, body) = UnixStream::pair().unwrap();
    file.write_all(b"body and more").unwrap();
    let payload =
        Payload { modifier1: 5, modifier2: 6, block: b"block", body: Some((body.into(), 4)) };
    let to = Destination::Remote(played.remote(Options::default()));
    let pieces: Vec<Vec<u8>> =
        send_packet(to, payload, LATE).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 4096));
    assert_eq!(pieces.concat(), [b'r'; 10_000]);
    played.finish();
}

#[test]
fn a_socket_that_is_there_can_be_written_to_and_waiting_for_its_reply_ends() {
    let (mut other, socket) = UnixStream::pair().unwrap();
    let payload = || Payload { modifier1: 1, modifier2: 2, block: b"", body: None };
    let to = Destination::Socket(OwnedFd::from(socket));
    let mut reply = send_packet(to, payload(), SOON).unwrap();
    assert_eq!(read_packet(&mut other).header.modifier1, 1);
    assert!(matches!(reply.next(), Some(Err(LinkError::Silent(_)))));
    assert!(reply.next().is_none());
    let long = Payload { block: &vec![0; 65_536], ..payload() };
    let error = send_packet(Destination::Socket(other.into()), long, SOON).unwrap_err();
    assert!(error.to_string().contains("65536 bytes"), "{error}");
}
