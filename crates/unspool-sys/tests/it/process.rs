//! Ends of children.

use std::process::{Command, Stdio};

use unspool_sys::poll::Poll;
use unspool_sys::process::{Child, Exit};
use unspool_sys::{AsFd, clock};

use crate::child::{self, forking};

fn start(program: &str, arguments: &[&str]) -> (std::process::Child, Child) {
    let _forking = forking();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let process = command.spawn().unwrap();
    let child = Child::open(process.id()).unwrap();
    (process, child)
}

/// Waits for the end of a child by its descriptor.
fn end_of(child: &Child) -> Exit {
    let poll = Poll::new().unwrap();
    poll.add(child.as_fd(), 1).unwrap();
    let mut keys = Vec::new();
    poll.wait(&mut keys, Some(10_000_000_000)).unwrap();
    assert_eq!(keys, [1], "the child ends in time");
    child.try_wait().unwrap().unwrap()
}

#[test]
fn an_exit_and_a_signal_are_told_apart() {
    let (_process, child) = start("sh", &["-c", "exit 3"]);
    assert_eq!(end_of(&child), Exit::Status(3));

    let (_process, child) = start("cat", &[]);
    assert_eq!(child.try_wait().unwrap(), None);
    child.terminate();
    let exit = end_of(&child);
    assert_eq!((exit, exit.to_string().as_str()), (Exit::Killed(15), "was killed by signal 15"));
    // What has ended is not signalled again, whoever has its number now.
    child.kill();
    child.terminate();

    let (_process, child) = start("cat", &[]);
    child.kill();
    assert_eq!(end_of(&child), Exit::Killed(9));
}

#[test]
fn a_session_is_killed_as_a_whole() {
    // The leader of a session and a process that it started; both hold the end of our pipe.
    let (mut process, child) = start("setsid", &["sh", "-c", "sleep 30 & echo up; wait"]);
    let mut output = process.stdout.take().unwrap();
    let mut first = [0u8; 3];
    std::io::Read::read_exact(&mut output, &mut first).unwrap();
    let before_ns = clock::monotonic_ns();
    child.kill_group();
    assert_eq!(end_of(&child), Exit::Killed(9));
    // The output ends when the last of them is gone.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut output, &mut rest).unwrap();
    assert!(clock::monotonic_ns() - before_ns < 20_000_000_000);
}

#[test]
fn orphans_are_adopted_and_reaped_and_other_children_left_alone() {
    // In a process of its own: it reaps every child that is not known to it.
    let reaper = child::Child::start("reaper", &[]);
    assert_eq!(reaper.hear(), "done");
    assert!(reaper.end().success());
}
