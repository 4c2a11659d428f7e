//! What is done to a spool, step by step, and what was heard of it.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use unspool_core::{Durability, Message, Priority};
use unspool_spool::{
    Adoption, Claim, Claimed, Found, Scan, SchedulePlace, SpoolDir, SubmitError, Verdict,
    begin_adoption, bury, change_adoption, claim, complete, count_failure, postpone, quarantine,
    submit,
};
use unspool_sys::{Folder, folder, trace};

use crate::random::Random;

/// Something that whoever uses the spool knows from then on.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// A submission returned its task.
    Acknowledged { path: PathBuf, durability: Durability },
    /// The task is about to be deleted as done.
    Leaving { path: PathBuf },
    /// The deletion failed.
    Stays { path: PathBuf },
    /// A file with this content is there, under whatever name, until it is taken away by hand.
    Kept { content: Vec<u8> },
    /// Old tasks were looked at.
    Adopted,
    /// The crons of this minute are fired.
    Taken { minute: i64 },
}

/// Which facts hold is noted in the trace, by their number.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) facts: RefCell<Vec<Fact>>,
}

impl Story {
    fn tell(&self, fact: Fact) {
        let mut facts = self.facts.borrow_mut();
        trace::note(facts.len().to_string());
        facts.push(fact);
    }
}

/// In a directory, telling what is heard, with a seed.
type Steps = fn(&Path, &Story, u64) -> io::Result<()>;

/// One scenario. Steps that fail are left out.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What is there before, all of it durable.
    pub(crate) prepare: fn(&Path),
    pub(crate) run: Steps,
    /// How many times at most, with other random numbers each.
    pub(crate) times: u64,
}

/// A scenario without random numbers.
const fn once(name: &'static str, prepare: fn(&Path), run: Steps) -> Scenario {
    Scenario { name, times: 1, prepare, run }
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    once("first submission ever", nothing, |path, story, _| {
        put(&open(path)?, story, Put { level: Durability::File, ..Put::default() });
        Ok(())
    }),
    once("submit", empty, |path, story, _| {
        put(&open(path)?, story, Put { level: Durability::File, ..Put::default() });
        Ok(())
    }),
    once("submit delayed, in a group", empty, |path, story, _| {
        let spool = open(path)?;
        put(&spool, story, Put { at: "2000000000", ..Put::default() });
        put(&spool, story, Put::default());
        Ok(())
    }),
    once("submit to a new priority", empty, |path, story, _| {
        let spool = open(path)?;
        put(&spool, story, Put { priority: "5", ..Put::default() });
        put(&spool, story, Put { priority: "5", level: Durability::File, ..Put::default() });
        Ok(())
    }),
    once("submit to a priority that another level made", empty, |path, story, _| {
        let spool = open(path)?;
        put(&spool, story, Put { priority: "7", level: Durability::None, ..Put::default() });
        put(&spool, story, Put { priority: "7", ..Put::default() });
        Ok(())
    }),
    once("submit a large one", empty, |path, story, _| {
        put(&open(path)?, story, Put { bytes: 20_000, ..Put::default() });
        Ok(())
    }),
    once("submit without flushes", empty, |path, story, _| {
        let spool = open(path)?;
        put(&spool, story, Put { level: Durability::None, ..Put::default() });
        put(&spool, story, Put { level: Durability::None, bytes: 9_000, ..Put::default() });
        put(&spool, story, Put { level: Durability::None, at: "5", ..Put::default() });
        Ok(())
    }),
    once("finish", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let claimed = take(&spool)?;
        finish(&spool, story, &claimed);
        Ok(())
    }),
    once("fail twice", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let (name, claimed) = take(&spool)?;
        let due_ns = claimed.stat.mtime_ns + 1_000_000_000;
        count_failure(claimed.file.as_fd(), claimed.attempts, due_ns)?;
        drop(claimed);
        let Claimed::Task(again) = claim(spool.top(), &name, i64::MAX)? else { return Ok(()) };
        count_failure(again.file.as_fd(), again.attempts, due_ns)?;
        Ok(())
    }),
    once("put off, then finish", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let claimed = take(&spool)?;
        postpone(claimed.1.file.as_fd(), 3_000_000_000_000_000_000)?;
        finish(&spool, story, &claimed);
        Ok(())
    }),
    once("quarantine", a_damaged_file, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Kept { content: DAMAGED.to_vec() });
        let seen = spool.top().stat(DAMAGED_NAME)?.ok_or(io::ErrorKind::NotFound)?;
        quarantine(&spool, spool.top(), DAMAGED_NAME, &seen).map_err(io::Error::other)?;
        put(&spool, story, Put::default());
        Ok(())
    }),
    once("adopt and bury", an_old_task, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Kept { content: OLD.to_vec() });
        begin_adoption(&spool, Adoption::new(false, 0)).map_err(io::Error::other)?;
        story.tell(Fact::Adopted);
        bury(&spool, spool.top(), OLD_NAME)?;
        change_adoption(&spool, |adoption| {
            adoption.default = Verdict::Run;
            true
        })
        .map_err(io::Error::other)?;
        Ok(())
    }),
    once("crons of three minutes", empty, |path, story, _| {
        let spool = open(path)?;
        let store = SchedulePlace::in_spool(&spool, "key".to_owned())?.open()?;
        store.lead()?;
        for minute in [29_000_000, 29_000_001, 29_000_002] {
            if store.take(minute)? {
                story.tell(Fact::Taken { minute });
            }
        }
        Ok(())
    }),
    Scenario {
        name: "all at once",
        times: 200,
        prepare: three_tasks,
        run: |path, story, seed| {
            let spool = open(path)?;
            known_tasks(&spool, story)?;
            let mut random = Random::new(seed);
            for _ in 0..6 {
                match random.below(5) {
                    0 => put(&spool, story, Put { level: Durability::None, ..Put::default() }),
                    1 => put(&spool, story, Put { priority: "3", ..Put::default() }),
                    2 => put(
                        &spool,
                        story,
                        Put { at: "7", level: Durability::File, ..Put::default() },
                    ),
                    3 => {
                        if let Ok((_, claimed)) = take(&spool) {
                            let _ = count_failure(claimed.file.as_fd(), claimed.attempts, 5);
                        }
                    }
                    _ => {
                        if let Ok(claimed) = take(&spool) {
                            finish(&spool, story, &claimed);
                        }
                    }
                }
            }
            Ok(())
        },
    },
];

