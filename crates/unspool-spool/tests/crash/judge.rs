//! Whether what a crash left is what the specification says it may leave.
//!
//! A state is laid out on a real file system and looked at by the code that looks at a spool after
//! a start: tasks are claimed and parsed, what is no task goes to `corrupt/`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use unspool_core::Durability;
use unspool_core::taskfile::TaskFile;
use unspool_spool::{
    Attempt, Check, Claimed, Finding, FsckOptions, Level, RecordSweep, SchedulePlace, SpoolDir,
    Told, claim, fsck, is_task_name, paused_in, quarantine, read_adoption, read_all, read_pauses,
};
use unspool_sys::Folder;

use crate::receiving::{self, send_again, stored};
use crate::scenarios::{Fact, names, priorities};

/// What may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Nothing: only processes died.
    Processes,
    /// What was not flushed.
    Power,
}

/// What comes after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The next start alone.
    Start,
    /// `unspool fsck --repair`, then the next start.
    Fsck,
    /// The next start, after a call that failed.
    Unwell,
}

/// Problems that are there after a check, which may repair.
fn problems(top: &Path, repair: bool) -> Result<Vec<Finding>, String> {
    let options = FsckOptions { repair, ..FsckOptions::default() };
    let mut found = Vec::new();
    let summary = fsck(top, &options, &mut |told| {
        if let Told::Found(finding) = told
            && finding.level == Level::Problem
        {
            found.push(finding.clone());
        }
    })
    .map_err(|error| error.to_string())?;
    if repair && summary.left() == 0 {
        found.clear();
    }
    Ok(found)
}

fn has_buried_record(task: &Path) -> bool {
    let name = task.file_name().unwrap_or_default().to_string_lossy();
    task.with_file_name(format!("attempts.{name}")).exists()
}

/// Files that may be run, by their path in the spool; the count of attempts is made 0.
pub(crate) type Tasks = BTreeMap<String, Vec<u8>>;

/// Looks at `path/spool`. `whole` are the contents that were ever written whole, with 0 attempts.
pub(crate) fn judge(
    path: &Path,
    facts: &[Fact],
    whole: &[Vec<u8>],
    crash: Crash,
    by: Recovery,
) -> Result<(), String> {
    let top = path.join("spool");
    let before = contents(&top);
    let spool = SpoolDir::open(&top).map_err(|error| format!("cannot open the spool: {error}"))?;
    if by == Recovery::Fsck {
        let left = problems(&top, true)?;
        if !left.is_empty() {
            return Err(format!("a repair leaves {left:?}"));
        }
    }
    send_again(&top, facts)?;
    let tasks = recover(&spool)?;
    let left = problems(&top, false)?;
    // A power cut can undo the new count of a buried task and keep all the rest of its burial; and
    // where a task has no record, nothing tells a start of a burial that was cut.
    let unnoticed = crash == Crash::Power || by == Recovery::Unwell;
    let may_stay = |found: &Finding| {
        found.check == Check::Dead && (unnoticed || !has_buried_record(&found.path))
    };
    if !left.iter().all(may_stay) {
        return Err(format!("a start leaves {left:?}"));
    }
    for (name, content) in &tasks {
        let is_sent = |fact: &Fact| matches!(fact, Fact::Sent { file } if stored(file) == *content);
        if !whole.contains(content) && !facts.iter().any(is_sent) {
            return Err(format!("`{name}` would run and was never written: {content:?}"));
        }
    }
    let after = contents(&top);
    for content in &before {
        if !after.contains(content) {
            return Err(format!("the recovery deleted a file of {} bytes", content.len()));
        }
    }
    facts
        .iter()
        .enumerate()
        .try_for_each(|(at, fact)| check(fact, &facts[at + 1..], &spool, &tasks, &after, crash))?;
    receiving::check(facts, &top, &tasks, crash)?;
    recover(&spool).and_then(|again| {
        if again == tasks { Ok(()) } else { Err("a second recovery finds something else".into()) }
    })
}

/// Whether a task was on its way out of the spool, and did not stay.
fn has_left(path: &Path, later: &[Fact]) -> bool {
    later.iter().any(|fact| matches!(fact, Fact::Leaving { path: p } if p == path))
        && !later.iter().any(|fact| matches!(fact, Fact::Stays { path: p } if p == path))
}

