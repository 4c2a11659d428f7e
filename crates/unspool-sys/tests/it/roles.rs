//! What child processes of these tests do.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use unspool_sys::poll::Poll;
use unspool_sys::process::{Child, Exit, become_subreaper, reap_stranger};
use unspool_sys::signal::Signals;
use unspool_sys::slots::{SlotState, SlotTable};
use unspool_sys::{clock, host, lock};

use crate::child::{listen, role, say};

/// The entry of a child process. In an ordinary run of the tests there is no role to play.
#[test]
fn play() {
    let Some((role, arguments)) = role() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (role.as_str(), arguments.as_slice()) {
        ("lock", [file]) => try_locks(file),
        ("slots", [file]) => start_slots(file),
        ("signals", []) => take_signals(),
        ("reaper", []) => reap(),
        other => panic!("no such role: {other:?}"),
    }
}

/// Tries to take the lock, again for each line that it hears, and holds it if it got it.
fn try_locks(file: &str) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    loop {
        say(if lock::try_lock(file.as_fd()).unwrap() { "locked" } else { "refused" });
        if !listen() {
            return;
        }
    }
}

/// A worker in row 0: when row 1 says so it starts all tasks it can, in order, and says which.
fn start_slots(file: &str) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let table = SlotTable::open(file.into()).unwrap();
    let (slots, gate) = (table.row(0).unwrap(), &table.row(1).unwrap()[0]);
    say("ready");
    while listen() {
        while gate.state() != SlotState::Handed {
            std::thread::yield_now();
        }
        let started: Vec<String> = (0..slots.len())
            .filter(|slot| slots[*slot].start(clock::monotonic_ns()))
            .map(|slot| slot.to_string())
            .collect();
        say(&started.join(" "));
    }
}

/// Says its number, then which signals it got.
fn take_signals() {
    let signals = Signals::install().unwrap();
    let poll = Poll::new().unwrap();
    poll.add(signals.as_fd(), 1).unwrap();
    say(&host::pid().to_string());
    let mut keys = Vec::new();
    loop {
        poll.wait(&mut keys, Some(20_000_000_000)).unwrap();
        // A signal that arrives in the wait interrupts it, and its news are there at once.
        if keys.is_empty() {
            poll.wait(&mut keys, Some(1_000_000_000)).unwrap();
        }
        assert_eq!(keys, [1], "a signal in time");
        for asked in signals.take() {
            say(&format!("{asked:?}"));
        }
    }
}

/// Adopts an orphan and reaps it, and leaves alone a child that somebody else waits for.
#[expect(clippy::zombie_processes, reason = "reaped by way of our own handle")]
fn reap() {
    become_subreaper().unwrap();
    let mut known = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let known_pid = known.id();
    let is_known = |pid: u32| pid == known_pid;
    assert!(!reap_stranger(&is_known), "nobody has ended");

    // The orphan reads until we close our end of the pipe.
    let mut parent = Command::new("sh")
        .args(["-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let orphan: u32 = line.trim().parse().unwrap();
    let input = parent.stdin.take();
    assert!(parent.wait().unwrap().success());
    assert!(!reap_stranger(&is_known), "the orphan lives");
    drop(input);
    let until_ns = clock::monotonic_ns() + 10_000_000_000;
    while !reap_stranger(&is_known) {
        assert!(clock::monotonic_ns() < until_ns, "the orphan is not adopted");
        std::thread::yield_now();
    }
    assert!(Child::open(orphan).is_err(), "it is reaped");

    let child = Child::open(known_pid).unwrap();
    let poll = Poll::new().unwrap();
    poll.add(child.as_fd(), 1).unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    drop(known.stdin.take());
    poll.wait(&mut Vec::new(), Some(10_000_000_000)).unwrap();
    assert!(!reap_stranger(&is_known), "its status belongs to us");
    assert_eq!(child.try_wait().unwrap(), Some(Exit::Status(0)));
    say("done");
}
