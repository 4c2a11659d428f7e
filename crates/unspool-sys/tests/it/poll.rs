//! Waits, wake-ups and timers.

use std::os::fd::AsFd;

use unspool_sys::clock;
use unspool_sys::poll::{Poll, Waker, WallTimer};

const BOUND_NS: u64 = 10_000_000_000;

#[test]
fn a_thread_that_waits_is_woken_and_several_wakes_count_as_one() {
    let poll = Poll::new().unwrap();
    let waker = Waker::new().unwrap();
    poll.add(waker.as_fd(), 7).unwrap();
    let mut keys = vec![1, 2, 3];
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [0u64; 0]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1000 {
                waker.wake();
            }
        });
        poll.wait(&mut keys, Some(BOUND_NS)).unwrap();
        assert_eq!(keys, [7]);
    });
    waker.clear();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [0u64; 0]);
    waker.wake();
    poll.remove(waker.as_fd()).unwrap();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [0u64; 0]);
}

#[test]
fn a_timer_fires_at_its_time_and_not_before() {
    let poll = Poll::new().unwrap();
    let timer = WallTimer::new().unwrap();
    poll.add(timer.as_fd(), 7).unwrap();
    let mut keys = Vec::new();
    // The past, and the start of time, which would mean "never" to the kernel.
    for at_ns in [clock::now_ns() - 1, 0, -5] {
        timer.set(Some(at_ns)).unwrap();
        poll.wait(&mut keys, Some(BOUND_NS)).unwrap();
        assert_eq!(keys, [7], "{at_ns}");
        timer.clear();
    }
    let at_ns = clock::now_ns() + 20_000_000;
    timer.set(Some(at_ns)).unwrap();
    poll.wait(&mut keys, Some(BOUND_NS)).unwrap();
    assert_eq!(keys, [7]);
    assert!(clock::now_ns() >= at_ns);
    timer.clear();
    timer.set(Some(at_ns)).unwrap();
    timer.set(None).unwrap();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [0u64; 0]);
}

#[test]
fn a_member_that_is_added_once_is_reported_once_until_it_is_armed_again() {
    let (poll, waker) = (Poll::new().unwrap(), Waker::new().unwrap());
    poll.add_once(waker.as_fd(), 7).unwrap();
    waker.wake();
    let mut keys = Vec::new();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [7]);
    waker.wake();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [0; 0]);
    // What there is to read was not read: that is told at once.
    poll.rearm(waker.as_fd(), 7).unwrap();
    poll.wait(&mut keys, Some(0)).unwrap();
    assert_eq!(keys, [7]);
}

#[test]
fn a_shared_member_that_is_added_again_tells_of_what_came_before() {
    let (poll, waker) = (Poll::new().unwrap(), Waker::new().unwrap());
    poll.add_shared(waker.as_fd(), 1).unwrap();
    waker.wake();
    poll.remove(waker.as_fd()).unwrap();
    poll.add_shared(waker.as_fd(), 2).unwrap();
    let mut keys = Vec::new();
    // As long as it can be read.
    for _ in 0..2 {
        poll.wait(&mut keys, Some(0)).unwrap();
        assert_eq!(keys, [2]);
    }
}