fn check(
    fact: &Fact,
    later: &[Fact],
    spool: &SpoolDir,
    tasks: &Tasks,
    contents: &[Vec<u8>],
    crash: Crash,
) -> Result<(), String> {
    match fact {
        Fact::Acknowledged { path, durability } => {
            let promised = crash == Crash::Processes || *durability != Durability::None;
            if promised && !has_left(path, later) && !tasks.contains_key(&relative(path)) {
                return Err(format!("`{}` was acknowledged and is lost", relative(path)));
            }
        }
        Fact::Kept { content } => {
            let copies = contents.iter().filter(|other| *other == content).count();
            if copies != 1 {
                return Err(format!("a file that is to be kept is there {copies} times"));
            }
        }
        Fact::Recorded { error } => {
            let forgotten =
                later.iter().any(|fact| matches!(fact, Fact::Forgotten { error: e } if e == error));
            let told = recorded(spool.path()).iter().any(|attempt| attempt.error == *error);
            if crash == Crash::Processes && !forgotten && !told {
                return Err(format!("the record of `{error}` is lost"));
            }
        }
        Fact::Adopted => match read_adoption(spool) {
            Ok(Some(_)) => {}
            other => return Err(format!("the record of the adoption: {other:?}")),
        },
        Fact::Paused { why } | Fact::Resumed { why } => {
            let pauses = read_pauses(spool.view()).map_err(|error| error.to_string())?;
            let is_paused = pauses.iter().any(|pause| pause.why == *why);
            let may_end =
                later.iter().any(|fact| matches!(fact, Fact::Resuming { why: w } if w == why));
            let is_over = matches!(fact, Fact::Resumed { .. });
            if is_paused == is_over && (is_over || !may_end) {
                return Err(format!("what was paused for `{why}` is paused: {is_paused}"));
            }
        }
        Fact::Taken { minute } => {
            let place = SchedulePlace::in_spool(spool, "key".to_owned());
            let store = place.and_then(|place| place.open()).map_err(|error| error.to_string())?;
            if store.take(*minute).map_err(|error| error.to_string())? {
                return Err(format!("minute {minute} would be fired again"));
            }
        }
        Fact::TimerPaused { id, paused: true } => {
            let resumed = later.iter().any(
                |fact| matches!(fact, Fact::TimerPaused { id: other, paused: false } if other == id),
            );
            let found = paused_in(spool.view(), "key").map_err(|error| error.to_string())?;
            if !resumed && !found.iter().any(|pause| pause.id == *id) {
                return Err(format!("`{id}` was paused and would fire"));
            }
        }
        Fact::Cancelled { path } => {
            let name = relative(path);
            if tasks.contains_key(&name) {
                return Err(format!("`{name}` was cancelled and would run"));
            }
        }
        Fact::Sent { .. }
        | Fact::Received { .. }
        | Fact::Running { .. }
        | Fact::Ran { .. }
        | Fact::Leaving { .. }
        | Fact::Stays { .. }
        | Fact::Forgotten { .. }
        | Fact::Resuming { .. }
        | Fact::TimerPaused { paused: false, .. } => {}
    }
    Ok(())
}

/// The path in the spool: the same in whatever directory it is laid out.
fn relative(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.rsplit_once("/spool/").map_or_else(|| text.to_string(), |(_, name)| name.to_owned())
}

/// Does what a start does to all files.
fn recover(spool: &SpoolDir) -> Result<Tasks, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut tasks = Tasks::new();
    let mut folders = vec![Some(spool.top().try_clone().map_err(text)?)];
    look_through(spool, spool.top(), "", &mut tasks)?;
    for priority in priorities(spool).map_err(text)? {
        if let Some(folder) = spool.priority_folder(&priority).map_err(text)? {
            let prefix = format!("{}/", String::from_utf8_lossy(priority.as_bytes()));
            look_through(spool, &folder, &prefix, &mut tasks)?;
            folders.push(Some(folder));
        }
    }
    let mut sweep = RecordSweep::start(spool).map_err(text)?;
    let mut failed = None;
    while sweep
        .step(spool, &folders, unspool_sys::clock::now_ns(), 10, |_, done| {
            failed = failed.take().or(done.err());
        })
        .map_err(text)?
    {}
    if let Some(error) = failed {
        return Err(format!("a record cannot be looked after: {error}"));
    }
    Ok(tasks)
}

fn look_through(
    spool: &SpoolDir,
    folder: &Folder,
    prefix: &str,
    tasks: &mut Tasks,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    for name in names(folder).map_err(text)? {
        let shown = format!("{prefix}{}", String::from_utf8_lossy(&name));
        match claim(folder, &name, i64::MAX).map_err(text)? {
            Claimed::Task(claimed) => {
                let (_, mut content) = read_all(claimed.file.as_fd()).map_err(text)?;
                if TaskFile::parse(&content).is_ok() {
                    content[3] = 0;
                    tasks.insert(shown, content);
                    continue;
                }
                drop(claimed.file);
                put_aside(spool, folder, &name)?;
            }
            Claimed::Suspect(_) => put_aside(spool, folder, &name)?,
            Claimed::Gone | Claimed::NotATask => {}
            other => return Err(format!("`{shown}`: {other:?}")),
        }
    }
    Ok(())
}

fn put_aside(spool: &SpoolDir, folder: &Folder, name: &[u8]) -> Result<(), String> {
    let seen = folder.stat(name).map_err(|error| error.to_string())?.ok_or("it is gone")?;
    match quarantine(spool, folder, name, &seen) {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("not quarantined: {other:?}")),
    }
}

/// All attempts of all records, wherever they lie.
fn recorded(top: &Path) -> Vec<Attempt> {
    let mut found = Vec::new();
    for folder in [top.join(".unspool/attempts"), top.join("dead")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let text = std::fs::read(entry.path()).unwrap_or_default();
            let lines = text.split(|b| *b == b'\n');
            found.extend(lines.filter_map(|line| serde_json::from_slice::<Attempt>(line).ok()));
        }
    }
    found
}

/// The contents of all tasks, wherever they lie, with 0 attempts; empty ones and records left out.
fn contents(path: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.ends_with(".unspool") {
                continue;
            }
            found.extend(contents(&path));
        } else if is_task_name(std::os::unix::ffi::OsStrExt::as_bytes(
            entry.file_name().as_os_str(),
        )) {
            let mut content = std::fs::read(&path).unwrap_or_default();
            if let Some(count) = content.get_mut(3) {
                *count = 0;
            }
            if !content.is_empty() {
                found.push(content);
            }
        }
    }
    found
}
