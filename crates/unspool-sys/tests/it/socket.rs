//! Packets with descriptors.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use unspool_sys::lock;
use unspool_sys::socket::{FDS_MAX, Received, pair, receive, send, send_wait};

use crate::child::no_forks;

#[test]
fn packets_keep_their_boundaries_and_the_end_is_told() {
    let _no_forks = no_forks();
    let (ours, theirs) = pair().unwrap();
    let (mut buffer, mut fds) = ([0u8; 64], Vec::new());
    let mut next = |wait| {
        let got = receive(theirs.as_fd(), &mut buffer, &mut fds, wait).unwrap();
        match got {
            Received::Packet(bytes) => String::from_utf8(buffer[..bytes].to_vec()).unwrap(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(next(false), "Nothing");
    assert!(send(ours.as_fd(), b"one", &[]).unwrap());
    send_wait(ours.as_fd(), b"two").unwrap();
    assert_eq!([next(true), next(false), next(false)], ["one", "two", "Nothing"]);
    send_wait(ours.as_fd(), b"three").unwrap();
    drop(ours);
    assert_eq!([next(false), next(false), next(true)], ["three", "Closed", "Closed"]);
}

#[test]
fn a_packet_longer_than_its_bound_is_an_error_and_so_is_a_dead_end() {
    let _no_forks = no_forks();
    let (ours, theirs) = pair().unwrap();
    send_wait(ours.as_fd(), &[0; 65]).unwrap();
    assert!(receive(theirs.as_fd(), &mut [0; 64], &mut Vec::new(), false).is_err());
    drop(theirs);
    // And no SIGPIPE.
    assert!(send(ours.as_fd(), b"x", &[]).is_err());
    assert!(send_wait(ours.as_fd(), b"x").is_err());
}

#[test]
fn a_full_buffer_is_told_and_nothing_of_the_packet_is_sent() {
    let (ours, theirs) = pair().unwrap();
    let mut sent = 0u32;
    while send(ours.as_fd(), &sent.to_le_bytes(), &[]).unwrap() {
        sent += 1;
        assert!(sent < 1_000_000);
    }
    let mut buffer = [0u8; 8];
    for expect in 0..sent {
        let got = receive(theirs.as_fd(), &mut buffer, &mut Vec::new(), false).unwrap();
        assert_eq!((got, &buffer[..4]), (Received::Packet(4), &expect.to_le_bytes()[..]));
    }
    let got = receive(theirs.as_fd(), &mut buffer, &mut Vec::new(), false).unwrap();
    assert_eq!(got, Received::Nothing);
}

#[test]
fn a_lease_travels_with_its_descriptor() {
    let _no_forks = no_forks();
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || OwnedFd::from(File::options().read(true).write(true).open(file.path()).unwrap());
    let (held, other) = (open(), open());
    assert!(lock::try_lock(held.as_fd()).unwrap());
    let (ours, theirs) = pair().unwrap();
    assert!(send(ours.as_fd(), b"task", &[held.as_fd()]).unwrap());
    drop(held);
    // In flight it is held too.
    assert!(!lock::try_lock(other.as_fd()).unwrap());
    let mut fds = Vec::new();
    receive(theirs.as_fd(), &mut [0; 64], &mut fds, false).unwrap();
    assert_eq!(fds.len(), 1);
    assert!(!lock::try_lock(other.as_fd()).unwrap());
    drop(fds);
    assert!(lock::try_lock(other.as_fd()).unwrap());
}

#[test]
fn a_packet_carries_as_many_descriptors_as_a_worker_has_slots() {
    let file = tempfile::tempfile().unwrap();
    let (ours, theirs) = pair().unwrap();
    let many: Vec<BorrowedFd<'_>> = (0..FDS_MAX).map(|_| file.as_fd()).collect();
    assert!(send(ours.as_fd(), b"tasks", &many).unwrap());
    let mut fds = Vec::new();
    receive(theirs.as_fd(), &mut [0; 64], &mut fds, false).unwrap();
    assert_eq!(fds.len(), FDS_MAX);
    for fd in &fds {
        let flags = rustix::io::fcntl_getfd(fd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    let too_many: Vec<BorrowedFd<'_>> = (0..2 * FDS_MAX).map(|_| file.as_fd()).collect();
    assert!(send(ours.as_fd(), b"tasks", &too_many).is_err());
}
