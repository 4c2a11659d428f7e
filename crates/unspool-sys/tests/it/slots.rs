//! Slots between a dispatcher and a worker in another process.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;

use unspool_sys::clock;
use unspool_sys::slots::{HandedTask, SLOTS_PER_WORKER, Slot, SlotState, SlotTable};

use crate::child::Child;

/// Slots, and a path by which another process can open them.
fn create(workers: usize) -> (SlotTable, String) {
    let table = SlotTable::new(workers).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), table.file().as_raw_fd());
    (table, path)
}

/// Waits until a slot is in another state. Spins at first, to be there at the very moment.
fn wait_until_left(slot: &Slot, state: SlotState) {
    for spin in 0u64.. {
        if slot.state() != state {
            return;
        }
        if spin < 20_000 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_task_is_started_by_one_process_or_taken_back_by_the_other() {
    let (table, path) = create(2);
    let (slots, gate) = (table.row(0).unwrap(), &table.row(1).unwrap()[0]);
    let mut worker = Child::start("slots", &[&path]);
    assert_eq!(worker.hear(), "ready");
    let (mut started_sum, mut revoked_sum) = (0, 0);
    for round in 0..150 {
        for (inode, slot) in (0..).zip(slots) {
            slot.hand(task(inode), clock::monotonic_ns());
        }
        worker.say("go");
        gate.hand(task(0), 0);
        // Once the worker is under way, from the other end: both meet at some slot.
        wait_until_left(&slots[round % SLOTS_PER_WORKER], SlotState::Handed);
        let revoked: BTreeSet<usize> =
            (0..SLOTS_PER_WORKER).rev().filter(|slot| slots[*slot].revoke()).collect();
        let started: BTreeSet<usize> =
            worker.hear().split_whitespace().map(|slot| slot.parse().unwrap()).collect();
        for (number, slot) in slots.iter().enumerate() {
            let (is_started, is_revoked) = (started.contains(&number), revoked.contains(&number));
            assert!(is_started != is_revoked, "round {round}, slot {number}");
            let state = if is_started { SlotState::Running } else { SlotState::Revoked };
            assert_eq!(slot.state(), state);
            assert_eq!(slot.task().0, number as u64);
        }
        started_sum += started.len();
        revoked_sum += revoked.len();
        gate.free();
    }
    println!("{started_sum} started, {revoked_sum} taken back");
    assert!(worker.end().success());
}

#[test]
fn what_a_dead_worker_ran_can_still_be_read() {
    let (table, path) = create(2);
    let slots = table.row(0).unwrap();
    let mut worker = Child::start("slots", &[&path]);
    assert_eq!(worker.hear(), "ready");
    slots[5].hand(task(42), 1);
    let before_ns = clock::monotonic_ns();
    worker.say("go");
    table.row(1).unwrap()[0].hand(task(0), 0);
    assert_eq!(worker.hear(), "5");
    worker.kill();
    let (inode, started_ns) = slots[5].task();
    assert_eq!((slots[5].state(), inode), (SlotState::Running, 42));
    assert!((before_ns..clock::monotonic_ns()).contains(&started_ns));
}

#[test]
fn a_table_has_the_rows_that_were_asked_for_and_nothing_beyond_them() {
    let table = SlotTable::new(5).unwrap();
    assert_eq!(table.workers(), 5);
    assert!(table.row(4).is_some() && table.row(5).is_none());
    assert!(SlotTable::open(tempfile::tempfile().unwrap().into()).is_err());
}

fn task(inode: u64) -> HandedTask {
    HandedTask { inode, ..HandedTask::default() }
}
