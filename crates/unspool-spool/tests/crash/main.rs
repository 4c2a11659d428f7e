//! Crashes at every moment, and calls that fail at every moment, in the protocols of the spool.
//!
//! Each scenario runs once on a real file system while its calls are recorded. From them a model
//! makes the states that a crash after each call can leave, and each state is laid out and looked at
//! by the code that a start runs. `UNSPOOL_CRASH_SEED` repeats a run, `UNSPOOL_CRASH_STATES` asks for
//! more states of each moment.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "states are laid out by other means than are tested"
)]

mod judge;
mod model;
mod random;
mod receiving;
mod scenarios;

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;
use unspool_sys::trace::{self, Call, Fault, How, Trace};

use crate::judge::{Crash, Recovery, judge};
use crate::model::{History, Tree};
use crate::random::Random;
use crate::receiving::RECEIVING;
use crate::scenarios::{Fact, SCENARIOS, Scenario, Story};

/// States of each moment, if the environment does not say.
const STATES: usize = 300;
/// So many in all.
const ENOUGH: u64 = 20_000;

/// What a scenario did.
struct Run {
    root: TempDir,
    start: Tree,
    trace: Trace,
    facts: Vec<Fact>,
}

impl Run {
    fn new(scenario: &Scenario, seed: u64, fault: Option<Fault>) -> Self {
        let root = temporary();
        (scenario.prepare)(root.path());
        let start = Tree::read(root.path());
        let story = Story::default();
        trace::start(fault);
        let done = (scenario.run)(root.path(), &story, seed);
        let trace = trace::end();
        assert!(fault.is_some() || done.is_ok(), "{}: {done:?}", scenario.name);
        Self { root, start, trace, facts: story.facts.into_inner() }
    }

    /// What was known after so many calls.
    fn facts_after(&self, count: usize) -> Vec<Fact> {
        let notes = self.trace.calls[..count].iter().filter_map(|call| match call {
            Call::Note(number) => number.parse::<usize>().ok(),
            _ => None,
        });
        notes.map(|number| self.facts[number].clone()).collect()
    }

    /// All contents that files had when they were whole: at the end, or before they were deleted.
    fn whole(&self) -> Vec<Vec<u8>> {
        let count = self.trace.calls.len();
        let mut contents = BTreeSet::new();
        for count in 0..=count {
            let tree = History::new(&self.start, &self.trace.calls, count).in_memory();
            contents.extend(tree.files.into_values().map(|file| file.content));
        }
        let mut whole = Vec::new();
        for mut content in contents {
            if unspool_core::taskfile::TaskFile::parse(&content).is_ok() {
                content[3] = 0;
                whole.push(content);
            }
        }
        whole
    }
}

/// A directory in memory where there is one: thousands of states are laid out.
fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// Lays a state out and judges it.
fn verdict(
    state: &Tree,
    facts: &[Fact],
    whole: &[Vec<u8>],
    crash: Crash,
    by: Recovery,
) -> Result<(), String> {
    let root = temporary();
    state.lay_out(root.path());
    judge(root.path(), facts, whole, crash, by)
}

/// Crashes after each call of a run and returns how many states were looked at.
fn crash_everywhere(name: &str, run: &Run, most: usize, random: &mut Random) -> u64 {
    let (whole, calls) = (run.whole(), &run.trace.calls);
    let mut states = 0;
    for count in 0..=calls.len() {
        let history = History::new(&run.start, calls, count);
        let facts = run.facts_after(count);
        let look = |state: &Tree, crash: Crash, by: Recovery| {
            if let Err(why) = verdict(state, &facts, &whole, crash, by) {
                let (before, all) = (&calls[..count], calls.len());
                panic!(
                    "{name}: {crash:?} after {count} of {all} calls, {by:?}: {why}\ncalls {before:#?}\n\
                     state {state:#?}"
                );
            }
        };
        let now = history.in_memory();
        look(&now, Crash::Processes, Recovery::Start);
        look(&now, Crash::Processes, Recovery::Fsck);
        states += 1;
        for state in history.after_power_cut(most, random) {
            let by = if states % 2 == 0 { Recovery::Fsck } else { Recovery::Start };
            look(&state, Crash::Power, by);
            states += 1;
        }
    }
    states
}