/// What a submission says.
#[derive(Debug, Clone, Copy)]
struct Put {
    level: Durability,
    priority: &'static str,
    at: &'static str,
    bytes: usize,
}

impl Default for Put {
    fn default() -> Self {
        Self { level: Durability::Group, priority: "", at: "", bytes: 40 }
    }
}

fn put(spool: &SpoolDir, story: &Story, what: Put) {
    let body: Vec<u8> = (0..what.bytes).map(|at| (at % 251) as u8 + 1).collect();
    let mut pairs = vec![(b"ud_spool_func".to_vec(), b"f".to_vec())];
    for (key, value) in [("priority", what.priority), ("at", what.at)] {
        if !value.is_empty() {
            pairs.push((key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
    }
    let message = Message { pairs, body, ..Message::default() };
    match submit(spool, &message, what.level) {
        Ok(path) => story.tell(Fact::Acknowledged { path, durability: what.level }),
        // It is there, and nobody said that it survives a power cut.
        Err(SubmitError::Unknown { path, .. }) => {
            story.tell(Fact::Acknowledged { path, durability: Durability::None });
        }
        Err(_) => {}
    }
}

/// Claims the first task that there is.
fn take(spool: &SpoolDir) -> io::Result<(Vec<u8>, Claim)> {
    for name in names(spool.top())? {
        if let Claimed::Task(claimed) = claim(spool.top(), &name, i64::MAX)? {
            return Ok((name, claimed));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn finish(spool: &SpoolDir, story: &Story, (name, _held): &(Vec<u8>, Claim)) {
    let path = spool.path().join(folder::os_str(name));
    story.tell(Fact::Leaving { path: path.clone() });
    if complete(spool.top(), name).is_err() {
        story.tell(Fact::Stays { path });
    }
}

/// The tasks in a folder, in the order of their names.
pub(crate) fn names(folder: &Folder) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let mut scan = Scan::start(folder)?;
    while scan.step(folder, 100, |found| {
        if let Found::Task { name, .. } = found {
            names.push(name);
        }
    })? {}
    names.sort();
    Ok(names)
}

/// The priorities of a spool.
pub(crate) fn priorities(spool: &SpoolDir) -> io::Result<Vec<Priority>> {
    let mut found = Vec::new();
    let mut scan = Scan::start(spool.top())?;
    while scan.step(spool.top(), 100, |each| {
        if let Found::Priority(priority) = each {
            found.push(priority);
        }
    })? {}
    Ok(found)
}

fn known_tasks(spool: &SpoolDir, story: &Story) -> io::Result<()> {
    for name in names(spool.top())? {
        let path = spool.path().join(folder::os_str(&name));
        story.tell(Fact::Acknowledged { path, durability: Durability::Group });
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<SpoolDir> {
    SpoolDir::open(&path.join("spool")).map_err(io::Error::other)
}

fn nothing(_: &Path) {}

fn empty(path: &Path) {
    open(path).unwrap();
}

fn three_tasks(path: &Path) {
    let spool = open(path).unwrap();
    for _ in 0..3 {
        put(&spool, &Story::default(), Put::default());
    }
}

const DAMAGED_NAME: &[u8] = b"uwsgi_spoolfile_on_damaged";
const DAMAGED: &[u8] = b"\x11\x35\x00\x00\x0d\x00ud_spo";

fn a_damaged_file(path: &Path) {
    let spool = open(path).unwrap();
    std::fs::write(spool.path().join(folder::os_str(DAMAGED_NAME)), DAMAGED).unwrap();
}

const OLD_NAME: &[u8] = b"uwsgi_spoolfile_on_old";
const OLD: &[u8] = b"\x11\x12\x00\x00\x0d\x00ud_spool_func\x01\x00f";

fn an_old_task(path: &Path) {
    let spool = open(path).unwrap();
    std::fs::write(spool.path().join(folder::os_str(OLD_NAME)), OLD).unwrap();
}
