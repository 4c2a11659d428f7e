//! Submitters that are killed at any moment: a reader never sees part of a task, and what was
//! acknowledged is there.

use std::collections::HashSet;
use std::path::PathBuf;

use unspool_sys::host;

use crate::child::Child;
use crate::fixture::{Fixture, parse_ours};

const SUBMITTERS: usize = 50;

fn seed() -> u64 {
    u64::from_le_bytes(host::random().unwrap()) | 1
}

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

/// What the submitters of a round do.
struct Round {
    level: &'static str,
    body_bytes: usize,
}

/// Runs 50 submitters and kills each at some moment; asserts that no task is lost. Returns the
/// names that are visible.
fn kill_submitters(fixture: &Fixture, rounds: &[Round], seed: u64) -> Vec<PathBuf> {
    let mut dice = Dice(seed);
    let spool = fixture.spool.path().to_str().unwrap().to_owned();
    let mut acknowledged = HashSet::new();
    for number in 0..SUBMITTERS {
        let round = &rounds[number % rounds.len()];
        let arguments = [&spool, round.level, &round.body_bytes.to_string()];
        let mut child = Child::start("submit-for-ever", &arguments);
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
    let visible: HashSet<_> = tasks.iter().map(|task| task.to_str().unwrap().to_owned()).collect();
    let lost: Vec<_> = acknowledged.difference(&visible).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // A submitter has one unfinished task, and says a path right after it is visible.
    assert!(visible.len() <= acknowledged.len() + SUBMITTERS);
    assert!(fixture.aside().len() <= SUBMITTERS);
    tasks
}

#[test]
fn a_submitter_that_is_killed_leaves_whole_tasks_only() {
    let fixture = Fixture::new();
    let rounds = ["none", "group", "file"].map(|level| Round { level, body_bytes: 20_000 });
    let seed = seed();
    println!("seed {seed}");
    for task in kill_submitters(&fixture, &rounds, seed) {
        let (_, attempts, message) = parse_ours(&task);
        assert_eq!((attempts, message.body.len()), (0, 20_000), "{}", task.display());
    }
}

#[test]
fn a_submitter_of_small_tasks_leaves_whole_ones_or_empty_files() {
    let fixture = Fixture::new();
    let body_bytes = 3000;
    let rounds = [Round { level: "none", body_bytes }];
    let mut empty = 0;
    let seed = seed();
    println!("seed {seed}");
    for task in kill_submitters(&fixture, &rounds, seed) {
        if std::fs::metadata(&task).unwrap().len() == 0 {
            empty += 1;
        } else {
            assert_eq!(parse_ours(&task).2.body.len(), body_bytes, "{}", task.display());
        }
    }
    assert!(empty <= SUBMITTERS);
    assert_eq!(fixture.aside(), [""; 0], "written in place");
}
