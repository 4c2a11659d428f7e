//! What is done to a spool, step by step, and what was heard of it.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unspool_core::taskfile::TaskId;
use unspool_core::{Durability, Message, Priority};
use unspool_spool::{
    Adoption, Attempt, Became, CancelError, Cancellation, Claim, Claimed, Edit, Editing, Ending,
    Found, Kept, Pause, Place, RecordSweep, Relocated, Relocation, Retried, Scan, SchedulePlace,
    Scope, SpoolDir, SubmitError, Verdict, Whereabouts, begin_adoption, bury, bury_claimed,
    change_adoption, claim, complete, count_failure, discard, discard_records, forget_attempts,
    listed, note_attempt, pause, postpone, quarantine, read_all, relocate, resume, retry, submit,
};
use unspool_sys::{Folder, folder, trace};
use unspool_wire::schedule::TimerPause;

use crate::random::Random;

/// Something that whoever uses the spool knows from then on.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// A submission returned its task.
    Acknowledged { path: PathBuf, durability: Durability },
    /// The task is about to be deleted as done.
    Leaving { path: PathBuf },
    /// The task was cancelled, and whoever did it was told that it is gone.
    Cancelled { path: PathBuf },
    /// The deletion failed.
    Stays { path: PathBuf },
    /// A file with this content is there, under whatever name, until it is taken away by hand.
    Kept { content: Vec<u8> },
    /// An attempt was recorded.
    Recorded { error: String },
    /// Its task is about to be done: nobody needs it any more.
    Forgotten { error: String },
    /// Old tasks were looked at.
    Adopted,
    /// Something is paused, for this reason,
    Paused { why: &'static str },
    /// is about to be resumed,
    Resuming { why: &'static str },
    /// and is.
    Resumed { why: &'static str },
    /// The crons of this minute are fired.
    Taken { minute: i64 },
    /// This timer is paused, or was resumed.
    TimerPaused { id: &'static str, paused: bool },
    /// A task of another machine was sent, and will be sent again,
    Sent { file: Vec<u8> },
    /// is stored, as its sender heard,
    Received { file: Vec<u8> },
    /// runs,
    Running { id: TaskId },
    /// and has run.
    Ran { id: TaskId },
}

/// Which facts hold is noted in the trace, by their number.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) facts: RefCell<Vec<Fact>>,
}

impl Story {
    pub(crate) fn tell(&self, fact: Fact) {
        let mut facts = self.facts.borrow_mut();
        trace::note(facts.len().to_string());
        facts.push(fact);
    }

    /// Whether a task was promised to survive a power cut.
    fn is_durable(&self, task: &Path) -> bool {
        self.facts.borrow().iter().any(|fact| {
            matches!(fact, Fact::Acknowledged { path, durability }
                if path == task && *durability != Durability::None)
        })
    }
}

/// In a directory, telling what is heard, with a seed.
pub(crate) type Steps = fn(&Path, &Story, u64) -> io::Result<()>;

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
pub(crate) const fn once(name: &'static str, prepare: fn(&Path), run: Steps) -> Scenario {
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
    once("cancel, one that has failed", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let (name, claimed) = take(&spool)?;
        count_failure(claimed.file.as_fd(), claimed.attempts, 5)?;
        note_attempt(&spool, &name, &failed_attempt(&spool, "x"))?;
        drop(claimed);
        cancel(&spool, story, &name)
    }),
    once("cancel in a priority", empty, |path, story, _| {
        let spool = open(path)?;
        put(&spool, story, Put { priority: "5", level: Durability::File, ..Put::default() });
        let folder = spool.priority_folder(&Priority::new(b"5").map_err(io::Error::other)?)?;
        for name in folder.map(|folder| names(&folder)).transpose()?.unwrap_or_default() {
            cancel(&spool, story, &[b"5/", &name[..]].concat())?;
        }
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
    once("pause and resume", empty, |path, story, _| {
        let spool = open(path)?;
        for (scope, why) in [(Scope::Spool, "first"), (Scope::Function(b"f".to_vec()), "second")] {
            pause(&spool, Pause::now(scope, why)).map_err(io::Error::other)?;
            story.tell(Fact::Paused { why });
        }
        story.tell(Fact::Resuming { why: "first" });
        resume(&spool, &Scope::Spool).map_err(io::Error::other)?;
        story.tell(Fact::Resumed { why: "first" });
        Ok(())
    }),
    once("fail with a record, then finish", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let (name, claimed) = take(&spool)?;
        fail(&spool, story, &name, "first");
        count_failure(claimed.file.as_fd(), claimed.attempts, 5)?;
        fail(&spool, story, &name, "second");
        for error in ["first", "second"] {
            story.tell(Fact::Forgotten { error: error.to_owned() });
        }
        finish(&spool, story, &(name.clone(), claimed));
        forget_attempts(&spool, &name)
    }),
    once("fail and bury", three_tasks, |path, story, _| {
        let spool = open(path)?;
        let (name, claimed) = take(&spool)?;
        keep(story, &claimed)?;
        fail(&spool, story, &name, "first");
        let attempts = count_failure(claimed.file.as_fd(), claimed.attempts, 5)?;
        fail(&spool, story, &name, "last");
        count_failure(claimed.file.as_fd(), attempts, 5)?;
        bury_claimed(&spool, spool.top(), &name, &claimed.file)?;
        Ok(())
    }),
    once("bury at once, without a record", a_failed_task, |path, story, _| {
        let spool = open(path)?;
        let (name, claimed) = take(&spool)?;
        keep(story, &claimed)?;
        forget_attempts(&spool, &name)?;
        bury_claimed(&spool, spool.top(), &name, &claimed.file)?;
        Ok(())
    }),
    once("bury where the name is taken", a_task_of_a_buried_name, |path, story, _| {
        let spool = open(path)?;
        let (name, claimed) = take(&spool)?;
        keep(story, &claimed)?;
        story.tell(Fact::Kept { content: TWIN.to_vec() });
        story.tell(Fact::Recorded { error: "of the twin".to_owned() });
        fail(&spool, story, &name, "last");
        bury_claimed(&spool, spool.top(), &name, &claimed.file)?;
        Ok(())
    }),
    once("end a burial that a crash cut", a_cut_burial, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Kept { content: OLD.to_vec() });
        story.tell(Fact::Recorded { error: "before the crash".to_owned() });
        let folders = [Some(spool.top().try_clone()?)];
        let mut sweep = RecordSweep::start(&spool)?;
        while sweep.step(&spool, &folders, 0, 10, |_, _| {})? {}
        Ok(())
    }),
    once("retry one that was given up", a_buried_task, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Kept { content: GIVEN_UP.to_vec() });
        story.tell(Fact::Recorded { error: "long ago".to_owned() });
        let task = Whereabouts::Kept(Kept::Dead, OLD_NAME.to_vec());
        if let Retried::Pending { place, .. } = retry(&spool, &task)? {
            spool.flush([place.priority.as_ref()], &[Kept::Dead])?;
            let path = place.path(spool.view());
            story.tell(Fact::Acknowledged { path, durability: Durability::File });
        }
        Ok(())
    }),
    once("retry one whose burial a crash cut", a_cut_burial, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Kept { content: OLD.to_vec() });
        story.tell(Fact::Recorded { error: "before the crash".to_owned() });
        retry(&spool, &Whereabouts::Kept(Kept::Dead, OLD_NAME.to_vec()))?;
        Ok(())
    }),
    once("another priority and due time", three_tasks, |path, story, _| {
        let spool = open(path)?;
        for name in names(spool.top())? {
            let file = spool.top().open_to_read(&name)?;
            story.tell(Fact::Kept { content: read_all(file.as_fd())?.1 });
        }
        let Some(name) = names(spool.top())?.into_iter().next() else { return Ok(()) };
        let priority = Priority::new(b"9").map_err(io::Error::other)?;
        let to = Relocation { priority: Some(Some(priority)), due_ns: Some(7) };
        let moved = relocate(&spool, &Place { priority: None, name }, &to)?;
        if let Relocated::Done(place) = moved {
            spool.flush([None, place.priority.as_ref()], &[])?;
            let path = place.path(spool.view());
            story.tell(Fact::Acknowledged { path, durability: Durability::File });
        }
        Ok(())
    }),
    once("edit", three_tasks, |path, story, _| {
        let spool = open(path)?;
        known_tasks(&spool, story)?;
        let (name, claimed) = take(&spool)?;
        count_failure(claimed.file.as_fd(), claimed.attempts, 5)?;
        drop(claimed);
        rewrite(&spool, story, &Whereabouts::Pending(Place { priority: None, name }))
    }),
    once("edit a foreign one that was given up", a_buried_task, |path, story, _| {
        let spool = open(path)?;
        story.tell(Fact::Recorded { error: "long ago".to_owned() });
        rewrite(&spool, story, &Whereabouts::Kept(Kept::Dead, OLD_NAME.to_vec()))
    }),
    once("discard one that was given up", a_buried_task, |path, _, _| {
        let spool = open(path)?;
        discard(&spool, Kept::Dead, OLD_NAME)?;
        discard_records(&spool)?;
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
    once("pause two timers, resume one", empty, |path, story, _| {
        let spool = open(path)?;
        let store = SchedulePlace::in_spool(&spool, "key".to_owned())?.open()?;
        for id in ["one", "two"] {
            let (name, by) = ("f".to_owned(), "root".to_owned());
            store.pause(TimerPause { id: id.to_owned(), name, by, why: None, at_ms: 1 })?;
            story.tell(Fact::TimerPaused { id, paused: true });
        }
        story.tell(Fact::TimerPaused { id: "one", paused: false });
        store.resume("one")?;
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
                match random.below(7) {
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
                    4 => {
                        if let Ok((name, claimed)) = take(&spool) {
                            fail(&spool, story, &name, &format!("{}", random.below(1 << 20)));
                            let _ = count_failure(claimed.file.as_fd(), claimed.attempts, 5);
                        }
                    }
                    5 => {
                        if let Ok((name, claimed)) = take(&spool) {
                            let path = spool.path().join(folder::os_str(&name));
                            if story.is_durable(&path) {
                                let _ = keep(story, &claimed);
                            }
                            story.tell(Fact::Leaving { path });
                            let _ = bury_claimed(&spool, spool.top(), &name, &claimed.file);
                        }
                    }
                    _ => {
                        // Without a record, which a test of records would have to forget.
                        if let Ok(claimed) = take(&spool)
                            && claimed.1.attempts == 0
                        {
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

/// Records a failed attempt.
fn fail(spool: &SpoolDir, story: &Story, name: &[u8], error: &str) {
    if note_attempt(spool, name, &failed_attempt(spool, error)).is_ok() {
        story.tell(Fact::Recorded { error: error.to_owned() });
    }
}

fn failed_attempt(spool: &SpoolDir, error: &str) -> Attempt {
    Attempt {
        attempt: 1,
        outcome: Ending::Exception,
        at: 5.0,
        duration: Some(0.5),
        host: spool.host(),
        pid: 7,
        function: "f".to_owned(),
        error: error.to_owned(),
        // Longer than a sector, so that a power cut can leave a part.
        traceback: "a line of a traceback\n".repeat(40),
        output: String::new(),
        peak_rss: None,
        again_at: None,
        priority: None,
    }
}

/// From here on the task is to be kept, wherever it is moved.
fn keep(story: &Story, claimed: &Claim) -> io::Result<()> {
    let (_, mut content) = read_all(claimed.file.as_fd())?;
    content[3] = 0;
    story.tell(Fact::Kept { content });
    Ok(())
}

/// Gives a task another argument.
fn rewrite(spool: &SpoolDir, story: &Story, task: &Whereabouts) -> io::Result<()> {
    let Editing::Task(edit) = Edit::begin(spool, task)? else { return Ok(()) };
    let mut message = edit.message().map_err(io::Error::other)?;
    message.pairs.push((b"more".to_vec(), b"than before".to_vec()));
    if edit.commit(&message, None, None).is_ok() {
        let file = listed(spool.view(), task)?.and_then(|listed| listed.read().ok().flatten());
        let (_, mut content) = file.ok_or(io::ErrorKind::NotFound)?;
        content[3] = 0;
        story.tell(Fact::Kept { content });
    }
    Ok(())
}

/// Cancels without a daemon.
fn cancel(spool: &SpoolDir, story: &Story, place: &[u8]) -> io::Result<()> {
    let path = spool.path().join(folder::os_str(place));
    let place = Place::parse(place).ok_or(io::ErrorKind::InvalidInput)?;
    story.tell(Fact::Leaving { path: path.clone() });
    let cancelled = Cancellation::new(spool, place, 0.0, false)
        .and_then(|mut cancellation| cancellation.step(Duration::ZERO));
    match cancelled {
        Ok(Some(Became::Removed)) => story.tell(Fact::Cancelled { path }),
        // Whether it is there is not said.
        Err(CancelError::NotDurable { .. }) => {}
        _ => story.tell(Fact::Stays { path }),
    }
    Ok(())
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

pub(crate) fn open(path: &Path) -> io::Result<SpoolDir> {
    SpoolDir::open(&path.join("spool")).map_err(io::Error::other)
}

pub(crate) fn nothing(_: &Path) {}

pub(crate) fn empty(path: &Path) {
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

fn a_failed_task(path: &Path) {
    let spool = open(path).unwrap();
    let mut content = OLD.to_vec();
    content[3] = 19;
    std::fs::write(spool.path().join(folder::os_str(OLD_NAME)), content).unwrap();
    fail(&spool, &Story::default(), OLD_NAME, "long ago");
}

/// With a priority of its own.
const GIVEN_UP: &[u8] = b"\x11\x1f\x00\x00\x0d\x00ud_spool_func\x01\x00f\x08\x00priority\x01\x005";

fn a_buried_task(path: &Path) {
    a_failed_task(path);
    let pending = path.join("spool").join(folder::os_str(OLD_NAME));
    std::fs::write(pending, GIVEN_UP).unwrap();
    let spool = open(path).unwrap();
    let (name, claimed) = take(&spool).unwrap();
    bury_claimed(&spool, spool.top(), &name, &claimed.file).unwrap();
}

const TWIN: &[u8] = b"\x11\x12\x00\x00\x0d\x00ud_spool_func\x01\x00g";

/// Another task of that name is buried, with its record.
fn a_task_of_a_buried_name(path: &Path) {
    let spool = open(path).unwrap();
    fail(&spool, &Story::default(), OLD_NAME, "of the twin");
    let dead = spool.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join(folder::os_str(OLD_NAME)), TWIN).unwrap();
    let record = [b"attempts.", OLD_NAME].concat();
    let pending = spool.path().join(".unspool/attempts").join(folder::os_str(OLD_NAME));
    std::fs::rename(pending, dead.join(folder::os_str(&record))).unwrap();
    a_failed_task(path);
}

/// It was moved, and neither its count nor its record followed.
fn a_cut_burial(path: &Path) {
    let spool = open(path).unwrap();
    let mut content = OLD.to_vec();
    content[3] = 20;
    let dead = spool.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.join(folder::os_str(OLD_NAME)), content).unwrap();
    fail(&spool, &Story::default(), OLD_NAME, "before the crash");
}