#[test]
fn a_crash_at_any_moment_loses_nothing_and_runs_nothing_torn() {
    let seed = from_environment("UNSPOOL_CRASH_SEED", u64::from(std::process::id()));
    let most = from_environment("UNSPOOL_CRASH_STATES", STATES as u64) as usize;
    println!("seed {seed}, at most {most} states of each moment");
    let mut random = Random::new(seed);
    let mut judged = 0u64;
    for scenario in RECEIVING.iter().chain(SCENARIOS) {
        let (mut states, mut moments) = (0u64, 0);
        for time in 0..scenario.times {
            if judged + states >= ENOUGH {
                break;
            }
            let run = Run::new(scenario, seed.wrapping_add(time), None);
            moments += run.trace.calls.len() + 1;
            states += crash_everywhere(scenario.name, &run, most, &mut random);
        }
        println!("{states:>8} states of {moments:>4} moments: {}", scenario.name);
        judged += states;
    }
    println!("{judged:>8} states in all");
    assert!(judged >= ENOUGH || most < STATES, "only {judged} states");
}

/// The control: without its flushes the protocol does lose tasks, and the model shows it.
#[test]
fn without_flushes_the_model_loses_tasks() {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.starts_with("submit")) {
        let run = Run::new(scenario, 4, None);
        let without: Vec<Call> = run
            .trace
            .calls
            .iter()
            .filter(|call| !matches!(call, Call::Sync { .. }))
            .cloned()
            .collect();
        let facts = run.facts.clone();
        let least = History::new(&run.start, &without, without.len()).least();
        let promised = facts.iter().any(|fact| {
            matches!(fact, Fact::Acknowledged { durability, .. }
                if *durability != unspool_core::Durability::None)
        });
        let lost = verdict(&least, &facts, &run.whole(), Crash::Power, Recovery::Start).is_err();
        assert_eq!(lost, promised, "{}", scenario.name);
    }
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;
const EINTR: i32 = 4;

fn faults(at: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    for errno in [ENOSPC, EIO, EMFILE, EROFS] {
        for times in [1, usize::MAX] {
            faults.push(Fault { at, times, how: How::Errno(errno) });
        }
    }
    faults.push(Fault { at, times: 3, how: How::Errno(EINTR) });
    faults.push(Fault { at, times: 1, how: How::Short(ENOSPC) });
    faults
}

#[test]
fn with_a_call_that_fails_every_promise_is_kept() {
    let mut struck = 0u64;
    for scenario in SCENARIOS.iter().chain(RECEIVING) {
        let calls = Run::new(scenario, 4, None).trace.names;
        for (at, call) in calls.iter().enumerate() {
            for fault in faults(at) {
                let run = Run::new(scenario, 4, Some(fault));
                struck += u64::from(run.trace.struck);
                let count = run.trace.calls.len();
                let (facts, whole) = (run.facts_after(count), run.whole());
                let history = History::new(&run.start, &run.trace.calls, count);
                let by = if at % 2 == 0 { Recovery::Fsck } else { Recovery::Unwell };
                let cut = verdict(&history.least(), &facts, &whole, Crash::Power, by);
                let now = judge(run.root.path(), &facts, &whole, Crash::Processes, by);
                if let Err(why) = cut.and(now) {
                    panic!(
                        "{}: call {at} ({call}) fails, {fault:?}: {why}\n{:#?}",
                        scenario.name, run.trace
                    );
                }
            }
        }
    }
    println!("{struck} runs with a failing call");
    assert!(struck > 1000, "only {struck} runs");
}
