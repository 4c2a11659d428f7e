//! Connections that web workers hand over.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use unspool_server::{HandedOver, HandedSocket};
use unspool_sys::socket;
use unspool_wire::handover::Handover;
use unspool_wire::packet::{PING, PONG, SPOOL, STORED, write_packet};

use crate::fixture::Fixture;

/// The end of a web worker.
struct Worker {
    socket: OwnedFd,
}

/// A server with two sockets of an application, the first of TCP.
fn fixture(needs_key: bool) -> (Fixture, Worker) {
    let (ours, theirs) = socket::pair().unwrap();
    let fixture = Fixture::with(|settings| {
        settings.sockets.clear();
        let sockets = vec![
            HandedSocket { tcp: true, needs_key },
            HandedSocket { tcp: false, needs_key: false },
        ];
        settings.handed = Some(HandedOver { socket: ours, sockets });
    });
    (fixture, Worker { socket: theirs })
}

impl Worker {
    fn hand(&self, socket: u32, read: &[u8], connection: &OwnedFd) {
        let mut packet = Vec::new();
        assert!(Handover { socket, read }.encode(&mut packet));
        assert!(socket::send(self.socket.as_fd(), &packet, &[connection.as_fd()]).unwrap());
    }
}

/// A client, and its connection as a web worker has accepted it.
fn tcp() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (client, listener.accept().unwrap().0.into())
}

fn answer(mut client: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

fn task() -> Vec<u8> {
    write_packet(SPOOL, 0, &[(b"a", b"b")]).unwrap()
}

#[test]
fn a_task_is_stored_wherever_it_was_cut() {
    let (fixture, worker) = fixture(false);
    let packet = task();
    for cut in [0, 1, 4, packet.len() - 1, packet.len()] {
        let (mut client, accepted) = tcp();
        worker.hand(0, &packet[..cut], &accepted);
        drop(accepted);
        client.write_all(&packet[cut..]).unwrap();
        assert_eq!(answer(client), STORED, "cut at {cut}");
    }
    assert_eq!(fixture.tasks().len(), 5);
}

#[test]
fn a_ping_over_a_unix_socket_is_answered() {
    let (_fixture, worker) = fixture(true);
    let (mut client, accepted) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    worker.hand(1, &[PING, 0, 0, 0], &accepted.into());
    client.write_all(&[]).unwrap();
    assert_eq!(answer(client), PONG);
}

#[test]
fn what_a_socket_asks_for_is_asked_of_its_connections() {
    let (fixture, worker) = fixture(true);
    let (client, accepted) = tcp();
    worker.hand(0, &task(), &accepted);
    drop(accepted);
    assert_ne!(answer(client), STORED);
    assert!(fixture.tasks().is_empty());
}

#[test]
fn what_is_no_connection_is_dropped_and_others_are_served() {
    let (fixture, worker) = fixture(false);
    // Without a connection, of a socket that there is not, and one that has ended.
    assert!(socket::send(worker.socket.as_fd(), b"x", &[]).unwrap());
    assert!(socket::send(worker.socket.as_fd(), &[0; 8], &[]).unwrap());
    let (client, accepted) = tcp();
    worker.hand(7, &task(), &accepted);
    drop(accepted);
    assert_eq!(answer(client), b"");
    let (client, accepted) = tcp();
    drop(client);
    worker.hand(0, &task()[..5], &accepted);
    let (client, accepted) = tcp();
    worker.hand(0, &task(), &accepted);
    drop(accepted);
    assert_eq!(answer(client), STORED);
    assert_eq!(fixture.tasks().len(), 1);
}
