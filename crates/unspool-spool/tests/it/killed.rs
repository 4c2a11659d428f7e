//! Submitters that are killed at any moment: a reader never sees part of a task, and what was
//! acknowledged is there.

use std::collections::HashSet;

use unspool_sys::host;

use crate::child::Child;
use crate::fixture::{Fixture, parse_ours};

/// Numbers that look random and follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn a_submitter_that_is_killed_leaves_whole_tasks_only() {
    let seed = u64::from_le_bytes(host::random().unwrap()) | 1;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let fixture = Fixture::new();
    let spool = fixture.spool.path().to_str().unwrap().to_owned();
    let mut acknowledged = HashSet::new();
    for round in 0..50 {
        let level = ["none", "group", "file"][round % 3];
        let mut child = Child::start("submit-for-ever", &[&spool, level]);
        // Each line is an event of the child; between two of them a spin of random length.
        for _ in 0..=dice.below(6) {
            acknowledged.insert(child.hear());
        }
        for _ in 0..dice.below(20_000) {
            std::hint::spin_loop();
        }
        child.kill();
        acknowledged.extend(child.hear_all());
    }
    let tasks = fixture.tasks();
    for task in &tasks {
        let (_, attempts, message) = parse_ours(task);
        assert_eq!((attempts, message.body.len()), (0, 20_000), "{}", task.display());
    }
    let visible: HashSet<_> = tasks.iter().map(|task| task.to_str().unwrap().to_owned()).collect();
    let lost: Vec<_> = acknowledged.difference(&visible).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // A submitter has one unfinished task, and says a path right after it is visible.
    assert!(visible.len() <= acknowledged.len() + 50);
    assert!(fixture.aside().len() <= 50);
}
